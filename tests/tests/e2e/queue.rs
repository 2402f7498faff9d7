//! `modemfleet queue`: on a running agent through its API, on a stopped agent in its folder.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::{Lab, PATIENCE, Signal, Sim, Site, modemfleet, run, until, within};
use serde_json::Value;

fn queue(words: &[&str]) -> Output {
    let mut command = Command::new(modemfleet());
    run(command.arg("queue").args(words).env_remove("MODEMFLEET_LOG"), b"")
}

/// Returns the output of a command that must succeed.
#[track_caller]
fn out(words: &[&str]) -> String {
    let output = queue(words);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(words: &[&str]) -> Value {
    serde_json::from_str(&out(words)).unwrap()
}

fn lines(words: &[&str]) -> Vec<Value> {
    out(words).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn code(words: &[&str]) -> (Option<i32>, String) {
    let output = queue(words);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn store(site: &Site) -> PathBuf {
    site.dir().join("queue")
}

#[test]
fn the_same_commands_work_on_a_running_and_on_a_stopped_agent() {
    let lab = Lab::without_modems(1);
    let file = lab.site.file();
    let config = ["--config", file.to_str().unwrap()];
    let with = |words: &[&'static str]| -> Vec<&str> { [words, &config].concat() };
    assert_eq!(code(&with(&["stat"])).0, Some(1), "there is no queue yet, and none is made");
    assert!(!store(&lab.site).exists());

    let mut agent = lab.site.start();
    agent.publish("topic=a/1&priority=9&ttl=1h", b"\x00one");
    agent.publish("topic=a/2&retain=true&qos=2", b"two");
    agent.publish("topic=b&session=m0/s", b"three");
    let look = |running: bool| {
        let stat = json(&with(&["stat", "--json"]));
        assert_eq!(
            (stat["running"].as_bool(), stat["messages"].as_u64()),
            (Some(running), Some(3))
        );
        let lanes: Vec<_> = stat["lanes"].as_array().unwrap().iter().collect();
        assert_eq!(lanes.iter().map(|lane| lane["messages"].as_u64().unwrap()).sum::<u64>(), 3);
        assert!(out(&with(&["stat"])).contains("session m0/s"));
        let all = lines(&with(&["export"]));
        assert_eq!(all.len(), 3);
        let payload = STANDARD.decode(all[0]["payload_base64"].as_str().unwrap()).unwrap();
        assert_eq!((all[0]["topic"].as_str(), &payload[..]), (Some("a/1"), &b"\x00one"[..]));
        assert_eq!(
            (all[0]["priority"].as_u64(), all[0]["state"].as_str()),
            (Some(9), Some("waiting"))
        );
        assert!(all[0]["expires"].as_str().unwrap() > all[0]["appended"].as_str().unwrap());
        assert_eq!((all[1]["qos"].as_u64(), all[1]["retain"].as_bool()), (Some(2), Some(true)));
        assert_eq!(lines(&with(&["export", "--topic", "a/#"])).len(), 2);
        assert_eq!(lines(&with(&["export", "--lane", "session m0/s"]))[0]["topic"], "b");
        assert_eq!(lines(&with(&["inspect", "--json", "--limit", "1"])).len(), 1);
        let table = out(&with(&["inspect"]));
        assert!(table.contains("a/2") && table.lines().count() == 4, "{table}");
        assert!(lines(&with(&["inspect", "--json", "--set-aside"])).is_empty());
        assert!(out(&with(&["fsck"])).contains("is sound"));
        all[1]["id"].as_str().unwrap().to_owned()
    };
    let second = look(true);

    // A call without a selection deletes nothing; with a selection it does.
    let (status, told) = code(&with(&["purge"]));
    assert_eq!(status, Some(2), "{told}");
    assert_eq!(agent.http.ask("POST", "/api/v1/queue/purge", &[], b"").status, 400);
    assert_eq!(agent.queued(), 3);
    let dir = store(&lab.site);
    let dir = ["--dir", dir.to_str().unwrap()];
    let (status, told) = code(&[&["purge", "--yes"], &dir[..]].concat());
    assert_eq!(status, Some(1));
    assert!(told.contains(&agent.process.pid().to_string()), "{told}");
    assert_eq!(
        json(&[&["stat", "--json"], &dir[..]].concat())["messages"],
        3,
        "a look needs no lock"
    );

    agent.process.kill();
    assert_eq!(look(false), second);
    assert_eq!(json(&[&["purge", &second, "--json"], &config[..]].concat())["purged"], 1);
    assert_eq!(code(&[&["purge", &second], &config[..]].concat()).0, Some(1), "it is gone");
    let agent = lab.site.start();
    assert_eq!(agent.queued(), 2);
    assert_eq!(json(&with(&["purge", "--topic", "a/#", "--json"]))["purged"], 1);
    assert_eq!(json(&with(&["purge", "--yes", "--json"]))["purged"], 1);
    assert_eq!(agent.queued(), 0);
    assert_eq!(agent.sum("modemfleet_queue_dropped_total", &[("reason", "purged")]), 2.0);
}

/// A broker that closes the connection of a client that publishes on a forbidden topic, as some
/// brokers do.
struct Strict {
    port: u16,
    forbids: Arc<AtomicBool>,
    received: Arc<Mutex<Vec<String>>>,
}

impl Strict {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (forbids, received) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let broker = Self { port, forbids, received };
        let (forbids, received) = (Arc::clone(&broker.forbids), Arc::clone(&broker.received));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (forbids, received) = (Arc::clone(&forbids), Arc::clone(&received));
                thread::spawn(move || serve(stream.unwrap(), &forbids, &received));
            }
        });
        broker
    }
}

