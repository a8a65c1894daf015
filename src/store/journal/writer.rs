//! The thread that writes: batches, chains, rotates, and recovers from a disk that fails.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::owners::{Owners, TextKeys, prompt_hash};
use super::record::{Record, TextRecord, Who, encode};
use super::recover::{Found, Opened, cut_tail, look_back};
use super::retention::{self, Keep, LONGEST_SEGMENT};
use super::segment::{Chain, create, file_name, make_folder, push_line};
use crate::config::JournalMode;

#[expect(
    clippy::disallowed_types,
    reason = "a buffer between tasks and one thread, held for a copy only"
)]
type Lock<T> = std::sync::Mutex<T>;

#[derive(Clone, Debug)]
pub struct JournalOptions {
    pub folder: PathBuf,
    pub mode: JournalMode,
    pub segment_bytes: u64,
    pub keep: Keep,
    pub text_keys: TextKeys,
    /// End users and owners of texts that are told apart.
    pub most_owners: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("the journal cannot be written")]
    Unwritable,
    #[error("the journal's buffer is full")]
    Full,
    #[error("journal folder {folder}: {why}")]
    Open { folder: String, why: String },
}

/// What admission and metrics look at.
#[derive(Debug, Default)]
pub struct JournalHealth {
    unwritable: AtomicBool,
    /// The last write took longer than a task may be held up.
    slow: AtomicBool,
    /// Milliseconds the writing of the current batch has taken so far; 0 while nothing is being written.
    busy_since_ms: AtomicU64,
    records: AtomicU64,
    lost: AtomicU64,
    owners: AtomicU64,
    syncs: AtomicU64,
    /// Makes writes fail as a full disk would.
    #[cfg(test)]
    failing: AtomicBool,
    /// Makes writes take so many milliseconds.
    #[cfg(test)]
    dragging_ms: AtomicU64,
}

impl JournalHealth {
    pub fn writable(&self) -> bool {
        !self.unwritable.load(Ordering::Relaxed)
    }

    /// How long the batch under way has been waiting for the disk (fault X10).
    pub fn lag(&self) -> Duration {
        match self.busy_since_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(wall_ms().saturating_sub(since)),
        }
    }

    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Batches that were synced before they were answered.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// End users and owners of texts that are told apart.
    pub fn owners(&self) -> u64 {
        self.owners.load(Ordering::Relaxed)
    }

    /// Records that could not be written while the disk failed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Pending {
    /// Encoded records, one after another.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    waiters: Vec<oneshot::Sender<Result<(), JournalError>>>,
    /// The thread sleeps for long: the next record has to wake it.
    asleep: bool,
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pending: Lock<Pending>,
    wake: Condvar,
    health: Arc<JournalHealth>,
    writer: Lock<Writer>,
    owners: Lock<Owners>,
    prompts: ring::hmac::Key,
    mode: JournalMode,
}

impl Shared {
    /// Whether the one who waits may write for itself and for all who came before.
    ///
    /// # Why
    /// A write to the page cache takes a few microseconds; waking a thread for it and being woken again
    /// takes several times that. A disk that was slow a moment ago is left to the thread, which may wait.
    fn write_here(&self) -> bool {
        self.mode == JournalMode::Fast && !self.health.slow.load(Ordering::Relaxed)
    }

    /// Writes what is pending, unless somebody is writing already; then false.
    fn try_drain(&self) -> bool {
        let Ok(mut writer) = self.writer.try_lock() else {
            return false;
        };
        self.drain(&mut writer);
        drop(writer);
        if !self.health.writable() {
            // The thread opens anew what failed. It looks at the health under this lock before it goes to
            // sleep, so it has either seen the failure or is asleep and hears the call.
            drop(self.pending.lock());
            self.wake.notify_one();
        }
        true
    }

    fn drain(&self, writer: &mut Writer) {
        loop {
            let Ok(mut pending) = self.pending.lock() else {
                return;
            };
            if pending.ends.is_empty() {
                return;
            }
            let (closed, asleep) = (pending.closed, pending.asleep);
            let batch = std::mem::take(&mut *pending);
            (pending.closed, pending.asleep) = (closed, asleep);
            drop(pending);
            writer.write(batch);
        }
    }
}

