//! The journal: one line of JSON per record, each chained to the one before by SHA-256.
//!
//! # Why a thread with a buffer
//! An intent must be on its way to the disk before the first byte goes to a provider (ground rule G8), so
//! a request waits for its batch. All requests of a moment share one write. Attempts and outcomes wake
//! nobody: they ride with the next intent, or leave within 20 ms.

mod record;
mod segment;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use record::{AttemptRecord, IntentRecord, OutcomeRecord, Record};
pub use verify::{VerifyReport, verify};
pub use writer::{JournalError, JournalHandle, JournalHealth, JournalOptions, Opened, open};
