//! The port task: the order of exchanges, the owner of each answer, and the effect of a peer that
//! misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use at::{Answer, Exchange, Failure, Framing, Reply, ResultLine, WaitingFor};
use common::Counts;
use modem::attach::{ApnLogin, ApnProtocol, authenticate};
use modem::catalog::ApnAuth;
use modem::foreign::Protocol;
use modem::observe::Observer;
use modem::port::{At, ExchangeError, Kind, Port, PortEnd, PortEvent};
use modem::reply::PdpType;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing_subscriber::fmt::MakeWriter;

type Outcome = Result<Reply, ExchangeError>;

const PATIENCE: Duration = Duration::from_secs(3);

/// A port in step, and the modem's end of its wire.
struct Rig {
    at: At,
    peer: DuplexStream,
    events: mpsc::Receiver<PortEvent>,
    port: JoinSet<PortEnd>,
    callers: JoinSet<Outcome>,
    counts: Arc<Counts>,
}

impl Rig {
    async fn new(buffer: usize) -> Self {
        let (ours, peer) = duplex(buffer);
        Self::on(ours, peer).await
    }

    async fn on(ours: impl AsyncRead + AsyncWrite + Send + 'static, peer: DuplexStream) -> Self {
        let counts = Arc::new(Counts::default());
        let observer: Arc<dyn Observer> = Arc::<Counts>::clone(&counts);
        let (task, at, events) = Port::new(ours, Framing::default(), observer);
        let mut port = JoinSet::new();
        port.spawn(task.run());
        let callers = JoinSet::new();
        let mut rig = Self { at, peer, events, port, callers, counts };
        rig.hear("AT+CGMM").await;
        rig.say("UNIT||OK").await;
        let told = rig.events.recv().await;
        assert!(matches!(told, Some(PortEvent::InStep { answer }) if answer == "UNIT"));
        rig
    }

    /// Waits until the port has written this command, and only this.
    async fn hear(&mut self, command: &str) {
        let mut heard = Vec::new();
        while !heard.ends_with(format!("{command}\r").as_bytes()) {
            let more = timeout(Duration::from_secs(60), self.peer.read_buf(&mut heard)).await;
            more.unwrap_or_else(|_| panic!("{:?} instead of {command}", text(&heard))).unwrap();
        }
        let heard = text(&heard);
        assert_eq!(heard.trim_matches('\r'), command);
    }

    /// Sends lines from the modem; `|` ends a line.
    async fn say(&mut self, words: &str) {
        let words = format!("\r\n{}\r\n", words.replace('|', "\r\n"));
        self.peer.write_all(words.as_bytes()).await.unwrap();
    }

    /// Adds a caller, whose exchange is with the port once this returns.
    async fn call(&mut self, kind: Kind, exchange: Exchange) -> tokio::task::AbortHandle {
        let at = self.at.clone();
        let caller = self.callers.spawn(async move { at.run(kind, exchange).await });
        settle().await;
        caller
    }

