// Puts the parts together: one shot is current; list, charts, players and details follow it. Keys drive everything.
const book = new DecisionBook();
const charts = new Charts(book);
const list = new ShotList(book);
const pair = new Pair();
const detail = new Detail(book);

function showProgress() {
  byId("progress").value = book.numDecided;
  byId("progress-text").textContent = `${book.numDecided} of ${SHOTS.length} decided`;
  byId("num-undecided").textContent = String(SHOTS.length - book.numDecided);
  byId("undo").disabled = book.undone.length === 0;
  if (!isServed()) byId("saved").textContent = book.isKept === false ? "This browser keeps nothing: save before you leave" : "";
}

function undo() {
  const index = book.undo();
  if (index === null) return;
  list.choose(index);
  byId("note").value = book.get(index)?.note || "";
  say(`Undone: shot ${index}. ${book.numDecided} of ${SHOTS.length} decided.`);
}

function showFaces() {
  const buttons = DATA.faces.map((face) => {
    const name = faceName(face.index);
    const facts = `${face.shots.length} ${face.shots.length === 1 ? "shot" : "shots"} · ${face.mean_delta === null ? "not scored" : `mean ${signed(face.mean_delta)}`}`;
    const picture = face.thumbnail ? el("img", { src: linked(face.thumbnail) || face.thumbnail, alt: "", loading: "lazy" }) : null;
    const button = el("button", { type: "button", "aria-pressed": "false" }, picture, el("span", {}, name, el("small", {}, facts)));
    button.addEventListener("click", () => {
      list.person = list.person === face.index ? null : face.index;
      for (const other of byId("faces").children) other.setAttribute("aria-pressed", String(other === button && list.person !== null));
      list.arrange();
    });
    return button;
  });
  byId("faces").replaceChildren(...buttons);
}

function fillPaper() {
  for (const shot of SHOTS) {
    const entry = book.get(shot.i);
    const cell = byId(`shot-${shot.i}`)?.lastElementChild;
    if (cell) cell.textContent = entry ? `${DECISIONS[entry.decision]}${entry.note ? `: ${entry.note}` : ""}` : "";
  }
}

// New renders came: take the page's new data in, without losing the place.
async function renew() {
  const answer = await fetch(location.pathname, { cache: "no-store" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = JSON.parse(page.getElementById("data").textContent);
  if (fresh.digest === DATA.digest) return;
  detail.keepNote();
  const takes = new Map(SHOTS.map((shot) => [shot.i, shot.take ?? null]));
  Object.assign(DATA, fresh);
  SHOTS = DATA.shots;
  SHOT_BY_INDEX = new Map(SHOTS.map((shot) => [shot.i, shot]));
  const made = SHOTS.filter((shot) => takes.get(shot.i) !== (shot.take ?? null)).length;
  book.undone = [];
  book.read();
  server.version = null;
  showFaces();
  list.arrange();
  charts.draw();
  list.choose(SHOT_BY_INDEX.has(list.current) ? list.current : list.shots[0]?.i);
  showProgress();
  tellAll(`${made} ${made === 1 ? "shot was" : "shots were"} made again and can be seen now.`);
}

const KEYS = {
  j: () => list.step(1),
  k: () => list.step(-1),
  a: () => detail.decide("approve"),
  r: () => detail.decide("reject"),
  q: () => detail.decide("ask"),
  o: () => detail.decide("keep_original"),
  n: () => byId("note").focus(),
  u: undo,
  " ": pair.press.play,
  ArrowLeft: pair.press.back,
  ArrowRight: pair.press.forth,
  h: pair.press.half,
  l: pair.press.loop,
  z: pair.press.zoom,
  f: pair.press.flip,
  s: pair.press.sound,
  "/": () => byId("find").focus(),
  "?": () => byId("keys").showModal(),
};

function onKey(event) {
  const target = event.target;
  if ((event.ctrlKey || event.metaKey) && !event.altKey) {
    const typing = target.matches("input[type=text], input[type=search], textarea");
    const act = { s: () => download(book), enter: server && (() => server.handIn()), z: typing ? null : undo }[event.key.toLowerCase()];
    if (act) {
      event.preventDefault();
      act();
    }
    return;
  }
  if (event.altKey || byId("keys").open) return;
  if (target.matches("input:not([type=range]):not([type=checkbox]), textarea, select")) {
    if (event.key === "Escape" && target !== byId("note")) byId("list").focus();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((key === " " && target.matches("button, a, summary")) || (key.startsWith("Arrow") && target.matches("input[type=range]"))) return;
  if (key.length === 1 && key !== " " && !byId("single-keys").checked) return;
  const act = KEYS[key] || (target === document.body ? { ArrowDown: KEYS.j, ArrowUp: KEYS.k }[key] : null);
  if (act) {
    event.preventDefault();
    act();
  }
}

document.documentElement.classList.remove("no-script");
document.addEventListener("keydown", onKey);
document.addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest?.("button")?.blur(); // so that Space plays after a click
});
byId("previous").addEventListener("click", () => list.step(-1));
byId("next").addEventListener("click", () => list.step(1));
byId("undo").addEventListener("click", undo);
byId("save").addEventListener("click", () => download(book));
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("reviewer").value = preference("reviewer") || "";
byId("reviewer").addEventListener("change", (event) => preference("reviewer", event.target.value.trim()));
for (const [id, standard] of [["single-keys", true], ["autoplay", false]]) {
  byId(id).checked = preference(id) ?? standard;
  byId(id).addEventListener("change", (event) => preference(id, event.target.checked));
}
window.addEventListener("beforeprint", fillPaper);
window.addEventListener("pagehide", () => detail.keepNote());

book.addEventListener("change", showProgress);
detail.addEventListener("next", () => list.step(1));
charts.addEventListener("choose", (event) => list.choose(event.detail));
pair.addEventListener("frame", (event) => charts.playhead(event.detail));
list.addEventListener("choose", (event) => {
  const shot = event.detail;
  detail.show(shot);
  pair.load(shot);
  charts.show(shot);
  history.replaceState(null, "", `#shot-${shot.i}`);
  if (byId("autoplay").checked && pair.hasBeenAsked) pair.play();
  pair.hasBeenAsked = true;
});

const server = isServed() ? new ReviewServer(book) : null;
if (server) {
  for (const link of document.querySelectorAll("nav a[data-beside]")) link.setAttribute("href", link.dataset.beside); // not out of this review
  for (const id of ["hand-in", "load"]) byId(id).hidden = false;
  byId("hand-in").addEventListener("click", () => server.handIn());
  byId("load").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => {
    if (event.target.files[0]) server.takeIn(event.target.files[0]);
    event.target.value = "";
  });
}
server?.addEventListener("renewed", renew);
server?.addEventListener("conflict", (event) => showConflict(event.detail, book, server));
server?.addEventListener("refused", (event) => server.report(`Shot ${event.detail.shot}: ${event.detail.why}`, true));

showFaces();
charts.draw();
showProgress();
const asked = Number(/^#shot-(\d+)$/.exec(location.hash)?.[1] ?? NaN);
list.choose(SHOT_BY_INDEX.has(asked) ? asked : list.shots[0]?.i);
