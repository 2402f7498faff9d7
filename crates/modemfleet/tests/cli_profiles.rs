//! `modemfleet profiles` and `schema` with their exit codes, by the built binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise; clippy.toml frees only the test functions"
)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use fleet::models::Models;
use serde_json::{Value, json};

fn call(words: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_modemfleet"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that rejects its arguments does not read the input.
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
    assert_eq!(ids[..2], ["sim7600", "sim8200"]);
    for id in [
        "a7670", "a7600", "a7602", "a7608", "a7672", "sim7020", "ec25", "eg25", "ec200", "rm500q",
        "rm520n",
    ] {
        assert!(ids.contains(&id), "{id} in {ids:?}");
    }
    assert_eq!(models[0]["origin"], "built in");
    assert_eq!(models[0]["usb"][1], json!({ "id": "1e0e:9011", "at": 4, "secondary": 5 }));
    assert_eq!(models[1]["evidence"]["mqtt"], "manual");
    assert_eq!(models[1]["evidence"]["tls"], "manual");
    let sim7020 = models.iter().find(|model| model["id"] == "sim7020").unwrap();
    assert_eq!(sim7020["evidence"].get("tls"), None, "its TLS is refused");
    assert_eq!((&sim7020["usb"], &sim7020["mqtt"]["least_payload"]), (&json!([]), &json!(1)));
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

    // The decoder of the standard; case and spelling of the model do not matter.
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
    assert_eq!(printed, fleet::schema());
}

/// Reports whether `got` has all values of `wanted`; null there means absent here.
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

/// Replies that are hard to decode, and the decoders.
struct Traps {
    models: Models,
    vectors: Vec<Value>,
}

const PLUGINS: [&modem::profile::Plugin; 2] = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];

impl Traps {
    fn new() -> Self {
        let lines = include_str!("../../../tests/vectors/traps.jsonl").lines();
        let vectors = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { models: Models::built_in(&PLUGINS).unwrap(), vectors }
    }

    /// Returns the meaning of a reply; `None` if it is refused.
    fn read(&self, command: &str, raw: &str) -> Option<Value> {
        let model = if command.starts_with("AT+Q") { "rm520n" } else { "sim8200" };
        let (mut input, mut told) = (raw.as_bytes(), Vec::new());
        let decode = modemfleet::profiles::decode;
        decode(&PLUGINS, &self.models, model, command, &mut input, &mut told).ok()?;
        Some(serde_json::from_slice(&told).unwrap())
    }

    /// Returns command and reply of each vector.
    fn replies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vectors
            .iter()
            .map(|vector| (vector["cmd"].as_str().unwrap(), vector["input"].as_str().unwrap()))
    }
}

#[test]
fn what_modems_trap_a_reader_with_is_read() {
    let traps = Traps::new();
    assert!(traps.vectors.len() > 100);
    for vector in &traps.vectors {
        let (command, raw) = (vector["cmd"].as_str().unwrap(), vector["input"].as_str().unwrap());
        let (told, wanted) = (traps.read(command, raw), &vector["expect"]);
        if wanted.get("error") == Some(&Value::Bool(true)) {
            assert_eq!(told, None, "{vector}");
            continue;
        }
        let told = told.unwrap_or_else(|| panic!("{vector} is refused"));
        assert!(has(wanted, &told), "{vector} gave {told}");
    }
}

/// Reports whether a value is possible, by the end of its key.
fn is_possible(key: &str, value: &Value) -> bool {
    let within = |least: f64, most: f64| {
        value.as_f64().is_some_and(|number| (least..=most).contains(&number))
    };
    match key {
        "pci" => within(0.0, 1_007.0),
        "band" => within(1.0, 1_024.0),
        "arfcn" | "ul_arfcn" => within(0.0, 3_279_165.0),
        "earfcn" | "ul_earfcn" => within(0.0, 262_143.0),
        "cell_id" | "ci" => within(0.0, 68_719_476_735.0),
        "tac" | "lac" | "lac_or_tac" => within(1.0, 16_777_215.0),
        "mcc" => value.as_str().is_some_and(|text| text.len() == 3),
        _ if key.ends_with("_dbm") => within(-157.0, 30.0),
        _ if key.ends_with("_db") => within(-44.0, 41.0),
        _ => !value.is_null(),
    }
}

