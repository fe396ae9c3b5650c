"use strict";

// One trial on the screen: the sounds, the transport, and the answer of its method.

const MOST_SECONDS = 604800; // a week: a page that was left open
// seconds: the cross-fade of a switch, the raised cosine at the ends of a part (as in BS.1534-3)
const SOUND = { fade: 0.02, edge: 0.005, shortest: 0.2 };
const WORDS = ["bad", "poor", "fair", "good", "excellent"];

/** The word of BS.1534 for a rating from 0 to 100. */
function word(rating) {
  return WORDS[Math.min(4, Math.floor(rating / 20))];
}

class TrialView {
  /**
   * presentation: of Session; draft: what was answered before a reload, or null;
   * options: shortcuts, training, onDraft(draft), onDone(answer).
   */
  constructor(test, context, trial, presentation, draft, options) {
    Object.assign(this, { test, trial, options, ...presentation });
    this.method = test.plan.method;
    this.entries = this.makeEntries();
    this.player = this.makePlayer(context);
    this.ratings = { ...draft?.ratings };
    this.choice = draft?.choice ?? null;
    this.heard = new Set(draft?.heard);
    this.before = draft?.seconds ?? 0;
    this.begun = performance.now();
    this.problem = element("p", { class: "error", role: "alert" });
    this.onkeydown = (event) => this.key(event);
  }

  /** What can be heard: a label, a key, and the sound. */
  makeEntries() {
    const { method, stimuli, trial, x } = this;
    const own = stimuli.map((stimulus, i) => {
      const rated = { mushra: `Sound ${i + 1}`, mos: "Sound" }[method];
      const keys = { mushra: [String(i + 1)], mos: [] }[method];
      const letter = "AB"[i];
      return {
        label: rated ?? letter,
        keys: keys ?? [letter.toLowerCase(), String(i + 1)],
        sound: stimulus.sound,
        stimulus,
      };
    });
    if (x) own.push({ label: "X", keys: ["x", "3"], sound: x.sound, stimulus: null });
    if (trial.reference) {
      own.unshift({ label: "Reference", keys: ["r", "0"], sound: trial.reference, stimulus: null });
    }
    return own;
  }

  get seconds() {
    const seconds = this.before + (performance.now() - this.begun) / 1000;
    return Math.min(MOST_SECONDS, Math.round(10 * seconds) / 10);
  }

  makePlayer(context) {
    const decoded = new Map(); // the reference is among the sounds, too
    const decode = (name) => {
      if (!decoded.has(name)) {
        const text = document.getElementById(`sound-${name}`).textContent;
        decoded.set(name, context.decodeAudioData(bytesOf(text).buffer));
      }
      return decoded.get(name);
    };
    const sources = this.entries.map((entry) => () => decode(entry.sound));
    return new Player(context, sources, { ...SOUND, repeat: this.method !== "mos" });
  }

  async open() {
    await this.player.load();
    this.player.addEventListener("change", () => this.refresh());
    document.addEventListener("keydown", this.onkeydown);
  }

  close() {
    this.player.release();
    document.removeEventListener("keydown", this.onkeydown);
    cancelAnimationFrame(this.frame);
  }

  /** The elements below the heading. */
  render() {
    const asks = paragraph(this.test.plan.question);
    const transport = this.renderTransport(); // first: it makes the buttons of the sounds
    const answer = {
      mushra: () => this.renderSliders(),
      mos: () => this.renderCategories(),
      ab: () => this.renderChoice("Better"),
      abx: () => this.renderChoice("X is the same as"),
    }[this.method]();
    const next = button(this.options.training ? "Start the test" : "Next", () => this.done(), {
      class: "next",
    });
    const made = [asks, transport, ...answer, this.problem];
    made.push(element("div", { class: "row" }, next));
    this.refresh();
    this.draw();
    return made;
  }

  renderTransport() {
    const player = this.player;
    const { duration } = player;
    const tenths = { min: 0, max: duration.toFixed(2), step: 0.05 };
    this.playButton = button("Play", () => player.toggle(), { "aria-keyshortcuts": "Space" });
    this.loopBox = element("input", {
      type: "checkbox",
      change: () => {
        player.repeat = this.loopBox.checked;
      },
    });
    const place = slider("Position", { ...tenths, value: 0 }, (at) => player.seek(at));
    const first = slider("Part from", { ...tenths, value: 0 }, (at) =>
      player.setPart(at, player.part.end),
    );
    const last = slider("Part to", { ...tenths, value: duration }, (at) =>
      player.setPart(Math.min(player.part.start, at - player.shortest), at),
    );
    this.place = place.input;
    this.edges = [first.input, last.input];
    const sounds = this.entries.map((entry, i) => {
      entry.button = button(entry.label, () => this.hear(i), {
        "aria-pressed": "false",
        "aria-keyshortcuts": entry.keys.join(" ") || null,
      });
      return entry.button;
    });
    const rated = this.method === "mushra"; // whose sounds stand beside their sliders
    const apart = sounds.filter((_, i) => !rated || !this.entries[i].stimulus);
    return element(
      "div",
      { class: "box" },
      element(
        "div",
        { class: "row", role: "group", "aria-label": "Sounds" },
        this.playButton,
        ...(this.entries.length > 1 ? apart : []),
      ),
      place.row,
      element(
        "details",
        {},
        element("summary", {}, "Repeat a part"),
        element("label", { class: "check" }, this.loopBox, "Repeat"),
        first.row,
        last.row,
        button("Whole sound", () => player.setWhole()),
      ),
    );
  }

