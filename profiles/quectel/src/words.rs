//! The modem's words for radios, and the kept length of any word.

use modem::reply::Rat;

/// Returns the radio for a mode's word, and the vendor's word for it in replies.
pub(crate) fn radio(mode: &str) -> Option<(Option<Rat>, &'static str)> {
    Some(match mode.to_ascii_uppercase().as_str() {
        "NOSERVICE" => (None, "none"),
        "GSM" => (Some(Rat::Gsm), "gsm"),
        "WCDMA" | "TDSCDMA" | "HSPA" => (Some(Rat::Wcdma), "wcdma"),
        "LTE" => (Some(Rat::Lte), "lte"),
        "CAT-M1" | "CAT-M" | "EMTC" => (Some(Rat::CatM), "cat-m"),
        // The last is the BG95-S5, by satellite.
        "CAT-NB1" | "CAT-NB2" | "CAT-NB" | "NBIOT" | "NB-IOT" | "NTN NBIOT" => {
            (Some(Rat::NbIot), "nb-iot")
        }
        "NR5G" | "NR5G-SA" | "NR5G-NSA" => (Some(Rat::Nr), "nr"),
        _ => return None,
    })
}

/// Cuts a word of the modem to a short and printable form.
pub(crate) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}
