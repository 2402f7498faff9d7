// The list of modems: the worst first, with search and filter, and rows that are changed in place.

import { arrange, fill, make, setClass, setHidden, setText } from "./dom.js";
import { ask, token } from "./client.js";
import { bars, sparkline } from "./charts.js";
import { dbm, judge, lastAck, network, phase, rank, SIGNS, size, span, strength } from "./words.js";
import { requeue, reload } from "./actions.js";

// Rows that are shown before a person asks for more. Troubled modems come first, so that they are among them.
const FIRST = 24;
const DEVICES = 30000;
const NAMED = 4;

// The choices of the list outlast a look at a modem.
const chosen = { search: "", troubled: false, all: false };

export const link = (name) => `#/modem/${encodeURIComponent(name)}`;

export function age(seconds) {
  if (seconds === undefined) return make("span", { class: "soft", text: "never" });
  const since = `${span(Date.now() / 1000 - seconds)} ago`;
  return make("time", { "data-since": seconds, datetime: new Date(seconds * 1000).toISOString(), class: "number", text: since });
}

function sessionItem(session) {
  const { level, words } = phase(session);
  return make("li", {},
    make("span", { class: level, "aria-hidden": "true", text: `${SIGNS[level]} ` }),
    make("span", { text: session.name }),
    make("span", { class: session.connected ? "soft" : level, text: ` ${words.toLowerCase()}` }),
    session.tls === "insecure" ? make("span", { class: "bad", text: " TLS is not checked" }) : "");
}

// One row. Its parts are made once, and changed where they differ.
function makeRow(name) {
  const row = make("tr", { "data-modem": name });
  const model = make("small");
  const head = make("th", { scope: "row" }, make("a", { href: link(name), text: name }), model);
  const state = make("span", { class: "state" });
  const reason = make("small", { class: "reason" });
  const cells = {};
  for (const label of ["State", "Sessions", "Signal", "Network", "Last message"]) {
    cells[label] = make("td", { "data-label": label });
  }
  cells.State.append(state, reason);
  row.append(head, ...Object.values(cells));
  const update = (modem) => {
    const judged = judge(modem);
    setClass(row, `${judged.level}-row`);
    setText(model, modem.identified ? modem.identified.model : "");
    setClass(state, `state ${judged.level}`);
    setText(state, `${SIGNS[judged.level]} ${judged.words}`);
    setText(reason, judged.reasons.join("; "));
    setHidden(reason, !judged.reasons.length);
    const sessions = modem.sessions.map((one) => [one.name, one.phase, one.connected, one.tls]);
    fill(cells.Sessions, JSON.stringify(sessions), () =>
      [modem.sessions.length ? make("ul", {}, ...modem.sessions.map(sessionItem)) : make("span", { class: "soft", text: "none" })]);
    const known = strength(modem.signal);
    const course = modem.signal_history_dbm || [];
    fill(cells.Signal, JSON.stringify([modem.signal, course.length, course[course.length - 1]]), () => known
      ? [bars(modem.signal), make("span", { class: "number", text: ` ${dbm(modem.signal.dbm)} ` }),
        make("span", { class: "soft", text: known.words }), course.length > 2 ? sparkline(course, modem.signal.dbm) : ""]
      : [bars(undefined), make("span", { class: "soft", text: " unknown" })]);
    setText(cells.Network, network(modem) || "–");
    const last = lastAck(modem);
    fill(cells["Last message"], String(last), () => [age(last)]);
  };
  return { row, update };
}

function queueWords(queue) {
  const oldest = queue.oldest_age_seconds === undefined ? "" : `, the oldest for ${span(queue.oldest_age_seconds)}`;
  return queue.messages ? `${queue.messages} waiting (${size(queue.bytes)}${oldest})` : "empty";
}

function makeQueue(context) {
  const waiting = make("span");
  const full = make("span", { class: "soft" });
  const aside = make("span", { class: "warn" });
  const dropped = make("span", { class: "warn" });
  const again = make("button", { type: "button", hidden: true, text: "Return to the queue …", onclick: () => requeue(context) });
  const line = make("section", { class: "queue", "aria-label": "Queue" }, make("strong", { text: "Queue" }), waiting, full, aside, again, dropped);
  const update = ({ queue }) => {
    setHidden(line, !queue);
    if (!queue) return;
    setText(waiting, queueWords(queue));
    setText(full, `${(100 * queue.bytes / queue.limit_bytes).toFixed(1)} % of ${size(queue.limit_bytes)}`);
    const lost = Object.values(queue.dropped).reduce((a, b) => a + b, 0);
    setText(aside, queue.set_aside ? `${SIGNS.warn} ${queue.set_aside} dead ${queue.set_aside === 1 ? "letter" : "letters"}` : "");
    setText(dropped, lost ? `${SIGNS.warn} ${lost} dropped since the start` : "");
    setHidden(again, !queue.set_aside || !token.get());
  };
  return { line, update };
}

// The way on for a gateway whose modems were not found yet.
function start(modems) {
  const named = modems.slice(0, NAMED).map((modem) => `${modem.name} (${modem.port})`).join(", ");
  const configured = modems.length > NAMED ? `${named}, and ${modems.length - NAMED} more` : named;
  return make("section", { class: "card start", "aria-labelledby": "start" },
    make("h2", { id: "start", text: modems.length ? "No modem was found yet" : "No modems are configured yet" }),
    modems.length ? make("p", { text: `The fleet file expects: ${configured}.` }) : "",
    make("ol", {},
      make("li", {}, "Plug a modem in, and list what the gateway sees: ", make("code", { text: "modemfleet scan" })),
      make("li", {}, "Write a fleet file for it: ", make("code", { text: "modemfleet init" }), ", or compare the present one with the list."),
      make("li", {}, "Apply it: ", make("code", { text: "modemfleet reload" })),
      make("li", {}, "If a modem stays away, ask for the cause: ", make("code", { text: "modemfleet doctor" }))),
    make("p", { class: "soft", text: "The manual has the first steps in docs/first-modem.md." }));
}

