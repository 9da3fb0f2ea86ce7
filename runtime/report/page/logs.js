"use strict";
// What all nodes wrote, and what happened, merged by time. A line of a node's log is
// "0.012345 out text"; "+" at the mark says that it goes on.

const lineHeight = 20, mostSpace = 8e6, mostShown = 600, mostDetail = 65536;

/** The lines of the nodes' logs, in the order of time. */
class Lines {
  /** @param {{node: string, before: number, text: string}[]} tails */
  constructor(tails) {
    this.tails = tails;
    this.n = 0;
    const tail = [], from = [], to = [], t = [];
    tails.forEach((log, k) => {
      for (let i = 0; i < log.text.length;) {
        let end = log.text.indexOf("\n", i);
        if (end < 0) end = log.text.length;
        const stamp = parseFloat(log.text.slice(i, i + 24));
        t.push(Number.isNaN(stamp) ? t.at(-1) || 0 : stamp);
        tail.push(k);
        from.push(i);
        to.push(end);
        i = end + 1;
      }
    });
    const order = Uint32Array.from(t.keys()).sort((a, b) => t[a] - t[b] || a - b), take = (list, type) => type.from(order, (k) => list[k]);
    this.t = take(t, Float64Array);
    this.tail = take(tail, Uint32Array);
    this.from = take(from, Uint32Array);
    this.to = take(to, Uint32Array);
    this.n = t.length;
  }
  node(k) { return this.tails[this.tail[k]].node; }
  /** The mark and the text of a line. */
  parts(k) {
    const line = this.tails[this.tail[k]].text.slice(this.from[k], this.to[k]);
    const found = /^\d+\.\d+ (\+?(?:out|err|---)\+?) ?/.exec(line);
    return found ? { mark: found[1], text: line.slice(found[0].length) } : { mark: "", text: line };
  }
}

/** How bad a line sounds: 2 for an error, 1 for a warning. */
function severity(text) {
  text = text.slice(0, 400);
  if (/\b(error|err|fatal|panic|crit(ical)?|exception|traceback|abort(ed)?|failed|failure)\b/i.test(text)) return 2;
  return /\bwarn(ing)?\b/i.test(text) ? 1 : 0;
}