/// Serves MQTT 3.1.1, as far as a publisher needs it.
fn serve(mut stream: TcpStream, forbids: &AtomicBool, received: &Mutex<Vec<String>>) -> Option<()> {
    let byte = |stream: &mut TcpStream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    };
    loop {
        let head = byte(&mut stream)?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let part = byte(&mut stream)?;
            length |= usize::from(part & 0x7f) << shift;
            shift += 7;
            if part & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        match head >> 4 {
            1 => stream.write_all(&[0x20, 2, 0, 0]).ok()?,
            3 => {
                let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..end]).into_owned();
                if topic == "forbidden" && forbids.load(Ordering::SeqCst) {
                    return None;
                }
                received.lock().unwrap().push(topic);
                stream.write_all(&[0x40, 2, body[end], body[end + 1]]).ok()?;
            }
            12 => stream.write_all(&[0xd0, 0]).ok()?,
            _ => {}
        }
    }
}

#[test]
fn a_poison_message_is_aside_across_a_restart_and_comes_back_after_the_fix() {
    let broker = Strict::open();
    let mut site = Site::new();
    let dir = site.dir().join("sim");
    let sim = Sim::start(&dir, 1, &format!("127.0.0.1:{}", broker.port), &[]);
    site.body = format!(
        "brokers: {{ lab: {{ url: \"mqtt://broker.example.com\" }} }}\nmodems:\n  m0: {{ match: {{ port: {} }}, \
         sessions: {{ s: {{ broker: lab, reconnect_max: 1s }} }} }}\n",
        sim.tty(0).display()
    );
    let mut agent = site.start();
    agent.connected("m0", "s");
    agent.publish("topic=forbidden", b"x");
    let aside = || {
        // Other messages are acknowledged between the closed connections.
        agent.publish("topic=good", b"x");
        (agent.sum("modemfleet_queue_set_aside_messages", &[]) > 0.0).then_some(())
    };
    // Suspects are tried seldom, so that most of the time remains for other messages.
    assert!(within(Duration::from_secs(180), aside).is_some(), "{}", agent.log());
    assert!(agent.sum("modemfleet_mqtt_disconnects_total", &[("reason", "broker")]) >= 5.0);
    let config = site.file();
    let config = ["--config", config.to_str().unwrap()];
    let with = |words: &[&'static str]| -> Vec<&str> { [words, &config].concat() };
    let all = lines(&with(&["inspect", "--set-aside", "--json"]));
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0]["topic"].as_str(), all[0]["reason"].as_str()),
        (Some("forbidden"), Some("poison"))
    );

    agent.process.kill();
    let agent = site.start();
    agent.connected("m0", "s");
    agent.publish("topic=after", b"x");
    until("the lane to go on", || {
        broker.received.lock().unwrap().contains(&"after".to_owned()).then_some(())
    });
    assert_eq!(agent.sum("modemfleet_queue_set_aside_messages", &[]), 1.0, "still aside");
    assert_eq!(agent.sum("modemfleet_mqtt_disconnects_total", &[("reason", "broker")]), 0.0);

    broker.forbids.store(false, Ordering::SeqCst);
    assert_eq!(json(&with(&["requeue", "--all", "--reason", "refused", "--json"]))["requeued"], 0);
    assert_eq!(json(&with(&["requeue", "--all", "--reason", "poison", "--json"]))["requeued"], 1);
    agent.drained();
    assert!(broker.received.lock().unwrap().contains(&"forbidden".to_owned()));
    assert_eq!(agent.sum("modemfleet_queue_set_aside_messages", &[]), 0.0);
}

