//! `+CME ERROR` and `+CMS ERROR`: numbers, texts, and their meanings (27.007 §9.2, 27.005 §3.2.5).

use super::args::{after_prefix, name};
use super::{Excerpt, ReplyError, parse_uint};

/// A refusal by the mobile equipment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmeError {
    /// The code, even if the modem sent a text that is in the table (`AT+CMEE=2`).
    pub code: Option<u16>,
    /// The text as sent, cut to 40 characters, or the meaning of the number; empty without either.
    pub text: String,
}

/// A refusal by the short message service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmsError {
    /// The code, even if the modem sent a text that is in the table.
    pub code: Option<u16>,
    /// The text as sent, cut to 40 characters, or the meaning of the number; empty without either.
    pub text: String,
}

impl CmeError {
    /// Reads `+CME ERROR: <number or text>`.
    ///
    /// # Errors
    /// [`ReplyError::Missing`] if `line` is not such a line.
    pub fn of_line(line: &str) -> Result<Self, ReplyError> {
        let (code, text) = read(line, "+CME ERROR", CME)?;
        Ok(Self { code, text })
    }
}

impl CmsError {
    /// Reads `+CMS ERROR: <number or text>`.
    ///
    /// # Errors
    /// [`ReplyError::Missing`] if `line` is not such a line.
    pub fn of_line(line: &str) -> Result<Self, ReplyError> {
        let (code, text) = read(line, "+CMS ERROR", CMS)?;
        Ok(Self { code, text })
    }
}

/// Returns the meaning of a `+CME ERROR` code.
pub fn cme_meaning(code: u16) -> Option<&'static str> {
    meaning(CME, code)
}

/// Returns advice after a `+CME ERROR` that an operator can cure.
pub fn cme_advice(code: u16) -> Option<&'static str> {
    Some(match code {
        3 => "another program may use the modem, or the SIM's plan does not allow this",
        10 => "insert a SIM, or check its tray: most often the card is the wrong way round",
        11 => "set the PIN in the fleet file (`pin: {file: …}`), or switch it off in a phone",
        12 => "unlock the SIM with its PUK in a phone; the agent never tries a PUK",
        13 | 15 => {
            "try the SIM in a phone; if it works there, clean its contacts, then try another"
        }
        14 => "wait: a SIM is busy for some seconds after a boot; the agent tries again by itself",
        16 => "the PIN is wrong and is not tried again; correct the file, or change the SIM",
        30 | 31 => "check antenna and signal, and whether the operator has coverage here",
        32 | 54 => "the network refuses this SIM: is its contract active, is roaming allowed?",
        103 | 105 | 106 => "the network refuses this SIM or this modem: ask the operator",
        107 | 108 | 111..=115 => "the SIM's contract does not cover this network: ask the operator",
        127 | 132 | 133 => "check `apn:` against the operator's data sheet",
        129 | 149 => "check user and password of `apn:`",
        148 => "often a wrong APN, or no data plan",
        _ => return None,
    })
}

/// Returns the meaning of a `+CMS ERROR` code.
pub fn cms_meaning(code: u16) -> Option<&'static str> {
    meaning(CMS, code)
}

type Table = &'static [(u16, &'static str)];

fn meaning(table: Table, code: u16) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

fn read(
    line: &str,
    prefix: &'static str,
    table: Table,
) -> Result<(Option<u16>, String), ReplyError> {
    let text = after_prefix(prefix, line)
        .ok_or(ReplyError::Missing { command: prefix, wanted: "line of this kind" })?;
    if let Some(number) = parse_uint(text) {
        let code = u16::try_from(number).ok();
        let known = code.and_then(|code| meaning(table, code)).unwrap_or_default();
        return Ok((code, known.to_owned()));
    }
    let code = table.iter().find(|(_, meaning)| same_words(meaning, text)).map(|(code, _)| *code);
    Ok((code, Excerpt::new(&name(text)).as_str().to_owned()))
}

/// Reports whether two texts agree in letters and digits: modems differ in case, hyphens and even
/// spaces.
fn same_words(a: &str, b: &str) -> bool {
    fn letters(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase())
    }
    letters(a).eq(letters(b))
}

