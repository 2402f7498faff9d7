//! The conformance suite of the SIMCom profile: the same scenarios for each model, on the simulated modem with
//! a real broker. Scripted units stand in if real firmware differs from the simulator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// The scenarios of every profile, for each model. A scenario that a model cannot pass is marked with the
/// reason.
macro_rules! scenarios {
    (@one sim7020 Sim7020 publishes_empty) => {
        scenarios!(@cannot Sim7020 publishes_empty
            "AT+CMQPUB takes 2 hexadecimal digits at least, one byte");
    };
    (@one sim7020 Sim7020 publishes_again_after_a_lost_prompt) => {
        scenarios!(@cannot Sim7020 publishes_again_after_a_lost_prompt
            "nothing prompts: the payload is in the command");
    };
    (@one sim7020 Sim7020 serves_two_clients) => {
        scenarios!(@cannot Sim7020 serves_two_clients "it has one client");
    };
    (@one sim7020 Sim7020 tells_why_a_login_is_refused) => {
        scenarios!(@cannot Sim7020 tells_why_a_login_is_refused
            "AT+CMQCON answers ERROR, without a code");
    };
    (@one $module:ident $model:ident $name:ident) => {
        #[tokio::test]
        async fn $name() {
            super::$name(modem_sim::Model::$model).await;
        }
    };
    (@cannot $model:ident $name:ident $why:literal) => {
        #[tokio::test]
        #[ignore = $why]
        async fn $name() {
            super::$name(modem_sim::Model::$model).await;
        }
    };
    ($($name:ident),* $(,)?) => {
        mod sim7600 { $(scenarios!(@one sim7600 Sim7600 $name);)* }
        mod sim8200 { $(scenarios!(@one sim8200 Sim8200 $name);)* }
        mod a7670 { $(scenarios!(@one a7670 A7670 $name);)* }
        mod sim7020 { $(scenarios!(@one sim7020 Sim7020 $name);)* }
    };
}

#[path = "../../../conformance/bench.rs"]
mod bench;
#[path = "../../../conformance/broker.rs"]
mod broker;
#[path = "../../../conformance/pki.rs"]
#[allow(dead_code, reason = "another profile's own scenarios need more of it")]
mod pki;
/// The scenarios of every profile.
#[path = "../../../conformance/scenarios.rs"]
mod shared;
#[path = "../../../conformance/trace.rs"]
mod trace;

use profile_simcom::PLUGIN;

/// Makes a test of each model of the CMQTT dialect and each scenario, so that a failure names both.
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

mod a76xx;
mod aliyun;
mod cmq;
mod failures;
/// Behaviour of modems in the field.
#[path = "../../../conformance/field.rs"]
mod field;
mod identity;
mod ladder;
mod location;
mod messages;
mod recovery;
mod service;
mod sim7020;
mod text_messages;
mod tls;
mod unit;
mod whole;