  renderSliders() {
    const rows = this.entries
      .filter((entry) => entry.stimulus)
      .map((entry) => {
        const id = entry.stimulus.id;
        const input = element("input", {
          type: "range",
          min: 0,
          max: 100,
          step: 1,
          value: this.ratings[id] ?? 50,
          "aria-label": `Rating of ${entry.label}`,
        });
        const output = element("output", {});
        const tell = () => {
          const rating = this.ratings[id];
          const text = rating === undefined ? "not rated" : `${rating}, ${word(rating)}`;
          input.setAttribute("aria-valuetext", text);
          output.textContent = rating === undefined ? "–" : String(rating);
        input.classList.toggle("unrated", rating === undefined);
        };
        const rate = () => {
          this.ratings[id] = Number(input.value);
          tell();
          this.keep();
        };
        input.addEventListener("input", rate);
        input.addEventListener("pointerup", rate); // 50 itself
        input.addEventListener("keydown", (event) => event.key === "Enter" && rate());
        tell();
        return element("div", { class: "rating" }, entry.button, input, output);
      });
    const words = WORDS.map((text) => element("span", {}, text));
    const scale = element(
      "div",
      { class: "scale", "aria-hidden": "true" },
      element("span", {}),
      element("div", {}, ...words),
    );
    return [scale, ...rows];
  }

  renderCategories() {
    const id = this.stimuli[0].id;
    const options = [5, 4, 3, 2, 1].map((rating) => [rating, `${rating} – ${word(20 * rating - 20)}`]);
    return [
      this.radios("Rating", options, this.ratings[id], (rating) => {
        this.ratings[id] = rating;
      }),
    ];
  }

  renderChoice(legend) {
    const options = this.stimuli.map((stimulus, i) => [stimulus.id, "AB"[i]]);
    return [
      this.radios(legend, options, this.choice, (choice) => {
        this.choice = choice;
      }),
    ];
  }

  radios(legend, options, chosen, onchange) {
    this.inputs = options.map(([value]) =>
      element("input", {
        type: "radio",
        name: "answer",
        value,
        checked: value === chosen,
        change: () => {
          onchange(value);
          this.keep();
        },
      }),
    );
    const labels = options.map(([, text], i) => element("label", {}, this.inputs[i], text));
    return element("fieldset", {}, element("legend", {}, legend), ...labels);
  }

  /** Show the state of the player. */
  refresh() {
    const player = this.player;
    if (player.playing) {
      const { size } = this.heard;
      this.heard.add(player.selected);
      if (this.heard.size > size) this.keep();
    }
    this.playButton.textContent = player.playing ? "Pause" : "Play";
    this.loopBox.checked = player.repeat;
    const { start, end } = player.part;
    [start, end].forEach((seconds, i) => {
      this.edges[i].value = seconds;
      this.edges[i].setAttribute("aria-valuetext", `${seconds.toFixed(2)} seconds`);
    });
    this.entries.forEach((entry, i) => {
      entry.button.setAttribute("aria-pressed", String(i === player.selected));
    });
  }

  /** Follow the position while it plays. */
  draw() {
    const { position, duration } = this.player;
    this.place.value = position;
    const text = `${position.toFixed(1)} of ${duration.toFixed(1)} seconds`;
    if (document.activeElement !== this.place || !this.player.playing) {
      this.place.setAttribute("aria-valuetext", text); // not read aloud all the time
    }
    this.frame = requestAnimationFrame(() => this.draw());
  }

  hear(index) {
    this.player.select(index);
    this.player.play();
    say(`${this.entries[index].label} plays`);
  }

  key(event) {
    if (!this.options.shortcuts() || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    const own = { BUTTON: [" ", "Enter"], SUMMARY: [" ", "Enter"] }[target.tagName] ?? [];
    const typed = target.matches?.("input[type=radio], input[type=checkbox]") ? [" "] : own;
    if (typed.includes(event.key)) return; // the element's own key
    const { player } = this;
    const key = event.key.toLowerCase();
    const rating = this.method === "mos" ? ["1", "2", "3", "4", "5"].indexOf(key) : -1;
    const found = this.entries.findIndex((entry) => entry.keys.includes(key));
    if (key === " ") player.toggle();
    else if (rating >= 0) this.inputs[4 - rating].click();
    else if (found >= 0) this.hear(found);
    else if (key === "l") player.repeat = !player.repeat;
    else if (key === "[") player.setPart(player.position, player.part.end);
    else if (key === "]") player.setPart(player.part.start, player.position);
    else if (key === "\\") player.setWhole();
    else if (key === "n") this.done();
    else return;
    event.preventDefault();
  }

  get answer() {
    const found = {
      trial: this.trial.id,
      order: this.stimuli.map((stimulus) => stimulus.id),
      seconds: this.seconds,
    };
    if (!this.test.isChoice) return { ...found, ratings: this.ratings };
    if (this.x) found.x = this.x.id;
    return { ...found, choice: this.choice };
  }

  keep() {
    const { ratings, choice, heard, seconds } = this;
    this.problem.textContent = "";
    this.options.onDraft({ ratings, choice, heard: [...heard], seconds });
  }

  /** What is missing, in a sentence; empty where the answer is complete. */
  get missing() {
    const unheard = this.entries.find((_, i) => !this.heard.has(i));
    if (unheard) return `Listen to ${unheard.label} first.`;
    if (this.test.isChoice) return this.choice ? "" : "Choose A or B first.";
    const unrated = this.entries.find((e) => e.stimulus && !(e.stimulus.id in this.ratings));
    return unrated ? `Rate ${unrated.label} first.` : "";
  }

  done() {
    const missing = this.options.training ? "" : this.missing;
    this.problem.textContent = missing;
    if (missing) return;
    this.close();
    this.options.onDone(this.answer);
  }
}
