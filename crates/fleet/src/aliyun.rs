//! Alibaba Cloud IoT Platform: how a device signs in, "one device, one secret".
//!
//! The password is HMAC(device secret as text, content) in hex; the content is the signed
//! parameters sorted by name, each name followed by its value with nothing in between. The
//! server needs to compute the same travels in the client id, between two bars.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::Sha256;

/// The port of the platform's MQTT endpoints.
pub const PORT: u16 = 1883;

/// The port for TLS with the platform's own root certificate, which it recommends and which is valid until
/// 2053. GlobalSign's (until 2028-01-28) belongs to [`PORT`].
pub const TLS_PORT: u16 = 8883;

/// The longest client id of the platform, in characters, without the part between the bars.
pub const MAX_CLIENT_ID: usize = 64;

/// A value that cannot be part of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {fault}")]
pub struct FieldError {
    /// Which value, by its key in the configuration.
    pub field: &'static str,
    /// The fault, as the end of a sentence.
    pub fault: &'static str,
}

/// The method by which the password is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// HMAC-MD5, RFC 2104.
    HmacMd5,
    /// HMAC-SHA1, the default.
    #[default]
    HmacSha1,
    /// HMAC-SHA256.
    HmacSha256,
}

impl Method {
    /// The words of the configuration and of the client id.
    pub const WORDS: [&'static str; 3] = ["hmacsha1", "hmacmd5", "hmacsha256"];

    /// The platform's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::HmacMd5 => "hmacmd5",
            Self::HmacSha1 => "hmacsha1",
            Self::HmacSha256 => "hmacsha256",
        }
    }
}

impl FromStr for Method {
    type Err = FieldError;

    fn from_str(word: &str) -> Result<Self, FieldError> {
        [Self::HmacMd5, Self::HmacSha1, Self::HmacSha256]
            .into_iter()
            .find(|method| method.word() == word)
            .ok_or(FieldError {
                field: "signmethod",
                fault: "must be hmacsha1, hmacmd5 or hmacsha256",
            })
    }
}

/// The security of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecureMode {
    /// 2: TLS.
    Tls,
    /// 3: plain TCP, the default.
    #[default]
    Tcp,
}

impl SecureMode {
    /// The port of the platform's endpoints for it.
    pub fn port(self) -> u16 {
        match self {
            Self::Tls => TLS_PORT,
            Self::Tcp => PORT,
        }
    }

    /// The platform's number for it.
    pub fn number(self) -> u8 {
        match self {
            Self::Tls => 2,
            Self::Tcp => 3,
        }
    }
}

/// The platform's address for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The public instance of a region, such as `cn-shanghai`: the host begins with the product key.
    Region(String),
    /// An enterprise or a new public instance, by its id.
    Instance(String),
    /// A host and a port given by hand.
    Host(String, u16),
}

/// A device of a product. Not secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    product_key: String,
    device_name: String,
}

/// The options of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The client id before the bars; the device name if there is none.
    pub client_id: Option<String>,
    /// The method by which the password is made.
    pub method: Method,
    /// The security of the connection, which the client id contains.
    pub secure_mode: SecureMode,
    /// Milliseconds since 1970; signed only if present. The platform does not check the age.
    pub timestamp: Option<u64>,
    /// The address.
    pub endpoint: Endpoint,
}

/// The credentials of an MQTT CONNECT. `Debug` leaves the password out, and dropping wipes it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The host name, without a scheme.
    pub host: String,
    /// The port, [`PORT`] or [`TLS_PORT`] unless given by hand.
    pub port: u16,
    /// The client id with its bars.
    pub client_id: String,
    /// `device&product`.
    pub username: String,
    /// Hex in capitals; 32, 40 or 64 digits.
    pub password: SecretString,
}

impl Device {
    /// A device by its product key and name.
    ///
    /// # Errors
    /// [`FieldError`] if a character could not be signed or sent unambiguously.
    pub fn new(product_key: &str, device_name: &str) -> Result<Self, FieldError> {
        let key_ok = |c: char| c.is_ascii_alphanumeric();
        let name_ok = |c: char| c.is_ascii_alphanumeric() || "-_@.:".contains(c);
        if !(1..=64).contains(&product_key.len()) || !product_key.chars().all(key_ok) {
            let fault = "must be 1 to 64 letters and digits";
            return Err(FieldError { field: "product_key", fault });
        }
        if !(1..=64).contains(&device_name.len()) || !device_name.chars().all(name_ok) {
            let fault = "must be 1 to 64 letters, digits or -_@.:";
            return Err(FieldError { field: "device_name", fault });
        }
        Ok(Self { product_key: product_key.to_owned(), device_name: device_name.to_owned() })
    }

