//! The thread that writes: what waits together is committed together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::queue::{Done, Job, Message};
use super::schema::fault;
use super::tables::{self, Limits};
use super::{StoreHealth, unix_now};
use crate::store::StoreError;

/// Jobs in one transaction: enough to make a commit cheap, few enough that nobody waits long for the others.
const MOST_TOGETHER: usize = 256;
/// What is over is deleted this often.
const TIDY_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) health: Arc<StoreHealth>,
    pub(super) limits: Limits,
    pub(super) path: String,
}

impl Writer {
    /// Works until it is told to end, or nobody can hand anything in any more. Whoever told it is answered once
    /// the file is closed.
    pub(super) fn run(mut self, messages: &Receiver<Message>) -> Option<EndAnswer> {
        let mut tidy_at = Instant::now();
        loop {
            let wait = tidy_at.saturating_duration_since(Instant::now());
            let first = match messages.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            let (jobs, end) = gather(first, messages);
            if !jobs.is_empty() {
                self.commit(jobs);
            }
            if end.is_some() {
                return end;
            }
            if Instant::now() >= tidy_at {
                self.tidy();
                tidy_at = Instant::now() + TIDY_EVERY;
            }
        }
    }

    fn commit(&mut self, jobs: Vec<Box<dyn Job>>) {
        let count = jobs.len() as u64;
        let mut done = Vec::new();
        let mut trouble = None;
        for job in jobs {
            trouble = self.one(job, &mut done).err().or(trouble);
        }
        let mut committed = Ok(());
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("COMMIT")
        {
            let why = fault(&error, &self.path);
            trouble = Some(why.clone());
            committed = Err(why);
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.health
            .unwritable
            .store(trouble.is_some(), Ordering::Relaxed);
        self.health.commits.fetch_add(1, Ordering::Relaxed);
        self.health.jobs.fetch_add(count, Ordering::Relaxed);
        for one in done {
            one.say(committed.clone());
        }
        if trouble == Some(StoreError::Full) {
            self.tidy();
        }
    }

    /// Runs one job in a savepoint of its own, so that what fails takes nobody else with it. An error is one of
    /// the store, not of the job alone.
    fn one(&mut self, job: Box<dyn Job>, done: &mut Vec<Done>) -> Result<(), StoreError> {
        let begin = if self.connection.is_autocommit() {
            "BEGIN IMMEDIATE; SAVEPOINT job"
        } else {
            "SAVEPOINT job"
        };
        if let Err(error) = self.connection.execute_batch(begin) {
            let why = fault(&error, &self.path);
            job.refuse(why.clone());
            return Err(why);
        }
        let ran = job.run(&self.connection);
        let end = match ran.failed {
            None => "RELEASE job",
            Some(_) => "ROLLBACK TO job; RELEASE job",
        };
        let own = ran.failed.clone();
        let ended = self.connection.execute_batch(end);
        // A full disk makes SQLite take back the whole transaction, and then there is no savepoint to end.
        if let Err(error) = ended {
            let why = own.unwrap_or_else(|| fault(&error, &self.path));
            let _ = self.connection.execute_batch("ROLLBACK");
            for one in done.drain(..).chain([ran]) {
                one.say(Err(why.clone()));
            }
            return Err(why);
        }
        match own {
            None => done.push(ran),
            Some(why) if why.is_of_the_store() => {
                ran.say(Err(why.clone()));
                return Err(why);
            }
            Some(why) => ran.say(Err(why)),
        }
        Ok(())
    }

    /// Deletes what is over, and the oldest where there is no room, and gives pages back to the disk.
    fn tidy(&mut self) {
        let tidied = tables::tidy(&self.connection, &self.limits, unix_now());
        match tidied {
            Ok(tidied) => {
                let add = |counter: &std::sync::atomic::AtomicU64, more: u64| {
                    counter.fetch_add(more, Ordering::Relaxed);
                };
                add(&self.health.expired, tidied.expired);
                add(&self.health.evicted, tidied.evicted);
                self.health.bytes.store(tidied.bytes, Ordering::Relaxed);
            }
            Err(error) => warn!(%error, "the store could not be tidied up"),
        }
    }
}

pub(super) type EndAnswer = oneshot::Sender<Result<(), StoreError>>;

/// What waits already. Nobody waits for company: a transaction takes what came during the one before.
fn gather(
    first: Option<Message>,
    messages: &Receiver<Message>,
) -> (Vec<Box<dyn Job>>, Option<EndAnswer>) {
    let mut jobs = Vec::new();
    let mut next = first;
    while let Some(message) = next {
        match message {
            Message::Run(job) => jobs.push(job),
            Message::End(answer) => return (jobs, Some(answer)),
        }
        if jobs.len() == MOST_TOGETHER {
            break;
        }
        next = messages.try_recv().ok();
    }
    (jobs, None)
}
