//! The MQTT listener: the bytes of one or several clients, in the order in which they come.

use std::sync::Arc;
use std::time::Duration;

use agent::messages::downlink::{Downlink, Message};
use agent::mqtt::{Serving, Users, serve_in_memory};
use fleet::{Name, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf, duplex, split};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::place::wait_for;

/// The beginning of a mark; the byte behind it is its kind. No packet of MQTT begins so, and few
/// contain it.
const MARK: [u8; 2] = [0xff, 0xfe];

/// The most clients of one script, so that an input is tried in milliseconds.
const CLIENTS: usize = 6;
/// The most marks of one script.
const STEPS: usize = 64;

/// Bytes on their way in one direction: more than a packet has.
const PIPE: usize = 64 * 1024;

/// Turns of this thread's tasks after which sent bytes are read.
const TURNS: usize = 4;

/// The longest time for one script, which waits only for the disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// A part of a script, between its marks.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    /// The client sends these bytes at once.
    Send(&'a [u8]),
    /// The client leaves, once it is answered, and the next client comes.
    Next,
    /// Another client comes while this one stays.
    Beside,
    /// A session receives a message on the topic `a/b`.
    Deliver,
    /// All bytes so far are answered before more of them come.
    Settle,
}

/// Splits an input into steps. Its first byte chooses the gateway and is left out here.
fn steps(mut input: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < 2 * STEPS {
        let mark = input.windows(MARK.len()).position(|two| two == MARK);
        let (bytes, rest) = input.split_at(mark.unwrap_or(input.len()));
        if !bytes.is_empty() {
            steps.push(Step::Send(bytes));
        }
        let Some((what, rest)) = rest.get(MARK.len()..).and_then(<[u8]>::split_first) else {
            break;
        };
        steps.push(match what % 4 {
            0 => Step::Next,
            1 => Step::Beside,
            2 => Step::Deliver,
            _ => Step::Settle,
        });
        input = rest;
    }
    steps
}

/// Serves the clients of a script. With an odd first byte they meet a new gateway with an inbox.
/// Otherwise they meet a gateway without one, which keeps the messages of earlier inputs in its
/// queue.
pub fn run(input: &[u8]) {
    thread_local! {
        static COMMON: Gateway = Gateway::new(false);
    }
    let Some((first, script)) = input.split_first() else { return };
    let steps = steps(script);
    let play = |gateway: &Gateway| {
        let played = async { timeout(PATIENCE, play(gateway, &steps)).await };
        wait_for(played).expect("the listener answers, or ends the connection");
    };
    match first & 1 {
        0 => COMMON.with(play),
        _ => {
            let gateway = Gateway::new(true);
            play(&gateway);
            wait_for(gateway.close());
        }
    }
}

fn serving(gateway: &Gateway) -> Arc<Serving> {
    let (stop, users) = (CancellationToken::new(), watch::channel(Users::default()).1);
    let (hand_in, metrics) = (gateway.hand_in(&stop), Arc::clone(&gateway.metrics));
    Serving::new(hand_in, gateway.downlink.clone(), users, metrics, stop)
}

