//! What waits for a thread of the store: bounded in number and in bytes (ground rule G14).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::StoreError;

/// Jobs that may wait.
const MOST_JOBS: usize = 1_024;
/// What waiting jobs may hold in memory together. One alone may be larger.
const MOST_BYTES: usize = 64 << 20;

pub(super) type Awaited<T> = oneshot::Receiver<Result<T, StoreError>>;

pub(super) enum Message {
    Run(Box<dyn Job>),
    /// Everything before it is done; the thread ends.
    End(oneshot::Sender<Result<(), StoreError>>),
}

/// What to do with a job whose caller has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    Run,
    Skip,
}

/// One piece of work on a connection, and who waits for it.
pub(super) trait Job: Send {
    fn run(self: Box<Self>, connection: &Connection) -> Done;

    /// Says why it was not run.
    fn refuse(self: Box<Self>, why: StoreError);
}

/// A job that was run and whose answer waits for the commit.
pub(super) struct Done {
    /// Why its changes have to be taken back.
    pub(super) failed: Option<StoreError>,
    say: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

impl Done {
    /// Answers: with its own result where the commit stands, else with why not.
    pub(super) fn say(self, committed: Result<(), StoreError>) {
        (self.say)(committed);
    }
}

struct Work<T, F> {
    job: F,
    answer: oneshot::Sender<Result<T, StoreError>>,
    unasked: Unasked,
    _weight: Weight,
}

impl<T, F> Job for Work<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(self: Box<Self>, connection: &Connection) -> Done {
        let answer = self.answer;
        if self.unasked == Unasked::Skip && answer.is_closed() {
            return Done {
                failed: None,
                say: Box::new(|_| {}),
            };
        }
        let result = (self.job)(connection);
        Done {
            failed: result.as_ref().err().cloned(),
            say: Box::new(move |committed| {
                // A caller that left drops the answer; what was written stays written.
                let _ = answer.send(result.and_then(|done| committed.map(|()| done)));
            }),
        }
    }

    fn refuse(self: Box<Self>, why: StoreError) {
        let _ = self.answer.send(Err(why));
    }
}

/// Bytes a waiting job holds; given back when it is done.
struct Weight {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    pub(super) fn new() -> (Self, Receiver<Message>) {
        let (sender, receiver) = sync_channel(MOST_JOBS);
        let bytes = Arc::default();
        (Self { sender, bytes }, receiver)
    }

    pub(super) fn push<T: Send + 'static>(
        &self,
        bytes: usize,
        unasked: Unasked,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Awaited<T>, StoreError> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let weight = Weight {
            bytes,
            all: Arc::clone(&self.bytes),
        };
        if before > 0 && before.saturating_add(bytes) > MOST_BYTES {
            return Err(StoreError::Busy);
        }
        let (answer, awaited) = oneshot::channel();
        let work = Work {
            job,
            answer,
            unasked,
            _weight: weight,
        };
        self.send(Message::Run(Box::new(work)))?;
        Ok(awaited)
    }

    pub(super) fn end(&self) -> Result<Awaited<()>, StoreError> {
        let (answer, awaited) = oneshot::channel();
        self.send(Message::End(answer))?;
        Ok(awaited)
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Ended,
        })
    }
}
