//! `batch` of a route: several messages of one topic as one publish.

use super::build::{Build, Place};
use crate::fleet::{Batch, BatchFormat};
use crate::template::Template;
use crate::words;

impl Build<'_> {
    pub(super) fn batch(&mut self, place: &Place<'_>) -> Option<Batch> {
        let format = self.required(place, "format", |text| words::one_of(text, &BatchFormat::ALL));
        let max_messages = self.number(place, "max_messages");
        let max_bytes = self.size(place, "max_bytes");
        let max_delay = self.time(place, "max_delay");
        let ids = self.boolean(place, "ids");
        Some(Batch {
            format: format?,
            max_messages: max_messages?,
            max_bytes: max_bytes?,
            max_delay: max_delay?,
            ids: ids?,
        })
    }

    /// A batch has many ids and one topic.
    pub(super) fn no_id_of_a_batch(&mut self, publish_as: Option<&Template>, place: &Place<'_>) {
        let has_id = publish_as.is_some_and(|template| template.variables().contains("id"));
        if place.has("batch") && has_id {
            let message = "`publish_as` has ${id}, and a batch has as many ids as messages";
            let help = "`ids: true` puts them into the batch".to_owned();
            self.error(&place.at("publish_as"), message, Some(help));
        }
    }
}
