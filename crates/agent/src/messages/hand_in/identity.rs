//! The identity of a message, by which two under one idempotency key are distinguished.

use super::Submission;

/// A digest of all that is published and decides how: topic, payload, quality of service, retain flag,
/// session, time to live and priority. Two submissions under one idempotency key whose digests differ are
/// two messages. The key is no part of it, nor is the lane: a route that changed makes no other message.
///
/// CRC-32 (IEEE): it is to find mistakes, and there is no gain in forging one.
pub fn identity(submission: &Submission) -> u32 {
    let Submission { topic, payload, qos, retain, session, ttl, priority, key: _ } = submission;
    let mut digest = crc32fast::Hasher::new();
    field(&mut digest, Some(topic.as_bytes()));
    field(&mut digest, Some(payload));
    field(&mut digest, Some(&[*qos, u8::from(*retain), *priority]));
    field(&mut digest, session.as_ref().map(|session| session.to_string()).as_deref());
    field(&mut digest, ttl.map(|ttl| ttl.as_nanos().to_le_bytes()));
    digest.finalize()
}

/// Adds a field with its length, so that no two lists of fields are the same bytes.
fn field(digest: &mut crc32fast::Hasher, bytes: Option<impl AsRef<[u8]>>) {
    let bytes = bytes.as_ref().map(AsRef::as_ref);
    digest.update(&[u8::from(bytes.is_some())]);
    let bytes = bytes.unwrap_or_default();
    digest.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use fleet::{Name, SessionId};

    fn session(modem: &str, session: &str) -> Option<SessionId> {
        let name = |text| Name::new(text).unwrap();
        Some(SessionId { modem: name(modem), session: name(session) })
    }

    #[test]
    fn whatever_would_make_it_another_message_makes_it_one() {
        let plain = || Submission::new("sensors/t1", "21.5");
        let second = Duration::from_secs(1);
        let all = [
            plain(),
            Submission { topic: "sensors/t2".to_owned(), ..plain() },
            Submission { payload: b"21.6".to_vec(), ..plain() },
            Submission { payload: Vec::new(), ..plain() },
            Submission { qos: 0, ..plain() },
            Submission { qos: 2, ..plain() },
            Submission { retain: true, ..plain() },
            Submission { priority: 9, ..plain() },
            Submission { session: session("m0", "s"), ..plain() },
            Submission { session: session("m1", "s"), ..plain() },
            Submission { ttl: Some(second), ..plain() },
            Submission { ttl: Some(2 * second), ..plain() },
            Submission { ttl: Some(second + Duration::from_nanos(1)), ..plain() },
            // The same bytes, cut elsewhere.
            Submission { payload: b".5".to_vec(), ..Submission::new("sensors/t121", "") },
            Submission::new("sensors/t", "121.5"),
            Submission::new("sensors/t121.5", ""),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in all.iter().skip(at + 1) {
                assert_ne!(identity(one), identity(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_same_message_is_the_same_under_any_key_and_in_any_version_of_the_program() {
        let plain = Submission::new("sensors/t1", "21.5");
        let keyed = Submission { key: Some("k".to_owned()), ..plain.clone() };
        assert_eq!(identity(&plain), identity(&keyed));
        // It is kept on disk beside the key: another figure would refuse messages that were handed in before an upgrade.
        assert_eq!(identity(&plain), 1_981_494_455);
        let full = Submission {
            qos: 2,
            retain: true,
            session: session("north", "cloud"),
            ttl: Some(Duration::from_secs(90)),
            priority: 9,
            ..plain
        };
        assert_eq!(identity(&full), 2_266_453_893);
    }
}
