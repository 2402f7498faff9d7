// Words and colours for what the agent reports: one place, so that list, page and title agree.

export const SIGNS = { bad: "✕", warn: "▲", good: "●", off: "○", info: "ℹ" };

const STATES = {
  absent: ["bad", "Absent"],
  failed: ["bad", "Failed"],
  recovering: ["warn", "Being brought back"],
  sim: ["warn", "Waiting for its SIM"],
  searching: ["warn", "Searching for a network"],
  identifying: ["warn", "Being identified"],
  serving: ["good", "Working"],
};

const PHASES = {
  waiting: ["off", "Waiting for the modem"],
  connecting: ["warn", "Connecting"],
  connected: ["good", "Connected"],
  backing_off: ["bad", "Not connected"],
  failed: ["bad", "Cannot connect"],
};

const RANKS = { bad: 0, warn: 1, off: 1, good: 2 };

export function phase(session) {
  const [level, words] = session.connected ? PHASES.connected : PHASES[session.phase] || ["warn", session.phase];
  return { level, words };
}

// The state of a modem as a person should see it. A session's trouble is the modem's trouble.
export function judge(modem) {
  const [level, words] = STATES[modem.state] || ["warn", modem.state];
  if (modem.state !== "serving") return { level, words, reasons: [modem.reason].filter(Boolean) };
  const down = modem.sessions.filter((session) => !session.connected);
  const reasons = [...new Set(down.map((session) => session.reason).filter(Boolean))];
  if (modem.reason) reasons.unshift(modem.reason);
  const budget = modem.budget && modem.budget.reason;
  if (budget) reasons.push(budget);
  const of = `${down.length} of ${modem.sessions.length} sessions`;
  if (down.length) {
    const worst = down.map((session) => phase(session).level).sort((a, b) => RANKS[a] - RANKS[b])[0];
    const all = down.length === modem.sessions.length;
    const words = worst !== "bad" ? "Connecting" : all ? "No connection" : `${of} down`;
    return { level: worst === "bad" && all ? "bad" : "warn", words, reasons };
  }
  if (budget) return { level: modem.budget.stage === "stopped" ? "bad" : "warn", words: "Budget", reasons };
  return { level, words: modem.sessions.length ? words : "Working, no sessions", reasons };
}

export const rank = (judged) => RANKS[judged.level];

export function summarize(modems) {
  const judged = modems.map(judge);
  const troubled = judged.filter((one) => one.level !== "good").length;
  const level = judged.some((one) => one.level === "bad") ? "bad" : troubled ? "warn" : "good";
  const all = modems.length;
  if (!all) return { level: "warn", troubled, words: "No modems are configured" };
  if (!troubled) return { level, troubled, words: all === 1 ? "The modem works" : `All ${all} modems work` };
  const needs = troubled === 1 ? "needs" : "need";
  return { level, troubled, words: `${troubled} of ${all} ${all === 1 ? "modem" : "modems"} ${needs} attention` };
}

// Bars and a word for a level. The reference signal (RSRP, 3GPP 36.133) and the total power (RSSI, 27.007
// §8.5) have scales of their own.
const SCALES = { rsrp: [-115, -105, -95, -85], rssi: [-105, -95, -85, -75] };
const STRENGTHS = ["very poor", "poor", "fair", "good", "good"];

export function strength(signal) {
  if (!signal) return undefined;
  const scale = SCALES[signal.measure] || SCALES.rssi;
  const bars = scale.filter((least) => signal.dbm >= least).length;
  return { bars, words: STRENGTHS[bars], level: bars >= 3 ? "good" : bars === 2 ? "warn" : "bad" };
}

export const dbm = (value) => `${String(Math.round(value)).replace("-", "−")} dBm`;

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

export function span(seconds) {
  if (seconds < 0) seconds = 0;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export const RATS = { gsm: "2G", wcdma: "3G", lte: "LTE", nr: "5G", nb_iot: "NB-IoT", lte_m: "LTE-M" };

export function network(modem) {
  const rats = (modem.signals || []).map((one) => RATS[one.rat] || String(one.rat).toUpperCase());
  return [modem.operator, [...new Set(rats)].join(" + ")].filter(Boolean).join(" · ");
}

const REGISTRATIONS = {
  home: "registered, home network",
  roaming: "registered, roaming",
  searching: "searching",
  denied: "denied by the network",
  not_searching: "not searching",
  unknown: "unknown",
};

export function registration(modem) {
  const known = modem.registration;
  if (!known) return undefined;
  const words = REGISTRATIONS[known.state] || String(known.state).replaceAll("_", " ");
  return known.voice_only ? `${words}, for speech only` : words;
}

export function lastAck(modem) {
  const times = modem.sessions.map((session) => session.last_ack_timestamp_seconds).filter((t) => t !== undefined);
  return times.length ? Math.max(...times) : undefined;
}
