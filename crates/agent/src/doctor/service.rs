//! The agent's surroundings: its user, its queue's disk, the recovery of its modems, and its
//! watchdog.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use queue::Failing;

use super::Finding;

/// Each publish waits for one sync: applications notice a slower one.
const SLOW: Duration = Duration::from_millis(100);

/// Publishes practically stop at a slower sync.
const STUCK: Duration = Duration::from_secs(2);

/// The user whose rights count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its uid.
    pub uid: u32,
    /// Its name, if the machine knows it.
    pub name: Option<String>,
    /// The names or numbers of its groups.
    pub groups: Vec<String>,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "the user {name} (uid {})", self.uid),
            None => write!(f, "the user of uid {}", self.uid),
        }
    }
}

/// Observed facts of the queue's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The folder in the fleet file.
    pub path: PathBuf,
    /// The most bytes that the queue may hold.
    pub max_bytes: u64,
    /// The result of the trial.
    pub trial: Result<Trial, Refused>,
    /// The running agent's report on it.
    pub agent: Option<QueueReport>,
}

/// The failure of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The cause, which determines the cure.
    pub why: Why,
    /// The system's error.
    pub words: String,
}

/// The cause of a failed write. Each has a cure of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The file system is full, or this user's quota.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// The medium fails.
    Io,
    /// The folder belongs to another user.
    Denied,
    /// Any other cause.
    Other,
}

/// The report of a running agent on its queue's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueReport {
    /// The cause of its last commit's failure, if it failed.
    pub failing: Option<Failing>,
    /// True if the files that it has open are those in the folder.
    pub is_there: bool,
}

/// The result of several synced writes to the queue's folder, or to the nearest existing folder
/// above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The median time of a write and its sync.
    pub median: Duration,
    /// The longest time.
    pub worst: Duration,
    /// Free bytes there for this user.
    pub free: u64,
    /// True if a power loss deletes the folder: a tmpfs.
    pub is_volatile: bool,
}

/// Observed facts of the socket of `modemfleet recover`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The path of the socket.
    pub socket: PathBuf,
    /// True if this user may write to the socket; `None` if there is no socket.
    pub may_ask: Option<bool>,
    /// True if a modem of the fleet is on USB, and may be reset there.
    pub is_wanted: bool,
    /// The modems that name a power script.
    pub scripts: Vec<String>,
}

/// The watchdog that restarts a hanging agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watchdog {
    /// The agent runs, and systemd expects a sign of life at this interval.
    Watched(Duration),
    /// The agent runs without a watchdog.
    Unwatched,
    /// No agent runs; its unit is in this file, and the flag is true if it has a watchdog.
    Unit(PathBuf, bool),
    /// No agent runs, and it has no unit.
    NoUnit,
}

impl User {
    /// Returns the finding on the user; `is_agents` is true if it is that of a running agent.
    pub fn finding(&self, is_agents: bool) -> Finding {
        let groups = self.groups.join(", ");
        if self.uid == 0 && is_agents {
            return Finding::warn(
                "user",
                "the agent runs as root",
                "it needs only ttys and its folder: deploy/systemd/modemfleet.service runs it as a user of its own",
            );
        }
        if self.uid == 0 {
            return Finding::warn(
                "user",
                "doctor runs as root, which can open everything; the rights of the agent's user are not checked",
                "`sudo -u modemfleet modemfleet doctor` checks as the agent's user",
            );
        }
        Finding::ok("user", format!("{self}, in the groups {groups}"))
    }
}

impl Disk {
    /// Returns the finding on the disk.
    pub fn finding(&self) -> Finding {
        let (check, path) = ("disk", self.path.display());
        if let Some(finding) = self.gone().or_else(|| self.refuses()) {
            return finding;
        }
        let Ok(trial) = &self.trial else { return Finding::ok(check, format!("{path}")) };
        let Trial { median, worst, free, is_volatile } = trial;
        let took = format!("a sync takes {}, at worst {}", ms(*median), ms(*worst));
        if *median >= STUCK {
            let advice = "the medium is failing or far too slow: put the queue on another one";
            return Finding::fail(check, format!("{path}: {took}"), advice);
        }
        if *free < self.max_bytes {
            let (free, max) = (bytesize::ByteSize::b(*free), bytesize::ByteSize::b(self.max_bytes));
            return Finding::warn(
                check,
                format!("{path}: {free} are free, but the queue can grow to {max}"),
                "free some space, or lower `queue: { max_bytes: … }`: a full disk refuses messages (507)",
            );
        }
        if *is_volatile {
            return Finding::warn(
                check,
                format!("{path} is in memory (tmpfs): a power loss deletes all queued messages"),
                "set `queue: { path: … }` to a folder on a disk, such as /var/lib/modemfleet/queue",
            );
        }
        if *median >= SLOW {
            return Finding::warn(
                check,
                format!("{path}: {took}, and each publish waits for a sync"),
                "use a better card or disk; or `queue: { fsync: interval }`, if a power loss may cost the last second",
            );
        }
        Finding::ok(check, format!("{path}: {took}"))
    }
}

