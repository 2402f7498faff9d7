//! `modemfleet profiles explain`: the entry of the models that fits a modem, the reason, and the
//! entries that lost.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use modem::Plugin;
use modem::catalog::{UsbLayout, When, normalised};
use modem::holder::usb_device;
use modem::location::Place;
use modem::probe::{self, ProbeError};
use modem::session::Chain;
use serde::Serialize;

use crate::end::{code_of, output_failed, wrong};
use api::client::converse;
use discovery::interfaces::{self, Interface};
use discovery::{self, UsbTty};
use fleet::did_you_mean;
use fleet::models::{Folder, Models, ModelsError};
use fleet::printable::complain;
use fleet::printable::printable;

const EXAMPLES: &str = "Examples:
  modemfleet profiles explain /dev/ttyUSB2
  modemfleet profiles explain --usb 1e0e:9011
  modemfleet profiles explain --model SIMCOM_SIM7600G-H

The USB id selects the port. The answer to AT+CGMM selects the entry: the one with the longest \
matching beginning wins. A TTY is opened to ask for both.
Exit codes: 0 an entry matches, 1 no entry matches, or the modem gave no answer, 2 wrong usage or models.";

/// The origin of a layout without a profile.
const WITHOUT_PROFILE: &str = "built in, without a profile";

/// Says which entry of the models a modem is, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The modem's AT port, which is opened to ask for its identity.
    #[arg(value_name = "TTY", required_unless_present_any = ["usb", "model"], conflicts_with_all = ["usb", "model"])]
    tty: Option<PathBuf>,
    /// The device's id, as `lsusb` prints it.
    #[arg(long, value_name = "VID:PID")]
    usb: Option<String>,
    /// The modem's answer to AT+CGMM.
    #[arg(long, value_name = "STR")]
    model: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The models.
    #[command(flatten)]
    models: Folder,
}

/// The explanation.
#[derive(Debug, Default, Serialize)]
struct Explained {
    #[serde(skip_serializing_if = "Option::is_none")]
    tty: Option<PathBuf>,
    /// The USB interface of the tty.
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usb_id: Option<String>,
    /// The layouts of that id, in the order in which they are tried.
    layouts: Vec<Layout>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgmm: Option<String>,
    /// The entries that fit, the winner first.
    entries: Vec<Entry>,
    /// The reason why the modem did not report its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    untold: Option<String>,
    /// The advice if nothing fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Layout {
    model: String,
    at: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    secondary: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<When>,
    /// True if its condition holds for the plugged-in device; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
    origin: String,
}

#[derive(Debug, Serialize)]
struct Entry {
    model: String,
    profile: &'static str,
    /// The beginning of the name by which it fits.
    beginning: String,
    origin: String,
}

