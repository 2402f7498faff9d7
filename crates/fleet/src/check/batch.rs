//! `batch` of a route: several messages of one topic as one publish.

use std::time::Duration;

use bytesize::ByteSize;

use modem::mqtt::MAX_PAYLOAD;

use super::build::{Build, Place};
use crate::fleet::{Batch, BatchFormat};
use crate::template::Template;
use crate::words::{self, Fault};

const MESSAGES: (usize, usize) = (2, 256);
const DEFAULT_MESSAGES: usize = 100;
const MIN_BYTES: usize = 128;
/// Longer would look like a session that does not deliver, after five minutes.
const DELAYS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(240));
const DEFAULT_DELAY: Duration = Duration::from_secs(1);

impl Build<'_> {
    pub(super) fn batch(&mut self, place: &Place<'_>) -> Option<Batch> {
        let format = self.required(place, "format", |text| words::one_of(text, &BatchFormat::ALL));
        let messages = self.optional(place, "max_messages", |text| {
            let (min, max) = MESSAGES;
            let count = text.parse().ok().filter(|count| (min..=max).contains(count));
            count.ok_or_else(|| Fault::new(format!("must be {min} to {max} messages")))
        });
        let bytes = self.optional(place, "max_bytes", |text| {
            let bytes = usize::try_from(words::size(text, ByteSize::b(1))?).unwrap_or(usize::MAX);
            let good = (MIN_BYTES..=MAX_PAYLOAD).contains(&bytes);
            let fault = || Fault::new(format!("must be {MIN_BYTES} to {MAX_PAYLOAD} bytes"));
            if good { Ok(bytes) } else { Err(fault()) }
        });
        let delay =
            self.optional(place, "max_delay", |text| words::duration(text, DELAYS.0, DELAYS.1));
        let ids = self.optional(place, "ids", words::boolean);
        Some(Batch {
            format: format?,
            max_messages: messages.unwrap_or(DEFAULT_MESSAGES),
            max_bytes: bytes.unwrap_or(MAX_PAYLOAD),
            max_delay: delay.unwrap_or(DEFAULT_DELAY),
            ids: ids.unwrap_or_default(),
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
