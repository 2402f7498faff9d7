//! Each fault does as its name says, and none acknowledges a message that the broker did not acknowledge.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Bench, Broker, Host, Peer, in_memory, sim7600};
use modem_sim::{Fault, Faults, Model, Options};
use tokio::{
    io::{AsyncReadExt, duplex},
    time::{Duration, timeout},
};

const INSTANT: Duration = Duration::from_millis(10);

/// Returns a modem without echo, and then with this fault at every step.
async fn with(fault: Fault, options: Options) -> (Bench, Host) {
    let (bench, mut host) = in_memory(options);
    host.ask("ATE0", "OK\r\n").await;
    bench.handle.set(fault, 1.0).await.unwrap();
    (bench, host)
}

#[tokio::test]
async fn silence_swallows_the_command() {
    let (bench, mut host) = with(Fault::Silence, sim7600()).await;
    host.write("AT+CMQTTSTART\r").await;
    host.silent(INSTANT).await;
    bench.handle.set(Fault::Silence, 0.0).await.unwrap();
    host.ask("AT+CMQTTSTART", "+CMQTTSTART: 0\r\n\r\nOK\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn late_delays_the_answer_and_those_behind_it() {
    let (bench, mut host) = with(Fault::Late, sim7600()).await;
    let start = tokio::time::Instant::now();
    host.write("AT+CSQ\r").await;
    host.silent(Duration::from_millis(4_900)).await;
    bench.handle.set(Fault::Late, 0.0).await.unwrap();
    host.write("AT+CGMR\r").await;
    assert_eq!(host.until("OK\r\n").await, b"\r\n+CSQ: 22,99\r\n\r\nOK\r\n");
    host.until("+CGMR: LE20B04SIM7600G22\r\n\r\nOK\r\n").await;
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn garbage_stands_before_an_answer() {
    let (_bench, mut host) = with(Fault::Garbage, sim7600()).await;
    host.write("AT\r").await;
    let answer = host.until("\r\nOK\r\n").await;
    assert!(answer.len() > 6, "{answer:?}");
    host.write("AT+CCERTDOWN=\"ca.pem\",2\r").await;
    let prompt = host.until("\r\n>").await;
    assert!(prompt.len() > 3, "{prompt:?}");
}

#[tokio::test]
async fn a_urc_stands_inside_an_answer() {
    let (_bench, mut host) = with(Fault::Urc, sim7600()).await;
    let (mut before, mut after) = (0, 0);
    for _ in 0..50 {
        let answer = host.ask("AT+CGMM", "\r\nOK\r\n").await;
        let lines: Vec<_> = answer.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 3, "{answer}");
        before += usize::from(lines[1] == "SIMCOM_SIM7600G-H");
        after += usize::from(lines[0] == "SIMCOM_SIM7600G-H");
    }
    assert!(before > 5 && after > 5 && before + after == 50, "{before} {after}");
}

#[tokio::test(start_paused = true)]
async fn a_late_prompt_finds_the_data_already_taken() {
    let (_bench, mut host) = with(Fault::LatePrompt, sim7600()).await;
    host.write("AT+CCERTDOWN=\"ca.pem\",4\r").await;
    host.silent(Duration::from_secs(4)).await;
    host.write("\r\r\r\rAT+CCERTLIST\r").await;
    let all = "\r\n>\r\nOK\r\n\r\n+CCERTLIST: \"ca.pem\"\r\n\r\nOK\r\n";
    assert_eq!(host.until("pem\"\r\n\r\nOK\r\n").await, all.as_bytes());
}

#[tokio::test]
async fn no_prompt_leaves_command_mode() {
    let (_bench, mut host) = with(Fault::NoPrompt, sim7600()).await;
    host.write("AT+CCERTDOWN=\"ca.pem\",4\r").await;
    host.silent(INSTANT).await;
    host.write("\r\r\r\r").await;
    assert_eq!(host.ask("AT+CSQ", "OK\r\n").await, "\r\n+CSQ: 22,99\r\n\r\nOK\r\n");
}

#[tokio::test]
async fn a_reset_boots_and_forgets() {
    let (bench, mut host) = with(Fault::Reset, sim7600()).await;
    let boot = host.ask("AT+CMQTTSTART", "PB DONE\r\n").await;
    assert_eq!(boot, "\r\nRDY\r\n\r\n+CPIN: READY\r\n\r\nSMS DONE\r\n\r\nPB DONE\r\n");
    bench.handle.set(Fault::Reset, 0.0).await.unwrap();
    assert_eq!(host.ask("AT+CMEE?", "OK\r\n").await, "AT+CMEE?\r\r\n+CMEE: 2\r\n\r\nOK\r\n");
}

#[tokio::test]
async fn an_unplug_closes_the_wire() {
    let (bench, mut host) = with(Fault::Unplug, sim7600()).await;
    host.write("AT\r").await;
    let mut byte = [0];
    assert_eq!(host.wire.read(&mut byte).await.unwrap(), 0);
    bench.handle.set(Fault::Unplug, 0.0).await.unwrap();
    let (ours, theirs) = duplex(4_096);
    bench.handle.attach(theirs).await.unwrap();
    bench.handle.plug().await.unwrap();
    let mut host = Host::new(ours);
    host.until("\r\nPB DONE\r\n").await;
    host.ask("AT", "OK\r\n").await;
}

#[tokio::test]
async fn results_come_before_ok_and_ok_before_results() {
    let broker = Broker::open().await;
    let (bench, mut host) = with(Fault::OkFirst, broker.options()).await;
    let start = host.ask("AT+CMQTTSTART", "START: 0\r\n").await;
    assert_eq!(start, "\r\nOK\r\n\r\n+CMQTTSTART: 0\r\n");
    bench.handle.set(Fault::OkFirst, 0.0).await.unwrap();
    bench.handle.set(Fault::ResultFirst, 1.0).await.unwrap();
    host.ok("AT+CMQTTACCQ=0,\"c\"").await;
    // The second command waits for the end of the first.
    host.write(format!("{}\rAT+CSQ\r", common::CONNECT)).await;
    let answers = "\r\n+CMQTTCONNECT: 0,0\r\n\r\nOK\r\n\r\n+CSQ: 22,99\r\n\r\nOK\r\n";
    assert_eq!(host.until("99\r\n\r\nOK\r\n").await, answers.as_bytes());
    host.publish("t", b"x").await;
    assert_eq!(host.until("OK\r\n").await, b"\r\n+CMQTTPUB: 0,0\r\n\r\nOK\r\n");
}

#[tokio::test]
async fn lost_drops_the_connection_and_tells_it() {
    let broker = Broker::open().await;
    let (bench, mut host) = in_memory(broker.options());
    host.connect("c").await;
    bench.handle.set(Fault::Lost, 1.0).await.unwrap();
    let answer = host.ask("AT+CSQ", "OK\r\n").await;
    assert_eq!(answer, "\r\n+CMQTTCONNLOST: 0,1\r\n\r\n+CSQ: 22,99\r\n\r\nOK\r\n");
}

#[tokio::test]
async fn a_refused_publish_does_not_reach_the_broker() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let (bench, mut host) = in_memory(broker.options());
    host.connect("c").await;
    bench.handle.set(Fault::PubError, 1.0).await.unwrap();
    host.publish("t", b"refused").await;
    let refused = String::from_utf8(host.until("\r\nOK\r\n").await).unwrap();
    assert_eq!(refused, "\r\nOK\r\n");
    let result = String::from_utf8(host.until("\r\n+CMQTTPUB: 0,").await).unwrap();
    assert_eq!(result.len(), 15);
    host.until("\r\n").await;
    bench.handle.set(Fault::PubError, 0.0).await.unwrap();
    host.publish("t", b"taken").await;
    host.until("+CMQTTPUB: 0,0\r\n").await;
    assert_eq!(peer.message().await.1, b"taken");
    assert_eq!(bench.handle.publish_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn split_answers_come_in_pieces() {
    let (_bench, mut host) = with(Fault::Split, sim7600()).await;
    host.write("AT+CGMM\r").await;
    let mut buffer = [0; 100];
    let first = host.wire.read(&mut buffer).await.unwrap();
    assert!((1..=7).contains(&first), "{first}");
    host.seen.extend_from_slice(&buffer[..first]);
    assert_eq!(host.until("OK\r\n").await, b"\r\nSIMCOM_SIM7600G-H\r\n\r\nOK\r\n");
}

#[tokio::test]
async fn under_all_faults_no_acknowledgement_is_a_lie() {
    let broker = Broker::open().await;
    let mut peer = Peer::new(&broker).await;
    let faults = Fault::ALL.into_iter().fold(Faults::none(), |f, fault| f.with(fault, 0.05));
    let short = Duration::from_millis(2);
    let options = Options {
        model: Model::Sim8200,
        seed: 3,
        faults,
        late: short,
        unplugged: short,
        ..broker.options()
    };
    let (bench, _) = in_memory(options);
    let (mut acknowledged, mut attempts) = (Vec::new(), 0);
    while acknowledged.len() < 10 {
        attempts += 1;
        assert!(attempts < 3_000, "no progress: {acknowledged:?}");
        let (ours, theirs) = duplex(16 * 1_024);
        bench.handle.plug().await.unwrap();
        bench.handle.attach(theirs).await.unwrap();
        let payload = format!("{attempts:06}");
        if attempt(&mut Host::new(ours), &payload).await.is_some() {
            acknowledged.push(payload.into_bytes());
        }
    }
    let mut arrived = Vec::new();
    while !acknowledged.iter().all(|payload| arrived.contains(payload)) {
        arrived.push(peer.message().await.1);
    }
}

/// Runs a try from nothing to an acknowledged publish; gives up at the first failure.
async fn attempt(host: &mut Host, payload: &str) -> Option<()> {
    use tokio::io::AsyncWriteExt;
    let steps: [(&str, &str); 11] = [
        // Leaves a prompt, and all state of an earlier attempt.
        ("\r\r\r\r\r\r\r\r\rATE0", "OK\r\n"),
        ("AT+CMQTTDISC=0,0", "\r\n"),
        ("AT+CMQTTREL=0", "\r\n"),
        ("AT+CMQTTSTART", "\r\n"),
        ("AT+CMQTTACCQ=0,\"c\"", "OK\r\n"),
        (common::CONNECT, "+CMQTTCONNECT: 0,0\r\n"),
        ("AT+CMQTTTOPIC=0,1", ">"),
        ("t", "OK\r\n"),
        ("AT+CMQTTPAYLOAD=0,6", ">"),
        (payload, "OK\r\n"),
        ("AT+CMQTTPUB=0,1,60", "+CMQTTPUB: 0,0\r\n"),
    ];
    for (line, end) in steps {
        let is_data = line.len() <= 6;
        let line = if is_data { line.to_owned() } else { format!("{line}\r") };
        host.wire.write_all(line.as_bytes()).await.ok()?;
        seen(host, end).await?;
        // Let stragglers arrive, so that no answer is taken for the answer of the next command.
        if end != ">" {
            drop(timeout(Duration::from_millis(4), host.wire.read_buf(&mut host.seen)).await);
        }
        host.seen.clear();
    }
    Some(())
}

async fn seen(host: &mut Host, end: &str) -> Option<()> {
    let wait = async {
        while !host.seen.windows(end.len()).any(|window| window == end.as_bytes()) {
            if host.wire.read_buf(&mut host.seen).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    };
    timeout(Duration::from_millis(20), wait).await.ok()?
}
