//! The memory that all request bodies share, dealt out in turns (fault O11).
//!
//! # Why turns
//! Who holds memory keeps it until its request is answered, and nobody can take it back. Were it given to whoever came
//! first, a tenant that floods the gateway with large bodies would have all others wait behind its own. So the turn to
//! take what becomes free goes round the tenants, and a large body is worth as many turns as it has parts: to each
//! goes as much memory as it weighs. Whoever has the turn keeps it until there is enough for it: else a large body
//! would wait for ever among small ones. Small bodies of which that is known, which most are, need not wait behind it:
//! they have a little memory of their own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::actors::at_most;
use crate::domain::{Failure, FailureKind, Stake};
use crate::policy::queue::Turns;

/// A body waits this long for memory.
const WAIT: Duration = Duration::from_secs(5);
/// A part of a body, in KiB: what is smaller is small. Bodies of unknown length that go on behind their first piece begin
/// with as much, and grow.
const PART: u32 = 64;
/// So much of the memory is there once more, for small bodies only: a sixteenth, and room for a few at least.
const SMALL_SHARE: usize = 16;

#[expect(
    clippy::disallowed_types,
    reason = "held for a look at who is next, and never over an await; only who finds no room comes here"
)]
type Lock<T> = std::sync::Mutex<T>;

pub(super) struct BodyMemory {
    /// In KiB.
    room: Arc<Semaphore>,
    all: u32,
    /// For small bodies that come while others wait, in KiB.
    small: Arc<Semaphore>,
    line: Lock<Line>,
    /// Somebody waits: whoever comes now comes behind.
    is_waited_for: AtomicBool,
}

/// Who waits for a turn, and who has it.
#[derive(Default)]
struct Line {
    turns: Turns<Waiter>,
    turn: Option<u64>,
    tickets: u64,
    /// Of those in line, so many have left.
    left: usize,
}

struct Waiter {
    ticket: u64,
    parts: u32,
    tell: oneshot::Sender<()>,
}

impl Waiter {
    /// Of whoever has left it is no turn.
    fn parts(&self) -> u32 {
        if self.tell.is_closed() { 0 } else { self.parts }
    }
}

impl BodyMemory {
    pub(super) fn new(bytes: usize) -> Self {
        let kib = bytes.div_ceil(1_024).clamp(1, Semaphore::MAX_PERMITS);
        let all = u32::try_from(kib).unwrap_or(u32::MAX);
        let small = (kib / SMALL_SHARE).max(PART as usize);
        Self {
            room: Arc::new(Semaphore::new(kib)),
            all,
            small: Arc::new(Semaphore::new(small)),
            line: Lock::default(),
            is_waited_for: AtomicBool::new(false),
        }
    }

    /// So many KiB, as soon as it is this tenant's turn and they are free. Less than a part is all that this body will
    /// ever need; what may grow begins with one, see [`BodyMemory::more`].
    pub(super) async fn granted(
        &self,
        stake: &Stake,
        kib: u32,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        if let Some(permit) = self.at_once(kib) {
            return Ok(permit);
        }
        if kib < PART
            && let Ok(permit) = Arc::clone(&self.small).try_acquire_many_owned(kib)
        {
            return Ok(permit);
        }
        self.in_turn(stake, kib).await
    }

    /// So many KiB more for a body that has a part. They come from where that came from, however few they are: one
    /// permit holds them all.
    pub(super) async fn more(
        &self,
        stake: &Stake,
        permit: &mut OwnedSemaphorePermit,
        kib: u32,
    ) -> Result<(), Failure> {
        permit.merge(match self.at_once(kib) {
            Some(more) => more,
            None => self.in_turn(stake, kib).await?,
        });
        Ok(())
    }

    /// Most often there is room, and nothing to wait for.
    fn at_once(&self, kib: u32) -> Option<OwnedSemaphorePermit> {
        let room = || Arc::clone(&self.room).try_acquire_many_owned(self.at_most(kib));
        let is_waited_for = self.is_waited_for.load(Ordering::Relaxed);
        (!is_waited_for).then(room)?.ok()
    }

    /// More than all there is would be waited for in vain.
    fn at_most(&self, kib: u32) -> u32 {
        kib.min(self.all)
    }

    async fn in_turn(&self, stake: &Stake, kib: u32) -> Result<OwnedSemaphorePermit, Failure> {
        let kib = self.at_most(kib);
        let waited = Box::pin(async {
            let mut place = Place::in_line(self, stake, kib.div_ceil(PART));
            if let Some(turn) = &mut place.turn {
                // Ended only with the line itself.
                let _ = turn.await;
            }
            Arc::clone(&self.room).acquire_many_owned(kib).await
        });
        match at_most(WAIT, waited).await {
            Some(Ok(permit)) => Ok(permit),
            Some(Err(_)) | None => Err(Failure::new(
                FailureKind::Overloaded,
                "the gateway holds as many request bodies as its memory allows; come back shortly",
            )
            .retry_after(Duration::from_secs(1))),
        }
    }

