//! The device side of the guest's USB: plugs, unplugs, and the modems behind the ports.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::{Process, modemfleet, pause, run, within};

/// The limit of a wait. The guest's processor is emulated, and so is the host's at times.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// The pause between two checks. Each check asks the agent or starts a program, which takes
/// processor time from the awaited work.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for an event in the guest.
#[track_caller]
pub(crate) fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let mut is_first = true;
    let look = || {
        if !std::mem::take(&mut is_first) {
            pause(LOOK);
        }
        ask()
    };
    within(LONG, look).unwrap_or_else(|| panic!("waited {LONG:?} in vain for {what}"))
}

/// Fails outside the guest: the tests plug devices and start daemons, and a machine in use must not
/// see that.
pub(crate) fn only_in_a_guest() {
    assert!(
        std::env::var_os("MODEMFLEET_GUEST").is_some(),
        "this test changes the machine: it runs in a guest (tests/usb/README.md)"
    );
}

fn shell(command: &str) -> String {
    let script = format!(". /run/bed/gadget.sh; {command}");
    let done = run(Command::new("bash").args(["-euc", &script]), b"");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{command}: {said}");
    said
}

/// Plugs modem `number` (0 or 1) in. Returns at once, before the kernel sees it.
pub(crate) fn plug(number: usize) {
    shell(&format!("plug {number}"));
}

/// Plugs modem `number` into the place of the other modem.
pub(crate) fn plug_swapped(number: usize) {
    shell(&format!("plug {number} 0x9001 4 {}", 1 - number));
}

/// Makes udevd queue events without processing them, or continue.
pub(crate) fn hold_udevd(hold: bool) {
    shell(&format!("udevadm control --{}-exec-queue", if hold { "stop" } else { "start" }));
}

/// Unplugs modem `number`.
pub(crate) fn unplug(number: usize) {
    shell(&format!("unplug {number}"));
}

/// Returns the link that udev makes to the AT port of the modem at place `number`, whatever the
/// number of its tty.
pub(crate) fn at_port(number: usize) -> PathBuf {
    format!("/dev/serial/by-path/platform-dummy_hcd.{number}-usb-0:1:1.2-port0").into()
}

/// Returns the kernel's name of the place: the guest has no other USB controllers.
pub(crate) fn usb_path(number: usize) -> String {
    format!("{}-1", number + 1)
}

/// Returns the IMEI of simulated modem `number`.
pub(crate) fn imei(number: usize) -> &'static str {
    if number == 0 { "861234560000005" } else { "861234560000013" }
}

/// Returns the tty behind that link, once udev has processed it.
pub(crate) fn tty(number: usize) -> PathBuf {
    let tty = wait("udev to name the port", || fs::canonicalize(at_port(number)).ok());
    shell("udevadm settle");
    tty
}

/// Returns a property that udev gave a device.
pub(crate) fn property(device: &str, name: &str) -> Option<String> {
    let all = shell(&format!("udevadm info -q property {device}"));
    let value = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.map(str::to_owned)
}

/// Starts modems on the device side, in one process. The devices must have been plugged in once, in
/// order.
pub(crate) fn simulate(modems: usize, broker: &str) -> Process {
    simulate_with(modems, broker, &[])
}

/// As [`simulate`], with more options.
pub(crate) fn simulate_with(modems: usize, broker: &str, more: &[&str]) -> Process {
    let mut command = Command::new(modemfleet());
    command.args(["sim", "--model", "sim7600", "--broker", broker]).args(more);
    for modem in 0..modems {
        let (first, second) = (4 * modem + 2, 4 * modem + 3);
        command.args(["--tty", &format!("/dev/ttyGS{first},/dev/ttyGS{second}")]);
    }
    let process = Process::start("sim", &mut command);
    wait("the simulated modems", || (process.stdout().len() >= modems).then_some(()));
    process
}
