//! The identity of a modem: its model, its IMEI and its SIM.

/// The identity of the modem at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its answer to `AT+CGMM`.
    pub model: String,
    /// The device's IMEI.
    pub imei: String,
    /// The ICCID of its SIM, if it was asked for and could be read.
    pub iccid: Option<String>,
}

impl Identity {
    /// Reports whether its model begins with `wanted`, as the fleet file writes models.
    pub fn is_model(&self, wanted: &str) -> bool {
        fits_model(wanted, &self.model)
    }
}

pub(crate) fn fits_model(wanted: &str, cgmm: &str) -> bool {
    normalised(cgmm).starts_with(&normalised(wanted))
}

/// Returns a model name without the parts that do not distinguish models.
pub fn normalised(cgmm: &str) -> String {
    let name = cgmm.trim().to_ascii_uppercase();
    let name =
        name.strip_prefix("+CGMM:").map_or(name.as_str(), str::trim).trim_matches('"').to_owned();
    name.strip_prefix("SIMCOM_").map_or(name.clone(), str::to_owned)
}
