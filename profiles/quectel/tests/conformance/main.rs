//! The conformance suite of the Quectel profile: the scenarios of every profile, for each model.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// Makes a test of each model and scenario, so that a failure names both.
macro_rules! scenarios {
    (@models $names:tt; $($module:ident $model:ident),*) => {
        $(scenarios!(@one $module $model $names);)*
    };
    (@one $module:ident $model:ident ($($name:ident),*)) => {
        mod $module {
            $(#[tokio::test]
            async fn $name() {
                super::$name(modem_sim::Model::$model).await;
            })*
        }
    };
    ($($name:ident),* $(,)?) => {
        scenarios!(@models ($($name),*);
            ec25 Ec25, eg25 Eg25, ec200 Ec200, rm500q Rm500q, rm520n Rm520n);
    };
}

#[path = "../../../conformance/bench.rs"]
#[allow(dead_code, reason = "another profile's own scenarios need more of it")]
mod bench;
#[path = "../../../conformance/broker.rs"]
#[allow(dead_code, reason = "another profile's own scenarios need more of it")]
mod broker;
/// Behaviour of modems in the field.
#[path = "../../../conformance/field.rs"]
mod field;
#[path = "../../../conformance/pki.rs"]
mod pki;
/// The scenarios of every profile.
#[path = "../../../conformance/scenarios.rs"]
mod shared;
#[path = "../../../conformance/trace.rs"]
mod trace;

use profile_quectel::PLUGIN;

mod late_prompt;
mod old;
mod tls;
mod unit;
mod used;
