//! `modemfleet init`: a first fleet file for the modems that are plugged in.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use modem::Plugin;
use modem::session::Chain;

use super::scan::{self, ScanError};
use crate::end::{code_of, output_failed, wrong};
use agent::modems::devices::{Claim, DeviceReport};
use api::client::{DEFAULT_CONFIG, converse};
use discovery::Role;
use fleet::models::{Folder, Models};
use fleet::printable::{complain, printable};
use fleet::{Ability, Context, Secrets};

/// A broker that is nobody's: the file passes `check`, and its comment says what to change.
const NO_BROKER: &str = "mqtt://broker.example.com:1883";

/// The beginning of a URL with TLS.
const TLS: &str = "mqtts://";

const EXAMPLES: &str = "Examples:
  modemfleet init                                  asks for the broker, writes /etc/modemfleet/fleet.yaml
  modemfleet init --broker mqtts://b.example.com --ca /etc/modemfleet/ca.pem
  modemfleet init --port /dev/ttyS1 --broker mqtt://b.example.com my.yaml
  modemfleet init -                                prints the file

A modem is named by its IMEI if it answered, else by its USB port. Exit codes: 0 written, 1 failed, 2 refused: a file
that is there without --force, or a wrong value.";

/// Writes a commented fleet file for the modems that `scan` sees. It passes `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file to write; `-` prints it.
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    file: PathBuf,
    /// The broker's URL: `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The PEM file of the authority that signed the broker's certificate; `mqtts://` needs it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A serial port with a modem that is not on USB, such as /dev/ttyS1; may be given more than once.
    #[arg(long, value_name = "TTY")]
    port: Vec<PathBuf>,
    /// Ask nothing. Without a terminal nothing is asked either.
    #[arg(long, short)]
    yes: bool,
    /// Overwrite a file that is there.
    #[arg(long)]
    force: bool,
    /// The models that are looked for.
    #[command(flatten)]
    models: Folder,
}

/// The reason for which no file was written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{} is there already: name another file, or overwrite it with --force", .0.display())]
    Exists(PathBuf),
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("a file with these values would be refused:\n{rendered}")]
    Refused { rendered: String },
    #[error(
        "mqtts:// needs the authority that signed the broker's certificate: name its PEM file with --ca"
    )]
    NoCa,
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the file that `args` ask for, and prints the next steps.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let done = converse(write(args, plugins)).map_err(InitError::Io).and_then(|done| done);
    let Err(error) = done else { return ExitCode::SUCCESS };
    let code = match &error {
        InitError::Io(error) => return output_failed(error),
        InitError::Exists(_) | InitError::Refused { .. } | InitError::NoCa => wrong(),
        InitError::Scan(ScanError::Models(error)) => code_of(error),
        InitError::Scan(_) | InitError::Write { .. } => ExitCode::FAILURE,
    };
    complain(&Chain(&error).to_string());
    code
}

async fn write(args: &Args, plugins: &[&Plugin]) -> Result<(), InitError> {
    let is_printed = args.file == Path::new("-");
    if !is_printed && !args.force && args.file.exists() {
        return Err(InitError::Exists(args.file.clone()));
    }
    let models = args.models.load(plugins).map_err(ScanError::from)?;
    let abilities = Ability::all(&models.catalog);
    let modems = look(args, models).await?;
    let system = System::here();
    let text = text(&modems, &broker(args)?, system);
    let context = Context::of(&args.file, Secrets::Skip);
    let name = args.file.display().to_string();
    fleet::parse(&name, text.clone().into_bytes(), &Context { abilities, ..context })
        .map_err(|problems| InitError::Refused { rendered: problems.render(false) })?;
    if is_printed {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    let failed = |source| InitError::Write { path: args.file.clone(), source };
    let mut file = open(&args.file, args.force).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    io::stdout().write_all(steps(&args.file, &modems, system).as_bytes())?;
    Ok(())
}

/// A new file, or with `force` the one that is there: its owner and mode stay.
fn open(path: &Path, force: bool) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)
}

/// A modem for which the file gets an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// The key of `match` and its value.
    key: (&'static str, String),
    /// Facts for the reader of the file.
    comment: String,
}

async fn look(args: &Args, models: Models) -> Result<Vec<Found>, ScanError> {
    let devices = scan::for_a_first_file(models).await?;
    let on_usb = devices.iter().filter(|device| device.claim != Claim::Unsupported).map(found);
    let fixed = args.port.iter().map(|port| Found {
        key: ("port", port.display().to_string()),
        comment: "a fixed serial port".to_owned(),
    });
    Ok(on_usb.chain(fixed).collect())
}

