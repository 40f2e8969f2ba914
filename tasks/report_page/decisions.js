// What the reviewer decided. Kept in the browser under episode, language and the report's digest; a decision on a take that is gone is set aside.
class DecisionBook extends EventTarget {
  constructor() {
    super();
    this.entries = new Map(); // shot -> { decision, note, take, at, reviewer, version, dirty }
    this.stale = new Map(); // shot -> what was said of an earlier take
    this.undone = []; // [{ shot, was }]: what to go back to
    this.read();
  }

  get key() {
    return `${this.family}${DATA.digest}`;
  }

  get family() {
    return `dubflow:decisions:${DATA.episode}:${DATA.language}:`;
  }

  read() {
    this.entries.clear();
    this.stale.clear();
    let kept = this.stored(this.key);
    if (kept === null) kept = this.ofEarlierReports();
    for (const [index, entry] of Object.entries(kept)) this.take(Number(index), entry);
  }

  stored(key) {
    try {
      const found = JSON.parse(localStorage.getItem(key));
      return found && typeof found === "object" ? found : null;
    } catch {
      return null;
    }
  }

  ofEarlierReports() {
    const found = {};
    try {
      for (let n = 0; n < localStorage.length; n += 1) {
        const key = localStorage.key(n);
        if (!key.startsWith(this.family)) continue;
        for (const [index, entry] of Object.entries(this.stored(key) || {})) {
          if (entry && (!found[index] || (found[index].at || "") < (entry.at || ""))) found[index] = entry;
        }
      }
    } catch { /* no storage */ }
    return found;
  }

  take(index, entry) {
    const shot = SHOT_BY_INDEX.get(index);
    if (!shot || !entry || !(entry.decision in DECISIONS)) return;
    const isCurrent = (entry.take ?? null) === (shot.take ?? null);
    (isCurrent ? this.entries : this.stale).set(index, { ...entry, note: String(entry.note || "") });
  }

  get(index) {
    return this.entries.get(index) || null;
  }

  // The reviewer's act: it can be undone. decision null takes it back.
  decide(index, decision, note) {
    const was = this.get(index);
    const said = (note ?? was?.note ?? "").slice(0, 4000);
    if ((was?.decision ?? null) === decision && (was?.note ?? "") === said) return;
    this.undone.push({ index, was });
    this.put(index, decision === null ? null : { decision, note: said });
  }

  undo() {
    const last = this.undone.pop();
    if (!last) return null;
    this.put(last.index, last.was && { decision: last.was.decision, note: last.was.note });
    return last.index;
  }

  put(index, said) {
    const version = this.get(index)?.version ?? this.versions?.get(index) ?? 0;
    const common = { take: SHOT_BY_INDEX.get(index).take ?? null, at: new Date().toISOString(), reviewer: byId("reviewer").value.trim(), version, dirty: true };
    if (said) this.entries.set(index, { ...said, ...common });
    else this.entries.delete(index);
    this.write();
    this.dispatchEvent(new CustomEvent("change", { detail: { index, removed: !said, version } }));
  }

  // From the server: the reviewers' common state.
  accept(index, entry) {
    if (entry) this.take(index, { ...entry, dirty: false });
    else this.entries.delete(index);
    this.write();
    this.dispatchEvent(new CustomEvent("change", { detail: { index, fromServer: true } }));
  }

  write() {
    try {
      localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(this.entries)));
      this.isKept = true;
    } catch {
      this.isKept = false; // storage full or forbidden: the page says so
    }
  }

  get numDecided() {
    return this.entries.size;
  }

  asFile() {
    const decisions = [...this.entries].sort(([one], [other]) => one - other).map(([index, entry]) => ({
      shot: index,
      language: DATA.language,
      take_sha256: entry.take ?? null,
      decision: entry.decision,
      note: entry.note,
      decided_at: entry.at || "",
      reviewer: (entry.reviewer || "").slice(0, 200),
    }));
    return { format: 1, episode_id: DATA.episode, reviewer: byId("reviewer").value.trim().slice(0, 200), decisions };
  }
}

function download(book) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(book.asFile(), null, 1) + "\n"], { type: "application/json" }));
  const link = el("a", { href: address, download: "decisions.json" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  say(`decisions.json saved with ${book.numDecided} decisions`);
}
