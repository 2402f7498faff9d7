//! Values of routes.

use super::*;

fn batched(key: &str) -> String {
    routes(&format!("  - {{ topic: a, to: [bench/lab], batch: {{ format: lines, {key} }} }}\n"))
}

#[test]
fn values_of_routes() {
    refused(&[
        (routes("  - { topic: a, to: [¶nort/cloud] }\n"), "did you mean `north/cloud`"),
        (routes("  - { topic: a, to: [¶north] }\n"), "name a session of that modem: `north/cloud`"),
        (routes("  - { topic: a, to: [bench/lab, ¶bench/lab] }\n"), "stands twice"),
        (routes("  - { topic: a, ¶to: [] }\n"), "at least one session"),
        (routes("  - { topic: a, to: ¶bench/lab }\n"), "must be a list"),
        (routes("  - { topic: ¶a/#/b, to: [bench/lab] }\n"), "may hold `#` only"),
        (routes("  - ¶{ to: [bench/lab] }\n"), "needs `topic`"),
        (
            routes("  - { topic: a, to: [bench/lab], publish_as: ¶\"x/${tpic}\" }\n"),
            "has ${tpic}, which bench/lab does not have",
        ),
        (
            routes("  - { topic: a, to: [bench/lab], publish_as: ¶\"x/${topic\" }\n"),
            "without its `}`",
        ),
        (routes("  - { topic: a, to: [bench/lab], publish_as: ¶\"x/#\" }\n"), "not a filter"),
        (
            routes("  - { topic: a, to: [bench/lab], publish_as: ¶\"$topic\" }\n"),
            "write `${topic}` for a variable, and `$$` for the character itself",
        ),
        (
            routes("  - { topic: a, to: [bench/lab], publish_as: ¶a$ }\n"),
            "has a `$` without a `${name}`",
        ),
        (
            routes("  - { topic: a, to: [bench/lab], policy: all, ¶hold_down: 1s }\n"),
            "has no effect",
        ),
        (routes("  - { topic: a, to: [bench/lab], hold_down: ¶5 }\n"), "hold_down"),
        (routes("  - { topic: a, to: [bench/lab], fail_back: ¶yes }\n"), "fail_back"),
        (routes("  - { topic: a, to: [bench/lab], stall: ¶15 }\n"), "needs a unit"),
        (routes("  - { topic: a, to: [bench/lab], ¶batch: {} }\n"), "needs `format`"),
        (
            routes("  - { topic: a, to: [bench/lab], batch: { format: ¶json } }\n"),
            "`json_array` or `lines`",
        ),
        (batched("max_messages: ¶1"), "2 to 256"),
        (batched("max_messages: ¶many"), "2 to 256"),
        (batched("max_bytes: ¶100"), "128 to 10240"),
        (batched("max_bytes: ¶11kB"), "128 to 10240"),
        (batched("max_delay: ¶5m"), "must be"),
        (batched("max_delay: ¶1"), "needs a unit"),
        (batched("ids: ¶yes"), "`true`"),
        (batched("¶delay: 1s"), "unknown key"),
        (
            routes(
                "  - { topic: a, to: [bench/lab], publish_as: ¶\"a/${id}\", batch: { format: lines } }\n",
            ),
            "as many ids as messages",
        ),
        (routes("  - { topic: a, to: [bench/lab], stall: ¶0s }\n"), "must be"),
        (routes("  - { topic: a, to: [bench/lab], name: ¶\"the way\" }\n"), "must be a name"),
        (
            routes(
                "  - { name: a, topic: a, to: [bench/lab] }\n  - { name: ¶a, topic: b, to: [bench/lab] }\n",
            ),
            "another route is called `a`",
        ),
        (
            routes("  - { topic: a, to: [bench/lab], policy: ¶failovr }\n"),
            "must be `failover`, `spread` or `all`",
        ),
    ]);
}

#[test]
fn a_topic_that_begins_with_a_dollar_is_warned_of() {
    for (publish_as, vars) in [("$$x/${topic}", ""), ("${base}/a", ", vars: { base: \"$x\" }")] {
        let marked =
            format!("  - {{ topic: a, to: [bench/lab], publish_as: ¶\"{publish_as}\" }}\n");
        let marked =
            routes(&marked).replace("lab: { broker: b", &format!("lab: {{ broker: b{vars}"));
        expect(&marked, Severity::Warning, "a subscriber of `#`");
    }
    let plain = "  - { topic: \"$x/#\", to: [bench/lab], publish_as: \"a/$$/${topic}\" }\n";
    assert_eq!(parse(&routes(plain)).unwrap().warnings.iter().count(), 0);
}
