//! Text messages: lines that are followed by text (3GPP TS 27.005).

/// Lines that a modem prints when a message arrives (§3.4.1). One line of text follows, from any
/// sender. `+CMTI` and `+CDSI` have no second line. A status report in text mode has none either:
/// the empty line before the next output is taken for it.
const PRINTED: [&str; 3] = ["+CMT:", "+CBM:", "+CDS:"];

/// Lines that a modem answers to a command that reads stored messages (§3.4.2, §3.4.3).
const STORED: [&str; 2] = ["+CMGL:", "+CMGR:"];

/// The longest text that is believed, in characters: 255 pieces of 153 (3GPP TS 23.040
/// §9.2.3.24.1).
const MAX_TEXT: usize = 255 * 153;

/// The rule by which the text after such a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// True if the message is an answer, and has not just arrived.
    pub(crate) is_stored: bool,
    /// True if just one line follows: the digits of a PDU, or nothing.
    pub(crate) is_one_line: bool,
    /// The length of the text in characters, if the line names it (`AT+CSDH=1`); 0 if not.
    pub(crate) length: usize,
}

impl Form {
    /// Returns the form of the message that this line begins; `None` if it begins none.
    pub(crate) fn of(line: &str) -> Option<Self> {
        let name =
            |names: &[&'static str]| names.iter().copied().find(|name| line.starts_with(name));
        let (name, is_stored) = match (name(&PRINTED), name(&STORED)) {
            (Some(name), _) => (name, false),
            (None, Some(name)) => (name, true),
            (None, None) => return None,
        };
        let (count, last) = arguments(line.get(name.len()..)?);
        let number = last.parse::<usize>().ok();
        // `[<alpha>],<length>` after the index and the status of a stored message, and nothing
        // more.
        let of_pdu = match name {
            "+CMGL:" => 3..=4,
            "+CMGR:" => 2..=3,
            _ => 1..=2,
        };
        // The least number of arguments if the last is the length; `<alpha>` may be left out.
        let with_length = match name {
            "+CMT:" => Some(9),
            "+CMGR:" => Some(10),
            "+CMGL:" => Some(7),
            _ => None,
        };
        let is_pdu = number.is_some() && of_pdu.contains(&count);
        let is_one_line = is_pdu || name == "+CDS:";
        let length = number.filter(|length| {
            *length <= MAX_TEXT && with_length.is_some_and(|least| count >= least)
        });
        Some(Self { is_stored, is_one_line, length: length.unwrap_or(0) })
    }

    /// Reports whether a text of this many characters ends as the line said. If not, a line that
    /// follows at once may be more of the text.
    pub(crate) fn is_whole(self, characters: usize) -> bool {
        self.is_one_line || (self.length > 0 && characters == self.length)
    }
}

/// Returns the number of arguments, and the last one. A comma between quotation marks does not
/// divide arguments.
fn arguments(rest: &str) -> (usize, &str) {
    let (mut count, mut quoted, mut begins) = (1, false, 0);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => (count, begins) = (count + 1, at + 1),
            _ => {}
        }
    }
    (count, rest.get(begins..).unwrap_or_default().trim())
}

/// Returns the length of a text as 27.005 counts it. A byte that is not UTF-8 is a character of
/// another alphabet.
pub(crate) fn characters(text: &[u8]) -> usize {
    String::from_utf8_lossy(text).chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_known_by_its_arguments() {
        const LONG: &str = r#""+8613",,"26/11/29,09:00:00+32",145,4,0,0,"+8614",145"#;
        for (line, is_stored, is_one_line, length) in [
            ("+CMT: ,24", false, true, 0),
            ("+CMT: \"Jo, and, Ann\",24", false, true, 0),
            ("+CMT:24", false, true, 0),
            ("+CBM: 88", false, true, 0),
            ("+CDS: 25", false, true, 0),
            (r#"+CMT: "+8613",,"26/11/29,09:00:00+32""#, false, false, 0),
            ("+CBM: 2,3,1,1,1", false, false, 0),
            (
                r#"+CDS: 6,12,"+8613",145,"26/11/29,09:00:00+32","26/11/29,09:00:05+32",0"#,
                false,
                true,
                0,
            ),
            (&format!("+CMT: {LONG},13"), false, false, 13),
            (&format!("+CMT: {LONG},99999999"), false, false, 0),
            (r#"+CMGL: 1,"REC READ","+8613",,"26/11/29,09:00:00+32""#, true, false, 0),
            (r#"+CMGL: 1,"REC READ","+8613",,"26/11/29,09:00:00+32",145,13"#, true, false, 13),
            ("+CMGL: 1,1,,24", true, true, 0),
            ("+CMGR: 1,,24", true, true, 0),
            (&format!("+CMGR: \"REC READ\",{LONG},13"), true, false, 13),
        ] {
            let form = Form { is_stored, is_one_line, length };
            assert_eq!(Form::of(line), Some(form), "{line}");
        }
        for none in ["+CMTI: \"SM\",3", "+CDSI: \"SM\",3", "+CMTX: 1", "CMT: 1", "+CMGW: 4", ""] {
            assert_eq!(Form::of(none), None, "{none}");
        }
    }
}
