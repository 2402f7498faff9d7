//! Which PIN was tried on which SIM, and which access point is in force: two small files that survive every restart.
//!
//! Each SIM has a line: its identity, a random salt, and the salted hash of the PIN tried last. A
//! line is written before the try and taken away when the SIM accepts, so that a crash in between
//! counts as a refusal. A four-digit PIN cannot be protected by a hash against somebody who has the
//! file; the salt keeps equal PINs from showing as equal, and the file is readable by its owner only.
//!
//! A modem tells whatever ICCID and IMEI it likes, a new one for each try. So the lines that come of one entry of the
//! fleet file are bounded, and make room among themselves: what others have written down is never forgotten for it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use modem::sim::PinLedger;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::json_file;

/// The lines that come of one modem, two for each try: more cards than one modem is given in its life.
const MAX_LINES: usize = 64;

/// What was tried on one SIM.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tried {
    salt: String,
    hash: String,
    /// In which modem, by its name in the fleet file. None: written down by a version before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modem: Option<String>,
}

type Lines = BTreeMap<String, Tried>;

/// The ledger in its files.
#[derive(Debug, Clone)]
pub struct FileLedger {
    pins: Arc<PathBuf>,
    access_points: Arc<PathBuf>,
    /// Held while a file is read and written: modems unlock at the same time.
    turn: Arc<Mutex<()>>,
    modem: Option<String>,
}

impl FileLedger {
    /// The ledger in `dir`, which must be there.
    pub fn new(dir: &Path) -> Self {
        Self {
            pins: Arc::new(dir.join("pins.json")),
            access_points: Arc::new(dir.join("access-points.json")),
            turn: Arc::new(Mutex::new(())),
            modem: None,
        }
    }

    /// The same files, for a modem of this name.
    pub fn of_modem(&self, name: &str) -> Self {
        Self { modem: Some(name.to_owned()), ..self.clone() }
    }

    async fn with<T: Send + 'static>(
        &self,
        path: &Arc<PathBuf>,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (path, turn) = (Arc::clone(path), Arc::clone(&self.turn));
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            work(&path)
        });
        done.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// What is remembered. A damaged ledger is an error, not an empty one: it may have held a refusal.
fn lines(path: &Path) -> io::Result<Lines> {
    json_file::read(path)
}

impl Tried {
    fn new(secret: &SecretString, modem: Option<String>) -> Self {
        let salt = uuid::Uuid::now_v7().to_string();
        Self { hash: hash(&salt, secret), salt, modem }
    }

    fn is(&self, secret: &SecretString) -> bool {
        self.hash == hash(&self.salt, secret)
    }
}

/// Forgets the oldest lines that came of the modem of the line `newest`, where they are too many.
fn make_room(lines: &mut Lines, newest: &str) {
    let Some(modem) = lines.get(newest).and_then(|tried| tried.modem.clone()) else { return };
    loop {
        let of_modem = lines.iter().filter(|(_, tried)| tried.modem.as_ref() == Some(&modem));
        if of_modem.clone().count() <= MAX_LINES {
            return;
        }
        // A salt begins with the time at which it was made.
        let others = of_modem.filter(|(name, _)| *name != newest);
        let oldest = others.min_by(|(_, one), (_, other)| one.salt.cmp(&other.salt));
        let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
        lines.remove(&name);
    }
}

