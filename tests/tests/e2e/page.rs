//! The status page in a real browser: its content, its live updates, its actions, and no messages in
//! the console.

use std::path::{Path, PathBuf};

use e2e::{Browser, Lab, Mosquitto, Sim, Site, until};
use serde_json::{Value, json};

const TOKEN: &str = "a-token-that-is-long-enough";

fn url(site: &Site) -> String {
    format!("http://127.0.0.1:{}/", site.port())
}

/// Saves a picture of the page in the folder that `MODEMFLEET_SCREENSHOTS` names, if it is set.
fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("MODEMFLEET_SCREENSHOTS") {
        browser.screenshot(&Path::new(&folder).join(name));
    }
}

/// Returns the text of a modem's row.
fn row(browser: &Browser, modem: &str) -> String {
    let text = browser.script(&format!(
        "const row = document.querySelector('tr[data-modem=\"{modem}\"]'); return row ? row.innerText : ''"
    ));
    text.as_str().unwrap_or_default().to_owned()
}

fn rows(browser: &Browser) -> Vec<String> {
    let names = "return [...document.querySelectorAll('tbody tr')].map(row => row.dataset.modem)";
    serde_json::from_value(browser.script(names)).unwrap()
}

fn shows(browser: &Browser, text: &str) {
    until(text, || browser.text().contains(text).then_some(()));
}

/// Presses the button whose text begins so.
fn press(browser: &Browser, text: &str) {
    let script = format!(
        "const found = [...document.querySelectorAll('button')].find(button => !button.hidden && \
         button.offsetParent && button.textContent.startsWith({text:?})); if (found) found.click(); return Boolean(found)"
    );
    until(text, || (browser.script(&script) == json!(true)).then_some(()));
}

/// Confirms the open dialog.
fn confirm(browser: &Browser) {
    let _ = browser.script("document.querySelector('dialog [type=submit]').click(); return 0");
}

/// Fills the field of the open dialog.
fn fill(browser: &Browser, text: &str) {
    let script = format!(
        "const field = document.querySelector('dialog input'); field.value = {text:?}; \
         field.dispatchEvent(new Event('input', {{ bubbles: true }})); \
         return document.querySelector('dialog [type=submit]').disabled"
    );
    let _ = browser.script(&script);
}

fn size(browser: &Browser, width: u32, height: u32) {
    let mobile = width < 500;
    let scale = if mobile { 2 } else { 1 };
    let metrics =
        json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile });
    let _ = browser.devtools("Emulation.setDeviceMetricsOverride", &metrics);
}

fn dark(browser: &Browser, is: bool) {
    let value = if is { "dark" } else { "light" };
    let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
    let _ = browser.devtools("Emulation.setEmulatedMedia", &media);
}

fn number(browser: &Browser, script: &str) -> u64 {
    browser.script(script).as_u64().unwrap_or_default()
}

const WIDTH: &str = "return document.documentElement.scrollWidth";
const HEIGHT: &str = "return document.documentElement.scrollHeight";

/// Checks that no view is wider than the screen, from the narrowest phone to a desktop.
fn fits_every_width(browser: &Browser, modem: &str) {
    for width in [320, 390, 600, 768, 833, 960, 1057, 1280, 1400] {
        size(browser, width, 800);
        for view in ["#/", &format!("#/modem/{modem}"), "#/events"] {
            let _ = browser.script(&format!("location.hash = '{view}'"));
            let found = until("the view", || {
                let is_drawn = browser.script("return document.querySelector('h1') !== null");
                (is_drawn == json!(true)).then(|| number(browser, WIDTH))
            });
            assert!(found <= u64::from(width), "{view} is {found} wide on {width}");
        }
    }
    let _ = browser.script("location.hash = '#/'");
    size(browser, 1280, 900);
}

