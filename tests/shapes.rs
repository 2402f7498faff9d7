//! Fleet files of a mebibyte, in many shapes, which should cost much time or memory.
//!
//! Each unit of a shape is repeated until the largest file is full, or the limit on values is
//! reached. A file that is rejected at once would not exercise the later checks.

/// The largest fleet file, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// Slightly less than the limit on values of a file.
const MAX_VALUES: usize = 39_500;

/// A shape: name, beginning, repeated unit (`%` is its number), values in a unit, and end.
type Unit = (&'static str, &'static str, &'static str, usize, &'static str);

const BROKER: &str = "brokers: { b: { url: mqtt://h } }\n";

/// A modem and a session, for shapes that are about something else.
const REST: &str = "brokers: { b: { url: mqtt://h } }\nmodems: { m: { match: { port: /a }, sessions: { s: { broker: b } } } }\n";

#[rustfmt::skip]
const UNITS: &[Unit] = &[
    ("routes with wrong targets", "routes: [", "{a},", 3, "]\n"),
    ("routes without keys", "routes: [", "{},", 1, "]\n"),
    ("routes that are words", "routes: [", "a,", 1, "]\n"),
    ("routes of one topic", "%REST%routes: [", "{topic: a, to: [m/s]},", 6, "]\n"),
    ("routes with names of one", "%REST%routes: [", "{topic: a%, name: r, to: [m/s]},", 8, "]\n"),
    ("routes by templates", "%REST%routes: [", "{topic: a%, to: [m/s], publish_as: \"${topic}/${gateway}/$$\"},", 8, "]\n"),
    ("routes by unknown variables", "%REST%routes: [", "{topic: a%, to: [m/s], publish_as: \"${a%}\"},", 8, "]\n"),
    ("routes to strangers", "%REST%routes: [", "{topic: a%, to: [north-west-%/cloud-and-more]},", 6, "]\n"),
    ("one route to strangers", "%REST%routes: [{topic: a, to: [", "m/%,", 1, "]}]\n"),
    ("one route to one session", "%REST%routes: [{topic: a, to: [", "m/s,", 1, "]}]\n"),
    ("modems without keys", "modems: {", "m%: {},", 2, "}\n"),
    ("modems without values", "modems: {", "m%: ,", 2, "}\n"),
    ("modems by model", "modems:\n", "  m%: { match: { model: sim7600 } }\n", 6, ""),
    ("modems of many models", "modems:\n", "  m%: { match: { model: sim% } }\n", 6, ""),
    ("modems of one port", "modems:\n", "  m%: { match: { port: /a } }\n", 6, ""),
    ("modems with telemetry", "%BROKER%modems:\n", "  m%: { match: { port: /a% }, telemetry: { topic: \"${gateway}/${modem}\" }, sessions: { s: { broker: b } } }\n", 16, ""),
    ("modems with keys that are not known", "modems: { m: { match: { port: /a },", "k%: 1,", 2, "} }\n"),
    ("modems of other gateways", "gateway: gw\ngateways: [gw, other]\nmodems:\n", "  m%: { match: { port: /a% }, gateways: [other] }\n", 8, "  z: { match: { port: /b } }\n"),
    ("modems behind one of another gateway", "gateways: [gw, other]\nmodems:\n  a: { match: { port: /b }, gateways: [other] }\n", "  m%: { match: { port: /a% } }\n", 6, ""),
    ("sessions of one modem", "%BROKER%modems: { m: { match: { model: sim7600 }, sessions: {", "s%: {broker: b},", 4, "} } }\n"),
    ("sessions of a modem by its port", "%BROKER%modems: { m: { match: { port: /a }, sessions: {", "s%: {broker: b},", 4, "} } }\n"),
    ("sessions without keys", "modems: { m: { match: { port: /a }, sessions: {", "s%: {},", 2, "} } }\n"),
    ("sessions without a broker", "%BROKER%modems: { m: { match: { port: /a }, sessions: {", "s%: {broker: bb%},", 4, "} } }\n"),
    ("sessions of one client id", "%BROKER%modems: { m: { match: { port: /a }, sessions: {", "s%: {broker: b, client_id: c},", 6, "} } }\n"),
    ("sessions with TLS that model lacks", "brokers: { b: { url: mqtts://h, tls: { insecure: true } } }\nmodems: { m: { match: { model: sim7020 }, sessions: {", "s%: {broker: b},", 4, "} } }\n"),
    ("subscriptions of one filter", "%BROKER%modems: { m: { match: { port: /a }, sessions: { s: { broker: b, subscribe: [", "{filter: a},", 3, "] } } } }\n"),
    ("subscriptions", "%BROKER%modems: { m: { match: { model: sim7600 }, sessions: { s: { broker: b, subscribe: [", "{filter: \"a%/#\"},", 3, "] } } } }\n"),
    ("subscriptions without keys", "%BROKER%modems: { m: { match: { port: /a }, sessions: { s: { broker: b, subscribe: [", "{},", 1, "] } } } }\n"),
    ("variables", "modems: { m: { match: { port: /a }, sessions: { s: { broker: b, vars: {", "v%: x,", 2, "} } } } }\n"),
    ("wills", "%BROKER%modems: { m: { match: { port: /a }, sessions: {", "s%: {broker: b, will: {topic: t, payload: p}},", 9, "} } }\n"),
    ("brokers", "modems: { m: { match: { port: /a } } }\nbrokers: {", "b%: {url: \"mqtt://h%\"},", 4, "}\n"),
    ("brokers without keys", "modems: { m: { match: { port: /a } } }\nbrokers: {", "b%: {},", 2, "}\n"),
    ("brokers with plain passwords", "brokers: {", "b%: {url: mqtt://b, password: x},", 6, "}\n"),
    ("brokers with files", "modems: { m: { match: { port: /a } } }\nbrokers: {", "b%: {url: mqtts://b, username: u, password: {file: /dev/null}, tls: {ca: /etc/hostname}},", 14, "}\n"),
    ("users", "modems: { m: { match: { port: /a } } }\nhand_in: { mqtt: { listen: 127.0.0.1:1883, users: {", "u%: {file: /a},", 4, "} } }\n"),
    ("users without passwords", "hand_in: { mqtt: { users: {", "u%: ,", 2, "} } }\n"),
    ("users in a list", "hand_in: { mqtt: { users: [", "u%,", 1, "] } }\n"),
    ("gateways", "modems: { m: { match: { port: /a } } }\ngateways: [", "gw-%,", 1, "gw]\n"),
    ("gateways by patterns", "modems: { m: { match: { port: /a } } }\ngateways: [", "\"*%*\",", 1, "]\n"),
    ("gateways that are none", "modems: { m: { match: { port: /a } } }\ngateways: [", "a.b,", 1, "]\n"),
    ("modems by pattern", "gateways: [gw, \"*a*b*c*d*e*f*g*h*i*j*k*l\"]\nmodems:\n", "  m%: { match: { port: /a% }, gateways: [\"*x*x*x*x*x*x*x*x*x*x*l\"] }\n", 8, ""),
    ("keys that are not known", "", "zzz%: 1\n", 2, ""),
    ("keys of one name", "", "k: 1\n", 2, ""),
    ("free keys", "", "x-%: 1\n", 2, ""),
    ("an anchor each", "x-a: [", "&a% b,", 1, "]\n"),
    ("aliases", "x-a: &a b\nx-b: [", "*a,", 1, "]\n"),
    ("aliases of a mapping", "x-a: &a {a: b, c: d}\nx-b: [", "*a,", 5, "]\n"),
    ("aliases of a broken route", "x-a: &a {topik: b}\nroutes: [", "*a,", 3, "]\n"),
    ("aliases of a modem", "x-a: &a { match: { model: sim7600 } }\nmodems: {", "m%: *a,", 5, "}\n"),
    ("block lists", "x-a:\n", "- a\n", 1, ""),
    ("block lists of lists", "x-a:\n", "- - - a\n", 3, ""),
    ("block mappings", "x-a:\n", "  k%:\n    l: 1\n", 4, ""),
    ("empty values", "x-a: [", ",", 1, "]\n"),
    ("flow mappings in a line", "x-a: {", "k%: {a: [b]},", 5, "}\n"),
    ("quoted words", "x-a: [", "\"\\u0061\\n%\",", 1, "]\n"),
    ("single quotes", "x-a: [", "'it''s',", 1, "]\n"),
    ("tags", "x-a: [", "!!str a,", 1, "]\n"),
    ("own tags", "x-a: [", "!a b,", 1, "]\n"),
    ("comments", "", "# a comment\n", 0, "modems: { m: { match: { port: /a } } }\n"),
    ("comments in a line", "modems: { m: { match: { port: /a } } } #", " #", 0, "\n"),
    ("line ends", "", "\n", 0, "modems: { m: { match: { port: /a } } }\n"),
    ("blanks", "gateway: gw", "        ", 0, "\nmodems: { m: { match: { port: /a } } }\n"),
    ("documents", "a: 1\n", "---\na: 1\n", 3, ""),
    ("directives", "", "%TAG !t%! tag:x%:\n", 0, "---\na: 1\n"),
    ("a long word", "gateway: ", "wordwordword", 0, "\n"),
    ("a long text", "gateway: ", "word ", 0, "\n"),
    ("a long quoted text", "gateway: \"", "\\u00e4", 0, "\"\n"),
    ("a long key", "\"", "key", 0, "\": 1\n"),
    ("a long key without quotes", "", "key", 0, ": 1\n"),
    ("a long path", "modems: { m: { match: { port: \"/", "dir/", 0, "\" } } }\n"),
    ("a long path of a broker", "brokers: { b: { url: mqtts://h, tls: { ca: \"/", "dir/", 0, "\" } } }\n"),
    ("a long topic", "%REST%routes: [{to: [m/s], topic: \"", "a/", 0, "\"}]\n"),
    ("a long template", "%REST%routes: [{to: [m/s], topic: a, publish_as: \"", "${a%}", 0, "\"}]\n"),
    ("a block text", "gateway: |\n", "  word word\n", 0, ""),
    ("a folded text", "gateway: >\n", "  word\n\n", 0, ""),
    ("characters beyond ASCII", "gateway: \"", "\u{e4}\u{20ac}\u{1f600}", 0, "\"\n"),
    ("open brackets", "x-a: ", "[", 1, ""),
    ("open braces", "x-a: ", "{a: ", 2, ""),
    ("dashes", "x-a:\n  ", "- ", 1, ""),
    ("question marks", "x-a:\n  ", "? ", 1, ""),
    ("commas in deep brackets", "x-a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "1,", 1, ""),
    ("an open quote", "gateway: \"", "text ", 0, ""),
    ("anchors without values", "x-a: [", "&a ,", 1, "]\n"),
    ("carriage returns", "x-a: [", "a,\r", 1, "]\n"),
    ("models of an overlay", "models:\n", "  - { id: m%, like: sim7600, cgmm: [X%] }\n", 9, ""),
];

/// Makes the text of a shape.
type Make = Box<dyn Fn() -> String>;

/// Returns all shapes: their names, and functions that make their texts.
pub(crate) fn all() -> Vec<(String, Make)> {
    let mut all: Vec<(String, Make)> = Vec::new();
    for (name, head, unit, values, tail) in UNITS {
        let most = MAX_VALUES.checked_div(*values).unwrap_or(usize::MAX);
        if *values > 0 {
            // The rest of the bytes is a comment, which is read before values are counted.
            let make = move || commented(repeated(head, unit, tail, most));
            all.push((format!("{name}, and a comment"), Box::new(make)));
        }
        if *values < 3 {
            all.push(((*name).to_owned(), Box::new(|| repeated(head, unit, tail, usize::MAX))));
        }
    }
    let mut add = |name: &str, make: fn() -> String| all.push((name.to_owned(), Box::new(make)));
    add("a key for each alias of all that is above", bomb);
    add("many variables for many sessions", filled_templates);
    add("one broker's long path in many sessions", long_path);
    add("a long text that many aliases name", long_alias);
    add("anchors in each other", nested_anchors);
    add("gateways by patterns, and names that begin unlike them", unlike_patterns);
    add("gateways by patterns, and names that begin as some of them", like_patterns);
    all
}

fn commented(text: String) -> String {
    let rest = MAX_BYTES.saturating_sub(text.len() + 3);
    format!("#{}\n{text}", "x".repeat(rest))
}

/// Returns a valid fleet file with as many modems as the limit on values allows.
pub(crate) fn sound() -> String {
    let head = "gateway: gw\nbrokers: { b: { url: mqtt://h } }\nmodems:\n";
    let unit = "  m%: { match: { port: /dev/ttyUSB% }, roaming: allow, sessions: { cloud: { broker: b, keep_alive: 60s } } }\n";
    repeated(head, unit, "", MAX_VALUES / 16)
}

fn repeated(head: &str, unit: &str, tail: &str, most: usize) -> String {
    let mut text = head.replace("%REST%", REST).replace("%BROKER%", BROKER);
    // A directive keeps its first character.
    let (first, unit) = if unit.starts_with("%TAG") { unit.split_at(1) } else { ("", unit) };
    let parts: Vec<&str> = unit.split('%').collect();
    for number in 0..most {
        let number = number.to_string();
        let length = first.len() + unit.len() + parts.len() * number.len();
        if text.len() + length + tail.len() > MAX_BYTES {
            break;
        }
        text.push_str(first);
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                text.push_str(&number);
            }
            text.push_str(part);
        }
    }
    text.push_str(tail);
    text
}

