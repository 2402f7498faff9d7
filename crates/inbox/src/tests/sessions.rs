//! Tests of sessions: the messages they get, the state they keep, and their owners.

use super::*;
use crate::{AttachError, MAX_SESSIONS};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_session_gets_what_it_missed_from_the_moment_it_asked() {
    let mut desk = Desk::new();
    desk.put("a/x", "before").unwrap();
    let (attached, hold) = desk.attach("s");
    assert!(!attached.present && attached.expiry == DAY && attached.filters.is_empty());
    desk.ask(hold.subscribe(vec![("a/#".to_owned(), 1), ("b".to_owned(), 0)])).unwrap();
    drop(hold);
    for (topic, payload) in [("a/x", "1"), ("c", "2"), ("b", "3"), ("a/y", "4")] {
        desk.put(topic, payload).unwrap();
    }
    let mut desk = desk.killed();
    let (attached, hold) = desk.attach("s");
    assert!(attached.present);
    assert_eq!(attached.filters, [("a/#".to_owned(), 1), ("b".to_owned(), 0)]);
    assert!(attached.sent >= 5, "what was sent before a kill is not known: all may have been");
    let got = [("1".to_owned(), 1), ("3".to_owned(), 0), ("4".to_owned(), 1)];
    assert_eq!(desk.pull(&hold, attached.position), got);
    // A repeated filter keeps its beginning; another filter has its own.
    desk.ask(hold.subscribe(vec![("a/#".to_owned(), 0), ("c".to_owned(), 1)])).unwrap();
    let got = [("1".to_owned(), 0), ("3".to_owned(), 0), ("4".to_owned(), 0)];
    assert_eq!(desk.pull(&hold, attached.position), got);
    let gone = vec!["b".to_owned(), "none".to_owned()];
    assert_eq!(desk.ask(hold.unsubscribe(gone)).unwrap(), [true, false]);
    assert_eq!(desk.pull(&hold, attached.position).len(), 2);
    // After it is removed and added again it has a new beginning, also on disk.
    desk.ask(hold.unsubscribe(vec!["a/#".to_owned()])).unwrap();
    desk.ask(hold.subscribe(vec![("a/#".to_owned(), 1)])).unwrap();
    drop(hold);
    let mut desk = desk.killed();
    let (attached, hold) = desk.attach("s");
    assert!(desk.pull(&hold, attached.position).is_empty());
}

#[test]
fn a_message_goes_once_all_that_want_it_have_it() {
    let mut desk = Desk::new();
    let (_, one) = desk.attach("one");
    let (_, two) = desk.attach("two");
    for hold in [&one, &two] {
        desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    }
    for n in 1..=3 {
        desk.put("t", &n.to_string()).unwrap();
    }
    desk.ask(one.confirm(3)).unwrap();
    assert_eq!(desk.inbox.stat().messages, 3);
    desk.ask(two.confirm(2)).unwrap();
    assert_eq!(desk.inbox.stat().messages, 1);
    // Beyond the last message nothing can be confirmed.
    desk.ask(two.confirm(99)).unwrap();
    assert_eq!(desk.inbox.stat().messages, 0);
    desk.put("t", "4").unwrap();
    assert_eq!(desk.pull(&one, 3), [("4".to_owned(), 1)]);
    // Messages that no filter wants do not wait.
    desk.ask(one.confirm(4)).unwrap();
    desk.ask(two.confirm(4)).unwrap();
    desk.put("u", "5").unwrap();
    assert_eq!(desk.inbox.stat().messages, 0);
    assert_eq!(desk.inbox.stat().dropped, crate::Dropped::default());
}

#[test]
fn nobody_takes_over_the_session_of_another_user() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    let attach = |desk: &mut Desk, user: Option<&str>, clean| {
        let attached = desk.ask(inbox.attach("s", user, clean, None));
        attached.map(|attached| attached.unwrap().0.present)
    };
    assert_eq!(attach(&mut desk, Some("a"), false), Ok(false));
    assert_eq!(attach(&mut desk, Some("b"), false), Err(AttachError::Owner));
    assert_eq!(attach(&mut desk, Some("b"), true), Err(AttachError::Owner));
    assert!(inbox.is_of_another("s", Some("b")) && !inbox.is_of_another("s", Some("a")));
    inbox.end("s", Some("b"));
    assert_eq!(attach(&mut desk, Some("a"), false), Ok(true));
    drop(inbox);
    let mut desk = desk.killed();
    let inbox = desk.inbox.clone();
    assert!(inbox.is_of_another("s", Some("b")));
    let attached = desk.ask(inbox.attach("s", Some("b"), true, None));
    assert_eq!(attached.map(drop), Err(AttachError::Owner), "the file knows the owner");
    inbox.end("s", Some("a"));
    desk.pump();
    assert!(!inbox.has_session("s"));
}