/// Names a device by its IMEI if that identifies it, else by its place.
fn found(device: &DeviceReport) -> Found {
    let imei = device
        .imei
        .as_deref()
        .filter(|imei| !device.duplicate_imei && discovery::is_identity(imei) && imei.len() == 15);
    let model = device.model.as_deref().unwrap_or("model unknown");
    let at = device.ports.iter().find(|port| port.role == Role::At);
    let port = at.map(|port| format!(", {}", port.tty.display())).unwrap_or_default();
    let comment = format!("{model} at USB {}{port}", device.usb_path);
    let key = match imei {
        Some(imei) => ("imei", imei.to_owned()),
        None => ("usb_path", device.usb_path.clone()),
    };
    Found { key, comment: printable(&comment) }
}

/// A broker as the file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Broker {
    url: String,
    ca: Option<PathBuf>,
}

/// The broker that is named, or that a person types.
fn broker(args: &Args) -> Result<Broker, InitError> {
    let asks = !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    let url = match &args.broker {
        Some(url) => url.clone(),
        None if asks => {
            let typed = ask(&format!("the broker's URL, as the modems reach it [{NO_BROKER}]"))?;
            if typed.is_empty() { NO_BROKER.to_owned() } else { typed }
        }
        None => NO_BROKER.to_owned(),
    };
    let ca = match &args.ca {
        Some(ca) => Some(ca.clone()),
        None if asks && url.starts_with(TLS) => {
            let typed = ask("the PEM file of the authority that signed its certificate")?;
            Some(typed.into()).filter(|path: &PathBuf| !path.as_os_str().is_empty())
        }
        None => None,
    };
    if url.starts_with(TLS) && ca.is_none() {
        return Err(InitError::NoCa);
    }
    // The file may be written elsewhere than here.
    let ca = ca.map(std::path::absolute).transpose()?;
    Ok(Broker { url, ca })
}

/// Asks a person. Standard output may be the file.
fn ask(question: &str) -> io::Result<String> {
    write!(io::stderr(), "{question}: ")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// The kind of system that the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Systemd,
    OpenWrt,
    Other,
}

impl System {
    fn here() -> Self {
        if Path::new("/etc/openwrt_release").exists() {
            Self::OpenWrt
        } else if Path::new("/run/systemd/system").exists() {
            Self::Systemd
        } else {
            Self::Other
        }
    }

    /// Returns the queue's folder. `/var` of OpenWrt is in memory.
    const fn queue(self) -> &'static str {
        match self {
            Self::OpenWrt => "/srv/modemfleet/queue",
            Self::Systemd | Self::Other => "/var/lib/modemfleet/queue",
        }
    }

    /// Returns the command that starts the agent.
    fn start(self, file: &Path) -> String {
        match self {
            Self::Systemd if file == Path::new(DEFAULT_CONFIG) => {
                "sudo systemctl enable --now modemfleet".to_owned()
            }
            Self::OpenWrt if file == Path::new(DEFAULT_CONFIG) => {
                "/etc/init.d/modemfleet enable && /etc/init.d/modemfleet start".to_owned()
            }
            _ => format!("modemfleet run --config {}", file.display()),
        }
    }
}

/// Returns the text of the file.
fn text(modems: &[Found], broker: &Broker, system: System) -> String {
    let socket = match system {
        // The unit makes the folder, and so does the init script.
        System::Systemd => ", socket: /run/modemfleet/api.sock",
        System::OpenWrt => ", socket: /var/run/modemfleet/api.sock",
        System::Other => "",
    };
    let queue = system.queue();
    let mut text = format!(
        "# Written by `modemfleet init`. `modemfleet check` says what is wrong with it, and where.\n\
         # All keys: docs/fleet-yaml.md. A change takes effect by `modemfleet reload`.\n\n\
         # gateway: gw-01            # default: the host name\n\
         http: {{ listen: 127.0.0.1:9810{socket} }}\n\
         queue: {{ path: {queue}, max_bytes: 64MiB, when_full: reject }}\n\n\
         # Applications on this gateway publish to it with any MQTT client:\n\
         # hand_in: {{ mqtt: {{ listen: 127.0.0.1:1883 }} }}\n\n\
         brokers:\n"
    );
    if broker.url == NO_BROKER {
        text.push_str("  # An example: write yours, as the modems reach it from their network.\n");
    }
    let tls = broker.ca.as_ref().map(|ca| quoted(&ca.display().to_string()));
    let tls = tls.map(|ca| format!(", tls: {{ ca: {ca} }}")).unwrap_or_default();
    let _ = write!(
        text,
        "  # A secret is a file of its own: username: gw, password: {{ file: /etc/modemfleet/password }}\n  \
         main: {{ url: {}{tls} }}\n\nmodems:\n",
        quoted(&broker.url)
    );
    if modems.is_empty() {
        text.push_str(
            "  # No modem was seen. This entry takes the first SIM7600 that is plugged in.\n",
        );
        text.push_str(&entry(1, "model: sim7600", "an example"));
    }
    for (number, modem) in (1..).zip(modems) {
        let matching = format!("{}: {}", modem.key.0, quoted(&modem.key.1));
        text.push_str(&entry(number, &matching, &modem.comment));
    }
    text.push_str(
        "\n# Without routes every message may take every session, in this order:\n\
         # routes:\n\
         #   - { topic: \"#\", to: [modem-1/main], policy: failover }\n",
    );
    text
}