function unclaimed(devices) {
  const item = (device) => {
    const name = [device.model, device.imei ? `IMEI ${device.imei}` : "", `at USB ${device.usb_path}`].filter(Boolean).join(", ");
    return make("li", {}, make("span", { text: name }), device.reason ? make("small", { text: device.reason }) : "");
  };
  return [
    make("h2", { id: "unclaimed", text: "Plugged in, and not in the fleet file" }),
    make("ul", {}, ...devices.map(item)),
    make("p", { class: "soft" }, "Add an entry for each that should serve: ", make("code", { text: "modemfleet scan" }), " prints one."),
  ];
}

const matches = (modem, search) => {
  if (!search) return true;
  const is = modem.identified || {};
  const texts = [modem.name, modem.operator, is.model, is.imei, is.iccid, modem.reason, judge(modem).words, ...modem.sessions.map((one) => one.name)];
  return texts.some((text) => text && text.toLowerCase().includes(search));
};

export function fleetView(context) {
  const { fleet, place } = context;
  const rows = new Map();
  const queue = makeQueue(context);
  const search = make("input", { type: "search", id: "search", placeholder: "Name, model, operator, IMEI …", value: chosen.search, autocomplete: "off",
    oninput: () => { chosen.search = search.value; update(); } });
  const troubled = make("button", { type: "button", class: "toggle", onclick: () => { chosen.troubled = !chosen.troubled; update(); } });
  const renew = make("button", { type: "button", hidden: true, text: "Reload the fleet file …", onclick: () => reload(context) });
  const count = make("p", { class: "soft count", role: "status" });
  const body = make("tbody");
  const heads = ["Modem", "State", "Sessions", "Signal", "Network", "Last message"];
  const table = make("table", { id: "fleet" }, make("caption", { class: "unseen", text: "Modems, the worst first" }),
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))), body);
  const more = make("button", { type: "button", class: "more", onclick: () => { chosen.all = !chosen.all; update(); } });
  const begin = make("div");
  const strangers = make("section", { class: "card", "aria-labelledby": "unclaimed", hidden: true });
  const tools = make("div", { class: "toolbar", role: "search" }, make("label", { class: "unseen", for: "search", text: "Search the modems" }), search, troubled, renew);
  place.append(make("h1", { class: "unseen", text: "Modems" }), begin, tools, table, count, more, strangers, queue.line);

  // The arrow keys lead from row to row.
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const links = [...body.querySelectorAll("th a")].filter((one) => one.offsetParent);
    const now = links.indexOf(document.activeElement);
    if (!step || now < 0 || !links[now + step]) return;
    event.preventDefault();
    links[now + step].focus();
  });

  function update() {
    const judged = fleet.modems.map((modem) => ({ modem, rank: rank(judge(modem)) }));
    const needs = judged.filter((one) => one.rank < 2).length;
    const sorted = judged.toSorted((a, b) => a.rank - b.rank)
      .filter((one) => (!chosen.troubled || one.rank < 2) && matches(one.modem, chosen.search.trim().toLowerCase()))
      .map((one) => one.modem);
    const shown = chosen.all || chosen.search ? sorted : sorted.slice(0, Math.max(FIRST, 0));
    for (const modem of shown) {
      if (!rows.has(modem.name)) rows.set(modem.name, makeRow(modem.name));
      rows.get(modem.name).update(modem);
    }
    for (const name of rows.keys()) if (!fleet.modems.some((modem) => modem.name === name)) rows.delete(name);
    arrange(body, shown.map((modem) => rows.get(modem.name).row));
    setText(troubled, `Only troubled (${needs})`);
    troubled.setAttribute("aria-pressed", String(chosen.troubled));
    setHidden(renew, !token.get());
    const filtered = chosen.troubled || chosen.search;
    setText(count, sorted.length ? (filtered || shown.length < sorted.length ? `${shown.length} of ${fleet.modems.length} modems are shown.` : "")
      : filtered && fleet.modems.length ? "No modem fits." : "");
    setHidden(table, !shown.length);
    setHidden(more, sorted.length <= FIRST || Boolean(chosen.search));
    setText(more, chosen.all ? "Show fewer" : `Show all ${sorted.length}`);
    const isEmpty = fleet.modems.every((modem) => modem.state === "absent");
    fill(begin, isEmpty ? fleet.modems.map((modem) => modem.name).join() || "none" : "", () => (isEmpty ? [start(fleet.modems)] : []));
    setHidden(tools, !fleet.modems.length);
    queue.update(fleet);
  }

  async function look() {
    if (document.hidden) return;
    const answer = await ask("GET", "api/v1/devices").catch(() => ({ devices: [] }));
    const free = answer.devices.filter((device) => device.claim === "unclaimed");
    setHidden(strangers, !free.length);
    fill(strangers, JSON.stringify(free.map((device) => [device.usb_path, device.model, device.reason])), () => unclaimed(free));
  }
  look();
  const timer = setInterval(look, DEVICES);
  return { update, end: () => clearInterval(timer) };
}
