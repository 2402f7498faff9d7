//! `modemfleet scan`: every USB modem with its entry and the holders of its ports; `--watch` shows
//! changes.
//!
//! A running agent is asked, since it has the modems' ports open. If no agent runs, this process
//! probes the modems.

mod around;
mod device;
mod error;
mod news;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use modem::Plugin;
use modem::session::Chain;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::table::{Cell, Table, Tone};
use crate::end::{code_of, output_failed, wrong};
use agent::modems::devices::DeviceReport;
use api::client::{Call, Client, ClientError, Target, converse};
use api::devices::Devices;
use discovery::WantedModems;
use discovery::plugged::{Plugged, Remark};
use fleet::models::{Folder, Models};
use fleet::printable::complain;
use fleet::printable::printable;

pub(super) use around::Around;
use around::places;
use device::{claim, notes, ports};
pub(super) use error::{DEVICES, ScanError};
use news::News;

/// The wait between two attempts while a watched agent is away.
const AWAY: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "Examples:
  modemfleet scan
  modemfleet scan --watch
  modemfleet scan --json | jq -r '.devices[] | select(.claim == \"unclaimed\") | .imei'

The running agent reports the ports of its machine. If no agent runs and no --url names one, this \
command opens the ports of this machine, with the rights of this user.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no agent runs at --url.";

/// Shows every USB modem, its ports, whose it is, and who else has a port.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print JSON; with `--watch`, one line for each event.
    #[arg(long)]
    pub json: bool,
    /// Keep running until Ctrl-C, and print each change.
    #[arg(long)]
    pub watch: bool,
    /// The models, if no agent runs.
    #[command(flatten)]
    pub models: Folder,
    /// The address of the agent.
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
pub fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let shown = converse(show(args, plugins)).map_err(ScanError::Io).and_then(|shown| shown);
    let Err(error) = shown else { return ExitCode::SUCCESS };
    let code = match &error {
        ScanError::Io(error) => return output_failed(error),
        ScanError::Target(_) => wrong(),
        ScanError::Client(error) => error.code(),
        ScanError::Models(error) => code_of(error),
        ScanError::Strange(_) | ScanError::Discovery(_) => ExitCode::FAILURE,
    };
    complain(&Chain(&error).to_string());
    code
}

async fn show(args: &Args, plugins: &[&Plugin]) -> Result<(), ScanError> {
    let mut agent = Agent { client: args.target.client()?, version: None };
    let mut source = match agent.devices().await {
        Ok(devices) => {
            // /sys shows this machine only, and an agent at a URL may run elsewhere.
            let remarks = match args.target.url {
                None => remarks(args, plugins).await,
                Some(_) => Vec::new(),
            };
            return agent_shows(args, agent, devices, &remarks).await;
        }
        Err(ScanError::Client(ClientError::NotRunning(_))) if args.target.url.is_none() => {
            Around::start(&args.target, args.models.load(plugins)?)?
        }
        Err(error) => return Err(error),
    };
    if !args.watch {
        let devices = source.settled().await?;
        return print_once(args.json, "this process", &devices, &remarks(args, plugins).await);
    }
    let mut news = News::new(args.json);
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        // Both arms are cancel safe, and none awaits in its body.
        let devices = tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            devices = source.next() => devices?,
        };
        news.print(devices)?;
    }
}

/// Returns the output of `scan --json`, or the reason why there is none.
pub(super) async fn report(
    target: &Target,
    models: &Folder,
    plugins: &[&Plugin],
) -> Result<Value, String> {
    let look = async {
        let mut agent = Agent { client: target.client()?, version: None };
        match agent.devices().await {
            Ok(devices) => Ok(json!({ "source": "agent", "devices": devices })),
            Err(ScanError::Client(ClientError::NotRunning(_))) if target.url.is_none() => {
                let devices = Around::start(target, models.load(plugins)?)?.settled().await?;
                Ok(json!({ "source": "this process", "devices": devices }))
            }
            Err(error) => Err(error),
        }
    };
    look.await.map_err(|error: ScanError| Chain(&error).to_string())
}

/// Returns the devices for a first fleet file: a running agent's, or those that this process sees. No fleet file is
/// read: the one that is there may be the reason for another.
pub(super) async fn for_a_first_file(models: Models) -> Result<Vec<DeviceReport>, ScanError> {
    if let Ok(client) = Target::default().client()
        && let Ok(devices) = (Agent { client, version: None }).devices().await
    {
        return Ok(devices);
    }
    let mut around = Around::look(WantedModems::default(), models);
    let devices = around.settled().await;
    around.end().await;
    devices
}

