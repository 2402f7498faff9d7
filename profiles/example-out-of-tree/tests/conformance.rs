//! The duties of every profile, on a simulated modem that reports Acme's name.

use modem_conformance::{Model, Subject};

/// Returns a simulated modem with the stack that is in Acme's firmware.
fn subject(model: Model) -> Subject {
    Subject { badge: Some("ACME-ONE"), ..Subject::new(&acme::PLUGIN, model) }
}

/// Makes a test of each scenario.
macro_rules! tests {
    ($($name:ident),*) => {
        mod acme_one {
            $(#[tokio::test]
            async fn $name() {
                super::$name(modem_conformance::Model::Sim7600).await;
            })*
        }
    };
}

modem_conformance::shared_scenarios!(subject, tests);
