//! Digests of the secrets of a fleet, which show that a secret was changed in place.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use fleet::Fleet;
use fleet::secret::{Ref, Source};

/// Digests of secrets by their places. Kept in memory only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<Source, Option<[u8; 32]>>);

impl Contents {
    /// Reads all secrets of a fleet; one that cannot be read is remembered as such. It reads files: call
    /// it only if blocking is allowed.
    pub fn of(fleet: &Fleet) -> Self {
        let of_modems = fleet.modems.iter().flat_map(fleet::Modem::secrets);
        let of_sessions = fleet.sessions().flat_map(fleet::Session::secrets);
        let users = fleet.mqtt.iter().flat_map(|mqtt| mqtt.users.iter().map(|(_, secret)| secret));
        let all = of_modems.chain(of_sessions).chain(users).chain(&fleet.http.token);
        let all = all.chain(&fleet.http.publish_token);
        Self::read(all)
    }

    fn read<'a>(secrets: impl Iterator<Item = &'a Ref>) -> Self {
        let digest = |secret: &Ref| {
            let text = secret.read().ok()?;
            Some(Sha256::digest(text.expose_secret().as_bytes()).into())
        };
        Self(secrets.map(|secret| (secret.source().clone(), digest(secret))).collect())
    }

    /// Keeps the earlier digest of a secret whose new content is not applied.
    pub fn keep(&mut self, before: &Self, secret: &Ref) {
        if let Some(held) = before.0.get(secret.source()) {
            self.0.insert(secret.source().clone(), *held);
        }
    }

    /// Reports whether a secret that both know has another content there. A secret that only one of them knows
    /// is another reference, which shows by itself.
    pub fn differ(&self, other: &Self, secret: &Ref) -> bool {
        let of = |contents: &Self| contents.0.get(secret.source()).copied();
        of(self).zip(of(other)).is_some_and(|(one, other)| one != other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_in_place_is_seen_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Ref::new(name, Source::File(folder.path().join(name)));
        let (a, b) = (file("a"), file("b"));
        std::fs::write(folder.path().join("a"), "one\n").unwrap();
        let read = || Contents::read([&a, &b].into_iter());
        let before = read();
        assert!(before == read());
        std::fs::write(folder.path().join("a"), "two\n").unwrap();
        let after = read();
        assert!(before.differ(&after, &a) && !before.differ(&after, &b));
        assert!(!before.differ(&after, &file("c")), "nobody knows it");
        let mut not_applied = read();
        not_applied.keep(&before, &a);
        assert!(not_applied.differ(&after, &a), "the next reload sees it again");
        std::fs::remove_file(folder.path().join("a")).unwrap();
        assert!(after.differ(&read(), &a), "it is gone");
    }
}
