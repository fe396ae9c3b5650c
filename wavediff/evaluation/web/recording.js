// Turns the sound of each recording into one player: before and after in step, with the keyboard.
// A page calls bindRecordings.

const SKIP = 1; // seconds of an arrow key
const CLICK = 4; // pixels; a longer way of the pointer selects a loop

let context = null;
let active = null; // the player that was used last

const audioContext = () => (context ??= new AudioContext({ latencyHint: "interactive" }));

const bytes = (url) => bytesOf(url.slice(url.indexOf(",") + 1)).buffer;

function clock(seconds) {
  const tenths = Math.floor(10 * seconds + 0.05);
  const minutes = Math.floor(tenths / 600);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return `${minutes}:${rest}`;
}

/** The player of a section, made when it is first used: a page has up to 50. */
class Recording {
  #player = null;
  #mark = null; // where a loop begins whose end is not set
  #drag = null;
  #frame = null;

  constructor(section) {
    this.section = section;
    this.bar = section.querySelector(".player");
    this.audios = [...section.querySelectorAll("audio")];
    this.views = [...section.querySelectorAll(".view")];
    this.slider = this.bar.querySelector("input");
    this.time = this.bar.querySelector(".time");
    this.tracks = [...this.bar.querySelectorAll("[data-track]")];
    this.playButton = this.bar.querySelector("[data-do=play]");
    this.loopButton = this.bar.querySelector("[data-do=loop]");
    this.seconds = Number(this.bar.dataset.seconds);
    this.#bind();
    for (const audio of this.audios) audio.hidden = true;
    this.bar.hidden = false;
    this.#show();
  }

  get player() {
    if (!this.#player) {
      const sources = this.audios.map((audio) => () => bytes(audio.src));
      this.#player = new Player(audioContext(), sources, { duration: this.seconds });
      this.#player.addEventListener("change", () => this.#show());
    }
    if (active !== this) active?.player.release();
    active = this;
    return this.#player;
  }

  async toggle() {
    try {
      await this.player.toggle();
    } catch {
      for (const audio of this.audios) audio.hidden = false; // the browser may play it itself
      this.bar.hidden = true;
    }
  }

  /** Move to a position; one outside of the loop ends the loop. */
  seek(position) {
    const { player } = this;
    const { start, end } = player.part;
    if (player.repeat && (position < start || position > end)) player.setWhole(false);
    player.seek(position);
  }

  skip(seconds) {
    this.seek(this.player.position + seconds);
  }

  select(track) {
    this.player.select(track);
  }

  /** The first call marks the start of a loop, the second its end, the third ends it. */
  markLoop() {
    const { player } = this;
    if (player.repeat) player.setWhole(false);
    else if (this.#mark === null) this.#mark = player.position;
    else this.#loop(this.#mark, player.position);
    this.#show();
  }

  #loop(...ends) {
    const [start, end] = ends.sort((a, b) => a - b);
    const { player } = this;
    this.#mark = null;
    if (end - start < player.shortest) player.setWhole(false);
    else player.setPart(start, end, true);
  }

