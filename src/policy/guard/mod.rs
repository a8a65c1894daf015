//! The guard: what must not leave, or must not come in, found in texts and taken out.
//!
//! [`Finder`] says where something is, [`Actions`] what is done about it, [`Vault`] keeps what was taken out of a
//! request so that the answer gets it back, and [`Channel`] does all of it to a text that comes in pieces.
//!
//! # Why one union of overlapping hits
//! Two detectors may see different things in the same characters. Were only one of the hits kept, the rest of the
//! other would stay in the text. So hits that overlap become one: the longest names it, the strictest decides.
//!
//! # Why everything found has a bounded length
//! A stream is only ever held back at its end. What could still grow into a hit has to fit into that.

mod channel;
mod find;
mod redact;
mod rules;
mod schema;
#[cfg(test)]
mod tests;
mod vault;

pub use channel::{Channel, Decided, Form, Said, Searched};
pub use find::{Finder, FinderError, Hit, LONGEST_HIT, Lists, MOST_PATTERNS, Pattern};
pub use redact::{Edit, Found, redact};
pub use rules::{Action, Actions, Class, RuleId, Tally};
pub use schema::{Schema, SchemaError};
pub use vault::Vault;