class Logs {
  constructor(view, palette) {
    this.view = view;
    this.box = byID("log-scroll");
    this.list = byID("log-lines");
    this.spacer = byID("log-space");
    this.items = this.shown = new Int32Array(0);
    this.pool = [];
    this.box.addEventListener("scroll", () => this.draw());
    this.box.addEventListener("keydown", (e) => this.key(e));
    this.list.addEventListener("click", (e) => {
      const row = e.target.closest(".log-line");
      if (row && getSelection().isCollapsed) this.choose(Number(row.dataset.place));
    });
    for (const id of ["filter-node", "filter-level", "filter-regexp"]) byID(id).addEventListener("change", () => this.filter());
    byID("filter-text").addEventListener("input", () => {
      clearTimeout(this.typed);
      this.typed = setTimeout(() => this.filter(), 120);
    });
    view.onChange((changed) => {
      if (changed.range) this.slice();
      this.reveal(changed.moment);
    });
  }
  /** Merges lines and events. @param {Lines} lines */
  prepare(lines) {
    this.lines = lines;
    const { events } = this.view, items = new Int32Array(lines.n + events.n);
    let line = 0;
    for (let i = 0, k = 0; k < items.length; k++) {
      const takesEvent = line >= lines.n || i < events.n && events.t[i] <= lines.t[line];
      items[k] = takesEvent ? i++ : ~line++;
    }
    this.items = this.shown = items;
    this.slice();
  }
  time(item) { return item >= 0 ? this.view.events.t[item] : this.lines.t[~item]; }
  /** Whether an item passes the filters of nodes and kinds. */
  passes(level, node, id) {
    const { events } = this.view, { lines } = this;
    const bad = (item, least) => severity(item >= 0 ? (events.isPlain(item) ? "" : events.line(item)) : lines.parts(~item).text) >= least;
    const kinds = {
      all: () => true, plain: (i) => i < 0 || !events.isPlain(i), output: (i) => i < 0, stderr: (i) => i < 0 && lines.parts(~i).mark.includes("err"),
      warnings: (i) => bad(i, 1), errors: (i) => bad(i, 2), events: (i) => i >= 0 && !events.isPlain(i), messages: (i) => i >= 0 && events.isMessage(i),
      operations: (i) => i >= 0 && events.isOperation(i),
    };
    const kind = kinds[level] || kinds.all;
    return (item) => (!node || (item >= 0 ? events.node[item] === id : lines.node(~item) === node)) && kind(item);
  }
  /** What is searched for. A message or an operation is searched as the log has it, all else as it is shown. */
  search() {
    const text = byID("filter-text").value, note = byID("filter-note");
    note.textContent = "";
    byID("filter-text").removeAttribute("aria-invalid");
    if (!text) return null;
    if (byID("filter-regexp").checked) {
      try {
        const expression = new RegExp(text, "iu");
        return (line) => expression.test(line);
      } catch (e) {
        byID("filter-text").setAttribute("aria-invalid", "true");
        note.textContent = String(e.message);
        return () => true;
      }
    }
    const wanted = text.toLowerCase();
    return (line) => line.toLowerCase().includes(wanted);
  }
  itemText(item) {
    const { events } = this.view;
    if (item < 0) return this.lines.node(~item) + " " + this.lines.parts(~item).text;
    if (events.isPlain(item)) return events.line(item);
    const e = events.get(item);
    return (e.node || "") + " " + eventText(e);
  }
  /** Filters all items, in slices; a later call ends an earlier one. */
  async filter() {
    const turn = this.turn = (this.turn || 0) + 1, { items, view } = this, node = byID("filter-node").value;
    const passes = this.passes(byID("filter-level").value, node, view.events.nodes.byName.get(node) ?? -1), search = this.search();
    const kept = new Int32Array(items.length);
    let n = 0, until = performance.now() + 12;
    for (let k = 0; k < items.length; k++) {
      const item = items[k];
      if (passes(item) && (!search || search(this.itemText(item)))) kept[n++] = item;
      if ((k & 255) === 0 && performance.now() > until) {
        byID("log-count").textContent = `searching: ${Math.floor(100 * k / items.length)} %`;
        await breathe();
        if (turn !== this.turn) return;
        until = performance.now() + 12;
      }
    }
    this.shown = kept.subarray(0, n);
    this.slice();
    this.reveal(true);
    say(byID("log-count").textContent);
  }
  /** The part of what is shown that is in the range. */
  slice() {
    const bound = (t) => {
      let low = 0, high = this.shown.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.time(this.shown[middle]) < t) low = middle + 1; else high = middle;
      }
      return low;
    };
    [this.first, this.end] = [bound(this.view.from - 1e-7), bound(this.view.to + 1e-7)];
    this.n = this.end - this.first;
    this.space = Math.min(mostSpace, this.n * lineHeight);
    this.spacer.style.height = Math.max(this.space, 1) + "px";
    byID("log-count").textContent = `${count(this.n)} of ${count(this.items.length)} lines`;
  }
  /** The place of what is chosen, or else of the last line at the moment. */
  placeNow() {
    if (this.chosenLine !== undefined && this.view.chosen === this.chosenFor) {
      for (let k = this.first; k < this.end; k++) if (this.shown[k] === this.chosenLine) return k - this.first;
    }
    let low = this.first, high = this.end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time(this.shown[middle]) <= this.view.at + 1e-7) low = middle + 1; else high = middle;
    }
    for (let k = low - 1; k >= this.first && this.time(this.shown[k]) > this.view.at - 1e-6; k--) if (this.shown[k] === this.view.chosen) return k - this.first;
    for (let k = low - 1; k >= Math.max(this.first, low - 2000); k--) if (this.shown[k] >= 0 && this.shown[k] <= this.view.chosen) return k - this.first;
    return low - 1 - this.first;
  }
  reveal(scroll) {
    this.place = this.placeNow();
    const height = this.box.clientHeight, rows = height / lineHeight, top = this.topPlace();
    if (scroll && this.place >= 0 && (this.place < top || this.place > top + rows - 2) || this.place > this.n) {
      const wanted = Math.max(0, this.place - rows / 2);
      this.box.scrollTop = this.n * lineHeight <= mostSpace ? wanted * lineHeight : wanted / Math.max(1, this.n - rows) * (this.space - height);
    }
    this.draw();
    this.detail();
  }
  /** The place of the first line in sight. */
  topPlace() {
    const height = this.box.clientHeight;
    if (this.n * lineHeight <= mostSpace) return this.box.scrollTop / lineHeight;
    return this.box.scrollTop / Math.max(1, this.space - height) * (this.n - height / lineHeight);
  }
  draw() {
    const height = this.box.clientHeight, first = Math.max(0, Math.floor(this.topPlace())), end = Math.min(this.n, first + Math.ceil(height / lineHeight) + 1);
    this.list.style.transform = `translateY(${this.box.scrollTop - (this.n * lineHeight <= mostSpace ? this.box.scrollTop % lineHeight : 0)}px)`;
    while (this.pool.length < end - first) this.pool.push(this.newRow());
    for (let k = 0; k < this.pool.length; k++) {
      const row = this.pool[k], place = first + k;
      row.hidden = place >= end;
      if (!row.hidden) this.fill(row, place);
    }
    const current = this.pool.find((r) => !r.hidden && r.getAttribute("aria-selected") === "true");
    if (current) this.box.setAttribute("aria-activedescendant", current.id); else this.box.removeAttribute("aria-activedescendant");
  }
  newRow() {
    const row = make("div", "log-line");
    row.id = "log-line-" + this.pool.length;
    row.setAttribute("role", "option");
    row.append(make("span", "log-time"), make("span", "log-node"), make("span", "log-mark"), make("span", "log-text"));
    this.list.append(row);
    return row;
  }
  fill(row, place) {
    const item = this.shown[this.first + place], [time, node, mark, text] = row.children, { events } = this.view;
    row.dataset.place = place;
    row.setAttribute("aria-setsize", this.n);
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-selected", String(place === this.place));
    let kind;
    if (item >= 0) {
      const e = events.get(item);
      [node.textContent, mark.textContent, text.textContent] = [visible(e.node || "·"), e.kind, shorten(eventText(e), mostShown)];
      const bad = e.kind === "finding" || e.kind === "verdict" ? e.outcome !== "passed" : e.kind === "exited" && !e.expected;
      kind = bad ? "bad" : events.isPlain(item) ? "plain" : "event";
    } else {
      const parts = this.lines.parts(~item), worse = severity(parts.text);
      [node.textContent, mark.textContent, text.textContent] = [visible(this.lines.node(~item)), parts.mark, shorten(parts.text, mostShown)];
      kind = worse === 2 ? "bad" : worse === 1 ? "warn" : "output";
    }
    time.textContent = this.time(item).toFixed(6);
    row.className = "log-line " + kind;
  }
  /** Chooses a line: all views go there. */
  choose(place) {
    const item = this.shown[this.first + place];
    if (item === undefined) return;
    if (item >= 0) {
      this.chosenLine = undefined;
      this.view.goEvent(item);
      return;
    }
    const t = this.lines.t[~item];
    this.chosenLine = item;
    this.chosenFor = this.view.events.lastAt(t);
    this.view.go(t, this.chosenFor);
  }
  key(e) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20 }[e.key];
    if (!step || !this.n) return;
    e.preventDefault();
    this.choose(Math.min(this.n - 1, Math.max(0, this.place + step)));
  }
  /** The whole line that is chosen, up to a bound. */
  detail() {
    const item = this.place >= 0 && this.place < this.n ? this.shown[this.first + this.place] : undefined;
    let text = "";
    if (item >= 0) text = this.view.events.line(item);
    else if (item !== undefined) text = this.lines.parts(~item).text;
    byID("detail").textContent = visible(text.slice(0, mostDetail)) + (text.length > mostDetail ? ` … (${count(text.length)} characters in all)` : "");
  }
}
