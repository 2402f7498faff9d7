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

/// The same for one model: all have one form of the dialect.
macro_rules! of_the_dialect {
    ($($name:ident),* $(,)?) => {
        scenarios!(@one ec25 Ec25 ($($name),*));
    };
}

/// Behaviour of modems in the field.
mod field {
    modem_conformance::field_scenarios!(crate::subject, of_the_dialect);
}

/// Duties of every profile.
mod shared {
    modem_conformance::shared_scenarios!(crate::subject, scenarios);
}

use modem_conformance::Subject;
use modem_sim::Model;
use profile_quectel::PLUGIN;

/// A model of this profile.
fn subject(model: Model) -> Subject {
    Subject::new(&PLUGIN, model)
}

mod late_prompt;
mod old;
mod tls;
mod unit;
mod used;
