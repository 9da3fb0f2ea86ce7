"use strict";
// The one slider: a range of time and a moment in it, which all views follow.

/** The element of an id. */
const byID = (id) => document.getElementById(id);

/** Makes an element with a class and a text; its text is never markup. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A range, a moment, and the event that was chosen last. Views are told of each change once a frame. */
class View {
  /** @param {Model} model @param {number} lastLine when the last line was written */
  constructor(model, lastLine) {
    this.model = model;
    this.events = model.events;
    this.start = 0;
    this.end = Math.max(model.overview.end_s, 1e-3);
    if (lastLine < this.end + 60) this.end = Math.max(this.end, lastLine); // a stamp may be wrong
    [this.from, this.to] = [this.start, this.end];
    this.at = Math.min(model.overview.broke_s, this.end);
    this.chosen = model.overview.broke_seq;
    this.views = [];
    this.due = false;
  }
  /** @param {(changed: {range: boolean, moment: boolean}) => void} draw */
  onChange(draw) { this.views.push(draw); }
  /** Draws all in the next frame. */
  redraw(changed) {
    this.changed = { range: this.changed?.range || changed.range, moment: this.changed?.moment || changed.moment };
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      const told = this.changed;
      [this.due, this.changed] = [false, null];
      for (const draw of this.views) draw(told);
    });
  }
  /** Sets the range, which stays within the run. */
  setRange(from, to) {
    const least = Math.max(1e-5, this.end * 1e-7);
    let length = Math.min(Math.max(to - from, least), this.end - this.start);
    from = Math.min(Math.max(from, this.start), this.end - length);
    [this.from, this.to] = [from, from + length];
    this.redraw({ range: true });
  }
  /** Makes the range longer or shorter about a time. */
  zoom(by, about = this.at) {
    about = Math.min(Math.max(about, this.from), this.to);
    this.setRange(about - (about - this.from) * by, about + (this.to - about) * by);
  }
  /** Sets the moment; with an event, it is chosen. The range follows where the moment is outside of it. */
  go(t, event) {
    this.at = Math.min(Math.max(t, this.start), this.end);
    this.chosen = event === undefined ? this.events.lastAt(this.at) : event;
    if (this.at < this.from || this.at > this.to) {
      const half = (this.to - this.from) / 2;
      this.setRange(this.at - half, this.at + half);
    }
    this.redraw({ moment: true });
    const line = this.events.n ? this.events.get(this.chosen) : null;
    say(`${seconds(this.at)}. ${line ? (line.node ? line.node + ": " : "") + shorten(eventText(line), 120) : ""}`);
  }
  /** Goes to an event. */
  goEvent(i) {
    if (i >= 0 && i < this.events.n) this.go(this.events.t[i], i);
  }
  /** Where a time is in a width. */
  x(t, width) { return (t - this.from) / (this.to - this.from) * width; }
  time(x, width) { return this.from + x / width * (this.to - this.from); }
}

/** Tells a screen reader something, the last of what there is to tell. */
function say(text) {
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { byID("live").textContent = text; }, 150);
}

/** The colours of the present scheme, which the style sheet has. */
class Palette {
  constructor() {
    this.read();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.read(); this.changed?.(); });
  }
  read() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ground", "panel", "ink", "soft", "line", "accent", "fail", "warn", "ok", "fork", "fault", "fault-ink", "sent", "moment",
      "s-forked", "s-ready", "s-done", "s-other"]) this[name] = style.getPropertyValue("--" + name).trim();
    this.font = style.getPropertyValue("--canvas-font").trim() || "12px sans-serif";
    this.mono = style.getPropertyValue("--canvas-mono").trim() || "11px monospace";
  }
}