/// The accessibility rules of axe-core, if the package is installed (`npm install --prefix target axe-core`).
fn axe() -> Option<String> {
    let target = std::env::current_exe().ok()?;
    let target: PathBuf = target.ancestors().find(|folder| folder.ends_with("target"))?.into();
    std::fs::read_to_string(target.join("node_modules/axe-core/axe.min.js")).ok()
}

/// Checks that axe-core finds nothing to object to.
fn is_accessible(browser: &Browser, view: &str) {
    let Some(axe) = axe() else {
        eprintln!(
            "skipped: {view} is not checked by axe-core: npm install --prefix target axe-core"
        );
        return;
    };
    let _ = browser.script(&format!("{axe}; window.axe = axe"));
    let found = browser.script(
        "return axe.run(document, { resultTypes: ['violations'] }).then(result => result.violations\
         .map(one => one.id + ': ' + one.nodes.map(node => node.html).join(' ')))",
    );
    assert_eq!(found, json!([]), "{view}");
}

#[test]
fn the_page_shows_the_worst_first_and_an_unplug_as_it_happens() {
    let mut lab = Lab::new(3);
    let agent = lab.start();
    agent.publish("topic=t", b"x");
    lab.subscriber.wait(1);
    let browser = Browser::start(1280, 900);
    browser.open(&url(&lab.site));
    let whole = |row: &str| {
        ["SIM7600G-H", "Working", "dBm", "good", "connected", "ago"]
            .iter()
            .all(|part| row.contains(part))
    };
    until("the first modem's row", || whole(&row(&browser, "m0")).then_some(()));
    shows(&browser, "All 3 modems work");
    assert_eq!(rows(&browser), ["m0", "m1", "m2"]);
    // Marks of a row and of the focus show that nothing is drawn again.
    let mark = "const row = document.querySelector('tr[data-modem=m2]'); row.mark = 1; row.querySelector('a').focus(); \
                return row.mark";
    assert_eq!(browser.script(mark), json!(1));
    is_accessible(&browser, "the list");
    lab.sims[1].unplug();
    until("the unplugged modem", || row(&browser, "m1").contains("Absent").then_some(()));
    shows(&browser, "1 of 3 modems needs attention");
    assert_eq!(rows(&browser), ["m1", "m0", "m2"]);
    let title = browser.script("return document.title");
    assert_eq!(title, json!("1 of 3 modems needs attention – gw"));
    let kept = "return document.activeElement.closest('tr').mark";
    assert_eq!(browser.script(kept), json!(1));
    // The arrow keys lead through the rows.
    let up = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowUp', bubbles: true })); \
              return document.activeElement.textContent";
    assert_eq!(browser.script(up), json!("m0"));
    let quiet = "return [document.querySelector('.skip').hash, document.querySelectorAll('[aria-live]').length]";
    assert_eq!(browser.script(quiet), json!(["#main", 2]));
    has_two_colours(&browser);
    fits_every_width(&browser, "m0");
    is_accessible(&browser, "the list with an absent modem");
    assert_eq!(browser.console(), Vec::<String>::new());
    drop(agent);
    shows(&browser, "No connection to the agent");
    let title = browser.script("return document.title");
    assert_eq!(title, json!("No connection – gw"));
}

/// Checks that the page is dark by the system, and by its own switch.
fn has_two_colours(browser: &Browser) {
    let back = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.script(back);
    dark(browser, true);
    let night = browser.script(back);
    assert_ne!(night, light);
    is_accessible(browser, "the dark list");
    dark(browser, false);
    press(browser, "Colours: system");
    assert_eq!(browser.script(back), night);
    press(browser, "Colours: dark");
    dark(browser, true);
    assert_eq!(browser.script(back), light);
    press(browser, "Colours: light");
    dark(browser, false);
}

