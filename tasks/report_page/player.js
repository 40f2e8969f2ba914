// Original and dub in step. One of them leads (the one that is heard); the other is held to its frame.
const MOST_DRIFT_FRAMES = 0.35; // from here on the follower is sped up or slowed down a little
const MOST_CORRECTION = 0.5; // of the speed
const JUMP_DRIFT_FRAMES = 15; // from here on it jumps

class Pair extends EventTarget {
  constructor() {
    super();
    this.stage = byId("stage");
    this.before = byId("before");
    this.after = byId("after");
    this.videos = [this.before, this.after];
    this.shot = null;
    this.isPlaying = false;
    this.turn = 0; // every new intent makes unfinished ones void
    this.sound = preference("sound") || "after";
    this.loops = preference("loop") ?? true;
    this.speed = preference("half") ? 0.5 : 1;
    this.zooms = preference("zoom") ?? false;
    this.flips = preference("flip") ?? false;
    this.shown = "after";
    for (const video of this.videos) {
      video.addEventListener("ended", () => this.atEnd());
      video.addEventListener("error", () => this.shot?.preview && this.missing("This preview cannot be shown. Is the folder “previews” beside this page?"));
      video.addEventListener("loadeddata", () => this.place());
    }
    new ResizeObserver(() => this.place()).observe(this.stage);
    this.listen();
  }

  load(shot) {
    this.turn += 1;
    this.isPlaying = false;
    this.shot = shot;
    this.frame = 0;
    for (const video of this.videos) video.pause();
    if (!shot.preview) {
      for (const video of this.videos) this.empty(video);
      this.missing(shot.reason && "The original picture was kept, so there is nothing to compare.");
      this.tell();
      return;
    }
    byId("no-preview").hidden = true;
    const shape = String(shot.preview.w / shot.preview.h);
    for (const video of this.videos) {
      video.closest("figure").hidden = false;
      video.parentElement.style.setProperty("--ratio", shape);
      video.src = previewAddress(shot, video.id);
    }
    this.seek(0);
    this.apply();
  }

  empty(video) {
    if (video.hasAttribute("src")) {
      video.removeAttribute("src");
      video.load();
    }
  }

  missing(text) {
    for (const video of this.videos) video.closest("figure").hidden = true;
    const told = byId("no-preview");
    told.hidden = false;
    told.replaceChildren(text);
    if (DATA.watch) {
      const [start, end] = [this.shot.first / RATE, this.shot.end / RATE].map((seconds) => seconds.toFixed(3));
      const film = linked(DATA.watch.split("/").at(-1)) || encodeURIComponent(DATA.watch.split("/").at(-1));
      told.append(" ", el("a", { href: `${film}#t=${start},${end}`, target: "_blank", rel: "noopener" }, "Watch it in the film"));
    }
  }

  get leader() {
    return this.sound === "before" ? this.before : this.after;
  }

  get follower() {
    return this.leader === this.after ? this.before : this.after;
  }

  async toggle() {
    if (this.isPlaying) this.pause();
    else await this.play();
  }

  async play() {
    if (!this.shot?.preview) return;
    const turn = ++this.turn;
    this.isPlaying = true;
    this.tell();
    if (this.frame >= this.shot.preview.n - 1) this.frame = 0;
    await this.settle(this.frame, turn);
    if (turn !== this.turn) return;
    try {
      await Promise.all(this.videos.map((video) => video.play()));
    } catch {
      if (turn === this.turn) this.pause(); // the browser wants a click or a key first
      return;
    }
    if (turn === this.turn) requestAnimationFrame(() => this.hold(turn));
  }

  pause() {
    const turn = ++this.turn;
    this.isPlaying = false;
    for (const video of this.videos) video.pause();
    this.frame = frameAt(this.shot, this.leader.currentTime);
    this.settle(this.frame, turn);
    this.tell();
  }

  // Show frame k in both, playing on if they play.
  async seek(k) {
    if (!this.shot?.preview) return;
    this.frame = Math.max(0, Math.min(this.shot.preview.n - 1, k));
    this.tell();
    if (this.isPlaying) await this.play();
    else await this.settle(this.frame, ++this.turn);
  }

  step(by) {
    if (this.isPlaying) this.pause();
    return this.seek(this.frame + by);
  }

  // Both videos still, at the middle of frame k, decoded.
  async settle(k, turn) {
    const end = this.shot.preview.n;
    const seconds = (frameTime(this.shot, k) + (k + 1 < end ? frameTime(this.shot, k + 1) : frameTime(this.shot, k) + 1 / RATE)) / 2;
    for (const video of this.videos) {
      video.pause();
      video.playbackRate = this.speed;
    }
    await Promise.all(this.videos.map((video) => this.seekOne(video, seconds, turn)));
  }

  // One seek at a time: Chromium may never end a seek that another one interrupts. So the newest waits for the one under way.
  seekOne(video, seconds, turn) {
    return new Promise((done) => {
      const events = ["seeked", "canplay", "error", "emptied"];
      let isAsked = false;
      const check = () => {
        const isVoid = turn !== this.turn || video.error;
        if (!isVoid && video.seeking) return;
        if (!isVoid && !isAsked && Math.abs(video.currentTime - seconds) > 0.001) {
          isAsked = true;
          video.currentTime = seconds;
          return;
        }
        if (!isVoid && video.readyState < 3) return;
        for (const name of events) video.removeEventListener(name, check);
        done();
      };
      for (const name of events) video.addEventListener(name, check);
      check();
    });
  }

