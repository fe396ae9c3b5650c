"use strict";

// All sounds of a trial play at once, of the same position, and all but one are muted: switching
// keeps the position to the sample, and is a linear cross-fade, whose gains add up to 1.

const FADE = 0.02; // seconds of a cross-fade
const EDGE = 0.005; // seconds of the raised cosine at the ends of a part, as in BS.1534-3
const LEAD = 0.01; // seconds ahead, so that the audio thread has not passed the time of a change
const START = 0.04; // seconds ahead, within which all sources are told to start
const SHORTEST = 0.2; // seconds of a part

/** A gain whose value at a time is known: AudioParam.value is not, in every browser. */
class Fader {
  constructor(context, value) {
    this.node = context.createGain();
    this.node.gain.setValueAtTime(value, 0);
    this.from = this.to = value;
    this.begin = this.end = 0;
  }

  valueAt(time) {
    if (time >= this.end) return this.to;
    if (time <= this.begin) return this.from;
    return this.from + ((this.to - this.from) * (time - this.begin)) / (this.end - this.begin);
  }

  /** Go to a value within FADE seconds from a time on, also out of another fade. */
  fade(target, time) {
    const begin = Math.max(time, this.begin + 0.001);
    const value = this.valueAt(begin);
    const gain = this.node.gain;
    gain.cancelScheduledValues(begin);
    if (begin < this.end) gain.linearRampToValueAtTime(value, begin);
    else gain.setValueAtTime(value, begin);
    gain.linearRampToValueAtTime(target, begin + FADE);
    Object.assign(this, { from: value, to: target, begin, end: begin + FADE });
  }
}

/** Plays sounds of equal length in step, in any BaseAudioContext. */
class Player {
  constructor(context) {
    this.context = context;
    this.output = context.createGain();
    this.output.connect(context.destination);
    this.onchange = () => {};
    this.loop = true;
    this.load([]);
  }

  /** Take the AudioBuffers of a trial; the whole of them is played. */
  load(buffers) {
    this.pause();
    this.buffers = buffers;
    this.duration = buffers.length ? Math.min(...buffers.map((b) => b.duration)) : 0;
    this.part = [0, this.duration];
    this.parts = buffers;
    this.selected = 0;
    this.rest = 0; // position when it does not play
  }

  get playing() {
    return Boolean(this.deck);
  }

  /** Seconds from the beginning of the sounds. */
  get position() {
    if (!this.deck) return this.rest;
    const [start, end] = this.part;
    const passed = Math.max(0, this.context.currentTime - this.deck.begin);
    const ahead = this.deck.offset + passed;
    return this.loop ? start + (ahead % (end - start)) : Math.min(end, start + ahead);
  }

  play() {
    if (this.deck || !this.buffers.length) return;
    const context = this.context;
    const [start, end] = this.part;
    const begin = context.currentTime + START;
    let offset = this.rest - start;
    if (offset < 0 || offset > end - start - 0.01) offset = 0;
    const master = new Fader(context, 0);
    master.node.connect(this.output);
    const faders = this.parts.map((_, i) => new Fader(context, i === this.selected ? 1 : 0));
    const sources = this.parts.map((buffer, i) => {
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.loop = this.loop;
      source.connect(faders[i].node).connect(master.node);
      source.start(begin, offset);
      return source;
    });
    master.fade(1, begin);
    const deck = { begin, offset, master, faders, sources };
    this.deck = deck;
    sources[0].onended = () => {
      if (this.deck !== deck) return;
      this.deck = null;
      this.rest = this.part[0];
      this.onchange();
    };
    this.onchange();
  }

  pause() {
    if (!this.deck) return;
    const deck = this.deck;
    this.rest = this.position;
    this.deck = null;
    const now = this.context.currentTime + LEAD;
    deck.master.fade(0, now);
    for (const source of deck.sources) source.stop(Math.max(now, deck.begin) + 2 * FADE);
    this.onchange();
  }

  /** Let another sound be heard, at the same position. */
  select(index) {
    this.selected = index;
    if (this.deck) {
      const time = Math.max(this.context.currentTime + LEAD, this.deck.begin);
      this.deck.faders.forEach((fader, i) => fader.fade(i === index ? 1 : 0, time));
    }
    this.onchange();
  }

  seek(seconds) {
    this.again(() => {
      this.rest = Math.min(this.part[1], Math.max(this.part[0], seconds));
    });
  }

  setLoop(loop) {
    this.again(() => {
      this.loop = loop;
    });
  }

  /** Play the part from start to end, in seconds, only; its length is at least SHORTEST. */
  setPart(start, end) {
    const length = Math.min(SHORTEST, this.duration);
    start = Math.min(Math.max(0, start), this.duration - length);
    end = Math.min(this.duration, Math.max(end, start + length));
    this.again(() => {
      this.part = [start, end];
      const whole = start === 0 && end === this.duration;
      this.parts = whole ? this.buffers : this.buffers.map((b) => this.cut(b, start, end));
      if (this.rest < start || this.rest >= end) this.rest = start;
    });
  }

  /** Change something for which the sources have to start again. */
  again(change) {
    const playing = this.playing;
    this.pause();
    change();
    if (playing) this.play();
    else this.onchange();
  }

  /** A part of a sound that can be repeated without a click. */
  cut(buffer, start, end) {
    const rate = buffer.sampleRate;
    const first = Math.round(start * rate);
    const length = Math.max(1, Math.min(Math.round(end * rate), buffer.length) - first);
    const part = this.context.createBuffer(buffer.numberOfChannels, length, rate);
    const edge = Math.min(Math.round(EDGE * rate), length >> 1);
    for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
      const samples = buffer.getChannelData(channel).slice(first, first + length);
      for (let i = 0; i < edge; i++) {
        const gain = Math.sin((Math.PI / 2) * (i / edge)) ** 2;
        samples[i] *= gain;
        samples[length - 1 - i] *= gain;
      }
      part.copyToChannel(samples, channel);
    }
    return part;
  }
}
