//! The duties of a profile, as tests: on the simulated modem with a real broker, and with
//! transcripts of real units.
//!
//! A profile depends on this package in its tests, and names the simulated modem with its models'
//! dialect ([`Subject`]). It makes tests of [`shared_scenarios!`], one for each model and scenario.
//! `profiles/example-out-of-tree` does so in thirty lines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is test code: it fails by panicking, and tells what it did"
)]

pub mod bench;
pub mod broker;
#[allow(missing_docs, reason = "the names of scenarios are sentences")]
pub mod field;
pub mod pki;
pub mod replay;
#[allow(missing_docs, reason = "the names of scenarios are sentences")]
pub mod scenarios;
pub mod trace;
pub mod transcript;

use modem::profile::Plugin;
pub use modem_sim::Model;
use modem_sim::Options;

/// A profile on one of its models.
#[derive(Clone, Copy)]
pub struct Subject {
    /// The profile.
    pub plugin: &'static Plugin,
    /// The simulated modem with that model's dialect.
    pub model: Model,
    /// The name that it reports, if that is not the simulated model's own.
    pub badge: Option<&'static str>,
}

impl Subject {
    /// Creates the subject of a model that the simulator has itself.
    pub const fn new(plugin: &'static Plugin, model: Model) -> Self {
        Self { plugin, model, badge: None }
    }

    /// Returns the options of the simulated modem, without a broker.
    pub fn options(self) -> Options {
        Options { badge: self.badge.map(str::to_owned), ..Options::new(self.model) }
    }
}

/// Makes a function of a simulated model from each scenario in a module, and hands their names to a
/// macro.
#[doc(hidden)]
#[macro_export]
macro_rules! bound {
    ($module:ident, $subject:path, $tests:ident; $($name:ident),* $(,)?) => {
        $(async fn $name(model: $crate::Model) {
            $crate::$module::$name($subject(model)).await;
        })*
        $tests!($($name),*);
    };
}

#[cfg(test)]
mod tests {
    /// A scenario that its macro does not name would run for no model.
    #[test]
    fn each_scenario_is_named() {
        for text in [include_str!("scenarios.rs"), include_str!("field.rs")] {
            let starts = text.split("\npub async fn ").skip(1);
            let names: Vec<_> = starts.filter_map(|rest| rest.split('(').next()).collect();
            assert!(names.len() > 4, "{names:?}");
            for name in names {
                assert!(text.contains(&format!("            {name},\n")), "{name}");
            }
        }
    }
}
