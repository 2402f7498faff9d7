// The agent's API. The token stays in this tab (sessionStorage), and goes out as a header only: never in an
// address, a cookie or a log.

const KEY = "modemfleet-token";

// An address that was opened with a user and a password in it lets no relative path be fetched.
const here = (path) => new URL(path, location.origin + location.pathname);

export const token = {
  get() {
    try { return sessionStorage.getItem(KEY); } catch { return null; }
  },
  set(value) {
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch {
      // Without storage the page stays read-only.
    }
  },
};

// With a token, credentials that the browser keeps are left out: a wrong token is then no reason for the
// browser to ask for a password.
function options(shown) {
  if (!shown) return {};
  return { headers: { Authorization: `Bearer ${shown}` }, credentials: "omit" };
}

// Asks, and returns the answer as JSON. Fails with the agent's own words.
export async function ask(method, path, body, shown = token.get()) {
  const request = { method, ...options(shown) };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers = { ...request.headers, "Content-Type": "application/json" };
  }
  let response;
  try {
    response = await fetch(here(path), request);
  } catch {
    throw new Error("The agent cannot be reached.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.message || `The agent answered with status ${response.status}.`);
  return answer;
}

const AGAIN = 2000;

// Follows the stream of changes. `hear` gets each event's name and data, `live` whether the stream stands.
// Returns a function that ends it.
export function follow(path, hear, live) {
  const shown = token.get();
  return shown ? read(path, shown, hear, live) : listen(path, hear, live);
}

function listen(path, hear, live) {
  let source;
  let timer;
  const open = () => {
    source = new EventSource(here(path));
    for (const name of ["fleet", "changes"]) {
      source.addEventListener(name, (event) => { live(true); hear(name, JSON.parse(event.data)); });
    }
    source.addEventListener("error", () => {
      live(false);
      // A browser gives up for good on some answers, such as 503.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN);
    });
  };
  open();
  return () => { clearTimeout(timer); source.close(); };
}

// An EventSource shows no header, so a stream with a token is read by hand.
function read(path, shown, hear, live) {
  const stop = new AbortController();
  const run = async () => {
    while (!stop.signal.aborted) {
      try {
        const response = await fetch(here(path), { ...options(shown), signal: stop.signal });
        if (!response.ok) throw new Error(String(response.status));
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          const events = (rest + value).split("\n\n");
          rest = events.pop();
          for (const event of events) {
            const name = /^event: ?(.*)$/m.exec(event);
            const data = [...event.matchAll(/^data: ?(.*)$/gm)].map((line) => line[1]).join("\n");
            if (name && data) { live(true); hear(name[1], JSON.parse(data)); }
          }
        }
      } catch {
        // It is tried again below.
      }
      if (stop.signal.aborted) return;
      live(false);
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  };
  run();
  return () => stop.abort();
}
