//! Text messages (27.005): their routes and their form.

use crate::{
    command::{Arg, Command, Form},
    reply::Reply,
};

/// The sender of unsolicited messages.
const SENDER: &str = "8613800100500";

/// The time in the messages.
const SENT: &str = "26/11/29,09:00:00+32";

/// Settings of text messages, and the number of stored messages.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    /// `AT+CNMI`: mode, mt, bm, ds, bfr.
    routes: [u32; 5],
    /// `AT+CMGF`: 1 is text mode.
    is_text: bool,
    stored: u32,
}

impl Default for Messages {
    fn default() -> Self {
        // The default of a SIM7600.
        Self { routes: [2, 1, 0, 0, 0], is_text: false, stored: 0 }
    }
}

impl Messages {
    /// Returns the state after a loss of power: the messages on the card stay.
    pub(crate) fn after_reset(&self) -> Self {
        Self { stored: self.stored, ..Self::default() }
    }

    /// Applies the settings of an earlier program that wanted each message on its port.
    pub(crate) fn leave(&mut self, is_text: bool) {
        (self.routes, self.is_text) = ([2, 2, 0, 0, 0], is_text);
    }

    fn route(&mut self, args: &[Arg]) -> Option<()> {
        let most = [2, 3, 3, 2, 1];
        let mut routes = self.routes;
        if args.len() > routes.len() {
            return None;
        }
        for ((route, most), arg) in routes.iter_mut().zip(most).zip(args) {
            *route = arg.within(0..=most)?;
        }
        self.routes = routes;
        Some(())
    }

    /// Takes a text message and returns the line that is printed for it, if any. The message is sent to the
    /// port, stored with a line that reports it, or stored silently.
    pub(crate) fn deliver(&mut self, text: &str) -> Option<String> {
        let [mode, to, ..] = self.routes;
        match (mode, to) {
            (0, _) => None,
            (_, 2 | 3) if self.is_text => {
                Some(format!("+CMT: \"+{SENDER}\",,\"{SENT}\"\r\n{text}"))
            }
            (_, 2 | 3) => {
                let unit = protocol_unit(text);
                let length = unit.len();
                let digits: String = unit.iter().map(|octet| format!("{octet:02X}")).collect();
                // The digits begin with the service centre, which the length leaves out: none is named.
                Some(format!("+CMT: ,{length}\r\n00{digits}"))
            }
            (_, to) => {
                self.stored += 1;
                (to == 1).then(|| format!("+CMTI: \"SM\",{}", self.stored))
            }
        }
    }

    /// Answers commands of text messages.
    pub(crate) fn command(&mut self, command: &Command) -> Option<Reply> {
        let set = |done: Option<()>| done.map_or_else(Reply::error, |()| Reply::ok());
        Some(match (command.name.as_str(), &command.form) {
            ("+CNMI", Form::Read) => {
                let routes: Vec<String> = self.routes.iter().map(ToString::to_string).collect();
                Reply::line(format!("+CNMI: {}", routes.join(",")))
            }
            ("+CNMI", Form::Test) => Reply::line("+CNMI: (0-2),(0-3),(0,2),(0-2),(0,1)"),
            ("+CNMI", Form::Write(args)) => set(self.route(args)),
            ("+CMGF", Form::Read) => Reply::line(format!("+CMGF: {}", u8::from(self.is_text))),
            ("+CMGF", Form::Test) => Reply::line("+CMGF: (0-1)"),
            ("+CMGF", Form::Write(args)) => {
                let mode = match args.as_slice() {
                    [mode] => mode.within(0..=1),
                    _ => None,
                };
                set(mode.map(|mode| self.is_text = mode == 1))
            }
            _ => return None,
        })
    }
}

/// Returns an SMS-DELIVER as octets (23.040 §9.2.2.1), with its text in the default alphabet of 7 bits.
fn protocol_unit(text: &str) -> Vec<u8> {
    let septets: Vec<u8> = text.bytes().map(septet).take(160).collect();
    let digits = u8::try_from(SENDER.len()).unwrap_or(u8::MAX);
    // A message without more to come; then the sender, an international number.
    let mut unit = vec![0x04, digits, 0x91];
    unit.extend(semi_octets(SENDER));
    // Protocol and alphabet; then the time, with the zone in quarters of an hour.
    unit.extend([0x00, 0x00]);
    let time: String = SENT.chars().filter(char::is_ascii_digit).collect();
    unit.extend(semi_octets(&time));
    unit.push(u8::try_from(septets.len()).unwrap_or(u8::MAX));
    unit.extend(packed(&septets));
    unit
}

/// Returns a character of the default alphabet (23.038 §6.2.1); characters that differ from ASCII there are
/// `?`.
fn septet(byte: u8) -> u8 {
    match byte {
        b'\r' | b'\n' | b' '..=b'#' | b'%'..=b'?' | b'A'..=b'Z' | b'a'..=b'z' => byte,
        _ => b'?',
    }
}

/// Returns digits in pairs, the first of each in the low half; a last single digit is filled up.
fn semi_octets(digits: &str) -> Vec<u8> {
    let value = |digit: Option<&u8>| digit.map_or(0x0f, |digit| digit & 0x0f);
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| value(pair.first()) | value(pair.get(1)) << 4).collect()
}

/// Packs septets one after another, the lowest bit first (23.038 §6.1.2.1).
fn packed(septets: &[u8]) -> Vec<u8> {
    let (mut octets, mut bits, mut count) = (Vec::new(), 0_u16, 0_u32);
    for septet in septets {
        bits |= u16::from(*septet) << count;
        count += 7;
        if count >= 8 {
            octets.push(bits.to_le_bytes()[0]);
            bits >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        octets.push(bits.to_le_bytes()[0]);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_packed_as_the_specification_shows_it() {
        // The well-known example of 7 bits in 8.
        assert_eq!(packed(b"hellohello"), b"\xe8\x32\x9b\xfd\x46\x97\xd9\xec\x37");
        assert_eq!(semi_octets("861"), [0x68, 0xf1]);
        let unit = protocol_unit("RDY");
        assert_eq!(unit[..3], [0x04, 13, 0x91]);
        assert_eq!(unit[unit.len() - 4..], [3, 0x52, 0x62, 0x16]);
    }
}
