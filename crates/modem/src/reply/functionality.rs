//! `+CFUN?`: 27.007 §8.2.

use super::{ReplyError, own_rows};

/// The functionality level of a modem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Functionality {
    /// 1: all of it.
    Full,
    /// 0, 2, 3, 4: its transmitter, its receiver or both are off; at 0 its card, too.
    RadioOff(u8),
    /// From 5 on a mode of the manufacturer: SIMCom has a factory test at 5 and an offline mode at
    /// 7.
    Makers(u8),
}

/// Reads `+CFUN: <fun>`, and ignores the rest.
///
/// # Errors
/// [`ReplyError`] if there is no such line, or the number is unreadable.
pub fn functionality<L: AsRef<str>>(lines: &[L]) -> Result<Functionality, ReplyError> {
    let command = "AT+CFUN?";
    let rows = own_rows(command, "+CFUN", lines);
    let args = rows.first().ok_or(ReplyError::Missing { command, wanted: "+CFUN: line" })?;
    let level = args.uint(0, "fun", 127)?;
    let level = u8::try_from(level).map_err(|_| args.refuse(0, "fun", "0 to 127"))?;
    Ok(match level {
        1 => Functionality::Full,
        0 | 2..=4 => Functionality::RadioOff(level),
        _ => Functionality::Makers(level),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_is_read_whatever_follows() {
        for (line, wanted) in [
            ("+CFUN: 1", Functionality::Full),
            ("+CFUN:1,0", Functionality::Full),
            ("+CFUN: 0", Functionality::RadioOff(0)),
            ("+CFUN: 4", Functionality::RadioOff(4)),
            ("+CFUN: 7", Functionality::Makers(7)),
        ] {
            assert_eq!(functionality(&[line]), Ok(wanted), "{line}");
        }
        for wrong in ["+CFUN: ", "+CFUN: x", "+CFUN: 128", "+CSQ: 1,1"] {
            assert!(functionality(&[wrong]).is_err(), "{wrong}");
        }
    }
}
