//! `aliauth`: the modem itself signs in at Alibaba Cloud, from the triple.

use super::build::{Build, Place};
use crate::secret::Rule;

/// The longest secret that is handed to a modem: the platform's have 32 characters.
const MAX_SECRET: usize = 64;

impl Build<'_> {
    /// Reads whether the modem signs, and returns the rule for its device secret.
    pub(super) fn aliauth(&mut self, place: &Place<'_>) -> (bool, Rule) {
        let asked = self.boolean(place, "aliauth");
        if asked != Some(true) {
            return (false, Rule::Text);
        }
        // The modem chooses both values itself.
        for key in ["signmethod", "timestamp"] {
            let place = place.at(key);
            if place.exists() {
                let message = format!("`{key}` has no effect with `aliauth: true`");
                let help =
                    format!("leave out `{key}`, or `aliauth`: without `aliauth` the agent signs");
                self.error_at_name(&place, message, Some(&help));
            }
        }
        (true, Rule::Quoted(MAX_SECRET))
    }
}
