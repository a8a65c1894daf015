//! The journal: one line of JSON per record, each chained to the one before by SHA-256.
//!
//! # Who writes
//! An intent must be on its way to the disk before the first byte goes to a provider (ground rule G8), so
//! a request waits for its record. While the disk is quick, whoever waits writes for itself and for all who
//! came before: a write to the page cache costs less than waking a thread. A disk that turns slow, syncs,
//! and records nobody waits for are left to a thread of their own, which writes all of a moment at once.

mod anchor;
mod costs;
mod handle;
mod health;
mod owed;
mod owners;
mod read;
mod record;
mod recover;
mod retention;
mod rows;
mod segment;
mod tally;
#[cfg(test)]
mod tests;
mod thread;
mod told;
mod verify;
mod writer;

pub use anchor::{Anchor, AnchorError, anchor};
pub use costs::{AttemptCost, Cost, EventTold, OutcomeCost};
pub use handle::{JournalError, JournalHandle, JournalOptions, Written, open};
pub use health::JournalHealth;
pub use owners::names as alias_names;
pub use owners::{Erasure, SealedError, TextKeys, TextReader, count_owners};
pub use read::{
    Bookmark, CostLine, Line, Lines, ReadError, ReadRecord, costs, costs_behind, costs_since, read,
};
pub use record::{Asked, AttemptRecord, IntentRecord, OutcomeRecord, Record, TextRecord, Who};
pub use recover::Opened;
pub use retention::{Keep, ask_to_erase};
pub use rows::{Row, Rows, Selection, rows};
pub use tally::{Stretch, WriterId, WrittenTo};
pub use told::{ReadAttempt, ReadEvent, ReadIntent, ReadOutcome, ReadText};
pub use verify::{VerifyReport, verify, verify_against};
