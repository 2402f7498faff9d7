//! Makes the stored queue in the folder that its argument names, and waits to be killed. See
//! README.md.

mod formula;

use std::error::Error;

use formula::{APPENDED, Fate, LEASED, LEASED_LANES, fate, key, message, reason};
use queue::{Config, MessageId, NewMessage, Queue};
use tokio::task::JoinSet;

/// The number of concurrent appends: many in a millisecond, since their ids then have much in
/// common. Within the depth of the queue: a waiting append would change the order.
const TOGETHER: u32 = 128;

/// The number of last messages, which are committed singly, and stay in the log.
const ALONE: u32 = 40;

fn keyed(n: u32) -> NewMessage {
    NewMessage { key: key(n), ..message(n) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let dir = std::env::args().nth(1).ok_or("name a folder")?;
    let queue = Queue::open(Config { max_bytes: 1 << 30, check: None, ..Config::new(dir) })?;
    let mut ids: Vec<MessageId> = Vec::new();
    let mut next = 0;
    while next < APPENDED - ALONE {
        let end = (next + TOGETHER).min(APPENDED - ALONE);
        let mut tasks = JoinSet::new();
        for n in next..end {
            let queue = queue.clone();
            tasks.spawn(async move { (n, queue.append(keyed(n)).await) });
        }
        let mut done = Vec::new();
        while let Some(one) = tasks.join_next().await {
            let (n, receipt) = one?;
            done.push((n, receipt?.id));
        }
        done.sort_by_key(|(n, _)| *n);
        ids.extend(done.into_iter().map(|(_, id)| id));
        next = end;
    }
    for (n, id) in (0..).zip(&ids) {
        let done = match fate(n) {
            Fate::Waiting => true,
            Fate::Acknowledged => queue.ack(*id).await?,
            Fate::DeadLetter => queue.set_aside(*id, reason(n).0, &reason(n).1).await?,
        };
        assert!(done, "message {n} is not there");
    }
    for n in next..APPENDED {
        ids.push(queue.append(keyed(n)).await?.id);
    }
    let mut leased = 0;
    for lane in LEASED_LANES {
        leased += queue.lease(lane, LEASED).await?.len();
    }
    println!(
        "{} messages, {leased} leased, {} aside",
        queue.stat().messages,
        queue.stat().aside.messages
    );
    std::future::pending().await
}
