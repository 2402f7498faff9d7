//! `modemfleet queue`: shows and changes the queue, whether or not the agent runs.
//!
//! A running agent does it through its API. Otherwise the folder is opened here: without the lock
//! for reading, with the lock for a change.

mod error;
mod fsck;
mod place;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use hyper::Method;
use modem::session::Chain;
use queue::{Inspector, MessageId, Queue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::table::{Cell, Table, Tone};
use crate::end::{output_failed, wrong};
use agent::messages::backlog::{self, BacklogError, PAGE, Selection, Step};
use api::client::{Call, Client, ClientError, Target, converse, encode};
use api::queue::{Changed, Figures, Lane, Message, Page};
use fleet::printable::complain;

use error::QueueError;
use place::{API, Place, Source};

const EXAMPLES: &str = "Examples:
  modemfleet queue stat
  modemfleet queue inspect --set-aside
  modemfleet queue requeue --all --reason poison
  modemfleet queue export --topic 'sensors/#' > backlog.jsonl
  modemfleet queue purge --older-than 7d --yes
  modemfleet queue fsck --dir /var/lib/modemfleet/queue

Exit codes: 0 done, 1 failed, or the queue is damaged, 2 wrong usage or configuration, 3 no agent runs and no folder is named.";

/// Shows and changes the queue of a running or a stopped agent.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the number and size of the messages, by lane.
    Stat {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// List messages, oldest first.
    Inspect {
        /// Print only this message, with all details.
        id: Option<MessageId>,
        #[command(flatten)]
        which: Which,
        /// The maximum number of messages to list; 0 lists all.
        #[arg(long, default_value_t = 50)]
        limit: u64,
        /// Print a line of JSON for each message.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Print messages with their payloads, one line of JSON each.
    Export {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
    },
    /// Put dead letters back into the queue.
    Requeue {
        /// The id of a message.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<MessageId>,
        /// Put back all dead letters, or those that the options select.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Delete messages permanently.
    Purge {
        /// The id of a message.
        id: Option<MessageId>,
        #[command(flatten)]
        which: Which,
        /// Confirm that all messages are deleted, if neither an id nor an option selects some.
        #[arg(long)]
        yes: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Check the queue's folder for damage: every page, every index and every message's checksum.
    Fsck {
        /// Replace a damaged file with its readable messages, and keep the damaged one. No agent may run.
        #[arg(long)]
        repair: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// The selection of messages.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which messages")]
struct Which {
    /// Messages whose topic matches this filter, such as `sensors/#`.
    #[arg(long, value_name = "FILTER", value_parser = topic)]
    topic: Option<String>,
    /// Messages of this lane, as `queue stat` names it.
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Dead letters with this reason: poison, refused or damaged.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Dead letters.
    #[arg(long, conflicts_with = "waiting")]
    set_aside: bool,
    /// Messages that are not dead letters.
    #[arg(long, conflicts_with = "reason")]
    waiting: bool,
    /// Messages that were published at least this long ago, such as 12h.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

fn topic(text: &str) -> Result<String, &'static str> {
    fleet::check_filter(text).map(|()| text.to_owned())
}

impl Which {
    fn selection(&self, id: Option<MessageId>) -> Selection {
        let aside = if self.set_aside { Some(true) } else { self.waiting.then_some(false) };
        Selection {
            id,
            lane: self.lane.clone(),
            topic: self.topic.clone(),
            aside,
            reason: self.reason.clone(),
            older_than: self.older_than,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let done = match &args.action {
        Action::Fsck { repair, json, place } => fsck::run(place, *repair, *json),
        action => converse(act(action)).map_err(QueueError::Io).and_then(|done| done),
    };
    let error = match done {
        Ok(code) => return code,
        Err(error) => error,
    };
    let code = match &error {
        QueueError::Io(error) => return output_failed(error),
        QueueError::Target(_) | QueueError::Usage(_) => wrong(),
        QueueError::Client(error) => error.code(),
        _ => ExitCode::FAILURE,
    };
    complain(&Chain(&error).to_string());
    code
}

async fn act(action: &Action) -> Result<ExitCode, QueueError> {
    match action {
        Action::Stat { json, place } => stat(place, *json).await?,
        Action::Inspect { id, which, limit, json, place } => {
            inspect(place, &which.selection(*id), *limit, *json).await?;
        }
        Action::Export { which, place } => export(place, &which.selection(None)).await?,
        Action::Requeue { id, which, json, place, .. } => {
            change(place, Change::Requeue, &which.selection(*id), *json).await?;
        }
        Action::Purge { id, which, yes, json, place } => {
            let selection = which.selection(*id);
            if selection.is_everything() && !yes {
                let words = "this would delete every message: select some, or give `--yes`";
                return Err(QueueError::Usage(words));
            }
            change(place, Change::Purge, &selection, *json).await?;
        }
        Action::Fsck { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the output of `queue stat --json`, or the reason why there is none.
pub(super) async fn report(target: &Target) -> Result<Value, String> {
    let place = Place { target: target.clone(), dir: None };
    figures(&place).await.map_err(|error| Chain(&error).to_string())
}

async fn figures(place: &Place) -> Result<Value, QueueError> {
    Ok(match place.source().await? {
        Source::Live(_, stat) => stat,
        Source::Folder(config) => {
            let stat = Inspector::open(&config.dir)?.stat().map_err(BacklogError::Store)?;
            serde_json::to_value(backlog::figures(&stat, false)).map_err(strange)?
        }
    })
}

async fn stat(place: &Place, json: bool) -> Result<(), QueueError> {
    let stat = figures(place).await?;
    let mut out = io::stdout();
    if json {
        return Ok(writeln!(out, "{stat:#}")?);
    }
    let stat: Figures = serde_json::from_value(stat).map_err(strange)?;
    let mut facts = Table::new(&["messages", &stat.messages.to_string()]);
    let mut fact = |name: &str, value: String, tone| {
        facts.push(vec![Cell::new(name), Cell::new(&value).toned(tone)]);
    };
    fact("bytes", stat.bytes.to_string(), Tone::Plain);
    let aside = stat.set_aside.messages;
    fact("dead letters", aside.to_string(), if aside > 0 { Tone::Bad } else { Tone::Plain });
    if let Some(age) = stat.oldest_age_seconds {
        let age = humantime::format_duration(Duration::from_secs(age)).to_string();
        fact("oldest", age, Tone::Plain);
    }
    for (reason, count) in stat.dropped.iter().flatten().filter(|(_, count)| **count > 0) {
        fact(&format!("dropped, {reason}"), count.to_string(), Tone::Warning);
    }
    write!(out, "{}", facts.render(false, None))?;
    let mut lanes = Table::new(&["LANE", "MESSAGES", "BYTES"]);
    for Lane { lane, held } in &stat.lanes {
        let cell = |number: u64| Cell::new(&number.to_string());
        lanes.push(vec![Cell::new(lane), cell(held.messages), cell(held.bytes)]);
    }
    Ok(write!(out, "\n{}", lanes.render(false, None))?)
}

fn strange(_fault: serde_json::Error) -> QueueError {
    QueueError::Strange
}

/// Passes the selected messages to `take`, page by page, until it returns false.
async fn each(
    place: &Place,
    selection: &Selection,
    payload: bool,
    mut take: impl FnMut(&Value) -> io::Result<bool>,
) -> Result<(), QueueError> {
    let mut source = place.source().await?;
    let mut after = 0;
    loop {
        let Page::<Value> { messages, next } = match &mut source {
            Source::Live(client, _) => {
                let path =
                    format!("{API}/messages?after={after}&payload={payload}{}", query(selection));
                let answer = client.json(&Call::get(&path)).await?;
                serde_json::from_value(answer).map_err(strange)?
            }
            Source::Folder(config) => {
                let page = backlog::page(&config.dir, selection, after, PAGE, ()).await?;
                let json = |record| serde_json::to_value(backlog::message(record, payload));
                let messages = page.records.iter().map(json).collect::<Result<_, _>>();
                Page { messages: messages.map_err(strange)?, next: page.next }
            }
        };
        for message in &messages {
            if !take(message)? {
                return Ok(());
            }
        }
        match next {
            Some(next) if next > after => after = next,
            _ => return Ok(()),
        }
    }
}

/// Returns the selection as parameters of the API.
fn query(selection: &Selection) -> String {
    let state = selection.aside.map(|aside| if aside { "set_aside" } else { "waiting" });
    let age = selection.older_than.map(|age| humantime::format_duration(age).to_string());
    let pairs = [
        ("id", selection.id.map(|id| id.to_string())),
        ("lane", selection.lane.clone()),
        ("topic", selection.topic.clone()),
        ("state", state.map(str::to_owned)),
        ("reason", selection.reason.clone()),
        ("older_than", age),
    ];
    let given = pairs.into_iter().filter_map(|(key, value)| Some((key, value?)));
    given.map(|(key, value)| format!("&{key}={}", encode(&value))).collect()
}

async fn inspect(
    place: &Place,
    selection: &Selection,
    limit: u64,
    json: bool,
) -> Result<(), QueueError> {
    let one = selection.id.is_some();
    let mut table =
        Table::new(&["ID", "STATE", "APPENDED", "PRIO", "QOS", "BYTES", "LANE", "TOPIC"]);
    let (mut out, mut seen, mut more) = (io::stdout(), 0, false);
    each(place, selection, one, |message| {
        if limit > 0 && seen == limit {
            more = true;
            return Ok(false);
        }
        seen += 1;
        if one && !json {
            writeln!(out, "{message:#}")?;
        } else if json {
            writeln!(out, "{message}")?;
        } else {
            table.push(row(message)?);
        }
        Ok(true)
    })
    .await?;
    if one && seen == 0 {
        return Err(QueueError::NoMessage("in the queue"));
    }
    if !json && !one {
        write!(out, "{}", table.render(false, None))?;
    }
    if more {
        complain(&format!("there are more than {limit} messages; `--limit 0` lists all"));
    }
    Ok(())
}

fn row(message: &Value) -> serde_json::Result<Vec<Cell>> {
    let message = Message::deserialize(message)?;
    let aside = message.reason.map(|reason| format!("dead letter: {reason}"));
    let cells = [
        message.id,
        aside.unwrap_or_else(|| "waiting".to_owned()),
        message.appended,
        message.priority.to_string(),
        message.qos.to_string(),
        message.bytes.to_string(),
        message.lane,
        message.topic,
    ];
    Ok(cells.iter().map(|text| Cell::new(text)).collect())
}

async fn export(place: &Place, selection: &Selection) -> Result<(), QueueError> {
    let mut out = io::BufWriter::new(io::stdout());
    each(place, selection, true, |message| writeln!(out, "{message}").map(|()| true)).await?;
    Ok(out.flush()?)
}

/// A change to messages.
#[derive(Clone, Copy)]
enum Change {
    Requeue,
    Purge,
}

async fn change(
    place: &Place,
    change: Change,
    selection: &Selection,
    json: bool,
) -> Result<(), QueueError> {
    let sum = match place.source().await? {
        Source::Live(mut client, _) => change_live(&mut client, change, selection).await?,
        Source::Folder(config) => {
            let dir = config.dir.clone();
            let queue = Queue::open(config)?;
            let sum = change_folder(&queue, &dir, change, selection).await;
            queue.close().await;
            sum?
        }
    };
    let done = match change {
        Change::Requeue => "requeued",
        Change::Purge => "purged",
    };
    if selection.id.is_some() && sum.done == 0 {
        return Err(QueueError::NoMessage(match change {
            Change::Requeue => "a dead letter",
            Change::Purge => "in the queue, or it is being delivered",
        }));
    }
    if json {
        return Ok(writeln!(io::stdout(), "{}", json!({ done: sum.done, "left": sum.left }))?);
    }
    writeln!(io::stdout(), "{done} {} messages", sum.done)?;
    if sum.left > 0 {
        complain(&format!("{} messages are being delivered and were not touched", sum.left));
    }
    Ok(())
}

async fn change_live(
    client: &mut Client,
    change: Change,
    selection: &Selection,
) -> Result<Step, QueueError> {
    let path = match change {
        Change::Requeue => "requeue",
        Change::Purge => "purge",
    };
    let (mut sum, mut after) = (Step::default(), 0);
    loop {
        let path = format!("{API}/{path}?after={after}&all=true{}", query(selection));
        let call = Call { method: Method::POST, ..Call::get(&path) };
        let answer = match client.json(&call).await {
            Err(ClientError::Refused { code, .. }) if code == "unknown_message" => return Ok(sum),
            answer => answer?,
        };
        let Changed { done, left, next } = serde_json::from_value(answer).map_err(strange)?;
        sum.done += done.count();
        sum.left += left;
        match next {
            Some(next) if next > after => after = next,
            _ => return Ok(sum),
        }
    }
}

async fn change_folder(
    queue: &Queue,
    dir: &Path,
    change: Change,
    selection: &Selection,
) -> Result<Step, BacklogError> {
    let (mut sum, mut after) = (Step::default(), 0);
    loop {
        let step = match change {
            Change::Requeue => backlog::requeue(queue, dir, selection, after).await?,
            Change::Purge => backlog::purge(queue, dir, selection, after).await?,
        };
        sum.done += step.done;
        sum.left += step.left;
        match step.next {
            Some(next) => after = next,
            None => return Ok(sum),
        }
    }
}