/** A canvas that fills its box, sharp on every screen. */
class Surface {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }
  /** Begins a drawing of a size in CSS pixels. */
  begin(width, height) {
    const ratio = devicePixelRatio || 1, w = Math.max(1, Math.round(width * ratio)), h = Math.max(1, Math.round(height * ratio));
    if (this.canvas.width !== w || this.canvas.height !== h) {
      [this.canvas.width, this.canvas.height] = [w, h];
      this.canvas.style.width = width + "px";
      this.canvas.style.height = height + "px";
    }
    const c = this.context;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.textBaseline = "middle";
    return c;
  }
}

/** Draws a text that is cut to a width. */
function fit(c, text, x, y, width) {
  if (width < 8) return;
  text = visible(text);
  if (c.measureText(text).width > width) {
    let low = 0, high = text.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (c.measureText(text.slice(0, middle) + "…").width <= width) low = middle; else high = middle - 1;
    }
    if (low === 0) return;
    text = text.slice(0, low) + "…";
  }
  c.fillText(text, x, y);
}

/** Diagonal lines in a box, for what colour alone must not tell. */
function hatch(c, x, y, w, h, colour, step = 6) {
  c.save();
  c.beginPath();
  c.rect(x, y, w, h);
  c.clip();
  c.strokeStyle = colour;
  c.lineWidth = 1;
  c.beginPath();
  for (let k = -h; k < w; k += step) {
    c.moveTo(x + k, y + h);
    c.lineTo(x + k + h, y);
  }
  c.stroke();
  c.restore();
}

