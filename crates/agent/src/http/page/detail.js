// The page of one modem: who it is, its network, budget and sessions, its charts and events, the check and
// its AT dialogue.

import { fill, make, setClass, setHidden, setText } from "./dom.js";
import { ask, token } from "./client.js";
import { bars, columnChart, lineChart } from "./charts.js";
import { dbm, judge, network, phase, RATS, registration, SIGNS, size, strength } from "./words.js";
import { reconnect, reset, sendTest } from "./actions.js";
import { age } from "./fleet.js";
import { eventList } from "./history.js";

const MINUTE = 60000;
const DIALOGUE = 2000;
const TRACED = 600;

const RANGES = { hour: ["Last hour", 60], day: ["Last day", 144] };

function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return make("dl", {}, ...known.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", {}, value)]));
}

// A card whose content is made again only if `key` of it changes.
function card(title, key, content, actions) {
  const place = make("div");
  const id = `card-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  const box = make("section", { class: "card", "aria-labelledby": id }, make("h2", { id, text: title }), place, actions || "");
  return { box, update: (modem) => fill(place, JSON.stringify(key(modem) ?? null), () => [content(modem)].flat()) };
}

function identity(modem) {
  const is = modem.identified || {};
  return facts([
    ["Model", is.model], ["Manufacturer", is.manufacturer], ["Firmware", is.firmware], ["IMEI", is.imei],
    ["SIM (ICCID)", is.iccid], ["Profile", is.profile], ["Found at", modem.port], ["Port", modem.tty],
    ["USB place", modem.usb_path], ["Recoveries", String(modem.recoveries)], ["Returns in 10 min", modem.returns ? String(modem.returns) : ""],
  ]);
}

const db = (value) => (value === undefined ? undefined : `${String(value).replace("-", "−")} dB`);

function radio(modem) {
  const known = strength(modem.signal);
  const cell = modem.registration || {};
  const first = known
    ? make("p", { class: "big" }, bars(modem.signal), ` ${dbm(modem.signal.dbm)} `, make("span", { class: "soft", text: `${known.words}, ${modem.signal.measure.toUpperCase()}` }))
    : make("p", { class: "soft", text: "No signal is known." });
  const levels = (modem.signals || []).map((one) => [RATS[one.rat] || String(one.rat).toUpperCase(),
    [one.rsrp_dbm !== undefined ? `RSRP ${dbm(one.rsrp_dbm)}` : "", one.rsrq_db !== undefined ? `RSRQ ${db(one.rsrq_db)}` : "",
      one.rssi_dbm !== undefined ? `RSSI ${dbm(one.rssi_dbm)}` : "", one.sinr_db !== undefined ? `SINR ${db(one.sinr_db)}` : ""].filter(Boolean).join(", ")]);
  const carriers = (modem.carriers || []).map((one) => [`Carrier ${one.role || ""}`.trim(),
    [one.band ? `band ${one.band}` : "", one.bandwidth_mhz ? `${one.bandwidth_mhz} MHz` : "", one.pci !== undefined ? `PCI ${one.pci}` : ""].filter(Boolean).join(", ")]);
  return [first, facts([
    ["Operator", network(modem)], ["Registration", registration(modem)], ...levels, ...carriers,
    ["Area", cell.lac_or_tac === undefined ? undefined : String(cell.lac_or_tac)],
    ["Cell", cell.ci === undefined ? undefined : String(cell.ci)],
    ["Temperature", modem.temperature_celsius === undefined ? undefined : `${modem.temperature_celsius} °C`],
  ])];
}

function budget(modem) {
  const { budget: known } = modem;
  if (!known) return make("p", { class: "soft", text: "No budget is set for this SIM." });
  if (known.used_bytes === undefined) return make("p", { class: "soft", text: `${size(known.bytes)}; the SIM is not known yet.` });
  const share = Math.round(100 * known.used_bytes / known.bytes);
  return [
    make("p", { class: "big", text: `${share} % used` }),
    make("meter", { min: 0, max: 100, high: 80, value: Math.min(100, share), "aria-label": "Budget used" }),
    facts([["Used", `${size(known.used_bytes)} of ${size(known.bytes)}`], ["Left", known.left_bytes === undefined ? undefined : size(known.left_bytes)],
      ["Starts again", known.resets_at ? new Date(known.resets_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" }) : undefined]]),
    known.reason ? make("p", { class: "warn", text: `${SIGNS.warn} ${known.reason}` }) : "",
  ];
}

function session(modem, one) {
  const { level, words } = phase(one);
  const tls = { on: "TLS", insecure: "TLS, not checked" }[one.tls] || "no TLS";
  return make("li", {},
    make("div", { class: "line" }, make("strong", { text: one.name }), make("span", { class: `state ${level}`, text: `${SIGNS[level]} ${words}` })),
    make("p", { class: "soft" }, `Broker ${one.broker}, ${tls}. Last acknowledged: `, age(one.last_ack_timestamp_seconds)),
    !one.connected && one.reason ? make("p", { class: level, text: one.reason }) : "",
    token.get() ? make("div", { class: "buttons" },
      make("button", { type: "button", text: "Reconnect …", "aria-label": `Reconnect ${one.name}`, onclick: () => reconnect(modem, one) }),
      make("button", { type: "button", text: "Send a test message …", "aria-label": `Send a test message over ${one.name}`, onclick: () => sendTest(modem, one) })) : "");
}

function sessions(modem) {
  if (!modem.sessions.length) return make("p", { class: "soft", text: "It has no sessions: it is watched only." });
  return make("ul", { class: "plain" }, ...modem.sessions.map((one) => session(modem, one)));
}

const seconds = (value) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`);