/// Prints the devices of a running agent.
async fn agent_shows(
    args: &Args,
    mut agent: Agent,
    mut devices: Vec<DeviceReport>,
    remarks: &[Remark],
) -> Result<(), ScanError> {
    if !args.watch {
        return print_once(args.json, "agent", &devices, remarks);
    }
    let mut news = News::new(args.json);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut is_away = false;
    loop {
        news.print(devices)?;
        devices = loop {
            // Both arms are cancel safe: a request changes nothing in the agent.
            let next = tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                next = agent.devices() => next,
            };
            match next {
                Ok(devices) => break devices,
                // A watch goes on, and shows when the agent is back.
                Err(ScanError::Client(error)) => {
                    if !std::mem::replace(&mut is_away, true) {
                        complain(&printable(&Chain(&error).to_string()));
                    }
                    tokio::select! {
                        _ = interrupt.recv() => return Ok(()),
                        () = tokio::time::sleep(AWAY) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        };
        is_away = false;
    }
}

/// A connection to the running agent.
struct Agent {
    client: Client,
    /// The version of its last answer.
    version: Option<String>,
}

impl Agent {
    /// Returns the devices: at once at the first call, later when they changed.
    async fn devices(&mut self) -> Result<Vec<DeviceReport>, ScanError> {
        let path = match &self.version {
            // It comes from outside, and becomes part of a URL.
            Some(version) if version.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                format!("{DEVICES}?after={version}")
            }
            _ => DEVICES.to_owned(),
        };
        let answer: Value = self.client.json(&Call::get(&path)).await?;
        let Devices { devices, version } = serde_json::from_value(answer)?;
        self.version = Some(version);
        Ok(devices)
    }
}

fn print_once(
    json: bool,
    source: &str,
    devices: &[DeviceReport],
    remarks: &[Remark],
) -> Result<(), ScanError> {
    let mut out = io::stdout().lock();
    if json {
        let document = json!({ "source": source, "devices": devices, "remarks": remarks });
        writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?;
    } else {
        write!(out, "{}", picture(devices))?;
        for Remark { message, advice, .. } in remarks {
            writeln!(out, "{}: {}", printable(message), printable(advice))?;
        }
    }
    Ok(())
}

/// Returns remarks about the modems in this machine's /sys and at the places of the fleet file.
async fn remarks(args: &Args, plugins: &[&Plugin]) -> Vec<Remark> {
    // If the models cannot be read, another command reports the reason.
    let Ok(models) = args.models.load(plugins) else { return Vec::new() };
    let places = places(&args.target);
    let look = move || Plugged::look(&models.catalog, &places).remarks(&models.catalog);
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

const HEAD: [&str; 7] = ["USB", "ID", "MODEM", "MODEL", "IMEI", "ICCID", "PORTS"];

/// Returns a table with a line for each remark below it.
fn picture(devices: &[DeviceReport]) -> String {
    if devices.is_empty() {
        return "no USB modem is plugged in\n".to_owned();
    }
    let mut table = Table::new(&HEAD);
    for device in devices {
        let (name, tone) = match &device.modem {
            Some(name) => (name.as_str(), Tone::Good),
            None => (claim(device.claim), Tone::Warning),
        };
        let text = |value: &Option<String>| Cell::new(value.as_deref().unwrap_or_default());
        table.push(vec![
            Cell::new(&device.usb_path),
            Cell::new(&device.usb_id),
            Cell::new(name).toned(tone),
            text(&device.model),
            text(&device.imei),
            text(&device.iccid),
            Cell::new(&ports(device)),
        ]);
    }
    let notes: Vec<String> = devices.iter().flat_map(notes).collect();
    let gap = if notes.is_empty() { "" } else { "\n" };
    table.render(false, None) + gap + &notes.concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use modem::holder::Holder;

    use super::*;
    use agent::modems::devices::{Claim, PortReport};
    use discovery::Role;

    /// Two modems with the same IMEI; another program has a port of the second.
    pub(crate) fn devices() -> Vec<DeviceReport> {
        let port = |number: u8, role| PortReport {
            tty: format!("/dev/ttyUSB{number}").into(),
            interface: number,
            role,
            busy: false,
            holder: None,
        };
        let first = DeviceReport {
            usb_path: "1-1".to_owned(),
            usb_id: "1e0e:9001".to_owned(),
            claim: Claim::Claimed,
            modem: Some("north".to_owned()),
            model: Some("SIMCOM_SIM7600G-H".to_owned()),
            imei: Some("861234560000005".to_owned()),
            iccid: Some("89860012345678900000".to_owned()),
            duplicate_imei: true,
            flapping: false,
            returns: 0,
            reason: None,
            ports: vec![port(1, Role::Other), port(2, Role::At), port(3, Role::Secondary)],
        };
        let mut taken = port(6, Role::At);
        taken.busy = true;
        taken.holder = Some(Holder { name: "Modem\u{1b}[2J".to_owned(), pid: 812 });
        let second = DeviceReport {
            usb_path: "1-2".to_owned(),
            claim: Claim::Undecided,
            modem: None,
            reason: Some("/dev/ttyUSB6 does not answer AT commands".to_owned()),
            ports: vec![taken],
            iccid: None,
            ..first.clone()
        };
        vec![first, second]
    }

    #[test]
    fn the_table_shows_whose_each_is_and_what_is_wrong() {
        assert_eq!(picture(&[]), "no USB modem is plugged in\n");
        assert_eq!(
            picture(&devices()),
            "\
USB  ID         MODEM        MODEL              IMEI             ICCID                 PORTS
1-1  1e0e:9001  north        SIMCOM_SIM7600G-H  861234560000005  89860012345678900000  ttyUSB2 at, ttyUSB3 secondary, ttyUSB1
1-2  1e0e:9001  not decided  SIMCOM_SIM7600G-H  861234560000005                        ttyUSB6 at

1-1: another modem here reports the same IMEI
1-2: /dev/ttyUSB6 is in use by Modem\u{fffd}[2J (pid 812)
1-2: another modem here reports the same IMEI
1-2: /dev/ttyUSB6 does not answer AT commands
"
        );
    }
}
