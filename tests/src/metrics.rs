//! A strict reader of the Prometheus text format (version 0.0.4).

use std::collections::{BTreeMap, BTreeSet};

/// The content of a page of metrics.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    /// The type of each family.
    pub types: BTreeMap<String, String>,
    /// All samples in order.
    pub samples: Vec<Sample>,
}

/// A line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name, with `_bucket`, `_sum` or `_count` if it is part of a histogram.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Reports whether it has all these labels.
    #[must_use]
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(*key).is_some_and(|is| is == value))
    }

    fn without(&self, label: &str) -> String {
        let rest: Vec<_> = self.labels.iter().filter(|(key, _)| *key != label).collect();
        format!("{}{rest:?}", self.name)
    }
}

impl Scrape {
    /// Parses a page.
    ///
    /// # Errors
    /// The first breach of the format or of its conventions, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut scrape = Self::default();
        let (mut helped, mut open) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or(format!("no help: {line}"))?;
                if help.trim().is_empty() || !helped.insert(name.to_owned()) {
                    return Err(format!("empty or second help: {line}"));
                }
                open.clear();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or(format!("no type: {line}"))?;
                scrape.announce(name, kind, &helped)?;
                name.clone_into(&mut open);
            } else {
                let sample = sample(line).ok_or(format!("not a sample: {line}"))?;
                scrape.belongs(&sample, &open).map_err(|fault| format!("{fault}: {line}"))?;
                scrape.samples.push(sample);
            }
        }
        scrape.histograms()?;
        Ok(scrape)
    }

    fn announce(
        &mut self,
        name: &str,
        kind: &str,
        helped: &BTreeSet<String>,
    ) -> Result<(), String> {
        if !helped.contains(name) {
            return Err(format!("{name} has no HELP before its TYPE"));
        }
        if !["counter", "gauge", "histogram"].contains(&kind) {
            return Err(format!("{name} has the type {kind:?}"));
        }
        if (kind == "counter") != name.ends_with("_total") {
            return Err(format!("{name} is a {kind}: counters, and only they, end with _total"));
        }
        if self.types.insert(name.to_owned(), kind.to_owned()).is_some() {
            return Err(format!("{name} is there twice"));
        }
        Ok(())
    }

    /// Checks that a sample may stand below the family `open`.
    fn belongs(&self, sample: &Sample, open: &str) -> Result<(), &'static str> {
        let suffix = sample.name.strip_prefix(open).filter(|_| !open.is_empty());
        let kind = self.types.get(open).map_or("", String::as_str);
        match (kind, suffix) {
            ("histogram", Some("_bucket")) if sample.labels.contains_key("le") => {}
            ("histogram", Some("_sum" | "_count")) => {}
            ("counter" | "gauge", Some("")) => {}
            _ => return Err("it does not belong to the family above it"),
        }
        if sample.value.is_nan() {
            return Err("it is not a number");
        }
        if kind != "gauge" && (sample.value < 0.0 || sample.value.is_infinite()) {
            return Err("a count cannot be negative or infinite");
        }
        let again = |other: &Sample| other.name == sample.name && other.labels == sample.labels;
        if self.samples.iter().any(again) {
            return Err("the series is there twice");
        }
        Ok(())
    }

    /// Checks that buckets are cumulative, in order, and end with `+Inf`, which equals the count.
    fn histograms(&self) -> Result<(), String> {
        for (family, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            let bucket = format!("{family}_bucket");
            for sample in self.samples.iter().filter(|sample| sample.name == bucket) {
                let bound = sample.labels.get("le").map_or("", String::as_str);
                let bound = bound.parse().map_err(|_| format!("{family}: le={bound:?}"))?;
                series.entry(sample.without("le")).or_default().push((bound, sample.value));
            }
            for (which, buckets) in series {
                let grows = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
                let (last, count) = buckets.last().copied().unwrap_or_default();
                if !grows || !last.is_infinite() || buckets.len() > 8 {
                    return Err(format!("{which}: bad buckets {buckets:?}"));
                }
                let name = format!("{family}_count");
                let key = which.replacen(&bucket, &name, 1);
                let fits = |s: &&Sample| s.name == name && s.without("le") == key;
                if self.samples.iter().find(fits).map(|s| s.value) != Some(count) {
                    return Err(format!("{which}: +Inf is not the count"));
                }
            }
        }
        Ok(())
    }

    /// Returns the samples of this name that have these labels.
    pub fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name && sample.has(labels))
    }

    /// Returns the sum of the samples of this name that have these labels; 0 if there are none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // `sum()` of nothing is -0.
        self.find(name, labels).fold(0.0, |sum, sample| sum + sample.value)
    }
}

/// Parses `name{label="value",…} value`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, mut rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            if !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return None;
            }
            let (value, after) = quoted(after)?;
            if labels.insert(key.to_owned(), value).is_some() {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Returns a label's value up to its closing quote, and the rest of the text.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                letter @ ('\\' | '"') => letter,
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\\\"2\",y=\"\"} 3\n\
        # HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"1\"} 1\n\
        h_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 3.5\nh_seconds_count 2\n";

    #[test]
    fn a_good_page_is_read() {
        let scrape = Scrape::parse(GOOD).unwrap();
        assert_eq!(scrape.sum("a_total", &[("x", "1\"2")]), 3.0);
        assert_eq!(scrape.sum("h_seconds_count", &[]), 2.0);
    }

    #[test]
    fn every_breach_is_found() {
        for (good, bad) in [
            ("# HELP a_total A.\n", ""),
            ("# TYPE a_total counter\n", ""),
            ("a_total counter", "a_total gauge"),
            ("} 3\n", "} NaN\n"),
            ("} 3\n", "} -3\n"),
            ("} 3\n", "}3\n"),
            ("} 3\n", "} 3\na_total{x=\"1\\\"2\",y=\"\"} 3\n"),
            ("le=\"1\"} 1", "le=\"1\"} 3"),
            ("le=\"1\"} 1", "le=\"x\"} 1"),
            ("h_seconds_count 2\n", "h_seconds_count 1\n"),
            ("h_seconds_bucket{le=\"+Inf\"} 2\n", ""),
            ("h_seconds_sum 3.5\n", "h_seconds_total 3.5\n"),
            ("h_seconds_count 2\n", "h_seconds_count 2"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            assert!(Scrape::parse(&GOOD.replace(good, bad)).is_err(), "{bad:?} for {good:?}");
        }
    }
}
