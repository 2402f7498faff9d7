//! Claims of a model's entry that a recording proves.

use super::{Published, Recording};
use crate::catalog::{Basis, Catalog, Evidence};
use crate::transcript::Entry;

impl Recording {
    /// Returns the evidence of the model with the claims that this recording proves; `None` for a
    /// model that has no entry. A claim that rests on runs on hardware stays.
    pub fn evidence(&self, catalog: &Catalog) -> Option<Evidence> {
        let Evidence { identification, mqtt, status, tls } = self.model.as_ref()?.evidence;
        let proven = |basis: Basis, is_proven: bool| match basis {
            Basis::Hardware => Basis::Hardware,
            _ if is_proven => Basis::Transcript,
            basis => basis,
        };
        Some(Evidence {
            identification: proven(identification, true),
            mqtt: proven(mqtt, self.published == Published::Acknowledged),
            status: proven(status, self.has_status(catalog)),
            tls,
        })
    }

    /// Reports whether a status query of the vendor was answered with lines that its decoder reads.
    fn has_status(&self, catalog: &Catalog) -> bool {
        let common = catalog.script(None).count();
        let mut own = catalog.script(self.profile).skip(common);
        own.any(|question| {
            let answer = self.answer(question.command).join("\r\n");
            let is_read = |decode: crate::reply::Decoder| decode(&answer).is_ok();
            !answer.is_empty() && catalog.decoder(question.command).is_some_and(is_read)
        })
    }

    /// Returns the answer to a command, without its code; empty if it was refused.
    fn answer(&self, command: &str) -> Vec<&str> {
        let mut entries = self.transcript.entries.iter();
        if !entries.any(|entry| *entry == Entry::Sent(command.to_owned())) {
            return Vec::new();
        }
        let lines = entries.take_while(|entry| !matches!(entry, Entry::Sent(_)));
        let lines = lines.filter_map(|entry| match entry {
            Entry::Answer(line) => Some(line.as_str()),
            _ => None,
        });
        let lines: Vec<_> = lines.collect();
        if lines.last() != Some(&"OK") {
            return Vec::new();
        }
        lines.into_iter().filter(|line| *line != "OK" && !line.starts_with("AT")).collect()
    }
}