function charts(name) {
  let range = "hour";
  let known;
  const place = make("div", { class: "charts" });
  const buttons = Object.entries(RANGES).map(([key, [text]]) =>
    make("button", { type: "button", class: "toggle", text, "data-range": key, onclick: () => { range = key; draw(); } }));
  const box = make("section", { class: "card wide", "aria-labelledby": "courses" },
    make("div", { class: "line" }, make("h2", { id: "courses", text: "History" }), make("div", { class: "buttons" }, ...buttons)), place);
  function draw() {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.range === range));
    if (!known) return;
    const data = known[range];
    const series = { step_seconds: data.step_seconds || 60, places: RANGES[range][1], end: data.end_timestamp_seconds || Date.now() / 1000 };
    place.replaceChildren(
      lineChart("Signal", data.signal_dbm, series, [-130, -50], dbm),
      lineChart("Time to acknowledgement", data.latency_seconds, series, undefined, seconds),
      columnChart("Messages", [["acknowledged", "sent", data.acknowledged], ["failed", "lost", data.failed], ["received", "down", data.received]], series));
  }
  async function load() {
    known = await ask("GET", `api/v1/modems/${encodeURIComponent(name)}/history`).catch(() => known);
    draw();
  }
  let timer;
  // A modem that the fleet does not have is not asked for.
  const begin = () => {
    if (timer) return;
    timer = setInterval(load, MINUTE);
    load();
  };
  return { box, begin, end: () => clearInterval(timer) };
}

const LEVELS = { ok: "good", warn: "warn", fail: "bad" };

function findings(found) {
  const order = { fail: 0, warn: 1, ok: 2 };
  const item = (one) => make("li", {},
    make("span", { class: `state ${LEVELS[one.level]}`, text: `${SIGNS[LEVELS[one.level]]} ${one.check}` }),
    make("p", { text: one.message }),
    one.advice ? make("p", { class: "soft", text: `Try: ${one.advice}` }) : "");
  const bad = found.filter((one) => one.level !== "ok").toSorted((a, b) => order[a.level] - order[b.level]);
  const good = found.filter((one) => one.level === "ok");
  return [
    bad.length ? make("ul", { class: "plain findings" }, ...bad.map(item)) : make("p", { class: "good", text: `${SIGNS.good} No trouble was found.` }),
    make("details", {}, make("summary", { text: `${good.length} checks are fine` }), make("ul", { class: "plain findings" }, ...good.map(item))),
  ];
}

function doctor(name) {
  const place = make("div", { role: "status" });
  const run = make("button", { type: "button", text: "Run the check", onclick: async () => {
    run.disabled = true;
    place.replaceChildren(make("p", { class: "soft", text: "Asking the modem, its SIM and its brokers …" }));
    try {
      const answer = await ask("GET", `api/v1/doctor?${new URLSearchParams({ modem: name })}`);
      place.replaceChildren(...findings(answer.findings));
    } catch (error) {
      place.replaceChildren(make("p", { class: "bad", text: error.message }));
    }
    run.disabled = false;
  } });
  return make("section", { class: "card", "aria-labelledby": "check" }, make("h2", { id: "check", text: "Check" }),
    make("p", { class: "soft", text: "The same as modemfleet doctor on the gateway." }), make("div", { class: "buttons" }, run), place);
}