/// Where records are handed in. Clones share one thread, which ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct JournalHandle {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

#[derive(Debug)]
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        if let Ok(mut pending) = self.0.pending.lock() {
            pending.closed = true;
        }
        self.0.wake.notify_one();
    }
}

/// More waiting bytes than this mean the disk is far behind (ground rule G14).
const MOST_PENDING: usize = 8 << 20;
/// Records nobody waits for leave at the latest after this.
const LINGER: Duration = Duration::from_millis(20);
/// Tasks write for themselves only while writes are faster than this.
const SLOW: Duration = Duration::from_millis(1);
/// How often the thread looks for people to forget.
const TEND_OWNERS: Duration = Duration::from_secs(1);
/// How often it looks for a segment that need not be kept.
const TEND_SEGMENTS: Duration = Duration::from_secs(60);
const RETRY_OPEN: Duration = Duration::from_millis(500);

/// Wall-clock milliseconds: told in records, never used to decide.
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl JournalHandle {
    #[cfg(test)]
    pub(super) fn fail_next_writes(&self, failing: bool) {
        self.shared.health.failing.store(failing, Ordering::Relaxed);
    }

    pub fn health(&self) -> &Arc<JournalHealth> {
        &self.shared.health
    }

    #[cfg(test)]
    pub(super) fn drag_writes(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.shared.health.dragging_ms.store(ms, Ordering::Relaxed);
    }

    /// A hash of a prompt that nobody can compute without this installation.
    pub fn prompt_hash(&self, prompt: &[u8]) -> [u8; 16] {
        prompt_hash(&self.shared.prompts, prompt)
    }

    /// Keeps a text, sealed; `whole` is how long it was before it was cut to what is kept. Whether it was taken:
    /// not without a master key, and not when the disk is behind, for records come before texts.
    ///
    /// Sealed here and not by the thread: it costs a few microseconds, and no text waits unsealed.
    pub fn keep_text(
        &self,
        request: crate::domain::RequestId,
        who: &Who<'_>,
        part: &str,
        (kept, whole): (&[u8], u64),
    ) -> bool {
        let behind = self
            .shared
            .pending
            .lock()
            .is_ok_and(|pending| pending.bytes.len() > MOST_PENDING / 2);
        if behind || !self.shared.health.writable() {
            return false;
        }
        let id = request.text();
        let sealed = match self.shared.owners.lock() {
            Ok(mut owners) => owners.seal(who, (id.as_str(), part), kept),
            Err(_poisoned) => None,
        };
        let Some((owner, sealed)) = sealed else {
            return false;
        };
        let record = Record::Text(TextRecord {
            request,
            part,
            owner: &owner,
            bytes: whole,
            cut: whole > kept.len() as u64,
            sealed: &sealed,
        });
        self.append(&record).is_ok()
    }

    /// Hands in a record nobody waits for.
    pub fn append(&self, record: &Record<'_>) -> Result<(), JournalError> {
        self.push(record, self.alias(record).as_deref(), None)
    }

    /// The same for a record of before, whose end user has the alias already.
    fn append_again(&self, record: &Record<'_>) -> Result<(), JournalError> {
        self.push(record, None, None)
    }

    fn alias(&self, record: &Record<'_>) -> Option<String> {
        let who = record.who().filter(|who| who.user.is_some())?;
        let owners = self.shared.owners.lock();
        // Better no name than one that cannot be erased.
        let alias = owners.map_or_else(|_| String::new(), |mut owners| owners.alias(who));
        Some(alias)
    }

    /// Hands in a record. The answer resolves when it is written (or synced, in durable mode).
    pub fn append_and_wait(&self, record: &Record<'_>) -> Written {
        let (sender, written) = oneshot::channel();
        Written {
            pushed: self
                .push(record, self.alias(record).as_deref(), Some(sender))
                .map(|()| written),
            unasked: Some(Arc::clone(&self.shared)),
        }
    }

    fn push(
        &self,
        record: &Record<'_>,
        alias: Option<&str>,
        waiter: Option<oneshot::Sender<Result<(), JournalError>>>,
    ) -> Result<(), JournalError> {
        if waiter.is_some() && !self.shared.health.writable() {
            return Err(JournalError::Unwritable);
        }
        let at = wall_ms();
        let Ok(mut pending) = self.shared.pending.lock() else {
            return Err(JournalError::Unwritable);
        };
        if pending.closed {
            return Err(JournalError::Unwritable);
        }
        if pending.bytes.len() > MOST_PENDING {
            self.shared.health.lost.fetch_add(1, Ordering::Relaxed);
            return Err(JournalError::Full);
        }
        encode(record, alias, at, &mut pending.bytes);
        let end = pending.bytes.len();
        pending.ends.push(end);
        // Whoever waits writes for itself when it asks; see `Written`.
        let wake = pending.asleep && waiter.is_none();
        pending.waiters.extend(waiter);
        if wake {
            pending.asleep = false;
            drop(pending);
            self.shared.wake.notify_one();
        }
        Ok(())
    }
}

