//! The commands of V.250, 3GPP TS 27.007 and 27.005, as far as a person may want them.

use super::rule::CommandRule;

const ECHO: &str = "changes the form of the modem's answers, which the agent relies on";
const STORED: &str = "resets or stores settings that last over a reset";
const CALL: &str =
    "concerns a call: the port may answer nothing until the call ends, and it may cost money";
const PIN: &str = "uses one of the few tries of the SIM's PIN or PUK";
const MONEY: &str = "sends something that may cost money or change the SIM's contract";
const CARD: &str = "talks to the SIM itself: it can use up tries of the PIN and change files";
const BOOT: &str = "switches the radio or the modem off, or restarts the modem";
const LINE: &str = "changes the settings of the port, which may then answer nothing";
const CONTEXT: &str = "changes the connection that the sessions use";
const NETWORK: &str = "selects or searches a network, which interrupts the connection";
const REPORTS: &str = "changes the modem's unsolicited reports, which the agent has set";
const CLOCK: &str = "sets the clock, against which certificates are checked";
const MESSAGES: &str = "changes the stored messages, or marks them as read";

pub(super) const RULES: &[CommandRule] = &[
    // V.250 §6: only the identification commands just read.
    CommandRule::reads("I").answers_as("+GCAP"),
    CommandRule::reads("&V"),
    CommandRule::reads("+GMI"),
    CommandRule::reads("+GMM"),
    CommandRule::reads("+GMR"),
    CommandRule::reads("+GSN"),
    CommandRule::reads("+GCAP"),
    CommandRule::harms("E", ECHO),
    CommandRule::harms("Q", ECHO),
    CommandRule::harms("V", ECHO),
    CommandRule::harms("X", ECHO),
    CommandRule::harms("Z", STORED),
    CommandRule::harms("&F", STORED),
    CommandRule::harms("&W", STORED),
    CommandRule::harms("&C", LINE),
    CommandRule::harms("&D", LINE),
    CommandRule::harms("\\Q", LINE),
    CommandRule::harms("A", CALL),
    CommandRule::harms("D", CALL).secret_from(0),
    CommandRule::harms("H", CALL),
    CommandRule::harms("O", CALL),
    CommandRule::harms("+IPR", LINE),
    CommandRule::harms("+ICF", LINE),
    CommandRule::harms("+IFC", LINE),
    // 27.007 §5 to §10: commands that read.
    CommandRule::reads("+CGMI"),
    CommandRule::reads("+CGMM"),
    CommandRule::reads("+CGMR"),
    CommandRule::reads("+CGSN"),
    CommandRule::reads("+CIMI"),
    CommandRule::reads("+CCID"),
    CommandRule::reads("+CSQ"),
    CommandRule::reads("+CESQ"),
    CommandRule::reads("+CPAS"),
    CommandRule::reads("+CEER"),
    CommandRule::reads("+CNUM"),
    CommandRule::reads("+CLAC"),
    CommandRule::reads("+CBC").but_asked(&[]),
    CommandRule::reads("+CGPADDR"),
    CommandRule::reads("+CGCONTRDP"),
    // Settings that the sessions depend on.
    CommandRule::uses("+CGDCONT", CONTEXT),
    CommandRule::uses("+CGACT", CONTEXT),
    CommandRule::uses("+CGATT", CONTEXT),
    CommandRule::uses("+CGAUTH", CONTEXT).secret_from(2),
    CommandRule::uses("+COPS", NETWORK).in_its_test_form(),
    CommandRule::uses("+CREG", REPORTS),
    CommandRule::uses("+CGREG", REPORTS),
    CommandRule::uses("+CEREG", REPORTS),
    CommandRule::uses("+C5GREG", REPORTS),
    CommandRule::uses("+CGEREP", REPORTS),
    CommandRule::uses("+CMEE", REPORTS),
    CommandRule::uses("+CNMI", REPORTS),
    CommandRule::uses("+CCLK", CLOCK),
    CommandRule::uses("+CTZU", CLOCK),
    CommandRule::uses("+CMGF", MESSAGES),
    CommandRule::uses("+CMGL", MESSAGES),
    CommandRule::uses("+CMGR", MESSAGES),
    // Commands with a price: money, a SIM or a walk to the modem.
    CommandRule::harms("+CMGD", MESSAGES),
    CommandRule::harms("+CMGS", MONEY),
    CommandRule::harms("+CMSS", MONEY),
    CommandRule::harms("+CUSD", MONEY),
    CommandRule::harms("+CFUN", BOOT),
    CommandRule::harms("+CPOF", BOOT).in_every_form(),
    CommandRule::harms("+CPIN", PIN).secret_from(0),
    CommandRule::harms("+CPIN2", PIN).secret_from(0),
    CommandRule::harms("+CLCK", PIN).secret_from(2),
    CommandRule::harms("+CPWD", PIN).secret_from(1),
    CommandRule::harms("+CSIM", CARD).secret_from(0),
    CommandRule::harms("+CRSM", CARD).secret_from(5),
    CommandRule::harms("+CGLA", CARD).secret_from(1),
    CommandRule::harms("+CMUX", LINE),
    CommandRule::harms("+CGDATA", LINE),
    CommandRule::harms("+CHUP", CALL),
];
