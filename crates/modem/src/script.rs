//! The script of a recording: commands that only read, each with its reason.

/// A command of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The command.
    pub command: &'static str,
    /// The use of its answer.
    pub reason: &'static str,
}

impl Question {
    /// Creates a question.
    pub const fn new(command: &'static str, reason: &'static str) -> Self {
        Self { command, reason }
    }
}

/// The standards' commands (V.250, 3GPP TS 27.007), for every modem. A vendor's own follow.
pub const STANDARD: &[Question] = &[
    Question::new("AT", "the modem answers, and with or without echo"),
    Question::new("ATI", "the identity in the vendor's own form"),
    Question::new("AT+CGMI", "the manufacturer"),
    Question::new("AT+CGMM", "the model: picks the entry of the catalog"),
    Question::new("AT+CGMR", "the firmware, for which all below holds"),
    Question::new("AT+CGSN", "the form of the IMEI; its end is hidden"),
    Question::new("AT+CMEE?", "the form of errors in this recording"),
    Question::new("AT+CFUN?", "the state of the radio"),
    Question::new("AT+CPIN?", "the state of the SIM; no PIN is sent"),
    Question::new("AT+CIMI", "the form of the IMSI; its end is hidden"),
    Question::new("AT+CREG?", "the registration for speech, and its form"),
    Question::new("AT+CGREG?", "the registration for data below LTE, and its form"),
    Question::new("AT+CEREG?", "the registration in LTE, and its form"),
    Question::new("AT+C5GREG?", "the registration in 5G, or that the modem does not know it"),
    Question::new("AT+COPS?", "the operator and the radio technology"),
    Question::new("AT+CSQ", "the received power"),
    Question::new("AT+CESQ", "the levels of the extended query"),
    Question::new("AT+CGATT?", "attached to packet data or not"),
    Question::new("AT+CGDCONT?", "the form of a context; the access point is hidden"),
    Question::new("AT+CGACT?", "the contexts that are active"),
    Question::new("AT+CGPADDR", "the form of an address; the address is replaced"),
    Question::new("AT+CCLK?", "the clock and its time zone"),
];