/// Runs the command.
pub(super) fn run(args: &Args, plugins: &[&Plugin]) -> ExitCode {
    let models = match args.models.load(plugins) {
        Ok(models) => models,
        Err(error) => return refused(&error),
    };
    let mut explained = Explained { tty: args.tty.clone(), ..Explained::default() };
    if let Some(id) = &args.usb {
        let hex = |part: &str| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
        if !id.split_once(':').is_some_and(|(vendor, product)| hex(vendor) && hex(product)) {
            complain(&format!(
                "--usb {id:?} is not VENDOR:PRODUCT with four hexadecimal digits each"
            ));
            return wrong();
        }
        explained.usb_id = Some(id.to_ascii_lowercase());
    }
    explained.cgmm.clone_from(&args.model);
    if let Some(tty) = &args.tty
        && let Err(error) = explained.ask(tty.clone(), &models)
    {
        return output_failed(&error);
    }
    explained.look_up(&models);
    let printed = if args.json {
        serde_json::to_string_pretty(&explained)
            .map_err(io::Error::other)
            .and_then(|text| writeln!(io::stdout(), "{text}"))
    } else {
        write!(io::stdout(), "{}", explained.words())
    };
    match printed {
        Err(error) => output_failed(&error),
        Ok(()) if explained.cure.is_none() && explained.untold.is_none() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

fn refused(error: &ModelsError) -> ExitCode {
    complain(&Chain(error).to_string());
    code_of(error)
}

impl Explained {
    /// Asks the modem at a tty for its model, and the system for the tty's USB interface.
    fn ask(&mut self, tty: PathBuf, models: &Models) -> io::Result<()> {
        if let Ok(Some(UsbTty { usb_id, interface, .. })) = discovery::usb_tty(&tty) {
            (self.usb_id, self.interface) = (Some(usb_id), Some(interface));
        }
        let place = Place::from(tty);
        match converse(probe::model(&place, &models.catalog))? {
            Ok(cgmm) => self.cgmm = Some(cgmm),
            Err(error) => {
                let hint = match &error {
                    ProbeError::Open(open) if open.busy().is_some() => {
                        "; `modemfleet scan` shows the running agent's data about it"
                    }
                    _ => "",
                };
                self.untold = Some(format!("{}{hint}", Chain(&error)));
            }
        }
        Ok(())
    }

    fn look_up(&mut self, models: &Models) {
        if let Some(id) = &self.usb_id {
            let device = self.tty.as_deref().and_then(usb_device);
            let there = device.map(|device| interfaces::of(&device));
            let has_tty = |there: &[Interface], number| {
                there.iter().any(|interface| interface.number == number && interface.has_tty)
            };
            let known = models.catalog.models().map(|model| {
                (model.id.clone(), models.origin_words(&model.id), model.usb.as_slice())
            });
            let others = models.catalog.unsupported().map(|model| {
                (model.names.join(", "), WITHOUT_PROFILE.to_owned(), model.usb.as_slice())
            });
            for (model, origin, usb) in known.chain(others) {
                let holding = there
                    .as_ref()
                    .map(|there| UsbLayout::holding(usb, id, |number| has_tty(there, number)));
                self.layouts.extend(usb.iter().filter(|layout| layout.is_of(id)).map(|layout| {
                    Layout {
                        model: model.clone(),
                        at: layout.at,
                        secondary: layout.secondary,
                        when: layout.when.clone(),
                        holds: holding.as_ref().map(|holding| holding.contains(&layout)),
                        origin: origin.clone(),
                    }
                }));
            }
        }
        if let Some(cgmm) = &self.cgmm {
            self.entries.extend(models.catalog.fits(cgmm).into_iter().map(|fit| Entry {
                model: fit.model.id.clone(),
                profile: fit.profile.id(),
                beginning: fit.beginning.to_owned(),
                origin: models.origin_words(&fit.model.id),
            }));
        }
        self.cure = self.cure(models);
    }

    /// Returns the advice if no entry has the id or the name.
    fn cure(&self, models: &Models) -> Option<String> {
        if let Some(cgmm) = self.cgmm.as_ref().filter(|_| self.entries.is_empty()) {
            if let Some(words) = models.catalog.without_profile(cgmm) {
                return Some(words);
            }
            let name = normalised(cgmm).to_ascii_lowercase();
            let known: Vec<&str> = models.catalog.models().map(|model| model.id.as_str()).collect();
            let hint = did_you_mean(&name, &known).map(|hint| format!(" ({hint})"));
            return Some(format!(
                "no entry matches{}; if the modem speaks like a model of `modemfleet profiles list`, add it with a file in \
                 the folder of models (/etc/modemfleet/models.d, docs/models.md):\n\nmodels:\n  - like: MODEL\n    cgmm: [{}]",
                hint.unwrap_or_default(),
                quoted(cgmm)
            ));
        }
        if let Some(words) = self.usb_id.as_ref().and_then(|id| models.catalog.unsupported_id(id)) {
            return Some(words);
        }
        let id = self.usb_id.as_ref().filter(|_| self.layouts.is_empty())?;
        Some(format!(
            "no entry has this USB id; add it to an entry with a file in the folder of models \
             (/etc/modemfleet/models.d, docs/models.md):\n\n\
             models:\n  - id: MODEL\n    usb: [{{ id: \"{id}\", at: NUMBER }}]"
        ))
    }

    fn words(&self) -> String {
        let mut text = String::new();
        let mut say = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        if let Some(tty) = &self.tty {
            say(format!("tty      {}", printable(&tty.display().to_string())));
        }
        if let Some(id) = &self.usb_id {
            let interface = self.interface.map(|number| format!(", interface {number}"));
            say(format!("USB id   {id}{}", interface.unwrap_or_default()));
        } else if self.tty.is_some() {
            say("USB id   none: the port does not belong to a USB device".to_owned());
        }
        for Layout { model, at, secondary, when, holds, origin } in &self.layouts {
            let secondary = secondary.map(|number| format!(", secondary {number}"));
            let secondary = secondary.unwrap_or_default();
            say(format!(
                "         {model}: AT on interface {at}{secondary}{}{} ({})",
                when.as_ref().map(|when| format!(", {when}")).unwrap_or_default(),
                if *holds == Some(false) { "; not as it is plugged in" } else { "" },
                printable(origin)
            ));
        }
        if let Some(cgmm) = &self.cgmm {
            say(format!("CGMM     {}", printable(cgmm)));
        }
        let longest = self.entries.first().map(|entry| normalised(&entry.beginning).len());
        for (at, Entry { model, profile, beginning, origin }) in self.entries.iter().enumerate() {
            let origin = printable(origin);
            let shorter = longest.unwrap_or(0).saturating_sub(normalised(beginning).len());
            say(if at == 0 {
                format!("winner   {model}: begins with {beginning}; profile {profile} ({origin})")
            } else {
                format!("loser    {model}: begins with {beginning}, {shorter} shorter ({origin})")
            });
        }
        if let Some(untold) = &self.untold {
            say(format!("CGMM     not known: {}", printable(untold)));
        }
        if let Some(cure) = &self.cure {
            say(format!("\n{cure}"));
        }
        text
    }
}

/// Returns a name as YAML, quoted if it needs that.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    let name: String = normalised(name).chars().take(64).collect();
    if name.chars().all(plain) { name } else { format!("{name:?}") }
}