const CME: Table = &[
    (0, "Phone failure"),
    (1, "No connection to phone"),
    (2, "Phone adaptor link reserved"),
    (3, "Operation not allowed"),
    (4, "Operation not supported"),
    (5, "PH-SIM PIN required"),
    (6, "PH-FSIM PIN required"),
    (7, "PH-FSIM PUK required"),
    (10, "SIM not inserted"),
    (11, "SIM PIN required"),
    (12, "SIM PUK required"),
    (13, "SIM failure"),
    (14, "SIM busy"),
    (15, "SIM wrong"),
    (16, "Incorrect password"),
    (17, "SIM PIN2 required"),
    (18, "SIM PUK2 required"),
    (20, "Memory full"),
    (21, "Invalid index"),
    (22, "Not found"),
    (23, "Memory failure"),
    (24, "Text string too long"),
    (25, "Invalid characters in text string"),
    (26, "Dial string too long"),
    (27, "Invalid characters in dial string"),
    (30, "No network service"),
    (31, "Network timeout"),
    (32, "Network not allowed, emergency calls only"),
    (40, "Network personalization PIN required"),
    (41, "Network personalization PUK required"),
    (42, "Network subset personalization PIN required"),
    (43, "Network subset personalization PUK required"),
    (44, "Service provider personalization PIN required"),
    (45, "Service provider personalization PUK required"),
    (46, "Corporate personalization PIN required"),
    (47, "Corporate personalization PUK required"),
    (48, "Hidden key required"),
    (49, "EAP method not supported"),
    (50, "Incorrect parameters"),
    (51, "Command disabled"),
    (52, "Command aborted"),
    (53, "Not attached due to restrictions"),
    (54, "Modem not allowed, emergency calls only"),
    (55, "Not allowed restricted"),
    (56, "Fixed dial number only"),
    (57, "Temporarily out of service"),
    (58, "Language or alphabet not supported"),
    (59, "Unexpected data value"),
    (60, "System failure"),
    (61, "Data missing"),
    (62, "Call barred"),
    (63, "Message waiting indication subscription failure"),
    (100, "Unknown"),
    (103, "Illegal MS"),
    (105, "IMEI not accepted"),
    (106, "Illegal ME"),
    (107, "PS services not allowed"),
    (108, "PS and non-PS services not allowed"),
    (109, "UE identity not derived from network"),
    (110, "Implicitly detached"),
    (111, "PLMN not allowed"),
    (112, "Location/tracking area not allowed"),
    (113, "Roaming not allowed in this location/tracking area"),
    (114, "PS services not allowed in PLMN"),
    (115, "No cells in location/tracking area"),
    (116, "MSC temporarily not reachable"),
    (117, "Network failure (attach)"),
    (118, "CS domain unavailable"),
    (119, "ESM failure"),
    (122, "Congestion"),
    (124, "MBMS bearer capabilities insufficient for service"),
    (125, "Not authorized for CSG"),
    (126, "Insufficient resources"),
    (127, "Missing or unknown APN"),
    (128, "Unknown PDP address or type"),
    (129, "User authentication failed"),
    (130, "Activation rejected by GGSN or GW"),
    (131, "Activation rejected (unspecified)"),
    (132, "Service option not supported"),
    (133, "Requested service option not subscribed"),
    (134, "Service option temporarily out of order"),
    (135, "NSAPI/PTI already in use"),
    (136, "Regular deactivation"),
    (137, "QoS not accepted"),
    (138, "Call cannot be identified"),
    (139, "CS service temporarily unavailable"),
    (140, "Feature not supported"),
    (141, "Semantic error in TFT operation"),
    (142, "Syntactical error in TFT operation"),
    (143, "Unknown PDP context"),
    (144, "Semantic error in packet filter"),
    (145, "Syntactical error in packet filter"),
    (146, "PDP context without TFT already activated"),
    (147, "Multicast group membership timeout"),
    (148, "Unspecified GPRS error"),
    (149, "PDP authentication failure"),
    (150, "Invalid mobile class"),
    (171, "Last PDN disconnection not allowed"),
    (172, "Semantically incorrect message"),
    (173, "Invalid mandatory information"),
    (174, "Message type not implemented"),
    (175, "Conditional IE error"),
    (176, "Unspecified protocol error"),
    (177, "Operator determined barring"),
    (178, "Maximum number of bearers reached"),
    (179, "Requested APN not supported"),
    (180, "Rejected by bearer control mode violation"),
    (181, "Unsupported QCI/5QI value"),
    (182, "User data via control plane congested"),
    (183, "SMS provided via GPRS in routing area"),
    (184, "Invalid PTI value"),
    (185, "No bearer activated"),
    (188, "Invalid transaction ID value"),
    (189, "APN restriction value incompatible with PDP context"),
    (190, "Network failure (activation)"),
    (191, "Reactivation requested"),
    (192, "PTI mismatch"),
    (193, "Collision with network-initiated request"),
    (194, "Single address bearers only allowed"),
    (195, "IPv4 only allowed"),
    (196, "IPv4v6 only allowed"),
    (197, "Non-IP only allowed"),
    (198, "Bearer handling unsupported"),
    (199, "APN restriction incompatible"),
    (200, "Multiple access to PDN connection not allowed"),
    (201, "ESM information not received"),
    (208, "Message type not compatible with protocol state"),
    (210, "N1 mode not allowed"),
    (211, "Restricted service area"),
    (212, "LADN unavailable"),
    (213, "Missing or unknown DNN in slice"),
    (215, "Payload not forwarded"),
    (216, "Non-3GPP access to 5GCN not allowed"),
    (219, "Insufficient user plane resources for PDU session"),
    (220, "Out of LADN service area"),
    (222, "Max data rate for user plane integrity too low"),
    (223, "Semantic error in QoS operation"),
    (225, "Invalid mapped EPS bearer identity"),
    (226, "Redirection to 5GCN required"),
    (228, "Temporarily unauthorized for SNPN"),
    (229, "Permanently unauthorized for SNPN"),
    (230, "Ethernet only allowed"),
    (233, "Wireline access area not allowed"),
];

const CMS: Table = &[
    (300, "ME failure"),
    (301, "SMS service of ME reserved"),
    (302, "Operation not allowed"),
    (303, "Operation not supported"),
    (304, "Invalid PDU mode parameter"),
    (305, "Invalid text mode parameter"),
    (310, "SIM not inserted"),
    (311, "SIM PIN required"),
    (312, "PH-SIM PIN required"),
    (313, "SIM failure"),
    (314, "SIM busy"),
    (315, "SIM wrong"),
    (316, "SIM PUK required"),
    (317, "SIM PIN2 required"),
    (318, "SIM PUK2 required"),
    (320, "Memory failure"),
    (321, "Invalid index"),
    (322, "Memory full"),
    (330, "SMSC address unknown"),
    (331, "No network"),
    (332, "Network timeout"),
    (340, "No CNMA acknowledgement expected"),
    (500, "Unknown error"),
];