/// A record on its way to the disk.
///
/// # Why it is written when it is first asked about
/// Between handing a record in and asking about it a request is placed. What other requests hand in
/// meanwhile goes to the disk in the same write.
#[derive(Debug)]
pub struct Written {
    pushed: Result<oneshot::Receiver<Result<(), JournalError>>, JournalError>,
    /// Until the first poll.
    unasked: Option<Arc<Shared>>,
}

impl Written {
    /// Whether the record stands in line for the disk.
    pub fn was_taken(&self) -> bool {
        self.pushed.is_ok()
    }
}

impl Future for Written {
    type Output = Result<(), JournalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let unasked = self.unasked.take();
        match &mut self.pushed {
            Err(error) => Poll::Ready(Err(error.clone())),
            Ok(written) => {
                if let Some(shared) = unasked
                    && !(shared.write_here() && shared.try_drain())
                {
                    shared.wake.notify_one();
                }
                let written = ready!(Pin::new(written).poll(cx));
                Poll::Ready(written.unwrap_or(Err(JournalError::Unwritable)))
            }
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Some(shared) = self.unasked.take() {
            // Nobody asked: the thread writes it.
            shared.wake.notify_one();
        }
    }
}

/// Opens a journal, repairs what a crash left, and starts its thread. `on_exit` is called when the thread
/// ends for whatever reason.
pub fn open(
    options: JournalOptions,
    on_exit: impl FnOnce() + Send + 'static,
) -> Result<(JournalHandle, Opened), JournalError> {
    let fail = |why: String| JournalError::Open {
        folder: options.folder.display().to_string(),
        why,
    };
    make_folder(&options.folder).map_err(|error| fail(error.to_string()))?;
    let lock = lock_folder(&options.folder).map_err(fail)?;
    let found = look_back(&options.folder).map_err(|error| fail(error.to_string()))?;
    let owners = Owners::open(&options.folder, &options.text_keys, options.most_owners)
        .map_err(|error| fail(error.to_string()))?;
    let health = Arc::new(JournalHealth::default());
    let mut writer = Writer {
        options: options.clone(),
        health: Arc::clone(&health),
        file: None,
        path: PathBuf::new(),
        failed: None,
        written: 0,
        seq: found.last_seq,
        chain: found.chain,
        out: Vec::new(),
        owed: Owed::default(),
        began: wall_ms(),
    };
    writer
        .new_segment()
        .map_err(|error| fail(error.to_string()))?;
    let shared = Arc::new(Shared {
        pending: Lock::default(),
        wake: Condvar::new(),
        health,
        writer: Lock::new(writer),
        prompts: owners.prompt_key(),
        owners: Lock::new(owners),
        mode: options.mode,
    });
    let handle = JournalHandle {
        _closer: Arc::new(Closer(Arc::clone(&shared))),
        shared: Arc::clone(&shared),
    };
    report_findings(&handle, &found)?;
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            let _on_exit = CallOnDrop(Some(on_exit));
            let _lock = lock;
            run(&shared);
        })
        .map_err(|error| fail(error.to_string()))?;
    Ok((handle, found.opened))
}

fn report_findings(handle: &JournalHandle, found: &Found) -> Result<(), JournalError> {
    if found.opened.repaired {
        handle.append(&Record::Event {
            name: "audit.repaired",
            subject: "tail",
            detail: "half a record was cut",
        })?;
    }
    if let Some(alarm) = &found.opened.alarm {
        handle.append(&Record::Event {
            name: "audit.alarm",
            subject: "chain",
            detail: alarm,
        })?;
    }
    for request in &found.open {
        handle.append_again(&Record::Outcome(request.outcome()))?;
    }
    Ok(())
}

