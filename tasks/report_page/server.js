// With `dub review` the decisions go straight back. Several reviewers share one state: nobody overwrites what they have not seen.
function isServed() {
  return document.querySelector('meta[name="dubflow-review"]').content !== "";
}

const POLL_MS = 2000;

class ReviewServer extends EventTarget {
  constructor(book) {
    super();
    this.book = book;
    this.queue = new Map(); // shot -> version that was seen when it was decided
    this.address = `${document.querySelector('meta[name="dubflow-review"]').content}/${encodeURIComponent(DATA.language)}`;
    this.version = null;
    this.numSettled = 0; // answers to what was sent
    this.client = Math.random().toString(36).slice(2);
    book.versions = new Map();
    book.addEventListener("change", (event) => {
      if (event.detail.fromServer) return;
      this.queue.set(event.detail.index, event.detail.version);
      this.send();
    });
    this.poll();
  }

  async ask(path, options = {}) {
    const answer = await fetch(`${this.address}/${path}`, { cache: "no-store", ...options });
    if (answer.status === 404 || answer.status === 403) throw new Error("the review has ended");
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error || `answer ${answer.status}`);
    return content;
  }

  async poll() {
    const before = this.numSettled;
    try {
      const state = await this.ask(`state?since=${this.version ?? ""}&client=${this.client}&reviewer=${encodeURIComponent(byId("reviewer").value.trim())}`);
      if (before === this.numSettled) this.learn(state); // else it may tell of a time before our last decision came in
      if (this.queue.size) await this.send();
    } catch (error) {
      this.report(`Not saved yet: ${error.message}`, true);
    }
    setTimeout(() => this.poll(), POLL_MS);
  }

  learn(state) {
    this.others = state.others || [];
    if (state.digest !== DATA.digest) {
      this.dispatchEvent(new Event("renewed"));
      return;
    }
    if (state.entries) {
      const isFirst = this.version === null;
      const seen = new Set();
      for (const entry of state.entries) {
        seen.add(entry.shot);
        this.learnOne(entry);
      }
      for (const index of [...this.book.versions.keys()]) {
        if (!seen.has(index) && !this.queue.has(index) && this.book.get(index)) this.book.accept(index, null);
      }
      if (isFirst) this.offerOwn(seen);
    }
    this.version = state.version;
    if (!this.queue.size) this.report(this.others.length ? `Saved · also here: ${this.others.join(", ")}` : "Saved");
  }

  learnOne(entry) {
    const known = this.book.versions.get(entry.shot);
    this.book.versions.set(entry.shot, entry.version);
    if (this.queue.has(entry.shot)) return; // the server will say whether ours comes too late
    const mine = this.book.get(entry.shot);
    if (mine?.dirty && known === undefined && (mine.decision !== entry.decision || mine.note !== entry.note)) {
      this.queue.set(entry.shot, mine.version || 0); // decided while the server was away: it will say so
      return;
    }
    if (known !== entry.version || !mine) this.book.accept(entry.shot, { ...entry, take: entry.take_sha256, at: entry.decided_at });
  }

  // What this browser holds and the server does not: decided before the server ran.
  offerOwn(seen) {
    for (const index of this.book.entries.keys()) if (!seen.has(index)) this.queue.set(index, 0);
  }

  async send() {
    if (this.isSending || !this.queue.size) return;
    this.isSending = true;
    const sent = new Map(this.queue);
    this.report("Saving …");
    try {
      const changes = [...sent].map(([index, seen]) => {
        const entry = this.book.get(index);
        const common = { shot: index, take_sha256: SHOT_BY_INDEX.get(index).take ?? null, seen };
        return entry ? { ...common, decision: entry.decision, note: entry.note, decided_at: entry.at } : { ...common, decision: null, note: "", decided_at: "" };
      });
      const body = JSON.stringify({ reviewer: byId("reviewer").value.trim(), digest: DATA.digest, changes });
      const answer = await this.ask("decisions", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      for (const one of answer.results || []) this.settle(one, sent);
      this.report(this.queue.size ? "Saving …" : "Saved");
    } catch (error) {
      this.report(`Not saved yet: ${error.message}`, true);
    }
    this.isSending = false;
  }

  settle(one, sent) {
    this.numSettled += 1;
    const isLatest = this.queue.get(one.shot) === sent.get(one.shot);
    if (one.version !== undefined) this.book.versions.set(one.shot, one.version);
    if (one.status === "applied") {
      const entry = this.book.get(one.shot);
      if (entry) Object.assign(entry, { version: one.version, dirty: false });
      if (isLatest) this.queue.delete(one.shot);
    } else {
      this.queue.delete(one.shot);
      this.dispatchEvent(new CustomEvent(one.status, { detail: one }));
    }
  }

  // Done: what stands becomes decisions.json beside the report, where a redo finds it.
  async handIn() {
    await this.send();
    if (this.queue.size) return;
    try {
      const answer = await this.ask(`hand-in?reviewer=${encodeURIComponent(byId("reviewer").value.trim())}`, { method: "POST" });
      tellAll(`${answer.num_decisions} decisions handed in: ${answer.where}`);
    } catch (error) {
      tellAll(`Not handed in: ${error.message}`);
    }
  }

  // A decisions.json that somebody saved from the page without a server.
  async takeIn(file) {
    try {
      const answer = await this.ask("upload", { method: "POST", body: await file.arrayBuffer() });
      tellAll(`${file.name}: ${answer.num_applied} decisions taken in`, answer.refused);
      this.version = null;
    } catch (error) {
      tellAll(`${file.name} was not taken in: ${error.message}`);
    }
  }

  report(text, isTrouble = false) {
    const told = byId("saved");
    if (told.textContent !== text) told.textContent = text;
    told.classList.toggle("state", isTrouble);
    told.classList.toggle("reject", isTrouble);
  }
}

function tellAll(text, more = []) {
  const close = el("button", { type: "button" }, "Close");
  const told = el("div", { class: "notice", role: "status" }, el("p", {}, text), ...more.slice(0, 20).map((one) => el("p", {}, one)), close);
  close.addEventListener("click", () => told.remove());
  byId("notices").prepend(told);
}

// Somebody else decided first. Theirs stands until this reviewer says otherwise; ours is shown, not lost.
function showConflict(one, book, server) {
  const mine = book.get(one.shot);
  const theirs = one.entry;
  const box = byId("conflict");
  const inWords = (entry) => (entry ? `${DECISIONS[entry.decision]}${entry.note ? ` “${entry.note}”` : ""}` : "no decision");
  const close = () => {
    box.hidden = true;
  };
  const takeTheirs = el("button", { type: "button" }, "Leave theirs");
  const keepMine = el("button", { type: "button" }, "Put mine instead");
  takeTheirs.addEventListener("click", close);
  keepMine.addEventListener("click", () => {
    book.decide(one.shot, mine ? mine.decision : null, mine ? mine.note : "");
    close();
  });
  const who = theirs?.reviewer || "Another reviewer";
  box.replaceChildren(el("p", {}, el("strong", {}, `Shot ${one.shot}: `), `${who} decided meanwhile: ${inWords(theirs)}. Yours was: ${inWords(mine)}.`), takeTheirs, keepMine);
  box.hidden = false;
  book.accept(one.shot, theirs ? { ...theirs, take: theirs.take_sha256, at: theirs.decided_at } : null);
  server.report("Somebody else decided first");
}
