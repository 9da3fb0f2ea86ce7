"use strict";
// The script and the ini, with the line that was executing at the moment.

class Source {
  /** @param {View} view @param {{name: string, kind: string, text: string}[]} texts */
  constructor(view, texts) {
    Object.assign(this, { view, texts });
    this.tabs = byID("source-tabs");
    this.body = byID("source-body");
    byID("source-none").hidden = texts.length > 0;
    texts.forEach((text, k) => {
      const tab = make("button", "tab", visible(text.name));
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", "source-body");
      tab.title = text.kind;
      tab.addEventListener("click", () => this.show(k, -1));
      tab.addEventListener("keydown", (e) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
        if (!step) return;
        const next = (k + step + texts.length) % texts.length;
        this.show(next, -1);
        this.tabs.children[next].focus();
      });
      this.tabs.append(tab);
    });
    view.onChange(() => this.follow());
    if (texts.length) this.show(0, -1);
  }
  /** The text and the line of a place file:line:col. */
  find(where) {
    const found = /^(.*):(\d+):\d+$/.exec(where || "");
    if (!found) return null;
    const text = this.texts.findIndex((t) => t.name === found[1]);
    return text < 0 ? null : { text, line: Number(found[2]) };
  }
  /** Shows where the script was at the moment. */
  follow() {
    const place = this.view.model.placeAt(this.view.chosen), found = place && this.find(place.where);
    byID("source-where").textContent = place ? place.where : "";
    if (found) this.show(found.text, found.line);
    else this.current?.removeAttribute("aria-current");
  }
  show(k, line) {
    if (this.shown !== k) this.fill(k);
    this.current?.classList.remove("executing");
    this.current?.removeAttribute("aria-current");
    this.current = line > 0 ? this.body.children[line - 1] : null;
    if (!this.current) return;
    this.current.classList.add("executing");
    this.current.setAttribute("aria-current", "step");
    const top = this.current.offsetTop; // the body is what it is measured from
    if (top < this.body.scrollTop || top > this.body.scrollTop + this.body.clientHeight - 30) this.body.scrollTop = Math.max(0, top - this.body.clientHeight / 2);
  }
  fill(k) {
    this.shown = k;
    for (const [n, tab] of [...this.tabs.children].entries()) {
      tab.setAttribute("aria-selected", String(n === k));
      tab.tabIndex = n === k ? 0 : -1;
    }
    const places = new Map();
    for (const p of this.view.model.places) {
      const found = this.find(p.where);
      if (found?.text === k) places.set(found.line, [...places.get(found.line) || [], p.i]);
    }
    this.body.replaceChildren(...this.texts[k].text.split("\n").slice(0, 5000).map((text, n) => {
      const line = make("li"), code = make("code", "", visible(text) || " ");
      line.append(code);
      const at = places.get(n + 1);
      if (!at) return line;
      line.className = "executed";
      const go = make("button", "link go", at.length > 1 ? "×" + at.length : "•");
      go.setAttribute("aria-label", `line ${n + 1} was executed ${at.length} times: go to the next`);
      go.addEventListener("click", () => this.view.goEvent(at.find((i) => i > this.view.chosen) ?? at[0]));
      line.append(go);
      return line;
    }));
  }
}
