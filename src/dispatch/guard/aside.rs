//! Searching without holding up anyone, and what a search that fails comes to.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::unguarded;
use crate::actors::at_most;
use crate::domain::Failure;

/// Smaller bodies are searched in less than 100 microseconds; larger ones on a thread of their own.
const SMALL: usize = 4 * 1024;

/// A fault that is asked for, to see that nothing goes out unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    Panic,
    Hang,
}

/// The next search's fault. Set by an admin call where the configuration allows it.
#[derive(Debug, Default)]
pub struct GuardDrill(AtomicU8);

impl GuardDrill {
    pub fn set(&self, drill: Drill) {
        let number = match drill {
            Drill::Panic => 1,
            Drill::Hang => 2,
        };
        self.0.store(number, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> Option<Drill> {
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.0.swap(0, Ordering::Relaxed) {
            1 => Some(Drill::Panic),
            2 => Some(Drill::Hang),
            _ => None,
        }
    }
}

/// Does the work within the limit. A panic, or a search that takes too long, is a refusal (attack A21).
pub(super) async fn aside<T: Send + 'static>(
    (limit, bytes): (Duration, usize),
    drill: Option<Drill>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let panicked =
        || unguarded("the guard failed over this text, and nothing goes on that it has not seen");
    let late =
        || unguarded("the guard took too long over this text; send less, or raise guard.max_ms");
    if drill == Some(Drill::Hang) {
        return at_most(limit, std::future::pending())
            .await
            .ok_or_else(late);
    }
    let work = move || {
        if drill == Some(Drill::Panic) {
            resume_unwind(Box::new("a fault that was asked for"));
        }
        work()
    };
    if bytes <= SMALL {
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_| panicked());
    }
    match at_most(limit, spawn_blocking(work)).await {
        Some(Ok(done)) => Ok(done),
        Some(Err(_)) => Err(panicked()),
        None => Err(late()),
    }
}
