"use strict";
// Opens the data, and puts the views together.

/** The keys, as "?" tells them. Those of the slider, the chart and the lines act where they have the focus. */
const keys = [
  ["← →", "a hundredth of the range back, on (Shift: a tenth)"], ["↑ ↓", "the event before, after"], ["n  p", "the next, the previous event that is no message"],
  ["+ −", "a shorter, a longer range"], ["0", "the whole run"], ["f", "where it failed"], ["/", "search the log"], ["t", "the chart as a table, and back"], ["?", "these keys"], ["Esc", "close, leave a field"],
];

function listenToKeys(view, chart) {
  const help = byID("help");
  byID("help-keys").replaceChildren(...keys.flatMap(([key, what]) => [make("dt", "", key), make("dd", "", what)]));
  byID("help-button").addEventListener("click", () => help.showModal());
  const range = () => view.to - view.from;
  const acts = {
    "ArrowLeft": (e) => view.go(view.at - range() / (e.shiftKey ? 10 : 100)), "ArrowRight": (e) => view.go(view.at + range() / (e.shiftKey ? 10 : 100)),
    "ArrowUp": () => view.goEvent(view.chosen - 1), "ArrowDown": () => view.goEvent(view.chosen + 1),
    "n": () => view.goEvent(next(view, 1)), "p": () => view.goEvent(next(view, -1)),
    "+": () => view.zoom(0.5), "=": () => view.zoom(0.5), "-": () => view.zoom(2), "0": () => view.setRange(view.start, view.end), "f": () => toFailure(view),
    "/": () => byID("filter-text").focus(), "t": () => byID("chart-table-button").click(), "?": () => help.showModal(),
  };
  document.addEventListener("keydown", (e) => {
    const field = e.target.closest("input, select, textarea, [role=slider], dialog");
    if (e.key === "Escape" && field) field.blur();
    if (field || e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || !acts[e.key]) return;
    if (/^Arrow/.test(e.key) && e.target !== document.body && !e.target.closest("#time")) return;
    e.preventDefault();
    acts[e.key](e);
  });
}

/** The next event in a direction that is no message, operation or sample. */
function next(view, step) {
  let i = view.chosen + step;
  while (i > 0 && i < view.events.n - 1 && view.events.isPlain(i)) i += step;
  return i;
}

/** Goes to where it failed, in a range that shows what led to it. */
function toFailure(view) {
  const { broke_s: t, broke_seq: i } = view.model.overview, before = Math.max(0.05, (view.end - view.start) * 0.05);
  view.setRange(t - before, t + before / 2);
  view.go(t, Math.min(i, view.events.n - 1));
}

/** Links of the first screen go to their moments. */
function listenToLinks(view) {
  document.addEventListener("click", (e) => {
    const link = e.target.closest("[data-seq]");
    if (!link) return;
    e.preventDefault();
    view.goEvent(Number(link.dataset.seq));
    byID("time").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "start" });
  });
  for (const button of document.querySelectorAll("[data-copies]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(byID(button.dataset.copies).textContent);
      say("copied");
      button.textContent = "copied";
    });
  }
}

async function main() {
  const status = byID("status"), began = performance.now();
  const overview = await openJSON("overview"), events = new Events(overview.events), model = new Model(overview, events);
  status.textContent = `opening ${count(overview.events)} events …`;
  await breathe();
  const blocks = [...document.querySelectorAll("script[data-block=events]")];
  for (const [k, block] of blocks.entries()) {
    await events.add(await openBlock(block), (e, i) => model.apply(e, i));
    status.textContent = `opening ${count(overview.events)} events: ${Math.round(100 * (k + 1) / blocks.length)} %`;
  }
  model.finish();
  const texts = await openJSON("texts"), lines = new Lines(await openJSON("logs"));
  const view = new View(model, lines.n ? lines.t[lines.n - 1] : 0), palette = new Palette();
  byID("explorer").hidden = false;
  const choices = byID("filter-node");
  choices.append(...model.ranked.map((n) => new Option(visible(n.name), n.name)));
  const bar = new TimeBar(view, palette), timeline = new Timeline(view, palette), chart = new Chart(view, palette), logs = new Logs(view, palette);
  const source = new Source(view, texts), plots = new Plots(view, palette);
  timeline.prepare();
  plots.prepare();
  logs.prepare(lines);
  choices.addEventListener("change", () => view.redraw({ range: true }));
  palette.changed = () => view.redraw({ range: true });
  new ResizeObserver(() => view.redraw({ range: true })).observe(byID("explorer"));
  for (const [id, act] of [["zoom-in", () => view.zoom(0.5)], ["zoom-out", () => view.zoom(2)], ["zoom-all", () => view.setRange(view.start, view.end)], ["to-failure", () => toFailure(view)]]) {
    byID(id).addEventListener("click", act);
  }
  byID("to-failure").hidden = overview.outcome === "passed";
  listenToKeys(view, chart);
  listenToLinks(view);
  view.redraw({ range: true, moment: true });
  const strange = events.strange ? `; ${count(events.strange)} lines are no events` : "";
  status.textContent = `${count(events.n)} events${strange}`;
  requestAnimationFrame(() => requestAnimationFrame(() => {
    performance.mark("usable");
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
    document.documentElement.dataset.opened = String(Math.round(performance.now() - began));
  }));
  return { view, events, model, bar, timeline, chart, logs, source, plots };
}

/** What the page has opened; for a test, and for who looks with the browser's tools. */
const opened = main().catch((e) => {
  byID("status").textContent = `The rest of this page could not be opened: ${e.message}. A browser of 2023 or later is needed.`;
  document.documentElement.dataset.failed = String(e.message);
  throw e;
});
