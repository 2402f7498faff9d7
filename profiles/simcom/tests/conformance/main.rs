//! The conformance suite of the SIMCom profile: the same scenarios for each model, on the simulated
//! modem with a real broker, and on a scripted unit where real firmware differs from the simulator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// One test per model and scenario, so that a failure names both.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod sim7600 {
            $(#[tokio::test]
            async fn $name() {
                super::$name(modem_sim::Model::Sim7600).await;
            })*
        }
        mod sim8200 {
            $(#[tokio::test]
            async fn $name() {
                super::$name(modem_sim::Model::Sim8200).await;
            })*
        }
        mod a7670 {
            $(#[tokio::test]
            async fn $name() {
                super::$name(modem_sim::Model::A7670).await;
            })*
        }
    };
}

#[path = "../../../conformance/bench.rs"]
mod bench;
#[path = "../../../conformance/broker.rs"]
mod broker;
/// What every profile has to do.
#[path = "../../../conformance/scenarios.rs"]
mod shared;

use profile_simcom::PLUGIN;

mod a76xx;
mod aliyun;
mod failures;
mod identity;
mod ladder;
mod location;
mod messages;
mod recovery;
mod tls;
mod unit;
mod whole;
