//! Responses that are kept: what a request asks of the state, the conversation it goes on from, and what is told
//! of it afterwards. Pure: who keeps them and whose they are is decided elsewhere.

mod ask;
mod items;
mod log;
mod page;
mod replay;
#[cfg(test)]
mod tests;

pub use ask::{Rewritten, Shift, StateAsk, read_state, rewritten};
pub use items::{item_ids, loses_thoughts, said_again, thinker, used_items, with_ids};
pub use log::{EventLog, Stamp, cut_short, stamp_line, stamp_response, with_what_had_come};
pub use page::{Order, PageQuery, page};
pub use replay::{cancelled_event, is_end, told_again};

/// Draws what makes an id unguessable.
pub type Draw<'a> = &'a mut dyn FnMut() -> String;
