//! Parameters of a query string.

/// The parameters of a request, decoded. Refusals are sentences; the word for programs is the path's own.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(&'a str, String)>);

impl<'a> Query<'a> {
    /// Reads a query that may have these parameters, each at most once.
    ///
    /// # Errors
    /// A sentence on the first parameter that is unknown, given twice, or not encoded as it should be.
    pub(super) fn once(query: Option<&'a str>, known: &[&str]) -> Result<Self, String> {
        let query = Self::repeated(query, known)?;
        for (at, (key, _)) in query.0.iter().enumerate() {
            if query.0.iter().take(at).any(|(earlier, _)| earlier == key) {
                return Err(format!("the parameter {key:?} is given twice"));
            }
        }
        Ok(query)
    }

    /// The same, with parameters that may be repeated.
    ///
    /// # Errors
    /// The same as of [`Self::once`].
    pub(super) fn repeated(query: Option<&'a str>, known: &[&str]) -> Result<Self, String> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let read = |pair: &'a str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&key) {
                return Err(match known {
                    [] => "this path takes no parameter".to_owned(),
                    _ => format!("unknown parameter {key:?}; known: {}", known.join(", ")),
                });
            }
            let value = decode(value).ok_or_else(|| format!("{key} is not URL-encoded UTF-8"))?;
            Ok((key, value))
        };
        pairs.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The value of a parameter, the last if there are several.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.0.extract_if(.., |(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// The pairs that were not taken, in their order.
    pub(super) fn rest(self) -> impl Iterator<Item = (&'a str, String)> {
        self.0.into_iter()
    }
}

/// Percent-decoding of a query value (`+` is a space, as HTML forms send it).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |digit: u8| {
                    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
                };
                digit(rest.next()?)? * 16 + digit(rest.next()?)?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_repeated_or_not_encoded_is_refused() {
        for (query, expected) in [
            ("c=1", "unknown parameter \"c\"; known: a, b"),
            ("c", "unknown parameter \"c\"; known: a, b"),
            ("a=1&b=2&a=3", "the parameter \"a\" is given twice"),
            ("a=%4", "a is not URL-encoded UTF-8"),
            ("b=%zz", "b is not URL-encoded UTF-8"),
            ("b=%ff", "b is not URL-encoded UTF-8"),
        ] {
            assert_eq!(Query::once(Some(query), &["a", "b"]).unwrap_err(), expected, "{query}");
        }
        assert!(Query::once(Some("a"), &[]).unwrap_err().contains("no parameter"));
        assert!(Query::once(None, &[]).is_ok() && Query::once(Some("&"), &[]).is_ok());
    }

    #[test]
    fn values_are_decoded_and_the_last_counts() {
        let mut query = Query::repeated(Some("a=x%20y&b&a=1+%C3%A9&&"), &["a", "b"]).unwrap();
        assert_eq!(query.take("a").as_deref(), Some("1 é"));
        assert_eq!((query.take("a"), query.take("b")), (None, Some(String::new())));
        let query = Query::repeated(Some("a=2&a=1"), &["a"]).unwrap();
        let rest: Vec<_> = query.rest().collect();
        assert_eq!(rest, [("a", "2".to_owned()), ("a", "1".to_owned())]);
    }
}
