"use strict";

// Tracks of one recording, played in step: all run at once, of the same position, and all but one
// are muted. Switching keeps the position to the sample, and is a linear cross-fade.

const LEAD = 0.02; // seconds by which changes are scheduled ahead, so that no ramp begins too late
const START = 0.04; // seconds ahead of a start, within which all tracks are told to start

/** A gain that moves by linear ramps. Its value is computed: not every browser reports it. */
class Fader {
  #gain;
  #seconds;
  #ramp;

  constructor(context, value, seconds) {
    this.node = new GainNode(context, { gain: value });
    this.#gain = this.node.gain;
    this.#seconds = seconds;
    this.#ramp = { from: value, to: value, begin: 0, end: 0 };
  }

  /** Move to a value from a time on, also out of another ramp. */
  to(value, at) {
    const { from, to, begin: began, end } = this.#ramp;
    const begin = Math.max(at, began);
    const running = begin <= end;
    const now = running ? from + ((to - from) * (begin - began)) / (end - began) : to;
    this.#gain.cancelScheduledValues(begin); // the whole of a running ramp, not only its rest
    if (running) this.#gain.linearRampToValueAtTime(now, begin);
    else this.#gain.setValueAtTime(now, begin);
    this.#gain.linearRampToValueAtTime(value, begin + this.#seconds);
    this.#ramp = { from: now, to: value, begin, end: begin + this.#seconds };
  }
}

/**
 * A part of a buffer that can be repeated without a click, by raised cosines: with crossFade, its
 * start is cross-faded with what follows its end; else, or where nothing follows, both are faded.
 */
function cut(context, buffer, first, last, edge, crossFade) {
  const length = last - first;
  const part = context.createBuffer(buffer.numberOfChannels, length, buffer.sampleRate);
  const fade = Math.min(edge, length >> 1);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const data = buffer.getChannelData(c);
    const samples = part.getChannelData(c);
    samples.set(data.subarray(first, last));
    const follows = crossFade && last + fade <= data.length;
    for (let i = 0; i < fade; i++) {
      const weight = Math.sin((Math.PI / 2) * (i / fade)) ** 2;
      samples[i] = weight * samples[i] + (follows ? (1 - weight) * data[last + i] : 0);
      if (!follows) samples[length - 1 - i] *= weight;
    }
  }
  return part;
}

/**
 * Plays one of several tracks, the whole or a part, once or repeatedly. Times are in seconds.
 *
 * Dispatches "change" when it starts, stops, ends, seeks, or another track or part is selected.
 */
class Player extends EventTarget {
  #context;
  #sources;
  #options;
  #loading = null;
  #buffers = null;
  #cut = null; // {tracks, start, end}: what is played of the buffers, at whole samples
  #voice = null;
  #wanted = false; // to play, also while the tracks are being decoded
  #position = 0; // while nothing plays
  #selected = 0;
  #start = 0;
  #end = Infinity; // to the end of the recording
  #repeat;

  /**
   * @param {BaseAudioContext} context - shared by the players of a page
   * @param {Array<function(): (ArrayBuffer|AudioBuffer|Promise)>} sources - one per track: a sound
   *   file, which is decoded at the first play, or decoded audio
   * @param {{fade?: number, edge?: ?number, shortest?: number, repeat?: boolean,
   *   duration?: number}} options - fade: length of every cross-fade; edge: length of the fades at
   *   both ends of a part, for recordings whose own ends are faded, or null to cross-fade the end
   *   of what is repeated with its start; shortest: length of a part; duration: of the recording,
   *   before it is decoded
   */
  constructor(context, sources, options = {}) {
    super();
    this.#context = context;
    this.#sources = sources;
    this.#options = { fade: 0.01, edge: null, shortest: 0.05, ...options };
    this.#repeat = options.repeat ?? false;
    this.duration = options.duration ?? 0;
  }

  get playing() {
    return this.#wanted;
  }

  get selected() {
    return this.#selected;
  }

  get shortest() {
    return this.#options.shortest;
  }

