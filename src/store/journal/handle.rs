//! Where records are handed in, and how a journal is opened.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::costs::Cost;
use super::health::{JournalHealth, wall_ms};
use super::owed::Owed;
use super::owners::{Owners, PromptKey, TextKeys};
use super::record::{Record, TextRecord, Who, encode};
use super::recover::{Found, Interrupted, Older, Opened, look_back};
use super::retention::Keep;
use super::segment::make_folder;
use super::tally::{Stretch, Tally};
use super::thread::run;
use super::writer::{Pending, Writer};
use crate::config::JournalMode;
use crate::domain::Border;

#[expect(
    clippy::disallowed_types,
    reason = "a buffer between tasks and one thread, held for a copy only"
)]
pub(super) type Lock<T> = std::sync::Mutex<T>;

#[derive(Clone, Debug)]
pub struct JournalOptions {
    pub folder: PathBuf,
    pub mode: JournalMode,
    pub segment_bytes: u64,
    pub keep: Keep,
    pub text_keys: TextKeys,
    /// End users and owners of texts that are told apart.
    pub most_owners: usize,
    /// A start reads so many bytes before it goes on, and searches what is older beside its work.
    pub look_back: u64,
}

impl JournalOptions {
    /// Read and verified in a fraction of a second.
    pub const LOOK_BACK: u64 = 64 << 20;
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

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pending: Lock<Pending>,
    pub(super) wake: Condvar,
    pub(super) health: Arc<JournalHealth>,
    pub(super) writer: Lock<Writer>,
    /// How many wait for the writer who have to have it in spite of all that is handed in.
    wanted: AtomicU32,
    tally: Arc<Lock<Tally>>,
    pub(super) owners: Lock<Owners>,
    prompts: PromptKey,
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
        self.call_if_failed();
        true
    }

    /// The thread opens anew what failed.
    fn call_if_failed(&self) {
        if !self.health.writable() {
            // It looks at the health under this lock before it goes to sleep, so it has either seen the failure or is
            // asleep and hears the call.
            drop(self.pending.lock());
            self.wake.notify_one();
        }
    }

    /// Stands a record in line for the disk; see `alias` of [`encode`]. Returns the border it stands behind.
    pub(super) fn push(
        &self,
        record: &Record<'_>,
        alias: Option<&str>,
        waiter: Option<oneshot::Sender<Result<(), JournalError>>>,
    ) -> Result<Border, JournalError> {
        if waiter.is_some() && !self.health.writable() {
            return Err(JournalError::Unwritable);
        }
        let at = wall_ms();
        let Ok(mut pending) = self.pending.lock() else {
            return Err(JournalError::Unwritable);
        };
        if pending.closed {
            return Err(JournalError::Unwritable);
        }
        if pending.bytes.len() > MOST_PENDING {
            self.health.lost.fetch_add(1, Ordering::Relaxed);
            return Err(JournalError::Full);
        }
        encode(record, alias, at, &mut pending.bytes);
        let end = pending.bytes.len();
        pending.ends.push(end);
        pending.count(&Cost::of(record, alias, at), at);
        // Whoever waits writes for itself when it asks; see `Written`.
        let wake = pending.asleep && waiter.is_none();
        pending.waiters.extend(waiter);
        let border = pending.border;
        if wake {
            pending.asleep = false;
            drop(pending);
            self.wake.notify_one();
        }
        Ok(border)
    }

    /// Writes all that was handed in, and draws a border behind it; the number of the last record before that.
    fn draw_border(&self) -> Option<(Border, u64)> {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let writer = self.writer.lock();
        self.wanted.fetch_sub(1, Ordering::Relaxed);
        let mut writer = writer.ok()?;
        let mut pending = self.pending.lock().ok()?;
        let rest = pending.taken();
        pending.border = next_border();
        let border = pending.border;
        drop(pending);
        if !rest.ends.is_empty() {
            writer.write(rest);
        }
        let (is_behind, last) = (writer.is_behind(), writer.seq);
        drop(writer);
        self.call_if_failed();
        // What is owed was handed in before the border and comes to stand behind it: nobody is told of such a border.
        (!is_behind).then_some((border, last))
    }

    pub(super) fn drain(&self, writer: &mut Writer) {
        loop {
            let Ok(mut pending) = self.pending.lock() else {
                return;
            };
            if pending.ends.is_empty() {
                return;
            }
            let batch = pending.taken();
            drop(pending);
            writer.write(batch);
            if self.is_wanted() {
                // Behind a slow disk something is always pending.
                return;
            }
        }
    }

    fn stretch(&self) -> Option<Stretch> {
        let now = wall_ms();
        // Held while the tally is taken: nothing is on its way meanwhile.
        let writer = self.writer.try_lock().ok();
        let idle = writer.as_deref().is_some_and(|writer| {
            let is_empty = |pending: &Pending| pending.ends.is_empty();
            !writer.is_behind() && self.pending.lock().is_ok_and(|pending| is_empty(&pending))
        });
        let mut stretch = self.tally.lock().ok()?.take();
        if idle {
            stretch.whole_until_ms = now;
        }
        Some(stretch)
    }

    /// Whether somebody waits for the writer.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }
}

