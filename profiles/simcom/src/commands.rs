//! The family's commands that an operator may want at the console (manual V3.00), by their effect.

use at::Guarded;
use modem::console::{CommandRule, OperationResult};
use modem::script::Question;

use crate::exchange::LANE;

const SESSIONS: &str = "changes the modem's MQTT service, which the agent's sessions use";
const TLS: &str = "changes how connections are secured, or the files for that";
const NETWORK: &str = "changes the connection that the sessions use";
const RADIO: &str = "selects the radio technology, which lasts over a reset";
const REPORTS: &str = "changes the modem's unsolicited reports, which the agent has set";
const BOOT: &str = "restarts the modem or switches it off";
const USB: &str = "changes the modem's USB mode: its ports may be gone after that";
const IMEI: &str = "writes the modem's identity, which may be a crime";
const FILES: &str =
    "deletes, writes or prints files of the modem, certificates and keys among them";
const SLEEP: &str = "lets the modem sleep: it may answer nothing until it wakes up";
const SUPPLY: &str = "sets the voltage at which the modem switches itself off";

/// Lines that hold a secret. `+CGAUTH` has the password before the user (manual V3.00 §5.2.22).
pub(crate) const GUARDED: [Guarded; 5] = [
    Guarded { prefix: "+CMQTTCONNECT:", from: 5 },
    Guarded { prefix: "+CGAUTH:", from: 2 },
    Guarded { prefix: "+CNCFG:", from: 3 },
    Guarded { prefix: "+CSSLCFG:", from: 9 },
    Guarded { prefix: "*MCGDEFCONT:", from: 2 },
];

/// A command of the SIM7020's client.
const fn cmq(name: &'static str) -> CommandRule {
    CommandRule::uses(name, SESSIONS)
}

const fn mqtt(name: &'static str) -> CommandRule {
    CommandRule::uses(name, SESSIONS).in_lane(LANE)
}

/// An operation of the whole service.
const fn service(name: &'static str, prefix: &'static str) -> CommandRule {
    let result = OperationResult { prefix, ..OperationResult::BLANK };
    mqtt(name).ends_with(result)
}

/// An operation of a client.
const fn operation(name: &'static str, prefix: &'static str) -> CommandRule {
    let result = OperationResult { prefix, is_indexed: true, code_at: 1, ..OperationResult::BLANK };
    mqtt(name).ends_with(result)
}