/// The trouble of a session is the trouble of its modem.
#[test]
fn a_modem_whose_only_session_is_refused_is_not_green() {
    let lab = Lab::new(2);
    // The one at the broker that is not there.
    let mut site = Site::new();
    let nowhere = e2e::Port::free();
    let sim = Sim::start(&site.dir().join("s"), 1, &format!("127.0.0.1:{}", nowhere.number()), &[]);
    site.body = format!(
        "brokers: {{ lab: {{ url: \"mqtt://broker.example.com:1883\" }} }}\nmodems:\n  \
         good: {{ match: {{ port: {} }}, sessions: {{ s: {{ broker: lab }} }} }}\n  \
         bad: {{ match: {{ port: {} }}, sessions: {{ s: {{ broker: lab }} }} }}\n",
        lab.sims[0].tty(0).display(),
        sim.tty(0).display()
    );
    let _agent = site.start();
    let browser = Browser::start(1280, 900);
    browser.open(&url(&site));
    until("the trouble", || row(&browser, "bad").contains("No connection").then_some(()));
    until("the other modem", || row(&browser, "good").contains("Working").then_some(()));
    assert_eq!(rows(&browser), ["bad", "good"]);
    // It stays so while it tries again.
    let steady = "return new Promise(done => { const seen = new Set(); const all = setInterval(() => \
                  seen.add(document.getElementById('summary').textContent), 20); \
                  setTimeout(() => { clearInterval(all); done(seen.size) }, 4000) })";
    assert_eq!(browser.script(steady), json!(1));
    let red = "return document.querySelector('tr[data-modem=bad] .state').className";
    assert_eq!(browser.script(red), json!("state bad"));
    assert!(!browser.text().contains("backing_off"), "{}", browser.text());
}

/// Draws every form of a modem's last hour. The line has as many pieces as the values, and a
/// browser can draw each of them inside the picture.
#[test]
fn a_signal_is_drawn_wherever_its_values_stand() {
    let lab = Lab::without_modems(1);
    let _agent = lab.site.start();
    let browser = Browser::start(1280, 900);
    browser.open(&url(&lab.site));
    let hour = "Array.from({ length: 60 }, (_, i) => -60 - i)";
    let first = "[-75.5, ...Array(59).fill(null)]";
    for (call, pieces) in [
        ("sparkline([])", 0),
        ("sparkline([null, null])", 0),
        ("sparkline([], -94)", 1),
        ("sparkline([null], -94.4)", 1),
        ("sparkline([-94])", 1),
        ("sparkline([-94], -95)", 1),
        ("sparkline([-80, null, -90, null, null, -100, -101], -102)", 3),
        (&format!("sparkline({first})"), 1),
        (&format!("sparkline({first}, -80)"), 2),
        (&format!("sparkline({hour}, -200)"), 1),
    ] {
        let lines = browser.script(&format!(
            "return import('/page/charts.js').then(({{ sparkline }}) => {{ const line = {call}; \
             document.body.append(line); return [...line.querySelectorAll('polyline')]\
             .map(e => e.getAttribute('points').split(' ').map(p => p.split(',').map(Number))) }})"
        ));
        let lines: Vec<Vec<[f64; 2]>> = serde_json::from_value(lines.clone())
            .unwrap_or_else(|error| panic!("{call}: {error}: {lines}"));
        assert_eq!(lines.len(), pieces, "{call}: {lines:?}");
        for line in &lines {
            assert!(line.len() > 1, "{call}: a point alone is not drawn: {line:?}");
            assert!(line.iter().any(|[x, _]| (0.0..=60.0).contains(x)), "{call}: {line:?}");
            assert!(line.iter().all(|[_, y]| (0.0..=20.0).contains(y)), "{call}: {line:?}");
        }
    }
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_browser_is_asked_for_the_token_and_the_page_loads_nothing_from_elsewhere() {
    let mut lab = Lab::without_modems(1);
    let token = lab.site.secret("token", "opensesame").display().to_string();
    lab.site.http = format!(", token: {{ file: {token} }}");
    let agent = lab.site.start();
    let refused = agent.http.get("/");
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some_and(|how| how.starts_with("Basic")));
    // "gw:opensesame" and "gw:wrong" (RFC 7617).
    for (shown, status) in
        [("Basic Z3c6b3BlbnNlc2FtZQ==", 200), ("Basic Z3c6d3Jvbmc=", 401), ("Basic !", 401)]
    {
        let page = agent.http.ask("GET", "/", &[("Authorization", shown)], b"");
        assert_eq!(page.status, status, "{shown}");
    }
    let with = [("Authorization", "Bearer opensesame")];
    let page = agent.http.ask("GET", "/", &with, b"");
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let scripts =
        ["theme", "actions", "charts", "client", "detail", "dom", "fleet", "history", "words"];
    let scripts = scripts.map(|name| format!("/page/{name}.js"));
    let files = ["/", "/page.css", "/page.js"].map(str::to_owned);
    for file in files.iter().chain(&scripts) {
        let answer = agent.http.ask("GET", file, &with, b"");
        assert_eq!(answer.status, 200, "{file}");
        let text = answer.text();
        let outside = text.matches("://").count() - text.matches("://www.w3.org/2000/svg").count();
        assert_eq!(outside, 0, "{file} names another server");
        assert!(!text.contains("innerHTML") && !text.contains(" style="), "{file}");
        assert_eq!(agent.http.get(file).status, 401, "{file}");
    }
}