impl Disk {
    /// Reports that the agent writes to files that are no longer in the folder.
    fn gone(&self) -> Option<Finding> {
        let told = self.agent?;
        let is_gone = !told.is_there || told.failing == Some(Failing::Removed);
        let path = self.path.display();
        is_gone.then(|| {
            Finding::fail(
                "disk",
                format!("{path} was removed or replaced while the agent runs: messages that it accepts now are lost when it ends"),
                "publish nothing more, let the agent deliver its messages (`modemfleet queue stat`), and restart it; then find the program that deletes that folder or mounts over it",
            )
        })
    }

    /// Reports that this process or the agent cannot write there.
    fn refuses(&self) -> Option<Finding> {
        let refused = self.trial.as_ref().err();
        let (why, words) = match (refused, self.agent.and_then(|told| told.failing)) {
            (Some(refused), _) => (refused.why, refused.words.clone()),
            (None, Some(failing)) => {
                (Why::of(failing), "the agent's last commit failed".to_owned())
            }
            (None, None) => return None,
        };
        let path = self.path.display();
        let message = match why {
            Why::Full => format!("the disk of the queue's folder {path} is full: {words}"),
            Why::ReadOnly => {
                format!("the file system of the queue's folder {path} is read-only: {words}")
            }
            Why::Io => format!("the disk of the queue's folder {path} fails: {words}"),
            Why::Denied | Why::Other => {
                format!("the queue's folder {path} cannot be written: {words}")
            }
        };
        Some(Finding::fail("disk", message, why.advice()))
    }
}

impl Why {
    /// Returns the cause that the queue reports.
    fn of(failing: Failing) -> Self {
        match failing {
            Failing::DiskFull => Self::Full,
            Failing::ReadOnly => Self::ReadOnly,
            Failing::Io => Self::Io,
            Failing::Removed | Failing::Other => Self::Other,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Full => {
                "remove other files from its file system (`df -h`, or `df -i` if the inodes are used up): the agent then continues by itself. Do not restart it: messages whose delivery is not recorded would be published again"
            }
            Self::ReadOnly => {
                "the kernel makes a file system read-only after an error: see `dmesg`, check it and mount it for writing again; a unit with ProtectSystem=strict needs the folder in `ReadWritePaths=`"
            }
            Self::Io => {
                "see `dmesg`; stop the agent, copy the folder to another disk while it is readable, and set `queue: { path: … }` to the copy"
            }
            Self::Denied => {
                "make the agent's user its owner (`chown modemfleet`, mode 0700), or set `queue: { path: … }` to another folder"
            }
            Self::Other => "see the agent's log, or set `queue: { path: … }` to another folder",
        }
    }
}

fn ms(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{} ms", micros / 1_000, micros / 100 % 10)
}

impl Recovery {
    /// Returns the finding on the socket; none if no modem needs it.
    pub fn finding(&self) -> Option<Finding> {
        let (check, socket) = ("recovery", self.socket.display());
        if !self.is_wanted && self.scripts.is_empty() {
            return None;
        }
        let enable = "`systemctl enable --now modemfleet-recover.socket`, see docs/recovery.md";
        Some(match (self.may_ask, self.scripts.is_empty()) {
            (Some(true), _) => Finding::ok(check, format!("{socket} resets modems for the agent")),
            (Some(false), _) => Finding::fail(
                check,
                format!("{socket} is there, but this user cannot write to it"),
                "it belongs to the group modemfleet: run the agent with that group",
            ),
            (None, true) => Finding::warn(
                check,
                format!("{socket} does not exist: no USB device can be reset"),
                enable,
            ),
            (None, false) => Finding::fail(
                check,
                format!(
                    "{socket} does not exist, and `power_script` of {} needs it",
                    self.scripts.join(", ")
                ),
                enable,
            ),
        })
    }
}

