//! From the journal into the store: what is not in yet, once, and in order.

use std::path::Path;

use serde::Serialize;

use super::batch::{Batch, Position, QUARTER};
use super::{StoreDesk, StoreError};
use crate::store::journal::{
    Bookmark, Cost, Line, Lines, ReadError, Stretch, WrittenTo, costs, costs_behind, read,
};

/// Records that are read in one go.
const MOST_AT_ONCE: usize = 50_000;

/// How far the journal is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The last record that is read, if it is there.
    pub(crate) last: u64,
    /// Records in one go.
    pub(crate) at_once: usize,
}

/// What was read in one go.
struct Reading {
    batch: Batch,
    /// Where it ended.
    mark: Option<Bookmark>,
}

/// Adds up what stands in the journal behind `from`, within these bounds; `Batch::to` tells how far it came. A journal
/// in another's place is read from its beginning.
fn read_batch(
    folder: &Path,
    (from, bounds): (Position, Bounds),
    mark: Option<Bookmark>,
) -> Result<Reading, ReadError> {
    let marked = mark
        .filter(|mark| mark.record() == (from.seq, from.at_ms))
        .and_then(|mark| Some((costs_behind(folder, &mark)?, mark)));
    if let Some((lines, mark)) = marked {
        return read_lines(lines, bounds, (Batch::behind(from), Some(mark)));
    }
    if is_ours(folder, from)? {
        let lines = costs(folder, from.seq + 1);
        return read_lines(lines, bounds, (Batch::behind(from), None));
    }
    let mut batch = Batch::default();
    batch.anew_from = Some(first_quarter(folder)?);
    read_lines(costs(folder, 1), bounds, (batch, None))
}

fn read_lines(
    lines: Lines,
    bounds: Bounds,
    (mut batch, mark): (Batch, Option<Bookmark>),
) -> Result<Reading, ReadError> {
    let mut lines = lines.up_to(bounds.last);
    let mut read = 0;
    while read < bounds.at_once {
        let line = match lines.next_cost() {
            Some(Ok(line)) => line,
            // Told by `audit verify`; what cannot be read cannot be counted, and must not stop what can.
            Some(Err(ReadError::NoRecord { .. })) => {
                read += 1;
                continue;
            }
            Some(Err(error)) => return Err(error),
            None => break,
        };
        read += 1;
        batch.to = Position {
            seq: line.seq,
            at_ms: line.at_ms,
        };
        batch.count(&line.cost, line.at_ms);
    }
    batch.more = read == bounds.at_once;
    Ok(Reading {
        batch,
        mark: lines.bookmark().cloned().or(mark),
    })
}

/// The quarter in which the journal begins; what was booked before it stays.
fn first_quarter(folder: &Path) -> Result<u64, ReadError> {
    // What cannot be read is told by `audit verify`, and says nothing of when it was.
    let is_there =
        |line: &Result<Line, ReadError>| !matches!(line, Err(ReadError::NoRecord { .. }));
    let first = match read(folder, 0).find(is_there) {
        Some(line) => line?.at_ms / 1_000,
        None => i64::MAX as u64,
    };
    Ok(first - first % QUARTER)
}

/// Whether the record that was read last still stands there, or was let go with its segment.
fn is_ours(folder: &Path, position: Position) -> Result<bool, ReadError> {
    if position.seq == 0 {
        return Ok(true);
    }
    match read(folder, position.seq).next() {
        Some(Ok(line)) if line.seq == position.seq => Ok(line.at_ms == position.at_ms),
        // Its segment was let go: what follows is newer.
        Some(Ok(line)) => Ok(line.seq > position.seq && line.at_ms >= position.at_ms),
        Some(Err(ReadError::NoRecord { .. })) => Ok(true),
        Some(Err(error)) => Err(error),
        // Shorter than it was.
        None => Ok(false),
    }
}

/// Why nothing could be booked.
#[derive(Debug, thiserror::Error)]
pub enum BookingError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Journal(#[from] ReadError),
    #[error("the journal could not be read to its end")]
    Ended,
    #[error(
        "the journal is not written to its end, so what was spent before cannot be told to budgets that are new"
    )]
    Unwritten,
}

/// How far the books are, from one round to the next. The store's position is what counts: this only spares looking
/// for it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Where reading ended.
    mark: Option<Bookmark>,
    booked: Option<Booked>,
}

/// All that was written up to here is in, and nothing behind it.
#[derive(Clone, Copy, Debug)]
struct Booked {
    to: WrittenTo,
    /// The store's position then: the last of it that was counted.
    position: Position,
}

