// One WebSocket, one picture. What is old is never shown as live: the page counts for itself since the last word.

import { Pitch, cameraColour } from "./pitch.js";
import { clockText, clockWarning, count, showStatus } from "./panel.js";

const byId = (id) => document.getElementById(id);
const pitch = new Pitch(byId("pitch"));
const OFFLINE_MS = 1500; // the rack speaks many times a second; silence of this length is a lost connection

let hello = { stale_s: 1, tai_minus_utc_s: 37 };
let live = null; // the last picture
let heardMs = -Infinity; // when the last message of any kind came
let opened = false;
let retryMs = 500;
let legendKey = "none";
let legendRing = false;

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  const watch = setInterval(() => {
    if (performance.now() - heardMs > 4000 && socket.readyState === WebSocket.OPEN) socket.close();
  }, 1000);
  socket.onopen = () => { opened = true; retryMs = 500; heardMs = performance.now(); };
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = () => {
    opened = false;
    clearInterval(watch);
    setTimeout(connect, retryMs * (0.7 + 0.6 * Math.random()));
    retryMs = Math.min(4000, retryMs * 2);
  };
}

function take(message) {
  heardMs = performance.now();
  if (message.type === "hello") {
    hello = message;
    document.title = message.title;
    byId("title").textContent = message.title;
    pitch.measure(message.length_m, message.width_m);
  } else if (message.type === "status") {
    showStatus(message, hello.tai_minus_utc_s);
  } else if (message.type === "live") {
    const fresh = message.state === "live" || message.state === "behind" || message.state === "ahead";
    if (!live || fresh) pitch.take(message.players, heardMs);
    live = message;
  }
}

// The rack's verdict, corrected by the time since we heard from it.
function judge(nowMs) {
  const silentS = (nowMs - heardMs) / 1000;
  if (!opened || silentS * 1000 > OFFLINE_MS) return { state: heardMs < 0 ? "connecting" : "offline", age: silentS };
  if (!live) return { state: "connecting", age: 0 };
  const quiet = live.quiet_s == null ? null : live.quiet_s + silentS;
  if (quiet != null && quiet > hello.stale_s && live.state !== "waiting") return { state: "stale", age: quiet };
  return { state: live.state, age: quiet ?? 0 };
}

const SAYS = {
  connecting: () => ["connecting", "", ""],
  waiting: () => ["waiting", "Waiting for the first records", "The rack is up; no node has sent any yet."],
  live: () => ["LIVE", "", ""],
  stale: (age) => [`stale ${seconds(age)}`, `No data for ${seconds(age)}`, "The dots show where they were last seen."],
  offline: (age) => ["offline", Number.isFinite(age) ? `Rack not heard for ${seconds(age)}` : "The rack does not answer", "Trying again."],
  behind: () => [`${seconds(live.behind_s)} behind`, `This is ${seconds(live.behind_s)} old`, "Records arrive late: a node is catching up, or its clock is wrong."],
  ahead: () => ["clock?", `Exposures lie ${seconds(-live.behind_s)} in the future`, "The clock of a node or of the rack is wrong."],
};

function seconds(value) {
  return value < 99.95 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
}

function setText(id, text) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text;
}

let shownState = "";

function paint(nowMs) {
  const { state, age } = judge(nowMs);
  if (state !== shownState) {
    if (shownState === "stale" || shownState === "offline") pitch.clearTrails();
    document.body.dataset.state = shownState = state;
  }
  const [pill, title, text] = SAYS[state](age);
  setText("pill-text", pill);
  byId("notice").hidden = !title;
  setText("notice-title", title);
  setText("notice-text", text);
  const drawn = performance.now();
  setText("clocks", state === "live" ? clockWarning(live) : "");
  pitch.draw(drawn, state === "live");
  byId("pitch").dataset.dots = pitch.dots.size;
  if (live?.ptp_ms) setText("clock", clockText(live.ptp_ms, hello.tai_minus_utc_s));
  setText("f-dots", state === "live" ? String(pitch.dots.size) : "–");
  requestAnimationFrame(paint);
}

const SVG = "http://www.w3.org/2000/svg";

function swatch(colours, hollow) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  colours.forEach((colour, i) => {
    const part = document.createElementNS(SVG, colours.length > 1 ? "path" : "circle");
    if (colours.length > 1) part.setAttribute("d", i ? "M8 1a7 7 0 0 1 0 14z" : "M8 1a7 7 0 0 0 0 14z");
    else for (const [k, v] of [["cx", 8], ["cy", 8], ["r", hollow ? 6 : 7]]) part.setAttribute(k, v);
    part.setAttribute("fill", hollow ? "none" : colour);
    if (hollow) for (const [k, v] of [["stroke", colour], ["stroke-width", 2], ["stroke-dasharray", "3 2.2"]]) part.setAttribute(k, v);
    svg.append(part);
  });
  return svg;
}

function halo() {
  const svg = swatch(["#8fa39a"], false);
  const around = document.createElementNS(SVG, "circle");
  for (const [k, v] of [["cx", 8], ["cy", 8], ["r", 7.2], ["fill", "none"], ["stroke", "#fff"], ["stroke-width", 1.4]]) around.setAttribute(k, v);
  svg.firstChild.setAttribute("r", 4);
  svg.append(around);
  return svg;
}

function legend(cameras, unaligned = false) {
  const key = cameras.join();
  if (key === legendKey && unaligned === legendRing) return;
  legendRing = unaligned;
  legendKey = key;
  const rows = cameras.map((camera) => [swatch([cameraColour(camera)]), `camera ${camera}`]);
  if (cameras.length > 1) rows.push([swatch(cameras.slice(0, 2).map(cameraColour)), "seen by two"]);
  rows.push([swatch(["#c8d4ce"], true), "predicted"]);
  if (unaligned) rows.push([halo(), "not aligned"]);
  byId("legend").replaceChildren(...rows.map(([picture, text]) => {
    const item = document.createElement("li");
    item.append(picture, text);
    return item;
  }));
}

// For those who hear the page instead of seeing it; also the legend, which needs no haste.
setInterval(() => {
  const dots = [...pitch.dots.values()];
  const known = new Set(dots.flatMap((d) => d.cameras));
  legend([...new Set([...legendKey.split(",").map(Number).filter((n) => n > 0), ...known])].sort((a, b) => a - b), dots.some((d) => d.unaligned));
  const told = shownState === "live" ? "live" : SAYS[shownState || "connecting"](judge(performance.now()).age)[0];
  byId("pitch").setAttribute("aria-label", `Pitch, ${told}, ${count(dots.length)} dots; the table below lists them`);
  byId("table").replaceChildren(...(shownState === "live" ? dots : []).map((d) => {
    const row = document.createElement("tr");
    const cells = [d.number, d.to.x.toFixed(1), d.to.y.toFixed(1), Math.hypot(d.vx, d.vy).toFixed(1), d.predicted ? "predicted" : `camera ${d.cameras.join(" and ")}`];
    for (const text of cells) row.append(Object.assign(document.createElement("td"), { textContent: text }));
    return row;
  }));
}, 1000);

legend([]);
connect();
requestAnimationFrame(paint);
