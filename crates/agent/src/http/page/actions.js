// Actions of a person. Each is confirmed first; what interrupts service for longer takes the name of the
// modem or of the gateway as well.

import { at, make, setText } from "./dom.js";
import { ask, token } from "./client.js";

let hide;

function toast(words, kind) {
  const place = at("toast");
  setText(place, words);
  place.className = `toast shown ${kind}`;
  clearTimeout(hide);
  hide = setTimeout(() => { place.className = "toast"; setText(place, ""); }, 8000);
}

// Shows a dialog, and returns what `done` returned once it succeeded, or undefined.
function dialog({ title, words, fields = [], verb, danger, done }) {
  const box = at("dialog");
  const fault = make("p", { class: "bad", role: "alert" });
  const inputs = fields.map((field) => make("input", {
    id: `field-${field.name}`, type: field.type || "text", autocomplete: "off", spellcheck: "false", value: field.value, "data-must": field.must,
  }));
  const act = make("button", { type: "submit", class: danger ? "danger" : "primary", text: verb });
  return new Promise((resolve) => {
    let result;
    const form = make("form", {},
      make("h2", { id: "dialog-title", text: title }),
      ...[words].flat().map((text) => make("p", { text })),
      ...fields.flatMap((field, i) => [make("label", { for: `field-${field.name}`, text: field.label }), inputs[i]]),
      fault,
      make("div", { class: "buttons" }, make("button", { type: "button", text: "Cancel", onclick: () => box.close() }), act));
    const check = () => { act.disabled = inputs.some((input) => input.dataset.must !== undefined && input.value !== input.dataset.must); };
    form.addEventListener("input", check);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      check();
      if (act.disabled) return;
      act.disabled = true;
      setText(fault, "");
      try {
        result = await done(...inputs.map((input) => input.value));
        box.close();
      } catch (error) {
        setText(fault, error.message);
        act.disabled = false;
      }
    });
    box.addEventListener("close", () => { box.replaceChildren(); resolve(result); }, { once: true });
    box.replaceChildren(form);
    check();
    box.showModal();
    (inputs[0] || act).focus();
  });
}

// Asks for the token of the API, and keeps it once the agent took it.
export function unlock(fleet) {
  if (!fleet.asksForToken) {
    return dialog({
      title: "Actions need a token",
      words: [
        "Anyone who reaches this port could otherwise reset a modem. So without a token this page only shows.",
        "Set http.token in the fleet file, restart the agent, and enter the token here. docs/status-page.md has the lines.",
      ],
      verb: "Understood",
      done: async () => undefined,
    });
  }
  return dialog({
    title: "Unlock actions",
    words: "The token stays in this tab until it is closed. Each action is noted with its time and the token's key.",
    fields: [{ name: "token", label: "Token (http.token)", type: "password" }],
    verb: "Unlock",
    done: async (value) => {
      await ask("GET", "api/v1/log", undefined, value);
      token.set(value);
      return true;
    },
  });
}

const typed = (name, what) => ({ name: "name", label: `Type the name of the ${what}, ${name}, to confirm`, must: name });

async function act(parts, said) {
  const result = await dialog(parts);
  if (result !== undefined) toast(said(result), "good");
}

export function reload({ fleet }) {
  return act({
    title: "Reload the fleet file?",
    words: "Modems and sessions that changed in the file stop and start again. A file with errors is refused, and the fleet runs on as it is.",
    fields: [typed(fleet.gateway, "gateway")],
    verb: "Reload",
    danger: true,
    done: () => ask("POST", "api/v1/reload"),
  }, (answer) => `Reloaded: ${answer.summary || "nothing changed"}`);
}

export function reset(modem) {
  return act({
    title: `Reset ${modem.name}?`,
    words: "Its sessions sign out, and the modem boots. It is away for about a minute. Messages wait in the queue, or take other paths.",
    fields: [typed(modem.name, "modem")],
    verb: "Reset the modem",
    danger: true,
    done: () => ask("POST", `api/v1/modems/${encodeURIComponent(modem.name)}/reset`),
  }, () => `${modem.name} is being reset.`);
}

const sessionPath = (modem, session, what) =>
  `api/v1/modems/${encodeURIComponent(modem.name)}/sessions/${encodeURIComponent(session.name)}/${what}`;

export function reconnect(modem, session) {
  return act({
    title: `Reconnect ${modem.name}/${session.name}?`,
    words: "The session finishes its publish, signs out and in again.",
    verb: "Reconnect",
    done: () => ask("POST", sessionPath(modem, session, "reconnect")),
  }, () => `${modem.name}/${session.name} reconnects.`);
}

export function sendTest(modem, session) {
  return act({
    title: `Send a test message over ${modem.name}/${session.name}?`,
    words: "A small JSON message goes into the queue for this session, with QoS 1. It costs data, and reaches whoever subscribes to the topic.",
    fields: [{ name: "topic", label: "Topic", value: "modemfleet/test" }],
    verb: "Send",
    done: (topic) => ask("POST", `${sessionPath(modem, session, "test")}?${new URLSearchParams({ topic })}`),
  }, (answer) => `Handed in as ${answer.id}.`);
}

export function requeue() {
  return act({
    title: "Return all dead letters to the queue?",
    words: "They are published again in their old place. A message that its broker refuses becomes a dead letter once more.",
    verb: "Return to the queue",
    done: async () => {
      let count = 0;
      let after = 0;
      while (after !== undefined && after !== null) {
        const answer = await ask("POST", `api/v1/queue/requeue?all=true&after=${after}`);
        count += answer.requeued || 0;
        after = answer.next;
      }
      return count;
    },
  }, (count) => `${count} ${count === 1 ? "message" : "messages"} returned to the queue.`);
}
