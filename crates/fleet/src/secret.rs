//! Secrets by reference: the place of a secret, and reading a secret without leaking it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretBox, SecretString};

use crate::pem;

/// The most bytes a secret may have. Broker passwords end at 256 bytes and cloud tokens at about
/// 2 KiB; a larger file is the wrong file.
pub const MAX_BYTES: u64 = 4096;

/// A token of fewer characters is too easy to guess if other machines can reach the API.
pub const SHORT_TOKEN: usize = 16;

/// The beginning of example tokens in documents, letters and digits only.
const PLACEHOLDERS: [&str; 6] =
    ["changethis", "changeme", "replacethis", "replaceme", "yourtoken", "exampletoken"];

/// The folder in which systemd puts the files of `LoadCredential=` and `SetCredential=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The prefix that systemd gives to the files of `LoadCredential=secrets:FOLDER`, as in our unit.
const OF_FOLDER: &str = "secrets_";

/// The place of a secret, never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A file that holds the secret and nothing else.
    File(PathBuf),
    /// An environment variable of the agent.
    Env(String),
    /// A file below `$CREDENTIALS_DIRECTORY`, see systemd.exec(5) "Credentials".
    Credential(String),
}

/// A secret that the configuration refers to. It holds no secret, so it may be printed, compared
/// and cloned; a secret that was changed in place leaves its reference equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    key: String,
    // Every session of a broker has those of the broker.
    source: Arc<Source>,
    rule: Rule,
}

/// The rule for a secret's text, by its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Any text.
    Text,
    /// It is quoted into an AT command: printable ASCII without `"`, at most so many bytes.
    Quoted(usize),
    /// A SIM's PIN: 4 to 8 digits (3GPP TS 31.101 §9.5.1).
    Pin,
    /// It comes in an HTTP header: printable ASCII without spaces, and no example of a document.
    Token,
    /// X.509 certificates in PEM, which go into a modem.
    Certificates,
    /// A private key in PEM, not encrypted, which goes into a modem.
    PrivateKey,
}

impl Rule {
    /// The most bytes.
    fn limit(self) -> u64 {
        match self {
            Self::Certificates | Self::PrivateKey => pem::MAX_FILE,
            Self::Text | Self::Quoted(_) | Self::Pin | Self::Token => MAX_BYTES,
        }
    }

    /// Checks a secret's text.
    ///
    /// # Errors
    /// The fault, as the end of a sentence without any part of the text.
    pub fn check(self, text: &str) -> Result<(), &'static str> {
        let printable = |c: char| c == ' ' || c.is_ascii_graphic();
        match self {
            Self::Text => Ok(()),
            Self::Quoted(max) if text.len() > max => Err("is longer than the modem takes"),
            Self::Quoted(_) if text.contains('"') => {
                Err("holds a quote (\"), which cannot be sent in an AT command")
            }
            Self::Quoted(_) if !text.chars().all(printable) => {
                Err("holds a line end, a control character or a character beyond ASCII")
            }
            Self::Quoted(_) => Ok(()),
            Self::Pin if (4..=8).contains(&text.len()) && is_digits(text) => Ok(()),
            Self::Pin => Err("must be 4 to 8 digits"),
            Self::Token if !text.chars().all(|c| c.is_ascii_graphic()) => {
                Err("must be visible ASCII characters without spaces")
            }
            Self::Token if is_placeholder(text) => Err(
                "holds the example of a document, which is public; make a token of your own: `openssl rand -hex 32`",
            ),
            Self::Token => Ok(()),
            Self::Certificates => pem::certificates(text).map(drop),
            Self::PrivateKey => pem::private_key(text).map(drop),
        }
    }
}

