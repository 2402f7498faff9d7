//! Files made to do harm.

use super::*;

#[test]
fn a_file_of_too_many_values_is_refused_as_a_whole() {
    let repeat = |count: usize, line: &str| -> String {
        (0..count).map(|n| line.replace('N', &n.to_string())).collect()
    };
    let text = [
        "brokers:\n  lab: { url: mqtt://b }\n".to_owned(),
        repeat(3000, "  bN: { url: mqtt://b, username: u, password: x }\n"),
        "modems:\n  m:\n    match: { port: /a }\n    sessions:\n".to_owned(),
        repeat(3000, "      sN: { broker: lob }\n"),
        format!("      z: {{ broker: lab, subscribe: [{}] }}\n", "{ filter: a },".repeat(5000)),
        repeat(3000, "  nN: { match: { port: /a } }\n"),
        "routes:\n".to_owned(),
        repeat(3000, "  - { topic: a, to: [m/tN] }\n"),
    ]
    .concat();
    assert!(text.len() < 1 << 20);
    let problems = parse(&text).unwrap_err();
    assert!(problems.to_string().contains("too many values"), "{problems}");
}

/// Returns `depth` nested mappings.
fn staircase(depth: usize) -> String {
    (0..depth).map(|n| format!("{}x-:\n", " ".repeat(n))).collect()
}

#[test]
fn hostile_files_are_refused_in_words() {
    let bomb: String =
        (1..40).map(|n| format!("x-{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1)).collect();
    let key_bomb: String =
        (1..40).map(|n| format!("x-{n}: &a{n} {{ ? [*a{m}, *a{m}] : 1 }}\n", m = n - 1)).collect();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "the file is empty"),
        (b"# only\n\n".to_vec(), "the file is empty"),
        (vec![b' '; 2 << 20], "larger than 1 MiB"),
        (b"gateway: a\0b\n".to_vec(), "U+0000"),
        (b"gateway: a\x1b[31m\n".to_vec(), "U+001B"),
        (b"gateway: \xff\n".to_vec(), "not UTF-8"),
        (b"a:\n\t- b\n".to_vec(), "fleet.yaml:2:"),
        (b"a: [b\n".to_vec(), "error: "),
        (b"a: 'b\n".to_vec(), "error: "),
        (b"a: *nobody\n".to_vec(), "error: "),
        (b"a: !evil 1\n".to_vec(), "tags"),
        (b"gateway: !!map x\n".to_vec(), "this tag does not fit"),
        (b"gateway: !!binary aGk=\n".to_vec(), "this tag does not fit"),
        (b"gateway: !<tag:yaml.org,2002:seq> x\n".to_vec(), "this tag does not fit"),
        (b"modems: !!str {}\n".to_vec(), "this tag does not fit"),
        ("# \u{fffe}\n".to_owned().into_bytes(), "U+FFFE"),
        ("gateway: gw # \u{ffff}\n".to_owned().into_bytes(), "U+FFFF"),
        (b"# a\n%FOO bar\n---\na: 1\n".to_vec(), "fleet.yaml:2:1"),
        (b"%FOO bar\n---\na: 1\n".to_vec(), "no directive but"),
        (b"%YAML 1.3\n---\na: 1\n".to_vec(), "no directive but"),
        // Text in quotes is not a comment, and tokens follow it.
        (["x-a: [\"\n  #\",", &"a,".repeat(200_000)].concat().into_bytes(), "too many values"),
        (b"? [a]\n: 1\n".to_vec(), "a single value as a key"),
        (b"a: 1\n---\nb: 2\n".to_vec(), "more than one YAML document"),
        (b"{a: b}}\n".to_vec(), "error: "),
        ([b"x-a: ".to_vec(), vec![b'['; 100_000]].concat(), "nested too deeply"),
        ([b"x-a: ".to_vec(), vec![b'['; 250], b"1,".repeat(200_000)].concat(), "error: "),
        ([b"x-a: [".to_vec(), b"1,".repeat(200_000)].concat(), "too many values"),
        ("%TAG !t! tag:t:\n".repeat(100).into_bytes(), "too many directives"),
        (b"x-a: &a [*a]\n".to_vec(), "inside its own anchor"),
        ([b"x-a:\n  ".to_vec(), b"- ".repeat(100_000)].concat(), "nested too deeply"),
        ([b"x-a:\n  ".to_vec(), b"? ".repeat(100_000)].concat(), "a single value as a key"),
        ([b"x-a:\n  ".to_vec(), b"- &a ".repeat(100_000)].concat(), "not valid YAML"),
        (staircase(1400).into_bytes(), "nested too deeply"),
        // The deepest file that reaches the parsers, on this thread's small stack.
        (staircase(200).into_bytes(), "nested too deeply"),
        (
            [staircase(99), " ".repeat(99), "- ".repeat(100), "[".repeat(250)]
                .concat()
                .into_bytes(),
            "error: ",
        ),
        (format!("x-0: &a0 x\n{bomb}").into_bytes(), "error: "),
        (format!("x-0: &a0 x\n{key_bomb}").into_bytes(), "error: "),
        // Each alias is used once, but they expand to ten thousand million values.
        (
            format!("x-0: &a [{}]\nx-1: [{}]\n", "0,".repeat(100_000), "*a,".repeat(100_000))
                .into_bytes(),
            "too many values",
        ),
        ("k: 1\n".repeat(10_000).into_bytes(), "duplicate key `k`"),
    ];
    for (bytes, phrase) in cases {
        let start: String = String::from_utf8_lossy(&bytes).chars().take(40).collect();
        let problems = fleet::parse("fleet.yaml", bytes, &context()).unwrap_err();
        let rendered = problems.render(false);
        assert!(rendered.contains(phrase), "{start:?}: {rendered:.500}");
        assert!(rendered.contains("fleet.yaml:"), "{start:?}: {rendered:.500}");
    }
}

#[test]
fn comments_hold_what_they_like() {
    let comments = "# a: b, [c]\n  # a: b\n".repeat(30_000);
    parse(&top(&format!("gateway: gw\n{comments}"))).expect("comments are no values");
}

#[test]
fn what_yaml_itself_says_is_taken() {
    for head in ["%YAML 1.1\n---\n", "%YAML 1.2\n%TAG !t! tag:yaml.org,2002:\n---\n"] {
        parse(&format!("{head}{}", top("gateway: gw"))).expect(head);
    }
    for gateway in ["!!str 12", "!<tag:yaml.org,2002:str> 12", "!!int 12"] {
        let taken = parse(&top(&format!("gateway: {gateway}"))).expect(gateway);
        assert_eq!(taken.fleet.gateway.as_str(), "12", "{gateway}");
    }
    parse(&top("gateways: !!seq [gw-07]\nhttp: !!map { listen: 127.0.0.1:1 }")).expect("own kinds");
}

#[test]
fn any_cut_and_any_swapped_byte_is_answered_without_a_panic() {
    let good = fs::read(fixture("contract.yaml")).unwrap();
    for end in (0..good.len()).step_by(7) {
        let _ = fleet::parse("f", good[..end].to_vec(), &context());
    }
    // A linear congruential generator: the same bytes in every run.
    let mut state: usize = 12345;
    for _ in 0..400 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = good.clone();
        let at = (state >> 33) % bytes.len();
        bytes[at] = b"{}[]:,&*#?|->'\"%@`!\n\t 0\xc3\xa9"[(state >> 20) % 25];
        if let Err(problems) = fleet::parse("f", bytes, &context()) {
            assert!(!problems.render(false).is_empty());
        }
    }
}