#[test]
fn sixty_four_modems_fit_a_phone_and_are_found() {
    let broker = Mosquitto::open();
    let mut site = Site::new();
    let sims = Sim::start(&site.dir().join("sims"), 64, &broker.address(), &[]);
    site.body = "brokers: { lab: { url: \"mqtt://broker.example.com:1883\" } }\nmodems:\n".into();
    for modem in 0..64 {
        let line = "{ match: { port: PORT }, sessions: { s: { broker: lab } } }";
        let line = line.replace("PORT", &sims.tty(modem).display().to_string());
        site.body += &format!("  m{modem}: {line}\n");
    }
    let agent = site.start();
    let browser = Browser::start(1280, 900);
    browser.open(&url(&site));
    shows(&browser, "All 64 modems work");
    picture(&browser, "page-64.png");
    assert_eq!(rows(&browser).len(), 24);
    size(&browser, 390, 844);
    let (wide, high) = (number(&browser, WIDTH), number(&browser, HEIGHT));
    assert!(wide <= 390 && high < 2_000, "{wide} by {high} pixels on a phone");
    press(&browser, "Show all 64");
    assert_eq!(rows(&browser).len(), 64);
    let high = number(&browser, HEIGHT);
    assert!(high < 4_000, "{high} pixels on a phone");
    let search = "const field = document.getElementById('search'); field.value = 'm63'; \
                  field.dispatchEvent(new Event('input')); return 0";
    let _ = browser.script(search);
    assert_eq!(rows(&browser), ["m63"]);
    assert!(row(&browser, "m63").contains("Working"));
    let changes = agent.http.ask("GET", "/api/v1/events?changes=maybe", &[], b"");
    assert_eq!(changes.status, 400);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn an_empty_fleet_of_two_hundred_fifty_six_modems_leads_to_the_next_step() {
    let lab = Lab::without_modems(256);
    let _agent = lab.site.start();
    let browser = Browser::start(1280, 900);
    browser.open(&url(&lab.site));
    shows(&browser, "256 of 256 modems need attention");
    shows(&browser, "No modem was found yet");
    shows(&browser, "modemfleet scan");
    size(&browser, 390, 844);
    let (wide, high) = (number(&browser, WIDTH), number(&browser, HEIGHT));
    assert!(wide <= 390 && high < 6_000, "{wide} by {high} pixels on a phone");
    press(&browser, "Only troubled (256)");
    assert_eq!(rows(&browser).len(), 24);
    is_accessible(&browser, "an empty fleet");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_modem_has_a_page_of_its_own_with_an_address() {
    let lab = Lab::new(2);
    let _agent = lab.start();
    let browser = Browser::start(1280, 900);
    browser.open(&format!("{}#/modem/m1", url(&lab.site)));
    for part in ["IMEI", "ICCID", "Broker lab", "Time to acknowledgement", "connected", "RSRP"] {
        shows(&browser, part);
    }
    is_accessible(&browser, "a modem");
    press(&browser, "Last day");
    press(&browser, "Run the check");
    shows(&browser, "checks are fine");
    assert!(!browser.text().contains("Reset the modem"), "it is read-only without a token");
    let _ = browser.script("document.querySelector('.back a').click(); return 0");
    until("the list", || (rows(&browser).len() == 2).then_some(()));
    let _ = browser.script("history.back(); return 0");
    shows(&browser, "← All modems");
    let _ = browser.script("location.hash = '#/modem/other'");
    shows(&browser, "The fleet has no modem named other");
    let _ = browser.script("location.hash = '#/events'");
    shows(&browser, "the agent 0.1.0 started");
    is_accessible(&browser, "the events");
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Returns whether a dialog is open.
fn asks(browser: &Browser) -> bool {
    browser.script("return document.getElementById('dialog').open") == json!(true)
}

#[test]
fn an_action_takes_the_token_a_name_and_a_yes_and_is_in_the_history() {
    let mut lab = Lab::new(1);
    let token = lab.site.secret("token", TOKEN);
    lab.site.http = format!(", token: {{ file: {} }}", token.display());
    let agent = lab.start();
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://gw:{TOKEN}@127.0.0.1:{}/#/modem/m0", lab.site.port()));
    shows(&browser, "All modems");
    assert!(!browser.text().contains("Reset the modem"), "no action without a token");
    press(&browser, "Unlock actions");
    fill(&browser, "a-token-that-is-wrong");
    confirm(&browser);
    shows(&browser, "send the token");
    fill(&browser, TOKEN);
    confirm(&browser);
    until("the dialog to close", || (!asks(&browser)).then_some(()));
    let kept = "return [sessionStorage.length, localStorage.length, document.cookie, location.href.includes('token')]";
    assert_eq!(browser.script(kept), json!([1, 0, "", false]));
    press(&browser, "Send a test message");
    confirm(&browser);
    let message = lab.subscriber.wait(1);
    assert!(format!("{message:?}").contains("modemfleet/test"), "{message:?}");
    press(&browser, "Reset the modem");
    fill(&browser, "m");
    let disabled = "return document.querySelector('dialog [type=submit]').disabled";
    assert_eq!(browser.script(disabled), json!(true));
    is_accessible(&browser, "a dialog");
    press(&browser, "Cancel");
    press(&browser, "Reconnect");
    confirm(&browser);
    until("the event", || {
        let bearer = format!("Bearer {TOKEN}");
        let answer = agent.http.ask(
            "GET",
            "/api/v1/events/history?modem=m0",
            &[("Authorization", &bearer)],
            b"",
        );
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let actions = answer["events"].as_array().unwrap().iter();
        let actions: Vec<_> = actions.filter(|event| event["kind"] == "action").cloned().collect();
        let is_noted = actions.len() == 2
            && actions.iter().all(|event| event["by"] == "http.token")
            && actions[0]["words"] == "reconnected the session";
        is_noted.then_some(())
    });
    shows(&browser, "with the token http.token");
    press(&browser, "Lock");
    until("the lock", || (!browser.text().contains("Reset the modem")).then_some(()));
    // A wrong token is answered with 401, which Chromium notes.
    let others: Vec<_> =
        browser.console().into_iter().filter(|line| !line.contains("401")).collect();
    assert_eq!(others, Vec::<String>::new());
}

/// Takes the pictures of the README and of the docs. The hour before the picture is made up, since
/// no test runs for an hour.
#[test]
fn pictures_of_the_docs() {
    if std::env::var_os("MODEMFLEET_SCREENSHOTS").is_none() {
        return;
    }
    let mut site = Site::new();
    let (broker, nowhere) = (Mosquitto::open(), e2e::Port::free());
    site.body = "brokers: { cloud: { url: \"mqtt://broker.example.com:1883\" } }\nmodems:\n".into();
    let token = site.secret("token", TOKEN);
    site.http = format!(", token: {{ file: {} }}", token.display());
    let mut sims = Vec::new();
    for (name, rsrp) in [("north", "-81"), ("harbour", "-97"), ("quarry", "-104"), ("yard", "-88")]
    {
        let address = match name {
            "yard" => format!("127.0.0.1:{}", nowhere.number()),
            _ => broker.address(),
        };
        let sim = Sim::start(&site.dir().join(name), 1, &address, &["--rsrp", rsrp]);
        let budget = if name == "north" { ", budget: { bytes: 2MB, warn: 80% }" } else { "" };
        site.body += &format!(
            "  {name}: {{ match: {{ port: {} }}, sessions: {{ cloud: {{ broker: cloud }} }}{budget} }}\n",
            sim.tty(0).display()
        );
        sims.push(sim);
    }
    let agent = site.start();
    let bearer = format!("Bearer {TOKEN}");
    let publish = |number: u32| {
        let path = "/api/v1/publish?topic=sensors/t1&session=north/cloud";
        let body = format!("{number}");
        agent.http.ask("POST", path, &[("Authorization", &bearer)], body.as_bytes())
    };
    for number in 0..5 {
        assert_eq!(publish(number).status, 202);
    }
    let browser = Browser::start(1280, 900);
    browser.open(&format!("{}metrics", url(&site)));
    let _ = browser.script(&format!("sessionStorage.setItem('modemfleet-token', '{TOKEN}')"));
    browser.open(&format!("http://gw:{TOKEN}@127.0.0.1:{}/", site.port()));
    shows(&browser, "1 of 4 modems needs attention");
    until("the trouble", || row(&browser, "yard").contains("No connection").then_some(()));
    until("the signals", || row(&browser, "yard").contains("dBm").then_some(()));
    let _ = browser.script(MADE_UP);
    until("a course", || {
        let course = "return document.querySelectorAll('.spark').length > 2";
        (browser.script(course) == json!(true)).then_some(())
    });
    picture(&browser, "page-fleet.png");
    dark(&browser, true);
    picture(&browser, "page-dark.png");
    size(&browser, 390, 844);
    picture(&browser, "page-phone.png");
    dark(&browser, false);
    size(&browser, 1280, 900);
    let _ = browser.script("location.hash = '#/modem/north'");
    shows(&browser, "last −8");
    picture(&browser, "page-modem.png");
    let _ = browser.script("location.hash = '#/events'");
    shows(&browser, "the agent");
    picture(&browser, "page-events.png");
    let empty = Lab::without_modems(2);
    let _agent = empty.site.start();
    browser.open(&url(&empty.site));
    shows(&browser, "No modem was found yet");
    picture(&browser, "page-empty.png");
}

const MADE_UP: &str = "
const wave = (n, mid, by) => Array.from({ length: n }, (_, i) => mid + by * Math.sin(i / 6) + Math.sin(i * 1.7));
const course = n => ({ step_seconds: n === 60 ? 60 : 600, end_timestamp_seconds: Date.now() / 1000,
  signal_dbm: wave(n, -83, 4), latency_seconds: wave(n, 24, 8).map(v => v / 100), acknowledged: wave(n, 12, 5).map(Math.round),
  failed: wave(n, 0, 0).map((v, i) => (i % 23 === 7 ? 2 : 0)), received: wave(n, 2, 1).map(v => Math.max(0, Math.round(v))) });
const plain = window.fetch;
window.fetch = (path, ...rest) => /modems.[a-z]+.history$/.test(String(path))
  ? Promise.resolve(new Response(JSON.stringify({ hour: course(60), day: course(144) }))) : plain(path, ...rest);
return import('/page.js').then(({ fleet }) => {
  for (const modem of fleet.modems) if (modem.signal) modem.signal_history_dbm = wave(60, modem.signal.dbm, 4);
});";
