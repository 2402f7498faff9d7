//! The inbox in this agent: opened as the fleet file says, and its figures at each scrape.

use ::inbox::{Inbox, OpenError};
use prometheus::core::{Collector, Desc, Describer};
use prometheus::proto::MetricFamily;

use crate::metrics::families as all;
use crate::view::{Families, count};

/// Kinds of readers of the inbox, in the words of the metrics.
pub const KINDS: [&str; 2] = ["reader", "session"];

/// Opens the inbox, if the fleet has one.
///
/// # Errors
/// [`OpenError`], but not for a disk that refuses.
pub fn open(config: Option<&fleet::Inbox>) -> Result<Option<Inbox>, OpenError> {
    config.map(|config| Inbox::open(config.config())).transpose()
}

/// The figures of an inbox as metrics.
pub struct Figures {
    inbox: Inbox,
    /// One of many: two collectors that name none would be the same one to the registry.
    desc: Desc,
}

impl Figures {
    /// The figures of this inbox.
    ///
    /// # Errors
    /// If Prometheus refuses a name, which is a mistake in the table of families.
    pub fn new(inbox: Inbox) -> prometheus::Result<Self> {
        Ok(Self { inbox, desc: all::INBOX_MESSAGES.opts().describe()? })
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stat = self.inbox.stat();
        let mut families = Families::default();
        families.gauge(&all::INBOX_MESSAGES, &[], count(stat.messages));
        families.gauge(&all::INBOX_BYTES, &[], count(stat.bytes));
        for (kind, all_of_kind) in KINDS.into_iter().zip([&stat.readers, &stat.sessions]) {
            let number = u64::try_from(all_of_kind.len()).unwrap_or(u64::MAX);
            families.gauge(&all::INBOX_READERS, &[kind], count(number));
        }
        families.counter(&all::INBOX_STORED, &[([], count(stat.stored))]);
        let dropped = stat.dropped.by_reason().map(|(reason, dropped)| ([reason], count(dropped)));
        families.counter(&all::INBOX_DROPPED, &dropped);
        families.counter(&all::INBOX_COMMIT_ERRORS, &[([], count(stat.failed_commits))]);
        families.counter(&all::INBOX_CORRUPTIONS, &[([], count(stat.corruptions))]);
        families.finish()
    }
}