fn hash(salt: &str, secret: &SecretString) -> String {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(secret.expose_secret());
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl FileLedger {
    async fn holds(
        &self,
        path: &Arc<PathBuf>,
        key: &str,
        secret: &SecretString,
    ) -> io::Result<bool> {
        let (key, secret) = (key.to_owned(), secret.clone());
        self.with(path, move |path| Ok(lines(path)?.get(&key).is_some_and(|it| it.is(&secret))))
            .await
    }

    async fn note(&self, path: &Arc<PathBuf>, key: &str, secret: &SecretString) -> io::Result<()> {
        let (key, tried) = (key.to_owned(), Tried::new(secret, self.modem.clone()));
        self.with(path, move |path| {
            let mut lines = lines(path)?;
            lines.insert(key.clone(), tried);
            make_room(&mut lines, &key);
            json_file::write(path, &lines)
        })
        .await
    }
}

#[async_trait]
impl PinLedger for FileLedger {
    async fn was_refused(&self, sim: &str, pin: &SecretString) -> io::Result<bool> {
        self.holds(&self.pins, sim, pin).await
    }

    async fn trying(&self, sim: &str, pin: &SecretString) -> io::Result<()> {
        self.note(&self.pins, sim, pin).await
    }

    async fn accepted(&self, sim: &str) -> io::Result<()> {
        let sim = sim.to_owned();
        self.with(&self.pins, move |path| {
            let mut lines = lines(path)?;
            match lines.remove(&sim) {
                Some(_) => json_file::write(path, &lines),
                None => Ok(()),
            }
        })
        .await
    }

    async fn is_attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<bool> {
        self.holds(&self.access_points, place, wanted).await
    }

    async fn attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<()> {
        self.note(&self.access_points, place, wanted).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_try_counts_as_refused_until_it_is_accepted_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (wrong, right) = (SecretString::from("1234"), SecretString::from("4321"));
        let ledger = FileLedger::new(dir.path());
        assert!(!ledger.was_refused("8986", &wrong).await.unwrap());
        ledger.trying("8986", &wrong).await.unwrap();
        // The agent dies here, and a new one reads the file.
        let ledger = FileLedger::new(dir.path());
        assert!(ledger.was_refused("8986", &wrong).await.unwrap());
        assert!(!ledger.was_refused("8986", &right).await.unwrap(), "a corrected PIN may be tried");
        assert!(!ledger.was_refused("8987", &wrong).await.unwrap(), "another SIM may be tried");
        ledger.trying("8986", &right).await.unwrap();
        ledger.accepted("8986").await.unwrap();
        assert!(!ledger.was_refused("8986", &right).await.unwrap());
        let text = fs::read_to_string(dir.path().join("pins.json")).unwrap();
        assert!(!text.contains("1234") && !text.contains("4321"));
    }

    #[tokio::test]
    async fn an_access_point_is_known_again_after_a_restart_and_gives_no_password_away() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) =
            (SecretString::from("apn\nu\nsecret1"), SecretString::from("apn\nu\nsecret2"));
        let ledger = FileLedger::new(dir.path());
        assert!(!ledger.is_attached_with("8986 in 49", &old).await.unwrap());
        ledger.attached_with("8986 in 49", &old).await.unwrap();
        let ledger = FileLedger::new(dir.path());
        assert!(ledger.is_attached_with("8986 in 49", &old).await.unwrap());
        assert!(!ledger.is_attached_with("8986 in 49", &new).await.unwrap(), "another password");
        assert!(!ledger.is_attached_with("8987 in 49", &old).await.unwrap(), "another card");
        let text = fs::read_to_string(dir.path().join("access-points.json")).unwrap();
        assert!(!text.contains("secret"), "{text}");
        // A PIN's ledger that is damaged says nothing of access points.
        fs::write(dir.path().join("pins.json"), "{ half").unwrap();
        assert!(ledger.is_attached_with("8986 in 49", &old).await.unwrap());
    }

    #[tokio::test]
    async fn a_modem_that_invents_cards_makes_others_forget_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let pin = SecretString::from("1234");
        // A line of a version before this one, and one of a modem beside it.
        FileLedger::new(dir.path()).trying("8985", &pin).await.unwrap();
        let ledger = FileLedger::new(dir.path());
        ledger.of_modem("north").trying("8986", &pin).await.unwrap();
        let hostile = ledger.of_modem("south");
        hostile.trying("any in 49", &pin).await.unwrap();
        for iccid in 0..300 {
            hostile.trying(&format!("77{iccid}"), &pin).await.unwrap();
            hostile.trying("any in 49", &pin).await.unwrap();
        }
        let ledger = FileLedger::new(dir.path());
        for kept in ["8985", "8986", "77299", "any in 49"] {
            assert!(ledger.was_refused(kept, &pin).await.unwrap(), "{kept}");
        }
        assert!(!ledger.was_refused("770", &pin).await.unwrap(), "the oldest of its own goes");
        assert_eq!(lines(&dir.path().join("pins.json")).unwrap().len(), MAX_LINES + 2);
    }

    #[tokio::test]
    async fn a_damaged_ledger_lets_no_pin_through() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pins.json"), "{ half").unwrap();
        let pin = SecretString::from("1234");
        assert!(FileLedger::new(dir.path()).was_refused("8986", &pin).await.is_err());
    }
}