pub(crate) const COMMANDS: &[CommandRule] = &[
    // Chapter 16.
    service("+CMQTTSTART", "+CMQTTSTART:"),
    service("+CMQTTSTOP", "+CMQTTSTOP:"),
    mqtt("+CMQTTACCQ"),
    mqtt("+CMQTTREL"),
    mqtt("+CMQTTSSLCFG"),
    mqtt("+CMQTTCFG").secret_from(4),
    mqtt("+CMQTTWILLTOPIC").asks(1, 2),
    mqtt("+CMQTTWILLMSG").asks(1, 2),
    operation("+CMQTTCONNECT", "+CMQTTCONNECT:").secret_from(5),
    operation("+CMQTTDISC", "+CMQTTDISC:"),
    mqtt("+CMQTTTOPIC").asks(1, 2),
    mqtt("+CMQTTPAYLOAD").asks(1, 2),
    operation("+CMQTTPUB", "+CMQTTPUB:"),
    mqtt("+CMQTTSUBTOPIC").asks(1, 2),
    // With a length, the command asks for the topic; without, it takes the topics that were set.
    operation("+CMQTTSUB", "+CMQTTSUB:").asks(1, 3),
    mqtt("+CMQTTUNSUBTOPIC").asks(1, 2),
    operation("+CMQTTUNSUB", "+CMQTTUNSUB:").asks(1, 3),
    CommandRule::unasked("+CMQTTCONNLOST"),
    CommandRule::unasked("+CMQTTPING"),
    CommandRule::unasked("+CMQTTNONET"),
    CommandRule::unasked("+CMQTTRXSTART"),
    CommandRule::unasked("+CMQTTRXTOPIC"),
    CommandRule::unasked("+CMQTTRXPAYLOAD"),
    CommandRule::unasked("+CMQTTRXEND"),
    CommandRule::unasked("+CMQTTRECV"),
    CommandRule::unasked("+SIMCARD"),
    // SIM7020 manual V1.05 ch. 11. If the modem also prints the name unsolicited, no form of the command can
    // use it as an answer.
    cmq("+CMQNEW"),
    cmq("+CMQCON").secret_from(7),
    cmq("+CMQSUB"),
    cmq("+CMQUNSUB"),
    cmq("+CMQPUB").in_every_form(),
    cmq("+CMQDISCON").in_every_form(),
    cmq("+CMQALICFG").secret_from(3),
    cmq("+CMQALICON"),
    cmq("+CMQAZURECFG").secret_from(3),
    cmq("+CMQAZURECON"),
    cmq("+CMQTTSNEW"),
    cmq("+CMQTTSNEWEXT").secret_from(3),
    cmq("+CMQTSYNC"),
    cmq("+CREVHEX"),
    CommandRule::uses("+CENG", REPORTS),
    CommandRule::uses("+CSETCA", TLS).secret_from(4),
    CommandRule::harms("*MCGDEFCONT", NETWORK).secret_from(2),
    CommandRule::harms("+CPOWD", BOOT).in_every_form(),
    CommandRule::harms("+CSCLK", SLEEP),
    CommandRule::harms("+CPSMS", SLEEP),
    // Status.
    CommandRule::reads("+CICCID").answers_as("+ICCID"),
    CommandRule::reads("+ICCID"),
    CommandRule::reads("+CPMUTEMP"),
    CommandRule::reads("+SPIC"),
    CommandRule::reads("+CSUB"),
    CommandRule::reads("+CNWINFO"),
    CommandRule::reads("+CCERTLIST"),
    CommandRule::uses("+CPSI", REPORTS),
    CommandRule::uses("+CNSMOD", REPORTS),
    CommandRule::uses("+AUTOCSQ", REPORTS),
    CommandRule::harms("+CATR", REPORTS),
    // TLS.
    CommandRule::uses("+CSSLCFG", TLS).but_with(1).secret_from(2),
    CommandRule::uses("+CCERTDOWN", TLS).asks_secret(1, 2),
    CommandRule::harms("+CCERTDELE", FILES),
    CommandRule::harms("+CCERTMOVE", FILES),
    CommandRule::harms("+CFTRANRX", FILES),
    CommandRule::harms("+CFTRANTX", FILES).answers_secret(),
    CommandRule::harms("+FSDEL", FILES),
    CommandRule::harms("+FSRENAME", FILES),
    CommandRule::harms("+FSCOPY", FILES),
    // The network below the sessions.
    CommandRule::uses("+NETOPEN", NETWORK),
    CommandRule::uses("+NETCLOSE", NETWORK).in_every_form(),
    CommandRule::harms("+CNMP", RADIO),
    CommandRule::harms("+CNBP", RADIO),
    CommandRule::harms("+CNAOP", RADIO),
    CommandRule::harms("+CNCFG", NETWORK).secret_from(3),
    // The modem itself.
    CommandRule::harms("+CRESET", BOOT).in_every_form(),
    CommandRule::harms("+REBOOT", BOOT).in_every_form(),
    CommandRule::harms("+CUSBPIDSWITCH", USB),
    CommandRule::harms("+CUSBCFG", USB),
    CommandRule::harms("+CUSBADB", USB),
    CommandRule::harms("+SIMEI", IMEI),
    CommandRule::harms("+CPMVT", SUPPLY),
];

/// The family's commands of `modemfleet record`. A model that does not know one of them refuses it, which is a
/// fact as well.
pub(crate) const SCRIPT: &[Question] = &[
    Question::new(
        "AT+CICCID",
        "the form of the ICCID (SIM7600, SIM8200, A76xx); its end is hidden",
    ),
    Question::new("AT+CCID", "the same on a SIM7020"),
    Question::new("AT+SPIC", "the tries left for PIN and PUK"),
    Question::new("AT+CPSI?", "the serving cell and its levels: the status of these models"),
    Question::new("AT+CENG?", "the serving cell of a SIM7020"),
    Question::new("AT+CNSMOD?", "the network mode"),
    Question::new("AT+CPMUTEMP", "the temperature of the module"),
    Question::new("AT+CUSBPIDSWITCH?", "the USB id of the present mode"),
    Question::new("AT+CMQTTACCQ=?", "the lengths of a client id that the firmware takes"),
];

#[cfg(test)]
mod tests {
    use modem::Catalog;
    use modem::console::{Commands, ConsoleContext, Wish};

    fn commands() -> Commands {
        Catalog::new(&[&crate::PLUGIN]).unwrap().commands()
    }

    fn wish(line: &str, data: Option<&str>) -> Wish {
        let data = data.map(|data| data.as_bytes().to_vec().into());
        Wish { line: line.to_owned().into(), data, ..Wish::default() }
    }