impl Watchdog {
    /// Returns the finding on the watchdog.
    pub fn finding(&self) -> Finding {
        let check = "watchdog";
        let install =
            "run the agent with deploy/systemd/modemfleet.service, which has WatchdogSec=30s";
        match self {
            Self::Watched(limit) => {
                let every = humantime::format_duration(*limit);
                Finding::ok(check, format!("systemd expects a sign of life each {every}"))
            }
            Self::Unwatched => {
                Finding::warn(check, "no watchdog restarts the agent if it hangs", install)
            }
            Self::Unit(path, true) => {
                Finding::ok(check, format!("{} has a watchdog", path.display()))
            }
            Self::Unit(path, false) => Finding::warn(
                check,
                format!("{} has no WatchdogSec=", path.display()),
                "add `WatchdogSec=30s` (`systemctl edit modemfleet`)",
            ),
            Self::NoUnit => {
                Finding::warn(check, "no systemd unit of the agent is installed", install)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::doctor::Level;

    fn check(found: &Finding, level: Level, message: &str, advice: &str) {
        assert_eq!(found.level, level, "{found:?}");
        assert!(found.message.contains(message), "{found:?}");
        assert!(found.advice.as_deref().unwrap_or_default().contains(advice), "{found:?}");
        assert_eq!(found.advice.is_none(), level == Level::Ok, "{found:?}");
    }

    #[test]
    fn root_sees_less_than_it_may() {
        let of =
            |uid| User { uid, name: Some("gw".to_owned()), groups: vec!["dialout".to_owned()] };
        check(&of(0).finding(false), Level::Warn, "root", "sudo -u modemfleet");
        check(&of(0).finding(true), Level::Warn, "the agent runs as root", "deploy/systemd");
        check(&of(7).finding(true), Level::Ok, "the user gw (uid 7), in the groups dialout", "");
    }

    #[test]
    fn a_disk_is_judged_by_its_sync_its_room_and_what_it_is() {
        let trial = Trial {
            median: Duration::from_micros(4_260),
            worst: Duration::from_millis(31),
            free: 1 << 30,
            is_volatile: false,
        };
        let of =
            |trial| Disk { path: "/q".into(), max_bytes: 1 << 26, trial, agent: None }.finding();
        let ms = Duration::from_millis;
        check(&of(Ok(trial.clone())), Level::Ok, "/q: a sync takes 4.2 ms, at worst 31.0 ms", "");
        check(
            &of(Ok(Trial { median: ms(150), ..trial.clone() })),
            Level::Warn,
            "150.0 ms",
            "fsync: interval",
        );
        check(
            &of(Ok(Trial { median: ms(2_000), ..trial.clone() })),
            Level::Fail,
            "2000.0 ms",
            "failing",
        );
        check(
            &of(Ok(Trial { free: 1 << 20, ..trial.clone() })),
            Level::Warn,
            "1.0 MiB are free",
            "max_bytes",
        );
        check(
            &of(Ok(Trial { is_volatile: true, ..trial })),
            Level::Warn,
            "tmpfs",
            "/var/lib/modemfleet",
        );
    }

    #[test]
    fn a_disk_that_is_not_written_is_cured_by_what_ails_it() {
        for (why, message, advice) in [
            (Why::Full, "is full: words", "`df -h`"),
            (Why::ReadOnly, "is read-only: words", "ReadWritePaths="),
            (Why::Io, "fails: words", "copy the folder to another disk"),
            (Why::Denied, "cannot be written: words", "chown modemfleet"),
            (Why::Other, "cannot be written: words", "the agent's log"),
        ] {
            let trial = Err(Refused { why, words: "words".to_owned() });
            let found = Disk { path: "/q".into(), max_bytes: 1, trial, agent: None }.finding();
            check(&found, Level::Fail, message, advice);
            assert_eq!(advice.contains("chown"), found.advice.unwrap().contains("chown"));
        }
    }

    #[test]
    fn a_running_agent_knows_more_than_the_trial() {
        let millis = Duration::from_millis(1);
        let trial = Trial { median: millis, worst: millis, free: 1 << 30, is_volatile: false };
        let of = |failing, is_there| {
            let agent = Some(QueueReport { failing, is_there });
            Disk { path: "/q".into(), max_bytes: 1, trial: Ok(trial.clone()), agent }.finding()
        };
        check(&of(None, true), Level::Ok, "a sync takes", "");
        for (failing, is_there) in [(None, false), (Some(Failing::Removed), true)] {
            check(&of(failing, is_there), Level::Fail, "/q was removed or replaced", "restart it");
        }
        for (failing, message, advice) in [
            (
                Failing::DiskFull,
                "is full: the agent's last commit failed",
                "would be published again",
            ),
            (Failing::ReadOnly, "is read-only", "dmesg"),
            (Failing::Io, "fails: the agent's", "another disk"),
            (Failing::Other, "cannot be written", "log"),
        ] {
            check(&of(Some(failing), true), Level::Fail, message, advice);
        }
    }

    #[test]
    fn who_resets_modems_matters_only_where_somebody_would_ask() {
        let of = |may_ask, is_wanted, scripts: &[&str]| {
            let scripts = scripts.iter().map(|name| (*name).to_owned()).collect();
            Recovery { socket: "/run/r.sock".into(), may_ask, is_wanted, scripts }.finding()
        };
        assert_eq!(of(None, false, &[]), None);
        check(&of(Some(true), true, &[]).unwrap(), Level::Ok, "/run/r.sock", "");
        check(&of(None, true, &[]).unwrap(), Level::Warn, "does not exist", "systemctl enable");
        check(&of(None, false, &["north"]).unwrap(), Level::Fail, "of north", "systemctl enable");
        check(&of(Some(false), true, &[]).unwrap(), Level::Fail, "cannot write", "group");
    }

    #[test]
    fn somebody_has_to_watch() {
        let second = Duration::from_secs(1);
        check(&Watchdog::Watched(30 * second).finding(), Level::Ok, "each 30s", "");
        check(&Watchdog::Unwatched.finding(), Level::Warn, "hangs", "WatchdogSec=30s");
        let unit = |watches| Watchdog::Unit("/etc/x.service".into(), watches).finding();
        check(&unit(true), Level::Ok, "/etc/x.service", "");
        check(&unit(false), Level::Warn, "no WatchdogSec=", "systemctl edit");
        check(&Watchdog::NoUnit.finding(), Level::Warn, "no systemd unit", "deploy/systemd");
    }
}
