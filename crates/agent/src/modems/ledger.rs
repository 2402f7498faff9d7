//! The PIN tried on each SIM, and the access point in force: two small files that survive every
//! restart.
//!
//! Each SIM has a line for each modem in which it was tried: its identity, a random salt, and the
//! salted hash of the last PIN. A line is written before the try and removed when the SIM accepts
//! the PIN, so that a crash in between counts as a refusal. A hash cannot protect a four-digit PIN
//! from a reader of the file. The salt hides that two PINs are equal, and only the owner may read
//! the file.
//!
//! A modem may report any ICCID and IMEI: a new one for each try, or those of a card in another
//! modem. So an entry of the fleet file overwrites and removes only its own lines. Their number is
//! bounded, and the oldest make room: lines of other entries are never forgotten for them. A PIN in
//! any line for a SIM is not tried on that SIM.

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

/// The most lines of one modem, two for each try: more cards than a modem is given in its life.
const MAX_LINES: usize = 64;

/// The last try on one SIM.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tried {
    salt: String,
    hash: String,
    /// The SIM, or the place. None: the line's key names it, as all keys once did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sim: Option<String>,
    /// The modem, by its name in the fleet file. None: an earlier version wrote the line.
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
    /// Opens the ledger in `dir`, which must exist.
    pub fn new(dir: &Path) -> Self {
        Self {
            pins: Arc::new(dir.join("pins.json")),
            access_points: Arc::new(dir.join("access-points.json")),
            turn: Arc::new(Mutex::new(())),
            modem: None,
        }
    }

    /// Returns the ledger of the same files for a modem of this name.
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

/// Reads the lines. A damaged ledger is an error, not an empty ledger: it may have held a refusal.
fn lines(path: &Path) -> io::Result<Lines> {
    json_file::read(path)
}

impl Tried {
    fn new(secret: &SecretString, sim: Option<String>, modem: Option<String>) -> Self {
        let salt = uuid::Uuid::now_v7().to_string();
        Self { hash: hash(&salt, secret), salt, sim, modem }
    }

    fn is(&self, secret: &SecretString) -> bool {
        self.hash == hash(&self.salt, secret)
    }

    /// Reports whether the line of this key is about this SIM or place.
    fn is_about(&self, key: &str, sim: &str) -> bool {
        self.sim.as_deref().unwrap_or(key) == sim
    }
}

/// Finds the line of this modem about this SIM or place.
fn line_of<'a>(
    lines: &'a Lines,
    sim: &str,
    modem: Option<&str>,
) -> Option<(&'a String, &'a Tried)> {
    lines.iter().find(|(key, tried)| tried.is_about(key, sim) && tried.modem.as_deref() == modem)
}

/// Removes the line of this modem about this SIM or place; false if it had none.
fn forget(lines: &mut Lines, sim: &str, modem: Option<&str>) -> bool {
    let key = line_of(lines, sim, modem).map(|(key, _)| key.clone());
    key.is_some_and(|key| lines.remove(&key).is_some())
}

/// Replaces the line of this modem about this SIM or place.
fn replace(lines: &mut Lines, sim: &str, secret: &SecretString, modem: Option<&str>) {
    forget(lines, sim, modem);
    // An earlier version, which knows one line for each SIM, also finds the first line.
    let by_modem = modem.filter(|_| lines.contains_key(sim));
    let key = by_modem.map_or_else(|| sim.to_owned(), |modem| format!("{sim} by {modem}"));
    let named = modem.map(|_| sim.to_owned());
    lines.insert(key.clone(), Tried::new(secret, named, modem.map(str::to_owned)));
    make_room(lines, &key);
}

