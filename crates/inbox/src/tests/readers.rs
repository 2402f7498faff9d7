//! Tests of readers by name: known and unknown cursors.

use super::*;
use crate::{MAX_READERS, ReadError};

fn unknown<T: std::fmt::Debug>(result: Result<T, ReadError>) -> bool {
    matches!(result, Err(ReadError::UnknownCursor))
}

#[test]
fn a_reader_begins_with_what_is_there_and_goes_on_from_what_it_confirmed() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    for n in 1..=4 {
        desk.put("t", &n.to_string()).unwrap();
    }
    let (got, cursors) = desk.read("r", None);
    assert_eq!(got, ["1", "2", "3", "4"]);
    assert_eq!(desk.read("r", Some(&cursors[1])).0, ["3", "4"]);
    assert_eq!(desk.read("r", None).0.len(), 4, "nothing is confirmed by reading");
    assert_eq!(desk.ask(inbox.confirm("r", &cursors[1])).unwrap(), 2);
    assert_eq!(desk.ask(inbox.confirm("r", &cursors[1])).unwrap(), 0, "twice does no harm");
    assert_eq!(desk.ask(inbox.confirm("r", &cursors[0])).unwrap(), 0);
    assert_eq!(desk.inbox.stat().messages, 2, "they are gone");
    drop(inbox);
    let mut desk = desk.killed();
    // It still knows its confirmed cursors, and confirmed messages do not return.
    for after in [None, Some(&cursors[0]), Some(&cursors[1])] {
        assert_eq!(desk.read("r", after.map(String::as_str)).0, ["3", "4"]);
    }
    assert_eq!(desk.read("late", None).0, ["3", "4"], "another one begins with what is there");
    assert_eq!(desk.inbox.stat().readers.len(), 2);
}

#[test]
fn cursors_that_were_given_up_or_never_were_are_unknown() {
    let mut desk = Desk::with(|config| config.max_bytes = 1000);
    let inbox = desk.inbox.clone();
    desk.put("t", &format!("{:060}", 0)).unwrap();
    let (_, first) = desk.read("r", None);
    for n in 1..7 {
        desk.put("t", &format!("{n:060}")).unwrap();
    }
    let (_, cursors) = desk.read("r", None);
    let of_another_file = cursors[0].replace(['0', '1', '2', '3'], "f");
    let beyond = format!("{}-8", cursors[0].split('-').next().unwrap());
    for bad in [first[0].as_str(), "", "x", "1", &of_another_file, &beyond] {
        assert!(unknown(desk.ask(inbox.read("r", Some(bad), 10))), "{bad}");
        assert!(unknown(desk.ask(inbox.confirm("r", bad))), "{bad}");
    }
    let page = desk.ask(inbox.read("r", None, 10)).unwrap();
    assert_eq!((page.missed, page.messages.len()), (2, 5));
    // After the next confirmation nothing is missed any more.
    desk.ask(inbox.confirm("r", &cursors[0])).unwrap();
    assert_eq!(desk.ask(inbox.read("r", None, 10)).unwrap().missed, 0);
    let confirmed = desk.ask(inbox.confirm("nobody", &cursors[0]));
    assert!(matches!(confirmed, Err(ReadError::UnknownReader)));
}

#[test]
fn readers_are_bounded_and_forgotten() {
    let mut desk = Desk::new();
    let inbox = desk.inbox.clone();
    desk.put("t", "x").unwrap();
    for n in 0..MAX_READERS {
        desk.read(&n.to_string(), None);
    }
    assert!(matches!(desk.ask(inbox.read("more", None, 1)), Err(ReadError::TooMany)));
    assert!(desk.ask(inbox.forget("0")).unwrap() && !desk.ask(inbox.forget("0")).unwrap());
    assert_eq!(desk.read("more", None).0, ["x"]);
    let (age, day) = (desk.config.max_age, Duration::from_secs(86_400));
    desk.pass(age - day);
    desk.put("t", "y").unwrap();
    desk.read("more", None);
    drop(inbox);
    let mut desk = desk.killed();
    desk.pass(day);
    desk.pump();
    let names: Vec<_> = desk.inbox.stat().readers.into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["more"], "the one that was seen since");
    assert_eq!((desk.inbox.stat().messages, desk.inbox.stat().dropped.age), (1, 1));
    desk.pass(age);
    desk.pump();
    assert!(desk.inbox.stat().readers.is_empty());
}
