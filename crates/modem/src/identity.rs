//! A modem as it names itself: its model, its IMEI and its SIM.

/// Who is at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What `AT+CGMM` answers.
    pub model: String,
    /// The device's IMEI.
    pub imei: String,
    /// The number of its SIM, where it was asked for and could be read.
    pub iccid: Option<String>,
}

impl Identity {
    /// Whether its model begins like this, as the fleet file writes models.
    pub fn is_model(&self, wanted: &str) -> bool {
        fits_model(wanted, &self.model)
    }
}

pub(crate) fn fits_model(wanted: &str, cgmm: &str) -> bool {
    normalised(cgmm).starts_with(&normalised(wanted))
}

/// A model name without what does not tell models apart.
pub fn normalised(cgmm: &str) -> String {
    let name = cgmm.trim().to_ascii_uppercase();
    let name =
        name.strip_prefix("+CGMM:").map_or(name.as_str(), str::trim).trim_matches('"').to_owned();
    name.strip_prefix("SIMCOM_").map_or(name.clone(), str::to_owned)
}