    /// The dialogue of the vendor's tutorial: all of it may be typed if no agent runs, and none if the agent's
    /// own sessions are there.
    #[test]
    fn the_tutorial_is_daily_use_on_a_port_of_ones_own() {
        for (line, data) in [
            ("at+cmqttstart", None),
            (r#"at+cmqttaccq=0,"7600|securemode=3,signmethod=hmacsha1|""#, None),
            (r#"at+cmqttconnect=0,"tcp://h:1883",60,1,"7600&pk","D48150E8""#, None),
            ("AT+CMQTTSUB=0,3,1,1", Some("a/b")),
            ("AT+CMQTTTOPIC=0,3", Some("a/b")),
            ("AT+CMQTTPAYLOAD=0,2", Some("hi")),
            ("AT+CMQTTPUB=0,1,60", None),
            ("AT+CMQTTDISC=0,60", None),
            ("AT+CMQTTREL=0", None),
            ("AT+CMQTTSTOP", None),
        ] {
            let order = commands().order(wish(line, data), ConsoleContext::Own);
            let shown =
                order.unwrap_or_else(|refusal| panic!("{line}: {refusal}")).shown().to_owned();
            assert!(!shown.contains("D48150E8"), "{shown}");
            assert!(commands().order(wish(line, data), ConsoleContext::Shared).is_err(), "{line}");
        }
    }

    #[test]
    fn what_may_lose_the_modem_is_sent_by_insistence_only() {
        for line in [
            "AT+CRESET",
            "AT+CRESET?",
            "AT+CSQ;+CRESET",
            "AT+CUSBPIDSWITCH=9011,1,1",
            "AT+CUSBCFG=bootldr",
            "at+cusbcfg = bootldr",
            "AT+SIMEI=861234567000000",
            "AT+CCERTDELE=\"ca.pem\"",
            "AT+CFTRANTX=\"c:/key.pem\"",
            "AT+CFTRANRX=\"c:/x\",10",
            "AT+CMQTTCONNLOST?",
            "AT+CATR=1",
            "AT+CNMP=38",
            "AT*MCGDEFCONT=\"IP\",\"cmnbiot\"",
            "AT+CPOWD=1",
            "AT+CSCLK=2",
        ] {
            for context in [ConsoleContext::Own, ConsoleContext::Shared] {
                let refusal = commands().order(wish(line, None), context).unwrap_err();
                assert!(refusal.is_danger(), "{line}: {refusal}");
            }
        }
        for line in
            ["AT+CUSBPIDSWITCH?", "AT+SIMEI?", "AT+CPSI?", "AT+CSSLCFG=0", "AT+CMQTTCONNECT?"]
        {
            assert!(commands().order(wish(line, None), ConsoleContext::Shared).is_ok(), "{line}");
        }
    }

    #[test]
    fn passwords_are_hidden_in_commands_and_in_answers() {
        let commands = commands();
        for (line, shown) in [
            (
                r#"AT+CMQTTCONNECT=0,"tcp://h",60,1,"u","p,w""#,
                r#"AT+CMQTTCONNECT=0,"tcp://h",60,1,"u",***"#,
            ),
            (
                r#"AT+CMQTTCFG="aliauth",0,"pk","dn","ds""#,
                r#"AT+CMQTTCFG="aliauth",0,"pk","dn",***"#,
            ),
            (r#"AT+CGAUTH=1,1,"pw","user""#, "AT+CGAUTH=1,1,***"),
            (r#"AT+CNCFG=0,1,"apn","user","pw",2"#, r#"AT+CNCFG=0,1,"apn",***"#),
            (r#"AT+CMQCON=0,4,"c",60,1,0,"u","p,w""#, r#"AT+CMQCON=0,4,"c",60,1,0,"u",***"#),
            (r#"AT*MCGDEFCONT="IP","apn","u","pw""#, r#"AT*MCGDEFCONT="IP","apn",***"#),
        ] {
            assert_eq!(commands.shown(line), shown);
        }
        let line = r#"+CMQTTCONNECT: 0,"tcp://h:1883",60,1,"u","pw""#;
        assert!(!commands.shown_answer(line).contains("pw"));
        assert!(!commands.shown_answer(r#"+CGAUTH: 1,1,"pw","user""#).contains("pw"));
        let line = r#"+CNCFG: 0,1,"apn","user","pw",2"#;
        assert_eq!(commands.shown_answer(line), r#"+CNCFG: 0,1,"apn",***"#);
        let file = Wish { dangerous: true, ..wish("AT+CFTRANTX=\"c:/client_key.pem\"", None) };
        assert!(commands.order(file, ConsoleContext::Own).unwrap().has_secret_answer());
        assert!(commands.has_secret_data("AT+CCERTDOWN=\"key.pem\",1700"));
    }

    #[test]
    fn the_script_of_a_recording_only_reads() {
        for question in super::SCRIPT {
            let wish = wish(question.command, None);
            let order = commands().order(wish, ConsoleContext::Shared);
            let order = order.unwrap_or_else(|refusal| panic!("{}: {refusal}", question.command));
            assert!(order.is_harmless(), "{}", question.command);
            assert_eq!(order.shown(), question.command, "nothing in it is hidden");
        }
    }
}
