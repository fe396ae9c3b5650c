"use strict";

// From the welcome to the end of the test.

class App {
  constructor() {
    this.test = new Test();
    this.shortcuts = true;
    const kept = Session.restore(this.test);
    if (kept) this.welcomeBack(kept);
    else this.welcome();
  }

  /** Begin to play: browsers allow that after a click or key only. */
  async start(session) {
    this.session = session;
    this.shortcuts = session.state.shortcuts;
    const sampleRate = this.test.plan.sample_rate;
    try {
      this.context = new AudioContext({ sampleRate }); // sounds are not resampled in decoding
    } catch {
      this.context = new AudioContext();
    }
    await this.context.resume();
    if (!session.save()) this.keepsNothing = true;
    if (session.finished) this.end();
    else if (session.state.trained) await this.next();
    else await this.train();
  }

  welcome() {
    const plan = this.test.plan;
    const name = element("input", {
      type: "text",
      maxlength: MOST_NAME,
      autocomplete: "off",
      value: newIdentifier().slice(0, 8),
    });
    const options = ["headphones", "loudspeakers", "other"];
    const device = element("select", {}, options.map((o) => element("option", { value: o }, o)));
    const problem = element("p", { class: "error", role: "alert" });
    const begin = () => {
      const listener = clean(name.value.replace(/[\s\p{Z}]+/gu, " ")).trim();
      problem.textContent = listener ? "" : "Give a name, or any letters.";
      if (listener) this.start(Session.begin(this.test, listener, device.value, this.shortcuts));
      else name.focus();
    };
    const level =
      plan.loudness === null
        ? "The sounds have the levels of their files."
        : `All sounds have the same loudness, ${plan.loudness.toFixed(1)} LUFS (ITU-R BS.1770-4).`;
    show(
      plan.title,
      ...this.explanation(),
      element("label", { class: "field" }, "Your name, or the letters that stand for it", name),
      element("label", { class: "field" }, "You listen with", device),
      paragraph(level, " Set a comfortable volume in the training, and leave it so."),
      problem,
      element("div", { class: "row" }, button("Go to the training", begin, { class: "next" })),
    );
  }

  explanation() {
    const plan = this.test.plan;
    const most = Math.max(...plan.trials.map((trial) => trial.stimuli.length));
    const how = {
      mushra: `In each trial you hear a reference and ${most} sounds. Rate each sound from 0 (bad) to 100 (excellent). The reference is hidden among them: at least one sound should get 100.`,
      abx: "In each trial X is one of the sounds A and B. Find out which. Where you hear no difference, guess.",
      ab: "In each trial compare two sounds, and choose the better one. Where you hear no difference, guess.",
      mos: "In each trial you hear one sound. Rate its quality from 1 (bad) to 5 (excellent).",
    }[plan.method];
    const select = {
      mushra: [["1", "2", "…"], "hear a sound", ["R"], "hear the reference"],
      abx: [["A", "B", "X"], "hear a sound"],
      ab: [["A", "B"], "hear a sound", ["R"], "hear the reference, where there is one"],
      mos: [["1", "…", "5"], "rate"],
    }[plan.method];
    const keys = [["Space"], "play or pause", ...select];
    keys.push(["L"], "repeat or not", ["[", "]"], "begin or end the repeated part here");
    keys.push(["\\"], "the whole sound", ["N"], "next");
    const items = [];
    for (let i = 0; i < keys.length; i += 2) {
      const pressed = keys[i].flatMap((key) => [element("kbd", {}, key), " "]);
      items.push(element("li", {}, ...pressed, keys[i + 1]));
    }
    const use = element("input", {
      type: "checkbox",
      checked: this.shortcuts,
      change: () => {
        this.shortcuts = use.checked;
      },
    });
    return [
      paragraph(how),
      paragraph(
        `There are ${plan.trials.length} trials after one for training. You may pause, and close or reload this page: it goes on where you were.`,
      ),
      element(
        "details",
        {},
        element("summary", {}, "Keys"),
        element("ul", {}, ...items),
        element("label", { class: "check" }, use, "Use these keys"),
      ),
    ];
  }

