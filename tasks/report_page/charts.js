// Two charts over the film's length: shots coloured by verdict, and how each shot's score stands against its original.
class Charts extends EventTarget {
  constructor(book) {
    super();
    this.book = book;
    this.current = null;
    this.parts = [new Chart(byId("timeline"), this, drawTimeline), new Chart(byId("plot"), this, drawPlot)];
    new ResizeObserver(() => this.draw()).observe(byId("timeline"));
    book.addEventListener("change", () => this.later());
  }

  later() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = null;
      this.draw();
    });
  }

  draw() {
    for (const part of this.parts) part.draw();
    this.show(this.current);
  }

  show(shot) {
    this.current = shot;
    for (const part of this.parts) part.show(shot);
  }

  playhead(frame) {
    this.parts[0].playhead(frame);
  }
}

class Chart {
  constructor(host, charts, paint) {
    this.host = host;
    this.charts = charts;
    this.paint = paint;
    host.addEventListener("click", (event) => {
      const shot = this.shotAt(event);
      if (shot) charts.dispatchEvent(new CustomEvent("choose", { detail: shot.i }));
    });
    host.addEventListener("pointermove", (event) => this.tell(event));
    host.addEventListener("pointerleave", () => this.tip?.remove());
  }

  get width() {
    return this.host.clientWidth;
  }

  x(frame) {
    return this.left + ((this.width - this.left - 2) * frame) / DATA.film.num_frames;
  }

  draw() {
    const height = this.host.clientHeight;
    if (!this.width) return;
    this.left = 2.6 * parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.rem = this.left / 2.6;
    this.mark = svg("g");
    this.head = svg("line", { class: "playhead", y1: 0, y2: height, x1: -9, x2: -9 });
    this.art = svg("svg", { viewBox: `0 0 ${this.width} ${height}`, height, role: "img", "aria-label": this.host.getAttribute("aria-label") });
    this.paint(this, this.art, this.width, height);
    this.art.append(this.mark, this.head);
    this.host.querySelector("svg")?.remove();
    this.host.append(this.art);
  }

  show(shot) {
    if (!this.mark) return;
    this.mark.replaceChildren();
    if (!shot) return;
    const x = this.x(shot.first);
    const height = this.host.clientHeight;
    const width = Math.max(3, this.x(shot.end) - x);
    this.mark.append(svg("rect", { class: "here-soft", x, y: 0, width, height: this.bottom || height }));
    if (this.bottom) this.mark.append(svg("rect", { class: "here", x, y: 1, width, height: this.bottom - 1 }));
    this.playhead(null);
  }

  playhead(frame) {
    if (!this.head) return;
    const x = frame === null ? -9 : this.x(frame);
    this.head.setAttribute("x1", x);
    this.head.setAttribute("x2", x);
  }

  shotAt(event) {
    const place = event.clientX - this.host.getBoundingClientRect().left;
    const frame = ((place - this.left) / (this.width - this.left - 2)) * DATA.film.num_frames;
    let low = 0;
    let high = SHOTS.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (SHOTS[middle].end > frame) high = middle;
      else low = middle + 1;
    }
    return SHOTS[low];
  }

  tell(event) {
    const shot = this.shotAt(event);
    const text = `${shot.i} · ${shot.in} · ${VERDICTS[shot.verdict]}${shot.delta === undefined ? "" : ` · ${signed(shot.delta)}`}`;
    this.tip ??= el("div", { class: "tip", "aria-hidden": "true" });
    if (this.tip.textContent !== text) this.tip.textContent = text;
    if (!this.tip.isConnected) this.host.append(this.tip);
    const place = Math.max(80, Math.min(this.width - 80, event.clientX - this.host.getBoundingClientRect().left));
    this.tip.style.left = `${place}px`;
    this.tip.style.top = "-2px";
  }
}

// Height tells the verdict too, for those who do not see the colour: tall asks for a look, low was left.
const TALL = { review: 1, pass: 0.62, kept_original: 0.3 };