    /// Returns the outcome of the next caller to end.
    async fn ended(&mut self) -> Outcome {
        self.callers.join_next().await.unwrap().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lets every task run until it waits. The clock is paused, so nothing times out meanwhile.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn command(line: &str) -> Exchange {
    Exchange::new(line, PATIENCE).unwrap().answer(Answer::Any)
}

fn publish(line: &str) -> Exchange {
    let result = ResultLine { prefix: "+PUB:", first: None, ..ResultLine::BLANK };
    Exchange::new(line, PATIENCE).unwrap().result(result, Duration::from_secs(60)).lane("mqtt")
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_before_its_turn_withdraws() {
    let mut rig = Rig::new(1024).await;
    rig.call(Kind::Basic, command("AT+A")).await;
    let withdrawn = rig.call(Kind::Basic, command("AT+B")).await;
    rig.call(Kind::Basic, command("AT+C")).await;
    withdrawn.abort();
    settle().await;
    rig.hear("AT+A").await;
    rig.say("OK").await;
    rig.hear("AT+C").await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_after_its_start_leaves_no_prompt_behind() {
    let mut rig = Rig::new(1024).await;
    let dropped = rig.call(Kind::Prompt, command("AT+A=4").prompt("data")).await;
    rig.hear("AT+A=4").await;
    dropped.abort();
    rig.call(Kind::Basic, command("AT+B")).await;
    rig.peer.write_all(b"\r\n>").await.unwrap();
    let mut data = [0; 4];
    rig.peer.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"data");
    rig.say("+A: theirs||OK").await;
    rig.hear("AT+B").await;
    rig.say("+B: ours||OK").await;
    while let Some(ended) = rig.callers.join_next().await {
        match ended {
            Ok(outcome) => assert_eq!(outcome.unwrap().lines, ["+B: ours"]),
            Err(error) => assert!(error.is_cancelled()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn status_waits_while_anything_else_can_run() {
    let mut rig = Rig::new(1024).await;
    rig.call(Kind::Basic, command("AT+A")).await;
    rig.call(Kind::Status, command("AT+POLL")).await;
    rig.call(Kind::Prompt, command("AT+B")).await;
    rig.call(Kind::Publish, command("AT+C")).await;
    for line in ["AT+A", "AT+B", "AT+C", "AT+POLL"] {
        rig.hear(line).await;
        rig.say("OK").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pending_result_holds_up_its_own_lane_only() {
    let mut rig = Rig::new(1024).await;
    rig.call(Kind::Publish, publish("AT+PUB=1")).await;
    rig.hear("AT+PUB=1").await;
    rig.say("OK").await;
    rig.call(Kind::Publish, publish("AT+PUB=2")).await;
    rig.call(Kind::Status, command("AT+POLL")).await;
    rig.hear("AT+POLL").await;
    rig.say("+PUB: 0|+POLL: 5||OK").await;
    assert_eq!(rig.ended().await.unwrap().result.as_deref(), Some("+PUB: 0"));
    assert_eq!(rig.ended().await.unwrap().lines, ["+POLL: 5"]);
    rig.hear("AT+PUB=2").await;
}

#[tokio::test(start_paused = true)]
async fn a_sequence_keeps_what_belongs_together() {
    let mut rig = Rig::new(1024).await;
    for name in ["1", "2"] {
        let at = rig.at.clone();
        rig.callers.spawn(async move {
            let _turn = at.sequence().await?;
            at.run(Kind::Prompt, command(&format!("AT+TOPIC={name}"))).await?;
            at.run(Kind::Publish, publish(&format!("AT+PUB={name}"))).await
        });
    }
    for name in ["1", "2"] {
        rig.hear(&format!("AT+TOPIC={name}")).await;
        rig.say("OK").await;
        rig.hear(&format!("AT+PUB={name}")).await;
        rig.say("OK|+PUB: 0").await;
        rig.ended().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_stops_neither_reads_nor_deadlines() {
    let mut rig = Rig::new(64).await;
    let long = format!("AT+A={}", "x".repeat(1_000));
    rig.call(Kind::Basic, command(&long).answer(Answer::Bare)).await;
    rig.say("+NEWS: 1").await;
    let told = timeout(Duration::from_secs(1), rig.events.recv()).await.unwrap();
    assert!(matches!(told, Some(PortEvent::Urc(urc)) if urc.line == "+NEWS: 1"));
    let ended = timeout(PATIENCE + Duration::from_secs(1), rig.ended()).await.unwrap();
    let timed_out = Failure::Timeout(WaitingFor::FinalCode);
    assert!(matches!(ended, Err(ExchangeError::Failed { failure, .. }) if failure == timed_out));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_port_is_told_to_all() {
    let mut rig = Rig::new(1024).await;
    rig.call(Kind::Publish, publish("AT+PUB=1")).await;
    rig.hear("AT+PUB=1").await;
    rig.say("OK").await; // pending
    rig.call(Kind::Basic, command("AT+A")).await; // in flight
    rig.hear("AT+A").await;
    rig.call(Kind::Basic, command("AT+B")).await; // waiting
    let Rig { at, peer, mut events, mut port, mut callers, .. } = rig;
    drop(peer);
    assert!(matches!(port.join_next().await, Some(Ok(PortEnd::Gone(_)))));
    for _ in 0..3 {
        let ended = callers.join_next().await.unwrap().unwrap();
        let failure = ended.unwrap_err();
        assert!(matches!(
            failure,
            ExchangeError::Gone | ExchangeError::Failed { failure: Failure::Closed, .. }
        ));
    }
    assert!(matches!(at.run(Kind::Basic, command("AT+C")).await, Err(ExchangeError::Gone)));
    assert!(events.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_modem_that_answers_nothing_any_more_is_mute_after_half_a_minute() {
    let mut rig = Rig::new(64 * 1024).await;
    rig.call(Kind::Basic, command("AT+A")).await;
    rig.hear("AT+A").await;
    let early = timeout(Duration::from_secs(29), rig.port.join_next()).await;
    assert!(early.is_err(), "it may be busy");
    let mute = timeout(Duration::from_secs(10), rig.port.join_next()).await.unwrap();
    assert!(matches!(mute, Some(Ok(PortEnd::Mute))));
    assert!(rig.ended().await.is_err());
}

/// The alert on desyncs points to a cable: a question that only makes sure is counted apart.
#[tokio::test(start_paused = true)]
async fn a_precaution_is_no_desync() {
    let mut rig = Rig::new(64 * 1024).await;
    let counts = Arc::clone(&rig.counts);
    let counted = move || {
        (counts.desyncs.load(Ordering::Relaxed), counts.precautions.load(Ordering::Relaxed))
    };
    rig.at.doubt().await;
    rig.hear("AT+CGMM").await;
    rig.say("UNIT||OK").await;
    settle().await;
    assert_eq!(counted(), (0, 1), "doubted, as after a refused CONNECT");

    rig.call(Kind::Publish, publish("AT+PUB")).await;
    rig.hear("AT+PUB").await;
    rig.say("OK").await;
    assert!(rig.ended().await.is_err());
    rig.hear("AT+CGMM").await;
    rig.say("UNIT||OK").await;
    settle().await;
    assert_eq!(counted(), (0, 2), "its result stayed out");

    rig.say("OK").await;
    rig.hear("AT+CGMM").await;
    settle().await;
    assert_eq!(counted(), (1, 2), "a stray OK is one");
}

/// A dialect remembers facts of a modem as long as its port is open.
#[tokio::test(start_paused = true)]
async fn a_port_has_one_memory_and_another_port_another() {
    let (one, other) = (Rig::new(64).await, Rig::new(64).await);
    one.at.memory::<AtomicBool>().store(true, Ordering::Relaxed);
    assert!(one.at.clone().memory::<AtomicBool>().load(Ordering::Relaxed));
    assert!(!other.at.memory::<AtomicBool>().load(Ordering::Relaxed));
}

/// Opens a port, and returns it with the other end of its wire.
fn fresh(change: fn(Port<DuplexStream>) -> Port<DuplexStream>) -> (JoinSet<PortEnd>, DuplexStream) {
    let (ours, peer) = duplex(64 * 1024);
    let observer: Arc<dyn Observer> = Arc::new(Counts::default());
    let (task, at, mut events) = Port::new(ours, Framing::default(), observer);
    let mut port = JoinSet::new();
    port.spawn(change(task).run());
    // The owner only listens.
    let mut owner = JoinSet::new();
    owner.spawn(async move {
        while events.recv().await.is_some() {}
        drop(at);
    });
    owner.detach_all();
    (port, peer)
}

const SENTENCE: &[u8] = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";

#[tokio::test(start_paused = true)]
async fn a_port_that_only_tells_positions_is_given_up_soon() {
    let (mut port, mut peer) = fresh(|port| port);
    let end = async {
        loop {
            peer.write_all(SENTENCE).await.unwrap();
            if let Ok(end) = timeout(Duration::from_millis(500), port.join_next()).await {
                return end;
            }
        }
    };
    let end = timeout(Duration::from_secs(3), end).await.unwrap();
    assert!(matches!(end, Some(Ok(PortEnd::Foreign(Protocol::Nmea)))), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn positions_beside_answers_are_no_reason_to_give_a_port_up() {
    let (mut port, mut peer) = fresh(|port| port);
    for _ in 0..4 {
        peer.write_all(SENTENCE).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    peer.write_all(b"\r\nUNIT\r\n\r\nOK\r\n").await.unwrap();
    for _ in 0..20 {
        peer.write_all(SENTENCE).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(port.try_join_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_guess_that_answers_nothing_is_given_up_soon_and_one_that_answers_is_not() {
    let (mut port, _peer) = fresh(Port::as_a_guess);
    let end = timeout(Duration::from_secs(3), port.join_next()).await.unwrap();
    assert!(matches!(end, Some(Ok(PortEnd::Foreign(Protocol::Silence)))), "{end:?}");
    let (mut port, mut peer) = fresh(Port::as_a_guess);
    peer.write_all(b"\r\nUNIT\r\n\r\nOK\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(port.try_join_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_urcs_holds_the_modem_back_and_loses_none() {
    let mut rig = Rig::new(1024 * 1024).await;
    const SAID: u64 = 5_000;
    for number in 0..SAID {
        rig.say(&format!("+NEWS: {number}")).await;
    }
    settle().await;
    let mut read = 0;
    while read < SAID {
        let event = timeout(Duration::from_secs(1), rig.events.recv()).await.unwrap();
        assert!(matches!(event, Some(PortEvent::Urc(urc)) if urc.line == format!("+NEWS: {read}")));
        read += 1;
    }
    rig.call(Kind::Basic, command("AT+A")).await;
    rig.hear("AT+A").await;
    rig.say("OK").await;
    rig.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_port_that_nobody_holds_finishes_and_ends() {
    let mut rig = Rig::new(1024).await;
    rig.call(Kind::Publish, publish("AT+PUB=1")).await;
    rig.hear("AT+PUB=1").await;
    rig.callers.abort_all();
    let Rig { at, mut peer, events, mut port, .. } = rig;
    drop((at, events));
    settle().await;
    assert!(port.try_join_next().is_none(), "the publish is not told yet");
    peer.write_all(b"\r\nOK\r\n\r\n+PUB: 0\r\n").await.unwrap();
    assert!(matches!(port.join_next().await, Some(Ok(PortEnd::Released))));
}

/// A wire that can pour out lines without end, faster than any reader.
struct Flood {
    wire: DuplexStream,
    pours: Arc<AtomicBool>,
}

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.pours.load(Ordering::Relaxed) {
            return Pin::new(&mut self.wire).poll_read(cx, buf);
        }
        // As every real stream does, or no other task would ever run.
        ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        buf.put_slice(b"\r\n+NEWS: 1\r\n");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Not on a paused clock, which stands still while anything can run: a flood always can.
#[tokio::test]
async fn a_flood_starves_neither_writes_nor_deadlines() {
    let (wire, peer) = duplex(1024);
    let pours = Arc::new(AtomicBool::new(false));
    let mut rig = Rig::on(Flood { wire, pours: Arc::clone(&pours) }, peer).await;
    pours.store(true, Ordering::Relaxed);
    rig.say("+WAKE: 1").await; // the wire was asleep
    let short = Exchange::new("AT+A", Duration::from_millis(20)).unwrap().answer(Answer::Any);
    rig.call(Kind::Basic, short).await;
    // On a busy machine the deadline may pass before we look. Then the question of the engine,
    // which is out of step, already stands behind the command.
    let hear = async {
        let mut heard = Vec::new();
        while !text(&heard).contains("AT+A\r") {
            rig.peer.read_buf(&mut heard).await.unwrap();
        }
    };
    let heard = timeout(Duration::from_secs(5), hear).await;
    assert!(heard.is_ok(), "the command is never written");
    let ended = timeout(Duration::from_secs(5), rig.ended()).await;
    assert!(ended.expect("the deadline is never seen").is_err());
}

// --- secrets ---------------------------------------------------------------------------------------

/// Keeps every trace line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Once with an answer, once with an error, each with the echo of the command.
#[tokio::test(start_paused = true)]
async fn no_secret_is_in_any_trace_line() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(lines.clone())
        .finish();
    let _all = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    let mut rig = Rig::new(1024).await;
    for (answer, sent) in [("OK", true), ("+CME ERROR: 16", false)] {
        let pin = command("AT+CPIN=\"47110815\"").shown_as("AT+CPIN=***");
        rig.call(Kind::Basic, pin).await;
        rig.hear("AT+CPIN=\"47110815\"").await;
        rig.say(&format!("AT+CPIN=\"47110815\"|{answer}")).await;
        assert_eq!(rig.ended().await.is_ok(), sent);
        let password = "4711-secret".into();
        let login = ApnLogin {
            cid: 1,
            apn: "internet",
            pdp_type: PdpType::Ipv4,
            protocol: ApnProtocol::Chap,
            login: Some(("user", &password)),
            order: ApnAuth::PasswordFirst,
        };
        let at = rig.at.clone();
        let setting = async { authenticate(&at, &login).await.is_ok() };
        let peer = async {
            let login = "AT+CGAUTH=1,2,\"4711-secret\",\"user\"";
            rig.hear(login).await;
            rig.say(&format!("{login}||{answer}")).await;
        };
        assert_eq!(tokio::join!(setting, peer).0, sent);
    }
    // A file that is printed: bare lines, and lines like URCs, are its contents.
    let file = command("AT+CFTRANTX=\"c:/key.pem\"").answer(Answer::Bare).secret_answer();
    rig.call(Kind::Setup, file).await;
    rig.hear("AT+CFTRANTX=\"c:/key.pem\"").await;
    rig.say("-----BEGIN 4711|MIIE4711|+4711Aa/b||OK").await;
    let reply = rig.ended().await.unwrap();
    assert_eq!(reply.lines, ["-----BEGIN 4711", "MIIE4711"], "who asked sees it");
    let lines = text(&lines.0.lock().unwrap());
    assert!(lines.contains("< AT+CFTRANTX=\"c:/key.pem\": OK"), "{lines}");
    assert!(lines.contains("AT+CPIN=***") && lines.contains("AT+CGAUTH=1,2,***"), "{lines}");
    assert!(!lines.contains("4711"), "{lines}");
}

/// A slow modem answers the questions of an earlier stay on the port too. The last of these answers
/// is not the answer to the next command.
#[tokio::test(start_paused = true)]
async fn questions_of_an_earlier_stay_are_awaited() {
    let questions = Arc::new(AtomicU32::new(0));
    let port = |ours| {
        let observer: Arc<dyn Observer> = Arc::new(Counts::default());
        let (port, at, events) = Port::new(ours, Framing::default(), observer);
        (port.owed(Arc::clone(&questions)), at, events)
    };
    let (ours, _silent) = duplex(1024);
    let (first, _at, _events) = port(ours);
    assert!(matches!(first.run().await, PortEnd::Mute));
    let open = questions.load(Ordering::Relaxed);
    assert!(open > 1, "it was asked more than once");

    let (ours, peer) = duplex(1024);
    let (second, at, events) = port(ours);
    let mut task = JoinSet::new();
    task.spawn(second.run());
    let counts = Arc::default();
    let mut rig = Rig { at, peer, events, port: task, callers: JoinSet::new(), counts };
    rig.hear("AT+CGMM").await;
    rig.call(Kind::Basic, command("AT+A")).await;
    for _ in 0..open {
        rig.say("UNIT||OK").await;
        settle().await;
        assert!(rig.events.try_recv().is_err(), "one answer is still to come");
    }
    rig.say("UNIT||OK").await;
    rig.hear("AT+A").await;
    rig.say("+A: ours||OK").await;
    assert_eq!(rig.ended().await.unwrap().lines, ["+A: ours"]);
    assert_eq!(questions.load(Ordering::Relaxed), 0);
}

/// The text of a text message opens no data mode, and is not passed on.
#[tokio::test(start_paused = true)]
async fn a_text_message_at_a_prompt_is_no_prompt() {
    let mut rig = Rig::new(1024).await;
    rig.call(Kind::Prompt, command("AT+A=4").prompt("data")).await;
    rig.hear("AT+A=4").await;
    rig.say("+CMT: \"+8613\",,\"26/11/29,09:00:00+32\"|>").await;
    settle().await;
    let early = timeout(Duration::from_millis(1), rig.peer.read_u8()).await;
    assert!(early.is_err(), "no data before the prompt");
    let told = rig.events.recv().await;
    assert!(matches!(told, Some(PortEvent::Urc(urc)) if urc.data.as_deref() == Some(b">")));
    rig.peer.write_all(b"\r\n>").await.unwrap();
    let mut data = [0; 4];
    rig.peer.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"data");
    rig.say("+CMT: ,24|ERROR||OK").await;
    assert!(rig.ended().await.is_ok());
}