/// Never the same twice, whichever journal it is drawn in: one that is opened anew goes on behind the borders before.
fn next_border() -> Border {
    static BORDERS: AtomicU64 = AtomicU64::new(0);
    Border(BORDERS.fetch_add(1, Ordering::Relaxed) + 1)
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
pub(super) const MOST_PENDING: usize = 8 << 20;
impl JournalHandle {
    #[cfg(test)]
    pub(crate) fn fail_next_writes(&self, failing: bool) {
        self.shared.health.failing.store(failing, Ordering::Relaxed);
    }

    pub fn health(&self) -> &Arc<JournalHealth> {
        &self.shared.health
    }

    /// As the thread does once a minute.
    #[cfg(test)]
    pub(super) fn tend_segments(&self) {
        self.shared.trim().unwrap_or_default();
    }

    #[cfg(test)]
    pub(super) fn drag_writes(&self, by: std::time::Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.shared.health.dragging_ms.store(ms, Ordering::Relaxed);
    }

    /// A hash of a tenant's prompt that nobody can compute without this installation, nor compare with another
    /// tenant's (ground rule G10).
    pub fn prompt_hash(&self, tenant: &str, prompt: &[u8]) -> [u8; 16] {
        self.shared.prompts.hash(tenant, prompt)
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

    /// Hands in a record nobody waits for. Returns the border it stands behind.
    pub fn append(&self, record: &Record<'_>) -> Result<Border, JournalError> {
        self.shared
            .push(record, self.alias(record).as_deref(), None)
    }

    fn alias(&self, record: &Record<'_>) -> Option<String> {
        let who = record.who().filter(|who| who.user.is_some())?;
        let owners = self.shared.owners.lock();
        // Better no name than one that cannot be erased.
        let alias = owners.map_or_else(|_| String::new(), |mut owners| owners.alias(who));
        Some(alias)
    }

    /// Draws a border: all that was handed in until then stands in the journal, no further than the
    /// record whose number is returned; what is handed in from then on stands behind that. `None` while the disk does
    /// not take it, and when the journal ends.
    pub async fn draw_border(&self) -> Option<(Border, u64)> {
        let shared = Arc::clone(&self.shared);
        let drawn = tokio::task::spawn_blocking(move || shared.draw_border());
        drawn.await.ok().flatten()
    }

    /// What was written since this was asked last, added up so that the books need not read it.
    pub fn stretch(&self) -> Option<Stretch> {
        self.shared.stretch()
    }

    /// Hands in a record. The answer resolves when it is written (or synced, in durable mode).
    pub fn append_and_wait(&self, record: &Record<'_>) -> Written {
        let (sender, written) = oneshot::channel();
        Written {
            pushed: self
                .shared
                .push(record, self.alias(record).as_deref(), Some(sender))
                .map(|_line| written),
            unasked: Some(Arc::clone(&self.shared)),
        }
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

    /// Lets all who are ready go first, where asking would write here.
    ///
    /// # Why
    /// An actor's answer wakes its asker before everybody else, so that each would write its own record alone. Behind
    /// the others, the first who asks writes for all of them.
    pub async fn give_way(&self) {
        let mut behind = !self.unasked.as_deref().is_some_and(Shared::write_here);
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut behind, true) {
                return Poll::Ready(());
            }
            // Who wakes itself is put behind those who are ready.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Future for Written {
    type Output = Result<(), JournalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let unasked = self.unasked.take();
        match &mut self.pushed {
            Err(error) => Poll::Ready(Err(error.clone())),
            Ok(written) => {
                if let Some(shared) = unasked {
                    // Mostly somebody else has written it meanwhile.
                    if let Ok(written) = written.try_recv() {
                        return Poll::Ready(written);
                    }
                    if !(shared.write_here() && shared.try_drain()) {
                        shared.wake.notify_one();
                    }
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
    let mut found =
        look_back(&options.folder, options.look_back).map_err(|error| fail(error.to_string()))?;
    let owners = Owners::open(&options).map_err(|error| fail(error.to_string()))?;
    let health = Arc::new(JournalHealth::default());
    let tally = Arc::new(Lock::new(Tally::behind(found.last_seq)));
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
        tally: Arc::clone(&tally),
    };
    health.written_to.store(found.last_seq, Ordering::Relaxed);
    writer
        .new_segment()
        .map_err(|error| fail(error.to_string()))?;
    let shared = Arc::new(Shared {
        pending: Lock::new(Pending {
            border: next_border(),
            ..Pending::default()
        }),
        wake: Condvar::new(),
        health,
        writer: Lock::new(writer),
        wanted: AtomicU32::new(0),
        tally,
        prompts: owners.prompt_key(),
        owners: Lock::new(owners),
        mode: options.mode,
    });
    let handle = JournalHandle {
        _closer: Arc::new(Closer(Arc::clone(&shared))),
        shared: Arc::clone(&shared),
    };
    report_findings(&handle, &found)?;
    if let Some(older) = found.older.take() {
        look_further(&shared, older).map_err(|error| fail(error.to_string()))?;
    }
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
    interrupt(&handle.shared, &found.open)
}

/// Writes the outcomes of requests that were under way when their process died. Their end users have their
/// aliases already.
fn interrupt(shared: &Shared, open: &[Interrupted]) -> Result<(), JournalError> {
    for some in open.chunks(1_000) {
        for request in some {
            shared.push(&Record::Outcome(request.outcome()), None, None)?;
        }
        // So many at once would fill the buffer.
        shared.try_drain();
    }
    Ok(())
}

/// Looks for interrupted requests further back than a start can wait for.
fn look_further(shared: &Arc<Shared>, older: Older) -> std::io::Result<()> {
    let health = Arc::clone(&shared.health);
    health.searching.store(true, Ordering::Release);
    let shared = Arc::downgrade(shared);
    let search = move || {
        let _ended = CallOnDrop(Some(move || {
            health.searching.store(false, Ordering::Release);
        }));
        match older.interrupted() {
            Ok(open) if open.is_empty() => {}
            Ok(open) => {
                tracing::info!(
                    interrupted = open.len(),
                    "requests of long ago had no outcome"
                );
                if let Some(shared) = shared.upgrade() {
                    // What the buffer does not take is found again by the next start.
                    let _ = interrupt(&shared, &open);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "older segments cannot be searched for interrupted requests");
            }
        }
    };
    std::thread::Builder::new()
        .name("journal-back".to_owned())
        .spawn(search)
        .map(drop)
}

/// Runs also when the thread panics: whoever waits for it has to know.
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
