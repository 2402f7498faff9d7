//! Which PIN was tried on which SIM: one small file that survives every restart.
//!
//! Each SIM has a line: its identity, a random salt, and the salted hash of the PIN tried last. A
//! line is written before the try and taken away when the SIM accepts, so that a crash in between
//! counts as a refusal. A four-digit PIN cannot be protected by a hash against somebody who has the
//! file; the salt keeps equal PINs from showing as equal, and the file is readable by its owner only.

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

/// What was tried on one SIM.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tried {
    salt: String,
    hash: String,
}

type Lines = BTreeMap<String, Tried>;

/// The ledger in one file.
#[derive(Debug, Clone)]
pub struct FileLedger {
    path: Arc<PathBuf>,
    /// Held while the file is read and written: modems unlock at the same time.
    turn: Arc<Mutex<()>>,
}

impl FileLedger {
    /// The ledger in `dir`, which must be there.
    pub fn new(dir: &Path) -> Self {
        Self { path: Arc::new(dir.join("pins.json")), turn: Arc::new(Mutex::new(())) }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (path, turn) = (Arc::clone(&self.path), Arc::clone(&self.turn));
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

fn hash(salt: &str, pin: &SecretString) -> String {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(pin.expose_secret());
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[async_trait]
impl PinLedger for FileLedger {
    async fn was_refused(&self, sim: &str, pin: &SecretString) -> io::Result<bool> {
        let (sim, pin) = (sim.to_owned(), pin.clone());
        self.with(move |path| {
            Ok(lines(path)?.get(&sim).is_some_and(|tried| tried.hash == hash(&tried.salt, &pin)))
        })
        .await
    }

    async fn trying(&self, sim: &str, pin: &SecretString) -> io::Result<()> {
        let salt = uuid::Uuid::now_v7().to_string();
        let tried = Tried { hash: hash(&salt, pin), salt };
        let sim = sim.to_owned();
        self.with(move |path| {
            let mut lines = lines(path)?;
            lines.insert(sim, tried);
            json_file::write(path, &lines)
        })
        .await
    }

    async fn accepted(&self, sim: &str) -> io::Result<()> {
        let sim = sim.to_owned();
        self.with(move |path| {
            let mut lines = lines(path)?;
            match lines.remove(&sim) {
                Some(_) => json_file::write(path, &lines),
                None => Ok(()),
            }
        })
        .await
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
    async fn a_damaged_ledger_lets_no_pin_through() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pins.json"), "{ half").unwrap();
        let pin = SecretString::from("1234");
        assert!(FileLedger::new(dir.path()).was_refused("8986", &pin).await.is_err());
    }
}
