//! Keys of the gateway's own: how they look, who holds one, who may make one.
//!
//! | module | is |
//! |---|---|
//! | [`form`] | the text of a key |
//! | [`Roster`] | every tenant and key in force, of the file and of the store, ready to be looked up |
//! | [`Identities`] | who comes with a token of somebody else's |
//! | [`Office`] | makes, changes and ends keys and tenants, within what the one who asks may do |
//!
//! # Why one office for the command and the admin API
//! What a key may be made with is decided in one place, from the same roster, whoever asks: there is no second way
//! in that checks less (attack A06).

mod command;
pub mod form;
mod identity;
mod office;
mod pepper;
mod roster;
mod terms;
#[cfg(test)]
mod tests;

pub use command::{Decision, KeyCommand, Page};
pub use identity::{ASK_AT_MOST, Identities, Identity, Now, TokenFault};
pub use office::{Denied, Issued, KeyPatch, NewKey, Office, Principal};
pub use pepper::Pepper;
pub use roster::{AdminKey, Client, KeyFault, Roster};
