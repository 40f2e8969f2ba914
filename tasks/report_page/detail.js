// One shot in full: why it got its verdict, what the numbers say, every try, and what the reviewer makes of it.
class Detail extends EventTarget {
  constructor(book) {
    super();
    this.book = book;
    this.shot = null;
    for (const button of document.querySelectorAll("[data-decide]")) button.addEventListener("click", () => this.press(button.dataset.decide));
    byId("note").addEventListener("change", () => this.keepNote());
    byId("note").addEventListener("keydown", (event) => this.onNoteKey(event));
    book.addEventListener("change", (event) => {
      if (event.detail.index === this.shot?.i) this.showDecision();
    });
  }

  show(shot) {
    this.keepNote();
    this.shot = shot;
    byId("shot-title").textContent = `Shot ${shot.i}`;
    const frames = shot.end - shot.first;
    byId("shot-time").textContent = `${shot.in} – ${shot.out} · ${frames} frames`;
    const severity = SEVERITIES[shot.severity];
    const tone = shot.severity === "blocker" ? "blocker" : shot.verdict;
    byId("shot-verdict").replaceChildren(el("span", { class: `badge ${tone}` }, severity ? `${VERDICTS[shot.verdict]} · ${severity}` : VERDICTS[shot.verdict]));
    byId("shot-reason").textContent = shot.reason;
    byId("evidence").textContent = shot.evidence || "";
    byId("said").replaceChildren(...(shot.said || []).map((text) => el("li", {}, text)));
    this.showScores();
    this.showTries();
    this.showDecision();
    byId("conflict").hidden = true;
    byId("detail").scrollTop = 0;
  }

  showScores() {
    const rows = [["Original, own voice", 0], ["Original picture, dub", 1], ["Dubbed", 2]].map(([name, which]) => {
      const [score, low, high, distance, offset, windows, why] = this.shot.scores[which];
      const interval = low === null || high === null ? "" : `${number(low)} – ${number(high)}`;
      if (score === null) return el("tr", {}, el("td", {}, name), el("td", { class: "n", colspan: 5 }, why || "not scored"));
      return el("tr", {}, el("td", {}, name), ...[number(score), interval, number(distance), number(offset, 0), String(windows)].map((text) => el("td", { class: "n" }, text)));
    });
    const heads = [["", ""], ["LSE-C", "n"], ["95 %", "n"], ["LSE-D", "n"], ["Offset", "n"], ["Windows", "n"]];
    byId("scores").replaceChildren(el("thead", {}, headRow(heads)), el("tbody", {}, ...rows));
  }

  showTries() {
    const tries = this.shot.tries || [];
    byId("tries-part").hidden = tries.length === 0;
    const rows = tries.map((one, n) =>
      el(
        "tr",
        { class: one.used ? "used" : null },
        el("td", {}, `${n + 1}${one.used ? " (in the film)" : ""}`),
        el("td", {}, one.rung === "first" ? "first" : `${one.rung}: ${one.how}`),
        el("td", { class: "n" }, number(one.score[0])),
        el("td", { class: "n" }, number(one.score[4], 0)),
        el("td", {}, one.reason),
      ),
    );
    byId("tries").replaceChildren(el("thead", {}, headRow([["Try", ""], ["How", ""], ["LSE-C", "n"], ["Offset", "n"], ["Finding", ""]])), el("tbody", {}, ...rows));
  }

  showDecision() {
    const entry = this.book.get(this.shot.i);
    const stale = this.book.stale.get(this.shot.i);
    for (const button of document.querySelectorAll("[data-decide]")) button.setAttribute("aria-pressed", String(entry?.decision === button.dataset.decide));
    if (document.activeElement !== byId("note")) byId("note").value = entry?.note || "";
    const state = byId("shot-state");
    state.className = `state ${entry ? entry.decision : ""}`;
    state.textContent = entry ? DECISIONS[entry.decision] + (entry.reviewer ? ` by ${entry.reviewer}` : "") : "";
    if (!entry && stale) state.textContent = `Made again since: ${DECISIONS[stale.decision].toLowerCase()}${stale.note ? ` “${stale.note}”` : ""}`;
  }

  press(decision) {
    const entry = this.book.get(this.shot.i);
    if (entry?.decision === decision && document.activeElement?.dataset?.decide === decision) this.decide(null);
    else this.decide(decision);
  }

  // Approving and keeping go on to the next shot; rejecting and asking want a word first.
  decide(decision) {
    const { shot } = this;
    this.book.decide(shot.i, decision, byId("note").value.trim());
    say(decision ? `Shot ${shot.i}: ${DECISIONS[decision]}. ${this.book.numDecided} of ${SHOTS.length} decided.` : `Shot ${shot.i}: decision taken back.`);
    if (decision === "reject" || decision === "ask") byId("note").focus();
    else if (decision) this.dispatchEvent(new Event("next"));
  }

  keepNote() {
    if (!this.shot) return;
    const note = byId("note").value.trim();
    const entry = this.book.get(this.shot.i);
    if (note === (entry?.note || "")) return;
    this.book.decide(this.shot.i, entry?.decision || "ask", note);
  }

  onNoteKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.keepNote();
      byId("list").focus({ preventScroll: true });
      this.dispatchEvent(new Event("next"));
    } else if (event.key === "Escape") {
      this.keepNote();
      byId("list").focus({ preventScroll: true });
    }
  }
}

function headRow(heads) {
  return el("tr", {}, ...heads.map(([text, kind]) => (text ? el("th", { scope: "col", class: kind || null }, text) : el("td"))));
}
