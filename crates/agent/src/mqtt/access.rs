//! The users who may connect.

use std::collections::HashMap;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use fleet::secret::{Ref, SecretError};

/// The users with the digests of their passwords: a comparison of two digests gives nothing away.
#[derive(Clone, Default)]
pub struct Users(HashMap<String, [u8; 32]>);

fn digest(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

impl Users {
    /// Reads the passwords. Without users everyone may connect.
    ///
    /// # Errors
    /// [`SecretError`] if a password cannot be read.
    pub fn read(users: &[(String, Ref)]) -> Result<Self, SecretError> {
        let read = |(name, secret): &(String, Ref)| {
            Ok((name.clone(), digest(secret.read()?.expose_secret().as_bytes())))
        };
        users.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The user of this name; none if everyone may connect, since names are not checked then.
    pub(super) fn user<'a>(&self, name: Option<&'a str>) -> Option<&'a str> {
        name.filter(|_| !self.0.is_empty())
    }

    /// Reports whether a client with this name and password may connect.
    pub(super) fn admit(&self, name: Option<&str>, password: Option<&[u8]>) -> bool {
        let shown = digest(password.unwrap_or_default());
        self.0.is_empty()
            || name.and_then(|name| self.0.get(name)).is_some_and(|known| *known == shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::secret::Source;

    #[test]
    fn with_users_only_they_come_in_and_without_everyone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "open sesame\n").unwrap();
        let users = Users::read(&[("a".to_owned(), Ref::new("a", Source::File(path)))]).unwrap();
        assert!(users.admit(Some("a"), Some(b"open sesame")));
        for (name, password) in [
            (Some("a"), Some(&b"open"[..])),
            (Some("a"), None),
            (Some("b"), Some(b"open sesame")),
            (None, Some(b"open sesame")),
            (None, None),
        ] {
            assert!(!users.admit(name, password), "{name:?}");
        }
        assert!(Users::default().admit(None, None) && Users::default().admit(Some("x"), None));
    }
}