/// Returns the first impossible value in a reply's meaning.
fn impossible(value: &Value) -> Option<String> {
    match value {
        Value::Object(object) => object.iter().find_map(|(key, value)| {
            let odd = !value.is_object() && !value.is_array() && !is_possible(key, value);
            if odd { Some(format!("{key}: {value}")) } else { impossible(value) }
        }),
        Value::Array(items) => items.iter().find_map(impossible),
        _ => None,
    }
}

/// Texts in a field that the modem does not know, or that was damaged on the way.
const DAMAGE: [&str; 16] = [
    "",
    "-",
    " ",
    "x",
    "\0",
    "\"",
    "\"\"",
    "99",
    "255",
    "65535",
    "0xFFFF",
    "FFFE",
    "-32768",
    "4294967295",
    "-1",
    "\u{fffd}7",
];

/// The first arguments of an answer select its form. A damaged argument behind them costs only its
/// own value.
#[test]
fn a_damaged_field_refuses_no_reply_and_makes_nothing_up() {
    let leading = |command: &str| match command {
        "AT+CREG?" | "AT+CGREG?" | "AT+CEREG?" | "AT+C5GREG?" | "+CREG" => Some(2),
        "AT+CSQ"
        | "AT+CPSI?"
        | "AT+QENG=\"servingcell\""
        | "AT+QCSQ"
        | "AT+COPS?"
        | "AT+CGDCONT?"
        | "AT+CGPADDR=1"
        | "AT+CGCONTRDP=1"
        | "AT+QCAINFO"
        | "AT+SPIC" => Some(1),
        "AT+CESQ" => Some(0),
        _ => None,
    };
    let traps = Traps::new();
    let (mut tried, mut faults) = (0, Vec::new());
    for (command, raw) in traps.replies() {
        let Some(first) = leading(command).filter(|_| traps.read(command, raw).is_some()) else {
            continue;
        };
        let fields: Vec<&str> = raw.split(',').collect();
        // The last field also holds the end of the reply.
        for at in 0..fields.len().saturating_sub(1) {
            // The first field of a row also holds the row's name.
            let begins = |field: &&str| field.contains(['+', '\n']);
            let row = fields[..=at].iter().rposition(begins).unwrap_or(0);
            if at == row || at - row < first {
                continue;
            }
            for damage in DAMAGE {
                let mut damaged = fields.clone();
                damaged[at] = damage;
                let damaged = damaged.join(",");
                let odd = match traps.read(command, &damaged) {
                    Some(told) => impossible(&told),
                    None => Some("refused".to_owned()),
                };
                faults.extend(odd.map(|odd| format!("{command} {damaged:?}: {odd}")));
                tried += 1;
            }
        }
    }
    assert!(tried > 5_000, "{tried}");
    assert!(faults.is_empty(), "{} of {tried}:\n{}", faults.len(), faults.join("\n"));
}

