// The report's data, and small tools to show it. Text goes into the page as text only.
const DATA = JSON.parse(document.getElementById("data").textContent);
const VERDICTS = { pass: "In sync", review: "Please look", kept_original: "Left as it was" };
const SEVERITIES = { ok: "", fyi: "FYI", issue: "Issue", blocker: "Blocker" };
const DECISIONS = { approve: "Approved", reject: "Rejected", ask: "Question", keep_original: "Keep original" };
const BADNESS = { blocker: 0, issue: 1, fyi: 2, ok: 3 };

const byId = (id) => document.getElementById(id);
const RATE = (() => {
  const [frames, seconds] = DATA.film.fps.split("/").map(Number);
  return frames / (seconds || 1);
})();

let SHOTS = DATA.shots;
let SHOT_BY_INDEX = new Map(SHOTS.map((shot) => [shot.i, shot]));

// The signed address of a file beside this page, where the page was made with links; `dub review` serves the files itself.
function linked(path) {
  return (!isServed() && DATA.links && DATA.links[path]) || null;
}

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  return fill(made, attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function number(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
}

function signed(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return (value > 0 ? "+" : "") + number(value, digits);
}

// SMPTE ST 12-1 label of a frame, drop frame where the film's own start says so (";" before the frames).
function timecode(frame) {
  const nominal = Math.max(1, Math.round(RATE));
  const start = /^(\d\d):(\d\d):(\d\d)([:;.])(\d{2,3})$/.exec(DATA.film.start_timecode || "00:00:00:00");
  const dropped = start[4] !== ":" ? { 30: 2, 60: 4 }[nominal] || 0 : 0;
  const startMinutes = 60 * Number(start[1]) + Number(start[2]);
  let count = (60 * startMinutes + Number(start[3])) * nominal + Number(start[5]) - dropped * (startMinutes - Math.floor(startMinutes / 10)) + frame;
  if (dropped) {
    const perMinute = 60 * nominal - dropped;
    const perTen = 10 * perMinute + dropped;
    const rest = count % perTen;
    count += dropped * (9 * Math.floor(count / perTen) + Math.max(0, Math.floor((rest - dropped) / perMinute)));
  }
  const seconds = Math.floor(count / nominal);
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600) % 24;
  return `${two(hours)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${dropped ? ";" : ":"}${two(count % nominal)}`;
}

// When a shot's k-th frame begins in its preview, and which frame is shown at a time.
function frameTime(shot, k) {
  return shot.times ? shot.times[Math.min(k, shot.times.length - 1)] : k / RATE;
}

function frameAt(shot, seconds) {
  const last = shot.end - shot.first - 1;
  if (!shot.times) return Math.max(0, Math.min(last, Math.floor(seconds * RATE + 0.02)));
  let k = 0;
  while (k < last && shot.times[k + 1] <= seconds + 0.001) k += 1;
  return k;
}

function labelOf(shot, k) {
  if (!DATA.film.is_vfr) return timecode(shot.first + k);
  return k === 0 ? shot.in : `${shot.in} + ${number(frameTime(shot, k), 2)} s`;
}

function faceName(person) {
  return `Face ${person + 1}`;
}

function say(text) {
  byId("live").textContent = text;
}

const PREFERENCES = "dubflow:preferences";

function preference(name, value) {
  let all = {};
  try {
    all = JSON.parse(localStorage.getItem(PREFERENCES)) || {};
    if (value !== undefined) localStorage.setItem(PREFERENCES, JSON.stringify({ ...all, [name]: value }));
  } catch { /* no storage: nothing is remembered */ }
  return value === undefined ? all[name] : value;
}