/// Reports whether a text is an example token of a document.
fn is_placeholder(text: &str) -> bool {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    PLACEHOLDERS.iter().any(|start| plain.starts_with(start))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// The reason why a secret could not be read. The text names the key and the cure, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be opened or read.
    #[error(
        "`{key}`: cannot read {}: {hint}",
        path.display(),
        hint = cure(source.kind())
    )]
    Unreadable {
        /// The key of the configuration.
        key: String,
        /// The file tried.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A folder, a device or a pipe, which could block for ever.
    #[error("`{key}`: {} is not a regular file; put the secret into a file of its own", path.display())]
    NotAFile {
        /// The key of the configuration.
        key: String,
        /// The file tried.
        path: PathBuf,
    },
    /// The environment lacks the variable, or it is not UTF-8.
    #[error(
        "`{key}`: the environment variable {name} is not set (or not UTF-8); set it for the agent, for example with EnvironmentFile= in its unit"
    )]
    NoVariable {
        /// The key of the configuration.
        key: String,
        /// The variable.
        name: String,
    },
    /// The agent was started without credentials.
    #[error(
        "`{key}`: the credential {name} exists only for the service: check with `--without-secrets`; the package's unit takes it from /etc/modemfleet/credentials/{name}, one of your own needs LoadCredential={name}:PATH"
    )]
    NoCredentials {
        /// The key of the configuration.
        key: String,
        /// The credential.
        name: String,
    },
    /// There is something, but not a secret that can be used.
    #[error("`{key}`: {place} {fault}")]
    Unusable {
        /// The key of the configuration.
        key: String,
        /// The file or variable.
        place: String,
        /// The fault, as the end of a sentence.
        fault: &'static str,
    },
}

/// The cure for an error of the file system.
fn cure(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "there is no such file; create it, readable by the agent's user",
        io::ErrorKind::PermissionDenied => "permission denied; make the agent's user its owner",
        _ => "the file system refused",
    }
}

impl Ref {
    /// A reference under the configuration key `key`, which its errors will name.
    pub fn new(key: impl Into<String>, source: Source) -> Self {
        Self { key: key.into(), source: Arc::new(source), rule: Rule::Text }
    }

    /// The same reference, with a rule that the secret must obey each time it is read.
    #[must_use]
    pub fn with_rule(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// The place of the secret, and the rule for its text: two equal uses are both good, or both bad.
    pub fn use_of(&self) -> (Arc<Source>, Rule) {
        (Arc::clone(&self.source), self.rule)
    }

    /// The place of the secret.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Reads the secret now. It is read at each use, so that a rotated one is taken up at the next.
    /// Exactly one line end at its end is not part of it.
    ///
    /// # Errors
    /// [`SecretError`]: nothing there, empty, larger than [`MAX_BYTES`], not UTF-8, or against the
    /// [`Rule`].
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match &*self.source {
            Source::File(path) => self.read_file(path),
            Source::Env(name) => {
                let value = std::env::var(name).map_err(|_absent| SecretError::NoVariable {
                    key: self.key.clone(),
                    name: name.clone(),
                })?;
                self.accept(value.into_bytes(), || format!("the environment variable {name}"))
            }
            Source::Credential(name) => self.read_file(&self.credential(name)?),
        }
    }

    /// An error for a content that is not usable; `fault` is the end of a sentence.
    pub fn unusable(&self, fault: &'static str) -> SecretError {
        SecretError::Unusable { key: self.key.clone(), place: self.place(), fault }
    }

    /// The place of the secret, in words.
    pub fn place(&self) -> String {
        match &*self.source {
            Source::File(path) => path.display().to_string(),
            Source::Env(name) => format!("the environment variable {name}"),
            Source::Credential(name) => format!("the credential {name}"),
        }
    }

    /// The file of the secret, if every user of the machine may read it. Certificates are not secret.
    pub fn world_readable(&self) -> Option<PathBuf> {
        if self.rule == Rule::Certificates {
            return None;
        }
        let Source::File(path) = &*self.source else { return None };
        let mode = fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o004 != 0).then(|| path.clone())
    }

    /// The path of a credential, by itself or in the unit's folder.
    fn credential(&self, name: &str) -> Result<PathBuf, SecretError> {
        match std::env::var_os(CREDENTIALS_DIRECTORY) {
            Some(folder) if !folder.is_empty() => {
                let (folder, of_folder) = (Path::new(&folder), format!("{OF_FOLDER}{name}"));
                // The unit loads a whole folder, and systemd puts the name of that before each file's.
                let named = folder.join(name);
                Ok(if named.exists() { named } else { folder.join(of_folder) })
            }
            _ => Err(SecretError::NoCredentials { key: self.key.clone(), name: name.to_owned() }),
        }
    }

    fn read_file(&self, path: &Path) -> Result<SecretString, SecretError> {
        let unreadable = |source| SecretError::Unreadable {
            key: self.key.clone(),
            path: path.to_owned(),
            source,
        };
        // Asked before the open: opening a pipe waits for its writer.
        let is_file = fs::metadata(path)
            .as_ref()
            .map(Metadata::is_file)
            .map_err(|error| unreadable(io::Error::from(error.kind())))?;
        if !is_file {
            return Err(SecretError::NotAFile { key: self.key.clone(), path: path.to_owned() });
        }
        // All room at once: the buffers that a growing buffer leaves behind are not wiped.
        let room = usize::try_from(self.rule.limit() + 1).unwrap_or_default();
        let mut bytes = Vec::with_capacity(room);
        let file = File::open(path).map_err(unreadable)?;
        file.take(self.rule.limit() + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        self.accept(bytes, || path.display().to_string())
    }

    fn accept(
        &self,
        bytes: Vec<u8>,
        place: impl Fn() -> String,
    ) -> Result<SecretString, SecretError> {
        let unusable =
            |fault| SecretError::Unusable { key: self.key.clone(), place: place(), fault };
        let secret = parse_within(bytes, self.rule.limit()).map_err(unusable)?;
        self.rule.check(secret.expose_secret()).map_err(unusable)?;
        Ok(secret)
    }
}

