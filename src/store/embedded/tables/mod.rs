//! Every table of the store: how it came to be, and what is let go of it.

mod alerted;
mod bought;
mod charges;
pub(super) mod keys;
mod meta;
mod repriced;
mod responses;
mod rollup;
pub(super) mod spend;
#[cfg(test)]
mod tests;

use rusqlite::Connection;

use super::schema::Migration;

/// A concern's part of the file.
struct Table {
    migrations: &'static [Migration],
    /// Called once when the store is opened; tells how much of it was under way when the last process ended.
    started: fn(&Connection) -> rusqlite::Result<u64>,
    /// Deletes what is over at this moment (unix seconds), and tells how much.
    expire: fn(&Connection, u64) -> rusqlite::Result<u64>,
    /// Deletes some of the oldest for want of room, and tells how much; 0 where nothing may be let go.
    evict: fn(&Connection) -> rusqlite::Result<u64>,
}

/// In the order in which they give room.
const ALL: &[Table] = &[
    responses::TABLE,
    spend::TABLE,
    charges::TABLE,
    alerted::TABLE,
    bought::TABLE,
    rollup::TABLE,
    repriced::TABLE,
    keys::TABLE,
    meta::TABLE,
];

/// Whoever has nothing to say here.
fn nothing(_: &Connection) -> rusqlite::Result<u64> {
    Ok(0)
}

/// All steps, in order.
pub(super) fn migrations() -> Vec<&'static Migration> {
    let mut steps: Vec<_> = ALL.iter().flat_map(|table| table.migrations).collect();
    steps.sort_by_key(|step| step.number);
    steps
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_bytes: u64,
}

/// What was let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tidied {
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) bytes: u64,
}

/// Room is made from nine tenths of the limit on, so that writes are hardly ever refused.
const FULL_ABOVE: u64 = 9;
/// One tidying lets go of so many handfuls at most; the next one goes on.
const HANDFULS: u32 = 64;
/// Pages given back to the disk at once.
const PAGES_BACK: u32 = 2_000;

pub(super) fn started(connection: &Connection) -> rusqlite::Result<u64> {
    ALL.iter()
        .try_fold(0, |sum, table| Ok(sum + (table.started)(connection)?))
}

pub(super) fn tidy(connection: &Connection, limits: &Limits, now: u64) -> rusqlite::Result<Tidied> {
    let mut tidied = Tidied::default();
    for table in ALL {
        tidied.expired += (table.expire)(connection, now)?;
    }
    let most = limits.max_bytes / 10 * FULL_ABOVE;
    for _ in 0..HANDFULS {
        if used(connection)? <= most {
            break;
        }
        // Who comes first gives all it has before the next one is asked.
        let mut evicted = 0;
        for table in ALL {
            evicted = (table.evict)(connection)?;
            if evicted > 0 {
                break;
            }
        }
        if evicted == 0 {
            break;
        }
        tidied.evicted += evicted;
    }
    connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_BACK})"))?;
    tidied.bytes = used(connection)?;
    Ok(tidied)
}

/// Bytes of the pages that hold something.
pub(super) fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(pages.saturating_mul(pragma("page_size")?))
}