async fn play(gateway: &Gateway, steps: &[Step<'_>]) {
    let serving = serving(gateway);
    let mut tasks = JoinSet::new();
    let mut client = Client::connect(&serving, &mut tasks);
    let mut others = Vec::new();
    for step in steps {
        match step {
            Step::Send(bytes) => client.send(bytes).await,
            Step::Next | Step::Beside if others.len() + 1 == CLIENTS => break,
            Step::Next => {
                client.leave().await;
                others.push(std::mem::replace(&mut client, Client::connect(&serving, &mut tasks)));
            }
            Step::Beside => {
                others.push(std::mem::replace(&mut client, Client::connect(&serving, &mut tasks)));
            }
            Step::Deliver => deliver(&gateway.downlink),
            Step::Settle => gateway.settle().await,
        }
        // Sent bytes are read before more come, so that reads end as in the script.
        for _ in 0..TURNS {
            yield_now().await;
        }
    }
    for client in others.iter_mut().chain([&mut client]) {
        client.leave().await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no connection panics");
    }
}

fn deliver(downlink: &Downlink) {
    let name = |name| Name::new(name).expect("a good name");
    let session = SessionId { modem: name("m"), session: name("s") };
    let (topic, payload) = ("a/b".to_owned(), "down".into());
    downlink.deliver(Message { session, topic, qos: 1, payload });
}

/// The other end of a connection.
struct Client {
    stream: Option<WriteHalf<DuplexStream>>,
    /// Becomes true once the listener has closed the connection.
    closed: watch::Receiver<bool>,
}

impl Client {
    fn connect(serving: &Arc<Serving>, tasks: &mut JoinSet<()>) -> Self {
        let (ours, theirs) = duplex(PIPE);
        let (mut read, write) = split(ours);
        let (ended, closed) = watch::channel(false);
        tasks.spawn(serve_in_memory(theirs, Arc::clone(serving)));
        tasks.spawn(async move {
            let mut said = Vec::new();
            // A pipe in memory has no errors.
            read.read_to_end(&mut said).await.expect("the end of what is said");
            judge(&said);
            ended.send_replace(true);
        });
        Self { stream: Some(write), closed }
    }

    async fn send(&mut self, bytes: &[u8]) {
        if let Some(stream) = &mut self.stream
            && stream.write_all(bytes).await.is_err()
        {
            self.stream = None;
        }
    }

    /// Closes the connection, and waits until the listener has closed it too.
    async fn leave(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            // An error means that the listener has closed the connection.
            drop(stream.shutdown().await);
        }
        drop(self.closed.wait_for(|closed| *closed).await);
    }
}

/// Panics unless the listener's bytes are whole packets that a server may send, with one CONNACK as
/// the first.
fn judge(mut said: &[u8]) {
    let whole = said;
    let mut is_first = true;
    while let Some((first, rest)) = said.split_first() {
        let (length, rest) =
            remaining_length(rest).unwrap_or_else(|| panic!("no length: {whole:02x?}"));
        assert!(rest.len() >= length, "the last packet is cut: {whole:02x?}");
        // CONNACK, PUBLISH, PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK, PINGRESP, DISCONNECT.
        assert!(
            [2, 3, 4, 5, 7, 9, 11, 13, 14].contains(&(first >> 4)),
            "{first:02x} of {whole:02x?}"
        );
        assert_eq!(is_first, first >> 4 == 2, "CONNACK is the first packet only: {whole:02x?}");
        (is_first, said) = (false, rest.split_at(length).1);
    }
}

/// Returns the remaining length of a packet (MQTT 3.1.1 §2.2.3), and the bytes after it.
fn remaining_length(said: &[u8]) -> Option<(usize, &[u8])> {
    let last = said.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let (digits, rest) = said.split_at(last + 1);
    let length =
        digits.iter().rev().fold(0, |length, digit| length << 7 | usize::from(digit & 0x7f));
    Some((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_taken_apart_at_its_marks() {
        let script = b"ab\xff\xfe\x00c\xff\xfe\x02\xff\xfe\x07\xff\xfe";
        let wanted = [Step::Send(b"ab"), Step::Next, Step::Send(b"c"), Step::Deliver, Step::Settle];
        assert_eq!(steps(script), wanted);
    }

    #[test]
    fn what_a_server_says_is_accepted() {
        judge(&[0x20, 2, 0, 0, 0x40, 2, 0, 1, 0xd0, 0]);
        judge(&[]);
    }

    #[test]
    #[should_panic(expected = "the last packet is cut")]
    fn half_a_packet_is_a_finding() {
        judge(&[0x20, 2, 0, 0, 0x40, 2, 0]);
    }

    #[test]
    #[should_panic(expected = "CONNACK is the first packet only")]
    fn an_answer_before_connack_is_a_finding() {
        judge(&[0x40, 2, 0, 1]);
    }
}