/// Runs also when the thread panics: its owner has to know.
struct CallOnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for CallOnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// Two processes in one journal would break its chain.
fn lock_folder(folder: &Path) -> Result<File, String> {
    let lock = File::create(folder.join("journal.lock")).map_err(|error| error.to_string())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(
            "another process writes this journal; stop it, or set journal.path to another folder"
                .to_owned(),
        ),
        Err(fs::TryLockError::Error(error)) => Err(error.to_string()),
    }
}

#[derive(Debug)]
struct Writer {
    options: JournalOptions,
    health: Arc<JournalHealth>,
    /// `None` after a failure: the old file is never trusted again (fault X11).
    file: Option<File>,
    path: PathBuf,
    /// The segment that failed, and how much of it is good.
    failed: Option<(PathBuf, u64)>,
    written: u64,
    seq: u64,
    chain: Chain,
    out: Vec<u8>,
    owed: Owed,
    /// When the segment began, in wall-clock milliseconds.
    began: u64,
}

/// What a failing disk has left to be put right.
#[derive(Debug, Default)]
struct Owed {
    /// Records whose intent stands on the disk; they follow as soon as something can be written again.
    records: Vec<Vec<u8>>,
    bytes: usize,
    /// Requests whose intent was lost: none of their further records may be written, or an outcome would
    /// stand there without an intent.
    orphans: HashSet<String>,
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.orphans.is_empty()
    }

    /// Takes over a record that could not be written; whether it is lost.
    fn take(&mut self, members: &[u8]) -> bool {
        match read_members(members) {
            Some(("intent", request)) => {
                if self.bytes < MOST_PENDING {
                    self.bytes += request.len();
                    self.orphans.insert(request);
                }
                true
            }
            Some(("outcome", request)) if self.orphans.remove(&request) => true,
            Some((_, request)) if self.orphans.contains(&request) => true,
            _ if self.bytes >= MOST_PENDING => true,
            _ => {
                self.bytes += members.len();
                self.records.push(members.to_vec());
                false
            }
        }
    }

    /// Whether this record belongs to a request whose intent was lost.
    fn is_orphan(&mut self, members: &[u8]) -> bool {
        match read_members(members) {
            Some(("outcome", request)) => self.orphans.remove(&request),
            Some((_, request)) => self.orphans.contains(&request),
            None => false,
        }
    }

    /// Everything kept has been written.
    fn paid(&mut self) {
        self.records.clear();
        self.bytes = self.orphans.iter().map(String::len).sum();
    }
}

/// Kind and request of an encoded record; only looked at while the disk fails.
fn read_members(members: &[u8]) -> Option<(&'static str, String)> {
    #[derive(serde::Deserialize)]
    struct Members<'a> {
        kind: &'a str,
        request: Option<&'a str>,
    }
    let whole = [b"{", members, b"}"].concat();
    let read: Members<'_> = serde_json::from_slice(&whole).ok()?;
    let kind = match read.kind {
        "intent" => "intent",
        "outcome" => "outcome",
        _ => "other",
    };
    Some((kind, read.request?.to_owned()))
}

impl Pending {
    /// Leaves out the records that `wanted` does not want.
    fn keep(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for members in records(self) {
            if wanted(members) {
                bytes.extend_from_slice(members);
                ends.push(bytes.len());
            }
        }
        (self.bytes, self.ends) = (bytes, ends);
    }
}

fn records(batch: &Pending) -> impl Iterator<Item = &[u8]> {
    let starts = std::iter::once(0).chain(batch.ends.iter().copied());
    starts
        .zip(&batch.ends)
        .map(|(start, end)| batch.bytes.get(start..*end).unwrap_or_default())
}

