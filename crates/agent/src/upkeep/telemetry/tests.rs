//! The state as JSON.

use modem::reply::{Rat, Signal};
use modem::snapshot::Identified;

use super::*;

fn now() -> Timestamp {
    "2026-11-25T10:00:00.5Z".parse().unwrap()
}

#[test]
fn what_is_not_known_is_left_out() {
    let told = state("gw", "north", &Snapshot::absent(), now());
    let want = json!({ "gateway": "gw", "modem": "north", "time": "2026-11-25T10:00:01Z", "state": "absent" });
    assert_eq!(told, want);
}

#[test]
fn all_that_is_known_is_told_but_who_it_is() {
    let identified = Identified {
        model_id: "sim7600".to_owned(),
        model: "SIMCOM_SIM7600G-H".to_owned(),
        manufacturer: "SIMCom".to_owned(),
        firmware: Some("LE20B04".to_owned()),
        profile: "sim7600".to_owned(),
        imei: "861234567000000".to_owned(),
        iccid: Some("89860012345678901234".to_owned()),
        max_topic: 1,
        max_payload: 1,
        min_payload: 0,
    };
    let signal = Signal { rsrp_dbm: Some(-95.5), ..Signal::unknown(Rat::Lte) };
    let snapshot = Snapshot {
        state: State::Serving,
        identified: Some(identified),
        signals: vec![signal],
        operator: Some("中国移动".to_owned()),
        temperature_celsius: Some(38.0),
        ..Snapshot::absent()
    };
    let told = state("gw", "north", &snapshot, now());
    let want = json!({
        "gateway": "gw", "modem": "north", "time": "2026-11-25T10:00:01Z", "state": "serving",
        "model": "SIMCOM_SIM7600G-H", "manufacturer": "SIMCom", "firmware": "LE20B04",
        "operator": "中国移动", "signals": [{ "rat": "lte", "rsrp_dbm": -95.5 }],
        "temperature_celsius": 38.0,
    });
    assert_eq!(told, want);
}