/// Bytes are lost, doubled, changed or inserted anywhere: no panic, and no impossible value.
#[test]
fn no_damage_makes_a_reply_say_what_cannot_be() {
    let traps = Traps::new();
    let mut faults = Vec::new();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = |most: usize| {
        // xorshift64*: the same sequence in every run.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let number = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % most.max(1)
    };
    for (command, raw) in traps.replies() {
        for _ in 0..120 {
            let mut chars: Vec<char> = raw.chars().collect();
            for _ in 0..=below(4) {
                let (at, with) = (below(chars.len()), below(DAMAGE.len()));
                match below(5) {
                    0 => drop(chars.splice(at..(at + 1).min(chars.len()), [])),
                    1 => chars.insert(at, chars.get(at).copied().unwrap_or('+')),
                    2 => chars
                        .insert(at, ",\"\0\r\n+:-9F\u{7f}ß"[..].chars().nth(below(11)).unwrap()),
                    3 => drop(chars.splice(at..at, DAMAGE[with].chars())),
                    _ => chars.truncate(at.max(1)),
                }
            }
            let damaged: String = chars.into_iter().collect();
            let odd = traps.read(command, &damaged).as_ref().and_then(impossible);
            faults.extend(odd.map(|odd| format!("{command} {damaged:?}: {odd}")));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Returns output and exit code of `profiles …` with a folder of models that has these files.
fn with_folder(files: &[(&str, &str)], words: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let place = folder.path().to_str().unwrap();
    let output = call(&[words, &["--models", place]].concat(), b"+CSQ: 20,99\r\nOK\r\n");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(place, "DIR");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const ACME: &str = "models:\n  - like: sim7600\n    cgmm: [ACME-4G, SIM7600ACME]\n";

#[test]
fn a_file_of_models_is_known_to_every_command() {
    let acme = [("acme.yaml", ACME)];
    let (code, out, err) = with_folder(&acme, &["profiles", "list"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("\nacme-4g") && out.ends_with("acme-4g: DIR/acme.yaml:2\n"), "{out}");
    let decode = ["profiles", "decode", "--model", "acme-4g", "--command", "AT+CSQ"];
    let (code, out, err) = with_folder(&acme, &decode);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("-73"), "{out}");
    let (code, out, err) = with_folder(&[("acme.yaml", "models: 7")], &["profiles", "list"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("--> DIR/acme.yaml:1:9") && err.contains("must be a list"), "{err}");
}

#[test]
fn lint_tells_errors_with_their_place_and_remarks_of_the_rest() {
    let (code, out, err) = with_folder(&[], &["profiles", "lint"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "13 models, 0 errors, 0 remarks\n", "")
    );
    let (code, out, _) = with_folder(&[("acme.yaml", ACME)], &["profiles", "lint"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("overlap: acme-4g (DIR/acme.yaml:2): `SIM7600ACME` overlaps"), "{out}");
    assert!(out.ends_with("14 models, 0 errors, 1 remark\n"), "{out}");

    // Two files are wrong. The third lies elsewhere and is given by its path; it is checked as if
    // it lay in the folder.
    let given = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(given.path(), "models: [{ like: acme-4g, cgmm: [ACME-5G], sub: 1 }]").unwrap();
    let (code, out, err) = with_folder(
        &[("a.yaml", ACME), ("b.yaml", "models: [{ like: sim7600 }]")],
        &["profiles", "lint", "--json", given.path().to_str().unwrap()],
    );
    assert_eq!((code, err.as_str()), (Some(2), ""));
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["ok"], false);
    let problems = told["problems"].as_array().unwrap();
    let places: Vec<_> = problems.iter().map(|p| (&p["path"], &p["line"], &p["column"])).collect();
    assert!(places.contains(&(&json!("models[0]"), &json!(1), &json!(10))), "{out}");
    assert!(places.contains(&(&json!("models[0].sub"), &json!(1), &json!(44))), "{out}");
    assert_eq!(told["remarks"][0]["kind"], "overlap");
}

#[test]
fn explain_names_the_winner_and_the_losers() {
    let acme = [("acme.yaml", ACME)];
    let explain = ["profiles", "explain", "--usb", "1E0E:9011", "--model", "simcom_sim7600acme-h"];
    let (code, out, err) = with_folder(&acme, &explain);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in [
        "USB id   1e0e:9011\n         sim7600: AT on interface 4, secondary 5 (built in)\n",
        "winner   acme-4g: begins with SIM7600ACME; profile sim7600 (DIR/acme.yaml:2)\n",
        "loser    sim7600: begins with SIM7600, 4 shorter (built in)\n",
    ] {
        assert!(out.contains(line), "{line} in {out}");
    }
    let (code, out, _) = with_folder(&acme, &[&explain[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["entries"][0]["model"]), (Some(0), &json!("acme-4g")));
    assert_eq!(told["entries"][1]["beginning"], "SIM7600");

    let (code, out, _) = with_folder(&acme, &["profiles", "explain", "--model", "ACMO\u{1b}[2J"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("no entry matches") && out.contains("models:\n  - like: MODEL\n"),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "{out:?}");
    let (code, out, _) = with_folder(&acme, &["profiles", "explain", "--usb", "0403:6001"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("- id: MODEL") && out.contains("0403:6001"), "{out}");
    let (code, _, err) = with_folder(&acme, &["profiles", "explain", "--usb", "403:6001"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("VENDOR:PRODUCT"), "{err}");
}