impl Writer {
    fn write(&mut self, mut batch: Pending) {
        let (seq, chain, good) = (self.seq, self.chain, self.written);
        self.out.clear();
        let mut lost = 0;
        if !self.owed.is_empty() {
            // Before anything is written: what is dropped here is dropped whether or not the write succeeds.
            let before = batch.ends.len();
            batch.keep(|members| !self.owed.is_orphan(members));
            lost = (before - batch.ends.len()) as u64;
        }
        for members in self
            .owed
            .records
            .iter()
            .map(Vec::as_slice)
            .chain(records(&batch))
        {
            self.seq += 1;
            self.chain = push_line(&mut self.out, self.seq, members, &self.chain);
        }
        let lines = self.seq - seq;
        self.health
            .busy_since_ms
            .store(wall_ms(), Ordering::Relaxed);
        let began = tokio::time::Instant::now();
        let done = self.put();
        self.health
            .slow
            .store(began.elapsed() > SLOW, Ordering::Relaxed);
        self.health.busy_since_ms.store(0, Ordering::Relaxed);
        let answer = match done {
            Ok(()) => {
                self.health.unwritable.store(false, Ordering::Relaxed);
                self.health.records.fetch_add(lines, Ordering::Relaxed);
                self.owed.paid();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be written, going on in a new segment when it can");
                // As if the batch had never been: the next segment continues the last good record.
                (self.seq, self.chain) = (seq, chain);
                if self.file.take().is_some() {
                    self.failed = Some((self.path.clone(), good));
                }
                self.health.unwritable.store(true, Ordering::Relaxed);
                let more = records(&batch).filter(|members| self.owed.take(members));
                lost += more.count() as u64;
                Err(JournalError::Unwritable)
            }
        };
        if lost > 0 {
            self.health.lost.fetch_add(lost, Ordering::Relaxed);
        }
        for waiter in batch.waiters {
            let _ = waiter.send(answer.clone());
        }
        if self.written >= self.options.segment_bytes {
            // A failure leaves the full segment in use; the next batch tries again.
            let _ = self.new_segment();
        }
    }

    /// Writes what is owed, if nobody's record has taken it along.
    fn settle(&mut self) {
        if self.file.is_some() && !self.owed.records.is_empty() {
            self.write(Pending::default());
        }
    }

    /// Removes the oldest segment, if it need not be kept. That it was removed, and what chain it ended with,
    /// stands on the disk before it is gone.
    fn trim(&mut self) -> io::Result<()> {
        let keep = self.options.keep;
        if keep == Keep::default() || self.file.is_none() {
            return Ok(());
        }
        let age = wall_ms().saturating_sub(self.began);
        if keep.age.is_some() && Duration::from_millis(age) > LONGEST_SEGMENT {
            self.new_segment()?;
        }
        let Some(oldest) = retention::due(&self.options.folder, keep, wall_ms())? else {
            return Ok(());
        };
        let mut batch = Pending::default();
        let at = wall_ms();
        batch.bytes = format!(
            "\"at\":{at},\"kind\":\"trim\",\"first\":{},\"previous\":\"{}\"",
            oldest.next, oldest.chain
        )
        .into_bytes();
        batch.ends.push(batch.bytes.len());
        self.write(batch);
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.sync_data()?;
        retention::remove(&oldest)
    }