#[test]
fn an_expiry_of_zero_ends_with_the_connection_and_a_clean_start_begins_anew() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    let zero = Some(Duration::ZERO);
    assert!(desk.ask(inbox.attach("s", None, false, zero)).unwrap().is_none());
    let (_, hold) = desk.attach("s");
    desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    // The second of the same name attaches while the first is still there: the first's end has no
    // effect.
    let (second, taken) = desk.ask(inbox.attach("s", None, false, zero)).unwrap().unwrap();
    assert!(second.present && second.expiry.is_zero());
    drop(hold);
    desk.pump();
    assert!(inbox.has_session("s"));
    drop(taken);
    desk.pump();
    assert!(!inbox.has_session("s"));
    let (_, hold) = desk.attach("s");
    desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    drop(hold);
    let clean = desk.ask(inbox.attach("s", None, true, None)).unwrap().unwrap();
    assert!(!clean.0.present && clean.0.filters.is_empty());
    drop((clean, inbox));
    let mut desk = desk.killed();
    let (attached, mut hold) = desk.attach("s");
    assert!(attached.present && attached.filters.is_empty(), "nor does the file have them");
    // As in DISCONNECT of MQTT 5.
    hold.set_expiry(Duration::ZERO);
    drop(hold);
    desk.pump();
    assert!(!desk.inbox.has_session("s"));
}

#[test]
fn who_is_away_for_too_long_is_forgotten_and_holds_nothing_any_more() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    let hour = Duration::from_secs(3600);
    let (short, hold) = desk.ask(inbox.attach("short", None, false, Some(hour))).unwrap().unwrap();
    assert_eq!(short.expiry, hour);
    let (long, kept) =
        desk.ask(inbox.attach("long", None, false, Some(DAY * 99))).unwrap().unwrap();
    assert_eq!(long.expiry, DAY, "within the bound");
    for hold in [&hold, &kept] {
        desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    }
    desk.put("t", "x").unwrap();
    desk.pass(hour * 2);
    desk.pump();
    assert!(inbox.has_session("short"), "it is connected");
    drop(hold);
    desk.pump();
    drop(inbox);
    // A kill does not lengthen its time, except for connected sessions.
    desk.pass(hour / 2);
    let mut desk = desk.killed();
    drop(kept);
    desk.pass(hour / 2);
    desk.pump();
    assert!(!desk.inbox.has_session("short") && desk.inbox.has_session("long"));
    desk.pass(DAY - hour / 2);
    desk.pump();
    assert!(!desk.inbox.has_session("long"));
    assert_eq!(desk.inbox.stat().messages, 1, "where nobody reads, messages stay until the bounds");
}

#[test]
fn there_is_a_bound_on_sessions_and_who_is_there_is_not_pushed_out() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    for n in 0..MAX_SESSIONS {
        drop(desk.attach(&n.to_string()));
    }
    let one_more = desk.ask(inbox.attach("more", None, false, None));
    assert_eq!(one_more.map(drop), Err(AttachError::TooMany));
    assert!(desk.attach("0").0.present);
    // Without an expiry it needs no place.
    let zero = Some(Duration::ZERO);
    assert!(desk.ask(inbox.attach("more", None, true, zero)).unwrap().is_none());
    desk.pass(DAY);
    assert!(desk.ask(inbox.attach("more", None, false, None)).is_ok(), "the time of most is over");
}

#[test]
fn a_session_with_more_than_a_page_gets_it_in_order() {
    let mut desk = Desk::new();
    let (_, hold) = desk.attach("s");
    desk.ask(hold.subscribe(vec![("t".to_owned(), 1)])).unwrap();
    for n in 0..3000 {
        desk.hand(if n % 2 == 0 { "t" } else { "u" }, &n.to_string());
        if n % 250 == 0 {
            desk.pump();
        }
    }
    desk.pump();
    let (mut after, mut got) = (0, Vec::new());
    while after < 3000 {
        let page = desk.ask(hold.next(after, 64)).unwrap();
        assert!(page.through > after && page.messages.len() <= 64);
        got.extend(page.messages.iter().map(|m| text(&m.payload)));
        after = page.through;
    }
    let expected: Vec<String> = (0..3000).step_by(2).map(|n: u32| n.to_string()).collect();
    assert_eq!(got, expected);
    // Their removal takes more than a step, and needs no request.
    desk.ask(hold.confirm(3000)).unwrap();
    for _ in 0..4 {
        desk.pump();
    }
    assert_eq!(desk.inbox.stat().messages, 0);
}
