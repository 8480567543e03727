// Temperature and power: what a node's card says of them, and the cabinets. What is not known is said to be, never drawn as 0.

const byId = (id) => document.getElementById(id);

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  if (className) made.className = className;
  return made;
}

const value = (number, unit) => (number == null ? "unknown" : `${Math.round(number)} ${unit}`);
const rails = (watts) => Object.entries(watts).map(([name, w]) => `${name} ${w.toFixed(1)} W`).join(", ");

// Rows of a node's list: [name, text, class, title].
export function heatRows(heat) {
  if (!heat) return [];
  const lost = heat.temp_c == null;
  const over = heat.power_w != null && heat.budget_w != null && heat.power_w > heat.budget_w;
  const fan = heat.rpm == null ? "its speed is not known" : `${Math.round(heat.rpm)} rpm`;
  const sum = `sum of its rails, below the wall: ${rails(heat.rails_w) || "none known"}`;
  const rows = [
    ["tj", lost ? "unknown" : `${heat.temp_c.toFixed(0)} °C`, lost || heat.hot ? "warn" : "", heat.hot ? "hot: its twin takes over where there is one" : ""],
    ["power", value(heat.power_w, "W"), over || heat.power_w == null ? "warn" : "", sum],
    ["fan", value(heat.duty_pct, "%"), heat.duty_pct == null ? "warn" : "", fan],
  ];
  const caps = heat.cap_level == null ? "unknown" : heat.cap_level ? `rung ${heat.cap_level} of ${heat.cap_levels ?? "?"}` : "full";
  rows.push(["clocks", caps, heat.cap_level === 0 ? "" : "warn", "rung of the clock caps"]);
  return rows;
}

// Lines under a node's name: what it says is wrong, alarms first.
export function heatWhys(heat) {
  if (!heat) return [];
  if (!heat.good) return [element("p", `Taken for hot: ${heat.why}`, "why")];
  const alarms = heat.faults.filter((fault) => fault.severity === "alarm");
  return alarms.slice(0, 3).map((fault) => element("p", `${fault.what}: ${fault.text}`, "why"));
}

export function showCabinets(cabinets) {
  byId("cabinets-card").hidden = !cabinets.length;
  byId("cabinets").replaceChildren(...cabinets.map(cabinetRow));
  const over = cabinets.filter((cabinet) => cabinet.alarm).length;
  byId("cabinets-state").textContent = over ? `${over} over budget` : "within budget";
  byId("cabinets-state").className = over ? "warn" : "";
}

function cabinetRow(cabinet) {
  const row = element("div", "", cabinet.alarm ? "cabinet over" : "cabinet");
  const title = element("h3", cabinet.cabinet);
  if (cabinet.alarm) title.append(element("span", "over budget", "badge bad"));
  title.append(element("em", `${Math.round(cabinet.counted_w)} of ${Math.round(cabinet.budget_w)} W`));
  row.append(title, bar(cabinet));
  const parts = [`${Math.round(cabinet.known_w)} W read of nodes, below the wall`];
  if (cabinet.other_w) parts.push(`${Math.round(cabinet.other_w)} W for what never tells`);
  row.append(element("p", parts.join(" · "), "small"));
  if (cabinet.unknown.length) {
    row.append(element("p", `Unknown, counted with ${Math.round(cabinet.share_w)} W each: ${cabinet.unknown.join(", ")}`, "why"));
  }
  return row;
}

// Read, unknown and other, as parts of the budget; what lies above it fills the bar to its end.
function bar(cabinet) {
  const made = element("div", "", "bar");
  made.setAttribute("role", "img");
  const unknownW = cabinet.share_w * cabinet.unknown.length;
  made.setAttribute("aria-label", `${Math.round(cabinet.known_w)} watts read, ${Math.round(unknownW)} unknown, of ${Math.round(cabinet.budget_w)}`);
  const whole = Math.max(cabinet.budget_w, cabinet.counted_w);
  for (const [watts, name] of [[cabinet.known_w, "read"], [cabinet.other_w, "other"], [unknownW, "unknown"]]) {
    const part = element("i", "", name);
    part.style.width = `${(100 * Math.max(0, watts)) / whole}%`;
    made.append(part);
  }
  return made;
}
