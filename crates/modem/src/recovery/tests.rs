//! Each case of the ladder as a line of a table: the events, and the ladder's decisions.

use super::*;

/// Plays a story on a ladder and returns its decisions.
///
/// `mute`, `failing`, `card`, `lost`, `denied`, `service`, `wedged`, `sessions` ask until the
/// ladder decides. `+30s`, `+5m`, `+6h` let time pass. `identified`, `ready`, `registered`,
/// `reached`, `works` are signs; `gone` is a replug. `no`, `wrong` and `done` are the outcomes of a
/// requested action.
struct Story {
    ladder: Ladder,
    start: Instant,
    now: Instant,
    available: Available,
}

const ALL: Available =
    Available { commands: true, radio: true, usb_reset: true, power: true, all_fail: true };

impl Story {
    fn new(available: Available) -> Self {
        let now = Instant::now();
        Self { ladder: Ladder::new(&Recovery::default()), start: now, now, available }
    }

    fn ask(&mut self, cause: Cause) -> (String, bool) {
        let mute = cause == Cause::Mute;
        let available = Available { commands: self.available.commands && !mute, ..self.available };
        let seconds = |until: Instant| {
            let seconds = until.duration_since(self.start).as_secs();
            if seconds.is_multiple_of(60) {
                format!("{}m", seconds / 60)
            } else {
                format!("{seconds}s")
            }
        };
        match self.ladder.next(cause, self.now, available) {
            Step::Act(action) => (action.as_str().to_owned(), true),
            Step::Skip(action) => (format!("({})", action.as_str()), false),
            Step::NotCured(action) => (format!("-{}", action.as_str()), false),
            Step::Wait(until) => (format!("wait:{}", seconds(until)), true),
            Step::Failed(until) => (format!("failed:{}", seconds(until)), true),
        }
    }

    fn tell(&mut self, word: &str) -> Vec<String> {
        let cured = |action: Option<Action>| match action {
            Some(action) => vec![format!("{}!", action.as_str())],
            None => vec![],
        };
        if let Some(time) = word.strip_prefix('+') {
            self.now += humantime(time);
            return vec![];
        }
        let cause = match word {
            "mute" => Cause::Mute,
            "failing" => Cause::Failing,
            "card" => Cause::Sim,
            "service" => Cause::Service,
            "wedged" => Cause::Wedged,
            "sessions" => Cause::Sessions,
            "lost" => Cause::Unregistered,
            "denied" => Cause::Denied,
            "identified" => return cured(self.ladder.shows(Sign::Identified, self.now)),
            "registered" => return cured(self.ladder.shows(Sign::Registered, self.now)),
            "ready" => return cured(self.ladder.shows(Sign::Card, self.now)),
            "reached" => return cured(self.ladder.shows(Sign::Service, self.now)),
            "works" => return cured(self.ladder.shows(Sign::Broker, self.now)),
            "done" => {
                self.ladder.done(self.now);
                return vec![];
            }
            "gone" => {
                self.ladder.replugged();
                return vec![];
            }
            "no" => {
                self.ladder.unavailable();
                return vec![];
            }
            "wrong" => {
                self.ladder.went_wrong(self.now);
                return vec![];
            }
            other => panic!("{other}"),
        };
        let mut said = Vec::new();
        loop {
            let (words, ends) = self.ask(cause);
            said.push(words);
            if ends {
                return said;
            }
        }
    }
}

