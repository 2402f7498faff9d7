//! Tests of the history: restarts, pages, repetitions.

use super::*;

fn event(modem: &str, words: &str) -> Event {
    let (modem, words) = (Some(modem.to_owned()), words.to_owned());
    Event { kind: "state".to_owned(), modem, words, ..Event::default() }
}

fn words(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.words.as_str()).collect()
}

#[tokio::test]
async fn the_history_outlives_a_restart_and_says_how_the_run_before_ended() {
    let folder = tempfile::tempdir().unwrap();
    let first = Chronicle::open(folder.path());
    let id = first.push(event("north", "serving"));
    first.amend(id, "serving\nagain");
    first.save().await;
    let second = Chronicle::open(folder.path());
    let (page, more) = second.page(None, u64::MAX, 10);
    assert!(!more && page[0].words.ends_with("did not end in order"), "{page:?}");
    assert_eq!((page[1].words.as_str(), page[1].id), ("serving\u{fffd}again", id));
    second.ending();
    second.push(event("north", "disconnected: the agent ends"));
    second.save().await;
    let third = Chronicle::open(folder.path());
    let (page, _) = third.page(None, u64::MAX, 10);
    assert!(page[0].words.ends_with(" started") && page[0].id > page[1].id, "{page:?}");
    assert_eq!(words(&page[1..])[0], ENDED);
}

#[test]
fn pages_go_back_in_time_and_keep_to_one_modem() {
    let chronicle = Chronicle::default();
    for number in 0..10 {
        chronicle.push(event(if number % 2 == 0 { "north" } else { "south" }, &number.to_string()));
    }
    let (page, more) = chronicle.page(Some("north"), u64::MAX, 3);
    assert_eq!((words(&page), more), (vec!["8", "6", "4"], true));
    let (page, more) = chronicle.page(Some("north"), page[2].id, 3);
    assert_eq!((words(&page), more), (vec!["2", "0"], false));
    assert_eq!(words(&chronicle.since(8, 10)), ["8", "9"]);
    assert_eq!(words(&chronicle.since(0, 1)), ["9"]);
}

#[test]
fn what_repeats_within_minutes_is_counted_and_leaves_room_for_the_rest() {
    let chronicle = Chronicle::default();
    for _ in 0..3_000 {
        chronicle.push(event("north", "searches for a network"));
        chronicle.push(event("north", "serving"));
        chronicle.push(event("south", "serving"));
    }
    let (page, _) = chronicle.page(None, u64::MAX, 10);
    assert_eq!(words(&page), ["serving", "serving", "searches for a network"]);
    assert!(page.iter().all(|event| event.repeated == 2_999 && event.until.is_some()), "{page:?}");
    let by = |words: &str| Event { by: Some("http.token".to_owned()), ..event("north", words) };
    chronicle.push(by("reset"));
    chronicle.push(by("reset"));
    assert_eq!(
        chronicle.page(None, u64::MAX, 10).0.len(),
        5,
        "each action of a person stands alone"
    );
    for number in 0..3_000 {
        chronicle.push(event("north", &number.to_string()));
    }
    assert_eq!(chronicle.page(None, u64::MAX, 5_000).0.len(), MAX_EVENTS);
}

#[test]
fn a_disconnect_whose_reason_comes_later_is_counted_at_the_one_before() {
    let chronicle = Chronicle::default();
    for _ in 0..3 {
        let id = chronicle.push(event("north", "disconnected by its broker"));
        chronicle.amend(id, "disconnected: code 4");
    }
    let (page, _) = chronicle.page(None, u64::MAX, 10);
    assert_eq!((words(&page), page[0].repeated), (vec!["disconnected: code 4"], 2));
}

#[test]
fn an_event_of_long_ago_is_not_repeated() {
    let mut state = State::default();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let first = state.push(event("north", "serving"), start);
    assert_eq!(state.push(event("north", "serving"), start + REPEATS / 2), first);
    assert_ne!(state.push(event("north", "serving"), start + 2 * REPEATS), first);
}
