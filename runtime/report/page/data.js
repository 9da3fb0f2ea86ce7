"use strict";
// The data of the page: blocks of gzip in base64. The log is whole lines in each block. Its
// events are indexed by their bytes; one is parsed as JSON where it is shown, or where what
// happened to nodes, faults and waits is folded from it.

/** Decodes base64; white space is let through. @param {string} text @returns {Uint8Array} */
function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** Opens a block of the page, which is forgotten then. @param {Element} element @returns {Promise<Uint8Array>} */
async function openBlock(element) {
  const packed = fromBase64(element.textContent);
  element.remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Opens the block of an id as JSON. */
async function openJSON(id) {
  return JSON.parse(new TextDecoder().decode(await openBlock(document.getElementById("data-" + id))));
}

/** Lets the page be drawn and answer before the work goes on. */
function breathe() {
  if (globalThis.scheduler && scheduler.yield) return scheduler.yield();
  return new Promise((go) => setTimeout(go, 0));
}

/** Names that stand in bytes, each with a number from 1. */
class Names {
  constructor() {
    this.list = [""];
    this.byHash = new Map();
    this.byName = new Map([["", 0]]);
  }
  /** The number of a name. @param {string} name */
  of(name) {
    let id = this.byName.get(name);
    if (id === undefined) {
      id = this.list.length;
      this.list.push(name);
      this.byName.set(name, id);
    }
    return id;
  }
  /** The number of the name at bytes[from, to), which has no escapes. */
  at(bytes, from, to) {
    let hash = to - from;
    for (let i = from; i < to; i++) hash = (hash * 31 + bytes[i]) | 0;
    const known = this.byHash.get(hash);
    if (known !== undefined && same(known.bytes, bytes, from, to)) return known.id;
    const id = this.of(new TextDecoder().decode(bytes.subarray(from, to)));
    if (known === undefined) this.byHash.set(hash, { bytes: bytes.slice(from, to), id });
    return id;
  }
}

function same(name, bytes, from, to) {
  if (name.length !== to - from) return false;
  for (let i = 0; i < name.length; i++) if (name[i] !== bytes[from + i]) return false;
  return true;
}

/** Bytes of the fields that every line has, in the order of the log. */
const fieldBytes = Object.fromEntries(["{\"seq\":", ",\"t\":", ",\"kind\":\"", ",\"node\":\"", ",\"address\":\"", ",\"op\":", ",\"at\":"]
  .map((text) => [text, new TextEncoder().encode(text)]));

/** Reports whether a field stands in bytes at i. */
function stands(field, bytes, i) {
  for (let k = 0; k < field.length; k++) if (bytes[i + k] !== field[k]) return false;
  return true;
}

/** What an operation came to. "open" is one that did not complete. */
const outcomes = ["open", "ok", "fail", "info"];

/** The log, by the number of each event, which is its seq. */
class Events {
  /** @param {number} expected how many events there are, as far as is known */
  constructor(expected) {
    this.n = 0;
    this.blocks = [];
    this.starts = []; // the first event of each block
    this.kinds = new Names();
    this.nodes = new Names();
    this.names = new Names(); // addresses of messages
    this.room = Math.max(1024, expected + 1);
    this.t = new Float64Array(this.room);
    this.from = new Uint32Array(this.room); // in its block
    this.kind = new Uint8Array(this.room);
    this.node = new Uint32Array(this.room);
    this.name = new Uint16Array(this.room);
    this.ops = { n: 0, begin: new Int32Array(1024).fill(-1), end: new Int32Array(1024).fill(-1), tookS: new Float64Array(1024), outcome: new Uint8Array(1024) };
    for (const kind of ["received", "sent", "invoke", "completed", "usage"]) this[kind] = this.kinds.of(kind);
    this.strange = 0; // lines that are no events
  }
  grow() {
    this.room *= 2;
    for (const field of ["t", "from", "kind", "node", "name"]) {
      const more = new this[field].constructor(this.room);
      more.set(this[field]);
      this[field] = more;
    }
  }
  /** The line of an event. @param {number} i @returns {string} */
  line(i) {
    const b = this.blockOf(i), bytes = this.blocks[b], from = this.from[i];
    let to = bytes.indexOf(10, from);
    if (to < 0) to = bytes.length;
    return new TextDecoder().decode(bytes.subarray(from, to));
  }
  blockOf(i) {
    let low = 0, high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= i) low = middle; else high = middle - 1;
    }
    return low;
  }
  /** An event, parsed. Its kind is "?" where it is none. @param {number} i */
  get(i) {
    try {
      return JSON.parse(this.line(i));
    } catch {
      return { seq: i, t: this.t[i], kind: "?" };
    }
  }
  isMessage(i) { return this.kind[i] === this.received || this.kind[i] === this.sent; }
  isOperation(i) { return this.kind[i] === this.invoke || this.kind[i] === this.completed; }
  isPlain(i) { return this.isMessage(i) || this.isOperation(i) || this.kind[i] === this.usage; }
  /** The first event at a time or after it. */
  firstAt(t) {
    let low = 0, high = this.n;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.t[middle] < t) low = middle + 1; else high = middle;
    }
    return low;
  }
  /** The last event at a time or before it, 0 where there is none. */
  lastAt(t) { return Math.max(0, this.firstAt(t + 1e-7) - 1); }

  /**
   * Indexes a block, in slices: each ends when its time is over.
   * @param {Uint8Array} bytes whole lines
   * @param {(event: object, i: number) => void} tell is told of each event that is no message, operation or sample
   */
  async add(bytes, tell) {
    this.blocks.push(bytes);
    this.starts.push(this.n);
    let until = performance.now() + 12;
    for (let from = 0; from < bytes.length;) {
      let to = bytes.indexOf(10, from);
      if (to < 0) break; // it was cut: the event is none
      this.index(bytes, from, to, tell);
      from = to + 1;
      if ((this.n & 1023) === 0 && performance.now() > until) {
        await breathe();
        until = performance.now() + 12;
      }
    }
  }
  index(bytes, from, to, tell) {
    if (this.n === this.room) this.grow();
    const i = this.n;
    let at = this.head(bytes, from, to, i);
    if (at < 0 && (at = this.parsedHead(bytes, from, to, i)) < 0) {
      this.strange++;
      return;
    }
    this.from[i] = from;
    this.n++;
    const kind = this.kind[i];
    if (kind === this.received || kind === this.sent) {
      this.name[i] = this.address(bytes, at, to);
    } else if (kind === this.invoke || kind === this.completed) {
      this.operation(bytes, at, to, i);
    } else {
      tell(this.get(i), i);
    }
  }
  /** Reads seq, t, kind and node; returns where the rest begins, -1 where it is not plain. */
  head(bytes, from, to, i) {
    if (!stands(fieldBytes["{\"seq\":"], bytes, from)) return -1;
    let k = from + 7;
    while (bytes[k] >= 48 && bytes[k] <= 57) k++;
    if (!stands(fieldBytes[",\"t\":"], bytes, k)) return -1;
    k += 5;
    let t = 0, digits = 0;
    for (; bytes[k] >= 48 && bytes[k] <= 57; k++) t = t * 10 + bytes[k] - 48;
    if (bytes[k] === 46) for (k++; bytes[k] >= 48 && bytes[k] <= 57; k++, digits++) t = t * 10 + bytes[k] - 48;
    if (!stands(fieldBytes[",\"kind\":\""], bytes, k)) return -1;
    this.t[i] = t / 10 ** digits;
    let end = quote(bytes, k += 9, to);
    if (end < 0) return -1;
    this.kind[i] = Math.min(255, this.kinds.at(bytes, k, end));
    this.node[i] = 0;
    k = end + 1;
    if (!stands(fieldBytes[",\"node\":\""], bytes, k)) return k;
    end = quote(bytes, k += 9, to);
    if (end < 0) return -1;
    this.node[i] = this.nodes.at(bytes, k, end);
    return end + 1;
  }
  parsedHead(bytes, from, to, i) {
    try {
      const e = JSON.parse(new TextDecoder().decode(bytes.subarray(from, to)));
      if (typeof e.t !== "number" || typeof e.kind !== "string") return -1;
      this.t[i] = e.t;
      this.kind[i] = Math.min(255, this.kinds.of(e.kind));
      this.node[i] = this.nodes.of(String(e.node || ""));
      return from;
    } catch {
      return -1;
    }
  }
  address(bytes, at, to) {
    const field = fieldBytes[",\"address\":\""];
    while (at < to && !stands(field, bytes, at)) at++;
    const end = at < to ? quote(bytes, at + field.length, to) : -1;
    return end < 0 ? 0 : Math.min(65535, this.names.at(bytes, at + field.length, end));
  }
  operation(bytes, at, to, i) {
    let op = -1, t = this.t[i], outcome = "";
    if (stands(fieldBytes[",\"op\":"], bytes, at)) {
      let k = at + 6;
      for (op = 0; bytes[k] >= 48 && bytes[k] <= 57; k++) op = op * 10 + bytes[k] - 48;
      outcome = String.fromCharCode(bytes[k + 12], bytes[k + 13]); // of ,"outcome":"ok"
      for (k = to - 2; bytes[k] >= 45 && bytes[k] <= 57; k--); // ,"at":1.5}
      if (k > at && stands(fieldBytes[",\"at\":"], bytes, k - 5)) t = this.get(i).at;
    } else {
      const e = this.get(i);
      [op, outcome, t] = [e.op, String(e.outcome).slice(0, 2), e.at || t];
    }
    const ops = this.ops;
    if (!(op >= 0) || op > 4 * (this.room + 1024)) return;
    while (op >= ops.begin.length) this.growOps();
    ops.n = Math.max(ops.n, op + 1);
    if (this.kind[i] === this.invoke) {
      ops.begin[op] = i;
      ops.tookS[op] = -t;
    } else {
      ops.end[op] = i;
      ops.tookS[op] += t;
      ops.outcome[op] = outcome === "ok" ? 1 : outcome === "fa" ? 2 : 3;
    }
  }
  growOps() {
    const ops = this.ops, room = ops.begin.length * 2;
    for (const field of ["begin", "end", "tookS", "outcome"]) {
      const more = new ops[field].constructor(room);
      if (field === "begin" || field === "end") more.fill(-1);
      more.set(ops[field]);
      ops[field] = more;
    }
  }
}

/** Where the string that begins at i ends; -1 where it has an escape, or no end. */
function quote(bytes, i, to) {
  for (; i < to; i++) {
    if (bytes[i] === 34) return i;
    if (bytes[i] === 92) return -1;
  }
  return -1;
}
