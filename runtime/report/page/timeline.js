"use strict";
// The timeline: what the script waited for, faults, operations, and a lane a node.

const gutter = 132, laneHeight = 20;

/** Lays bars in lanes, so that none covers another: each goes to the first lane that is free, or the last. */
function pack(bars, most) {
  const ends = [];
  for (const bar of bars) {
    let lane = ends.findIndex((end) => end <= bar.from);
    if (lane < 0) lane = ends.length < most ? ends.length : most - 1;
    ends[lane] = Math.max(ends[lane] || 0, bar.to);
    bar.lane = lane;
  }
  return Math.max(1, ends.length);
}

class Timeline {
  constructor(view, palette) {
    Object.assign(this, { view, palette });
    this.box = byID("timeline");
    this.top = new Surface(byID("timeline-top"));
    this.lanes = new Surface(byID("timeline-lanes"));
    this.scroller = byID("timeline-scroll");
    this.spacer = byID("timeline-space");
    this.scroller.addEventListener("scroll", () => this.drawLanes());
    for (const [canvas, isTop] of [[this.top.canvas, true], [this.lanes.canvas, false]]) {
      canvas.addEventListener("click", (e) => this.click(e, isTop));
      canvas.addEventListener("pointermove", (e) => this.hover(e, isTop));
      canvas.addEventListener("wheel", (e) => {
        if (!e.ctrlKey && !e.metaKey) return;
        e.preventDefault();
        view.zoom(e.deltaY > 0 ? 1.25 : 0.8, this.time(e));
      }, { passive: false });
    }
    view.onChange(() => this.draw());
  }
  get width() { return Math.max(50, this.box.clientWidth - gutter - 14); }
  time(e) { return this.view.time(e.offsetX - gutter, this.width); }
  /** What of the model the lanes above the nodes show. */
  prepare() {
    const { model, end } = this.view;
    this.waits = model.awaits.map((w) => ({ from: w.from, to: Math.min(w.to, end), item: w }));
    this.waitLanes = pack(this.waits, 3);
    const harm = model.faults.filter((f) => !f.harmless || f.lasting);
    this.faults = harm.map((f) => ({ from: f.planned, to: model.faultEnd(f), item: f }));
    this.layFaults();
    this.losses = findLosses(model);
  }
  /** Lays the faults in lanes, with the room that their texts need in the present range. */
  layFaults() {
    const perPixel = (this.view.to - this.view.from) / this.width;
    const bars = this.faults.map((bar) => ({ from: bar.from, to: Math.max(bar.to, bar.from + 8 * perPixel) + 6.8 * perPixel * this.faultText(bar.item).length, bar }));
    this.faultLanes = pack(bars, 5);
    for (const { bar, lane } of bars) bar.lane = lane;
  }
  faultText(f) { return "⚡ " + f.title + (f.abandoned >= 0 ? ", abandoned" : "") + (f.touched ? ": " + f.touched : ""); }
  rows() {
    const rows = [["script", this.waitLanes * laneHeight]];
    if (this.losses.length && !this.view.events.ops.n) rows.push(["found", laneHeight]);
    if (this.faults.length) rows.push(["faults", this.faultLanes * laneHeight]);
    if (this.view.events.ops.n) rows.push(["operations", 34]);
    let y = 18;
    return rows.map(([name, height]) => { const row = { name, y, height }; y += height + 4; return row; });
  }
  draw() {
    this.layFaults();
    const { view, palette: p } = this, rows = this.rows(), width = this.width, last = rows.at(-1), height = last.y + last.height + 4;
    const c = this.top.begin(width + gutter + 14, height);
    this.hits = [];
    this.axis(c, width, height);
    for (const row of rows) {
      c.fillStyle = p.soft;
      c.font = p.font;
      c.fillText(row.name, 4, row.y + laneHeight / 2);
      c.save();
      c.beginPath();
      c.rect(gutter, row.y - 2, width, row.height + 4);
      c.clip();
      if (row.name === "script") for (const bar of this.waits) this.wait(c, bar, row.y, width);
      else if (row.name === "faults") for (const bar of this.faults) this.fault(c, bar, row.y, width);
      else if (row.name === "found") this.losses.forEach((loss) => this.loss(c, loss, row.y, row.height, width));
      else this.operations(c, row.y, row.height, width);
      c.restore();
    }
    this.moment(c, width, height);
    const all = this.shown();
    this.spacer.style.height = all.length * laneHeight + "px";
    this.scroller.style.height = Math.min(all.length * laneHeight + 2, innerWidth < 700 ? 220 : 262) + "px";
    this.drawLanes();
  }
  /** The nodes that have lanes: those that the filter of nodes lets through. */
  shown() {
    const filter = byID("filter-node").value;
    return filter ? this.view.model.ranked.filter((n) => n.name === filter) : this.view.model.ranked;
  }
  axis(c, width, height) {
    const { view, palette: p } = this, { at, digits } = ticks(view.from, view.to, width / 100);
    c.font = p.font;
    for (const t of at) {
      const x = gutter + view.x(t, width);
      c.fillStyle = p.line;
      c.fillRect(x, 14, 1, height);
      c.fillStyle = p.soft;
      c.fillText(t.toFixed(digits) + " s", x + 3, 8);
    }
  }
  moment(c, width, height) {
    const x = gutter + this.view.x(this.view.at, width);
    c.fillStyle = this.palette.moment;
    c.fillRect(x - 0.75, 0, 1.5, height);
  }
  span(bar, width) {
    const x0 = Math.max(-2, this.view.x(bar.from, width)), x1 = Math.min(width + 2, this.view.x(bar.to, width));
    return [gutter + x0, Math.max(2, x1 - x0)];
  }
  wait(c, bar, y, width) {
    const [x, w] = this.span(bar, width), p = this.palette, wait = bar.item, bad = wait.outcome === "timeout" || wait.outcome === "impossible";
    if (x > gutter + width || x + w < gutter) return;
    y += bar.lane * laneHeight;
    c.fillStyle = p.panel;
    c.fillRect(x, y + 2, w, laneHeight - 4);
    c.strokeStyle = bad ? p.fail : p.accent;
    c.lineWidth = bad ? 2 : 1;
    c.setLineDash(wait.to === Infinity ? [4, 3] : []);
    c.strokeRect(x + 0.5, y + 2.5, w - 1, laneHeight - 5);
    c.setLineDash([]);
    c.fillStyle = p.ink;
    fit(c, (bad ? "✕ " + wait.outcome + ": " : "") + `${wait.what}${wait.nodes.length ? " of " + someOf(wait.nodes, 2) : ""}`, Math.max(x, gutter) + 4, y + laneHeight / 2, w - 8);
    this.hits.push({ x, y, w, h: laneHeight, i: wait.i, text: `script waits for ${wait.what} of ${someOf(wait.nodes)} ${wait.where || ""}: ${wait.outcome || "not ended"}` });
  }
  fault(c, bar, y, width) {
    const f = bar.item, p = this.palette, model = this.view.model;
    const [x, w] = this.span({ from: f.planned, to: model.faultEnd(f) }, width);
    if (x > gutter + width || x + w < gutter) return;
    y += bar.lane * laneHeight;
    c.fillStyle = p.fault;
    c.fillRect(x, y + 2, w, laneHeight - 4);
    hatch(c, x, y + 2, w, laneHeight - 4, p["fault-ink"]);
    c.strokeStyle = p.warn;
    c.lineWidth = 1;
    c.strokeRect(x + 0.5, y + 2.5, Math.max(1, w - 1), laneHeight - 5);
    const text = this.faultText(f);
    const wide = c.measureText(text).width + 8;
    c.fillStyle = p.ink;
    if (wide < w) {
      const at = Math.max(x, gutter) + 4;
      c.fillStyle = p.ground;
      c.globalAlpha = 0.8;
      c.fillRect(at - 2, y + 4, wide - 4, laneHeight - 8);
      c.globalAlpha = 1;
      c.fillStyle = p.ink;
      fit(c, text, at, y + laneHeight / 2, w - 8);
    } else if (x + w + wide < gutter + width) {
      c.fillText(text, x + w + 4, y + laneHeight / 2);
    } else {
      fit(c, text, Math.max(gutter + 2, x - wide), y + laneHeight / 2, Math.min(wide, x - gutter - 4));
    }
    this.hits.push({ x: x - 3, y, w: w + 6, h: laneHeight, i: f.i, text: `${f.title}, planned ${seconds(f.planned)}` +
      (f.applied >= 0 ? `, applied ${seconds(f.applied)}` : "") + (f.healed >= 0 ? `, healed ${seconds(f.healed)}` : "") + (f.touched ? `; touched ${f.touched}` : "") });
  }
  /** Operations as ticks: one that is done is short, one that failed hangs, of one nobody knows there is a dot. Many are columns. */
  operations(c, y, height, width) {
    const { view, palette: p } = this, { events } = view, ops = events.ops;
    const columns = Math.ceil(width), counts = [1, 2, 3].map(() => new Uint16Array(columns));
    const first = events.firstAt(view.from), end = events.firstAt(view.to);
    for (let op = 0; op < ops.n; op++) {
      const i = ops.end[op];
      if (i < first || i >= end) continue;
      counts[ops.outcome[op] - 1][Math.min(columns - 1, Math.floor(view.x(events.t[i], width)))]++;
    }
    let most = 1;
    for (let k = 0; k < columns; k++) most = Math.max(most, counts[0][k] + counts[1][k] + counts[2][k]);
    for (let k = 0; k < columns; k++) {
      const x = gutter + k, scale = (v) => (v ? Math.max(3, v / most * (height - 14)) : 0);
      c.fillStyle = p.ok;
      const ok = scale(counts[0][k]);
      c.fillRect(x, y + height - 8 - ok, 1, ok);
      if (counts[1][k]) mark(c, x, y + height - 4, p.fail, 2.5);
      if (counts[2][k]) {
        c.strokeStyle = p.warn;
        c.lineWidth = 1.2;
        c.beginPath();
        c.arc(x, y + height - 4, 2.5, 0, 7);
        c.stroke();
      }
    }
    for (const loss of this.losses) this.loss(c, loss, y, height, width);
  }
  /** What a checker found to be lost, or twice: a frame about when it was put in. */
  loss(c, loss, y, height, width) {
    const [x, w] = this.span(loss, width), p = this.palette, text = "✕ " + loss.text;
    c.font = p.font;
    c.fillStyle = c.strokeStyle = p.fail;
    c.globalAlpha = 0.16;
    c.fillRect(x, y, w, height);
    c.globalAlpha = 1;
    c.lineWidth = 1;
    c.strokeRect(x + 0.5, y + 0.5, w - 1, height - 1);
    const wide = c.measureText(text).width;
    const at = wide < w - 8 || x + wide + 8 < gutter + width ? Math.max(x, gutter) + 4 : Math.max(gutter + 2, x - wide - 6);
    fit(c, text, at, y + Math.min(10, height / 2), gutter + width - at);
    this.hits.push({ x, y, w, h: height, i: loss.i, text: loss.text });
  }
  drawLanes() {
    const { view, palette: p } = this, width = this.width, height = this.scroller.clientHeight, top = this.scroller.scrollTop;
    const c = this.lanes.begin(width + gutter, Math.max(1, height)), all = this.shown();
    const first = Math.floor(top / laneHeight), end = Math.min(all.length, Math.ceil((top + height) / laneHeight));
    const { at } = ticks(view.from, view.to, width / 100);
    c.fillStyle = p.line;
    for (const t of at) c.fillRect(gutter + view.x(t, width), 0, 1, height);
    const density = this.density(all.slice(first, end), width);
    this.laneHits = [];
    for (let k = first; k < end; k++) this.lane(c, all[k], k * laneHeight - top, width, density.get(all[k].name));
    this.moment(c, width, height);
  }
  /** How many messages of each node are in each column. */
  density(nodes, width) {
    const { view } = this, { events } = view, columns = Math.ceil(width), of = new Map(), rows = new Array(events.nodes.list.length).fill(null);
    for (const n of nodes) {
      const row = new Uint16Array(columns);
      of.set(n.name, row);
      const id = events.nodes.byName.get(n.name);
      if (id !== undefined) rows[id] = row;
    }
    const scale = width / (view.to - view.from);
    for (let i = events.firstAt(view.from), end = events.firstAt(view.to); i < end; i++) {
      const row = rows[events.node[i]];
      if (row && events.isMessage(i)) row[Math.min(columns - 1, Math.floor((events.t[i] - view.from) * scale))]++;
    }
    return of;
  }
  lane(c, node, y, width, density) {
    const { view, palette: p } = this, middle = y + laneHeight / 2, culprit = (view.model.overview.culprits || []).includes(node.name);
    c.font = p.font;
    c.fillStyle = culprit ? p.fail : p.ink;
    fit(c, (culprit ? "✕ " : "") + node.name, 4, middle, gutter - 12);
    c.save();
    c.beginPath();
    c.rect(gutter, y, width, laneHeight);
    c.clip();
    for (const life of node.lives) {
      const [x, w] = this.span({ from: life.from, to: Math.min(life.to, view.end) }, width);
      c.fillStyle = p.panel;
      c.fillRect(x, y + 3, w, laneHeight - 6);
      for (let k = 0; k < node.states.length; k++) this.state(c, node, k, life, y, width);
      c.strokeStyle = p.soft;
      c.lineWidth = 1;
      c.strokeRect(x + 0.5, y + 3.5, Math.max(1, w - 1), laneHeight - 7);
      if (life.incarnation > 1) {
        c.fillStyle = p.ink;
        fit(c, "#" + life.incarnation, x + 8, middle, w - 8);
      }
    }
    for (const pause of node.pauses) {
      const [x, w] = this.span({ from: pause.from, to: Math.min(pause.to, view.end) }, width);
      c.fillStyle = p.ground;
      c.fillRect(x, y + 3, w, laneHeight - 6);
      hatch(c, x, y + 3, w, laneHeight - 6, p.warn, 4);
      c.fillStyle = p.ink;
      fit(c, "‖ paused", x + 4, middle, w - 8);
    }
    c.fillStyle = p.accent;
    for (let k = 0; k < density.length; k++) if (density[k]) c.fillRect(gutter + k, y + laneHeight - 3 - Math.min(9, 2 + Math.log2(density[k])), 1, Math.min(9, 2 + Math.log2(density[k])));
    for (const life of node.lives) {
      if (life.to === Infinity) continue;
      const x = gutter + view.x(life.to, width);
      if (life.unexpected || /signal/.test(life.exit)) mark(c, x, middle, p.fail, 4);
      else {
        c.fillStyle = p.soft;
        c.fillRect(x - 2, middle - 4, 4, 8);
      }
    }
    c.restore();
    this.laneHits.push({ y, node });
  }
  /** A state is a colour, and its name where there is room. */
  state(c, node, k, life, y, width) {
    const state = node.states[k], next = node.states[k + 1];
    const from = Math.max(state.t, life.from), to = Math.min(next ? next.t : this.view.end, life.to);
    if (to <= from || state.to === "exited") return;
    const [x, w] = this.span({ from, to }, width), p = this.palette;
    if (x > gutter + width || x + w < gutter) return;
    c.fillStyle = p["s-" + (state.to === "forked" ? "forked" : state.to === "ready" ? "ready" : state.to.startsWith("done") ? "done" : "other")];
    c.fillRect(x, y + 4, w, laneHeight - 8);
    c.fillStyle = p.ink;
    c.font = p.font;
    const own = life.incarnation > 1 ? gutter + this.view.x(life.from, this.width) + 30 : 0;
    const at = Math.max(x + 4, gutter + 4, own);
    const label = state.to.replaceAll("_", " ");
    if (c.measureText(label).width < w - (at - x) - 4) c.fillText(label, at, y + laneHeight / 2 - 1);
  }
  hit(e, isTop) {
    if (isTop) return this.hits.findLast((h) => e.offsetX >= h.x && e.offsetX <= h.x + h.w && e.offsetY >= h.y && e.offsetY <= h.y + h.h);
    const lane = this.laneHits.find((h) => e.offsetY >= h.y && e.offsetY < h.y + laneHeight);
    return lane && { node: lane.node, text: `${lane.node.name}: ${this.view.model.stateAt(lane.node, this.time(e)) || "not forked"}` };
  }
  click(e, isTop) {
    const hit = this.hit(e, isTop), view = this.view;
    if (hit?.i !== undefined) return view.goEvent(hit.i);
    if (e.offsetX < gutter) {
      if (hit?.node) byID("filter-node").value = byID("filter-node").value ? "" : hit.node.name, byID("filter-node").dispatchEvent(new Event("change"));
      return;
    }
    const t = this.time(e);
    view.go(t, hit?.node ? this.nearest(hit.node.name, t) : undefined);
  }
  /** The event of a node that is nearest to a time, where one is near. */
  nearest(name, t) {
    const { events } = this.view, id = events.nodes.byName.get(name), near = (this.view.to - this.view.from) / this.width * 4;
    let best, distance = near;
    for (let i = events.firstAt(t - near); i < events.n && events.t[i] <= t + near; i++) {
      if (events.node[i] === id && Math.abs(events.t[i] - t) < distance) [best, distance] = [i, Math.abs(events.t[i] - t)];
    }
    return best;
  }
  hover(e, isTop) {
    const hit = this.hit(e, isTop);
    e.target.title = hit ? visible(`${seconds(this.time(e))}  ${hit.text}`) : "";
  }
}