#[test]
fn a_session_that_is_down_holds_up_nobody_else() {
    let mut lab = Lab::without_modems(2);
    lab.sims.push(lab.plug_in(0, &[]));
    let agent = lab.start();
    for n in 0..20 {
        agent.publish("topic=down&priority=9&session=m1/s", format!("pinned {n}").as_bytes());
        agent.publish("topic=up", format!("routed {n}").as_bytes());
        agent.publish("topic=up&session=m0/s", format!("pinned to the other {n}").as_bytes());
    }
    assert!(lab.subscriber.has_within(40, PATIENCE));
    until("the pinned ones alone to be left", || (agent.queued() == 20).then_some(()));
    assert!(lab.subscriber.messages().iter().all(|message| message.topic == "up"));
    lab.sims.push(lab.plug_in(1, &[]));
    agent.drained();
    assert_eq!(lab.subscriber.wait(60).len(), 60);
}

#[test]
fn a_damaged_queue_is_found_by_fsck_and_survived_by_the_agent() {
    let lab = Lab::without_modems(1);
    let mut agent = lab.site.start();
    for n in 0..40 {
        agent.publish(&format!("topic=t/{n}"), &[b'x'; 3_000]);
    }
    agent.process.signal(Signal::TERM);
    assert!(agent.process.end_within(PATIENCE).is_some());
    let file = store(&lab.site).join("queue.db");
    let length = file.metadata().unwrap().len();
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .write_all_at(&[0x5a; 2048], length / 4 / 2048 * 2048)
        .unwrap();
    let config = lab.site.file();
    let (status, told) = code(&["fsck", "--config", config.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{told}");

    // No modem is plugged in, so nothing is leased: the check after an unclean stop finds the
    // damage.
    let mut agent = lab.site.start();
    agent.publish("topic=later", b"x");
    agent.process.kill();
    let agent = lab.site.start();
    let damage = "the damage to be met and counted";
    until(damage, || (agent.sum("modemfleet_queue_corruptions_total", &[]) > 0.0).then_some(()));
    let lost = agent.sum("modemfleet_queue_dropped_total", &[("reason", "damaged")]);
    assert!(lost < 20.0, "{lost}");
    assert_eq!(lost + f64::from(u32::try_from(agent.queued()).unwrap()), 41.0);
    assert!(out(&["fsck", "--config", config.to_str().unwrap()]).contains("is sound"));
}