/** Times at which an axis is marked. @returns {{at: number[], digits: number}} */
function ticks(from, to, most) {
  const raw = (to - from) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw) || raw;
  const at = [];
  for (let k = Math.ceil(from / step); k * step <= to && at.length < 100; k++) at.push(k * step);
  return { at, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** The slider: how much happened when in the whole run, faults, the range and the moment. */
class TimeBar {
  constructor(view, palette) {
    Object.assign(this, { view, palette });
    this.box = byID("strip");
    this.surface = new Surface(byID("strip-canvas"));
    this.handles = { from: byID("slider-from"), at: byID("slider-at"), to: byID("slider-to") };
    for (const [name, handle] of Object.entries(this.handles)) this.slide(name, handle);
    this.box.addEventListener("pointerdown", (e) => this.press(e));
    this.box.addEventListener("wheel", (e) => {
      e.preventDefault();
      view.zoom(e.deltaY > 0 ? 1.25 : 0.8, this.time(e));
    }, { passive: false });
    view.onChange(() => this.draw());
  }
  time(e) {
    const box = this.box.getBoundingClientRect();
    return this.view.start + Math.min(1, Math.max(0, (e.clientX - box.left) / box.width)) * (this.view.end - this.view.start);
  }
  /** Moves an end of the range, or the moment, to a time. */
  move(name, t) {
    const view = this.view;
    if (name === "at") view.go(t);
    else if (name === "from") view.setRange(Math.min(t, view.to - 1e-5), view.to);
    else view.setRange(view.from, Math.max(t, view.from + 1e-5));
  }
  slide(name, handle) {
    const view = this.view;
    handle.addEventListener("keydown", (e) => {
      const step = (view.to - view.from) / (e.shiftKey ? 10 : 100), now = name === "at" ? view.at : view[name];
      const to = { ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step, PageDown: now - 10 * step, PageUp: now + 10 * step,
        Home: view.start, End: view.end }[e.key];
      if (to === undefined) return;
      e.preventDefault();
      e.stopPropagation();
      this.move(name, to);
    });
    handle.addEventListener("pointerdown", (e) => {
      e.stopPropagation();
      handle.setPointerCapture(e.pointerId);
      handle.onpointermove = (m) => this.move(name, this.time(m));
      handle.onpointerup = handle.onpointercancel = () => { handle.onpointermove = null; };
    });
  }
  /** A press goes to a moment; with a drag it makes a range, or moves the one that there is. */
  press(e) {
    const view = this.view, began = this.time(e), x = e.clientX;
    const whole = view.to - view.from > 0.999 * (view.end - view.start);
    const inside = !whole && began > view.from && began < view.to, { from, to } = view;
    let dragged = false;
    this.box.setPointerCapture(e.pointerId);
    this.box.onpointermove = (m) => {
      if (!dragged && Math.abs(m.clientX - x) < 4) return;
      dragged = true;
      const t = this.time(m);
      if (inside) view.setRange(from + t - began, to + t - began);
      else view.setRange(Math.min(t, began), Math.max(t, began));
    };
    this.box.onpointerup = this.box.onpointercancel = () => {
      this.box.onpointermove = this.box.onpointerup = null;
      if (!dragged) view.go(began);
    };
  }
  draw() {
    const { view, palette: p } = this, width = this.box.clientWidth, height = this.box.clientHeight;
    const c = this.surface.begin(width, height), span = view.end - view.start, x = (t) => (t - view.start) / span * width;
    const base = height - 14;
    if (this.counted !== view.events.n || this.columns?.length !== Math.ceil(width)) this.tally(Math.ceil(width), span);
    for (const f of view.model.faults) {
      if (f.harmless || f.applied < 0) continue;
      c.fillStyle = p.fault;
      const w = Math.max(3, x(view.model.faultEnd(f)) - x(f.applied));
      c.fillRect(x(f.applied), 0, w, base);
      hatch(c, x(f.applied), 0, w, base, p["fault-ink"]);
    }
    c.fillStyle = p.soft;
    for (let k = 0; k < this.columns.length; k++) {
      const h = this.columns[k] && Math.max(1, Math.log1p(this.columns[k]) / Math.log1p(this.most) * (base - 4));
      if (h) c.fillRect(k, base - h, 1, h);
    }
    c.fillStyle = p.soft;
    c.font = p.font;
    const { at, digits } = ticks(view.start, view.end, width / 90);
    for (const t of at) {
      c.fillRect(x(t), base, 1, 4);
      const text = t.toFixed(digits) + " s", w = c.measureText(text).width;
      c.fillText(text, Math.min(Math.max(0, x(t) - w / 2), width - w), height - 5);
    }
    c.globalAlpha = 0.55;
    c.fillStyle = p.ground;
    c.fillRect(0, 0, x(view.from), base);
    c.fillRect(x(view.to), 0, width - x(view.to), base);
    c.globalAlpha = 1;
    c.strokeStyle = p.accent;
    c.lineWidth = 1.5;
    c.strokeRect(x(view.from) + 0.75, 0.75, Math.max(2, x(view.to) - x(view.from) - 1.5), base - 1.5);
    if (!view.model.overview.finished || view.model.overview.outcome !== "passed") mark(c, x(view.model.overview.broke_s), 5, p.fail);
    for (const [name, t] of [["from", view.from], ["to", view.to], ["at", view.at]]) {
      const handle = this.handles[name];
      handle.style.left = x(t) + "px";
      handle.setAttribute("aria-valuemin", view.start.toFixed(3));
      handle.setAttribute("aria-valuemax", view.end.toFixed(3));
      handle.setAttribute("aria-valuenow", t.toFixed(6));
      handle.setAttribute("aria-valuetext", seconds(t));
    }
    byID("range-text").textContent = `${seconds(view.from)} – ${seconds(view.to)}`;
    byID("moment-text").textContent = view.at.toFixed(6) + " s";
  }
  /** Counts the events of each column. */
  tally(width, span) {
    const { t, n } = this.view.events;
    this.columns = new Uint32Array(Math.max(1, width));
    for (let i = 0; i < n; i++) this.columns[Math.min(width - 1, Math.floor(t[i] / span * width))]++;
    this.most = Math.max(1, this.columns.reduce((a, b) => Math.max(a, b), 0));
    this.counted = n;
  }
}

/** A cross, as at a death or a failure. */
function mark(c, x, y, colour, size = 4) {
  c.strokeStyle = colour;
  c.lineWidth = 2;
  c.beginPath();
  c.moveTo(x - size, y - size);
  c.lineTo(x + size, y + size);
  c.moveTo(x + size, y - size);
  c.lineTo(x - size, y + size);
  c.stroke();
}
