//! What an operator is told of by webhook: what happened, in which words, how often, and what when nobody answers.
//!
//! | type | is |
//! |---|---|
//! | [`Notice`] | something that happened, with its id and its body |
//! | [`Outbox`] | what one receiver is still to be told, bounded |
//!
//! # Why the id is reckoned and not drawn
//! A budget's threshold is reached once in its period. Its id is a digest of account, threshold and period, so a
//! receiver that is told twice, by a restart or by a retry, can see that it is the same.

mod notice;
mod outbox;
#[cfg(test)]
mod tests;

pub use notice::{AlertKind, Facts, Notice};
pub use outbox::{Delivery, Next, Outbox, Parcel, Taken};