fn humantime(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        other => panic!("{other}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * seconds)
}

const NOTHING: Available =
    Available { commands: true, radio: true, usb_reset: false, power: false, all_fail: false };
const ONE_FAILS: Available = Available { all_fail: false, ..ALL };
const FOREIGN_RADIO: Available = Available { radio: false, ..ALL };

/// The title, the available means, the events, and the ladder's words: `(skipped)`, `-not cured`,
/// `cured!`.
const CASES: &[(&str, Available, &str, &str)] = &[
    // --- mute
    ("a mute port is asked, then opened again", ALL, "mute identified", "-resync reopen reopen!"),
    (
        "a mute port is opened for a while before its device is reset",
        ALL,
        "identified mute mute +19s mute +1s mute",
        "-resync reopen -reopen wait:20s wait:20s usb_reset",
    ),
    (
        "a mute modem, to the end: each reset has its time, then hourly, then every six hours",
        ALL,
        "identified mute +20s mute +59s mute +1s mute +1m mute +59m mute +1m mute +1m mute +1m mute +5h mute +1h mute",
        "-resync reopen -reopen usb_reset wait:80s -usb_reset power -power failed:3680s usb_reset \
            -usb_reset power -power failed:25340s failed:25340s failed:25340s usb_reset",
    ),
    (
        "what is not to be had costs nothing",
        ALL,
        "identified mute +20s mute no mute",
        "-resync reopen -reopen usb_reset wait:1m",
    ),
    (
        "what goes wrong needs no patience",
        ALL,
        "identified mute +20s mute wrong mute",
        "-resync reopen -reopen usb_reset -usb_reset wait:1m",
    ),
    (
        "the time of a reset begins when it is done",
        ALL,
        "identified mute +20s mute +30s done +59s mute +1s mute",
        "-resync reopen -reopen usb_reset wait:110s -usb_reset power",
    ),
    (
        "nothing to be had for a mute port: attempts",
        NOTHING,
        "identified mute +20s mute +40s mute +1m mute",
        "-resync reopen -reopen (usb_reset) wait:1m (power) failed:61m failed:61m",
    ),
    (
        "a step that fails is begun again, and no more",
        ALL,
        "failing failing +1m failing",
        "reopen -reopen wait:1m wait:2m",
    ),
    (
        "a port that never answered may boot still",
        ALL,
        "mute +20s mute +39s mute +1s mute",
        "-resync reopen -reopen wait:1m wait:1m usb_reset",
    ),
    // --- the SIM
    ("a card that comes late is left alone", ALL, "card +29s card ready", "wait:30s wait:30s"),
    (
        "a card that failed",
        ALL,
        "card +30s card +1m card +1m card +1m card +9m card",
        "wait:30s radio_cycle -radio_cycle wait:150s modem_reset -modem_reset failed:750s radio_cycle",
    ),
    (
        "a card that is powered anew",
        ALL,
        "card +30s card ready",
        "wait:30s radio_cycle radio_cycle!",
    ),
    // --- the network
    ("no registration", ALL, "lost registered", "radio_cycle radio_cycle!"),
    (
        "a modem that boots searches for a network first",
        ALL,
        "lost lost +59s lost +1s lost +4m lost",
        "radio_cycle wait:1m wait:1m -radio_cycle wait:5m modem_reset",
    ),
    (
        "no registration, to the end",
        ALL,
        "lost +5m lost +5m lost +5m lost +5m lost +55m lost",
        "radio_cycle -radio_cycle modem_reset -modem_reset usb_reset -usb_reset power -power failed:75m radio_cycle",
    ),
    (
        "a SIM that is denied is never reset",
        ALL,
        "denied +29m denied +1m denied +1m denied +59m denied +1h denied +4h denied +1h denied +24h denied",
        "wait:30m wait:30m radio_cycle -radio_cycle wait:90m radio_cycle -radio_cycle wait:450m wait:450m \
            radio_cycle -radio_cycle radio_cycle",
    ),
    (
        "a SIM that is denied costs no budget",
        ALL,
        "denied +30m denied registered +5m lost",
        "wait:30m radio_cycle radio_cycle! radio_cycle",
    ),
    (
        "a word to another effect between refusals resets nothing",
        ALL,
        "denied +30m denied +6m denied lost +4m denied lost +4m denied +1h lost",
        "wait:30m radio_cycle -radio_cycle wait:90m wait:41m wait:96m wait:45m wait:100m wait:109m",
    ),
    (
        "a radio of somebody else is left alone",
        FOREIGN_RADIO,
        "denied +30m denied +1h denied",
        "wait:30m (radio_cycle) wait:90m (radio_cycle) wait:450m",
    ),
    (
        "a network that comes by itself ends it",
        ALL,
        "lost +5m lost +5m lost +5m lost registered +3m lost",
        "radio_cycle -radio_cycle modem_reset -modem_reset usb_reset -usb_reset power power! radio_cycle",
    ),
    // --- the service
    ("a service without network", ALL, "service works", "service_restart service_restart!"),
    (
        "a network that refuses data for a while has nothing reset",
        ALL,
        "service +1s service +20s service +60s service +2m service works",
        "service_restart -service_restart wait:5m wait:5m wait:5m wait:5m",
    ),
    (
        "a SIM without a data plan is never reset",
        ALL,
        "service service +5m service +2m service +28m service +24h service +24h service +24h service",
        "service_restart -service_restart wait:5m radio_cycle -radio_cycle failed:35m radio_cycle -radio_cycle \
            radio_cycle -radio_cycle radio_cycle -radio_cycle radio_cycle",
    ),
    (
        "a service that is wedged, to the end",
        ALL,
        "wedged +5m wedged +10m wedged +15m wedged +15m wedged +1m wedged",
        "service_restart -service_restart radio_cycle -radio_cycle modem_reset -modem_reset usb_reset -usb_reset \
            power -power failed:105m",
    ),
    (
        "one START that fails otherwise between refusals resets nothing",
        ALL,
        "service +5m service +15m service wedged +1m service wedged +9m wedged +1m wedged",
        "service_restart -service_restart radio_cycle -radio_cycle failed:35m wait:30m failed:50m wait:31m wait:31m modem_reset",
    ),
    (
        "trouble that is back at once was not cured",
        ALL,
        "service works +100s service +200s service",
        "service_restart service_restart! wait:5m radio_cycle",
    ),
    (
        "trouble that is back later begins below",
        ALL,
        "service works +2m service",
        "service_restart service_restart! service_restart",
    ),
    (
        "another trouble begins at its own foot",
        ALL,
        "service works +1s mute",
        "service_restart service_restart! -resync reopen",
    ),
    (
        "a lost registration goes on where the service stood",
        ALL,
        "service +5m service +5m lost +5m lost",
        "service_restart -service_restart radio_cycle -radio_cycle wait:15m modem_reset",
    ),
    (
        "a mute port after a service's trouble",
        ALL,
        "service mute",
        "service_restart -service_restart -resync reopen",
    ),
    (
        "one identified is not yet in service",
        ALL,
        "service identified service",
        "service_restart -service_restart wait:5m",
    ),
    ("a session that works ends all", ALL, "lost works", "radio_cycle radio_cycle!"),
    // --- sessions
    (
        "sessions that fail have the service started again, at growing intervals",
        ONE_FAILS,
        "sessions sessions +5m sessions +10m sessions +30m sessions +5m sessions +10m sessions +1h sessions",
        "service_restart -service_restart wait:5m service_restart -service_restart (modem_reset) wait:45m \
            service_restart -service_restart service_restart -service_restart (modem_reset) wait:120m service_restart",
    ),
    (
        "if all sessions fail the modem is reset, once a day",
        ALL,
        "sessions +5m sessions +10m sessions works +6h sessions +5m sessions +10m sessions",
        "service_restart -service_restart service_restart -service_restart modem_reset modem_reset! \
            service_restart -service_restart service_restart -service_restart (modem_reset) wait:420m",
    ),
    (
        "that the network is reached is not enough",
        ALL,
        "sessions reached sessions",
        "service_restart -service_restart wait:5m",
    ),
    // --- all
    (
        "a replug forgets it all",
        NOTHING,
        "wedged +5m wedged gone wedged",
        "service_restart -service_restart radio_cycle service_restart",
    ),
];

#[test]
fn what_is_done_about_what() {
    let mut wrong = Vec::new();
    for (what, available, story, said) in CASES {
        let mut told = Story::new(*available);
        let words: Vec<String> = story.split(' ').flat_map(|word| told.tell(word)).collect();
        let words = words.join(" ");
        let wanted = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if words != wanted {
            wrong.push(format!("{what}\n  said   {words}\n  wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// In an hour that begins with an action there are never more actions than the budget. Gentle
/// actions that held, and radio cycles for a denied SIM, do not count.
#[test]
fn no_story_makes_it_do_more_than_its_budget() {
    let words = [
        "mute",
        "failing",
        "card",
        "service",
        "wedged",
        "lost",
        "sessions",
        "identified",
        "ready",
        "registered",
        "works",
        "wrong",
        "no",
        "+7s",
        "+50s",
        "+3m",
    ];
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..300 {
        let mut story = Story::new(ALL);
        let mut acts = 0;
        while story.now < story.start + HOUR {
            let word = words[rng.usize(..words.len())];
            let said = story.tell(word);
            let counts = |said: &&String| {
                !said.contains(['-', '(', ':', '!'])
                    && !matches!(said.as_str(), "reopen" | "service_restart")
            };
            acts += said.iter().filter(counts).count();
            // An action that was not done after all is given back.
            if word == "no" {
                acts = acts.saturating_sub(1);
            }
            story.now = story.now.min(story.start + HOUR);
        }
        assert!(acts <= 6, "{acts}");
    }
}

/// After any actions with any outcomes, there is always a time of the next action.
#[test]
fn no_story_ends_without_another_action() {
    let words = [
        "mute", "card", "service", "wedged", "lost", "denied", "sessions", "wrong", "no", "+50s",
        "+3m",
    ];
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..300 {
        let mut story = Story::new(ALL);
        for _ in 0..50 {
            story.tell(words[rng.usize(..words.len())]);
        }
        for word in ["mute", "card", "service", "wedged", "lost", "denied"] {
            story.tell("+7h");
            let said = [story.tell(word), story.tell("+7h"), story.tell(word)].concat();
            assert!(
                said.iter().any(|said| !said.contains(['-', '(', ':', '!'])),
                "{word}: {said:?}"
            );
        }
    }
}

#[test]
fn a_gentle_cure_that_holds_costs_nothing_and_a_reset_does() {
    let mut story = Story::new(ALL);
    for _ in 0..20 {
        assert_eq!(story.tell("service"), ["service_restart"]);
        assert_eq!(story.tell("works"), ["service_restart!"]);
        story.tell("+150s");
    }
    let mut story = Story::new(ALL);
    let mut cycles = 0;
    while story.tell("lost").last().is_some_and(|said| said == "radio_cycle") {
        assert_eq!(story.tell("registered"), ["radio_cycle!"]);
        story.tell("+150s");
        cycles += 1;
    }
    assert_eq!(cycles, 6);
}

#[test]
fn a_reset_by_hand_counts_and_is_cured_by_the_next_identification() {
    let mut story = Story::new(ALL);
    story.ladder.reset_by_hand(story.now);
    assert_eq!(story.ladder.stage(), Stage::Trying(Action::ModemReset));
    assert!(story.ladder.is_resetting(), "its port may go");
    assert_eq!(story.ladder.spent().0, 1);
    assert_eq!(story.tell("identified"), ["modem_reset!"]);
    assert_eq!(story.ladder.stage(), Stage::Calm);
    // During trouble the sign that ends that trouble counts, and not an earlier one.
    let _ = story.tell("lost");
    story.ladder.reset_by_hand(story.now);
    assert_eq!(story.tell("identified"), Vec::<String>::new());
    assert_eq!(story.tell("registered"), ["modem_reset!"]);
    // A modem that does not come back is recovery's again.
    story.ladder.reset_by_hand(story.now);
    let _ = story.tell("+2m");
    assert_eq!(story.tell("mute").first().map(String::as_str), Some("-modem_reset"));
}
