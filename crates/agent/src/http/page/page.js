// The page as a whole: what is known of the fleet, which view is shown, and what stands above all views.

import { at, make, setClass, setHidden, setText } from "./page/dom.js";
import { follow, token } from "./page/client.js";
import { SIGNS, span, summarize } from "./page/words.js";
import { unlock } from "./page/actions.js";
import { fleetView } from "./page/fleet.js";
import { modemView } from "./page/detail.js";
import { eventsView } from "./page/history.js";

// The fleet as the agent reports it. Views read it, and are called when it changes.
const fleet = { known: false, live: false, modems: [], queue: undefined, gateway: "", asksForToken: false, events: [] };
const MINUTE = 60000;

let view;
let close = () => {};

// A session that was refused and tries again is not well: it stays shown as refused until it is connected.
// Else colours, title and the words that are read out would change at each attempt.
function steady(before, modem) {
  for (const session of modem.sessions) {
    const old = ((before && before.sessions) || []).find((one) => one.name === session.name);
    if (session.phase === "connecting" && old && old.phase === "backing_off") {
      Object.assign(session, { phase: old.phase, reason: old.reason });
    }
  }
}

function take(name, data) {
  if (name === "fleet") {
    Object.assign(fleet, {
      known: true, gateway: data.gateway, queue: data.queue, asksForToken: data.asks_for_token, modems: data.modems,
    });
    setText(at("version"), `modemfleet ${data.version}${data.commit ? ` (${data.commit.slice(0, 12)})` : ""}`);
  } else {
    const byName = new Map(fleet.modems.map((modem) => [modem.name, modem]));
    for (const modem of data.modems || []) {
      const before = byName.get(modem.name) || {};
      steady(before, modem);
      // The history comes once; from then on the page keeps it.
      byName.set(modem.name, { ...modem, signal_history_dbm: before.signal_history_dbm || [] });
    }
    const order = data.order || fleet.modems.map((modem) => modem.name);
    fleet.modems = order.map((one) => byName.get(one)).filter(Boolean);
    if (data.queue) fleet.queue = data.queue;
    if (data.events) fleet.events = [...fleet.events, ...data.events].slice(-200);
  }
  show(data.events || []);
}

function live(is) {
  if (fleet.live === is) return;
  fleet.live = is;
  show([]);
}

// Adds the present signal of each modem to its last hour, as the agent does.
function remember() {
  if (!fleet.live) return;
  for (const modem of fleet.modems) {
    modem.signal_history_dbm = [...(modem.signal_history_dbm || []), modem.signal ? modem.signal.dbm : null].slice(-60);
  }
}

function heading() {
  const summary = at("summary");
  if (!fleet.live && fleet.known) {
    setText(summary, `${SIGNS.bad} No connection to the agent. What is shown is old.`);
    setClass(summary, "summary bad");
    document.title = `No connection – ${fleet.gateway}`;
    return;
  }
  if (!fleet.known) return;
  const { level, words } = summarize(fleet.modems);
  // Read out only when it changes.
  setText(summary, `${SIGNS[level]} ${words}`);
  setClass(summary, `summary ${level}`);
  document.title = `${words} – ${fleet.gateway}`;
  setText(at("gateway"), fleet.gateway);
}

function lock() {
  const button = at("unlock");
  setHidden(button, !fleet.known);
  setText(button, token.get() ? "Lock" : "Unlock actions");
  setClass(button, token.get() ? "open" : "");
}

function show(news) {
  heading();
  lock();
  if (view && fleet.known) view.update(news);
}

// The view that the address names: `#/`, `#/events` or `#/modem/NAME`.
function route() {
  const path = decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  const [page, ...rest] = path.split("/");
  if (location.hash === "#main") return;
  if (view) view.end();
  const place = at("view");
  place.replaceChildren();
  const context = { fleet, place, show: () => show([]) };
  if (page === "modem") view = modemView(context, rest.join("/"));
  else if (page === "events") view = eventsView(context);
  else view = fleetView(context);
  for (const link of document.querySelectorAll("nav [data-page]")) {
    const is = link.dataset.page === (page === "events" ? "events" : "fleet");
    if (is) link.setAttribute("aria-current", page === "modem" ? "true" : "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (fleet.known) view.update([]);
}

function connect() {
  close();
  fleet.live = false;
  close = follow("api/v1/events?changes=true", take, live);
}

// Ages grow without news from the agent.
function ages() {
  for (const time of document.querySelectorAll("time[data-since]")) {
    setText(time, `${span(Date.now() / 1000 - Number(time.dataset.since))} ago`);
  }
}

const THEMES = { "": "dark", dark: "light", light: "" };
const THEME_WORDS = { "": "Colours: system", dark: "Colours: dark", light: "Colours: light" };

function theme(chosen) {
  const root = document.documentElement;
  if (chosen) root.dataset.theme = chosen;
  else delete root.dataset.theme;
  try {
    if (chosen) localStorage.setItem("modemfleet-theme", chosen);
    else localStorage.removeItem("modemfleet-theme");
  } catch {
    // It then holds for this page only.
  }
  setText(at("theme"), THEME_WORDS[chosen]);
}

at("theme").addEventListener("click", () => theme(THEMES[document.documentElement.dataset.theme || ""]));
at("unlock").addEventListener("click", async () => {
  if (token.get()) token.set(null);
  else if (!(await unlock(fleet))) return;
  connect();
  lock();
  route();
});
// The address of the skip link would be a page of its own.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("main").focus();
});
addEventListener("hashchange", () => { route(); at("main").focus({ preventScroll: true }); });
setText(at("theme"), THEME_WORDS[document.documentElement.dataset.theme || ""]);
setInterval(ages, 1000);
setInterval(remember, MINUTE);
at("view").append(make("p", { class: "soft", text: "Asking the agent …" }));
route();
connect();
export { fleet };
