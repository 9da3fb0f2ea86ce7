"use strict";
// Counts over time: messages, operations, their latency, and what nodes use. All have the
// axis of the slider; faults are shaded.

const plotHeight = 132, plotLeft = 56;

class Plots {
  constructor(view, palette) {
    Object.assign(this, { view, palette });
    this.box = byID("plots");
    this.plots = [];
    view.onChange(() => this.draw());
  }
  /** Makes the plots for which there are data. */
  prepare() {
    const { events, model } = this.view, has = (kind) => events.kinds.byName.has(kind) && events.kind.subarray(0, events.n).includes(events.kinds.byName.get(kind));
    const add = (title, unit, series) => {
      const figure = make("figure"), canvas = make("canvas"), caption = make("figcaption", "", title);
      canvas.setAttribute("role", "img");
      figure.append(caption, canvas);
      this.box.append(figure);
      const plot = { surface: new Surface(canvas), canvas, series, unit, title, legend: make("span", "legend") };
      caption.append(plot.legend);
      canvas.addEventListener("click", (e) => {
        const width = canvas.clientWidth - plotLeft - 8;
        this.view.go(this.view.time(Math.max(0, e.offsetX - plotLeft), width));
      });
      this.plots.push(plot);
    };
    if (has("received") || has("sent")) add("Messages a second", "/s", (k) => this.messages(k));
    if (events.ops.n) {
      add("Operations a second, by outcome", "/s", (k) => this.operations(k));
      add("Latency of operations: median, and the longest", "s", (k) => this.latency(k));
    }
    if (model.nodes.some((n) => n.cpu.length)) add("CPU of nodes, in cores", "", () => this.samples("cpu"));
    if (model.nodes.some((n) => n.memory.length)) add("Memory of nodes, in MiB", "", () => this.samples("memory", 1 / (1 << 20)));
    byID("plots-none").hidden = this.plots.length > 0;
  }
  /** Counts in buckets of equal length. @returns {Float64Array} */
  buckets(columns) { return new Float64Array(columns); }
  messages(columns) {
    const { view } = this, { events } = view, of = [new Float64Array(columns), new Float64Array(columns)], scale = columns / (view.to - view.from);
    for (let i = events.firstAt(view.from), end = events.firstAt(view.to); i < end; i++) {
      const way = events.kind[i] === events.received ? 0 : events.kind[i] === events.sent ? 1 : -1;
      if (way >= 0) of[way][Math.min(columns - 1, Math.floor((events.t[i] - view.from) * scale))] += scale;
    }
    return [{ name: "from nodes", colour: "accent", steps: of[0] }, { name: "to nodes", colour: "sent", steps: of[1], dash: [4, 3] }];
  }
  eachOperation(tell) {
    const { view } = this, { events } = view, ops = events.ops, first = events.firstAt(view.from), end = events.firstAt(view.to);
    for (let op = 0; op < ops.n; op++) if (ops.end[op] >= first && ops.end[op] < end && ops.begin[op] >= 0) tell(op, events.t[ops.end[op]]);
  }
  operations(columns) {
    const { view } = this, ops = view.events.ops, of = [1, 2, 3].map(() => new Float64Array(columns)), scale = columns / (view.to - view.from);
    this.eachOperation((op, t) => { of[ops.outcome[op] - 1][Math.min(columns - 1, Math.floor((t - view.from) * scale))] += scale; });
    return this.byOutcome(of, "steps");
  }
  latency(columns) {
    const { view } = this, ops = view.events.ops, of = [1, 2, 3].map(() => Array.from({ length: columns }, () => [])), scale = columns / (view.to - view.from);
    this.eachOperation((op, t) => { of[ops.outcome[op] - 1][Math.min(columns - 1, Math.floor((t - view.from) * scale))].push(Math.max(0, ops.tookS[op])); });
    for (const row of of) for (const all of row) all.sort((a, b) => a - b);
    return this.byOutcome(of.map((row) => row.map((all) => (all.length ? all[all.length >> 1] : NaN))), "dots", of.map((row) => row.map((all) => (all.length ? all.at(-1) : NaN))));
  }
  byOutcome(of, how, tops) {
    return [["ok", "ok"], ["fail", "fail", [2, 2]], ["info", "warn", [6, 3]]].map(([name, colour, dash], k) => ({ name, colour, dash, [how]: of[k], tops: tops?.[k] }))
      .filter((s) => s[how].some((v) => v > 0 || how === "dots" && v >= 0));
  }
  /** The samples of nodes: those of the six that use most, or of the one that the filter has. */
  samples(field, factor = 1) {
    const filter = byID("filter-node").value, { view } = this;
    const most = (n) => n[field].reduce((a, s) => Math.max(a, s.v), 0);
    const nodes = view.model.nodes.filter((n) => n[field].length && (!filter || n.name === filter)).sort((a, b) => most(b) - most(a)).slice(0, 6);
    const colours = ["accent", "fork", "ok", "warn", "fail", "soft"], dashes = [[], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4]];
    return nodes.map((n, k) => ({ name: n.name, colour: colours[k], dash: dashes[k], points: n[field].filter((s) => s.t >= view.from - 1 && s.t <= view.to + 1).map((s) => ({ t: s.t, v: s.v * factor })) }));
  }
  draw() { for (const plot of this.plots) this.one(plot); }
  one(plot) {
    const { view, palette: p } = this, outer = plot.canvas.parentElement.clientWidth, width = Math.max(40, outer - plotLeft - 8), h = plotHeight - 22;
    const c = plot.surface.begin(outer, plotHeight), columns = Math.max(8, Math.floor(width / 5)), series = plot.series(columns);
    c.font = p.font;
    let most = 0;
    for (const s of series) for (const v of s.steps || s.tops || s.dots || []) if (v > most) most = v;
    for (const s of series) for (const v of s.points || []) if (v.v > most) most = v.v;
    most ||= 1;
    const x = (t) => plotLeft + view.x(t, width), y = (v) => 4 + h - v / most * (h - 6);
    for (const f of view.model.faults) {
      if (f.harmless || f.applied < 0) continue;
      const x0 = Math.max(plotLeft, x(f.applied)), x1 = Math.min(plotLeft + width, Math.max(x(f.applied) + 2, x(view.model.faultEnd(f))));
      if (x1 <= x0) continue;
      c.fillStyle = p.fault;
      c.fillRect(x0, 4, x1 - x0, h);
      hatch(c, x0, 4, x1 - x0, h, p["fault-ink"], 8);
    }
    const values = ticks(0, most, 3);
    for (const v of values.at) {
      c.fillStyle = p.line;
      c.fillRect(plotLeft, y(v), width, 1);
      c.fillStyle = p.soft;
      c.textAlign = "right";
      c.fillText(v >= 1e4 ? count(Math.round(v / 1000)) + " k" : v.toFixed(Math.min(6, values.digits)), plotLeft - 6, y(v));
      c.textAlign = "left";
    }
    const times = ticks(view.from, view.to, width / 90);
    c.fillStyle = p.soft;
    for (const t of times.at) c.fillText(t.toFixed(times.digits) + " s", x(t) + 2, plotHeight - 8);
    for (const s of series) this.series(c, s, x, y, columns, width);
    c.fillStyle = p.moment;
    if (view.at >= view.from && view.at <= view.to) c.fillRect(x(view.at) - 0.75, 4, 1.5, h);
    plot.legend.replaceChildren(...series.map((s) => {
      const item = make("span", "key k-" + s.colour, s.name);
      return item;
    }));
    plot.canvas.setAttribute("aria-label", `${plot.title}, ${seconds(view.from)} to ${seconds(view.to)}: at most ${most.toPrecision(3)}${plot.unit}; ${series.map((s) => s.name).join(", ")}`);
  }
  series(c, s, x, y, columns, width) {
    const { palette: p } = this;
    c.strokeStyle = c.fillStyle = p[s.colour];
    c.lineWidth = 1.5;
    c.setLineDash(s.dash || []);
    c.beginPath();
    const at = (k) => plotLeft + k * width / columns;
    if (s.steps) for (let k = 0; k < columns; k++) {
      c[k ? "lineTo" : "moveTo"](at(k), y(s.steps[k]));
      c.lineTo(at(k + 1), y(s.steps[k]));
    }
    if (s.points) s.points.forEach((v, k) => c[k ? "lineTo" : "moveTo"](Math.max(plotLeft, x(v.t)), y(v.v)));
    c.stroke();
    c.setLineDash([]);
    if (!s.dots) return;
    for (let k = 0; k < columns; k++) {
      if (Number.isNaN(s.dots[k])) continue;
      const middle = (at(k) + at(k + 1)) / 2;
      c.globalAlpha = 0.4;
      c.fillRect(middle - 0.5, y(s.tops[k]), 1, y(s.dots[k]) - y(s.tops[k]));
      c.globalAlpha = 1;
      if (s.name === "ok") c.fillRect(middle - 1.5, y(s.dots[k]) - 1.5, 3, 3);
      else mark(c, middle, y(s.dots[k]), p[s.colour], 2.5);
    }
  }
}
