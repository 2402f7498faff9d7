//! `modemfleet check` and `modemfleet sign`.

use super::*;

#[derive(Parser)]
struct Check {
    #[command(flatten)]
    args: check::Args,
}

fn run_check(arguments: &[&str]) -> (check::Verdict, String, String) {
    let args = Check::try_parse_from([&["check"], arguments].concat()).unwrap().args;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let plugins = [&profile_simcom::PLUGIN];
    let verdict = check::run(&args, &plugins, false, &mut out, &mut err).unwrap();
    (verdict, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn check_refuses_a_wrong_file_of_models_too() {
    let folder = with_secrets();
    let path = folder.path().join("fleet.yaml");
    fs::copy(fixture("contract.yaml"), &path).unwrap();
    let models = folder.path().join("models.d");
    fs::create_dir(&models).unwrap();
    let words = ["--models", models.to_str().unwrap(), path.to_str().unwrap()];
    assert_eq!(run_check(&words).0, check::Verdict::Good, "{:?}", run_check(&words));
    fs::write(models.join("bad.yaml"), "models: [{ like: sim7600 }]").unwrap();
    let (verdict, out, err) = run_check(&words);
    assert_eq!((verdict, out.as_str()), (check::Verdict::Wrong, ""));
    assert!(err.contains("bad.yaml:1:10") && err.contains("has no `cgmm`"), "{err}");
    let (verdict, out, err) = run_check(&[&["--json"], &words[..]].concat());
    assert_eq!((verdict, err.as_str()), (check::Verdict::Wrong, ""));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["ok"], told["problems"].as_array().map(Vec::len)), (&false.into(), Some(0)));
    let problem = &told["models"][0];
    assert!(problem["file"].as_str().unwrap().ends_with("bad.yaml"), "{out}");
    assert_eq!((&problem["line"], &problem["column"]), (&1.into(), &10.into()));
}

#[test]
fn check_says_ok_or_where() {
    let folder = with_secrets();
    let path = folder.path().join("fleet.yaml");
    let name = path.to_str().unwrap();
    fs::copy(fixture("contract.yaml"), &path).unwrap();
    let want = format!("{name}: ok (2 modems, 2 sessions, 2 routes)\n");
    assert_eq!(run_check(&[name]), (check::Verdict::Good, want, String::new()));

    fs::write(&path, top("gatway: x")).unwrap();
    let (verdict, out, err) = run_check(&[name]);
    assert_eq!((verdict, out.as_str()), (check::Verdict::Wrong, ""));
    assert!(err.contains(&format!("{name}:1:1")), "{err}");

    let (verdict, out, _) = run_check(&[name, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((verdict, &json["ok"]), (check::Verdict::Wrong, &false.into()));
    assert_eq!(
        (&json["problems"][0]["line"], &json["problems"][0]["path"]),
        (&1.into(), &"gatway".into())
    );

    let (verdict, _, err) = run_check(&["/nowhere/fleet.yaml"]);
    assert_eq!(verdict, check::Verdict::Wrong);
    assert!(err.contains("cannot read the configuration"), "{err}");
}

#[derive(Debug, Parser)]
struct Sign {
    #[command(flatten)]
    args: sign::Args,
}

const DEVICE: [&str; 6] =
    ["sign", "aliyun", "--product-key", "a1mQpKOF9hp", "--device-name", "7600"];

fn run_sign(more: &[&str], stdin: &str) -> Result<String, String> {
    let parsed = Sign::try_parse_from([&DEVICE, more].concat()).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    sign::run(&parsed.args, &mut stdin.as_bytes(), &mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn sign_prints_what_a_device_signs_in_with() {
    let secret = "8f663b388dee796b931ebcb789b75a39\n";
    let want = "\
host:      a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883
client id: 7600|securemode=3,signmethod=hmacsha1|
user name: 7600&a1mQpKOF9hp
password:  D48150E8D550607B15C667E100635EE96EA7D512
";
    assert_eq!(run_sign(&["--device-secret-file", "-"], secret).as_deref(), Ok(want));
    let folder = with_secrets();
    let file = folder.path().join("secrets/north");
    let file = ["--device-secret-file", file.to_str().unwrap()];
    assert_eq!(run_sign(&file, "").as_deref(), Ok(want));
    let json = run_sign(
        &[
            &file[..],
            &[
                "--json",
                "--method",
                "hmacmd5",
                "--securemode",
                "2",
                "--timestamp",
                "9",
                "--instance",
                "iot-1",
            ],
        ]
        .concat(),
        "",
    )
    .unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["client_id"], "7600|securemode=2,signmethod=hmacmd5,timestamp=9|");
    assert_eq!(json["host"], "iot-1.mqtt.iothub.aliyuncs.com");
}

#[test]
fn sign_refuses_what_it_cannot_sign() {
    for (more, stdin, want) in [
        (&[][..], "", "--device-secret"),
        (&["--device-secret-file", "-"], "", "is empty"),
        (&["--device-secret-file", "/nowhere"], "", "no such file"),
        (&["--device-secret-env", "MODEMFLEET_TEST_UNSET"], "", "MODEMFLEET_TEST_UNSET"),
        (&["--device-secret-file", "-", "--client-id", "a|b"], "s", "client_id must be"),
        (&["--device-secret-file", "-", "--method", "sha1"], "s", "must be hmacsha1"),
        (&["--device-secret-file", "-", "--securemode", "1"], "s", "2 (TLS) or 3 (TCP)"),
        (&["--device-secret", "s"], "", "unexpected argument"),
    ] {
        let error = run_sign(more, stdin).unwrap_err();
        assert!(error.contains(want), "{more:?}: {error}");
    }
}
