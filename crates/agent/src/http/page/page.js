// The fleet at a glance. Everything shown is set as text, never as markup: names of networks and models
// come from outside.
"use strict";

const at = (id) => document.getElementById(id);
const SIGNS = {
  serving: ["good", "●"], searching: ["warn", "◐"], identifying: ["warn", "◐"], sim: ["warn", "◐"],
  recovering: ["warn", "↻"], failed: ["bad", "✕"], absent: ["off", "○"],
};

function make(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function small(parent, text) {
  if (text) parent.append(make("small", text));
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function span(seconds) {
  if (seconds < 0) seconds = 0;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

// A line of the last hour: one place a minute, the newest at the right; where no value was, it is broken.
function sparkline(values, latest) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  const [low, high, width] = [-130, -50, 60];
  svg.setAttribute("viewBox", `0 0 ${width} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const known = values.filter((v) => v !== null);
  svg.setAttribute("aria-label", known.length
    ? `signal of the last hour, ${Math.min(...known)} to ${Math.max(...known)} dBm` : "no signal known");
  const all = latest === undefined ? values : [...values, latest];
  const start = width - all.length + 1;
  let points = [];
  const end = () => {
    // One value alone is a dash about its place, so that half of it is seen even at an edge.
    if (points.length === 1) points = [-0.4, 0.4].map((aside) => [points[0][0] + aside, points[0][1]]);
    if (points.length) {
      const line = document.createElementNS(SVG, "polyline");
      // Numbers become text here and not before: a text and a number are joined by `+`, not added.
      line.setAttribute("points", points.map((p) => p.map((n) => n.toFixed(1)).join(",")).join(" "));
      svg.append(line);
    }
    points = [];
  };
  all.forEach((value, i) => {
    if (value === null) return end();
    const y = 20 - 20 * (Math.min(high, Math.max(low, value)) - low) / (high - low);
    points.push([start + i, y]);
  });
  end();
  return svg;
}

function network(modem) {
  const cell = make("td");
  const rats = (modem.signals || []).map((s) => s.rat).join(", ");
  cell.append(modem.operator || "–");
  small(cell, [rats, modem.temperature_celsius === undefined ? "" : `${modem.temperature_celsius} °C`]
    .filter(Boolean).join(" · "));
  return cell;
}

function signal(modem) {
  const cell = make("td");
  if (modem.signal) cell.append(make("span", `${modem.signal.dbm} dBm`, "number"));
  else cell.append("–");
  cell.append(sparkline(modem.signal_history_dbm || [], modem.signal && modem.signal.dbm));
  small(cell, modem.signal && modem.signal.measure.toUpperCase());
  return cell;
}

function sessions(modem) {
  const cell = make("td");
  const list = cell.appendChild(make("ul"));
  for (const session of modem.sessions) {
    const item = list.appendChild(make("li"));
    item.append(make("span", session.connected ? "●" : "○", session.connected ? "good" : "off"));
    item.append(` ${session.name} `);
    item.append(make("span", session.connected ? "connected" : session.phase, session.connected ? "good" : "off"));
    if (session.tls === "insecure") item.append(" ", make("span", "insecure TLS", "bad"));
    small(item, session.connected ? "" : session.reason);
  }
  if (!modem.sessions.length) cell.append("–");
  return cell;
}

// Ages grow without news from the agent: they are shown anew each second from the time they hold.
function age(seconds) {
  if (seconds === undefined) return make("span", "–");
  const time = make("time", "", "number");
  time.dataset.since = seconds;
  time.dateTime = new Date(seconds * 1000).toISOString();
  return time;
}

function acknowledged(modem) {
  const cell = make("td");
  const times = modem.sessions.map((s) => s.last_ack_timestamp_seconds).filter((t) => t !== undefined);
  cell.append(age(times.length ? Math.max(...times) : undefined));
  return cell;
}

function row(modem) {
  const [colour, sign] = SIGNS[modem.state] || ["off", "?"];
  const line = make("tr");
  line.dataset.modem = modem.name;
  const name = line.appendChild(make("th", modem.name));
  name.scope = "row";
  small(name, modem.identified ? modem.identified.model : "");
  const state = make("td");
  state.append(make("span", `${sign} ${modem.state}`, `state ${colour}`));
  small(state, modem.state === "serving" ? "" : modem.reason);
  small(state, modem.budget && modem.budget.reason);
  const recoveries = make("td", String(modem.recoveries), "number");
  line.append(state, network(modem), signal(modem), sessions(modem), acknowledged(modem), recoveries);
  const labels = ["State", "Network", "Signal", "Sessions", "Last acknowledged", "Recoveries"];
  [...line.children].slice(1).forEach((cell, i) => { cell.dataset.label = labels[i]; });
  return line;
}

function summary(fleet) {
  const connected = fleet.modems.flatMap((m) => m.sessions).filter((s) => s.connected).length;
  const all = fleet.modems.flatMap((m) => m.sessions).length;
  const serving = fleet.modems.filter((m) => m.state === "serving").length;
  return `${serving} of ${fleet.modems.length} modems serving, ${connected} of ${all} sessions connected`;
}

function show(fleet) {
  at("gateway").textContent = fleet.gateway;
  document.title = `${fleet.gateway} – modemfleet`;
  at("version").textContent = `modemfleet ${fleet.version}` + (fleet.commit ? ` (${fleet.commit})` : "");
  const words = summary(fleet);
  // Told to screen readers only when it changes.
  if (at("summary").textContent !== words) at("summary").textContent = words;
  at("summary").className = "";
  at("queued").textContent = `${fleet.queue.messages} (${size(fleet.queue.bytes)})`;
  at("full").textContent = `${(100 * fleet.queue.bytes / fleet.queue.limit_bytes).toFixed(1)} %`;
  at("oldest").textContent = fleet.queue.oldest_age_seconds === undefined ? "–" : span(fleet.queue.oldest_age_seconds);
  at("dropped").textContent = String(Object.values(fleet.queue.dropped).reduce((a, b) => a + b, 0));
  at("queue").hidden = false;
  at("fleet").hidden = false;
  at("fleet").tBodies[0].replaceChildren(...fleet.modems.map(row));
  ages();
}

function ages() {
  for (const time of document.querySelectorAll("time[data-since]")) {
    time.textContent = `${span(Date.now() / 1000 - Number(time.dataset.since))} ago`;
  }
}

const stream = new EventSource("api/v1/events");
stream.addEventListener("fleet", (event) => show(JSON.parse(event.data)));
stream.addEventListener("error", () => {
  at("summary").textContent = "No connection to the agent; the page shows old data";
  at("summary").className = "bad";
});
setInterval(ages, 1000);