    /// The product's key, as the console shows it.
    pub fn product_key(&self) -> &str {
        &self.product_key
    }

    /// The device's name within its product.
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// The user name, `device&product`.
    pub fn username(&self) -> String {
        format!("{}&{}", self.device_name, self.product_key)
    }

    /// Returns host and port for this device.
    pub fn address(&self, options: &Options) -> (String, u16) {
        let port = options.secure_mode.port();
        match &options.endpoint {
            Endpoint::Region(region) => {
                (format!("{}.iot-as-mqtt.{region}.aliyuncs.com", self.product_key), port)
            }
            Endpoint::Instance(id) => (format!("{id}.mqtt.iothub.aliyuncs.com"), port),
            Endpoint::Host(host, port) => (host.clone(), *port),
        }
    }

    /// Returns the product key in the host name of a public instance, if it belongs to another product.
    pub fn foreign_host(&self, host: &str) -> Option<String> {
        let (owner, rest) = host.split_once('.')?;
        let public = rest.to_ascii_lowercase().starts_with("iot-as-mqtt.");
        (public && !owner.eq_ignore_ascii_case(&self.product_key)).then(|| owner.to_owned())
    }

    /// The client id that is sent: the chosen one, then the parameters between bars.
    pub fn client_id(&self, options: &Options) -> String {
        let stamp = options.timestamp.map(|t| format!(",timestamp={t}")).unwrap_or_default();
        format!(
            "{}|securemode={},signmethod={}{stamp}|",
            self.bare_client_id(options),
            options.secure_mode.number(),
            options.method.word(),
        )
    }

    /// Signs in with `secret`, the device secret.
    ///
    /// # Errors
    /// [`FieldError`] if an option could not be signed or sent unambiguously.
    pub fn sign(
        &self,
        secret: &SecretString,
        options: &Options,
    ) -> Result<Credentials, FieldError> {
        options.check()?;
        let stamp = options.timestamp.map(|t| format!("timestamp{t}")).unwrap_or_default();
        let content = format!(
            "clientId{}deviceName{}productKey{}{stamp}",
            self.bare_client_id(options),
            self.device_name,
            self.product_key,
        );
        let key = secret.expose_secret().as_bytes();
        let password = match options.method {
            Method::HmacMd5 => hex_mac::<Hmac<Md5>>(key, &content),
            Method::HmacSha1 => hex_mac::<Hmac<Sha1>>(key, &content),
            Method::HmacSha256 => hex_mac::<Hmac<Sha256>>(key, &content),
        }?;
        let (host, port) = self.address(options);
        let (client_id, username) = (self.client_id(options), self.username());
        Ok(Credentials { host, port, client_id, username, password })
    }

    fn bare_client_id<'a>(&'a self, options: &'a Options) -> &'a str {
        options.client_id.as_deref().unwrap_or(&self.device_name)
    }
}

impl Options {
    /// The defaults of the platform's devices at `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            client_id: None,
            method: Method::default(),
            secure_mode: SecureMode::default(),
            timestamp: None,
            endpoint,
        }
    }

    /// Checks the texts for the client id and the host name.
    ///
    /// # Errors
    /// The first value that would not survive on its way.
    pub fn check(&self) -> Result<(), FieldError> {
        if let Some(id) = &self.client_id
            && !client_id_is_safe(id)
        {
            let fault = "must be 1 to 64 visible ASCII characters other than quote, bar and comma";
            return Err(FieldError { field: "client_id", fault });
        }
        let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_label = |word: &str| (1..=63).contains(&word.len()) && word.chars().all(label);
        match &self.endpoint {
            Endpoint::Region(word) if !is_label(word) => Err(FieldError {
                field: "region",
                fault: "must be a region id such as cn-shanghai",
            }),
            Endpoint::Instance(word) if !is_label(word) => Err(FieldError {
                field: "instance_id",
                fault: "must be an instance id such as iot-060a0abc",
            }),
            Endpoint::Region(_) | Endpoint::Instance(_) | Endpoint::Host(..) => Ok(()),
        }
    }
}

/// A bar or a comma would end the client id's parameters early, a quote the AT command.
fn client_id_is_safe(id: &str) -> bool {
    (1..=MAX_CLIENT_ID).contains(&id.len())
        && id.chars().all(|c| c.is_ascii_graphic() && !"\"|,".contains(c))
}

