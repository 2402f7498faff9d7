//! The family's commands that an operator may want at the console, by their effect.

use at::Guarded;
use modem::console::{CommandRule, OperationResult};
use modem::script::Question;

use crate::exchange::LANE;

const SESSIONS: &str = "changes the modem's MQTT connections, which the agent's sessions use";
const NETWORK: &str = "changes the connection that the sessions use";
const LASTING: &str = "changes settings that last over a reset";
const BOOT: &str = "switches the modem off";
const USB: &str = "changes the modem's USB mode: its ports may be gone after that";
const IMEI: &str = "writes the modem's identity, which may be a crime";
const FILES: &str =
    "deletes, writes or prints files of the modem, certificates and keys among them";

/// Lines that hold a secret. `+QMTCFG: "aliauth"` may or may not contain the client's number.
pub(crate) const GUARDED: [Guarded; 3] = [
    Guarded { prefix: "+QMTCFG:", from: 3 },
    Guarded { prefix: "+QICSGP:", from: 2 },
    Guarded { prefix: "+CGAUTH:", from: 2 },
];

/// Settings of `AT+QCFG` that are printed if the command has no value. A firmware may treat other settings
/// without a value as orders.
const TOLD: &[&str] = &[
    "\"usbnet\"",
    "\"usbcfg\"",
    "\"nwscanmode\"",
    "\"nwscanseq\"",
    "\"band\"",
    "\"roamservice\"",
    "\"servicedomain\"",
    "\"iotopmode\"",
    "\"ims\"",
];

/// The same for `AT+QNWPREFCFG`, which also has an order of a single argument: `"all_band_reset"`.
const PREFERENCES: &[&str] = &[
    "\"gw_band\"",
    "\"lte_band\"",
    "\"nsa_nr5g_band\"",
    "\"nr5g_band\"",
    "\"mode_pref\"",
    "\"srv_domain\"",
    "\"roam_pref\"",
    "\"ue_usage_setting\"",
    "\"nr5g_disable_mode\"",
];

const fn mqtt(name: &'static str) -> CommandRule {
    CommandRule::uses(name, SESSIONS).in_lane(LANE)
}

/// An operation of a client, with its code in this argument of its result.
const fn operation(name: &'static str, prefix: &'static str, code_at: usize) -> CommandRule {
    let blank = OperationResult::BLANK;
    mqtt(name).ends_with(OperationResult { prefix, is_indexed: true, code_at, ..blank })
}

/// A packet with an identifier: 1 in the place of the code means that the packet is sent again.
const fn packet(name: &'static str, prefix: &'static str) -> CommandRule {
    let interim = Some((2, "1"));
    let blank = OperationResult::BLANK;
    mqtt(name).ends_with(OperationResult { prefix, is_indexed: true, code_at: 2, interim, ..blank })
}

/// CONN, with the broker's code after the packet's: 0 accepts.
const CONNECT: CommandRule = mqtt("+QMTCONN").ends_with(OperationResult {
    prefix: "+QMTCONN:",
    is_indexed: true,
    code_at: 1,
    interim: Some((1, "1")),
    answer: Some((2, 0)),
});

/// SUB, with the same order: 0 to 2 is the granted QoS.
const SUBSCRIBE: CommandRule = mqtt("+QMTSUB").ends_with(OperationResult {
    prefix: "+QMTSUB:",
    is_indexed: true,
    code_at: 2,
    interim: Some((2, "1")),
    answer: Some((3, 2)),
});

pub(crate) const COMMANDS: &[CommandRule] = &[
    mqtt("+QMTCFG").but_with(2).secret_from(4),
    operation("+QMTOPEN", "+QMTOPEN:", 1),
    operation("+QMTCLOSE", "+QMTCLOSE:", 1),
    CONNECT.secret_from(3),
    operation("+QMTDISC", "+QMTDISC:", 1),
    packet("+QMTPUBEX", "+QMTPUBEX:").asks(5, 6),
    packet("+QMTPUB", "+QMTPUB:").asks(5, 6),
    SUBSCRIBE,
    packet("+QMTUNS", "+QMTUNS:"),
    CommandRule::unasked("+QMTSTAT"),
    CommandRule::unasked("+QIURC"),
    CommandRule::unasked("+QIND"),
    CommandRule::reads("+QCCID"),
    CommandRule::reads("+QCSQ"),
    CommandRule::reads("+QENG").but_asked(&["\"servingcell\"", "\"neighbourcell\""]),
    CommandRule::reads("+QNWINFO"),
    CommandRule::reads("+QSPN"),
    CommandRule::reads("+QTEMP"),
    CommandRule::reads("+QCAINFO").but_asked(&[]),
    CommandRule::uses("+QICSGP", NETWORK).but_with(1).secret_from(3),
    CommandRule::uses("+QIACT", NETWORK),
    CommandRule::uses("+QIDEACT", NETWORK),
    CommandRule::harms("+QCFG", LASTING).but_asked(TOLD),
    CommandRule::harms("+QNWPREFCFG", LASTING).but_asked(PREFERENCES),
    CommandRule::harms("+QPRTPARA", LASTING),
    CommandRule::harms("+QPOWD", BOOT).in_every_form(),
    CommandRule::harms("+QUSBCFG", USB),
    CommandRule::harms("+EGMR", IMEI),
    CommandRule::harms("+QSSLCFG", FILES).but_with(2).secret_from(2),
    CommandRule::harms("+QFDEL", FILES),
    CommandRule::harms("+QFUPL", FILES).connects_secret(1, 2),
    CommandRule::harms("+QFLST", FILES).but_with(1).but_bare(),
    CommandRule::harms("+QFDWL", FILES).answers_secret(),
    CommandRule::harms("+QFOPEN", FILES),
    CommandRule::harms("+QFREAD", FILES).answers_secret(),
    CommandRule::harms("+QFWRITE", FILES),
];

