"use strict";

// What one listener has answered so far, kept by the browser until the end.

const MOST_NAME = 64;

/** The test that this page carries. */
class Test {
  constructor() {
    const bytes = bytesOf(document.getElementById("plan").textContent);
    this.encoded = document.getElementById("plan").textContent.trim();
    this.plan = JSON.parse(new TextDecoder().decode(bytes));
    this.id = document.querySelector('meta[name="wavediff-listening-test"]').content;
  }

  get isChoice() {
    return ["ab", "abx"].includes(this.plan.method);
  }
}

function newIdentifier() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Now, in whole seconds: 2026-01-31T12:00:00Z. */
function now() {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}

/** A text without control characters and halves of characters, which no server would take. */
function clean(text) {
  return text.replace(/\p{Cs}|[^\P{Cc}\n\t]/gu, "");
}

class Session {
  constructor(test, state) {
    this.test = test;
    this.state = state;
    this.order = shuffled(test.plan.trials, randomizer(`${test.plan.seed}/${state.listener}`));
  }

  static begin(test, listener, device, shortcuts) {
    const state = {
      session: newIdentifier(),
      listener,
      device,
      shortcuts,
      started: now(),
      finished: null,
      comment: "",
      trained: false,
      sent: false,
      answers: [],
      draft: null,
    };
    return new Session(test, state);
  }

  /** The session that this browser keeps, or null. */
  static restore(test) {
    try {
      const state = JSON.parse(localStorage.getItem(Session.key(test)));
      return state ? new Session(test, state) : null;
    } catch {
      return null;
    }
  }

  static key(test) {
    return `wavediff-listening-test-${test.id}`;
  }

  /** Keep what was answered; false where the browser keeps nothing. */
  save() {
    try {
      localStorage.setItem(Session.key(this.test), JSON.stringify(this.state));
      return true;
    } catch {
      return false;
    }
  }

  static forget(test) {
    try {
      localStorage.removeItem(Session.key(test));
    } catch {
      // a browser that keeps nothing
    }
  }

  get finished() {
    return this.state.answers.length === this.order.length;
  }

  get trial() {
    return this.order[this.state.answers.length];
  }

  /** How a trial is presented: its stimuli in random order, and which of them is X. */
  presentation(trial) {
    const random = randomizer(`${this.test.plan.seed}/${this.state.listener}/${trial.id}`);
    const stimuli = shuffled(trial.stimuli, random);
    const x = this.test.plan.method === "abx" ? stimuli[random() < 0.5 ? 0 : 1] : null;
    return { stimuli, x };
  }

  /** Keep the state of a trial that is not yet complete. */
  keepDraft(trial, draft) {
    this.state.draft = { trial: trial.id, ...draft };
    return this.save();
  }

  draftOf(trial) {
    return this.state.draft?.trial === trial.id ? this.state.draft : null;
  }

  add(answer) {
    this.state.answers.push(answer);
    this.state.draft = null;
    if (this.finished) this.state.finished = now();
    return this.save();
  }

  /** What is sent to a server; a file has the test, too. */
  exported(withTest) {
    const { session, listener, device, started, finished, comment, answers } = this.state;
    const found = { format: "wavediff-listening-answers", version: 1, test: this.test.id };
    if (withTest) found.manifest = this.test.encoded;
    return { ...found, session, listener, device, started, finished, comment, answers };
  }

  get fileName() {
    const name = this.state.listener.replace(/[^\p{L}\p{N}_-]+/gu, "_");
    return `answers-${name}-${this.state.session.slice(0, 8)}.json`;
  }
}
