//! Each case of the ladder as a line of a table: what happens, and what it says.

use super::*;

/// Plays a story on a ladder and gives what it said.
///
/// `mute`, `failing`, `service`, `lost` ask until something is to be done. `+30` lets seconds pass. `identified`, `registered`, `works` are signs; `gone` is a replug; `no` and `wrong` are how
/// an action that was asked for ended.
struct Story {
    ladder: Ladder,
    start: Instant,
    now: Instant,
    available: Available,
}

const ALL: Available = Available { commands: true, usb_reset: true, power: true };

impl Story {
    fn new(available: Available) -> Self {
        let now = Instant::now();
        Self { ladder: Ladder::new(&Recovery::default()), start: now, now, available }
    }

    fn ask(&mut self, cause: Cause) -> (String, bool) {
        let mute = cause == Cause::Mute;
        let available = Available { commands: self.available.commands && !mute, ..self.available };
        let seconds = |until: Instant| until.duration_since(self.start).as_secs();
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
        if let Some(seconds) = word.strip_prefix('+') {
            self.now += Duration::from_secs(seconds.parse().unwrap());
            return vec![];
        }
        let cause = match word {
            "mute" => Cause::Mute,
            "failing" => Cause::Failing,
            "service" => Cause::Service,
            "lost" => Cause::Unregistered,
            "identified" => return cured(self.ladder.shows(Sign::Identified, self.now)),
            "registered" => return cured(self.ladder.shows(Sign::Registered, self.now)),
            "works" => return cured(self.ladder.shows(Sign::Service, self.now)),
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

const NOTHING: Available = Available { commands: true, usb_reset: false, power: false };

/// What it shows, what is to be had, what happens, what the ladder says: `(skipped)`, `-not cured`, `cured!`.
const CASES: &[(&str, Available, &str, &str)] = &[
    ("a mute port is asked, then opened again", ALL, "mute identified", "-resync reopen reopen!"),
    (
        "commands are of no use at a mute port",
        ALL,
        "mute +10 mute +70 mute +70 mute",
        "-resync reopen -reopen (service_restart) (radio_cycle) (modem_reset) usb_reset -usb_reset power \
             -power reopen",
    ),
    (
        "a modem that boots may be mute",
        ALL,
        "mute mute +59 mute +1 mute",
        "-resync reopen -reopen \
            (service_restart) (radio_cycle) (modem_reset) usb_reset wait:60 -usb_reset power",
    ),
    ("a service without network", ALL, "service works", "service_restart service_restart!"),
    (
        "what the modem says itself needs no patience",
        ALL,
        "service service service service service",
        "service_restart -service_restart radio_cycle -radio_cycle modem_reset -modem_reset usb_reset \
             -usb_reset power",
    ),
    ("no registration", ALL, "lost registered", "radio_cycle radio_cycle!"),
    (
        "a modem that boots looks for a network first",
        ALL,
        "lost lost +59 lost +1 lost",
        "radio_cycle wait:60 wait:60 -radio_cycle modem_reset",
    ),
    (
        "no registration, to the end",
        ALL,
        "lost +300 lost +300 lost +300 lost +300 lost",
        "radio_cycle \
            -radio_cycle modem_reset -modem_reset usb_reset -usb_reset power -power failed:3600",
    ),
    (
        "a step that fails is begun again, and no more",
        ALL,
        "failing failing failing",
        "reopen -reopen reopen \
            -reopen reopen",
    ),
    (
        "the budget ends it",
        NOTHING,
        "mute mute mute mute mute mute mute +10 mute",
        "-resync reopen -reopen (service_restart) (radio_cycle) (modem_reset) (usb_reset) (power) reopen \
             -reopen reopen -reopen reopen -reopen reopen -reopen reopen -reopen failed:3600 failed:3600",
    ),
    (
        "nothing to be had",
        NOTHING,
        "service service service service",
        "service_restart -service_restart \
            radio_cycle -radio_cycle modem_reset -modem_reset (usb_reset) (power) failed:3600",
    ),
    (
        "what is not to be had costs nothing",
        ALL,
        "service service service service no service no service",
        "service_restart -service_restart radio_cycle -radio_cycle modem_reset -modem_reset usb_reset \
             power failed:3600",
    ),
    (
        "what goes wrong needs no patience",
        ALL,
        "mute mute wrong mute",
        "-resync reopen -reopen \
            (service_restart) (radio_cycle) (modem_reset) usb_reset -usb_reset power",
    ),
    (
        "trouble that is back at once was not cured",
        ALL,
        "service works +100 service",
        "service_restart \
            service_restart! radio_cycle",
    ),
    (
        "trouble that is back later begins below",
        ALL,
        "service works +120 service",
        "service_restart \
            service_restart! service_restart",
    ),
    (
        "another trouble begins at its own foot",
        ALL,
        "service works +1 mute",
        "service_restart \
            service_restart! -resync reopen",
    ),
    (
        "a lost registration goes on where the service stood",
        ALL,
        "service service +300 lost",
        "service_restart -service_restart radio_cycle -radio_cycle modem_reset",
    ),
    (
        "a mute port after a service's trouble",
        ALL,
        "service mute",
        "service_restart -service_restart -resync \
            reopen",
    ),
    (
        "one identified is not yet in service",
        ALL,
        "service identified service",
        "service_restart \
            -service_restart radio_cycle",
    ),
    ("a session that works ends all", ALL, "lost works", "radio_cycle radio_cycle!"),
    (
        "a replug forgets it all",
        NOTHING,
        "service service service service gone service",
        "service_restart \
            -service_restart radio_cycle -radio_cycle modem_reset -modem_reset (usb_reset) (power) failed:3600 \
            service_restart",
    ),
    (
        "the end of the hour forgets it all",
        NOTHING,
        "service service service service +3599 service +1 service",
        "service_restart -service_restart radio_cycle -radio_cycle modem_reset -modem_reset (usb_reset) \
             (power) failed:3600 failed:3600 service_restart",
    ),
    (
        "a network that comes by itself ends it",
        ALL,
        "lost +60 lost +60 lost +60 lost +60 lost registered lost",
        "radio_cycle \
            -radio_cycle modem_reset -modem_reset usb_reset -usb_reset power -power failed:3600 radio_cycle",
    ),
];

#[test]
fn what_is_done_about_what() {
    for (what, available, story, said) in CASES {
        let mut told = Story::new(*available);
        let words: Vec<String> = story.split(' ').flat_map(|word| told.tell(word)).collect();
        let wanted: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(words, wanted, "{what}");
    }
}

/// Whatever happens, there are at most so many actions in an hour that begins with one of them, but
/// for gentle ones that held.
#[test]
fn no_story_makes_it_do_more_than_its_budget() {
    let words =
        ["mute", "failing", "service", "lost", "identified", "registered", "works", "wrong", "+7"];
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..100 {
        let mut story = Story::new(ALL);
        let mut acts = 0;
        while story.now < story.start + HOUR {
            let word = words[rng.usize(..words.len())];
            acts +=
                story.tell(word).iter().filter(|said| !said.contains(['-', '(', ':', '!'])).count();
            // A cure that holds gives its action back; here none does.
            story.now = story.now.min(story.start + HOUR);
        }
        assert!(acts <= 6, "{acts}");
    }
}

#[test]
fn a_gentle_cure_that_holds_costs_nothing_and_a_reset_does() {
    let mut story = Story::new(ALL);
    for _ in 0..20 {
        assert_eq!(story.tell("service"), ["service_restart"]);
        assert_eq!(story.tell("works"), ["service_restart!"]);
        story.tell("+150");
    }
    let mut story = Story::new(ALL);
    let mut cycles = 0;
    while story.tell("lost").last().is_some_and(|said| said == "radio_cycle") {
        assert_eq!(story.tell("registered"), ["radio_cycle!"]);
        story.tell("+150");
        cycles += 1;
    }
    assert_eq!(cycles, 6);
}
