//! A real Prometheus that scrapes the agent once a second.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Http;
use crate::port::Port;
use crate::process::Process;
use crate::wait::until;

/// The server and its data.
#[derive(Debug)]
pub struct Prometheus {
    http: Http,
    _process: Process,
    _port: Port,
    _data: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes the agent on this port as the gateway `gw`, with these rules.
    ///
    /// # Panics
    /// If `prometheus` does not come up.
    #[must_use]
    pub fn start(agent: u16, rules: &Path) -> Self {
        let (data, port) = (tempfile::tempdir().unwrap(), Port::free());
        // The rules are evaluated each second, not each half minute.
        let text = fs::read_to_string(rules).unwrap().replace("interval: 30s", "interval: 1s");
        let rules = data.path().join("rules.yml");
        fs::write(&rules, text).unwrap();
        let config = data.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n\
             - job_name: modemfleet\n  \
               static_configs: [ {{ targets: [\"127.0.0.1:{agent}\"], labels: {{ gateway: gw }} }} ]\n",
            rules.display()
        );
        fs::write(&config, text).unwrap();
        let process = Process::start(
            "prometheus",
            Command::new("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{}", port.number())),
        );
        let http = Http::new(port.number());
        until("Prometheus", || {
            http.try_ask("GET", "/-/ready", &[], b"").filter(|answer| answer.status == 200)
        });
        Self { http, _process: process, _port: port, _data: data }
    }

    /// Returns the series of an expression at this moment.
    ///
    /// # Errors
    /// The message of Prometheus, if it rejects the expression.
    ///
    /// # Panics
    /// If the answer is not from Prometheus.
    pub fn query(&self, expr: &str) -> Result<Vec<Value>, String> {
        let escaped: String = expr.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.http.get(&format!("/api/v1/query?query={escaped}"));
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        if json["status"] == "success" {
            return Ok(json["data"]["result"].as_array().cloned().unwrap_or_default());
        }
        Err(json["error"].as_str().unwrap_or_default().to_owned())
    }

    /// Returns all rules of all groups, with their health.
    ///
    /// # Panics
    /// If the answer is not from Prometheus.
    #[must_use]
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.http.get("/api/v1/rules");
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        let groups = json["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect()
    }
}