function drawTimeline(chart, art, width, height) {
  const bottom = height - 1.6 * chart.rem;
  chart.bottom = bottom;
  const paths = {};
  const decided = {};
  for (const shot of SHOTS) {
    const x = chart.x(shot.first);
    const end = chart.x(shot.end);
    const gap = end - x > 3 ? 1 : 0;
    const top = bottom - (bottom - 4) * TALL[shot.verdict];
    const tone = shot.severity === "blocker" ? "blocker" : shot.verdict;
    paths[tone] = `${paths[tone] || ""}M${x.toFixed(1)} ${top.toFixed(1)}H${(end - gap).toFixed(1)}V${bottom.toFixed(1)}H${x.toFixed(1)}Z`;
    const entry = chart.charts.book.get(shot.i);
    if (entry) decided[entry.decision] = `${decided[entry.decision] || ""}M${x.toFixed(1)} ${bottom + 2}H${(end - gap).toFixed(1)}v4H${x.toFixed(1)}Z`;
  }
  for (const [tone, d] of Object.entries(paths)) art.append(svg("path", { class: `${tone}-fill`, d }));
  for (const [tone, d] of Object.entries(decided)) art.append(svg("path", { class: `${tone}-fill`, d }));
  for (const frame of tickFrames(chart)) {
    const x = chart.x(frame);
    art.append(svg("path", { class: "grid", d: `M${x} ${bottom + 1}v5` }), svg("text", { x, y: height - 2, "text-anchor": frame === 0 ? "start" : "middle" }, timecode(frame)));
  }
  art.append(svg("text", { x: chart.left - 6, y: bottom - 2, "text-anchor": "end" }, "Film"));
}

function tickFrames(chart) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].map((seconds) => Math.round(seconds * RATE));
  const room = Math.max(2, Math.floor(chart.width / (8.5 * chart.rem)));
  const step = steps.find((one) => DATA.film.num_frames / one <= room) || steps.at(-1) * 2;
  const frames = [];
  for (let frame = 0; frame < DATA.film.num_frames - step / 3; frame += step) frames.push(frame);
  return frames;
}

function drawPlot(chart, art, width, height) {
  const scored = SHOTS.filter((shot) => shot.delta !== undefined);
  if (!scored.length) {
    art.append(svg("text", { x: chart.left, y: height / 2 }, "No shot could be scored against its original."));
    return;
  }
  const reach = (shot) => [intervalDelta(shot, 1), shot.delta, intervalDelta(shot, 2)];
  const low = Math.min(0, ...scored.flatMap(reach));
  const high = Math.max(0.5, ...scored.flatMap(reach));
  const y = (value) => 6 + ((height - 12) * (high - value)) / (high - low);
  for (const value of ticksBetween(low, high)) {
    art.append(svg("path", { class: value === 0 ? "zero" : "grid", d: `M${chart.left} ${y(value)}H${width}` }));
    art.append(svg("text", { x: chart.left - 6, y: y(value) + 4, "text-anchor": "end" }, signed(value, [0, 1, 2].find((digits) => Math.abs(value * 10 ** digits - Math.round(value * 10 ** digits)) < 1e-6) ?? 2)));
  }
  const paths = {};
  const intervals = {};
  for (const shot of scored) {
    const [from, to] = [chart.x(shot.first), chart.x(shot.end)];
    const middle = (from + to) / 2;
    const half = Math.max(1.5, (to - from) / 2 - 1);
    paths[shot.verdict] = `${paths[shot.verdict] || ""}M${(middle - half).toFixed(1)} ${y(shot.delta).toFixed(1)}h${(2 * half).toFixed(1)}`;
    const ends = reach(shot);
    if (ends[0] !== ends[2]) intervals[shot.verdict] = `${intervals[shot.verdict] || ""}M${middle.toFixed(1)} ${y(ends[0]).toFixed(1)}V${y(ends[2]).toFixed(1)}`;
  }
  for (const [tone, d] of Object.entries(intervals)) art.append(svg("path", { class: `${tone}-line`, d, "stroke-width": 1, opacity: 0.55 }));
  for (const [tone, d] of Object.entries(paths)) art.append(svg("path", { class: `${tone}-line`, d, "stroke-width": 3 }));
  art.append(svg("text", { x: width - 2, y: y(0) - 4, "text-anchor": "end" }, "as good as the original"));
}

function intervalDelta(shot, which) {
  const bound = shot.scores[2][which];
  const own = shot.scores[0][0];
  return bound === null || own === null ? shot.delta : bound - own;
}

function ticksBetween(low, high) {
  const step = [0.25, 0.5, 1, 2, 5, 10, 20].find((one) => (high - low) / one <= 5) || 50;
  const values = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) values.push(n * step);
  return values;
}
