//! The topic of a route at the broker, with variables: `fleet/${gateway}/${topic}`. `$$` is the character itself.

use std::collections::BTreeSet;

use super::words::Fault;

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
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let (mut plain, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            rest = if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                after
            } else {
                let (name, after) = variable(after)?;
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Variable(name.to_owned()));
                after
            };
        }
        parts.push(Part::Text(plain + rest));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() {
            return Err(Fault::new("must not be empty"));
        }
        let shape = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(_) => "x".to_owned(),
        };
        let fixed: String = parts.iter().map(shape).collect();
        super::topic::check_name(&fixed).map_err(Fault::new)?;
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

    /// The first character of the topic with its variables replaced.
    pub(super) fn first<'a>(&'a self, value: impl Fn(&'a str) -> &'a str) -> Option<char> {
        let text = |part: &'a Part| match part {
            Part::Text(text) => text.as_str(),
            Part::Variable(name) => value(name),
        };
        self.0.iter().find_map(|part| text(part).chars().next())
    }

    /// The topic with its variables replaced. A variable without a value is left out; the check of the file
    /// refuses such templates.
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

    /// Bytes of the topic that [`fill`](Self::fill) returns.
    pub fn filled_length<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> usize {
        let length = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Variable(name) => value(name).unwrap_or_default().len(),
        };
        self.0.iter().map(length).sum()
    }
}

/// The name of a variable behind its `$`, and the text after the variable.
fn variable(text: &str) -> Result<(&str, &str), Fault> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let Some(text) = text.strip_prefix('{') else {
        let name = text.split(|c| !good(c)).next().filter(|name| !name.is_empty());
        let help = format!(
            "write `${{{}}}` for a variable, and `$$` for the character itself",
            name.unwrap_or("topic")
        );
        return Err(Fault::help("has a `$` without a `${name}`", help));
    };
    let (name, after) =
        text.split_once('}').ok_or_else(|| Fault::new("has a `${` without its `}`"))?;
    if name.is_empty() || !name.chars().all(good) {
        return Err(Fault::new(format!("has the variable {name:?}, which is not a name")));
    }
    Ok((name, after))
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
            ("$$x/$$", "$x/$"),
            ("$$${topic}", "$a/b"),
            ("$${topic}", "${topic}"),
            ("{topic}", "{topic}"),
        ] {
            let template = Template::parse(template).map_err(|fault| fault.text).expect(template);
            let value = |name: &str| match name {
                "topic" => Some("a/b"),
                "gateway" => Some("gw"),
                _ => None,
            };
            assert_eq!(template.fill(value), want);
        }
        let names = Template::parse("/${product_key}/${topic}/${topic}");
        let names = names.map_err(|fault| fault.text).expect("a template");
        assert_eq!(names.variables().into_iter().collect::<Vec<_>>(), ["product_key", "topic"]);
    }

    #[test]
    fn what_is_no_topic_is_no_template() {
        for bad in [
            "",
            "a/#",
            "+/${topic}",
            "${topic",
            "$topic",
            "a/$",
            "$$$",
            "${}",
            "${Topic}",
            "${a b}",
            "a\nb",
            "a/\u{ffff}",
            "$$SYS/${topic}",
            &"x".repeat(1025),
        ] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
        }
    }
}