function dialogue(name) {
  let timer;
  const lines = make("pre", { class: "dialogue", tabindex: 0, role: "log", "aria-label": `AT dialogue of ${name}`, hidden: true });
  const hint = make("p", { class: "soft" });
  const start = make("button", { type: "button", hidden: true, text: "Show the dialogue", onclick: () => (timer ? stop() : run()) });
  async function look() {
    try {
      const answer = await ask("GET", "api/v1/log/recent");
      const text = ((answer.at || {})[name] || []).slice(-200).join("\n");
      const isAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
      setText(lines, text || "Nothing was said yet.");
      if (isAtEnd) lines.scrollTop = lines.scrollHeight;
    } catch (error) {
      setText(hint, error.message);
    }
  }
  async function run() {
    try {
      await ask("PUT", "api/v1/log", { trace: name, for_seconds: TRACED });
    } catch (error) {
      setText(hint, error.message);
      return;
    }
    setHidden(lines, false);
    setText(start, "Stop");
    await look();
    timer = setInterval(look, DIALOGUE);
  }
  function stop() {
    clearInterval(timer);
    if (timer) ask("PUT", "api/v1/log", { untrace: name }).catch(() => undefined);
    timer = undefined;
    setText(start, "Show the dialogue");
  }
  const box = make("section", { class: "card wide", "aria-labelledby": "dialogue" }, make("h2", { id: "dialogue", text: "AT dialogue" }), hint, make("div", { class: "buttons" }, start), lines);
  const update = () => {
    setHidden(start, !token.get());
    setText(hint, token.get() ? "The commands to the modem and its answers, without secrets. The log has them too for ten minutes." : "It is shown once actions are unlocked.");
  };
  return { box, update, end: stop };
}

export function modemView({ fleet, place }, name) {
  const state = make("span", { class: "state" });
  const reasons = make("p", { class: "reasons" });
  const act = make("button", { type: "button", class: "danger", hidden: true, text: "Reset the modem …", onclick: () => reset({ name }) });
  const [service, net, own, data] = [
    card("Sessions", (modem) => [modem.sessions, token.get() !== null], sessions),
    card("Network", (modem) => [modem.signal, modem.signals, modem.carriers, modem.registration, modem.operator, modem.temperature_celsius], radio),
    card("Modem and SIM", (modem) => [modem.identified, modem.port, modem.tty, modem.usb_path, modem.recoveries, modem.returns], identity),
    card("Data budget", (modem) => modem.budget, budget),
  ];
  const cards = [service, data, net, own];
  const courses = charts(name);
  const events = eventList(name);
  const happened = make("section", { class: "card", "aria-labelledby": "happened" }, make("h2", { id: "happened", text: "Events" }), events.place);
  const talk = dialogue(name);
  const gone = make("p", { class: "bad", hidden: true, text: `The fleet has no modem named ${name}.` });
  const parts = make("div", {},
    make("div", { class: "cards" }, make("div", {}, service.box, data.box), net.box, own.box),
    courses.box,
    make("div", { class: "cards two" }, happened, doctor(name)),
    talk.box);
  place.append(
    make("p", { class: "back" }, make("a", { href: "#/", text: "← All modems" })),
    make("div", { class: "title" }, make("h1", { text: name }), state, make("div", { class: "buttons" }, act)),
    reasons, gone, parts);
  function update(news) {
    const modem = fleet.modems.find((one) => one.name === name);
    setHidden(gone, Boolean(modem));
    setHidden(parts, !modem);
    setHidden(act, !token.get() || !modem);
    events.news(news);
    talk.update();
    if (!modem) return;
    const judged = judge(modem);
    setClass(state, `state ${judged.level}`);
    setText(state, `${SIGNS[judged.level]} ${judged.words}`);
    // A session shows its own reason below.
    setText(reasons, modem.state === "serving" ? "" : judged.reasons.join("; "));
    courses.begin();
    for (const one of cards) one.update(modem);
  }
  return { update, end: () => { courses.end(); talk.end(); } };
}
