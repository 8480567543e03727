// The side panel: nodes, figures, the latency line, the log. Everything from the network goes in as text, never as markup.

import { cameraColour } from "./pitch.js";
import { heatRows, heatWhys, showCabinets } from "./power.js";

const byId = (id) => document.getElementById(id);
const STATEMENT_STALE_S = 5; // a node's word older than this is shown as old; as ALIVE_S in core/nodes.py

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function count(value) {
  if (value == null) return "–";
  if (value < 10000) return String(Math.round(value));
  return value < 1e6 ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k` : `${(value / 1e6).toFixed(2)}M`;
}

const millis = (value) => (value == null ? "–" : `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`);

function nanos(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size < 1e3) return `${Math.round(value)} ns`;
  if (size < 1e6) return `${(value / 1e3).toFixed(1)} µs`;
  return size < 1e9 ? `${(value / 1e6).toFixed(1)} ms` : `${(value / 1e9).toFixed(2)} s`;
}

function pairs(list, rows) {
  for (const [name, value, className, title] of rows) {
    const said = element("dd", value, className || "");
    if (title) said.title = title;
    list.append(element("dt", name), said);
  }
  return list;
}

export function showStatus(status, offsetS) {
  const { stats } = status;
  byId("f-records").textContent = count(status.rates.records_per_s);
  byId("f-total").textContent = count(stats.records.unique);
  byId("f-lost").textContent = count(stats.records.lost);
  byId("f-lost-box").className = stats.records.lost > 0 ? "alarm" : "";
  showLatency(status, stats.latency_ms);
  showNodes(status);
  showCabinets(status.cabinets);
  showEvents(status.events, offsetS);
  showFlow(status);
}

function showLatency(status, latency) {
  byId("l-max").textContent = millis(latency?.max);
  const recent = status.latency_history.filter(([ago]) => ago <= 3).at(-1);
  byId("l-p50").textContent = millis(recent?.[1]);
  byId("l-p99").textContent = millis(recent?.[2]);
  drawLatency(byId("latency"), status.latency_history);
}

function showFlow(status) {
  const { records, messages } = status.stats;
  const refused = Object.values(messages.refused).reduce((a, b) => a + b, 0) + records.refused;
  const rows = [
    ["broker", status.broker.connected ? "up" : "lost", status.broker.connected ? "" : "warn"],
    ["store", status.store_fault ? "failing" : "ok", status.store_fault ? "warn" : ""],
    ["re-delivered", count(records.redelivered)],
    ["twin copies", count(records.twin_copies)],
    ["awaited", count(records.open_gaps)],
    ["refused", count(refused), refused ? "warn" : ""],
    ["commit p99", millis(status.stats.commit_ms?.p99)],
    ["msg / s", count(status.rates.messages_per_s)],
  ];
  byId("flow").replaceChildren(...rows.map((row) => pairs(element("div"), [row])));
  const why = status.store_fault || (status.broker.connected ? "" : status.broker.text);
  if (byId("flow-why").textContent !== why) byId("flow-why").textContent = why;
}

function showNodes(status) {
  showAlignment(status.alignment);
  whys = new Map(status.nodes.map((node) => [node.node, node.clock.why]));
  if (!status.nodes.length) return;
  byId("nodes").replaceChildren(...status.nodes.map((node) => nodeCard(node, status.streams)));
}

// The site's clocks in one line: how far two aligned nodes' stamps of one instant can be apart, and who is not among them.
function showAlignment(alignment) {
  const { aligned, unaligned, spread_ns: spread, grandmaster } = alignment;
  const parts = [];
  if (spread != null) parts.push(`alignment ± ${nanos(spread)}`);
  if (unaligned.length) parts.push(aligned.length ? `${aligned.length} of ${aligned.length + unaligned.length} nodes aligned` : "not aligned");
  else if (aligned.length === 1) parts.push("aligned");
  const line = byId("alignment");
  line.textContent = parts.join(" · ");
  line.className = unaligned.length ? "warn" : "";
  line.title = grandmaster ? `${aligned.join(", ")} on grandmaster ${grandmaster}` : "";
}

let whys = new Map(); // node -> why it is not aligned

// What the picture itself must say: whose dots are not merged with the others', and who is not in it.
export function clockWarning(live) {
  const more = (names) => (names.length > 3 ? `; and ${names.length - 3} more` : "");
  const tell = (names) => names.slice(0, 3).map((name) => whys.get(name) || name).join("; ") + more(names);
  const parts = [];
  if (live.unaligned.length) parts.push(`Not aligned: ${tell(live.unaligned)}. Ringed dots are not merged with the others.`);
  if (live.left_out.length) parts.push(`Not shown, because the time stamps lie elsewhere: ${tell(live.left_out)}.`);
  return parts.join(" ");
}

function badge(node) {
  if (node.health_age_s == null) return element("span", node.batch_age_s == null ? "silent" : "sending", "badge");
  if (node.health_age_s > STATEMENT_STALE_S) return element("span", `${node.state}, ${ago(node.health_age_s)} ago`, "badge bad");
  const tone = !node.alive ? "bad" : node.state === "running" ? "good" : "warn";
  return element("span", node.state, `badge ${tone}`);
}

function ago(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function nodeCard(node, streams) {
  const card = element("div", "", "node");
  const title = element("h3", node.node);
  const epoch = node.epoch == null ? "" : `epoch ${node.epoch}`;
  title.append(badge(node), element("em", [node.role, epoch].filter(Boolean).join(" · ")));
  card.append(title);
  if (node.reason) card.append(element("p", node.reason, "why"));
  const clock = node.clock;
  if (!clock.aligned) card.append(element("p", `Not aligned: ${clock.why || "nothing is known of its clock"}`, "why"));
  card.append(...heatWhys(node.thermal));
  const old = clock.age_s > STATEMENT_STALE_S;
  const { unflagged_records: unflagged } = node;
  const rows = [
    ["clock", old ? `${clock.state}, ${ago(clock.age_s)} ago` : clock.state, clock.state === "locked" && !old ? "" : "warn", portText(clock)],
    ["bound", clock.bound_ns == null ? "–" : `± ${nanos(clock.bound_ns)}`, "", limitText(clock)],
    ["aligned", clock.aligned ? "yes" : "no", clock.aligned ? "" : "warn", clock.why],
    ["offset", clock.offset_ns == null ? "–" : nanos(clock.offset_ns), "", delayText(clock)],
    ["master", masterName(clock.grandmaster), "", `grandmaster ${clock.grandmaster || "not named"} ${clock.timescale}`],
    ["unflagged", count(unflagged), unflagged ? "warn" : "", "records that came without the flag clock within bound"],
    ["spool", node.spool_depth == null ? "–" : count(node.spool_depth), node.spool_depth > 5000 ? "warn" : ""],
    ["dropped", node.dropped == null ? "–" : count(node.dropped), node.dropped ? "warn" : ""],
  ];
  if (node.role) rows.push(["sends", node.owns.length ? node.owns.join(", ") : "–", "", "cameras whose frames the rack takes from it"]);
  rows.push(...heatRows(node.thermal));
  const list = pairs(element("dl"), rows);
  for (const s of streams.filter((s) => s.node === node.node)) {
    const fps = node.fps[String(s.camera)] ?? node.fps[""];
    list.append(cameraName(s.camera));
    const text = `${(fps ?? s.frames_per_s).toFixed(1)} fps · ${count(s.records_per_s)} rec/s · p99 ${millis(s.latency_ms?.p99)}`;
    const held = node.role === "standby" && node.alive; // its twin sends these
    const quiet = held ? "held back" : `quiet for ${s.quiet_s.toFixed(0)} s`;
    list.append(element("dd", s.quiet_s > 2 ? quiet : text, s.quiet_s > 2 && !held ? "wide warn" : "wide"));
  }
  const temps = Object.entries(node.temps_c);
  if (temps.length) list.append(element("dt", "temp"), element("dd", temps.map(([k, v]) => `${k} ${v.toFixed(0)}°C`).join("  "), "wide"));
  card.append(list);
  return card;
}

// A grandmaster's identity is 8 bytes; the last three tell the ones of a site apart.
const masterName = (identity) => (identity ? `…${identity.replace(/[^0-9a-f]/g, "").slice(-6)}` : "–");
const portText = (clock) => [clock.source, clock.port_state && `port ${clock.port_state}`, clock.epoch != null && `epoch ${clock.epoch}`].filter(Boolean).join(", ");
const limitText = (clock) => (clock.limit_ns == null ? "" : `its own limit: ± ${nanos(clock.limit_ns)}`);
const delayText = (clock) => [["path delay", clock.path_delay_ns], ["residual", clock.residual_ns]]
  .filter(([, value]) => value != null).map(([name, value]) => `${name} ${nanos(value)}`).join(", ");

function cameraName(camera) {
  const name = element("dt", `cam ${camera} `);
  const spot = element("span", "●");
  spot.style.color = cameraColour(camera);
  spot.setAttribute("aria-hidden", "true");
  name.append(spot);
  return name;
}

export function clockText(ptpMs, offsetS, tenths = true) {
  const text = new Date(ptpMs - offsetS * 1000).toISOString();
  return text.slice(11, tenths ? 21 : 19);
}

let shownEvents = "";

function showEvents(events, offsetS) {
  const key = JSON.stringify(events.at(-1) ?? null) + events.length;
  if (key === shownEvents || !events.length) return;
  shownEvents = key;
  const items = events.slice().reverse().map((event) => {
    const item = element("li", "", event.severity);
    const who = event.node ? `${event.node}: ` : "";
    item.append(element("time", clockText(event.ptp_ms, offsetS, false)), element("span", who + (event.text || event.code)));
    return item;
  });
  byId("events").replaceChildren(...items);
}

// p50 as a line, p99 as a line with a soft area; the scale says its own top value.
function drawLatency(canvas, points) {
  const ratio = Math.min(3, devicePixelRatio || 1);
  const w = (canvas.width = Math.round(canvas.clientWidth * ratio));
  const h = (canvas.height = Math.round(canvas.clientHeight * ratio));
  const c = canvas.getContext("2d");
  c.clearRect(0, 0, w, h);
  if (!points.length) return;
  const style = getComputedStyle(document.documentElement);
  const top = niceTop(Math.max(...points.map((p) => p[2])));
  const left = 34 * ratio;
  const low = h - 4 * ratio;
  const x = (ago) => left + (1 - ago / 120) * (w - left - 2 * ratio);
  const y = (ms) => low - (Math.max(0, ms) / top) * (low - 8 * ratio);
  c.font = `${10.5 * ratio}px system-ui, sans-serif`;
  c.fillStyle = style.getPropertyValue("--dim");
  c.strokeStyle = "rgba(255,255,255,.08)";
  c.lineWidth = ratio;
  for (const value of [0, top / 2, top]) {
    c.beginPath(); c.moveTo(left, y(value)); c.lineTo(w, y(value)); c.stroke();
    c.textAlign = "right"; c.textBaseline = value ? "middle" : "bottom";
    c.fillText(String(Number(value.toPrecision(3))), left - 5 * ratio, y(value) + (value ? 0 : 3 * ratio));
  }
  for (const [column, name] of [[2, "--p99"], [1, "--p50"]]) {
    c.strokeStyle = style.getPropertyValue(name).trim();
    c.lineWidth = 1.8 * ratio;
    c.lineJoin = "round";
    c.beginPath();
    points.forEach((p, i) => {
      const gap = i > 0 && points[i - 1][0] - p[0] > 2; // a second without a frame is a hole, not a line
      if (i === 0 || gap) c.moveTo(x(p[0]), y(p[column]));
      c.lineTo(x(p[0]), y(p[column]));
    });
    c.stroke();
  }
  const last = points.at(-1);
  canvas.setAttribute("aria-label", `Latency of the last two minutes; now p50 ${millis(last[1])}, p99 ${millis(last[2])}`);
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((k) => k * power).find((v) => v >= value) ?? value;
}
