//! A whole SIM7020 on a tty: serving, and back after every kind of loss. It has no service to restart and a
//! single client.

use std::time::Duration;

use modem::catalog::ApnAuth;
use modem::mqtt::Qos;
use modem::reply::Rat;
use modem::session::{Outcome, SessionPhase};
use modem::{Catalog, State};
use modem_conformance::bench::message;
use modem_conformance::broker::Broker;
use modem_sim::{Coverage, Model};
use profile_simcom::PLUGIN;

use crate::whole::{Running, Sim, config, outcome};

/// Returns a broker, a modem and a connected session.
async fn serving() -> (Broker, Sim, Running) {
    let broker = Broker::open().await;
    let sim = Sim::at(Model::Sim7020, &broker);
    let mut running = Running::start(config(&sim.port), &["first"]);
    running.connected(0).await;
    (broker, sim, running)
}

async fn carries(running: &Running) {
    assert!(matches!(running.publish(0, "up/x").await, Some(Outcome::Acknowledged)));
}

#[tokio::test]
async fn who_it_is_and_what_it_receives() {
    let (_broker, _sim, mut running) = serving().await;
    carries(&running).await;
    let known = running.until(|s| s.identified.as_ref().is_some_and(|i| i.iccid.is_some())).await;
    let is = known.identified.unwrap();
    assert_eq!((is.model_id.as_str(), is.profile.as_str()), ("sim7020", "sim7020"));
    assert_eq!((is.max_topic, is.min_payload, is.max_payload), (128, 1, 500));
    let polled = running.until(|s| !s.signals.is_empty()).await;
    assert_eq!(polled.signals[0].rat, Rat::NbIot);
    assert!(polled.signals[0].rsrp_dbm.is_some() && polled.signals[0].sinr_db.is_some());
    assert!(polled.temperature_celsius.is_none(), "it tells none");
    running.stop().await;
}

#[tokio::test]
async fn a_session_comes_back_after_a_loss_without_a_cause() {
    let (_broker, sim, mut running) = serving().await;
    sim.handle.lose_connections().await.unwrap();
    let down = running.session(0, |state| !state.is_connected()).await;
    assert!(down.reason.unwrap().contains("gives no cause"));
    running.connected(0).await;
    carries(&running).await;
    assert_eq!(running.book.count("disconnect first broker"), 1);
}

/// Hands over a message whose acknowledgement cannot come, and waits until the modem has it.
async fn mid_publish(
    running: &Running,
    sim: &Sim,
) -> tokio::sync::mpsc::Receiver<modem::session::Progress> {
    sim.handle.network(Coverage::Silent).await.unwrap();
    let before = sim.handle.command_count();
    let news = running.send(0, message("up/stuck", "x", Qos::AtLeastOnce)).await;
    while sim.handle.command_count() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    news
}

#[tokio::test]
async fn neither_an_unplug_nor_a_reset_in_mid_publish_is_an_acknowledgement() {
    let (_broker, sim, mut running) = serving().await;
    let news = mid_publish(&running, &sim).await;
    sim.handle.unplug().await.unwrap();
    let ended = outcome(news).await;
    assert!(matches!(ended, None | Some(Outcome::Lost { .. })), "{ended:?}");
    running.stands(State::Absent).await;
    sim.handle.network(Coverage::Full).await.unwrap();
    sim.handle.plug().await.unwrap();
    running.connected(0).await;
    carries(&running).await;

    let news = mid_publish(&running, &sim).await;
    sim.handle.reset().await.unwrap();
    let ended = outcome(news).await;
    assert!(matches!(ended, None | Some(Outcome::Lost { .. })), "{ended:?}");
    running.session(0, |state| !state.is_connected()).await;
    sim.handle.network(Coverage::Full).await.unwrap();
    running.connected(0).await;
    carries(&running).await;
}

#[tokio::test]
async fn it_is_back_once_its_network_is() {
    let (_broker, sim, mut running) = serving().await;
    sim.handle.network(Coverage::None).await.unwrap();
    running.session(0, |state| !state.is_connected()).await;
    sim.handle.network(Coverage::Full).await.unwrap();
    running.connected(0).await;
    carries(&running).await;
}

#[tokio::test]
async fn a_second_session_has_no_client_and_leaves_the_first_alone() {
    let broker = Broker::open().await;
    let sim = Sim::at(Model::Sim7020, &broker);
    let mut running = Running::start(config(&sim.port), &["one", "two"]);
    running.connected(0).await;
    let failed = running.session(1, |state| state.phase == SessionPhase::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("no free client: a sim7020 holds 1"));
    carries(&running).await;
}

/// The modem's manual has no CHAP.
#[tokio::test]
async fn a_login_of_an_access_point_is_told_by_pap() {
    let catalog = Catalog::new(&[&PLUGIN]).unwrap();
    assert_eq!(catalog.model("sim7020").unwrap().apn_auth, ApnAuth::UserFirstPap);
    let broker = Broker::open().await;
    let sim = Sim::at(Model::Sim7020, &broker);
    let apn = modem::attach::Apn {
        name: "cmnbiot".to_owned(),
        cid: 1,
        pdp_type: None,
        login: Some(("user".to_owned(), "password".into())),
        auth: None,
    };
    let config = modem::ModemConfig { apn: Some(apn), ..config(&sim.port) };
    let mut running = Running::start(config, &["first"]);
    running.connected(0).await;
}
