//! A topic with variables, `fleet/${gateway}/${topic}`: what a route publishes on.

use std::collections::BTreeSet;

/// The variables that every message has.
pub(crate) const OF_EVERY_MESSAGE: [&str; 5] = ["topic", "modem", "session", "gateway", "id"];

/// A topic with variables, checked for its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The end of a sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) =
                after.split_once('}').ok_or_else(|| "has a `${` without its `}`".to_owned())?;
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if name.is_empty() || !name.bytes().all(good) {
                return Err(format!("has a variable {name:?}, which is no name"));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let shape = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(_) => "x".to_owned(),
        };
        let fixed: String = parts.iter().map(shape).collect();
        super::topic::check_name(&fixed)?;
        Ok(Self(parts))
    }

    /// The names of its variables.
    pub fn variables(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for part in &self.0 {
            if let Part::Variable(name) = part {
                names.insert(name.as_str());
            }
        }
        names
    }

    /// The topic with its variables replaced; one without a value is left out, which the check of the file
    /// sees to that it does not happen.
    pub fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> String {
        let mut topic = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Variable(name) => topic.push_str(value(name).unwrap_or_default()),
            }
        }
        topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_nothing_else() {
        for (template, want) in [
            ("${topic}", "a/b"),
            ("x/${gateway}/${topic}/y", "x/gw/a/b/y"),
            ("${topic}${topic}", "a/ba/b"),
            ("$x/$", "$x/$"),
            ("{topic}", "{topic}"),
        ] {
            let template = Template::parse(template).expect(template);
            let value = |name: &str| match name {
                "topic" => Some("a/b"),
                "gateway" => Some("gw"),
                _ => None,
            };
            assert_eq!(template.fill(value), want);
        }
        let names = Template::parse("/${product_key}/${topic}/${topic}").expect("a template");
        assert_eq!(names.variables().into_iter().collect::<Vec<_>>(), ["product_key", "topic"]);
    }

    #[test]
    fn what_is_no_topic_is_no_template() {
        for bad in [
            "",
            "a/#",
            "+/${topic}",
            "${topic",
            "${}",
            "${Topic}",
            "${a b}",
            "a\nb",
            &"x".repeat(1025),
        ] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
        }
    }
}