fn hex_mac<M: Mac + KeyInit>(key: &[u8], content: &str) -> Result<SecretString, FieldError> {
    // HMAC takes keys of any length (RFC 2104 §2); the trait's error is for other MACs.
    let mut mac = M::new_from_slice(key)
        .map_err(|_length| FieldError { field: "device_secret", fault: "has a wrong length" })?;
    mac.update(content.as_bytes());
    let digest = mac.finalize().into_bytes();
    let mut hex = String::with_capacity(digest.len() * 2);
    for byte in digest.iter() {
        push_hex(&mut hex, *byte);
    }
    Ok(SecretString::from(hex))
}

fn push_hex(hex: &mut String, byte: u8) {
    use fmt::Write;
    // Writing to a String cannot fail.
    let _ = write!(hex, "{byte:02X}");
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED_SECRET: &str = "8f663b388dee796b931ebcb789b75a39";

    fn shanghai() -> Options {
        Options::new(Endpoint::Region("cn-shanghai".to_owned()))
    }

    fn password(device: &Device, secret: &str, options: &Options) -> String {
        let signed = device.sign(&SecretString::from(secret), options).unwrap();
        signed.password.expose_secret().to_owned()
    }

    #[test]
    fn the_documents_own_example() {
        let device = Device::new("pk", "device").unwrap();
        let options =
            Options { client_id: Some("12345".to_owned()), timestamp: Some(789), ..shanghai() };
        let want = "FAFD82A3D602B37FB0FA8B7892F24A477F851A14";
        assert_eq!(password(&device, "secret", &options), want);
        assert_eq!(
            device.client_id(&options),
            "12345|securemode=3,signmethod=hmacsha1,timestamp=789|"
        );
    }

    #[test]
    fn known_answers_of_every_method() {
        let device = Device::new("a1mQpKOF9hp", "7600").unwrap();
        for (method, want) in [
            (Method::HmacSha1, "D48150E8D550607B15C667E100635EE96EA7D512"),
            (Method::HmacMd5, "DD2C4151DB496F3B4B4563F26004F050"),
            (
                Method::HmacSha256,
                "5DAD29464DC054288C376B2A9B6003CC167C38904D264BE78F2E48C9CFDF2BAC",
            ),
        ] {
            let options = Options { method, ..shanghai() };
            assert_eq!(password(&device, SEED_SECRET, &options), want, "{method}");
        }
    }

    #[test]
    fn the_whole_sign_in() {
        let device = Device::new("a1mQpKOF9hp", "7600").unwrap();
        let signed = device.sign(&SecretString::from(SEED_SECRET), &shanghai()).unwrap();
        assert_eq!(signed.host, "a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com");
        assert_eq!(signed.port, 1883);
        assert_eq!(signed.client_id, "7600|securemode=3,signmethod=hmacsha1|");
        assert_eq!(signed.username, "7600&a1mQpKOF9hp");
        assert!(!format!("{signed:?}").contains("D48150"), "Debug shows the password");
        let instance = Endpoint::Instance("iot-060a0abc".to_owned());
        let options = Options::new(instance);
        let host = "iot-060a0abc.mqtt.iothub.aliyuncs.com";
        assert_eq!(device.address(&options), (host.to_owned(), 1883));
        let secured = Options { secure_mode: SecureMode::Tls, ..options };
        assert_eq!(device.address(&secured), (host.to_owned(), 8883));
    }

    #[test]
    fn another_products_host_is_seen() {
        let device = Device::new("a1mQpKOF9hp", "7600").unwrap();
        let foreign = "a1zjhbLfSbW.iot-as-mqtt.cn-shanghai.aliyuncs.com";
        assert_eq!(device.foreign_host(foreign).as_deref(), Some("a1zjhbLfSbW"));
        let own = device.address(&shanghai()).0;
        assert_eq!(device.foreign_host(&own), None);
        assert_eq!(device.foreign_host("broker.example.com"), None);
    }

    #[test]
    fn what_would_break_the_client_id_is_refused() {
        for name in ["", "a&b", "a|b", "a\"b", "a\r\nb", &"x".repeat(65)] {
            assert!(Device::new("pk", name).is_err(), "{name:?}");
            assert!(Device::new(name, "d").is_err(), "{name:?}");
        }
        let device = Device::new("pk", "d").unwrap();
        let secret = SecretString::from("s");
        for id in ["", "a|b", "a,b", "a\"b", "a\nb", &"x".repeat(65)] {
            let options = Options { client_id: Some(id.to_owned()), ..shanghai() };
            assert_eq!(device.sign(&secret, &options).unwrap_err().field, "client_id", "{id:?}");
        }
        let options = Options::new(Endpoint::Region("cn/../x".to_owned()));
        assert_eq!(device.sign(&secret, &options).unwrap_err().field, "region");
    }
}