/// Forgets the oldest lines of the modem that owns the line `newest`, if they are too many.
fn make_room(lines: &mut Lines, newest: &str) {
    let Some(modem) = lines.get(newest).and_then(|tried| tried.modem.clone()) else { return };
    loop {
        let of_modem = lines.iter().filter(|(_, tried)| tried.modem.as_ref() == Some(&modem));
        if of_modem.clone().count() <= MAX_LINES {
            return;
        }
        // A salt begins with the time of its making.
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
    /// Reads a file's lines and passes them to `look`, with the name of the modem.
    async fn ask(
        &self,
        path: &Arc<PathBuf>,
        look: impl FnOnce(&Lines, Option<&str>) -> bool + Send + 'static,
    ) -> io::Result<bool> {
        let modem = self.modem.clone();
        self.with(path, move |path| Ok(look(&lines(path)?, modem.as_deref()))).await
    }

    /// Applies `change` to a file's lines, with the name of the modem. False from it: nothing
    /// changed.
    async fn change(
        &self,
        path: &Arc<PathBuf>,
        change: impl FnOnce(&mut Lines, Option<&str>) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let modem = self.modem.clone();
        self.with(path, move |path| {
            let mut lines = lines(path)?;
            match change(&mut lines, modem.as_deref()) {
                true => json_file::write(path, &lines),
                false => Ok(()),
            }
        })
        .await
    }
}

#[async_trait]
impl PinLedger for FileLedger {
    /// Looks at the lines of all modems: a PIN refused in one modem is not tried again in another.
    async fn was_refused(&self, sim: &str, pin: &SecretString) -> io::Result<bool> {
        let (sim, pin) = (sim.to_owned(), pin.clone());
        self.ask(&self.pins, move |lines, _| {
            lines.iter().any(|(key, tried)| tried.is_about(key, &sim) && tried.is(&pin))
        })
        .await
    }

    async fn trying(&self, sim: &str, pin: &SecretString) -> io::Result<()> {
        let (sim, pin) = (sim.to_owned(), pin.clone());
        self.change(&self.pins, move |lines, modem| {
            replace(lines, &sim, &pin, modem);
            true
        })
        .await
    }

    /// Removes the modem's own line. No other line holds an accepted PIN: it would not have been
    /// tried.
    async fn accepted(&self, sim: &str) -> io::Result<()> {
        let sim = sim.to_owned();
        self.change(&self.pins, move |lines, modem| forget(lines, &sim, modem)).await
    }

    /// Looks at the modem's own line, or at a line of a version that noted no modem.
    async fn is_attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<bool> {
        let (place, wanted) = (place.to_owned(), wanted.clone());
        self.ask(&self.access_points, move |lines, modem| {
            let line = line_of(lines, &place, modem).or_else(|| line_of(lines, &place, None));
            line.is_some_and(|(_, tried)| tried.is(&wanted))
        })
        .await
    }

    async fn attached_with(&self, place: &str, wanted: &SecretString) -> io::Result<()> {
        let (place, wanted) = (place.to_owned(), wanted.clone());
        self.change(&self.access_points, move |lines, modem| {
            // The note of an earlier version is no longer in force.
            forget(lines, &place, None);
            replace(lines, &place, &wanted, modem);
            true
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
        // The agent dies here, and a new agent reads the file.
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
        // A damaged ledger of PINs does not affect access points.
        fs::write(dir.path().join("pins.json"), "{ half").unwrap();
        assert!(ledger.is_attached_with("8986 in 49", &old).await.unwrap());
    }

    #[tokio::test]
    async fn a_modem_that_invents_cards_makes_others_forget_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let pin = SecretString::from("1234");
        // A line of an earlier version, and a line of a modem beside it.
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
    async fn a_modem_that_tells_the_card_of_another_one_takes_nothing_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let (wrong, other) = (SecretString::from("1234"), SecretString::from("4321"));
        let ledger = FileLedger::new(dir.path());
        let (north, south) = (ledger.of_modem("north"), ledger.of_modem("south"));
        north.trying("8986", &wrong).await.unwrap();
        south.trying("8986", &other).await.unwrap();
        assert!(north.was_refused("8986", &wrong).await.unwrap(), "not overwritten");
        let keys = lines(&dir.path().join("pins.json")).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(keys, ["8986", "8986 by south"], "a version before this one finds the first");
        south.accepted("8986").await.unwrap();
        assert!(north.was_refused("8986", &wrong).await.unwrap(), "not taken away");
        assert!(!north.was_refused("8986", &other).await.unwrap(), "its own line was");
        south.trying("8986", &other).await.unwrap();
        for iccid in 0..300 {
            south.trying(&format!("77{iccid}"), &other).await.unwrap();
        }
        for modem in [&north, &south] {
            assert!(modem.was_refused("8986", &wrong).await.unwrap(), "not pushed out");
        }
        north.trying("8986", &other).await.unwrap();
        assert!(!north.was_refused("8986", &wrong).await.unwrap(), "its own line is overwritten");
        north.accepted("8986").await.unwrap();
        assert!(!north.was_refused("8986", &other).await.unwrap());
    }

    #[tokio::test]
    async fn lines_of_earlier_versions_are_read_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (SecretString::from("1234"), SecretString::from("4321"));
        let line =
            |modem: &str| format!(r#"{{"salt": "s", "hash": "{}"{modem}}}"#, hash("s", &first));
        let (released, named) = (line(""), line(r#", "modem": "north""#));
        let pins = format!(r#"{{"8985": {released}, "8986": {named}}}"#);
        fs::write(dir.path().join("pins.json"), pins).unwrap();
        fs::write(dir.path().join("access-points.json"), format!(r#"{{"8985": {released}}}"#))
            .unwrap();
        let north = FileLedger::new(dir.path()).of_modem("north");
        for sim in ["8985", "8986"] {
            assert!(north.was_refused(sim, &first).await.unwrap(), "{sim}");
            north.trying(sim, &second).await.unwrap();
            north.accepted(sim).await.unwrap();
            assert!(!north.was_refused(sim, &second).await.unwrap(), "{sim}");
        }
        assert!(north.was_refused("8985", &first).await.unwrap(), "nobody's line stays");
        assert!(!north.was_refused("8986", &first).await.unwrap(), "its own was replaced");
        assert!(north.is_attached_with("8985", &first).await.unwrap());
        north.attached_with("8985", &second).await.unwrap();
        let south = FileLedger::new(dir.path()).of_modem("south");
        for modem in [north, south] {
            assert!(!modem.is_attached_with("8985", &first).await.unwrap(), "{:?}", modem.modem);
        }
    }

    #[tokio::test]
    async fn a_damaged_ledger_lets_no_pin_through() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pins.json"), "{ half").unwrap();
        let pin = SecretString::from("1234");
        assert!(FileLedger::new(dir.path()).was_refused("8986", &pin).await.is_err());
    }
}
