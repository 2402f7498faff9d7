//! The budget of a modem's SIM: once it is used up, messages wait although the session is
//! connected.

use super::Finding;
use crate::budget::{Stage, Standing};

/// Returns the finding on the budget.
pub fn finding(standing: &Standing) -> Finding {
    let check = "budget";
    let Some(words) = standing.words() else {
        return Finding::ok(
            check,
            match standing.used {
                Some(_) => "far from used up",
                None => "the SIM and its traffic are not known yet",
            },
        );
    };
    match standing.stage {
        Stage::Normal | Stage::Warned => Finding::warn(
            check,
            words,
            "find the traffic that uses it: `keep_alive`, `telemetry`, single messages instead of batches (docs/budget.md)",
        ),
        Stage::Shedding | Stage::Stopped => Finding::fail(
            check,
            words,
            "raise `budget.bytes` and `modemfleet reload`, give its routes another path, or wait until the reset",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::doctor::Level;

    #[test]
    fn a_budget_is_told_as_soon_as_somebody_should_know() {
        let at = |stage, used| Standing { bytes: 1_000, used, stage, resets_at: None };
        for (standing, level, words) in [
            (at(Stage::Normal, Some(1)), Level::Ok, "far from"),
            (at(Stage::Normal, None), Level::Ok, "are not known yet"),
            (at(Stage::Warned, Some(800)), Level::Warn, "nearly used up: 800 B of 1.0 kB"),
            (at(Stage::Shedding, Some(900)), Level::Fail, "messages of low priority wait"),
            (at(Stage::Stopped, Some(1_000)), Level::Fail, "used up, messages wait"),
        ] {
            let found = finding(&standing);
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.message.contains(words), "{found:?}");
        }
    }
}
