//! Overlay files: good ones, and the messages about bad ones.

use super::*;

fn built_in() -> Models {
    Models::built_in(&[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN]).unwrap()
}

fn with(text: &str) -> Result<Models, Problems> {
    let mut models = built_in();
    models.amend("acme.yaml", text.as_bytes().to_vec()).map(|()| models)
}

/// The problems as `line:column path: message | help`.
#[track_caller]
fn wrong(text: &str) -> String {
    let Err(problems) = with(text) else { panic!("taken: {text}") };
    let line = |p: &Problem| {
        let help = p.help.as_deref().unwrap_or_default();
        format!("{}:{} {}: {} | {help}", p.line, p.column, p.path, p.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_rebadged_modem_is_three_lines() {
    let models = with("models:\n  - like: sim7600\n    cgmm: [ACME-4G]\n").unwrap();
    let (model, profile) = models.catalog.identify("ACME-4G rev 2").unwrap();
    assert_eq!((model.id.as_str(), profile.id()), ("acme-4g", "sim7600"));
    assert_eq!(model.usb, models.catalog.model("sim7600").unwrap().usb);
    assert_eq!(model.evidence.mqtt, modem::catalog::Basis::Inferred);
    assert_eq!(models.origin_words("acme-4g"), "acme.yaml:2");
    assert_eq!(models.siblings(model).next(), Some("sim7600"));

    // The same modem under another USB id.
    let models =
        with("models:\n  - id: sim7600\n    usb: [{ id: \"05C6:9001\", at: 2 }]\n").unwrap();
    let usb = &models.catalog.model("sim7600").unwrap().usb;
    let ids: Vec<&str> = usb.iter().map(|layout| layout.id.as_str()).collect();
    assert_eq!(ids[..3], ["05c6:9001", "1e0e:9001", "1e0e:9011"]);
    // In another composition, too.
    let text = "models:\n  - { id: ec25, usb: [{ id: \"2c7c:0125\", at: 5, when: { no_tty: [0], tty: [6] } }] }\n";
    let other = with(text).unwrap();
    let usb = &other.catalog.model("ec25").unwrap().usb;
    let of_id = usb.iter().filter(|layout| layout.is_of("2C7C:0125"));
    let words: Vec<String> =
        of_id.filter_map(|layout| Some(layout.when.as_ref()?.to_string())).collect();
    assert_eq!(words, ["where interface 0 has no tty and interface 6 has a tty"]);
    assert_eq!(models.catalog.models().count(), built_in().catalog.models().count());
    assert_eq!(models.origin_words("sim7600"), "built in, amended by acme.yaml:2");
}

#[test]
fn an_entry_is_amended_key_by_key() {
    let text = "models:
  - id: sim7600
    cgmm: [sim7600, ACME7]
    usb: [{ id: 1e0e:9011, at: 2 }]
    mqtt: { payload: 4096 }
    evidence: { mqtt: hardware }
    registration: [+CEREG]
  - { id: acme, like: sim7600, cgmm: [ACME7X], mqtt: { clients: 1 } }
  - { id: acme, manufacturer: Acme }
";
    let models = with(text).unwrap();
    let model = models.catalog.model("sim7600").unwrap();
    assert_eq!(model.cgmm, ["SIM7500", "sim7600", "ACME7"]);
    assert_eq!((model.mqtt.clients, model.mqtt.topic, model.mqtt.payload), (2, 1024, 4096));
    assert_eq!(
        model.usb.iter().map(|l| (l.id.as_str(), l.at)).collect::<Vec<_>>(),
        [("1e0e:9011", 2), ("1e0e:9001", 2), ("1e0e:9001", 4), ("1e0e:9003", 2)]
    );
    assert_eq!(model.evidence.mqtt, modem::catalog::Basis::Hardware);
    assert_eq!(model.evidence.status, modem::catalog::Basis::Transcript);
    assert_eq!(model.registration, [modem::reply::Domain::Eps]);
    let acme = models.catalog.model("acme").unwrap();
    assert_eq!(
        (acme.manufacturer.as_str(), acme.mqtt.clients, acme.mqtt.payload),
        ("Acme", 1, 4096)
    );
    assert_eq!(models.catalog.identify("ACME7X").unwrap().0.id, "acme");
    assert_eq!(models.catalog.identify("ACME7").unwrap().0.id, "sim7600");
    assert_eq!(models.origin_words("acme"), "acme.yaml:9");
}

#[test]
fn a_whole_entry_needs_no_other() {
    let text = "models:
  - id: acme
    manufacturer: Acme
    cgmm: [ACME]
    profile: quectel-lte
    mqtt: { clients: 6, topic: 255, payload: 1500 }
";
    let models = with(text).unwrap();
    let (model, profile) = models.catalog.identify("acme 9").unwrap();
    assert_eq!((model.usb.len(), profile.id()), (0, "quectel-lte"));
    assert_eq!(models.siblings(model).next(), Some("ec25"));
}

/// A file, and the message about it.
const WRONG: &[(&str, &str)] = &[
    ("", "1:1 : the file is empty"),
    ("modls: []", "1:1 modls: unknown key `modls` in the file | did you mean `models`?"),
    ("x-notes: 1", "1:1 : the file has no `models`"),
    ("models: 7", "1:9 models: `models` must be a list"),
    ("models:\n  - sim7600\n", "2:5 models[0]: "),
    (
        "models:\n  - { like: sim760, cgmm: [A-1] }",
        "2:13 models[0].like: there is no model `sim760` | did you mean `sim7600`?",
    ),
    (
        "models:\n  - { like: sim7600 }",
        "2:5 models[0]: this model has no `cgmm` | write `cgmm: [NAME]`",
    ),
    (
        "models:\n  - { id: sim8200, like: sim7600, cgmm: [A-1] }",
        "2:11 models[0].id: the model `sim8200` exists already | amend that model by `id: sim8200` without `like`",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [SIMCOM_SIM8200] }",
        "2:28 models[0].cgmm: the model `sim8200` exists already",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [SIMCOM_X] }",
        "2:29 models[0].cgmm[0]: `cgmm` must have at least 3 characters",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [] }",
        "2:22 models[0].cgmm: `cgmm` must have 1 to 16 values",
    ),
    ("models:\n  - { like: sim7600, cgmm: ACME }", "models[0].cgmm: `cgmm` must be a list"),
    ("models:\n  - { like: sim7600, cgmm: [\"A\\eB1\"] }", "holds the control character U+001B"),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: 1e0e, at: 2 }] }",
        "models[0].usb[0].id: `id` must be VENDOR:PRODUCT",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: \"1e0e:0001\", at: 2, when: {} }] }",
        "models[0].usb[0].when: `when` has no condition | write `when: { no_tty: [0, 1] }`",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: \"1e0e:0001\", at: 2, when: { no_tty: [99] } }] }",
        "models[0].usb[0].when.no_tty[0]: `no_tty` must be the number of a USB interface",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: \"1e0e:0001\", at: 2, when: { class: [2] } }] }",
        "models[0].usb[0].when.class",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: 1e0e:1 }] }",
        "this layout has no `at` | write the number of the USB interface",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: \"1e0e:0001\", at: 99 }] }",
        "must be the number of a USB interface, 0 to 31",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: \"1e0e:0001\", at: 2, secondary: 2 }] }",
        "usb[0].secondary: `secondary` is the same",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], usb: [{ id: \"1e0e:0001\", at: 2, port: 1 }] }",
        "unknown key `port` in a USB layout",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], profile: cmqtt }",
        "models[0].profile: there is no profile `cmqtt` | known are `sim7600`, `sim8200`",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], mqtt: { clients: 9 } }",
        "mqtt.clients: `clients` must be 1 to 2",
    ),
    (
        "models:\n  - { like: ec25, cgmm: [ACME], mqtt: { payload: 10240 } }",
        "`payload` must be 1 to 1500",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], evidence: { mqtt: seen } }",
        "models[0].evidence.mqtt: `mqtt` must be `manual`",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], registration: [CEREG] }",
        "models[0].registration[0]: `registration` must be `+CEREG`",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME], dialect: cmqtt }",
        "unknown key `dialect` in a model",
    ),
    (
        "models:\n  - { id: Acme 4G, like: sim7600, cgmm: [ACME] }",
        "`id` must be 1 to 32 small letters",
    ),
    (
        "models:\n  - { id: acme, cgmm: [ACME] }",
        "this model has no `profile` | begin with `like: MODEL`",
    ),
    (
        "models:\n  - { like: sim7600, cgmm: [ACME] }\n  - { like: ec25, cgmm: [acme] }",
        "3:25 models[1].cgmm: the model `acme` exists already",
    ),
    (
        "models:\n  - { id: a-1, like: sim7600, cgmm: [ACME] }\n  - { id: b-1, like: ec25, cgmm: [acme] }",
        "3:34 models[1].cgmm: the CGMM of \"b-1\" begins with \"acme\", as that of \"a-1\" does | amend",
    ),
    ("models: [{ like: sim7600, cgmm: [A\u{7}B] }]", "U+0007"),
    ("models: !exec [x]", "tags"),
    ("models:\n - &a [*a]", ""),
];

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_cure() {
    for (text, wanted) in WRONG {
        let told = wrong(text);
        assert!(told.contains(wanted), "{text}\n gave {told}\n wanted {wanted}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
    let deep = format!("models: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(with(&deep).is_err());
    let many = format!("models:\n{}", "  - { like: x }\n".repeat(100_000));
    assert!(with(&many).is_err());
    assert!(with(&"#".repeat(2 << 20)).is_err());
    let binary = built_in().amend("x.yaml", vec![0xFF, 0xFE, 0x00]);
    assert!(binary.unwrap_err().render(false).contains("UTF-8"));
}

#[test]
fn a_file_with_one_error_changes_nothing() {
    let mut models = built_in();
    let text =
        "models:\n  - { like: sim7600, cgmm: [ACME] }\n  - { like: nothing, cgmm: [OTHER] }\n";
    assert!(models.amend("acme.yaml", text.into()).is_err());
    assert!(models.catalog.identify("ACME").is_none());
    assert!(models.origin("acme").is_none());
}

#[test]
fn the_files_of_a_folder_are_read_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("20-b.yaml", "models: [{ id: acme, manufacturer: Acme }]");
    write("10-a.yaml", "models: [{ like: sim7600, cgmm: [ACME] }]");
    write(".10-a.yaml.swp", "not read");
    write(".hidden.yaml", "not read");
    write("README", "not read");
    let option = Folder { dir: Some(folder.path().to_owned()) };
    let plugins = [&profile_simcom::PLUGIN];
    let models = option.load(&plugins).unwrap();
    assert_eq!(models.catalog.model("acme").unwrap().manufacturer, "Acme");
    assert!(models.origin_words("acme").ends_with("20-b.yaml:1"));

    fs::create_dir(folder.path().join("30-c.yaml")).unwrap();
    write("40-d.yaml", "models: [{ like: sim7600 }]");
    let error = option.load(&plugins).err().unwrap().to_string();
    assert!(error.contains("30-c.yaml") && error.contains("not a regular file"), "{error}");
    assert!(error.contains("40-d.yaml:1:10") && error.contains("no `cgmm`"), "{error}");

    let gone = Folder { dir: Some(folder.path().join("gone")) };
    assert!(matches!(gone.load(&plugins), Err(ModelsError::Folder { .. })));
}

#[test]
fn entries_are_held_against_each_other() {
    let found = |text: &str| {
        let findings = lint::lint(&with(text).unwrap());
        findings
            .into_iter()
            .map(|f| format!("{} {}: {}", f.kind, f.model, f.message))
            .collect::<Vec<_>>()
    };
    assert_eq!(lint::lint(&built_in()), []);
    for (text, wanted) in [
        (
            "models: [{ id: acme, like: ec25, cgmm: [SIM7600ACME] }]",
            "overlap acme: `SIM7600ACME` overlaps `SIM7600` of sim7600: what begins with the longer one is acme's",
        ),
        (
            "models: [{ id: acme, like: ec25, cgmm: [ACME, ACME4G] }]",
            "unreachable acme: `ACME4G` has no effect: `ACME` of the same entry matches the same modems and more",
        ),
        (
            "models: [{ id: acme, like: ec25, cgmm: [ACME], usb: [{ id: \"1e0e:9011\", at: 2 }] }]",
            "usb acme: 1e0e:9011 has AT on interface 2 here and on 4 in sim7600: they are tried in that order, 4 first",
        ),
        (
            "models: [{ id: acme, like: ec25, cgmm: [ACME], usb: [] }]",
            "usb acme: the entry has no USB layout",
        ),
        (
            "models: [{ id: acme, like: ec25, cgmm: [ACME], usb: [{ id: \"1234:5678\", at: 2, when: { tty: [0] } }, { id: \"1234:5678\", at: 3, when: { tty: [0] } }] }]",
            "usb acme: 1234:5678 with AT on interface 3 never holds",
        ),
        (
            "models: [{ id: acme, like: sim7020, cgmm: [ACME], usb: [{ id: \"1234:5678\", at: 0 }], evidence: { tls: manual } }]",
            "evidence acme: the entry has a basis for TLS, and the profile sim7020 opens no",
        ),
    ] {
        let found = found(text);
        assert!(matches!(&found[..], [one] if one.starts_with(wanted)), "{text}: {found:?}");
    }
}
