//! The books at given times, and over restarts.

use std::path::Path;

use super::*;
use fleet::{Name, Shed};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn budget(bytes: u64) -> Budget {
    Budget {
        bytes,
        reset_day: 1,
        time_zone: jiff::tz::TimeZone::UTC,
        warn: 80,
        shed: Some(Shed { at: 90, below_priority: 5 }),
        stop: Some(100),
        urgent: Some(9),
    }
}

fn modem(name: &str, budget: Option<Budget>) -> fleet::Modem {
    fleet::Modem {
        name: Name::new(name).unwrap(),
        matching: fleet::Match {
            port: None,
            usb_path: None,
            imei: None,
            iccid: None,
            model: Some("SIM7600".to_owned()),
        },
        apn: None,
        pin: None,
        roaming: fleet::Roaming::Deny,
        radio: fleet::Owner::Ours,
        poll: Duration::from_secs(10),
        sms: fleet::Owner::Ours,
        line: modem::serial::Line::DEFAULT,
        recovery: fleet::Recovery::default(),
        budget,
        telemetry: None,
        sessions: Vec::new(),
    }
}

fn books(dir: &Path, bytes: u64) -> Arc<Books> {
    Books::open(dir, &[modem("a", Some(budget(bytes))), modem("b", Some(budget(bytes)))]).unwrap()
}

fn used(books: &Books, modem: &str, now: Timestamp) -> Option<u64> {
    books.state().standing(modem, now).unwrap().used
}

#[test]
fn the_steps_come_in_their_order() {
    let budget = budget(1_000);
    for (used, stage, floor) in [
        (0, Stage::Normal, 0),
        (799, Stage::Normal, 0),
        (800, Stage::Warned, 0),
        (899, Stage::Warned, 0),
        (900, Stage::Shedding, 5),
        (999, Stage::Shedding, 5),
        (1_000, Stage::Stopped, 9),
        (u64::MAX, Stage::Stopped, 9),
    ] {
        assert_eq!(Allowance::of(&budget, used), Allowance { stage, floor }, "{used}");
    }
    let strict = Budget { urgent: None, shed: None, ..budget.clone() };
    assert_eq!(Allowance::of(&strict, 950).stage, Stage::Warned);
    assert_eq!(Allowance::of(&strict, 1_000).floor, MAX_PRIORITY + 1, "none passes");
    let endless = Budget { stop: None, ..budget };
    assert_eq!(Allowance::of(&endless, 5_000).stage, Stage::Shedding);
}

#[tokio::test]
async fn a_count_survives_a_restart_and_goes_with_its_sim() {
    let dir = tempfile::tempdir().unwrap();
    let now = at("2026-11-25T10:00Z");
    {
        let books = books(dir.path(), 1_000);
        books.state().sim("a", Some("89861"), now);
        books.state().count("a", 850, now);
        assert_eq!(books.state().standing("a", now).unwrap().stage, Stage::Warned);
        books.save().await;
    }
    let books = books(dir.path(), 1_000);
    assert_eq!(used(&books, "a", now), None, "whose SIM is not known yet");
    books.state().sim("b", Some("89861"), now);
    assert_eq!(used(&books, "b", now), Some(850));
    let allowance = books.meter("b").allowance();
    assert_eq!(allowance.borrow().stage, Stage::Warned);
    // The SIM leaves, and another SIM comes in.
    books.state().sim("b", None, now);
    assert_eq!((used(&books, "b", now), allowance.borrow().stage), (None, Stage::Normal));
    books.state().sim("b", Some("89862"), now);
    assert_eq!(used(&books, "b", now), Some(0));
    books.state().sim("a", Some("89861"), now);
    assert_eq!(used(&books, "a", now), Some(850));
}

#[test]
fn what_was_carried_before_the_sim_was_known_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let now = at("2026-11-25T10:00Z");
    let books = books(dir.path(), 1_000);
    let mut state = books.state();
    state.count("a", 300, now);
    assert_eq!(
        state.standing("a", now).unwrap().used,
        Some(300),
        "one that never tells counts too"
    );
    state.sim("a", Some("89861"), now);
    state.count("a", 100, now);
    assert_eq!(state.standing("a", now).unwrap().used, Some(400));
    state.sim("a", None, now);
    assert_eq!(state.standing("a", now).unwrap().used, None, "nothing is counted twice");
}