fn entry(number: usize, matching: &str, comment: &str) -> String {
    format!(
        "  modem-{number}:                  # a name of your choice; {comment}\n    \
         match: {{ {matching} }}\n    \
         # apn: internet            # the operator's access point; without it the modem's own setting\n    \
         # pin: {{ file: /etc/modemfleet/pin }}\n    \
         sessions:\n      \
         main: {{ broker: main, subscribe: [{{ filter: \"commands/#\", qos: 1 }}] }}\n"
    )
}

/// Returns a text as YAML reads it between double quotes: JSON's rules are a part of YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns the next steps for a person.
fn steps(file: &Path, modems: &[Found], system: System) -> String {
    let seen = match modems.len() {
        0 => "no modem was seen, so it holds an example".to_owned(),
        1 => "1 modem".to_owned(),
        number => format!("{number} modems"),
    };
    let shown = file.display();
    let start = system.start(file);
    format!(
        "wrote {shown}: {seen}\n\
         next:\n  \
         edit {shown}: the broker, its password, the access point\n  \
         modemfleet check --without-secrets {shown}\n  \
         {start}\n  \
         modemfleet status\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Loaded;

    fn modem(key: &'static str, value: &str) -> Found {
        Found { key: (key, value.to_owned()), comment: "SIMCOM_SIM7600G-H at USB 1-1".to_owned() }
    }

    fn broker(url: &str) -> Broker {
        Broker { url: url.to_owned(), ca: None }
    }

    fn check(text: &str) -> Result<Loaded, String> {
        let context = Context { host_name: Some("gw".to_owned()), ..Context::default() };
        let parsed = fleet::parse("fleet.yaml", text.as_bytes().to_vec(), &context);
        parsed.map_err(|problems| problems.render(false))
    }

    #[test]
    fn the_file_passes_the_check_without_a_warning_on_every_system() {
        let modems = [
            modem("imei", "861234560000005"),
            modem("usb_path", "1-1.2"),
            modem("port", "/dev/pts/7"),
        ];
        for system in [System::Systemd, System::OpenWrt, System::Other] {
            for count in 0..=modems.len() {
                let text = text(&modems[..count], &broker(NO_BROKER), system);
                let loaded = check(&text).unwrap_or_else(|said| panic!("{said}\n{text}"));
                assert_eq!(loaded.fleet.modems.len(), count.max(1), "{text}");
                let warnings = loaded.warnings.render(false);
                assert!(count == 3 || warnings.is_empty(), "{warnings}\n{text}");
            }
        }
        let text = text(&modems, &broker("mqtt://b.example.com:1884"), System::Systemd);
        check(&text).unwrap();
        for line in ["match: { imei: \"861234560000005\" }", "match: { usb_path: \"1-1.2\" }"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("An example"));
    }

    #[test]
    fn the_broker_of_a_person_is_a_value_and_nothing_else() {
        for typed in ["lab", "mqtt://a\" }\nmodems: {}", "mqtt://u:secret@b", "ftp://b"] {
            assert!(check(&text(&[], &broker(typed), System::Other)).is_err(), "{typed}");
        }
    }

    #[test]
    fn a_device_is_named_by_an_imei_that_identifies_it() {
        let told = |imei: Option<&str>, duplicate_imei| {
            let devices = scan::tests::devices();
            let first = devices.into_iter().next().unwrap();
            let imei = imei.map(str::to_owned);
            found(&DeviceReport { imei, duplicate_imei, ..first }).key
        };
        let imei = "861234560000005";
        assert_eq!(told(Some(imei), false), ("imei", imei.to_owned()));
        for (imei, twice) in [(Some(imei), true), (Some("000000000000000"), false), (None, false)] {
            assert_eq!(told(imei, twice), ("usb_path", "1-1".to_owned()));
        }
    }
}