  welcomeBack(session) {
    const { listener, answers } = session.state;
    const another = () => {
      Session.forget(this.test);
      this.welcome();
    };
    const text = session.finished
      ? `${listener} has finished this test.`
      : `${listener} has answered ${answers.length} of ${session.order.length} trials.`;
    const go = session.finished ? "Show the answers again" : `Continue as ${listener}`;
    show(
      this.test.plan.title,
      paragraph(text),
      element("div", { class: "row" }, button(go, () => this.start(session), { class: "next" })),
      paragraph("Another listener deletes these answers from this browser."),
      element("div", { class: "row" }, button("Begin as another listener", another)),
    );
  }

  async train() {
    const { session, test } = this;
    const trial = test.plan.training;
    await this.open("Training", trial, null, {
      training: true,
      onDraft: () => {},
      onDone: () => {
        session.state.trained = true;
        session.save();
        this.next();
      },
    });
  }

  async next() {
    const { session } = this;
    if (session.finished) {
      this.end();
      return;
    }
    const { trial } = session;
    const heading = `Trial ${session.state.answers.length + 1} of ${session.order.length}`;
    await this.open(heading, trial, session.draftOf(trial), {
      training: false,
      onDraft: (draft) => session.keepDraft(trial, draft),
      onDone: (answer) => {
        this.keepsNothing = !session.add(answer);
        this.next();
      },
    });
  }

  async open(heading, trial, draft, options) {
    const { session, test } = this;
    const shown = { ...options, shortcuts: () => this.shortcuts };
    const presentation = session.presentation(trial);
    const view = new TrialView(test, this.context, trial, presentation, draft, shown);
    show(heading, paragraph("The sounds are loading."));
    try {
      await view.open();
    } catch {
      show(heading, paragraph("This browser cannot play the sounds of the test: use another."));
      return;
    }
    this.view = view;
    const progress = element("progress", {
      max: session.order.length,
      value: session.state.answers.length,
      "aria-label": "Progress",
    });
    const training = paragraph(
      "Get to know the sounds and set the volume. What you answer here is not kept.",
    );
    training.className = "training";
    const warning = "This browser keeps nothing: do not reload or close the page.";
    const rest = view.render();
    show(
      heading,
      options.training ? training : progress,
      ...(this.keepsNothing ? [element("p", { class: "error" }, warning)] : []),
      ...rest,
    );
  }

  end() {
    const { session } = this;
    const served = location.protocol.startsWith("http");
    const comment = element("textarea", { rows: 3, maxlength: 1000 });
    comment.value = session.state.comment;
    const keep = () => {
      session.state.comment = clean(comment.value).trim();
      session.save();
    };
    comment.addEventListener("input", keep);
    const told = element("p", { role: "status" });
    const send = button("Send the answers", () => this.send(told, send), { class: "next" });
    const save = button("Save the answers as a file", () => this.download(), {
      class: served ? "" : "next",
    });
    if (session.state.sent) {
      comment.disabled = send.disabled = true;
      told.textContent = "Your answers were received. You can close this page.";
    }
    show(
      "Thank you",
      paragraph(
        served
          ? "You have answered all trials. Send your answers; a file is only needed where that fails."
          : "You have answered all trials. Save your answers, and give the file to whoever asked you.",
      ),
      element("label", { class: "field" }, "Comments (optional)", comment),
      element("div", { class: "row" }, ...(served ? [send] : []), save),
      told,
    );
  }

  async send(told, pressed) {
    const { session } = this;
    pressed.disabled = true;
    told.textContent = "Sending";
    try {
      const response = await fetch("answers", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(session.exported(false)),
      });
      if (!response.ok) throw new Error((await response.text()).trim());
      session.state.sent = true;
      session.save();
      this.end();
    } catch (error) {
      told.textContent = `The answers were not received (${error.message}). Try again, or save them as a file.`;
      pressed.disabled = false;
    }
  }

  download() {
    const text = `${JSON.stringify(this.session.exported(true), null, 1)}\n`;
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = element("a", { href: address, download: this.session.fileName });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }
}

const app = new App();