impl Progress {
    /// Books a stretch of the journal: by what the writer has added up, if that begins where the books end, and else
    /// by reading up to its end.
    pub async fn book(
        &mut self,
        stretch: Stretch,
        folder: &Path,
        store: &StoreDesk,
    ) -> Result<(), BookingError> {
        let to = stretch.to;
        // Until it is done nobody knows how far they are.
        if let (Some(Booked { position, .. }), Some(batch)) = (
            self.booked
                .take()
                .filter(|before| before.to == stretch.from),
            stretch.batch,
        ) {
            if batch.is_empty() {
                self.booked = Some(Booked { to, position });
                return Ok(());
            }
            let counted = batch.to;
            if store.spending().await?.book(position, *batch).await? {
                let position = counted;
                self.booked = Some(Booked { to, position });
                return Ok(());
            }
            // Booked by somebody else meanwhile, or with an answer that came too late.
        }
        self.read_to(to.upto, folder, store).await?;
        let position = match store.is_there().await {
            true => store.spending().await?.position().await?,
            false => Position::default(),
        };
        // Somebody else may have booked what stands behind it as well.
        let is_here = position.seq <= to.upto;
        self.booked = is_here.then_some(Booked { to, position });
        Ok(())
    }

    /// Books what stands in the journal up to this record, by reading it.
    pub async fn read_to(
        &mut self,
        last: u64,
        folder: &Path,
        store: &StoreDesk,
    ) -> Result<(), BookingError> {
        self.booked = None;
        catch_up_to(last, folder, store, &mut self.mark).await
    }
}

/// Books what stands in the journal and is not in yet. A store is made only when there is something to book.
///
/// `mark` tells where the last call ended, so that this one need not look for it; the store's position is what counts.
pub async fn catch_up(
    folder: &Path,
    store: &StoreDesk,
    mark: &mut Option<Bookmark>,
) -> Result<(), BookingError> {
    catch_up_to(u64::MAX, folder, store, mark).await
}

/// As [`catch_up`], with nothing behind this record.
async fn catch_up_to(
    last: u64,
    folder: &Path,
    store: &StoreDesk,
    mark: &mut Option<Bookmark>,
) -> Result<(), BookingError> {
    let at_once = MOST_AT_ONCE;
    catch_up_within(Bounds { last, at_once }, folder, store, mark).await
}

pub(crate) async fn catch_up_within(
    bounds: Bounds,
    folder: &Path,
    store: &StoreDesk,
    mark: &mut Option<Bookmark>,
) -> Result<(), BookingError> {
    let mut from = Position::default();
    // What was booked said that more would follow.
    let mut is_awaited = false;
    if store.is_there().await {
        from = store.spending().await?.position().await?;
    }
    loop {
        let (place, marked) = (folder.to_owned(), mark.clone());
        let reading =
            tokio::task::spawn_blocking(move || read_batch(&place, (from, bounds), marked)).await;
        let reading = reading.map_err(|_| BookingError::Ended)??;
        let batch = reading.batch;
        let (to, more) = (batch.to, batch.more);
        // Many records of no cost are gone past all the same, or they would be read for ever; and where the journal ends
        // with a go, the next one says so.
        if batch.is_empty() && batch.anew_from.is_none() && !more && !is_awaited {
            // An attempt that cost nothing is booked with what follows it: until then the mark stays where the store is.
            if to == from {
                *mark = reading.mark;
            }
            return Ok(());
        }
        let books = store.spending().await?;
        if !books.book(from, batch).await? {
            // Booked by somebody else meanwhile, or with an answer that came too late.
            from = books.position().await?;
            continue;
        }
        (from, *mark, is_awaited) = (to, reading.mark, more);
        if !more {
            return Ok(());
        }
    }
}

/// How much of the journal is not booked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Attempts and outcomes that are not in, so far as they were counted.
    pub records: u64,
    /// From the last that is in to the last of them.
    pub seconds: u64,
}

/// What of the journal is not booked, for whoever looks at both beside a gateway; a bound ends the counting.
pub fn behind(folder: &Path, booked: Position) -> Result<Behind, ReadError> {
    let mut behind = Behind::default();
    let mut from = booked.at_ms;
    let mut lines = costs(folder, booked.seq + 1);
    for _ in 0..MOST_AT_ONCE {
        let line = match lines.next_cost() {
            Some(Ok(line)) => line,
            Some(Err(ReadError::NoRecord { .. })) => continue,
            Some(Err(error)) => return Err(error),
            None => break,
        };
        if from == 0 {
            from = line.at_ms;
        }
        if matches!(line.cost, Cost::Attempt(_) | Cost::Outcome(_)) {
            behind.records += 1;
            behind.seconds = line.at_ms.saturating_sub(from) / 1_000;
        }
    }
    Ok(behind)
}
