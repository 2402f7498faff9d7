//! The bundle: named texts, the missing parts with their reasons, and the archive.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, Header};

/// The most bytes of one part. A longer text keeps its end, which is more useful than its
/// beginning.
const LARGEST: usize = 4 * 1024 * 1024;

/// The most bytes of a name: tar's oldest header has a hundred for the folder and the name.
const LONGEST_NAME: usize = 60;

/// A bundle under construction.
pub(super) struct Bundle {
    made: SystemTime,
    parts: Vec<Part>,
    missing: Vec<(String, String)>,
}

struct Part {
    name: String,
    from: String,
    text: String,
    cut: usize,
}

impl Bundle {
    pub(super) fn new(made: SystemTime) -> Self {
        Self { made, parts: Vec::new(), missing: Vec::new() }
    }

    /// Returns the folder in the archive, which is also the file's name without its ending.
    pub(super) fn name(&self) -> String {
        let time = humantime::format_rfc3339_seconds(self.made).to_string();
        let digits: String = time.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        format!("modemfleet-diag-{digits}")
    }

    pub(super) fn text(&mut self, name: &str, from: &str, mut text: String) {
        let mut cut = text.len().saturating_sub(LARGEST);
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        drop(text.drain(..cut));
        let name = self.distinct(plain(name));
        self.parts.push(Part { name, from: from.to_owned(), text, cut });
    }

    /// Returns the name, changed if another part has it: when unpacked, the second would replace
    /// the first.
    fn distinct(&self, name: String) -> String {
        let is_taken = |name: &String| self.parts.iter().any(|part| part.name == *name);
        if !is_taken(&name) {
            return name;
        }
        let (stem, end) = name.rsplit_once('.').unwrap_or((&name, "txt"));
        let stem: String = stem.chars().take(LONGEST_NAME).collect();
        (2_usize..)
            .map(|n| format!("{stem}-{n}.{end}"))
            .find(|name| !is_taken(name))
            .unwrap_or(name)
    }

    pub(super) fn json(&mut self, name: &str, from: &str, value: Result<Value, String>) {
        match value {
            Ok(value) => self.text(name, from, format!("{value:#}\n")),
            Err(reason) => self.missing_part(name, reason),
        }
    }

    pub(super) fn missing_part(&mut self, name: &str, reason: String) {
        self.missing.push((name.to_owned(), reason));
    }

    /// Returns the missing parts, each with its reason.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.missing.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    fn manifest(&self) -> Value {
        let part = |part: &Part| {
            let mut object =
                json!({ "name": part.name, "from": part.from, "bytes": part.text.len() });
            if let (1.., Some(object)) = (part.cut, object.as_object_mut()) {
                object.insert("left_out_before".to_owned(), json!(part.cut));
            }
            object
        };
        let missing = |(name, reason): &(String, String)| json!({ "name": name, "reason": reason });
        json!({
            "modemfleet": env!("CARGO_PKG_VERSION"),
            "made": humantime::format_rfc3339_seconds(self.made).to_string(),
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
            "missing": self.missing.iter().map(missing).collect::<Vec<_>>(),
        })
    }

    /// Writes the archive into a new file that only its owner can read.
    ///
    /// # Errors
    /// The system's error; `AlreadyExists` if the path exists.
    pub(super) fn write_file(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        self.write(file)?.sync_all()
    }

    /// Writes the archive, and returns the writer.
    ///
    /// # Errors
    /// The writer's error.
    pub(super) fn write<W: Write>(&self, out: W) -> io::Result<W> {
        let mut archive = Builder::new(GzEncoder::new(out, Compression::default()));
        let manifest = format!("{:#}\n", self.manifest());
        self.append(&mut archive, "manifest.json", &manifest)?;
        for part in &self.parts {
            self.append(&mut archive, &part.name, &part.text)?;
        }
        archive.into_inner()?.finish()
    }

    fn append(&self, archive: &mut Builder<impl Write>, name: &str, text: &str) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        header.set_mode(0o600);
        header.set_mtime(self.made.duration_since(UNIX_EPOCH).map_or(0, |made| made.as_secs()));
        archive.append_data(&mut header, format!("{}/{name}", self.name()), text.as_bytes())
    }
}

/// Returns a name that cannot leave the folder: it may hold a modem's name from an agent.
fn plain(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_/.".contains(c) { c } else { '_' };
    name.replace("..", "__").chars().map(safe).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_lead_nowhere_else_and_parts_are_bounded() {
        let mut bundle = Bundle::new(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        assert_eq!(bundle.name(), "modemfleet-diag-20010909T014640Z");
        bundle.text("at/../../../etc/passwd\u{1b}", "agent", "é".repeat(LARGEST));
        bundle.json("a.json", "agent", Err("no agent runs".to_owned()));
        let part = &bundle.parts[0];
        assert_eq!(part.name, "at/__/__/__/etc/passwd_");
        assert_eq!(part.text.len(), LARGEST);
        for last in ["a", "b", "c"] {
            let modem = "m".repeat(LONGEST_NAME) + last;
            bundle.text(&format!("at/{modem}.txt"), "agent", last.to_owned());
        }
        let names: BTreeSet<&str> = bundle.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        let manifest = bundle.manifest();
        assert_eq!(manifest["missing"][0]["reason"], "no agent runs");
        assert_eq!(manifest["parts"][0]["left_out_before"], LARGEST);
    }
}
