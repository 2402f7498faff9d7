//! The agent's state by its public HTTP API: `/api/v1/modems` and `/metrics`.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::news::News;
use api::client::{Call, Client, ClientError};
use api::modems::{Fleet, Modem, Signal};

/// The interval of the requests.
const PERIOD: Duration = Duration::from_millis(250);

/// The agent's state at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// The modems, in file order.
    pub(super) modems: Vec<Row>,
    /// Messages in the queue.
    pub(super) queued: u64,
    /// Publishes that the broker acknowledged, over all sessions.
    pub(super) acknowledged: u64,
    /// Connects after each session's first.
    pub(super) reconnects: u64,
}

/// One modem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Its name in the fleet file.
    pub(super) name: String,
    /// Its model as it reports it; empty while unknown.
    pub(super) model: String,
    /// Its state in the words of the metrics.
    pub(super) state: String,
    /// Its first signal, such as `lte -85 dBm`; empty while unknown.
    pub(super) signal: String,
    /// The phase of its session.
    pub(super) session: String,
    /// Publishes that the broker acknowledged.
    pub(super) acknowledged: u64,
}

/// Reads the state at each interval and sends it on, until it is dropped. An agent that does not
/// answer yet is left out.
pub(super) async fn watch(mut client: Client, news: mpsc::Sender<News>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(Some(reading)) = read(&mut client).await {
            // It fails only if the receiver is gone, when the demo ends.
            drop(news.send(News::Read(reading)).await);
        }
    }
}

async fn read(client: &mut Client) -> Result<Option<Reading>, ClientError> {
    let modems = client.text(&Call::get("/api/v1/modems")).await?;
    let metrics = client.text(&Call::get("/metrics")).await?;
    Ok(reading(&modems, &metrics))
}

/// Returns `None` if the answers are incomplete or not an agent's.
fn reading(modems: &str, metrics: &str) -> Option<Reading> {
    let Fleet { modems, .. } = serde_json::from_str::<Fleet>(modems).ok()?;
    let of = |family: &str, modem: &str, result: &str| {
        sum(metrics, family, &[("modem", modem), ("result", result)])
    };
    let reconnects = |modem: &Modem| of("mqtt_connects_total", &modem.name, "ok").saturating_sub(1);
    Some(Reading {
        queued: sum(metrics, "queue_messages", &[]),
        reconnects: modems.iter().map(reconnects).sum(),
        acknowledged: sum(metrics, "mqtt_publishes_total", &[("result", "ok")]),
        modems: modems
            .into_iter()
            .map(|modem| Row {
                acknowledged: of("mqtt_publishes_total", &modem.name, "ok"),
                model: modem.snapshot.identified.map(|is| is.model).unwrap_or_default(),
                signal: modem.snapshot.signals.first().and_then(signal).unwrap_or_default(),
                session: modem.sessions.into_iter().next().map(|is| is.phase).unwrap_or_default(),
                state: modem.snapshot.state,
                name: modem.name,
            })
            .collect(),
    })
}

fn signal(signal: &Signal) -> Option<String> {
    let dbm = signal.rsrp_dbm.or(signal.rssi_dbm)?;
    Some(format!("{} {dbm:.0} dBm", signal.rat))
}

/// Returns the sum of a family's integer samples with all these labels. Label values come from the
/// demo's own fleet file, so none needs unescaping.
fn sum(metrics: &str, family: &str, labels: &[(&str, &str)]) -> u64 {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.strip_prefix("modemfleet_")?.rsplit_once(' ')?;
        let rest = series.strip_prefix(family)?;
        let ours = rest.is_empty() || rest.starts_with('{');
        let fits = labels.iter().all(|label| rest.contains(label.as_str()));
        value.parse::<u64>().ok().filter(|_| ours && fits)
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_an_agent_become_a_reading() {
        let modems = r#"{"modems":[{"name":"north","port":"/p","state":"serving","present":true,
            "identified":{"model":"SIM7600","imei":"1"},"signals":[{"rat":"lte","rsrp_dbm":-85.0}],
            "sessions":[{"name":"cloud","phase":"connected","connected":true}]},
            {"name":"south","state":"absent","signals":[],"sessions":[]}]}"#;
        let metrics = "# HELP x\nmodemfleet_queue_messages 3\n\
            modemfleet_queue_messages_other 9\n\
            modemfleet_mqtt_connects_total{modem=\"north\",result=\"ok\",session=\"cloud\"} 3\n\
            modemfleet_mqtt_connects_total{modem=\"north\",result=\"error\",session=\"cloud\"} 5\n\
            modemfleet_mqtt_publishes_total{modem=\"north\",qos=\"1\",result=\"ok\",session=\"cloud\"} 7\n\
            modemfleet_mqtt_publishes_total{modem=\"south\",qos=\"2\",result=\"ok\",session=\"cloud\"} 1\n";
        let reading = reading(modems, metrics).unwrap();
        assert_eq!((reading.queued, reading.acknowledged, reading.reconnects), (3, 8, 2));
        let row = &reading.modems[0];
        assert_eq!((row.model.as_str(), row.acknowledged), ("SIM7600", 7));
        assert_eq!((row.signal.as_str(), row.session.as_str()), ("lte -85 dBm", "connected"));
        assert_eq!(reading.modems[1].state, "absent");
    }

    #[test]
    fn other_answers_are_none() {
        assert_eq!(reading("{}", ""), None);
        assert_eq!(reading("", ""), None);
    }
}