/// The family's commands of `modemfleet record`.
pub(crate) const SCRIPT: &[Question] = &[
    Question::new("AT+QCCID", "the form of the ICCID; its end is hidden"),
    Question::new("AT+QPINC?", "the tries left for PIN and PUK"),
    Question::new(
        "AT+QENG=\"servingcell\"",
        "the serving cell and its levels: the status of these models",
    ),
    Question::new("AT+QCSQ", "the levels that the serving cell's line lacks"),
    Question::new("AT+QNWINFO", "the network and its band"),
    Question::new("AT+QSPN", "the names of the operator"),
    Question::new("AT+QCAINFO", "the aggregated carriers"),
    Question::new("AT+QTEMP", "the temperatures of the module"),
    Question::new("AT+QCFG=\"usbnet\"", "the mode of the network on USB"),
    Question::new("AT+QMTPUBEX=?", "whether the firmware has the publish that counts its data"),
];

#[cfg(test)]
mod tests {
    use modem::Catalog;
    use modem::console::{Commands, ConsoleContext, Wish};

    fn commands() -> Commands {
        Catalog::new(&[&crate::PLUGIN]).unwrap().commands()
    }

    fn wish(line: &str, dangerous: bool) -> Wish {
        Wish { line: line.to_owned().into(), dangerous, ..Wish::default() }
    }

    #[test]
    fn a_setting_that_stands_alone_is_told_where_it_is_known_and_else_an_order() {
        for line in [
            "AT+QNWPREFCFG=\"mode_pref\"",
            "at+qnwprefcfg = \"MODE_PREF\"",
            "AT+QCFG=\"usbnet\"",
            "AT+QENG=\"servingcell\"",
            "AT+QCAINFO",
            "AT+QCAINFO?",
            "AT+QENG=?",
            "AT+CBC",
        ] {
            let order = commands().order(wish(line, false), ConsoleContext::Shared);
            let order = order.unwrap_or_else(|refusal| panic!("{line}: {refusal}"));
            assert!(order.is_harmless() && !order.has_secret_answer(), "{line}");
        }
        for line in [
            "AT+QNWPREFCFG=\"all_band_reset\"",
            "AT+QNWPREFCFG=\"mode_pref\",LTE",
            "AT+QNWPREFCFG=",
            "AT+QCFG=\"resetfactory\"",
            "AT+QCFG=\"usbnet\",1",
            "AT+QENG=1",
            "AT+QENG=\"servingcell\",1",
            "AT+QCAINFO=1",
            "AT+CBC=3800",
        ] {
            for context in [ConsoleContext::Own, ConsoleContext::Shared] {
                let refusal = commands().order(wish(line, false), context).unwrap_err();
                assert!(refusal.is_danger(), "{line}: {refusal}");
            }
        }
    }

    #[test]
    fn files_are_listed_by_anybody_and_uploaded_by_who_insists() {
        for line in ["AT+QFLST", "AT+QFLST=\"*\""] {
            assert!(commands().order(wish(line, false), ConsoleContext::Shared).is_ok(), "{line}");
        }
        let upload = "AT+QFUPL=\"key.pem\",1700,10";
        assert_eq!(commands().data_length(upload), Some(1_700));
        assert!(commands().has_secret_data(upload));
        assert!(
            commands().order(wish(upload, false), ConsoleContext::Shared).unwrap_err().is_danger()
        );
    }

    #[test]
    fn what_prints_a_file_has_a_secret_answer() {
        for line in ["AT+QFDWL=\"key.pem\"", "AT+QFREAD=1,1024", "AT+CSQ;+QFREAD=1,1024"] {
            let order = commands().order(wish(line, true), ConsoleContext::Own).unwrap();
            assert!(order.has_secret_answer(), "{line}");
        }
    }

    #[test]
    fn the_script_of_a_recording_only_reads() {
        for question in super::SCRIPT {
            let wish = wish(question.command, false);
            let order = commands().order(wish, ConsoleContext::Shared);
            let order = order.unwrap_or_else(|refusal| panic!("{}: {refusal}", question.command));
            assert!(order.is_harmless(), "{}", question.command);
            assert_eq!(order.shown(), question.command, "nothing in it is hidden");
        }
    }
}
