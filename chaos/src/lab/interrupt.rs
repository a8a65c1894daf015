//! SIGINT, SIGTERM and SIGHUP, told to whoever has something to put away first.

use std::sync::OnceLock;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Once asked for, the signals are ours for good: one that comes between two runs is not forgotten.
static SEEN: OnceLock<watch::Receiver<Option<&'static str>>> = OnceLock::new();

/// Returns when the harness has been told to end, at once if it was before; says by what.
pub async fn interrupted() -> &'static str {
    let mut seen = SEEN.get_or_init(listen).clone();
    let name = match seen.wait_for(Option::is_some).await {
        Ok(name) => *name,
        // Nobody listens any more.
        Err(_) => None,
    };
    match name {
        Some(name) => name,
        None => std::future::pending().await,
    }
}

/// By what the harness was told to end, if it was.
#[must_use]
pub fn was_interrupted() -> Option<&'static str> {
    *SEEN.get()?.borrow()
}

fn listen() -> watch::Receiver<Option<&'static str>> {
    let (tell, seen) = watch::channel(None);
    for (name, kind) in [
        ("SIGINT", SignalKind::interrupt()),
        ("SIGTERM", SignalKind::terminate()),
        ("SIGHUP", SignalKind::hangup()),
    ] {
        // One that cannot be had ends the process as it always did; the guard of each child sees to the rest.
        let Ok(mut signals) = signal(kind) else {
            continue;
        };
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tell.send_if_modified(|seen| seen.replace(name).is_none());
            }
        });
    }
    seen
}
