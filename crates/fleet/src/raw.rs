//! The file as typed text: every key of [`super::keys`], nothing judged yet.
//!
//! Values stay the text of the file, so that each can be refused at its own place and all in one
//! reading. These types carry no `deny_unknown_fields`: [`super::shape`] refuses unknown keys with
//! all their places, and has to let `x-…` pass; a test holds both to the same keys.
//!
//! Fields that most entries do not have are in a box: a file may hold tens of thousands of empty ones.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawFleet {
    pub(super) gateway: Option<String>,
    pub(super) gateways: Option<Vec<String>>,
    pub(super) shutdown_grace: Option<String>,
    #[serde(default)]
    pub(super) http: RawHttp,
    #[serde(default)]
    pub(super) queue: RawQueue,
    pub(super) inbox: Option<RawInbox>,
    #[serde(default)]
    pub(super) hand_in: RawHandIn,
    #[serde(default)]
    pub(super) recovery: RawPrivileged,
    #[serde(default)]
    pub(super) brokers: Ordered<RawBroker>,
    #[serde(default)]
    pub(super) modems: Ordered<RawModem>,
    pub(super) routes: Option<Vec<RawRoute>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawHttp {
    pub(super) listen: Option<String>,
    pub(super) hosts: Option<Vec<String>>,
    pub(super) token: Option<RawSecret>,
    pub(super) publish_token: Option<RawSecret>,
    pub(super) socket: Option<String>,
    pub(super) publish_socket: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawQueue {
    pub(super) path: Option<String>,
    pub(super) max_bytes: Option<String>,
    pub(super) max_messages: Option<String>,
    pub(super) max_age: Option<String>,
    pub(super) when_full: Option<String>,
    pub(super) fsync: Option<String>,
    pub(super) fsync_interval: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawInbox {
    pub(super) path: Option<String>,
    pub(super) max_bytes: Option<String>,
    pub(super) max_age: Option<String>,
    pub(super) session_expiry: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawHandIn {
    pub(super) mqtt: Option<RawMqttListener>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawMqttListener {
    pub(super) listen: Option<String>,
    #[serde(default)]
    pub(super) users: Ordered<RawSecret>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawBroker {
    pub(super) url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Box<RawSecret>>,
    pub(super) provider: Option<String>,
    pub(super) region: Option<String>,
    pub(super) instance_id: Option<String>,
    pub(super) tls: Option<Box<RawTls>>,
}

/// `tls` of a broker or a session.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawTls {
    pub(super) ca: Option<RawFile>,
    pub(super) cert: Option<RawFile>,
    pub(super) key: Option<RawFile>,
    pub(super) insecure: Option<String>,
}

/// The path of a file, or the place of a secret.
#[derive(Debug)]
pub(super) enum RawFile {
    Path(String),
    Place(RawSecret),
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawModem {
    #[serde(rename = "match")]
    pub(super) matching: Option<Box<RawMatch>>,
    pub(super) apn: Option<Box<RawApn>>,
    pub(super) pin: Option<Box<RawSecret>>,
    pub(super) roaming: Option<String>,
    pub(super) radio: Option<String>,
    pub(super) poll: Option<String>,
    pub(super) sms: Option<String>,
    pub(super) baud: Option<String>,
    pub(super) flow_control: Option<String>,
    pub(super) budget: Option<Box<RawBudget>>,
    pub(super) telemetry: Option<Box<RawTelemetry>>,
    pub(super) gateways: Option<Vec<String>>,
    pub(super) recovery: Option<Box<RawRecovery>>,
    #[serde(default)]
    pub(super) sessions: Ordered<RawSession>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawBudget {
    pub(super) bytes: Option<String>,
    pub(super) reset_day: Option<String>,
    pub(super) time_zone: Option<String>,
    pub(super) warn: Option<String>,
    pub(super) shed: Option<RawShed>,
    pub(super) stop: Option<String>,
    pub(super) urgent: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawTelemetry {
    pub(super) topic: Option<String>,
    pub(super) every: Option<String>,
    pub(super) qos: Option<String>,
    pub(super) retain: Option<String>,
    pub(super) session: Option<String>,
    pub(super) status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawShed {
    pub(super) at: Option<String>,
    pub(super) below_priority: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawRecovery {
    pub(super) budget: Option<String>,
    pub(super) registration_lost: Option<String>,
    pub(super) service_lost: Option<String>,
    pub(super) boot: Option<String>,
    pub(super) usb_reset: Option<String>,
    pub(super) power_script: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawPrivileged {
    pub(super) socket: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawMatch {
    pub(super) imei: Option<String>,
    pub(super) iccid: Option<String>,
    pub(super) usb_path: Option<String>,
    pub(super) port: Option<String>,
    pub(super) model: Option<String>,
}

impl RawMatch {
    /// No key at all.
    pub(super) const NONE: Self =
        Self { imei: None, iccid: None, usb_path: None, port: None, model: None };
}

/// `apn: NAME` or `apn: { name: NAME, … }`.
#[derive(Debug, Default)]
pub(super) struct RawApn {
    /// Whether it is the short form.
    pub(super) short: bool,
    pub(super) long: RawApnKeys,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawApnKeys {
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Box<RawSecret>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) auth: Option<String>,
    pub(super) cid: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawSession {
    pub(super) broker: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) keep_alive: Option<String>,
    pub(super) clean_session: Option<String>,
    pub(super) reconnect_max: Option<String>,
    pub(super) will: Option<Box<RawWill>>,
    #[serde(default)]
    pub(super) subscribe: Vec<RawSubscribe>,
    #[serde(default)]
    pub(super) vars: Ordered<String>,
    pub(super) product_key: Option<String>,
    pub(super) device_name: Option<String>,
    pub(super) device_secret: Option<Box<RawSecret>>,
    pub(super) securemode: Option<String>,
    pub(super) signmethod: Option<String>,
    pub(super) timestamp: Option<String>,
    pub(super) host: Option<String>,
    pub(super) instance_id: Option<String>,
    pub(super) aliauth: Option<String>,
    pub(super) tls: Option<Box<RawTls>>,
    pub(super) gateways: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawWill {
    pub(super) topic: Option<String>,
    pub(super) payload: Option<String>,
    pub(super) qos: Option<String>,
    pub(super) retain: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawSubscribe {
    pub(super) filter: Option<String>,
    pub(super) qos: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawRoute {
    pub(super) topic: Option<String>,
    #[serde(default)]
    pub(super) to: Vec<String>,
    pub(super) policy: Option<String>,
    pub(super) publish_as: Option<String>,
    pub(super) hold_down: Option<String>,
    pub(super) fail_back: Option<String>,
    pub(super) stall: Option<String>,
    pub(super) name: Option<String>,
    pub(super) batch: Option<Box<RawBatch>>,
    pub(super) gateways: Option<Vec<String>>,
    /// Whether it is for other gateways: no key of the file.
    #[serde(skip)]
    pub(super) elsewhere: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawBatch {
    pub(super) format: Option<String>,
    pub(super) max_messages: Option<String>,
    pub(super) max_bytes: Option<String>,
    pub(super) max_delay: Option<String>,
    pub(super) ids: Option<String>,
}

/// `{ file: … }`, `{ env: … }` or `{ credential: … }`. A secret in plain text is read as none of
/// them: [`super::shape`] has refused it, and the rest of the file is still to be judged.
#[derive(Debug, Default)]
pub(super) struct RawSecret {
    pub(super) file: Option<String>,
    pub(super) env: Option<String>,
    pub(super) credential: Option<String>,
}

#[derive(Deserialize)]
struct RawSecretKeys {
    file: Option<String>,
    env: Option<String>,
    credential: Option<String>,
}

/// A map in the order of the file: it decides between modems and between sessions.
#[derive(Debug)]
pub(super) struct Ordered<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to their settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl RawApn {
    fn short(name: impl Into<String>) -> Self {
        let long = RawApnKeys { name: Some(name.into()), ..RawApnKeys::default() };
        Self { short: true, long }
    }
}

impl<'de> Deserialize<'de> for RawApn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        // Not an untagged enum: serde would lose the place of an error inside the mapping.
        impl<'de> Visitor<'de> for Either {
            type Value = RawApn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an access point, or a mapping")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<RawApn, E> {
                Ok(RawApn::short(name))
            }

            fn visit_u64<E: Error>(self, name: u64) -> Result<RawApn, E> {
                Ok(RawApn::short(name.to_string()))
            }

            fn visit_bool<E: Error>(self, name: bool) -> Result<RawApn, E> {
                Ok(RawApn::short(name.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawApn, A::Error> {
                let long = RawApnKeys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawApn { short: false, long })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for RawSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RawSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the place of a secret")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<RawSecret, E> {
                Ok(RawSecret::default())
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<RawSecret, E> {
                Ok(RawSecret::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSecret, A::Error> {
                let keys = RawSecretKeys::deserialize(MapAccessDeserializer::new(map))?;
                let RawSecretKeys { file, env, credential } = keys;
                Ok(RawSecret { file, env, credential })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for RawFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RawFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file, or the place of a secret")
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<RawFile, E> {
                Ok(RawFile::Path(path.to_owned()))
            }

            fn visit_u64<E: Error>(self, path: u64) -> Result<RawFile, E> {
                Ok(RawFile::Path(path.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawFile, A::Error> {
                let keys = RawSecretKeys::deserialize(MapAccessDeserializer::new(map))?;
                let RawSecretKeys { file, env, credential } = keys;
                Ok(RawFile::Place(RawSecret { file, env, credential }))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Keys;
    use super::super::keys;
    use super::*;

    /// Asks a type's `Deserialize` which fields it wants, and fails on purpose.
    struct Ask<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend(fields);
            Err(Error::custom("asked"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn same<T: for<'de> Deserialize<'de>>(keys: &Keys) {
        let mut fields = Vec::new();
        assert!(T::deserialize(Ask(&mut fields)).is_err());
        fields.sort_unstable();
        let mut known = keys.names();
        known.sort_unstable();
        assert_eq!(fields, known, "{}", keys.of);
    }

    #[test]
    fn the_types_and_the_shapes_have_the_same_keys() {
        same::<RawFleet>(&keys::FLEET);
        same::<RawHttp>(&keys::HTTP);
        same::<RawQueue>(&keys::QUEUE);
        same::<RawInbox>(&keys::INBOX);
        same::<RawBroker>(&keys::BROKER);
        same::<RawTls>(&keys::TLS);
        same::<RawModem>(&keys::MODEM);
        same::<RawBudget>(&keys::BUDGET);
        same::<RawShed>(&keys::SHED);
        same::<RawTelemetry>(&keys::TELEMETRY);
        same::<RawMatch>(&keys::MATCH);
        same::<RawRecovery>(&keys::RECOVERY);
        same::<RawPrivileged>(&keys::PRIVILEGED);
        same::<RawApnKeys>(&keys::APN);
        same::<RawSession>(&keys::SESSION);
        same::<RawWill>(&keys::WILL);
        same::<RawSubscribe>(&keys::SUBSCRIBE);
        same::<RawRoute>(&keys::ROUTE);
        same::<RawBatch>(&keys::BATCH);
        same::<RawSecretKeys>(&keys::SECRET);
    }
}
