//! The tokens that callers of the API show over TCP, and each caller's right.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::metrics::labels::HttpRefusal;
use fleet::Http;
use fleet::secret::{Ref, SHORT_TOKEN, SecretError};

/// By which way a caller comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Over TCP: whatever runs on this host, a browser with anybody's pages among it.
    Tcp,
    /// Over the unix socket: who may open it may use the API.
    Socket,
    /// Over the other unix socket: who may open it may publish.
    PublishSocket,
}

/// Right of a caller; the greater one holds the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// Publish, and read the receipts of messages.
    Publish,
    /// All that the API has.
    All,
}

/// A token, kept as its digest: two digests may be compared byte by byte without telling anything.
#[derive(Clone)]
struct Token([u8; 32]);

impl Token {
    fn new(secret: &SecretString) -> Self {
        Self(Sha256::digest(secret.expose_secret().as_bytes()).into())
    }

    fn fits(&self, shown: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        digest == self.0
    }
}

/// The tokens that are taken. Without one for everything no token is asked for.
#[derive(Clone, Default)]
pub struct Tokens {
    all: Option<Token>,
    publish: Option<Token>,
}

impl Tokens {
    /// Reads the tokens that callers must show, if there are any.
    ///
    /// # Errors
    /// [`SecretError`] if one cannot be read, or if both are the same.
    pub fn read(http: &Http) -> Result<Self, SecretError> {
        let all = read("http.token", http.token.as_ref(), http)?;
        let publish = read("http.publish_token", http.publish_token.as_ref(), http)?;
        let same = all.as_ref().zip(publish.as_ref()).is_some_and(|(one, other)| one.0 == other.0);
        match &http.publish_token {
            Some(secret) if same => Err(secret.unusable(
                "holds the same token as `token`, so every publisher could do everything; make another one",
            )),
            _ => Ok(Self { all, publish }),
        }
    }

    /// Reports whether callers over TCP have to show one.
    pub fn are_asked_for(&self) -> bool {
        self.all.is_some()
    }

    /// Returns the right of a caller over TCP.
    pub(super) fn right(&self, headers: &HeaderMap) -> Result<Right, HttpRefusal> {
        let Some(all) = &self.all else { return Ok(Right::All) };
        if !headers.contains_key(header::AUTHORIZATION) {
            return Err(HttpRefusal::NoToken);
        }
        let shown = shown(headers).ok_or(HttpRefusal::WrongToken)?;
        let may_publish = self.publish.as_ref().is_some_and(|publish| publish.fits(&shown));
        match (all.fits(&shown), may_publish) {
            (true, _) => Ok(Right::All),
            (false, true) => Ok(Right::Publish),
            (false, false) => Err(HttpRefusal::WrongToken),
        }
    }
}

/// Reads one of them. The log has a warning if it is weak: `check` may not have been allowed to read it.
fn read(key: &str, secret: Option<&Ref>, http: &Http) -> Result<Option<Token>, SecretError> {
    let Some(secret) = secret.map(Ref::read).transpose()? else { return Ok(None) };
    if http.is_open() && secret.expose_secret().len() < SHORT_TOKEN {
        tracing::warn!(
            key,
            "the token has fewer than {SHORT_TOKEN} characters, and other machines can try to guess it: make a longer one"
        );
    }
    Ok(Some(Token::new(&secret)))
}

/// Returns the token that the caller shows: a bearer token (RFC 6750 §2.1), or the password of HTTP Basic (RFC 7617 §2). None if it
/// is neither, or if it stands there twice.
fn shown(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    let basic = scheme.eq_ignore_ascii_case("basic").then_some(rest)?;
    let pair = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use fleet::secret::{Rule, Source};

    fn right(tokens: &Tokens, shown: &[&str]) -> Result<Right, HttpRefusal> {
        let mut headers = HeaderMap::new();
        for shown in shown {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(shown).unwrap());
        }
        tokens.right(&headers)
    }

    /// `check` sees it as well; a file may change after that.
    #[test]
    fn two_tokens_that_are_the_same_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let secret = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(Ref::new(name, Source::File(path)).with_rule(Rule::Token))
        };
        let http = |publish: &str| Http {
            listen: ([127, 0, 0, 1], 0).into(),
            hosts: Vec::new(),
            token: secret("token", "everything\n"),
            publish_token: secret("publish_token", publish),
            socket: None,
            publish_socket: None,
        };
        let tokens = Tokens::read(&http("little")).unwrap();
        assert_eq!(right(&tokens, &["Bearer little"]), Ok(Right::Publish));
        let same = Tokens::read(&http("everything")).err().unwrap().to_string();
        assert!(same.contains("publish_token") && same.contains("another one"), "{same}");
    }

    #[test]
    fn each_token_gives_its_right_and_nothing_else_does() {
        let token = |text: &str| Some(Token::new(&text.to_owned().into()));
        let tokens = Tokens { all: token("everything"), publish: token("little") };
        for (shown, expected) in [
            (&[][..], Err(HttpRefusal::NoToken)),
            (&["Bearer everything"], Ok(Right::All)),
            (&["bearer everything"], Ok(Right::All)),
            (&["Bearer little"], Ok(Right::Publish)),
            // "any:everything" and "any:little".
            (&["Basic YW55OmV2ZXJ5dGhpbmc="], Ok(Right::All)),
            (&["Basic YW55OmxpdHRsZQ=="], Ok(Right::Publish)),
            (&["Bearer everything", "Bearer everything"], Err(HttpRefusal::WrongToken)),
            (&["Bearer wrong", "Bearer everything"], Err(HttpRefusal::WrongToken)),
            (&["Bearer "], Err(HttpRefusal::WrongToken)),
            (&["Bearer"], Err(HttpRefusal::WrongToken)),
            (&["everything"], Err(HttpRefusal::WrongToken)),
            (&["Bearer everything "], Err(HttpRefusal::WrongToken)),
            (&["Basic !"], Err(HttpRefusal::WrongToken)),
            (&["Digest everything"], Err(HttpRefusal::WrongToken)),
        ] {
            assert_eq!(right(&tokens, shown), expected, "{shown:?}");
        }
        let none = Tokens::default();
        assert_eq!(right(&none, &["Bearer whatever"]), Ok(Right::All));
        let one = Tokens { all: token("everything"), publish: None };
        assert_eq!(right(&one, &["Bearer little"]), Err(HttpRefusal::WrongToken));
    }
}
