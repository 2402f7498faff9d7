//! `modemfleet profiles`, `schema` and their exit codes, by the built binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn call(words: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_modemfleet"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its words does not read on.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn decode(model: &str, command: &str, input: &[u8]) -> (Option<i32>, String, String) {
    let output = call(&["profiles", "decode", "--model", model, "--command", command], input);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_models_are_listed_for_people_and_for_programs() {
    let output = call(&["profiles", "list"], b"");
    let table = String::from_utf8(output.stdout).unwrap();
    let row = table.lines().find(|line| line.starts_with("sim8200")).unwrap();
    for word in ["SIMCom", "SIM8202", "1e0e:9001: 2, 3", "1024", "10240", "manual", "transcript"] {
        assert!(row.contains(word), "{word} in {row}");
    }
    assert!(table.contains("1e0e:9011: 4, 5"), "a second layout: {table}");

    let output = call(&["profiles", "list", "--json"], b"");
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let models = listed["models"].as_array().unwrap();
    let ids: Vec<&str> = models.iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["sim7600", "sim8200", "ec25", "eg25", "ec200", "rm500q", "rm520n"]);
    assert_eq!(models[0]["usb"][1], json!({ "id": "1e0e:9011", "at": 4, "secondary": 5 }));
    assert_eq!(models[1]["evidence"]["mqtt"], "manual");
    assert_eq!(models[1]["evidence"]["tls"], "manual");
    assert_eq!(models[2]["evidence"].get("tls"), None, "Quectel's is refused");
}

#[test]
fn a_reply_becomes_one_json_object() {
    let raw = b"AT+CPSI?\r\r\n+CPSI: NR5G_SA,Online,460-11,0x1B2F01,4951416833,611,NR5G_BAND78,633984,-850,-110,25\r\n\r\nOK\r\n";
    let (code, out, err) = decode("sim8200", "AT+CPSI?", raw);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let cell: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&cell["rat"], &cell["mcc"], &cell["mnc"]),
        (&json!("nr"), &json!("460"), &json!("11"))
    );
    assert_eq!(cell["rsrp_dbm"], json!(-85.0));

    // The standard's own reader, whatever the case and however the model is written.
    let (code, out, _) = decode("SIM7600", "at+csq", b"+CSQ: 20,99\r\nOK\r\n");
    let csq: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &csq["rssi_dbm"]), (Some(0), &json!(-73.0)));
}

#[test]
fn what_is_no_reply_ends_with_1_and_says_why() {
    for (input, reason) in [
        (&b""[..], "no +CPSI: line"),
        (b"ERROR\r\n", "refused"),
        (b"\xff\xfe\x00\x1b[2J", "no +CPSI: line"),
        (&[b'x'; 70_000][..], "more than 65536 bytes"),
    ] {
        let (code, out, err) = decode("sim8200", "AT+CPSI?", input);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.contains(reason), "{reason}: {err}");
        assert!(!err.contains('\u{1b}'), "{err:?}");
    }
}

#[test]
fn unknown_words_end_with_2_and_name_the_known_ones() {
    let (code, out, err) = decode("sim8300", "AT+CSQ", b"");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("did you mean `sim8200`?") && err.contains("sim7600"), "{err}");
    let (code, _, err) = decode("sim8200", "AT+CPSI", b"");
    assert_eq!(code, Some(2));
    assert!(err.contains("did you mean `AT+CPSI?`?") && err.contains("AT+CEREG?"), "{err}");
    let (code, _, err) = decode("\u{1b}[2J", "AT+CSQ", b"");
    assert_eq!(code, Some(2));
    assert!(!err.contains('\u{1b}'), "{err:?}");
}

#[test]
fn the_schema_is_json_on_standard_output() {
    let output = call(&["schema"], b"");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, agent::config::schema());
}

/// Whether all that `wanted` asks for is in `got`; what is null there is absent here.
fn has(wanted: &Value, got: &Value) -> bool {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            wanted.iter().all(|(key, value)| has(value, got.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(wanted), Value::Array(got)) => {
            wanted.len() == got.len()
                && wanted.iter().zip(got).all(|(wanted, got)| has(wanted, got))
        }
        _ => match wanted.as_f64().zip(got.as_f64()) {
            Some((wanted, got)) => (wanted - got).abs() < 1e-6,
            None => wanted == got,
        },
    }
}

#[test]
fn what_modems_trap_a_reader_with_is_read() {
    let plugins = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
    let vectors = include_str!("../../../tests/vectors/traps.jsonl");
    assert!(vectors.lines().count() > 50);
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let command = vector["cmd"].as_str().unwrap();
        let model = if command.starts_with("AT+Q") { "rm520n" } else { "sim8200" };
        let mut raw = vector["input"].as_str().unwrap().as_bytes();
        let mut told = Vec::new();
        let read = agent::cli::profiles::decode(&plugins, model, command, &mut raw, &mut told);
        let wanted = &vector["expect"];
        if wanted.get("error") == Some(&Value::Bool(true)) {
            assert!(read.is_err(), "{line} gave {}", String::from_utf8_lossy(&told));
            continue;
        }
        assert!(read.is_ok(), "{line}: {read:?}");
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert!(has(wanted, &told), "{line} gave {told}");
    }
}
