//! A thread of its own for who must be answered while the workers are busy (fault O10).
//!
//! # Why
//! A scrape or a probe is a task like any other: when every worker computes, it waits, and an orchestrator
//! that hears nothing for a second kills the process at the worst of all times. The operating system shares
//! the cores between threads whatever the tasks do.
//!
//! The admin listener lives here, with its `/live`, `/ready` and `/metrics`. The paths of the same names on
//! the clients' listener do not: a connection is accepted before its path is known, so they would need a
//! thread for every client. Point probes at the admin listener.

use std::io;
use std::thread;

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A runtime beside the main one; what runs on it ends when this is dropped.
pub struct Aside {
    handle: Handle,
    /// Its drop tells the thread to end.
    _end: oneshot::Sender<()>,
}

impl Aside {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, told) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                // Never sent, only dropped.
                let _ = runtime.block_on(told);
                // Nobody waits for a lookup or a file that hangs.
                runtime.shutdown_background();
            })?;
        Ok(Self { handle, _end: end })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Runs `work` on the runtime of `place`; dropping the future ends it there.
pub(super) fn moved_to(place: &Handle, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
    let place = place.clone();
    Box::pin(async move {
        let mut running = Moved(place.spawn(work));
        match (&mut running.0).await {
            Err(ended) if ended.is_cancelled() => {
                // The thread has been told to end: that is no crash of what ran on it.
                std::future::pending().await
            }
            Ok(()) | Err(_) => {}
        }
    })
}

struct Moved(tokio::task::JoinHandle<()>);

impl Drop for Moved {
    fn drop(&mut self) {
        self.0.abort();
    }
}
