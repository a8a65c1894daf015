//! A request that is sent several times under one key (`idempotency-key`): at once, later, from other connections,
//! by clients that leave, and with another body.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use super::one::Ask;
use crate::history::{Again, Ended, Sending, Told};
use crate::lab::Doorway;
use crate::scenario::Repeats;

/// How a request is to be sent several times.
#[derive(Debug, Clone)]
pub(super) struct Sends {
    pub(super) repeats: Repeats,
    /// Its workload's place among those of its client.
    pub(super) nth: usize,
    /// Asked again before each: a gateway that was killed may be back elsewhere.
    pub(super) doorway: Arc<Doorway>,
    /// When those of them leave that are sent together with the first.
    pub(super) leaves: Vec<Option<Instant>>,
}

/// Sends it as often as it is to be sent, and tells it as one request.
pub(super) async fn make(mut ask: Ask, sends: Sends) -> Told {
    // Other clients send the same: a key means nothing to anybody but who sends it.
    let key = format!("chaos-{}-{}", sends.nth, ask.told.number);
    ask.fields.push(("idempotency-key".to_owned(), key));
    let mut sendings = at_once(&ask, &sends).await;
    ask.leave_at = None;
    // Nobody listens for the first 200 any more; that there is somebody to tell asks for a digest.
    ask.heard = Some(watch::channel(None).0);
    for _ in 0..sends.repeats.later {
        sleep(sends.repeats.pause.0).await;
        let told = once_more(&ask, &sends).await;
        sendings.push(sending(Again::Later, told, None));
    }
    let whole = |one: &&Sending| one.again != Again::Otherwise && one.told.ended == Ended::Whole;
    let heard = sendings.iter().rfind(whole);
    if let Some(heard) = heard.and_then(|one| one.told.id.clone()) {
        let told = once_more(&otherwise(&ask), &sends).await;
        sendings.push(sending(Again::Otherwise, told, Some(heard)));
    }
    let unsent = ask.unsent();
    Told::of(sendings).unwrap_or(unsent)
}

/// All at once, and another body as soon as one of them is answered.
async fn at_once(ask: &Ask, sends: &Sends) -> Vec<Sending> {
    let (tell, mut heard) = watch::channel(None);
    let mut copies = JoinSet::new();
    for leave_at in std::iter::once(ask.leave_at).chain(sends.leaves.iter().copied()) {
        let mut copy = ask.clone();
        copy.leave_at = leave_at;
        copy.heard = Some(tell.clone());
        copies.spawn(copy.make_once());
    }
    // Ends with the last of them.
    drop(tell);
    let other = async {
        let id = heard.wait_for(Option::is_some).await.ok()?.clone();
        let mut ask = otherwise(ask);
        ask.leave_at = None;
        let told = once_more(&ask, sends).await;
        Some(sending(Again::Otherwise, told, id))
    };
    let all = async {
        let mut all = Vec::new();
        while let Some(told) = copies.join_next().await {
            all.push(sending(Again::AtOnce, mine(told), None));
        }
        all
    };
    let (mut all, other) = tokio::join!(all, other);
    all.extend(other);
    all
}

fn sending(again: Again, told: Told, heard: Option<String>) -> Sending {
    Sending { again, told, heard }
}

async fn once_more(ask: &Ask, sends: &Sends) -> Told {
    let mut ask = ask.clone();
    ask.door.address = sends.doorway.now().address;
    ask.told.due_ms = ask.epoch.millis();
    ask.make_once().await
}

/// The same request but for what it asks.
fn otherwise(ask: &Ask) -> Ask {
    let mut other = ask.clone();
    let content = other.body.pointer_mut("/messages/0/content");
    if let Some(Value::String(content)) = content {
        content.push_str(OTHERWISE);
    }
    other
}

/// Ends the prompt of another body under the same key.
const OTHERWISE: &str = " And now for something else.";

/// A client that crashed takes its whole request with it, and is counted there.
fn mine(told: Result<Told, JoinError>) -> Told {
    match told {
        Ok(told) => told,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only whoever drops the set ends one, and that is nobody who waits for it.
            Err(_) => Told::new(0, 0, false, 0),
        },
    }
}
