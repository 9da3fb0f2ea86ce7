"use strict";
// What happened, as the views draw it: a fold over the events that are no messages.

/** A time as it is told. @param {number} s seconds */
function seconds(s) { return s.toFixed(s < 100 ? 3 : 1) + " s"; }

/** A number with its thousands apart. */
function count(n) { return n.toLocaleString("en-US"); }

/** A text in which nothing acts or hides: control characters and those that turn the direction are written out. */
function visible(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (c) => (c < "\u0100" ? "\\x" + c.charCodeAt(0).toString(16).padStart(2, "0") : "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0")));
}

/** A text in one line of so many characters at most. */
function shorten(text, most) {
  text = visible(text).replace(/\s+/g, " ");
  return text.length > most ? text.slice(0, most - 1) + "…" : text;
}

/** Names, of which the first are told. @param {string[]} names */
function someOf(names, most = 4) {
  names = names || [];
  return names.length > most ? `${names.slice(0, most).join(" ")} and ${names.length - most} more` : names.join(" ");
}

/** What is known of the run besides its messages. */
class Model {
  /** @param {object} overview of the run, as Go has folded it @param {Events} events */
  constructor(overview, events) {
    this.overview = overview;
    this.events = events;
    this.nodes = [];
    this.byName = new Map();
    this.faults = [];
    this.faultByID = new Map();
    this.awaits = [];
    this.awaitByID = new Map();
    this.places = []; // {t, i, where}: where the script was
    this.findings = [];
    this.structure = []; // events that bound the folding of the chart
    for (const node of overview.nodes) this.node(node.name).role = node.role || "";
  }
  node(name) {
    let node = this.byName.get(name);
    if (!node) {
      node = { name, role: "", rank: this.nodes.length, lives: [], states: [], pauses: [], cpu: [], memory: [] };
      this.byName.set(name, node);
      this.nodes.push(node);
    }
    return node;
  }
  /** Folds an event. @param {object} e @param {number} i its number */
  apply(e, i) {
    const t = this.events.t[i];
    const node = e.node ? this.node(e.node) : null;
    if (e.where) this.places.push({ t, i, where: String(e.where) });
    switch (e.kind) {
      case "forked":
        if (!node) return;
        node.lives.push({ from: t, to: Infinity, pid: e.pid, incarnation: e.incarnation, i });
        this.structure.push(i);
        break;
      case "state":
        if (node) node.states.push({ t, to: String(e.to) });
        break;
      case "exited": {
        if (!node) return;
        let life = node.lives.at(-1);
        if (!life || life.to !== Infinity) node.lives.push(life = { from: t, i });
        Object.assign(life, { to: t, end: i, exit: e.signal ? "by signal " + e.signal : String(e.code), unexpected: e.expected ? "" : String(e.why || "not asked for") });
        for (const pause of node.pauses) pause.to = Math.min(pause.to, t);
        this.structure.push(i);
        break;
      }
      case "fault": {
        const fault = { id: e.id, what: String(e.what), detail: e.detail || "", nodes: e.nodes || [], links: e.links || [], where: e.where, lasting: e.lasting, harmless: e.harmless,
          planned: t, applied: -1, healed: -1, abandoned: -1, i, touched: "", to: [] };
        fault.title = `${fault.what} ${fault.links.length ? fault.links.slice(0, 3).map((l) => l.join(" ↔ ")).join(", ") + (fault.links.length > 3 ? " …" : "") : someOf(fault.nodes)}` +
          (fault.detail ? ` (${fault.detail})` : "");
        this.faults.push(fault);
        this.faultByID.set(e.id, fault);
        this.structure.push(i);
        break;
      }
      case "applied": case "healed": case "abandoned": case "touched":
        this.faultGoesOn(e, t, i);
        break;
      case "await": {
        const wait = { id: e.id, what: String(e.what), nodes: e.nodes || [], where: e.where, from: t, to: Infinity, timeout: e.timeout_s, outcome: "", i };
        this.awaits.push(wait);
        this.awaitByID.set(e.id, wait);
        break;
      }
      case "await_ended": {
        const wait = this.awaitByID.get(e.id);
        if (!wait) return;
        Object.assign(wait, { to: t, outcome: String(e.outcome), missing: e.missing || [], end: i });
        if (wait.outcome !== "met" && wait.outcome !== "cancelled") this.structure.push(i);
        break;
      }
      case "finding": case "verdict":
        this.findings.push({ t, i, outcome: String(e.outcome), reason: String(e.reason || ""), verdict: e.kind === "verdict" });
        this.structure.push(i);
        break;
      case "print": case "lost": case "wiped":
        this.structure.push(i);
        break;
      case "usage": this.sample(e, t, node); break;
    }
  }
  /** Takes a sample of what a node uses: seconds of CPU so far, and bytes of memory. */
  sample(e, t, node) {
    if (!node) return;
    const cpu = e.cpu_s, memory = e.memory_bytes ?? e.rss_bytes ?? e.memory;
    if (typeof cpu === "number") {
      const last = node.cpuLast;
      if (last && t > last.t && cpu >= last.cpu) node.cpu.push({ t, v: (cpu - last.cpu) / (t - last.t) });
      node.cpuLast = { t, cpu };
    }
    if (typeof memory === "number") node.memory.push({ t, v: memory });
  }
  faultGoesOn(e, t, i) {
    const fault = this.faultByID.get(e.id);
    if (!fault) return;
    if (e.kind === "applied") {
      fault.applied = t;
      fault.to = e.to || [];
      if (fault.what === "pause") for (const name of fault.to) this.node(name).pauses.push({ from: t, to: Infinity });
    } else if (e.kind === "healed") {
      fault.healed = t;
      fault.healedBy = i;
      if (fault.what === "pause") for (const name of e.nodes || []) for (const pause of this.node(name).pauses) pause.to = Math.min(pause.to, t);
    } else if (e.kind === "abandoned") {
      fault.abandoned = t;
    } else {
      fault.touched = Object.entries(e).filter(([k, v]) => typeof v === "number" && !["seq", "t", "id"].includes(k)).map(([k, v]) => `${count(v)} ${k.replaceAll("_", " ")}`).join(", ");
    }
    if (e.kind !== "touched") this.structure.push(i);
  }
  /** When a fault was over; of one that acts at once that is when it was applied. */
  faultEnd(f) {
    if (f.healed >= 0) return f.healed;
    if (f.abandoned >= 0) return f.abandoned;
    if (f.applied >= 0 && !f.lasting) return f.applied;
    return this.overview.end_s;
  }
  /** All has been folded. */
  finish() {
    const culprits = new Set(this.overview.culprits || []), hit = new Set();
    for (const f of this.faults) if (!f.harmless) for (const name of f.nodes) hit.add(name);
    const rank = (n) => (culprits.has(n.name) ? 0 : n.lives.some((l) => l.unexpected) ? 1 : hit.has(n.name) ? 2 : 3);
    this.ranked = this.nodes.length > 24 ? [...this.nodes].sort((a, b) => rank(a) - rank(b) || a.rank - b.rank) : this.nodes;
    this.places.sort((a, b) => a.i - b.i);
  }
  /** Where the script was at an event: the last place that was told up to it. @returns {{where: string, i: number} | null} */
  placeAt(i) {
    let low = 0, high = this.places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.places[middle].i <= i) low = middle + 1; else high = middle;
    }
    return low > 0 ? this.places[low - 1] : null;
  }
  /** The state of a node at a time. */
  stateAt(node, t) {
    let state = "";
    for (const s of node.states) {
      if (s.t > t) break;
      state = s.to;
    }
    return state;
  }
}