#[test]
fn a_new_month_begins_with_nothing_also_for_a_quiet_sim() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path(), 1_000);
    let mut state = books.state();
    let november = at("2026-11-30T23:59:59Z");
    state.sim("a", Some("89861"), november);
    state.count("a", 1_000, november);
    let allowance = state.modems["a"].allowance.subscribe();
    assert_eq!(*allowance.borrow(), Allowance { stage: Stage::Stopped, floor: 9 });
    state.tick(at("2026-12-01T00:00Z"), Instant::now());
    assert_eq!(*allowance.borrow(), Allowance::default());
    assert_eq!(state.standing("a", at("2026-12-01T00:00Z")).unwrap().used, Some(0));
}

#[test]
fn a_clock_that_is_not_set_or_was_wrong_gives_nothing_away_and_keeps_nothing_for_ever() {
    let now = at("2026-11-25T10:00Z");
    let calendar = Calendar::default();
    let month = calendar.start(now);
    let mut account = Account { bytes: 500, ..Account::new(month) };
    // The gateway booted without a clock, which was set later.
    let epoch = Timestamp::UNIX_EPOCH;
    assert!(!account.roll(calendar.start(epoch), epoch));
    assert!(!account.roll(month, now));
    assert_eq!(account.bytes, 500);
    // The clock ran ahead for a while: bytes counted then stay with the real month.
    let ahead = at("2031-05-05T00:00Z");
    account.roll(calendar.start(ahead), ahead);
    account.bytes = 70;
    account.roll(month, now);
    assert_eq!(account, Account { bytes: 70, ..Account::new(month) });
    let december = at("2026-12-02T00:00Z");
    account.roll(calendar.start(december), december);
    assert_eq!(account.bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_only_pings_costs_its_pings() {
    let dir = tempfile::tempdir().unwrap();
    let books = books(dir.path(), 1_000_000);
    let meter = books.meter("a");
    let costs = Costs { connect: 700, keep_alive: Duration::from_secs(60), secured: false };
    books.state().modems.get_mut("a").unwrap().sessions = [("s".to_owned(), costs)].into();
    meter.sim(Some("89861"));
    meter.connect("s", false);
    meter.connect("s", true);
    let of = |pings: u64| Some(2 * 700 + pings * cost::ping(false));
    tokio::time::advance(Duration::from_secs(3_599)).await;
    let now = Timestamp::now();
    books.state().tick(now, Instant::now());
    assert_eq!(used(&books, "a", now), of(59));
    books.state().tick(now, Instant::now());
    assert_eq!(used(&books, "a", now), of(59), "each once");
    tokio::time::advance(Duration::from_secs(1)).await;
    meter.disconnect("s", DisconnectReason::Agent);
    tokio::time::advance(Duration::from_secs(600)).await;
    books.state().tick(now, Instant::now());
    assert_eq!(used(&books, "a", now), of(60));
}

#[tokio::test(start_paused = true)]
async fn little_is_written_down_each_minute_and_much_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budget.json");
    let books = books(dir.path(), 1_000_000);
    let (kept, stop) = (Arc::clone(&books), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { kept.keep(&stop).await });
    let count = |bytes| {
        books.state().sim("a", Some("89861"), Timestamp::now());
        books.state().count("a", bytes, Timestamp::now());
    };
    // The first count after a start.
    count(1);
    tokio::time::sleep(TICK * 2).await;
    std::fs::remove_file(&path).unwrap();
    count(1);
    tokio::time::sleep(PATIENCE - TICK * 3).await;
    assert!(!path.exists(), "a byte is not worth a write");
    tokio::time::sleep(TICK * 4).await;
    std::fs::remove_file(&path).unwrap();
    count(WORTH_WRITING);
    tokio::time::sleep(TICK * 2).await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_damaged_file_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budget.json");
    std::fs::write(&path, "{ half").unwrap();
    let books = books(dir.path(), 1_000);
    assert_eq!(std::fs::read(dir.path().join("budget.damaged")).unwrap(), b"{ half");
    let now = at("2026-11-25T10:00Z");
    books.state().sim("a", Some("89861"), now);
    books.state().count("a", 1, now);
    books.save().await;
    assert!(path.exists());
}

#[test]
fn the_number_of_accounts_is_bounded() {
    let mut state = State::default();
    for number in 0..300 {
        state.accounts.insert(format!("{number}"), Account { since: number, bytes: 1 });
    }
    state.forget_oldest();
    assert_eq!(
        (state.accounts.len(), state.accounts.values().map(|a| a.since).min()),
        (256, Some(44))
    );
}