  /** What is played, {start, end}. */
  get part() {
    return { start: this.#start, end: Math.min(this.#end, this.duration) };
  }

  get repeat() {
    return this.#repeat;
  }

  set repeat(repeat) {
    this.setPart(this.#start, this.#end, repeat);
  }

  get position() {
    if (!this.#voice) return this.#position;
    const { offset, at, start, end, repeat } = this.#voice;
    const played = offset - start + Math.max(0, this.#context.currentTime - at);
    return repeat ? start + (played % (end - start)) : Math.min(end, start + played);
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

  /** Go on from the position, or at the end from the start. */
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
    const { start, end } = this.part;
    this.#begin(this.#position < end - this.#options.fade ? this.#position : start);
    this.#changed();
  }

  pause() {
    this.#position = this.position;
    this.#wanted = false;
    this.#stop(this.#ahead(LEAD));
    this.#changed();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  /** Move to a position within the part. */
  seek(position) {
    const { start, end } = this.part;
    this.#move(Math.min(end, Math.max(start, position)));
  }

  /** Switch to another track at the same position. */
  select(track) {
    if (track < 0 || track >= this.#sources.length) return;
    this.#selected = track;
    const at = this.#ahead(LEAD);
    this.#voice?.faders.forEach((fader, index) => fader.to(index === track ? 1 : 0, at));
    this.#changed();
  }

  /** Play only a part, which is made longer where it is too short. */
  setPart(start, end, repeat = this.#repeat) {
    const position = this.position;
    const shortest = Math.min(this.shortest, this.duration);
    this.#start = Math.min(Math.max(0, start), this.duration - shortest);
    this.#end = Math.max(end, this.#start + shortest);
    if (this.#end >= this.duration) this.#end = Infinity;
    this.#repeat = repeat;
    this.#cut = null;
    const inside = position >= this.#start && position < this.#end;
    this.#move(inside ? position : this.#start);
  }

  /** Play all, once or repeatedly. */
  setWhole(repeat = this.#repeat) {
    this.setPart(0, Infinity, repeat);
  }

  /** Stop, and give the memory of the decoded tracks back. */
  release() {
    this.pause();
    this.#loading = this.#buffers = this.#cut = null;
  }

  #ahead(seconds) {
    return this.#context.currentTime + Math.max(seconds, this.#context.baseLatency || 0);
  }

  #move(to) {
    this.#position = to;
    if (this.#voice) this.#begin(to);
    this.#changed();
  }

  #cutTracks() {
    const { fade, edge } = this.#options;
    const buffers = this.#buffers;
    const rate = buffers[0].sampleRate; // that of the context
    const longest = Math.max(...buffers.map((buffer) => buffer.length));
    const first = Math.round(this.#start * rate);
    const last = this.#end === Infinity ? longest : Math.round(this.#end * rate);
    const crossFade = this.#repeat && edge === null;
    const whole = first === 0 && last === longest;
    const samples = Math.round((edge ?? fade) * rate);
    const tracks =
      whole && !crossFade
        ? buffers
        : buffers.map((b) => cut(this.#context, b, first, last, samples, crossFade));
    return { tracks, start: first / rate, end: last / rate };
  }

  /** Start the tracks; what plays is cross-faded with them. */
  #begin(position) {
    const context = this.#context;
    const { fade } = this.#options;
    this.#cut ??= this.#cutTracks(); // before the time is taken
    const { tracks, start, end } = this.#cut;
    const at = this.#ahead(START);
    this.#stop(at);
    const out = new Fader(context, 0, fade);
    out.node.connect(context.destination);
    out.to(1, at);
    const offset = Math.min(end, Math.max(start, position));
    const repeat = this.#repeat;
    const voice = { offset, at, start, end, repeat, out, faders: [], nodes: [] };
    tracks.forEach((buffer, index) => {
      const fader = new Fader(context, index === this.#selected ? 1 : 0, fade);
      const node = new AudioBufferSourceNode(context, { buffer, loop: repeat });
      node.connect(fader.node).connect(out.node);
      node.start(at, offset - start);
      voice.faders.push(fader);
      voice.nodes.push(node);
    });
    const lengths = tracks.map((buffer) => buffer.length);
    const longest = voice.nodes[lengths.indexOf(Math.max(...lengths))];
    longest.onended = () => this.#ended(voice);
    this.#voice = voice;
  }

  #ended(voice) {
    voice.out.node.disconnect();
    if (voice !== this.#voice) return; // it was stopped
    this.#voice = null;
    this.#wanted = false;
    this.#position = voice.end;
    this.#changed();
  }

  #stop(time) {
    if (!this.#voice) return;
    const { at, out, nodes } = this.#voice;
    this.#voice = null;
    out.to(0, time);
    for (const node of nodes) node.stop(Math.max(time, at) + 2 * this.#options.fade);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
