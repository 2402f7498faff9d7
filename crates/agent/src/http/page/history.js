// Events: what happened, by day, the newest first.

import { fill, make, setHidden, setText } from "./dom.js";
import { ask } from "./client.js";
import { SIGNS } from "./words.js";
import { link } from "./fleet.js";

const PAGE = 50;

const day = (time) => time.toLocaleDateString([], { weekday: "long", year: "numeric", month: "long", day: "numeric" });
const clock = (time) => time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

const BY = {
  "http.token": "with the token http.token", "http.socket": "over the socket", "http.publish_socket": "over the publish socket",
  "no token": "without a token", SIGHUP: "by SIGHUP",
};

function item(event, isOfModem) {
  const time = new Date(event.at);
  const of = event.modem && !isOfModem ? make("a", { href: link(event.modem), text: event.modem }) : "";
  const session = event.session ? make("span", { class: "session", text: event.session }) : "";
  const again = event.repeated
    ? make("span", { class: "soft", text: ` (${event.repeated + 1} times until ${clock(new Date(event.until))})` }) : "";
  const by = event.by ? make("span", { class: "soft", text: ` ${BY[event.by] || event.by}` }) : "";
  const words = event.kind === "action" ? `A person ${event.words}` : event.words;
  return make("li", {},
    make("time", { datetime: event.at, class: "number", text: clock(time) }),
    make("span", { class: `sign ${event.level}`, "aria-hidden": "true", text: SIGNS[event.level] || SIGNS.info }),
    make("span", { class: "what" }, of, of ? " " : "", session, session ? " " : "", words, again, by));
}

// A list of events that can go back in time, and gets news.
export function eventList(modem) {
  const list = make("div", { class: "events" });
  const note = make("p", { class: "soft", role: "status", text: "Asking for the events …" });
  const older = make("button", { type: "button", class: "more", text: "Older events", hidden: true, onclick: () => load() });
  const place = make("div", {}, list, note, older);
  let events = [];
  let next;
  let fits = () => true;

  function show() {
    const shown = events.filter(fits);
    const key = JSON.stringify(shown.map((event) => [event.id, event.words, event.repeated]));
    fill(list, key, () => {
      const days = [];
      for (const event of shown) {
        const name = day(new Date(event.at));
        if (!days.length || days.at(-1).name !== name) days.push({ name, items: [] });
        days.at(-1).items.push(item(event, Boolean(modem)));
      }
      return days.flatMap(({ name, items }) => [make("h2", { class: "day", text: name }), make("ol", { reversed: true }, ...items)]);
    });
    if (note.dataset.failed !== "yes") setText(note, shown.length ? "" : "Nothing happened yet.");
  }

  async function load() {
    const query = new URLSearchParams({ limit: PAGE });
    if (modem) query.set("modem", modem);
    if (next) query.set("before", next);
    try {
      const answer = await ask("GET", `api/v1/events/history?${query}`);
      const known = new Set(events.map((event) => event.id));
      events = [...events, ...answer.events.filter((event) => !known.has(event.id))];
      next = answer.next;
      note.dataset.failed = "";
      setHidden(older, next === undefined);
    } catch (error) {
      note.dataset.failed = "yes";
      setText(note, error.message);
    }
    show();
  }
  load();
  return {
    place,
    news(more) {
      const mine = more.filter((event) => !modem || event.modem === modem);
      if (!mine.length) return;
      const numbers = new Set(mine.map((event) => event.id));
      events = [...mine.toReversed(), ...events.filter((event) => !numbers.has(event.id))];
      show();
    },
    filter(only) { fits = only; show(); },
  };
}

export function eventsView({ place }) {
  const list = eventList();
  const search = make("input", { type: "search", id: "find", placeholder: "Modem, session or words …", autocomplete: "off", oninput: () => narrow() });
  const trouble = make("button", { type: "button", class: "toggle", "aria-pressed": "false", text: "Only trouble",
    onclick: () => { trouble.setAttribute("aria-pressed", String(trouble.getAttribute("aria-pressed") !== "true")); narrow(); } });
  function narrow() {
    const words = search.value.trim().toLowerCase();
    const only = trouble.getAttribute("aria-pressed") === "true";
    list.filter((event) => (!only || event.level === "warn" || event.level === "bad")
      && (!words || [event.modem, event.session, event.words, event.by].some((text) => text && text.toLowerCase().includes(words))));
  }
  place.append(make("h1", { text: "Events" }),
    make("div", { class: "toolbar", role: "search" }, make("label", { class: "unseen", for: "find", text: "Search the events" }), search, trouble),
    list.place);
  return { update: (news) => list.news(news), end() {} };
}