  // Once per screen refresh: hold the follower to the leader's moment.
  hold(turn) {
    if (turn !== this.turn || !this.isPlaying) return;
    const { leader, follower } = this;
    const drift = (follower.currentTime - leader.currentTime) * RATE;
    if (Math.abs(drift) > JUMP_DRIFT_FRAMES && !follower.seeking) {
      follower.currentTime = leader.currentTime;
    } else if (Math.abs(drift) > MOST_DRIFT_FRAMES) {
      follower.playbackRate = this.speed * (1 - Math.max(-MOST_CORRECTION, Math.min(MOST_CORRECTION, drift * 0.25)));
    } else if (Math.abs(drift) < MOST_DRIFT_FRAMES / 3 && follower.playbackRate !== this.speed) {
      follower.playbackRate = this.speed;
    }
    this.frame = frameAt(this.shot, leader.currentTime);
    this.place();
    this.tell();
    requestAnimationFrame(() => this.hold(turn));
  }

  async atEnd() {
    if (!this.isPlaying || this.isTurning) return;
    this.isTurning = true; // both end, one turn
    for (const video of this.videos) video.pause();
    this.frame = this.loops ? 0 : this.shot.preview.n - 1;
    this.isTurning = false;
    if (this.loops) await this.play();
    else {
      this.isPlaying = false;
      this.turn += 1;
      this.tell();
    }
  }

  listen() {
    const next = { after: "before", before: "none", none: "after" };
    this.press = {
      play: () => this.toggle(),
      back: () => this.step(-1),
      forth: () => this.step(1),
      sound: () => this.set("sound", next[this.sound]),
      loop: () => this.set("loops", !this.loops, "loop"),
      half: () => this.set("speed", this.speed === 1 ? 0.5 : 1),
      zoom: () => this.set("zooms", !this.zooms, "zoom"),
      flip: () => this.flip(),
    };
    for (const [id, act] of Object.entries(this.press)) byId(id).addEventListener("click", act);
    byId("seek").addEventListener("input", (event) => this.seek(Number(event.target.value)));
    this.stage.addEventListener("click", () => this.toggle());
  }

  set(name, value, remembered = name) {
    this[name] = value;
    preference(name === "speed" ? "half" : remembered, name === "speed" ? value === 0.5 : value);
    this.apply();
  }

  // First press: one picture instead of two. Then each press shows the other; the button leaves.
  flip() {
    if (!this.flips) this.set("flips", true, "flip");
    else {
      this.shown = this.shown === "after" ? "before" : "after";
      if (this.shown === "after") this.set("flips", false, "flip");
      else this.apply();
    }
  }

  apply() {
    const heard = this.flips && this.sound !== "none" ? this.shown : this.sound;
    this.before.muted = heard !== "before";
    this.after.muted = heard !== "after";
    for (const video of this.videos) {
      video.playbackRate = this.speed;
      video.closest("figure").classList.toggle("shown", video.id === this.shown);
    }
    this.stage.classList.toggle("flip", this.flips);
    byId("sound").textContent = `Sound: ${{ before: "original", after: "dub", none: "off" }[heard]}`;
    for (const [id, on] of [["loop", this.loops], ["half", this.speed !== 1], ["zoom", this.zooms], ["flip", this.flips]]) {
      byId(id).setAttribute("aria-pressed", String(on));
    }
    this.place();
  }

  // Mouth zoom: the picture is enlarged around where the mouth is at this frame.
  place() {
    const path = this.shot?.preview?.mouth;
    byId("zoom").disabled = !path?.length;
    for (const video of this.videos) {
      if (!this.zooms || !path?.length) {
        video.style.transform = "";
        continue;
      }
      const [x, y, height] = mouthAt(path, this.frame);
      const scale = Math.max(1, Math.min(8, 1 / height));
      const clamp = (value) => Math.max(1 - scale, Math.min(0, value));
      video.style.transform = `translate(${clamp(0.5 - x * scale) * 100}%, ${clamp(0.5 - y * scale) * 100}%) scale(${scale})`;
    }
  }

  tell() {
    const has = Boolean(this.shot?.preview);
    byId("play").textContent = this.isPlaying ? "Pause" : "Play";
    for (const id of ["play", "back", "forth", "seek", "sound", "half", "loop", "flip"]) byId(id).disabled = !has;
    const seek = byId("seek");
    seek.max = has ? this.shot.preview.n - 1 : 0;
    seek.value = this.frame;
    const label = labelOf(this.shot, this.frame);
    byId("clock").textContent = label;
    seek.setAttribute("aria-valuetext", `frame ${this.frame}, ${label}`);
    this.dispatchEvent(new CustomEvent("frame", { detail: has && (this.isPlaying || this.frame > 0) ? this.shot.first + this.frame : null }));
  }
}

function mouthAt(path, frame) {
  let n = 0;
  while (n + 1 < path.length && path[n + 1][0] <= frame) n += 1;
  const [at, ...here] = path[n];
  if (n + 1 >= path.length || frame <= at) return here;
  const [later, ...there] = path[n + 1];
  const share = (frame - at) / (later - at);
  return here.map((value, k) => value + share * (there[k] - value));
}

function previewAddress(shot, which) {
  const path = `previews/shot-${String(shot.i).padStart(5, "0")}.${which}.mp4`;
  return isServed() ? `${path}?v=${(shot.take || "").slice(0, 12)}` : linked(path) || path;
}
