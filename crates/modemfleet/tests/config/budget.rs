//! The budget of a SIM.

use super::*;

#[test]
fn a_budget_says_how_much_until_when_and_what_then() {
    let of = |budget: &str| {
        let loaded = parse(&north(&format!("    budget: {budget}\n"))).unwrap();
        loaded.fleet.modems[0].budget.clone().unwrap()
    };
    let least = of("{ bytes: 500MB }");
    assert_eq!((least.bytes, least.reset_day, least.warn), (500_000_000, 1, 80));
    assert_eq!((least.shed, least.stop, least.urgent), (None, Some(100), None));
    assert_eq!(least.time_zone.iana_name(), Some("UTC"));
    let most = of("{ bytes: 1GiB, reset_day: 31, time_zone: Asia/Shanghai, warn: 50%, \
         shed: { at: 50%, below_priority: 5 }, stop: 95%, urgent: 9 }");
    assert_eq!((most.bytes, most.reset_day, most.warn), (1 << 30, 31, 50));
    let shed = most.shed.unwrap();
    assert_eq!((shed.at, shed.below_priority, most.stop, most.urgent), (50, 5, Some(95), Some(9)));
    assert_eq!(most.time_zone.iana_name(), Some("Asia/Shanghai"));
    assert_eq!(of("{ bytes: 1MB, stop: never }").stop, None);
}

#[test]
fn a_budget_that_cannot_be_held_is_refused() {
    let budget = |text: &str| north(&format!("    budget: {text}\n"));
    refused(&[
        (north("    ¶budget: {}\n"), "needs `bytes`"),
        (budget("{ bytes: ¶500 }"), "at least"),
        (budget("{ bytes: ¶lots }"), "not a size"),
        (budget("{ bytes: 1MB, reset_day: ¶0 }"), "1 to 31"),
        (budget("{ bytes: 1MB, reset_day: ¶32 }"), "1 to 31"),
        (budget("{ bytes: 1MB, time_zone: ¶Asia/Shanghia }"), "not a time zone"),
        (budget("{ bytes: 1MB, time_zone: ¶../../etc/passwd }"), "not a time zone"),
        (budget("{ bytes: 1MB, time_zone: ¶CST-8 }"), "not a time zone"),
        (budget("{ bytes: 1MB, warn: ¶80 }"), "a share of the budget"),
        (budget("{ bytes: 1MB, warn: ¶0% }"), "1% to 100%"),
        (budget("{ bytes: 1MB, stop: ¶101% }"), "1% to 100%"),
        (budget("{ bytes: 1MB, stop: ¶70% }"), "comes after"),
        (budget("{ bytes: 1MB, warn: ¶95%, shed: { at: 90%, below_priority: 5 } }"), "comes after"),
        (budget("{ bytes: 1MB, ¶shed: { at: 90% } }"), "needs `below_priority`"),
        (budget("{ bytes: 1MB, shed: { at: 90%, below_priority: ¶0 } }"), "(priority)"),
        (budget("{ bytes: 1MB, urgent: ¶10 }"), "(priority)"),
        (budget("{ bytes: 1MB, stop: never, ¶urgent: 9 }"), "has no effect"),
        (budget("{ bytes: 1MB, ¶limit: 2 }"), "unknown key"),
    ]);
}
