// The shots, filtered and ordered; only the rows in sight are in the page, so that thousands stay fluid.
class ShotList extends EventTarget {
  constructor(book) {
    super();
    this.book = book;
    this.host = byId("list");
    this.space = byId("space");
    this.show = "all";
    this.person = null;
    this.rows = new Map(); // shot index -> element in the page
    this.current = null;
    this.host.addEventListener("scroll", () => this.later(), { passive: true });
    this.host.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.choose(Number(row.dataset.shot));
    });
    this.host.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(() => this.refresh()).observe(this.host);
    book.addEventListener("change", (event) => this.redraw(event.detail.index));
    for (const button of byId("verdicts").children) {
      button.addEventListener("click", () => {
        this.show = button.dataset.show;
        this.arrange();
      });
    }
    byId("find").addEventListener("input", () => this.arrange());
    byId("order").addEventListener("change", () => this.arrange());
    this.arrange();
  }

  // Which shots, in which order. A shot stays in the list while it is being decided on, so that nothing jumps.
  arrange() {
    const words = byId("find").value.trim().toLowerCase();
    for (const button of byId("verdicts").children) button.setAttribute("aria-pressed", String(button.dataset.show === this.show));
    this.shots = SHOTS.filter((shot) => this.wanted(shot) && (!words || this.textOf(shot).includes(words))).sort(this.comparison());
    this.places = new Map(this.shots.map((shot, place) => [shot.i, place]));
    const all = this.shots.length === SHOTS.length;
    byId("shown").textContent = all ? "" : `${this.shots.length} of ${SHOTS.length} shown${this.person === null ? "" : `, ${faceName(this.person)}`}`;
    this.refresh();
    this.reveal();
  }

  wanted(shot) {
    if (this.person !== null && shot.person !== this.person) return false;
    if (this.show === "undecided") return !this.book.get(shot.i);
    return this.show === "all" || shot.verdict === this.show;
  }

  textOf(shot) {
    const entry = this.book.get(shot.i);
    return `shot ${shot.i} ${shot.in} ${shot.reason} ${shot.evidence || ""} ${entry ? `${DECISIONS[entry.decision]} ${entry.note}` : ""}`.toLowerCase();
  }

  comparison() {
    const byDelta = (one, other) => (one.delta ?? 99) - (other.delta ?? 99) || one.i - other.i;
    const decided = (shot) => Object.keys(DECISIONS).indexOf(this.book.get(shot.i)?.decision ?? "");
    return {
      film: (one, other) => one.i - other.i,
      delta: byDelta,
      decision: (one, other) => decided(one) - decided(other) || one.i - other.i,
      worst: (one, other) =>
        BADNESS[one.severity] - BADNESS[other.severity] || (one.verdict !== "review") - (other.verdict !== "review") || byDelta(one, other),
    }[byId("order").value];
  }

  refresh() {
    this.rowHeight = Math.round(3.4 * parseFloat(getComputedStyle(document.documentElement).fontSize));
    this.space.style.height = `${this.shots.length * this.rowHeight}px`;
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.paint();
  }

  later() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.paint();
    });
  }

  paint() {
    const first = Math.max(0, Math.floor(this.host.scrollTop / this.rowHeight) - 4);
    const end = Math.min(this.shots.length, Math.ceil((this.host.scrollTop + this.host.clientHeight) / this.rowHeight) + 4);
    const wanted = new Set();
    for (let place = first; place < end; place += 1) {
      const shot = this.shots[place];
      wanted.add(shot.i);
      if (!this.rows.has(shot.i)) this.rows.set(shot.i, this.space.appendChild(this.row(shot, place)));
    }
    for (const [index, row] of this.rows) {
      if (!wanted.has(index)) {
        row.remove();
        this.rows.delete(index);
      }
    }
  }

  row(shot, place) {
    const entry = this.book.get(shot.i);
    const decided = entry ? DECISIONS[entry.decision] : "";
    const name = `Shot ${shot.i}, ${shot.in}, ${VERDICTS[shot.verdict]}: ${shot.reason}. ${decided ? `${decided}${entry.note ? `: ${entry.note}` : ""}` : "Not decided"}`;
    const row = el(
      "div",
      {
        class: `row ${shot.severity === "blocker" ? "blocker" : shot.verdict}`, role: "option", id: `row-${shot.i}`, "data-shot": shot.i,
        "aria-selected": String(shot.i === this.current), "aria-setsize": this.shots.length, "aria-posinset": place + 1, "aria-label": name,
      },
      el("span", { class: "number" }, String(shot.i)),
      el("span", { class: "why" }, shot.reason),
      el("span", { class: "when" }, `${shot.in}${shot.person === undefined ? "" : ` · ${faceName(shot.person)}`}${entry?.note ? " · ✎" : ""}`),
      el("span", { class: `mark ${entry ? entry.decision : ""}` }, decided),
      el("span", { class: "delta" }, shot.delta === undefined ? "" : signed(shot.delta)),
    );
    row.style.top = `${place * this.rowHeight}px`;
    row.style.height = `${this.rowHeight}px`;
    return row;
  }

  redraw(index) {
    const old = this.rows.get(index);
    if (!old) return;
    const row = this.row(SHOT_BY_INDEX.get(index), this.places.get(index));
    old.replaceWith(row);
    this.rows.set(index, row);
  }

  choose(index) {
    const shot = SHOT_BY_INDEX.get(index);
    if (!shot) return;
    const was = this.current;
    this.current = index;
    this.redraw(was);
    this.reveal();
    this.redraw(index);
    this.host.setAttribute("aria-activedescendant", `row-${index}`);
    this.dispatchEvent(new CustomEvent("choose", { detail: shot }));
  }

  reveal() {
    const place = this.places.get(this.current);
    if (place === undefined) return;
    const top = place * this.rowHeight;
    if (top < this.host.scrollTop) this.host.scrollTop = top - this.rowHeight;
    else if (top + this.rowHeight > this.host.scrollTop + this.host.clientHeight) this.host.scrollTop = top + 2 * this.rowHeight - this.host.clientHeight;
    this.paint();
  }

  // The next (+1) or previous (-1) shot as listed; where the current one is not listed, the first.
  step(by) {
    if (!this.shots.length) return;
    const place = this.places.get(this.current);
    const next = place === undefined ? 0 : Math.max(0, Math.min(this.shots.length - 1, place + by));
    this.choose(this.shots[next].i);
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.host.clientHeight / this.rowHeight) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.shots.length, End: this.shots.length }[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(by);
  }
}
