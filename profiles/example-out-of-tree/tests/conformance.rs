//! What every profile has to do, on a simulated modem that calls itself as Acme's does.

use modem_conformance::{Model, Subject};

/// A simulated modem with the stack that is in Acme's firmware.
fn subject(model: Model) -> Subject {
    Subject { badge: Some("ACME-ONE"), ..Subject::new(&acme::PLUGIN, model) }
}

/// A test for each scenario.
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
