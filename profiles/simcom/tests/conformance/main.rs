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

/// The scenarios of every profile.
mod shared {
    modem_conformance::shared_scenarios!(crate::subject, scenarios);
}

use modem_conformance::Subject;
use modem_sim::Model;
use profile_simcom::PLUGIN;

/// A model of this profile.
fn subject(model: Model) -> Subject {
    Subject::new(&PLUGIN, model)
}

/// One test per model of the CMQTT dialect and scenario of its own, so that a failure names both.
macro_rules! scenarios {
    (@in $module:ident $model:ident $names:tt) => {
        mod $module {
            scenarios!(@all $model $names);
        }
    };
    (@all $model:ident ($($name:ident),*)) => {
        $(#[tokio::test]
        async fn $name() {
            super::$name(modem_sim::Model::$model).await;
        })*
    };
    ($($name:ident),* $(,)?) => {
        scenarios!(@in sim7600 Sim7600 ($($name),*));
        scenarios!(@in sim8200 Sim8200 ($($name),*));
        scenarios!(@in a7670 A7670 ($($name),*));
    };
}

/// The same for each of the two forms that the dialect has: SIM8200 has the one of SIM7600.
macro_rules! of_the_dialect {
    ($($name:ident),* $(,)?) => {
        scenarios!(@in sim7600 Sim7600 ($($name),*));
        scenarios!(@in a7670 A7670 ($($name),*));
    };
}

/// The same for one model, where the life of a modem is tested and no dialect.
macro_rules! of_any_modem {
    ($($name:ident),* $(,)?) => {
        mod any {
            scenarios!(@all Sim7600 ($($name),*));
        }
    };
}

mod a76xx;
mod aliyun;
mod cmq;
mod failures;
/// Behaviour of modems in the field.
mod field {
    modem_conformance::field_scenarios!(crate::subject, of_the_dialect);
}
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
