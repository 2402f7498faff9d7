//! Aggregated carriers, which a modem reports beside its serving cell.

use serde::Serialize;

use super::signal::Rat;

/// The role of a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The primary component carrier.
    Pcc,
    /// A secondary component carrier.
    Scc,
}

/// One carrier of an aggregation, or the only one. Unknown values are absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Carrier {
    /// Its role.
    pub role: Role,
    /// Its radio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rat: Option<Rat>,
    /// Its channel number, of E-UTRA or of NR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arfcn: Option<u32>,
    /// Its band's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<u32>,
    /// Its bandwidth, MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_mhz: Option<f64>,
    /// Physical cell identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci: Option<u32>,
    /// Reference signal received power, dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsrp_dbm: Option<f64>,
    /// Reference signal received quality, dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsrq_db: Option<f64>,
    /// Received power over the whole channel, dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rssi_dbm: Option<f64>,
}