/** What checkers say is lost, as parts of the timeline: from the first operation of a range to the last. */
function findLosses(model) {
  const losses = [], seen = new Set();
  for (const f of model.findings) {
    const text = /(\d[\d,]* of [\d,]+ [^:;]*? are (?:lost|duplicated)[^:;]*): ([^;]*);/.exec(f.reason) || /(\d[\d,]* (?:missing|extra)): ([^;]*);/.exec(f.reason);
    const at = /\bat (\d+\.\d+)s/.exec(f.reason);
    if (!text || seen.has(text[0])) continue;
    seen.add(text[0]);
    const times = lossTimes(model.events, text[2]);
    if (!times && at) losses.push({ from: Number(at[1]), to: Number(at[1]), i: f.i, text: text[1] });
    else if (times) losses.push({ ...times, text: text[1] });
  }
  return losses;
}

/** When the elements of "k0–k49, k70" were put in: the operations whose values they are. */
function lossTimes(events, list) {
  const wanted = new Set(list.split(/, | and \d+ more/).flatMap((part) => part.split("–")).map((s) => s.trim()).filter(Boolean));
  if (wanted.size > 100) return null;
  let found = null;
  for (let op = 0; op < Math.min(events.ops.n, 200000); op++) {
    const i = events.ops.begin[op];
    if (i < 0) continue;
    const value = /"value":("(?:[^"\\]|\\.)*"|-?[\d.]+)/.exec(events.line(i))?.[1];
    if (value === undefined || !wanted.has(value.replace(/^"|"$/g, ""))) continue;
    const to = events.t[events.ops.end[op] >= 0 ? events.ops.end[op] : i];
    found = found ? { ...found, to: Math.max(found.to, to) } : { from: events.t[i], to, i };
  }
  return found;
}
