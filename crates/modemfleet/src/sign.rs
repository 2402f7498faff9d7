//! `modemfleet sign`: the MQTT login of a device, for inspection or for another tool.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use fleet::aliyun::{Credentials, Device, Endpoint, FieldError, Method, Options, SecureMode};
use fleet::secret::{self, Ref, SecretError, Source};

/// Prints the MQTT login of a device.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The cloud.
    #[command(subcommand)]
    pub cloud: Cloud,
}

/// The clouds whose signature is supported.
#[derive(Debug, clap::Subcommand)]
pub enum Cloud {
    /// Print the credentials of a device of Alibaba Cloud IoT Platform.
    Aliyun(Aliyun),
}

/// A device of Alibaba Cloud. Its secret never comes from the command line, which every user of
/// the machine can read.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("secret").required(true))]
pub struct Aliyun {
    /// The product's key.
    #[arg(long, value_name = "KEY")]
    pub product_key: String,
    /// The device's name.
    #[arg(long, value_name = "NAME")]
    pub device_name: String,
    /// A file with the device secret, or `-` for standard input.
    #[arg(long, value_name = "FILE", group = "secret")]
    pub device_secret_file: Option<PathBuf>,
    /// An environment variable with the device secret.
    #[arg(long, value_name = "NAME", group = "secret")]
    pub device_secret_env: Option<String>,
    /// The part of the client id before the bars [default: the device name].
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// A time to sign as well, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    pub timestamp: Option<u64>,
    /// The signature's method: hmacsha1, hmacmd5 or hmacsha256.
    #[arg(long, value_name = "METHOD", default_value = "hmacsha1", value_parser = method)]
    pub method: Method,
    /// The transport: 2 for TLS, 3 for TCP.
    #[arg(long, value_name = "MODE", default_value = "3", value_parser = secure_mode)]
    pub securemode: SecureMode,
    /// The region of a public instance.
    #[arg(long, value_name = "REGION", default_value = "cn-shanghai")]
    pub region: String,
    /// The id of an enterprise instance; it replaces the region.
    #[arg(long, value_name = "ID", conflicts_with = "region")]
    pub instance: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The reason why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The secret could not be read from a file or the environment.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The input on standard input is not a secret.
    #[error("the device secret on standard input {0}")]
    Input(&'static str),
    /// A value cannot be signed.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Standard input or output failed.
    #[error("reading the secret or printing the result failed")]
    Io(#[from] io::Error),
}

/// Signs and prints on `stdout`. `stdin` is read only for `--device-secret-file -`.
///
/// # Errors
/// [`SignError`]; all but `Io` are wrong usage (exit code 2).
pub fn run(args: &Args, stdin: &mut impl Read, stdout: &mut impl Write) -> Result<(), SignError> {
    let Cloud::Aliyun(args) = &args.cloud;
    let device = Device::new(&args.product_key, &args.device_name)?;
    let endpoint = match &args.instance {
        Some(id) => Endpoint::Instance(id.clone()),
        None => Endpoint::Region(args.region.clone()),
    };
    let options = Options {
        client_id: args.client_id.clone(),
        method: args.method,
        secure_mode: args.securemode,
        timestamp: args.timestamp,
        endpoint,
    };
    let signed = device.sign(&device_secret(args, stdin)?, &options)?;
    Ok(print(&signed, args.json, stdout)?)
}

fn device_secret(args: &Aliyun, stdin: &mut impl Read) -> Result<SecretString, SignError> {
    let source = match (&args.device_secret_file, &args.device_secret_env) {
        (Some(path), _) if path == Path::new("-") => {
            let mut bytes = Vec::new();
            stdin.take(secret::MAX_BYTES + 1).read_to_end(&mut bytes)?;
            return secret::parse(bytes).map_err(SignError::Input);
        }
        (Some(path), _) => Source::File(path.clone()),
        (None, Some(name)) => Source::Env(name.clone()),
        (None, None) => return Err(SignError::Input("is missing")),
    };
    Ok(Ref::new("device_secret", source).read()?)
}

fn print(signed: &Credentials, json: bool, stdout: &mut impl Write) -> io::Result<()> {
    let password = signed.password.expose_secret();
    if json {
        let object = json!({
            "host": signed.host,
            "port": signed.port,
            "client_id": signed.client_id,
            "username": signed.username,
            "password": password,
        });
        return writeln!(stdout, "{object}");
    }
    writeln!(stdout, "host:      {}:{}", signed.host, signed.port)?;
    writeln!(stdout, "client id: {}", signed.client_id)?;
    writeln!(stdout, "user name: {}", signed.username)?;
    writeln!(stdout, "password:  {password}")
}

fn method(word: &str) -> Result<Method, FieldError> {
    word.parse()
}

fn secure_mode(word: &str) -> Result<SecureMode, FieldError> {
    match word {
        "2" => Ok(SecureMode::Tls),
        "3" => Ok(SecureMode::Tcp),
        _ => Err(FieldError { field: "securemode", fault: "must be 2 (TLS) or 3 (TCP)" }),
    }
}