    /// Nothing in it is left half done, so whatever a panic elsewhere left is good.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to whoever is next, if nobody has it.
    fn next(&self, line: &mut Line) {
        while line.turn.is_none()
            && let Some(tenant) = line.turns.heads().first()
            && let Some(waiter) = line.turns.serve_worth(tenant, false, Waiter::parts)
        {
            match waiter.tell.send(()) {
                Ok(()) => line.turn = Some(waiter.ticket),
                Err(()) => line.left = line.left.saturating_sub(1),
            }
        }
        self.is_waited_for
            .store(line.turn.is_some(), Ordering::Relaxed);
    }
}

/// A place in the line, or the turn; given up when it is dropped.
struct Place<'m> {
    memory: &'m BodyMemory,
    ticket: u64,
    /// Told when its turn has come.
    turn: Option<oneshot::Receiver<()>>,
}

impl<'m> Place<'m> {
    fn in_line(memory: &'m BodyMemory, stake: &Stake, parts: u32) -> Self {
        let (tell, told) = oneshot::channel();
        let mut line = memory.line();
        line.tickets += 1;
        let ticket = line.tickets;
        line.turns.push(
            stake,
            Waiter {
                ticket,
                parts,
                tell,
            },
        );
        memory.next(&mut line);
        Self {
            memory,
            ticket,
            turn: Some(told),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.memory.line();
        // Within the lock: it is told, or it is not and never will be.
        drop(self.turn.take());
        if line.turn == Some(self.ticket) {
            line.turn = None;
            // A turn in vain was one: nobody else could take any memory meanwhile.
            return self.memory.next(&mut line);
        }
        line.left += 1;
        // Those who left are passed over when their turn comes; many of them are not kept that long.
        if line.left * 2 > line.turns.len() {
            line.left = 0;
            let gone = |_: &Arc<str>, waiter: &Waiter| waiter.tell.is_closed().then_some(());
            drop(line.turns.take_out(gone));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::sleep;

    use super::*;
    use crate::domain::Weight;

    fn stake(tenant: &str) -> Stake {
        Stake {
            tenant: Arc::from(tenant),
            weight: Weight::ONE,
        }
    }

    /// Of so many parts, as bodies are told in below.
    fn memory(parts: usize) -> Arc<BodyMemory> {
        Arc::new(BodyMemory::new(parts * PART as usize * 1_024))
    }

    /// Takes so much for a second, and notes when it had it.
    fn body(
        memory: &Arc<BodyMemory>,
        tenant: &'static str,
        parts: u32,
    ) -> tokio::task::JoinHandle<Option<Duration>> {
        let memory = Arc::clone(memory);
        let came = tokio::time::Instant::now();
        tokio::spawn(async move {
            let permit = memory.granted(&stake(tenant), parts * PART).await.ok()?;
            let waited = came.elapsed();
            sleep(Duration::from_secs(1)).await;
            drop(permit);
            Some(waited)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn o11_a_tenant_that_floods_the_memory_makes_another_wait_for_a_turn_and_not_for_its_flood()
     {
        let memory = memory(10);
        // One after the other, a second each: more than are let in within the time that any waits.
        let flood: Vec<_> = (0..20).map(|_| body(&memory, "flood", 10)).collect();
        sleep(Duration::from_millis(10)).await;
        let other = body(&memory, "other", 10);
        // One has the memory, one the turn, and one came first to the next.
        let waited = other.await.unwrap().unwrap();
        assert!(waited < Duration::from_secs(3), "{waited:?}");
        let mut served = 0;
        for one in flood {
            served += usize::from(one.await.unwrap().is_some());
        }
        // Four more of its own within five seconds, the other's second counted.
        assert!((4..=6).contains(&served), "{served}");
        assert_eq!(memory.room.available_permits(), 10 * PART as usize);
        assert!(
            memory
                .granted(&stake("other"), 10 * PART)
                .now_or_never()
                .unwrap()
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn o11_a_large_body_has_its_turn_among_small_ones() {
        let memory = memory(10);
        let small: Vec<_> = (0..10).map(|_| body(&memory, "small", 1)).collect();
        sleep(Duration::from_millis(500)).await;
        let large = body(&memory, "large", 10);
        sleep(Duration::from_millis(1)).await;
        let more: Vec<_> = (0..10).map(|_| body(&memory, "small", 1)).collect();
        let waited = large.await.unwrap().unwrap();
        assert!(waited <= Duration::from_millis(501), "{waited:?}");
        for one in small.into_iter().chain(more) {
            assert!(one.await.unwrap().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn o11_small_bodies_do_not_wait_behind_another_tenants_large_ones() {
        let memory = memory(16);
        // More large ones than there is room for, all the time.
        let flood: Vec<_> = (0..6).map(|_| body(&memory, "flood", 15)).collect();
        sleep(Duration::from_millis(10)).await;
        let small = (0..60).map(|_| memory.granted(&stake("small"), 1).now_or_never());
        let small: Vec<_> = small.map(Option::unwrap).collect();
        assert!(small.iter().all(Result::is_ok));
        // Of those of some size, as much as of the large ones: turn by turn most would have waited in vain.
        let middle: Vec<_> = (0..30).map(|_| body(&memory, "middle", 1)).collect();
        for one in middle {
            assert!(one.await.unwrap().is_some());
        }
        for one in flood {
            one.await.unwrap();
        }
        assert_eq!(memory.room.available_permits(), 16 * PART as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn o11_a_body_as_large_as_all_there_is_comes_in_at_once() {
        let memory = BodyMemory::new(500_000);
        let first = memory.granted(&stake("a"), PART).now_or_never();
        let mut first = first.unwrap().unwrap();
        let rest = u32::try_from((500_000 - 65_536_usize).div_ceil(1_024)).unwrap();
        let rest = memory.granted(&stake("a"), rest).now_or_never();
        first.merge(rest.unwrap().unwrap());
        drop(first);
        // What no configuration lets through is not waited for.
        assert!(memory.granted(&stake("a"), 10_000).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn o11_a_body_that_grows_by_little_grows_where_it_began() {
        let memory = memory(2);
        let mut first = memory.granted(&stake("a"), PART).await.unwrap();
        let other = body(&memory, "b", 2);
        sleep(Duration::from_millis(1)).await;
        // What is free belongs to whoever has the turn, and a part for small bodies is nothing for it.
        let (a, few) = (stake("a"), PART / 2);
        let mut more = Box::pin(memory.more(&a, &mut first, few));
        assert!(futures_util::poll!(more.as_mut()).is_pending());
        assert!(other.await.unwrap().is_none());
        more.await.unwrap();
        assert_eq!(first.num_permits(), (PART + few) as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn o11_large_bodies_one_at_a_time_are_worth_as_many_turns_as_many_small_ones() {
        let memory = memory(10);
        // One comes as soon as the one before has gone, and weighs ten; there are always some of the other's.
        let large = Arc::clone(&memory);
        let large = tokio::spawn(async move {
            let mut served = 0;
            let until = tokio::time::Instant::now() + Duration::from_secs(60);
            while tokio::time::Instant::now() < until {
                let Ok(permit) = large.granted(&stake("large"), 10 * PART).await else {
                    continue;
                };
                served += 10;
                sleep(Duration::from_secs(1)).await;
                drop(permit);
            }
            served
        });
        let mut small = Vec::new();
        for _ in 0..300 {
            small.push(body(&memory, "small", 1));
            sleep(Duration::from_millis(200)).await;
        }
        let mut served = 0;
        for one in small {
            served += u32::from(one.await.unwrap().is_some());
        }
        let large = large.await.unwrap();
        assert!(large <= served + 20, "{large} {served}");
    }

    #[tokio::test(start_paused = true)]
    async fn o11_bodies_that_never_fit_do_not_keep_those_out_that_do() {
        let memory = memory(20);
        // Slow answers hold so much that no more of theirs fit.
        let held = memory.granted(&stake("large"), 12 * PART).await.unwrap();
        let mut all = Vec::new();
        for _ in 0..60 {
            all.push(("large", body(&memory, "large", 10)));
            all.push(("other", body(&memory, "other", 2)));
            sleep(Duration::from_secs(1)).await;
        }
        let mut served = 0;
        for (whose, one) in all {
            let is_served = one.await.unwrap().is_some();
            assert!(!is_served || whose == "other");
            served += usize::from(is_served);
        }
        assert!(served >= 20, "{served}");
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn o11_whoever_leaves_the_line_or_with_the_turn_holds_nobody_up() {
        let memory = memory(10);
        let held = memory.granted(&stake("a"), 10 * PART).await.unwrap();
        let waiting: Vec<_> = (0..50).map(|_| body(&memory, "a", 10)).collect();
        sleep(Duration::from_millis(1)).await;
        // One of them has the turn.
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        for one in waiting {
            assert!(one.await.unwrap_err().is_cancelled());
        }
        let line = memory.line();
        assert!(line.turns.is_empty() && line.turn.is_none() && line.left == 0);
        drop(line);
        drop(held);
        assert!(
            memory
                .granted(&stake("b"), 10)
                .now_or_never()
                .unwrap()
                .is_ok()
        );
    }
}