  #bind() {
    this.bar.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button === this.playButton) this.toggle();
      else if (button === this.loopButton) this.markLoop();
      else this.select(this.tracks.indexOf(button));
      // a mouse leaves the keys to the player; by the keyboard, focus stays where it is
      if (event.detail > 0) this.bar.focus({ preventScroll: true });
    });
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.views.forEach((view) => {
      for (const name of ["loop", "line"]) {
        const mark = document.createElement("span");
        mark.className = name;
        view.append(mark);
      }
      view.addEventListener("pointerdown", (event) => this.#press(view, event));
      view.addEventListener("pointermove", (event) => this.#pull(view, event));
      view.addEventListener("pointerup", (event) => this.#release(view, event));
      view.addEventListener("pointercancel", () => {
        this.#drag = null;
        this.#show();
      });
    });
  }

  #timeAt(view, event) {
    const box = view.getBoundingClientRect();
    const { left, right } = view.dataset;
    const share = ((event.clientX - box.left) / box.width - left) / (right - left);
    return this.seconds * Math.min(1, Math.max(0, share));
  }

  #press(view, event) {
    if (event.button !== 0) return;
    event.preventDefault(); // no dragging of the picture
    view.setPointerCapture(event.pointerId);
    const time = this.#timeAt(view, event);
    this.#drag = { x: event.clientX, from: time, to: time, moved: false };
  }

  #pull(view, event) {
    if (!this.#drag) return;
    this.#drag.moved ||= Math.abs(event.clientX - this.#drag.x) > CLICK;
    this.#drag.to = this.#timeAt(view, event);
    this.#show();
  }

  #release(view, event) {
    const drag = this.#drag;
    if (!drag) return;
    this.#drag = null;
    if (drag.moved) this.#loop(drag.from, this.#timeAt(view, event));
    else this.seek(drag.from);
    this.bar.focus({ preventScroll: true });
  }

  #show() {
    const player = this.#player;
    const playing = Boolean(player?.playing);
    const position = player?.position ?? 0;
    const looped = Boolean(player?.repeat);
    const loop = this.#drag?.moved
      ? { start: Math.min(this.#drag.from, this.#drag.to), end: Math.max(this.#drag.from, this.#drag.to) }
      : looped && player.part;
    this.section.dataset.playing = playing;
    this.playButton.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.tracks.forEach((button, index) =>
      button.setAttribute("aria-pressed", index === (player?.selected ?? 0)),
    );
    this.loopButton.setAttribute("aria-pressed", looped);
    this.loopButton.textContent =
      looped ? "End loop" : this.#mark === null ? "Loop from here" : "Loop to here";
    this.slider.value = position;
    this.time.textContent = `${clock(position)} / ${clock(this.seconds)}`;
    this.slider.setAttribute("aria-valuetext", `${position.toFixed(1)} seconds`);
    for (const view of this.views) this.#place(view, position, loop);
    if (!playing) return;
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#show();
    });
  }

  #place(view, position, loop) {
    const left = Number(view.dataset.left);
    const width = Number(view.dataset.right) - left;
    const percent = (time) => 100 * (left + (width * Math.min(time, this.seconds)) / this.seconds);
    view.querySelector(".line").style.left = `${percent(position)}%`;
    const shade = view.querySelector(".loop");
    shade.hidden = !loop;
    if (!loop) return;
    shade.style.left = `${percent(loop.start)}%`;
    shade.style.width = `${percent(loop.end) - percent(loop.start)}%`;
  }
}

let recordings = []; // of the page, in its order

/** Make the players of recordings that are new on the page, and stop those that were removed. */
function bindRecordings() {
  const known = new Map(recordings.map((recording) => [recording.section, recording]));
  recordings = [...document.querySelectorAll(".recording .player")].map((bar) => {
    const section = bar.closest(".recording");
    return known.get(section) ?? new Recording(section);
  });
  if (!active || recordings.includes(active)) return;
  active.player.release();
  active = null;
}

const onScreen = (recording) => recording.section.getBoundingClientRect().height > 0;

/** That with the focus, the one used last, or the first on the screen. */
function current() {
  const focused = document.activeElement?.closest(".recording");
  const shown = recordings.filter(onScreen);
  return (
    shown.find((recording) => recording.section === focused) ??
    shown.find((recording) => recording === active) ??
    shown.find((recording) => recording.section.getBoundingClientRect().bottom > 0)
  );
}

const KEYS = {
  " ": (recording) => recording.toggle(),
  1: (recording) => recording.select(0),
  a: (recording) => recording.select(0),
  2: (recording) => recording.select(1),
  b: (recording) => recording.select(1),
  ArrowLeft: (recording) => recording.skip(-SKIP),
  ArrowRight: (recording) => recording.skip(SKIP),
  l: (recording) => recording.markLoop(),
};

const CONTROL = "input, textarea, select, button, [role=tab], [contenteditable]";

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const control = event.target.closest(CONTROL);
  if (control && !control.closest(".recording")) return; // its own keys
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const act = KEYS[key];
  const recording = act && current();
  // a focused button is pressed by the space bar, as everywhere
  if (!recording || (key === " " && event.target.closest("button"))) return;
  event.preventDefault();
  if (!event.repeat || key.startsWith("Arrow")) act(recording);
});
