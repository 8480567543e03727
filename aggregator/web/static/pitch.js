// The pitch: markings by the Laws of the Game (Law 1), dots, trails. Metres in, pixels out; nothing here talks to the rack.

const MARGIN_M = 5;
const LINE_M = 0.12; // Law 1: lines at most 12 cm
const TRAIL_MS = 2400;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// Okabe and Ito's colours: told apart with every common colour vision, and none is the pitch's green.
const CAMERA_COLOURS = ["#56b4e9", "#e69f00", "#f0e442", "#cc79a7", "#ff7a45", "#b9c8ff"];
const order = new Map();

export function cameraColour(camera) {
  if (!order.has(camera)) order.set(camera, order.size);
  return CAMERA_COLOURS[order.get(camera) % CAMERA_COLOURS.length];
}

export class Pitch {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.length = 105;
    this.width = 68;
    this.dots = new Map(); // number -> { from, to, trail, ... }
    this.frameMs = 66;
    this.lastMs = 0;
    this.grass = null;
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  measure(length, width) {
    this.length = length;
    this.width = width;
    this.resize();
  }

  resize() {
    const box = this.canvas.parentElement.clientWidth;
    const wide = this.length + 2 * MARGIN_M;
    const high = this.width + 2 * MARGIN_M;
    const room = Math.max(260, innerHeight - 150);
    const css = innerWidth > 1020 ? Math.min(box, (room * wide) / high) : box;
    const ratio = Math.min(3, devicePixelRatio || 1);
    this.scale = (css / wide) * ratio;
    this.ratio = ratio;
    this.canvas.width = Math.round(css * ratio);
    this.canvas.height = Math.round((css / wide) * high * ratio);
    this.canvas.parentElement.style.maxWidth = `${css}px`;
    this.grass = null;
  }

  x(m) { return (m + MARGIN_M) * this.scale; }
  y(m) { return (m + MARGIN_M) * this.scale; }

  // One picture of the rack: [number, x, y, vx, vy, predicted, class, not aligned, cameras, player]
  take(players, nowMs) {
    if (this.lastMs) this.frameMs += (Math.min(400, Math.max(20, nowMs - this.lastMs)) - this.frameMs) * 0.1;
    const seen = new Set();
    for (const [number, x, y, vx, vy, predicted, kind, unaligned, cameras, player] of players) {
      seen.add(number);
      let dot = this.dots.get(number);
      if (!dot) this.dots.set(number, (dot = { from: { x, y }, trail: [] }));
      else dot.from = this.place(dot, nowMs);
      Object.assign(dot, { number, to: { x, y }, vx, vy, predicted, kind, unaligned, cameras, player });
      dot.trail.push({ x, y, ms: nowMs, predicted });
      while (dot.trail.length && nowMs - dot.trail[0].ms > TRAIL_MS) dot.trail.shift();
    }
    this.lastMs = nowMs;
    for (const number of this.dots.keys()) if (!seen.has(number)) this.dots.delete(number);
  }

  clearTrails() {
    for (const dot of this.dots.values()) dot.trail = [];
  }

  // Between the last two pictures, never beyond the newest one.
  place(dot, nowMs) {
    const share = Math.min(1, Math.max(0, (nowMs - this.lastMs) / this.frameMs));
    return { x: dot.from.x + (dot.to.x - dot.from.x) * share, y: dot.from.y + (dot.to.y - dot.from.y) * share };
  }

  draw(nowMs, live) {
    const c = this.context;
    if (!this.grass) this.grass = this.paintGrass();
    c.drawImage(this.grass, 0, 0);
    const dots = [...this.dots.values()].map((dot) => ({ dot, at: this.place(dot, nowMs) }));
    if (live && !calm.matches) for (const { dot } of dots) this.drawTrail(dot, nowMs);
    if (!live) {
      c.fillStyle = "rgba(5, 9, 8, 0.45)";
      c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    }
    dots.sort((a, b) => a.at.y - b.at.y);
    for (const { dot, at } of dots) this.drawDot(dot, at, live);
  }

  radius() { return Math.max(6.2 * this.ratio, 1.08 * this.scale); }

  drawTrail(dot, nowMs) {
    const c = this.context;
    const trail = dot.trail;
    c.lineCap = "round";
    c.strokeStyle = cameraColour(dot.cameras[0]);
    for (let i = 1; i < trail.length; i++) {
      const age = (nowMs - trail[i].ms) / TRAIL_MS;
      if (age >= 1) continue;
      c.globalAlpha = 0.55 * (1 - age) ** 1.6;
      c.lineWidth = this.radius() * (0.85 - 0.6 * age);
      c.beginPath();
      c.moveTo(this.x(trail[i - 1].x), this.y(trail[i - 1].y));
      c.lineTo(this.x(trail[i].x), this.y(trail[i].y));
      c.stroke();
    }
    c.globalAlpha = 1;
  }