/// Makes a secret of raw bytes: at most [`MAX_BYTES`] of UTF-8, without one line end at the end.
///
/// # Errors
/// The fault, as the end of a sentence without any of the bytes.
pub fn parse(bytes: Vec<u8>) -> Result<SecretString, &'static str> {
    parse_within(bytes, MAX_BYTES)
}

fn parse_within(bytes: Vec<u8>, limit: u64) -> Result<SecretString, &'static str> {
    // In a secret's wrapper from here on, so that every way out wipes the bytes.
    let bytes = SecretBox::new(Box::new(bytes));
    let raw = bytes.expose_secret().as_slice();
    if u64::try_from(raw.len()).unwrap_or(u64::MAX) > limit {
        return Err(if limit > MAX_BYTES {
            "holds more than 64 KiB, and a certificate or key is smaller"
        } else {
            "holds more than 4096 bytes, and a secret is shorter"
        });
    }
    let text = std::str::from_utf8(raw).map_err(|_invalid| "is not UTF-8 text")?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("is empty");
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, Ref) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        (folder, Ref::new("password", Source::File(path)))
    }

    #[test]
    fn one_line_end_is_trimmed_and_no_more() {
        for (content, want) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")]
        {
            let (_folder, secret) = file(content.as_bytes());
            assert_eq!(secret.read().unwrap().expose_secret(), want, "{content:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_by_key_and_place() {
        for (content, want) in [
            (b"".to_vec(), "is empty"),
            (b"\n".to_vec(), "is empty"),
            (vec![b'x'; 4097], "more than 4096"),
            (vec![0xff, 0xfe], "not UTF-8"),
        ] {
            let (folder, secret) = file(&content);
            let error = secret.read().unwrap_err().to_string();
            assert!(error.contains("`password`") && error.contains(want), "{error}");
            assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_missing_file_a_folder_and_a_missing_variable_say_what_to_do() {
        let (folder, _) = file(b"x");
        let missing = Ref::new("pin", Source::File(folder.path().join("nothing")));
        assert!(missing.read().unwrap_err().to_string().contains("create it, readable by"));
        let directory = Ref::new("pin", Source::File(folder.path().to_owned()));
        assert!(matches!(directory.read(), Err(SecretError::NotAFile { .. })));
        let variable = Ref::new("pin", Source::Env("MODEMFLEET_TEST_UNSET".to_owned()));
        assert!(variable.read().unwrap_err().to_string().contains("MODEMFLEET_TEST_UNSET"));
    }

    #[test]
    fn a_rule_is_enforced_at_each_read() {
        for (rule, good, bad) in [
            (Rule::Quoted(4), "a b!", "a\"b"),
            (Rule::Quoted(4), "abcd", "abcde"),
            (Rule::Quoted(4), "abcd", "a\rb"),
            (Rule::Quoted(4), "abcd", "\u{e9}"),
            (Rule::Pin, "1234", "123"),
            (Rule::Pin, "12345678", "12a4"),
            (Rule::Token, "aZ9-_.", "a b"),
            (Rule::Token, "a-changed-one", "change-this-token-of-the-api"),
            (Rule::Token, "thechangeme", "Change_Me!"),
            (Rule::Token, "token-9d1f0c7e", "<your-token>"),
        ] {
            let (_folder, secret) = file(good.as_bytes());
            assert!(secret.with_rule(rule).read().is_ok(), "{rule:?} {good:?}");
            let (_folder, secret) = file(bad.as_bytes());
            let error = secret.with_rule(rule).read().unwrap_err().to_string();
            assert!(!error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_world_readable_file_is_seen() {
        let (folder, secret) = file(b"x");
        let path = folder.path().join("secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(secret.world_readable(), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(secret.world_readable(), Some(path));
    }
}
