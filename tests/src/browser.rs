//! A real browser, headless, driven by the WebDriver protocol (W3C WebDriver §6).

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Http;
use crate::port::Port;
use crate::process::Process;
use crate::wait::until;

/// Chromium on one page.
#[derive(Debug)]
pub struct Browser {
    session: String,
    http: Http,
    // Fields drop in order: the driver ends the browser, then the profile is removed.
    _driver: Process,
    _port: Port,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with a window of this size in CSS pixels. All names that end with `.test`
    /// resolve to the loopback.
    ///
    /// # Panics
    /// If `chromedriver` (Debian: chromium-driver) does not come up.
    #[must_use]
    pub fn start(width: u32, height: u32) -> Self {
        let port = Port::free();
        let driver = Process::start(
            "chromedriver",
            Command::new("chromedriver").arg(format!("--port={}", port.number())),
        );
        let http = Http::new(port.number());
        until("chromedriver", || http.try_ask("GET", "/status", &[], b""));
        let profile = tempfile::tempdir().unwrap();
        let args = [
            "--headless".to_owned(),
            // The sandbox does not work for root, as in a container.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            // Other pages and proxies get names under `.test`, which resolve to this machine.
            "--host-resolver-rules=MAP *.test 127.0.0.1".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = call(http, "POST", "/session", &wanted);
        let session = made["sessionId"].as_str().unwrap().to_owned();
        Self { session, http, _driver: driver, _port: port, _profile: profile }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        call(self.http, method, &format!("/session/{}{path}", self.session), body)
    }

    /// Goes to a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page, and returns its result.
    #[must_use]
    pub fn script(&self, body: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Returns the visible text of the page.
    #[must_use]
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Returns the messages of the page's console, with warnings and errors of the browser.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        lines.iter().map(|line| line["message"].to_string()).collect()
    }

    /// Runs a command of Chromium's own protocol, such as `Emulation.setEmulatedMedia`.
    #[must_use]
    pub fn devtools(&self, command: &str, params: &Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        self.ask("POST", "/goog/cdp/execute", &body)
    }

    /// Saves the whole page, beyond the window, as a PNG file.
    ///
    /// # Panics
    /// If the picture cannot be made or written.
    pub fn screenshot(&self, file: &Path) {
        use base64::Engine as _;
        let shot =
            self.devtools("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let data = shot["data"].as_str().unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        std::fs::write(file, png).unwrap();
    }
}

fn call(http: Http, method: &str, path: &str, body: &Value) -> Value {
    let headers = [("Content-Type", "application/json")];
    let answer = http.ask(method, path, &headers, body.to_string().as_bytes());
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    json["value"].clone()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Otherwise the browser outlives its driver, which is killed.
        let path = format!("/session/{}", self.session);
        drop(self.http.try_ask("DELETE", &path, &[], b""));
    }
}
