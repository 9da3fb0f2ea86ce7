"use strict";
// The sequence chart: a lifeline for the script and each node, messages with names, forks,
// deaths, and faults as bands. What a node says again and again is one arrow, with a count.

const rowHeight = 21, headHeight = 26, leastColumn = 96, mostRows = 4000, timeWidth = 76;

class Chart {
  constructor(view, palette) {
    Object.assign(this, { view, palette, rows: [] });
    this.box = byID("chart-scroll");
    this.surface = new Surface(byID("chart-canvas"));
    this.spacer = byID("chart-space");
    this.box.addEventListener("scroll", () => this.draw());
    this.surface.canvas.addEventListener("click", (e) => this.click(e));
    this.surface.canvas.addEventListener("pointermove", (e) => {
      const row = this.rowAt(e);
      this.surface.canvas.title = row ? visible(`${seconds(row.t)}  ${this.label(row)}`) : "";
    });
    this.box.addEventListener("keydown", (e) => this.key(e));
    byID("chart-table-button").addEventListener("click", (e) => {
      this.asTable = !this.asTable;
      e.target.setAttribute("aria-pressed", String(this.asTable));
      byID("chart-table").hidden = !this.asTable;
      this.box.hidden = this.asTable;
      this.asTable ? this.fillTable() : this.draw();
    });
    view.onChange((changed) => {
      if (changed.range) this.fold();
      if (changed.moment || changed.range) this.reveal();
      this.draw();
      if (this.asTable) this.fillTable();
    });
  }
  /** Folds the events of the range into rows. */
  fold() {
    const { view } = this, { events, model } = view, filter = byID("filter-node").value;
    const only = filter ? events.nodes.byName.get(filter) ?? -1 : 0;
    const first = events.firstAt(view.from), end = events.firstAt(view.to + 1e-9), structure = model.structure;
    this.rows = [];
    this.dense = false;
    let mark = lowerBound(structure, first), open = new Map();
    const touched = new Set();
    for (let i = first; i < end; i++) {
      if (structure[mark] === i) {
        mark++;
        open = new Map();
        const row = this.structural(i);
        if (!row || only && row.node && row.node !== filter && !(row.nodes || []).includes(filter)) continue;
        this.rows.push(row);
        if (row.node) touched.add(row.node);
        for (const name of row.nodes || []) touched.add(name);
        continue;
      }
      if (!events.isMessage(i) || only && events.node[i] !== only) continue;
      const sent = events.kind[i] === events.sent, key = events.node[i] * 131072 + events.name[i] * 2 + (sent ? 1 : 0);
      const name = events.nodes.list[events.node[i]], row = open.get(key);
      if (row) {
        row.n++;
        row.until = events.t[i];
        row.last = i;
        continue;
      }
      if (this.rows.length >= mostRows) {
        this.dense = true;
        break;
      }
      const fresh = { t: events.t[i], i, last: i, until: events.t[i], kind: "message", node: name, sent, n: 1, name: events.names.list[events.name[i]] };
      open.set(key, fresh);
      this.rows.push(fresh);
      touched.add(name);
    }
    if (this.dense) this.rows = [];
    this.columns = model.ranked.filter((n) => (this.dense ? !filter || n.name === filter : touched.has(n.name)));
    this.columnOf = new Map(this.columns.map((n, k) => [n.name, k]));
    byID("chart-note").textContent = this.dense
      ? `${count(end - first)} events are in the range: arrows are drawn in a shorter one (+ or drag on the slider)`
      : `${count(this.rows.length)} rows of ${count(end - first)} events; ${count(this.columns.length)} of ${count(model.nodes.length)} nodes take part`;
    this.bands();
  }
  structural(i) {
    const e = this.view.events.get(i), t = this.view.events.t[i], row = { t, i, last: i, until: t, n: 1, node: e.node || "", kind: e.kind, event: e };
    switch (e.kind) {
      case "fault": row.nodes = e.nodes || []; row.fault = this.view.model.faultByID.get(e.id); return row.fault?.harmless && !row.fault.lasting ? null : row;
      case "applied": row.fault = this.view.model.faultByID.get(e.id); return null;
      case "healed": case "abandoned": row.fault = this.view.model.faultByID.get(e.id); row.nodes = e.nodes || row.fault?.nodes || []; return row.fault ? row : null;
      case "finding": row.nodes = e.nodes || []; return row;
    }
    return row;
  }
  /** The bands of the faults that were in force in the range: from row to row. */
  bands() {
    this.faultBands = [];
    for (const f of this.view.model.faults) {
      if (f.harmless || f.applied < 0 || !f.lasting) continue;
      const end = this.view.model.faultEnd(f);
      if (end < this.view.from || f.applied > this.view.to) continue;
      const from = this.rows.findIndex((r) => r.t >= f.planned), to = this.rows.findLastIndex((r) => r.t <= end);
      this.faultBands.push({ f, from: from < 0 ? this.rows.length : from, to });
    }
  }
  get width() { return this.box.clientWidth; }
  columnWidth() { return Math.max(leastColumn, (this.width - timeWidth - 4) / (this.columns.length + 1)); }
  /** Where the lifeline of a column is; -1 is the script's. */
  lifeline(k) { return timeWidth + (k + 1.5) * this.columnWidth() - this.box.scrollLeft; }
  y(row) { return headHeight + (row + 0.5) * rowHeight - this.box.scrollTop; }
  label(row) {
    const e = row.event || this.view.events.get(row.i);
    if (row.kind !== "message") return (row.node ? row.node + ": " : "") + eventText(e);
    return `${row.sent ? "to" : "from"} ${row.node}: ${messageText(e)}` + (row.n > 1 ? ` ×${count(row.n)}, until ${seconds(row.until)}` : "");
  }
  /** Scrolls to the row of what is chosen, or else of the moment. */
  reveal() {
    const { view } = this;
    let k = this.rows.findIndex((r) => r.i === view.chosen);
    if (k < 0) k = this.rows.findIndex((r) => r.kind === "message" && r.i <= view.chosen && r.last >= view.chosen && r.n > 1 && view.events.nodes.list[view.events.node[view.chosen]] === r.node);
    if (k < 0) k = this.rows.findLastIndex((r) => r.t <= view.at);
    this.selected = k;
    const total = this.rows.length * rowHeight + headHeight + 8;
    this.spacer.style.height = Math.max(this.dense ? 0 : total, this.box.clientHeight - 2) + "px";
    this.spacer.style.width = timeWidth + (this.columns.length + 1) * this.columnWidth() + "px";
    const y = k * rowHeight;
    if (k >= 0 && (y < this.box.scrollTop || y > this.box.scrollTop + this.box.clientHeight - headHeight - 2 * rowHeight)) {
      this.box.scrollTop = Math.max(0, y - this.box.clientHeight / 2);
    }
    const column = this.columnOf.get(this.rows[k]?.node);
    if (column !== undefined && this.columns.length > 8) {
      const x = (column + 1.5) * this.columnWidth();
      if (x < this.box.scrollLeft || x > this.box.scrollLeft + this.width - timeWidth - 40) this.box.scrollLeft = Math.max(0, x - this.width / 2);
    }
  }
  draw() {
    if (this.asTable || this.box.hidden || !this.columns) return;
    const { view, palette: p } = this, width = this.width, height = this.box.clientHeight;
    const c = this.surface.begin(width, height);
    const first = Math.max(0, Math.floor(this.box.scrollTop / rowHeight) - 1), end = Math.min(this.rows.length, first + Math.ceil(height / rowHeight) + 2);
    c.font = p.font;
    if (this.dense) {
      this.heat(c, width, height);
      return;
    }
    this.drawBands(c, width);
    this.lifelines(c, first, end, height);
    for (let k = first; k < end; k++) this.row(c, k, width);
    this.heads(c, width);
  }
  drawBands(c, width) {
    const p = this.palette, half = this.columnWidth() / 2;
    for (const { f, from, to } of this.faultBands) {
      const y0 = this.y(from) - rowHeight / 2, h = Math.max(rowHeight, (to - from + 1) * rowHeight);
      for (const name of f.nodes) {
        const column = this.columnOf.get(name);
        if (column === undefined) continue;
        const x = this.lifeline(column) - half * 0.6;
        if (x > width || x + half * 1.2 < timeWidth) continue;
        c.fillStyle = p.fault;
        c.fillRect(x, y0, half * 1.2, h);
        hatch(c, x, Math.max(y0, -rowHeight), half * 1.2, Math.min(h, this.box.clientHeight + 2 * rowHeight), p["fault-ink"], 9);
      }
    }
  }
  lifelines(c, first, end, height) {
    const { palette: p, view } = this, tA = this.rows[first]?.t ?? view.from;
    for (let k = -1; k < this.columns.length; k++) {
      const x = this.lifeline(k);
      if (x < timeWidth - 60 || x > this.width + 60) continue;
      let alive = k < 0 || this.columns[k].lives.some((l) => l.from < tA && l.to >= tA), from = headHeight;
      const dash = (y0, y1, live) => {
        c.strokeStyle = live ? p.soft : p.line;
        c.lineWidth = live ? 1.5 : 1;
        c.setLineDash(live ? [] : [2, 4]);
        c.beginPath();
        c.moveTo(x, y0);
        c.lineTo(x, y1);
        c.stroke();
        c.setLineDash([]);
      };
      if (k >= 0) for (let r = first; r < end; r++) {
        const row = this.rows[r];
        if (row.node !== this.columns[k].name || row.kind !== "forked" && row.kind !== "exited") continue;
        dash(from, this.y(r), alive);
        [from, alive] = [this.y(r), row.kind === "forked"];
      }
      dash(from, Math.min(height, this.y(this.rows.length - 1) + rowHeight), alive);
    }
  }
  heads(c, width) {
    const p = this.palette, w = this.columnWidth();
    c.fillStyle = p.ground;
    c.fillRect(0, 0, width, headHeight);
    for (let k = -1; k < this.columns.length; k++) {
      const x = this.lifeline(k), name = k < 0 ? "dagon-star" : this.columns[k].name;
      if (x < timeWidth - w / 2 || x > width + w / 2) continue;
      const wide = Math.min(w - 8, c.measureText(name).width + 14), bad = (this.view.model.overview.culprits || []).includes(name);
      c.fillStyle = p.panel;
      c.fillRect(x - wide / 2, 3, wide, headHeight - 7);
      c.strokeStyle = bad ? p.fail : k < 0 ? p.accent : p.soft;
      c.lineWidth = bad ? 2 : 1;
      c.strokeRect(x - wide / 2 + 0.5, 3.5, wide - 1, headHeight - 8);
      c.fillStyle = p.ink;
      fit(c, name, x - wide / 2 + 7, headHeight / 2, wide - 12);
    }
  }
  row(c, k, width) {
    const row = this.rows[k], p = this.palette, y = this.y(k);
    if (k === this.selected) {
      c.fillStyle = p.moment;
      c.globalAlpha = 0.14;
      c.fillRect(0, y - rowHeight / 2, width, rowHeight);
      c.globalAlpha = 1;
      c.fillStyle = p.moment;
      c.fillRect(0, y - rowHeight / 2, 3, rowHeight);
    }
    const script = this.lifeline(-1), x = this.lifeline(this.columnOf.get(row.node) ?? -1);
    switch (row.kind) {
      case "message": {
        const [from, to] = row.sent ? [script, x] : [x, script];
        this.arrow(c, from, to, y, row.sent ? p.sent : p.ink, this.messageLabel(row), row.n > 1);
        break;
      }
      case "forked":
        this.arrow(c, script, x, y, p.fork, "fork" + (row.event.incarnation > 1 ? " #" + row.event.incarnation : ""), false, [5, 3]);
        break;
      case "exited": {
        const bad = !row.event.expected || row.event.signal;
        if (bad) mark(c, x, y, p.fail, 6);
        else {
          c.fillStyle = p.soft;
          c.fillRect(x - 8, y - 2, 16, 4);
        }
        this.note(c, (row.event.signal ? "signal " + row.event.signal : "exit " + row.event.code) + (row.event.expected ? "" : ", unasked"), x + 10, y, bad ? p.fail : p.soft, width);
        break;
      }
      case "fault": case "healed": case "abandoned": this.faultRow(c, row, y, width); break;
      case "print": this.note(c, "“" + row.event.text + "”", script + 8, y, p.soft, width); break;
      case "finding": case "verdict": {
        const bad = row.event.outcome !== "passed";
        c.strokeStyle = bad ? p.fail : p.ok;
        c.lineWidth = 1;
        c.beginPath();
        c.moveTo(timeWidth, y + rowHeight / 2 - 1);
        c.lineTo(width, y + rowHeight / 2 - 1);
        c.stroke();
        this.note(c, `${bad ? "✕" : "✓"} ${row.event.outcome}${row.event.reason ? ": " + row.event.reason : ""}`, timeWidth, y, bad ? p.fail : p.ok, width);
        break;
      }
      default: this.note(c, eventText(row.event), x + 8, y, p.soft, width);
    }
    c.fillStyle = p.ground;
    c.fillRect(3, y - rowHeight / 2 + 2, timeWidth - 12, rowHeight - 4);
    c.fillStyle = p.soft;
    c.font = p.mono;
    c.fillText(row.t.toFixed(3), 8, y);
    c.font = p.font;
  }
  messageLabel(row) {
    const text = row.n === 1 ? messageText(this.view.events.get(row.i)) : row.name.replace(/^\//, "");
    return text + (row.n > 1 ? ` ×${count(row.n)}` : "");
  }
  faultRow(c, row, y, width) {
    const p = this.palette, on = row.kind === "fault";
    const xs = (row.nodes || []).map((n) => this.columnOf.get(n)).filter((k) => k !== undefined).map((k) => this.lifeline(k));
    const left = Math.max(timeWidth, Math.min(...xs) - 28), right = Math.min(width, Math.max(...xs) + 28);
    if (xs.length) {
      c.fillStyle = p.fault;
      c.fillRect(left, y - 8, right - left, 16);
      if (on) hatch(c, left, y - 8, right - left, 16, p["fault-ink"], 7);
      c.strokeStyle = p.warn;
      c.lineWidth = 1;
      c.strokeRect(left + 0.5, y - 7.5, right - left - 1, 15);
    }
    const text = (on ? "⚡ " : row.kind === "healed" ? "✓ healed: " : "– abandoned: ") + row.fault.title, w = c.measureText(text).width;
    const at = right + 6 + w < width || !xs.length ? right + 6 : Math.max(timeWidth + 2, left - w - 6);
    this.note(c, text, xs.length ? at : timeWidth + 4, y, p.ink, width);
  }
  note(c, text, x, y, colour, width) {
    text = shorten(text, 200);
    const w = Math.min(c.measureText(text).width + 6, width - x - 2);
    c.fillStyle = this.palette.ground;
    c.globalAlpha = 0.85;
    c.fillRect(x - 2, y - 8, w + 2, 16);
    c.globalAlpha = 1;
    c.fillStyle = colour;
    fit(c, text, x, y, width - x - 4);
  }
  arrow(c, from, to, y, colour, text, many, dash) {
    const way = Math.sign(to - from) || 1;
    c.strokeStyle = c.fillStyle = colour;
    c.lineWidth = many ? 2.2 : 1.2;
    c.setLineDash(dash || []);
    c.beginPath();
    c.moveTo(from, y + 6);
    c.lineTo(to - way * 7, y + 6);
    c.stroke();
    c.setLineDash([]);
    c.beginPath();
    c.moveTo(to, y + 6);
    c.lineTo(to - way * 8, y + 2.5);
    c.lineTo(to - way * 8, y + 9.5);
    c.fill();
    // The text stands beside the node's end of the arrow.
    const script = this.lifeline(-1), x = from === script ? to : from, w = this.columnWidth() - 14;
    const wide = Math.min(c.measureText(text).width, Math.abs(to - from) - 16, Math.max(w, 220));
    const at = Math.max(Math.min(x > script ? x - wide - 10 : x + 10, this.width - wide - 10), timeWidth + 2);
    c.fillStyle = this.palette.ground;
    c.globalAlpha = 0.75;
    c.fillRect(at - 2, y - 9, wide + 4, 13);
    c.globalAlpha = 1;
    c.fillStyle = colour;
    fit(c, text, at, y - 2, wide + 1);
  }
  /** Where there are too many arrows: how many messages there were, of which node, when. */
  heat(c, width, height) {
    const { view, palette: p } = this, { events } = view, bins = Math.max(8, Math.floor((height - headHeight) / 6));
    const shown = Math.max(1, Math.floor((width - timeWidth) / 4)), nodes = this.columns.slice(0, shown), each = (width - timeWidth) / nodes.length;
    const columns = new Int32Array(events.nodes.list.length).fill(-1), counts = new Uint32Array(nodes.length * bins);
    nodes.forEach((n, k) => { const id = events.nodes.byName.get(n.name); if (id !== undefined) columns[id] = k; });
    const scale = bins / (view.to - view.from);
    let most = 1;
    for (let i = events.firstAt(view.from), end = events.firstAt(view.to); i < end; i++) {
      const k = columns[events.node[i]];
      if (k < 0) continue;
      const v = ++counts[k * bins + Math.min(bins - 1, Math.floor((events.t[i] - view.from) * scale))];
      if (v > most) most = v;
    }
    c.fillStyle = p.accent;
    for (let k = 0; k < nodes.length; k++) for (let b = 0; b < bins; b++) {
      const v = counts[k * bins + b];
      if (!v) continue;
      c.globalAlpha = 0.12 + 0.88 * Math.log1p(v) / Math.log1p(most);
      c.fillRect(timeWidth + k * each, headHeight + b * (height - headHeight) / bins, Math.max(1, each - 0.5), (height - headHeight) / bins);
    }
    c.globalAlpha = 1;
    c.fillStyle = p.soft;
    for (const t of ticks(view.from, view.to, height / 40).at) c.fillText(seconds(t), 4, headHeight + (t - view.from) / (view.to - view.from) * (height - headHeight));
    c.fillStyle = p.ink;
    fit(c, `${count(nodes.length)} nodes side by side, time downwards, darker where there was more; a click goes there`, timeWidth, headHeight / 2, width - timeWidth);
    const y = headHeight + (view.at - view.from) / (view.to - view.from) * (height - headHeight);
    c.fillStyle = p.moment;
    c.fillRect(timeWidth, y, width - timeWidth, 1.5);
  }
  rowAt(e) {
    if (this.dense || e.offsetY < headHeight) return null;
    return this.rows[Math.floor((e.offsetY - headHeight + this.box.scrollTop) / rowHeight)] || null;
  }
  click(e) {
    const { view } = this, row = this.rowAt(e);
    if (row) return view.goEvent(row.i);
    if (!this.dense) return;
    const height = this.box.clientHeight - headHeight, t = view.from + (e.offsetY - headHeight) / height * (view.to - view.from), half = (view.to - view.from) / 40;
    view.setRange(t - half, t + half);
    view.go(t);
  }
  key(e) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15 }[e.key];
    if (!step || !this.rows.length) return;
    e.preventDefault();
    const k = Math.min(this.rows.length - 1, Math.max(0, (this.selected ?? 0) + step));
    this.view.goEvent(this.rows[k].i);
  }
  /** The chart as a table, for who does not see it: the rows about the moment. */
  fillTable() {
    const body = byID("chart-table").tBodies[0], middle = Math.max(0, this.selected ?? 0), first = Math.max(0, middle - 100);
    body.replaceChildren(...this.rows.slice(first, first + 300).map((row, k) => {
      const tr = make("tr"), time = make("td"), go = make("button", "link", seconds(row.t));
      go.addEventListener("click", () => this.view.goEvent(row.i));
      time.append(go);
      tr.append(time, make("td", "", visible(row.node)), make("td", "", this.label(row)));
      if (first + k === this.selected) tr.setAttribute("aria-current", "true");
      return tr;
    }));
  }
}

/** The first place in an ascending list whose value is at least v. */
function lowerBound(list, v) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < v) low = middle + 1; else high = middle;
  }
  return low;
}
