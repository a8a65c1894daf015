//! The journal: one line of JSON per record, each chained to the one before by SHA-256.
//!
//! # Who writes
//! An intent must be on its way to the disk before the first byte goes to a provider (ground rule G8), so
//! a request waits for its record. While the disk is quick, whoever waits writes for itself and for all who
//! came before: a write to the page cache costs less than waking a thread. A disk that turns slow, syncs,
//! and records nobody waits for are left to a thread of their own, which writes all of a moment at once.

mod anchor;
mod owners;
mod read;
mod record;
mod recover;
mod retention;
mod rows;
mod segment;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use anchor::{Anchor, AnchorError, anchor};
pub use owners::{Erasure, SealedError, TextKeys, TextReader, count_owners};
pub use read::{
    Line, Lines, ReadAttempt, ReadError, ReadEvent, ReadIntent, ReadOutcome, ReadRecord, ReadText,
    read,
};
pub use record::{AttemptRecord, IntentRecord, OutcomeRecord, Record, TextRecord, Who};
pub use recover::Opened;
pub use retention::{Keep, ask_to_erase};
pub use rows::{Row, Rows, Selection, rows};
pub use verify::{VerifyReport, verify, verify_against};
pub use writer::{JournalError, JournalHandle, JournalHealth, JournalOptions, Written, open};