    fn put(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        #[cfg(test)]
        if self.health.failing.load(Ordering::Relaxed) {
            // Half of the batch reaches the file, as on a disk that fills up.
            file.write_all(self.out.get(..self.out.len() / 2).unwrap_or_default())?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        #[cfg(test)]
        tests_only_drag(&self.health);
        file.write_all(&self.out)?;
        self.written += self.out.len() as u64;
        if self.options.mode == JournalMode::Durable {
            file.sync_data()?;
            self.health.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Begins a segment with a record that names the chain it continues.
    fn new_segment(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if self.health.failing.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some((path, good)) = &self.failed {
            // What was refused must not stand there as if it had been accepted.
            cut_tail(path, *good)?;
            self.failed = None;
        }
        let seq = self.seq + 1;
        let path = self.options.folder.join(file_name(seq));
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == 0) {
            // Left behind empty by a disk that failed right after creating it.
            fs::remove_file(&path)?;
        }
        let mut file = create(&path)?;
        let mut line = Vec::new();
        let members = format!(
            "\"at\":{},\"kind\":\"segment\",\"version\":1,\"previous\":\"{}\"",
            wall_ms(),
            super::segment::hex(&self.chain)
        );
        let chain = push_line(&mut line, seq, members.as_bytes(), &self.chain);
        file.write_all(&line)?;
        (self.seq, self.chain) = (seq, chain);
        self.path = path;
        self.began = wall_ms();
        self.written = line.len() as u64;
        self.file = Some(file);
        self.health.unwritable.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// The thread's life: writes what nobody wrote for himself, opens anew what failed, and tends what is kept.
fn run(shared: &Shared) {
    let mut tended = Tended::default();
    // Before the first sleep: what was asked while nobody wrote is done at once.
    shared.tend(&mut tended);
    loop {
        let closed = wait(shared);
        let Ok(mut writer) = shared.writer.lock() else {
            return;
        };
        if writer.file.is_none() {
            // Tried at most every RETRY_OPEN: the wait is in `wait`.
            let _ = writer.new_segment();
        }
        shared.drain(&mut writer);
        writer.settle();
        if closed {
            if let Some(file) = &writer.file {
                let _ = file.sync_data();
            }
            return;
        }
        drop(writer);
        shared.tend(&mut tended);
    }
}

/// When the thread last looked after something; `None`: never.
#[derive(Default)]
struct Tended {
    owners: Option<tokio::time::Instant>,
    segments: Option<tokio::time::Instant>,
}

fn due(last: &mut Option<tokio::time::Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(tokio::time::Instant::now());
    }
    is_due
}

impl Shared {
    fn tend(&self, tended: &mut Tended) {
        if due(&mut tended.owners, TEND_OWNERS) {
            self.tend_owners();
        }
        if due(&mut tended.segments, TEND_SEGMENTS)
            && let Ok(mut writer) = self.writer.lock()
            && let Err(error) = writer.trim()
        {
            tracing::warn!(%error, "an old segment of the journal cannot be removed, trying again in a minute");
        }
    }

    /// Forgets who is to be forgotten, and says so in the journal without the name.
    fn tend_owners(&self) {
        let folder = match self.writer.lock() {
            Ok(writer) => writer.options.folder.clone(),
            Err(_poisoned) => return,
        };
        let asked = retention::asked(&folder);
        let Ok(mut owners) = self.owners.lock() else {
            return;
        };
        owners.settle();
        for (path, erasure) in asked {
            match owners.erase(&erasure) {
                Ok(erased) => {
                    self.tell_erased(&erased);
                    // Last: what a crash leaves undone is done again.
                    let _ = fs::remove_file(path);
                }
                Err(error) => {
                    tracing::error!(%error, "an owner cannot be erased, trying again");
                }
            }
        }
        let count = owners.count() as u64;
        self.health.owners.store(count, Ordering::Relaxed);
    }

    fn tell_erased(&self, erased: &[String]) {
        let Ok(mut pending) = self.pending.lock() else {
            return;
        };
        for alias in erased {
            let event = Record::Event {
                name: "audit.erased",
                subject: alias,
                detail: "its name and its key were destroyed",
            };
            encode(&event, None, wall_ms(), &mut pending.bytes);
            let end = pending.bytes.len();
            pending.ends.push(end);
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a slow disk, as a thread sees it"
)]
fn tests_only_drag(health: &JournalHealth) {
    std::thread::sleep(Duration::from_millis(
        health.dragging_ms.load(Ordering::Relaxed),
    ));
}

/// Waits for records: at once when someone waits for them, else until they have lingered. Answers whether
/// the journal was closed.
fn wait(shared: &Shared) -> bool {
    let Ok(mut pending) = shared.pending.lock() else {
        return true;
    };
    if pending.ends.is_empty() && shared.health.writable() && !pending.closed {
        pending.asleep = true;
        match shared.wake.wait_timeout(pending, TEND_OWNERS) {
            Ok((woken, _timed_out)) => pending = woken,
            Err(_poisoned) => return true,
        }
        pending.asleep = false;
    }
    if pending.ends.is_empty() && shared.health.writable() {
        return pending.closed;
    }
    if pending.waiters.is_empty() && !pending.closed {
        let limit = if shared.health.writable() {
            LINGER
        } else {
            RETRY_OPEN
        };
        match shared.wake.wait_timeout(pending, limit) {
            Ok((woken, _timed_out)) => pending = woken,
            Err(_poisoned) => return true,
        }
    }
    pending.closed
}
