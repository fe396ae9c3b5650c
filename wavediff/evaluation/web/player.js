// Tracks of one recording, played in step: switched, sought and looped without a click.

const LEAD = 0.02; // seconds by which changes are scheduled ahead, so that no ramp begins too late
const SHORTEST_LOOP = 0.05; // seconds

/** A gain that moves by linear ramps. Its value is computed: not every browser reports it. */
class Fader {
  #param;
  #seconds;
  #ramp;

  constructor(context, value, seconds) {
    this.node = context.createGain();
    this.#param = this.node.gain;
    this.#param.value = value;
    this.#seconds = seconds;
    this.#ramp = { from: value, to: value, at: 0 };
  }

  to(value, at) {
    const { from, to, at: began } = this.#ramp;
    const share = Math.min(1, Math.max(0, (at - began) / this.#seconds));
    const now = from + share * (to - from);
    this.#param.cancelScheduledValues(at);
    this.#param.setValueAtTime(now, at);
    this.#param.linearRampToValueAtTime(value, at + this.#seconds);
    this.#ramp = { from: now, to: value, at };
  }
}

/**
 * A part of a buffer whose end leads into its start: the start is cross-faded with what follows the
 * end; where nothing follows, both are faded.
 */
function loopBuffer(context, buffer, first, last, samples) {
  const length = last - first;
  const looped = context.createBuffer(buffer.numberOfChannels, length, buffer.sampleRate);
  const fade = Math.min(samples, length >> 1);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const data = buffer.getChannelData(c);
    const part = looped.getChannelData(c);
    part.set(data.subarray(first, last));
    const follows = last + fade <= data.length;
    for (let i = 0; i < fade; i++) {
      const weight = (i + 1) / (fade + 1);
      part[i] = weight * part[i] + (follows ? (1 - weight) * data[last + i] : 0);
      if (!follows) part[length - 1 - i] *= weight;
    }
  }
  return looped;
}

/**
 * Plays one of several tracks; all run at the same position. Times are in seconds.
 *
 * Dispatches "change" when it starts, stops, ends, seeks, or another track or loop is selected.
 */
export class SyncPlayer extends EventTarget {
  #context;
  #sources;
  #fade;
  #loading = null;
  #buffers = null;
  #voice = null;
  #wanted = false; // to play, also while the tracks are being decoded
  #position = 0; // while nothing plays
  #selected = 0;
  #loop = null;

  /**
   * @param {AudioContext} context - shared by the players of a page
   * @param {Array<function(): (ArrayBuffer|AudioBuffer|Promise)>} sources - one per track: a sound
   *   file, which is decoded at the first play, or decoded audio
   * @param {{fade?: number, duration?: number}} options - fade: length of every cross-fade;
   *   duration: of the recording, before it is decoded
   */
  constructor(context, sources, { fade = 0.01, duration = 0 } = {}) {
    super();
    this.#context = context;
    this.#sources = sources;
    this.#fade = fade;
    this.duration = duration;
  }

  get playing() {
    return this.#wanted;
  }

  get selected() {
    return this.#selected;
  }

  /** The part that is repeated, {start, end}, or null. */
  get loop() {
    return this.#loop;
  }

  get position() {
    if (!this.#voice) return this.#position;
    const { offset, at, loop } = this.#voice;
    const played = Math.max(0, this.#context.currentTime - at);
    if (!loop) return Math.min(this.duration, offset + played);
    return loop.start + ((offset - loop.start + played) % (loop.end - loop.start));
  }

  /** Decode the tracks. */
  async load() {
    this.#loading ??= Promise.all(
      this.#sources.map(async (source) => {
        const sound = await source();
        return sound instanceof ArrayBuffer ? this.#context.decodeAudioData(sound) : sound;
      }),
    );
    const loading = this.#loading;
    const buffers = await loading;
    if (loading !== this.#loading) return; // released meanwhile
    this.#buffers = buffers;
    this.duration = Math.max(...buffers.map((buffer) => buffer.duration));
  }