  drawDot(dot, at, live) {
    const c = this.context;
    const x = this.x(at.x);
    const y = this.y(at.y);
    const r = this.radius();
    const speed = Math.hypot(dot.vx, dot.vy);
    const colours = live ? dot.cameras.map(cameraColour) : ["#7d8a84"];
    if (live && speed > 0.4) { // where it will be in 0.8 s
      c.strokeStyle = "rgba(255,255,255,.85)";
      c.lineWidth = 1.6 * this.ratio;
      c.lineCap = "round";
      const reach = (r / this.scale + 0.8 * speed) / speed;
      c.beginPath();
      c.moveTo(x, y);
      c.lineTo(x + dot.vx * reach * this.scale, y + dot.vy * reach * this.scale);
      c.stroke();
    }
    c.shadowColor = "rgba(0,0,0,.55)";
    c.shadowBlur = 5 * this.ratio;
    c.shadowOffsetY = 1.5 * this.ratio;
    disc(c, x, y, r, "#0b1512");
    c.shadowColor = "transparent";
    if (dot.predicted || !live) ring(c, x, y, r, colours, this.ratio, dot.predicted);
    else pie(c, x, y, r, colours, this.ratio);
    if (dot.unaligned && live) ring(c, x, y, r + 4 * this.ratio, ["#ffffff"], 0.75 * this.ratio, false);
    c.fillStyle = dot.predicted || !live ? "#e9f2ee" : "#06120d";
    c.font = `700 ${Math.round(r * 1.08)}px system-ui, sans-serif`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(String(dot.number), x, y + r * 0.06, r * 1.7);
    if (dot.player) {
      c.font = `600 ${Math.round(r * 0.9)}px system-ui, sans-serif`;
      c.fillStyle = "#e9f2ee";
      c.fillText(dot.player.slice(0, 4), x, y - r * 1.7);
    }
  }

  paintGrass() {
    const sheet = document.createElement("canvas");
    sheet.width = this.canvas.width;
    sheet.height = this.canvas.height;
    const c = sheet.getContext("2d");
    const ground = c.createRadialGradient(sheet.width / 2, sheet.height / 2, 0, sheet.width / 2, sheet.height / 2, sheet.width * 0.62);
    ground.addColorStop(0, "#1a4f36");
    ground.addColorStop(1, "#0f2d1f");
    c.fillStyle = ground;
    c.fillRect(0, 0, sheet.width, sheet.height);
    const bands = 18;
    c.fillStyle = "rgba(255,255,255,.022)";
    for (let i = 0; i < bands; i += 2) {
      c.fillRect(this.x((i * this.length) / bands), this.y(0), (this.length / bands) * this.scale, this.width * this.scale);
    }
    this.paintLines(c);
    return sheet;
  }

  paintLines(c) {
    const { length: L, width: W, scale: s } = this;
    c.strokeStyle = "rgba(236,246,240,.72)";
    c.fillStyle = c.strokeStyle;
    c.lineWidth = Math.max(1.15 * this.ratio, LINE_M * s);
    const box = (x, y, w, h) => c.strokeRect(this.x(x), this.y(y), w * s, h * s);
    const arc = (x, y, r, from, to) => { c.beginPath(); c.arc(this.x(x), this.y(y), r * s, from, to); c.stroke(); };
    const spot = (x, y) => { c.beginPath(); c.arc(this.x(x), this.y(y), Math.max(1.8 * this.ratio, 0.15 * s), 0, 7); c.fill(); };
    box(0, 0, L, W);
    c.beginPath(); c.moveTo(this.x(L / 2), this.y(0)); c.lineTo(this.x(L / 2), this.y(W)); c.stroke();
    arc(L / 2, W / 2, 9.15, 0, 2 * Math.PI);
    spot(L / 2, W / 2);
    const bend = Math.acos((16.5 - 11) / 9.15); // the part of the circle round the penalty mark outside the area
    for (const [goal, way] of [[0, 1], [L, -1]]) {
      const left = (depth) => (way > 0 ? goal : goal - depth);
      box(left(16.5), W / 2 - 20.16, 16.5, 40.32);
      box(left(5.5), W / 2 - 9.16, 5.5, 18.32);
      box(way > 0 ? -2.2 : L, W / 2 - 3.66, 2.2, 7.32);
      spot(goal + way * 11, W / 2);
      const middle = way > 0 ? 0 : Math.PI;
      arc(goal + way * 11, W / 2, 9.15, middle - bend, middle + bend);
      const first = way > 0 ? 0 : Math.PI / 2;
      arc(goal, 0, 1, first, first + Math.PI / 2);
      arc(goal, W, 1, way > 0 ? -Math.PI / 2 : Math.PI, way > 0 ? 0 : 1.5 * Math.PI);
    }
  }
}

function disc(c, x, y, r, colour) {
  c.beginPath();
  c.arc(x, y, r, 0, 2 * Math.PI);
  c.fillStyle = colour;
  c.fill();
}

// One slice per camera that sees it.
function pie(c, x, y, r, colours, ratio) {
  const slice = (2 * Math.PI) / colours.length;
  colours.forEach((colour, i) => {
    c.beginPath();
    c.moveTo(x, y);
    c.arc(x, y, r - ratio, -Math.PI / 2 + i * slice - slice / 2, -Math.PI / 2 + (i + 1) * slice - slice / 2);
    c.fillStyle = colour;
    c.fill();
  });
}

function ring(c, x, y, r, colours, ratio, dashed) {
  c.beginPath();
  c.arc(x, y, r - 1.2 * ratio, 0, 2 * Math.PI);
  c.lineWidth = 2 * ratio;
  c.setLineDash(dashed ? [3.2 * ratio, 2.6 * ratio] : []);
  c.strokeStyle = colours[0];
  c.stroke();
  c.setLineDash([]);
}
