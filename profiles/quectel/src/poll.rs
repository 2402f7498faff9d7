//! The status poll: signal, serving cell, carriers, temperature.

use at::Answer;
use modem::port::{At, Kind};
use modem::profile::{self, Status, StepError, unless_gone};

use crate::qcainfo::qcainfo;
use crate::qeng::{qeng, signals};
use crate::status::{qcsq, qtemp};

/// Differences between the families.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// True if the SINR of an NR cell is known to be in dB.
    pub(crate) nr_sinr_in_db: bool,
    /// True if the family aggregates carriers: modems of category 4 and below do not know the query.
    pub(crate) carriers: bool,
}

/// Polls all four. A module that does not know one of the commands still answers the others.
///
/// # Errors
/// [`StepError`] if the port is gone.
pub(crate) async fn poll(at: &At, of: Asked) -> Result<Status, StepError> {
    let mut status = Status::default();
    serving_cell(at, &mut status, of.nr_sinr_in_db).await.or_else(unless_gone)?;
    signal(at, &mut status).await.or_else(unless_gone)?;
    if of.carriers {
        carriers(at, &mut status).await.or_else(unless_gone)?;
    }
    temperature(at, &mut status).await.or_else(unless_gone)?;
    Ok(status)
}

async fn serving_cell(at: &At, status: &mut Status, nr_sinr_in_db: bool) -> Result<(), StepError> {
    let command = "AT+QENG=\"servingcell\"";
    let lines = profile::run(at, Kind::Status, command, Answer::Prefix("+QENG:")).await?;
    let cell = qeng(&lines)?;
    status.signals = signals(&cell, nr_sinr_in_db);
    status.implausible += cell.implausible;
    Ok(())
}

/// Reads from `AT+QCSQ` the levels that the serving cell's line lacks or gives without a known unit (LTE's
/// SINR).
async fn signal(at: &At, status: &mut Status) -> Result<(), StepError> {
    let lines = profile::run(at, Kind::Status, "AT+QCSQ", Answer::Prefix("+QCSQ:")).await?;
    for row in qcsq(&lines)? {
        status.implausible += row.implausible;
        let Some(signal) = row.signal() else { continue };
        match status.signals.iter_mut().find(|known| known.rat == signal.rat) {
            Some(known) => {
                known.rssi_dbm = known.rssi_dbm.or(signal.rssi_dbm);
                known.rsrp_dbm = known.rsrp_dbm.or(signal.rsrp_dbm);
                known.rsrq_db = known.rsrq_db.or(signal.rsrq_db);
                known.sinr_db = known.sinr_db.or(signal.sinr_db);
            }
            None if !signal.is_empty() => status.signals.push(signal),
            None => {}
        }
    }
    Ok(())
}

async fn carriers(at: &At, status: &mut Status) -> Result<(), StepError> {
    let lines = profile::run(at, Kind::Status, "AT+QCAINFO", Answer::Prefix("+QCAINFO:")).await?;
    let read = qcainfo(&lines)?;
    status.carriers = read.carriers.into_iter().map(|component| component.carrier).collect();
    status.implausible += read.implausible;
    Ok(())
}

/// Reads the hottest sensor, since the module throttles by it.
async fn temperature(at: &At, status: &mut Status) -> Result<(), StepError> {
    let lines = profile::run(at, Kind::Status, "AT+QTEMP", Answer::Prefix("+QTEMP:")).await?;
    status.temperature_celsius = qtemp(&lines)?.into_values().reduce(f64::max);
    Ok(())
}