  async play() {
    this.#wanted = true;
    if (this.#context.state === "suspended" && this.#context.close) this.#context.resume();
    this.#changed();
    try {
      await this.load();
    } catch (error) {
      this.release();
      throw error;
    }
    if (!this.#wanted || this.#voice || !this.#buffers) return;
    this.#start(this.#position < this.duration - this.#fade ? this.#position : 0);
    this.#changed();
  }

  pause() {
    this.#position = this.position;
    this.#wanted = false;
    this.#stop();
    this.#changed();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  /** Move to a position; one outside of the loop ends the loop. */
  seek(position) {
    const to = Math.min(this.duration, Math.max(0, position));
    if (this.#loop && (to < this.#loop.start || to > this.#loop.end)) this.#loop = null;
    this.#move(to);
  }

  /** Switch to another track at the same position. */
  select(track) {
    if (track < 0 || track >= this.#sources.length) return;
    this.#selected = track;
    const at = this.#context.currentTime + this.#lead;
    this.#voice?.faders.forEach((fader, index) => fader.to(index === track ? 1 : 0, at));
    this.#changed();
  }

  /** Repeat a part, of at least 50 ms, until setLoop(null). */
  setLoop(start, end) {
    const [first, last] = [Math.min(start, end), Math.max(start, end)].map((time) =>
      Math.min(this.duration, Math.max(0, time)),
    );
    const position = this.position;
    this.#loop =
      start === null || last - first < SHORTEST_LOOP ? null : { start: first, end: last };
    const inside = !this.#loop || (position >= first && position < last);
    this.#move(inside ? position : first);
  }

  /** Stop, and give the memory of the decoded tracks back. */
  release() {
    this.pause();
    this.#loading = this.#buffers = null;
  }

  get #lead() {
    return Math.max(LEAD, this.#context.baseLatency || 0);
  }

  #move(to) {
    this.#position = to;
    if (this.#voice) {
      this.#stop();
      this.#start(to);
    }
    this.#changed();
  }

  #start(offset) {
    const context = this.#context;
    const at = context.currentTime + this.#lead;
    const out = new Fader(context, 0, this.#fade);
    out.node.connect(context.destination);
    out.to(1, at);
    const voice = { offset, at, out, loop: null, faders: [], nodes: [] };
    let begin = offset;
    let parts = this.#buffers;
    if (this.#loop) {
      const rate = this.#buffers[0].sampleRate; // that of the context
      const [first, last] = [this.#loop.start, this.#loop.end].map((t) => Math.round(t * rate));
      const fade = Math.round(this.#fade * rate);
      parts = parts.map((buffer) => loopBuffer(context, buffer, first, last, fade));
      voice.loop = { start: first / rate, end: last / rate };
      voice.offset = Math.min(Math.max(offset, voice.loop.start), voice.loop.end);
      begin = voice.offset - voice.loop.start;
    }
    parts.forEach((buffer, index) => {
      const fader = new Fader(context, index === this.#selected ? 1 : 0, this.#fade);
      const node = new AudioBufferSourceNode(context, { buffer, loop: Boolean(this.#loop) });
      node.connect(fader.node).connect(out.node);
      node.start(at, begin);
      voice.faders.push(fader);
      voice.nodes.push(node);
    });
    const lengths = parts.map((buffer) => buffer.length);
    const longest = voice.nodes[lengths.indexOf(Math.max(...lengths))];
    longest.onended = () => this.#ended(voice);
    this.#voice = voice;
  }

  #ended(voice) {
    voice.out.node.disconnect();
    if (voice !== this.#voice) return; // it was stopped
    this.#voice = null;
    this.#wanted = false;
    this.#position = this.duration;
    this.#changed();
  }

  #stop() {
    if (!this.#voice) return;
    const { out, nodes } = this.#voice;
    this.#voice = null;
    const at = this.#context.currentTime + this.#lead;
    out.to(0, at);
    for (const node of nodes) node.stop(at + this.#fade);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