/** An argument of a message as it is told. */
function argument(a) {
  if (a === null) return "None";
  if (typeof a === "string") return JSON.stringify(shorten(a, 60));
  if (typeof a !== "object") return a === true ? "True" : a === false ? "False" : String(a);
  if (Array.isArray(a)) return "[" + a.map(argument).join(" ") + "]";
  if (typeof a.blob === "string") return `<${Math.floor(a.blob.replace(/=+$/, "").length * 3 / 4)} bytes>`;
  return typeof a.osc === "string" ? a.osc : JSON.stringify(a);
}

/** A message as it is told: its address without the slash, and what it tells besides the node's name. */
function messageText(e) {
  const args = Array.isArray(e.args) ? e.args : [];
  const rest = args.length === 1 && args[0] === e.node ? "" : args.map(argument).join(" ");
  return shorten(String(e.address || "?").replace(/^\//, "") + (rest ? " " + rest : ""), 160);
}

/** An event in a line, as the log of the page tells it. */
function eventText(e) {
  const at = e.where ? ` at ${e.where}` : "";
  switch (e.kind) {
    case "run_started": return `run of ${e.script} starts, seed ${e.seed}`;
    case "contained": return `contained: ${e.rung}`;
    case "listening": return `listening for it on ${e.address}`;
    case "forked": return `forked, incarnation ${e.incarnation}, pid ${e.pid}: ${(e.argv || []).join(" ")}${at}`;
    case "received": return "← " + messageText(e);
    case "sent": return "→ " + messageText(e);
    case "state": return `${e.from || "not forked"} → ${e.to}`;
    case "exited": return `exited ${e.signal ? "by signal " + e.signal : e.code}${e.expected ? "" : ", unasked: " + (e.why || "")}${e.note ? ", " + e.note : ""}`;
    case "asked": return `asked by ${e.by}: ${e.how} ${e.signal || ""}`;
    case "fault": return `fault ${e.id} planned: ${e.what} ${someOf(e.nodes)} ${e.detail || ""}${at}`;
    case "applied": return `fault ${e.id} applied to ${someOf(e.to)}`;
    case "healed": return `fault ${e.id} healed for ${someOf(e.nodes)}`;
    case "abandoned": return `fault ${e.id} abandoned by ${e.by}: ${e.reason}`;
    case "await": return `script waits for ${e.what} of ${someOf(e.nodes)}, at most ${e.timeout_s} s${at}`;
    case "await_ended": return `wait ${e.id} ended: ${e.outcome} after ${seconds(Number(e.waited_s) || 0)}${(e.missing || []).length ? ", without " + someOf(e.missing) : ""}`;
    case "action": return `${e.what}: ${e.outcome}${e.tries > 1 ? ` (${e.tries} tries)` : ""}${e.error ? ": " + e.error : ""}`;
    case "probe": return `${e.what}: ${e.held ? "holds" : "did not hold"}${e.error ? ": " + e.error : ""}`;
    case "invoke": return `op ${e.op} begins: ${e.f} ${e.key !== undefined && e.key !== null ? JSON.stringify(e.key) + " " : ""}${e.value !== undefined && e.value !== null ? JSON.stringify(e.value) : ""} (process ${e.process}${e.client ? ", " + e.client : ""})`;
    case "completed": return `op ${e.op} ${e.outcome}${e.result !== undefined && e.result !== null ? ": " + JSON.stringify(e.result) : ""}${e.error ? ": " + e.error : ""}`;
    case "print": return e.text;
    case "notice": return e.text;
    case "finding": return `${e.outcome}: ${e.reason}${at}`;
    case "verdict": return `verdict: ${e.outcome}${e.reason ? ": " + e.reason : ""}${at}`;
    case "run_finished": return `run ended after ${seconds(Number(e.duration_s) || 0)}`;
  }
  const { seq, t, kind, node, ...rest } = e;
  return `${kind} ${JSON.stringify(rest)}`;
}
