//! A panic of one modem does not affect the others, and is visible.

#![expect(
    clippy::panic,
    reason = "a bug is what this test is about, and helpers of tests give up by panic"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::metrics::Metrics;
use agent::modems::ledger::FileLedger;
use agent::modems::reconcile::{Order, Reconciler};
use async_trait::async_trait;
use modem::mqtt::Mqtt;
use modem::profile::{Framing, Listener, Plugin, Profile, StepError};
use modem::session::Stagger;
use modem::{At, Catalog, Environment, Modem, ModemConfig, Snapshot, State};
use modem_sim::{Model, Options};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A profile with a bug: it panics as soon as the modem is identified.
struct Buggy;

#[async_trait]
impl Profile for Buggy {
    fn id(&self) -> &'static str {
        "buggy"
    }
    fn framing(&self) -> Framing {
        profile_simcom::SIM8200.framing()
    }
    fn listener(&self) -> Box<dyn Listener> {
        profile_simcom::SIM8200.listener()
    }
    fn mqtt(&self) -> &dyn Mqtt {
        profile_simcom::SIM8200.mqtt()
    }
    async fn iccid(&self, _: &At) -> Result<String, StepError> {
        panic!("the bug of this test")
    }
}

static BUGGY: Plugin = Plugin {
    models: "models:\n  - id: buggy\n    manufacturer: Test\n    cgmm: [SIM8200]\n    profile: buggy\n    usb: []\n    \
             mqtt: { clients: 1, topic: 64, payload: 64 }\n    \
             evidence: { identification: manual, mqtt: manual, status: manual }\n",
    profiles: &[&Buggy],
    ..Plugin::NONE
};

static SOUND: Plugin = Plugin {
    models: "models:\n  - id: sim7600\n    manufacturer: SIMCom\n    cgmm: [SIM7600]\n    profile: sim7600\n    usb: []\n    \
             mqtt: { clients: 2, topic: 1024, payload: 10240 }\n    \
             evidence: { identification: manual, mqtt: manual, status: manual }\n",
    profiles: &[&profile_simcom::SIM7600],
    ..Plugin::NONE
};

fn config(name: &str, port: PathBuf) -> ModemConfig {
    ModemConfig {
        name: name.to_owned(),
        port: port.into(),
        imei: None,
        model: None,
        iccid: None,
        sim_first: false,
        apn: None,
        pin: None,
        roaming: false,
        radio_is_ours: true,
        poll: Duration::from_secs(10),
        stores_messages: true,
        line: modem::serial::Line::DEFAULT,
        recovery: modem::Recovery::default(),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

#[tokio::test]
async fn a_panic_is_counted_and_the_modem_begins_again_while_the_other_serves() {
    let dir = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let mut sim = |model, name: &str| {
        let link = dir.path().join(name);
        tasks.spawn(modem_sim::Modem::new(Options::new(model)).on_pty(Some(&link)).unwrap().run());
        link
    };
    let (bad, good) = (sim(Model::Sim8200, "bad"), sim(Model::Sim7600, "good"));

    let metrics = Metrics::new().unwrap();
    let env = Environment {
        catalog: watch::channel(Arc::new(Catalog::new(&[&BUGGY, &SOUND]).unwrap())).1,
        stagger: Stagger::new(),
        ledger: Arc::new(FileLedger::new(dir.path())),
        turns: modem::turns::Turns::new(),
        privileged: Arc::new(modem::environment::Unprivileged),
        stop: CancellationToken::new(),
    };
    let make = |name: &str, port| -> (Modem, watch::Receiver<Snapshot>) {
        Modem::new(config(name, port), Vec::new(), env.clone(), metrics.modem(name))
    };
    let ((bad, bad_state), (good, good_state)) = (make("bad", bad), make("good", good));
    let modems = vec![("bad".to_owned(), bad), ("good".to_owned(), good)];
    let (reconciler, orders) = Reconciler::new(Arc::clone(&metrics), env.stop.clone());
    tasks.spawn(reconciler.run());
    for (name, modem) in modems {
        let (modem, stop) = (Box::new(modem), env.stop.child_token());
        let order = Order::Start { name, modem, stop };
        orders.send(order).await.unwrap();
    }

    let panics = || {
        let families = metrics.registry().gather();
        let family = families
            .iter()
            .find(|family| family.name() == "modemfleet_modem_panics_total")
            .unwrap();
        let of = |name: &str| {
            let sample = family
                .get_metric()
                .iter()
                .find(|m| m.get_label().iter().any(|l| l.value() == name));
            sample.unwrap().get_counter().get_value()
        };
        (of("bad"), of("good"))
    };
    until("it panicked and was started again", || panics().0 >= 2.0).await;
    assert_eq!(panics().1, 0.0);
    until("the other one serves", || good_state.borrow().state == State::Serving).await;
    assert!(bad_state.borrow().identified.is_none());
    env.stop.cancel();
    until("the good one ended in order", || good_state.borrow().state == State::Absent).await;
}