fn bomb() -> String {
    let line = |n: usize| format!("x-{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1);
    (1..20_000).map(line).fold("x-0: &a0 x\n".to_owned(), |all, line| all + &line)
}

/// Returns variables with long values, in templates that name each of them often.
fn filled_templates() -> String {
    let value = "v".repeat(1000);
    let template = "${a}".repeat(1000);
    let modem = |n: usize| {
        format!(
            "  m{n}: {{ match: {{ port: /a{n} }}, telemetry: {{ topic: *t }}, sessions: {{ s: {{ broker: b, vars: {{ a: *v }} }} }} }}\n"
        )
    };
    let modems: String = (0..400).map(modem).collect();
    let to: Vec<String> = (0..400).map(|n| format!("m{n}/s")).collect();
    let route = format!("  - {{ topic: a, to: [{}], publish_as: *t }}\n", to.join(","));
    format!(
        "x-v: &v {value}\nx-t: &t \"{template}\"\n{BROKER}modems:\n{modems}routes:\n{}",
        route.repeat(100)
    )
}

fn long_path() -> String {
    let path = "/dir".repeat(1000);
    let sessions: String = (0..12_000).map(|n| format!("s{n}: {{broker: b}},")).collect();
    format!(
        "brokers: {{ b: {{ url: mqtts://h, username: u, password: {{ file: {path} }}, tls: {{ ca: {path}, cert: {path}, key: {path} }} }} }}\nmodems: {{ m: {{ match: {{ port: /a }}, sessions: {{ {sessions} }} }} }}\n"
    )
}

fn long_alias() -> String {
    format!("x-a: &a {}\nx-b: [{}]\n", "text ".repeat(100_000), "*a,".repeat(40_000))
}

fn nested_anchors() -> String {
    let nest = |n: usize| {
        format!("{}b{}\n", "[&a c, &b ".repeat(90), "]".repeat(90)).replace("&b", &format!("&b{n}"))
    };
    (0..250).map(|n| format!("x-{n}: {}", nest(n))).collect()
}

fn unlike_patterns() -> String {
    patterns_and_names("w%-*", "north-%")
}

fn like_patterns() -> String {
    patterns_and_names("north-%*x", "north-%")
}

/// Returns as many patterns of gateways as names of other gateways that a modem asks for. `%`
/// stands for their numbers.
fn patterns_and_names(pattern: &str, name: &str) -> String {
    let all = |each: &str| -> String {
        let one = |number: usize| format!("\"{}\",", each.replace('%', &number.to_string()));
        (0..MAX_VALUES / 2).map(one).collect()
    };
    format!(
        "gateways: [{} gw]\nmodems: {{ m: {{ match: {{ port: /a }}, gateways: [{} gw] }} }}\n",
        all(pattern),
        all(name)
    )
}
