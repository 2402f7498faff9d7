//! Which messages go together, by a table; what they look like.

use std::collections::BTreeMap;

use super::*;

fn batch(format: BatchFormat, ids: bool) -> Batch {
    Batch { format, max_messages: 3, max_bytes: 1_000, max_delay: Duration::from_secs(10), ids }
}

/// `a` is a message of topic `a`, `A` the same with another QoS; each has a payload of ten bytes.
fn lease(word: char, age: u64) -> Lease {
    Lease {
        id: uuid::Uuid::now_v7().to_string().parse().unwrap(),
        lane: String::new(),
        topic: word.to_lowercase().to_string(),
        payload: b"0123456789".to_vec(),
        qos: u8::from(word.is_lowercase()),
        retain: false,
        priority: 4,
        appended_at: now() - Duration::from_secs(age),
        attempts: 1,
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn ready(words: &str) -> BTreeMap<u64, Lease> {
    (0..).zip(words.chars().map(|word| lease(word, 0))).collect()
}

fn look(
    batch: &Batch,
    limit: usize,
    ready: &BTreeMap<u64, Lease>,
    apart: &[u64],
    is_due: bool,
) -> Gathered {
    let candidates = ready.iter().map(|(order, lease)| {
        let is_apart = apart.contains(order);
        Candidate { order: *order, lease, is_apart }
    });
    gather(batch, limit, candidates, is_due, now())
}

#[test]
fn those_of_a_topic_go_together_up_to_the_limits() {
    let wait = Gathered::Later(Duration::from_secs(10));
    let now_go = |orders: &[u64]| Gathered::Now(orders.to_vec());
    for (words, limit, due, want) in [
        ("", 1_000, false, Gathered::Nothing),
        ("a", 1_000, false, wait),
        ("aa", 1_000, true, now_go(&[0, 1])),
        ("aaa", 1_000, false, now_go(&[0, 1, 2])),
        ("aaaa", 1_000, false, now_go(&[0, 1, 2])),
        ("babaa", 1_000, false, now_go(&[1, 3, 4])),
        // Another QoS of the same topic ends the batch: nothing overtakes.
        ("aAa", 1_000, false, now_go(&[0])),
        // Two take 2 + 10 + 1 + 10 bytes.
        ("aaa", 23, false, now_go(&[0, 1])),
        ("aa", 22, false, now_go(&[0])),
        // One that is larger than the limit goes alone.
        ("aa", 5, false, now_go(&[0])),
    ] {
        let batch = batch(BatchFormat::JsonArray, false);
        let found = look(&batch, limit, &ready(words), &[], due);
        assert_eq!(found, want, "{words} {limit} {due}");
    }
}

#[test]
fn the_oldest_waits_no_longer_than_it_may() {
    let batch = batch(BatchFormat::Lines, false);
    let mut ready = ready("a");
    ready.insert(1, lease('b', 7));
    assert_eq!(look(&batch, 99, &ready, &[], false), Gathered::Later(Duration::from_secs(3)));
    ready.insert(2, lease('c', 10));
    assert_eq!(look(&batch, 99, &ready, &[], false), Gathered::Now(vec![2]));
}

#[test]
fn one_that_is_to_be_alone_is() {
    let ready = ready("aaa");
    let batch = batch(BatchFormat::Lines, false);
    let first = look(&batch, 99, &ready, &[1], false);
    assert_eq!(first, Gathered::Now(vec![0]), "those before it first");
    let rest: BTreeMap<u64, Lease> = ready.into_iter().skip(1).collect();
    assert_eq!(look(&batch, 99, &rest, &[1], false), Gathered::Now(vec![1]));
}

#[test]
fn what_is_made_is_as_long_as_it_was_thought_and_reads_back() {
    let leases = [lease('a', 0), lease('a', 0)];
    for (format, ids) in [
        (BatchFormat::JsonArray, false),
        (BatchFormat::JsonArray, true),
        (BatchFormat::Lines, false),
        (BatchFormat::Lines, true),
    ] {
        let mut leases = leases.clone();
        leases.iter_mut().for_each(|lease| lease.payload = b"{\"t\": 1}".to_vec());
        let batch = batch(format, ids);
        let made = together(&batch, leases.iter());
        assert_eq!(made.len(), alone(&batch, 8) + 1 + member(&batch, 8), "{format:?} {ids}");
        assert_eq!(together(&batch, leases.iter().take(1)).len(), alone(&batch, 8));
        let text = String::from_utf8(made).unwrap();
        let id = leases[1].id.to_string();
        let elements: Vec<serde_json::Value> = match format {
            BatchFormat::JsonArray => serde_json::from_str(&text).unwrap(),
            BatchFormat::Lines => text.lines().map(|line| line.into()).collect(),
        };
        let want = match (format, ids) {
            (BatchFormat::JsonArray, false) => serde_json::json!({ "t": 1 }),
            (BatchFormat::JsonArray, true) => {
                serde_json::json!({ "id": id, "payload": { "t": 1 } })
            }
            (BatchFormat::Lines, false) => "{\"t\": 1}".into(),
            (BatchFormat::Lines, true) => format!("{id} {{\"t\": 1}}").into(),
        };
        assert_eq!((elements.len(), &elements[1]), (2, &want));
    }
}

#[test]
fn what_would_break_a_batch_is_told() {
    let (array, lines) = (batch(BatchFormat::JsonArray, false), batch(BatchFormat::Lines, false));
    for good in ["1", "\"a\"", "[1, 2]", "{\"a\": null}", " true \n"] {
        assert_eq!(flaw(&array, good.as_bytes()), None, "{good}");
    }
    for bad in ["", "a", "1,2", "[1", "{\"a\":1}]", "\"\u{1}\"", "1 2"] {
        assert!(flaw(&array, bad.as_bytes()).is_some(), "{bad}");
    }
    assert!(flaw(&array, b"\"\xff\"").is_some(), "no UTF-8 is no JSON");
    assert_eq!(flaw(&lines, b"\xff, and \r as well"), None);
    assert!(flaw(&lines, b"a\nb").is_some());
}

#[test]
fn a_backlog_of_one_topic_does_not_keep_another_from_its_time() {
    let batch = batch(BatchFormat::Lines, false);
    let gathered = |ready: &BTreeMap<u64, Lease>| look(&batch, 1_000, ready, &[], false);
    // What is behind the lone message is as old as the backlog before it, and fills batch after batch.
    let aged = |words: &str, age: u64| -> BTreeMap<u64, Lease> {
        (0..).zip(words.chars().map(|word| lease(word, age))).collect()
    };
    assert_eq!(gathered(&aged("xaaaaaa", 10)), Gathered::Now(vec![0]));
    assert_eq!(gathered(&aged("xaaaaaa", 9)), Gathered::Now(vec![1, 2, 3]), "it has time left");
    assert_eq!(gathered(&aged("aaaxaaa", 10)), Gathered::Now(vec![0, 1, 2]), "in their order");
}
