//! The agent's rate beside a loop that only writes the same bytes and waits for the same answers.
//! Both use the same kind of pty and the same broker, in the same run.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::lab::{Lab, now, thread_sleep, wait_until};

/// Arguments of `bench publish-rate`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Messages of each measurement.
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
    /// The number of measurements of both, in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// The payload of each message.
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// The interval at which the agent's publishes are counted.
const COUNT: Duration = Duration::from_millis(100);

/// The least share of the bare loop's rate.
const AIM: f64 = 0.8;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "{} messages of {} bytes, QoS 1, zero-latency SIM7600, polls off",
        arguments.messages,
        PAYLOAD.len()
    );
    let mut ratios = Vec::new();
    for round in 1..=arguments.rounds {
        let lab = Lab::new()?;
        let bare = bare_loop(&lab, arguments.messages)?;
        let agent = agent(&lab, arguments.messages)?;
        let ratio = agent / bare;
        println!("round {round}: bare loop {bare:.0}/s, agent {agent:.0}/s, ratio {ratio:.2}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().context("no rounds")?;
    println!("median ratio {median:.2} (aim: at least {AIM})");
    ensure!(median >= AIM, "the median ratio {median:.2} is below {AIM}");
    Ok(())
}

fn rate(messages: usize, took: Duration) -> f64 {
    // A count of messages is far below 2^32.
    f64::from(u32::try_from(messages).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// Measures the agent: the queue is filled before the modem is plugged in.
fn agent(lab: &Lab, messages: usize) -> anyhow::Result<f64> {
    let agent = lab.agent(1, "1h", "warn")?;
    agent.hand_in("rate", &PAYLOAD, messages)?;
    let _sim = lab.sim(1, &[])?;
    wait_until("the first publish", Duration::from_secs(10), || {
        agent.publishes("ok").is_ok_and(|ok| ok > 0.0)
    })?;
    let (first, started) = (agent.publishes("ok")?, now());
    let all = f64::from(u32::try_from(messages).unwrap_or(u32::MAX));
    // Between two counts, the last of them before the queue is empty. Counts are rare, since each
    // scrape is work of the agent that the bare loop does not have.
    let (mut last, mut took) = (first, Duration::ZERO);
    while last < all {
        ensure!(took < Duration::from_secs(300), "{last} of {all} published after {took:?}");
        thread_sleep(COUNT);
        let (count, elapsed) = (agent.publishes("ok")?, started.elapsed());
        if count >= all && took > Duration::ZERO {
            break;
        }
        (last, took) = (count, elapsed);
    }
    Ok((last - first) / took.as_secs_f64())
}

/// Measures the bare loop, on a pty of the same kind.
fn bare_loop(lab: &Lab, messages: usize) -> anyhow::Result<f64> {
    let sim = lab.sim(1, &[])?;
    let mut line = Line::open(&lab.path("sim").join("modem0"))?;
    line.ask("ATE0\r", &["OK"])?;
    line.ask("AT+CMQTTSTART\r", &["+CMQTTSTART: 0", "OK"])?;
    line.ask("AT+CMQTTACCQ=0,\"bare\",0,4\r", &["OK"])?;
    line.ask("AT+CMQTTCONNECT=0,\"tcp://broker:1883\",60,1\r", &["OK", "+CMQTTCONNECT: 0,0"])?;
    let started = now();
    for number in 0..messages {
        let topic = format!("rate/{number}");
        line.ask(&format!("AT+CMQTTTOPIC=0,{}\r", topic.len()), &[">"])?;
        line.ask(&topic, &["OK"])?;
        line.ask(&format!("AT+CMQTTPAYLOAD=0,{}\r", PAYLOAD.len()), &[">"])?;
        line.ask(std::str::from_utf8(&PAYLOAD)?, &["OK"])?;
        line.ask("AT+CMQTTPUB=0,1,60\r", &["OK", "+CMQTTPUB: 0,0"])?;
    }
    let took = started.elapsed();
    drop(sim);
    Ok(rate(messages, took))
}

/// A tty without a protocol engine.
struct Line {
    tty: File,
    heard: Vec<u8>,
}

impl Line {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let tty = File::options().read(true).write(true).open(path);
        Ok(Self {
            tty: tty.with_context(|| format!("cannot open {}", path.display()))?,
            heard: Vec::new(),
        })
    }

    /// Writes, and reads until each of `answers` has come, in this order.
    fn ask(&mut self, bytes: &str, answers: &[&str]) -> anyhow::Result<()> {
        self.tty.write_all(bytes.as_bytes())?;
        for answer in answers {
            loop {
                let found =
                    self.heard.windows(answer.len()).position(|window| window == answer.as_bytes());
                if let Some(at) = found {
                    self.heard.drain(..at + answer.len());
                    break;
                }
                let mut buffer = [0; 4096];
                let count = self.tty.read(&mut buffer)?;
                ensure!(count > 0, "the tty closed");
                self.heard.extend(buffer.iter().take(count));
            }
        }
        Ok(())
    }
}
