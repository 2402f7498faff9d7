//! The status page in a real browser: its content, its live updates, and no messages in the
//! console.

use std::path::Path;

use e2e::{Browser, Lab, Mosquitto, Sim, Site, until};
use serde_json::json;

fn url(lab: &Lab) -> String {
    format!("http://127.0.0.1:{}/", lab.site.port())
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

#[test]
fn the_page_shows_the_fleet_and_an_unplug_as_it_happens() {
    let mut lab = Lab::new(3);
    let agent = lab.start();
    agent.publish("topic=t", b"x");
    lab.subscriber.wait(1);
    let browser = Browser::start(1280, 900);
    browser.open(&url(&lab));
    let whole = |row: &str| {
        ["SIM7600G-H", "serving", "dBm", "connected", "ago"].iter().all(|part| row.contains(part))
    };
    until("the first modem's row", || whole(&row(&browser, "m0")).then_some(()));
    until("all modems", || {
        browser.text().contains("3 of 3 modems serving, 3 of 3 sessions connected").then_some(())
    });
    // The mark shows that the page is not reloaded from here on.
    let mark = browser.script("window.mark = 1; return window.mark");
    assert_eq!(mark, json!(1));
    picture(&browser, "page-3.png");
    lab.sims[1].unplug();
    until("the unplugged modem", || row(&browser, "m1").contains("absent").then_some(()));
    until("the summary", || browser.text().contains("2 of 3 modems serving").then_some(()));
    assert_eq!(browser.script("return window.mark"), json!(1));
    dark_and_narrow(&browser);
    // Each picture, table and row header has a text; the page is not wider than a phone's screen.
    let nameless = "return [...document.querySelectorAll('svg,table,th,dl')].filter(e => \
        !(e.getAttribute('aria-label') || e.textContent.trim())).length";
    assert_eq!(browser.script(nameless), json!(0));
    assert_eq!(browser.console(), Vec::<String>::new());
    drop(agent);
    until("the loss of the agent", || browser.text().contains("No connection").then_some(()));
}

/// Checks the page on a phone at night: it has other colours, and is not wider than the screen.
fn dark_and_narrow(browser: &Browser) {
    let back = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.script(back);
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    let _ = browser.devtools("Emulation.setEmulatedMedia", &dark);
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
    let _ = browser.devtools("Emulation.setDeviceMetricsOverride", &phone);
    assert_ne!(browser.script(back), light);
    let wide = browser.script("return document.documentElement.scrollWidth");
    assert!(wide.as_u64().is_some_and(|wide| wide <= 390), "{wide} pixels on a phone");
    picture(browser, "page-phone.png");
}

/// Draws every form of a modem's last hour. The line has as many pieces as the values, and a
/// browser can draw each of them inside the picture.
#[test]
fn a_signal_is_drawn_wherever_its_values_stand() {
    let lab = Lab::without_modems(1);
    let _agent = lab.site.start();
    let browser = Browser::start(1280, 900);
    browser.open(&url(&lab));
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
            "const line = {call}; document.body.append(line); return [...line.querySelectorAll('polyline')]\
             .map(e => e.getAttribute('points').split(' ').map(p => p.split(',').map(Number)))"
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
    for file in ["/", "/page.css", "/page.js"] {
        let text = agent.http.ask("GET", file, &with, b"").text();
        let outside = text.matches("://").count() - text.matches("://www.w3.org/2000/svg").count();
        assert_eq!(outside, 0, "{file} names another server");
    }
}

#[test]
fn the_page_shows_sixty_four_modems() {
    let broker = Mosquitto::open();
    let mut site = Site::new();
    let sims = Sim::start(&site.dir().join("sims"), 64, &broker.address(), &[]);
    site.body = "brokers: { lab: { url: \"mqtt://broker.example.com:1883\" } }\nmodems:\n".into();
    for modem in 0..64 {
        let line = "{ match: { port: PORT }, sessions: { s: { broker: lab } } }";
        let line = line.replace("PORT", &sims.tty(modem).display().to_string());
        site.body += &format!("  m{modem}: {line}\n");
    }
    let _agent = site.start();
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://127.0.0.1:{}/", site.port()));
    until("64 modems that serve", || {
        let rows = browser.script("return document.querySelectorAll('tbody tr').length");
        (rows == json!(64) && browser.text().contains("64 of 64 modems serving")).then_some(())
    });
    assert!(row(&browser, "m63").contains("SIM7600G-H"));
    picture(&browser, "page-64.png");
    assert_eq!(browser.console(), Vec::<String>::new());
}
