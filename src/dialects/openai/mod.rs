//! OpenAI's chat completions: spliced when both sides speak it, translated when one does not.

mod answer;
mod arguments;
mod chunk;
mod content;
mod cost;
mod embedding;
mod encode;
mod encode_messages;
mod encode_request;
mod error;
mod events;
mod form;
mod operations;
mod peek;
mod plain;
mod quirks;
mod request;
mod said;
mod splice;
mod thinking;
mod typed;
mod wishes;

pub use answer::{decode_answer, inspect_answer};
pub use chunk::SpliceRelay;
pub use cost::{CostRelay, Costing, ToldCost, tell_whole, with_cost};
pub use embedding::{decode_embedded, decode_embedding, encode_embedded, encode_embedding};
pub use encode::{StreamEncoder, encode_answer, encode_error};
pub use encode_request::encode_request;
pub use error::decode_error;
pub use events::EventDecoder;
pub use form::peek_form;
pub use operations::{CompletionDecoder, inspect_result, inspect_text};
pub use peek::{ChatPeek, RequestError, peek_addressed, peek_named, peek_operation, peek_request};
pub use quirks::adapt;
pub use request::decode_request;
pub use splice::{SpliceEdit, splice_request};
pub use typed::TypedDecoder;
pub use wishes::Wishes;

pub(super) use arguments::Arguments;
pub(super) use embedding::dimensions;
pub(super) use error::outcome_of;
pub(super) use peek::OURS;
pub(super) use thinking::effort_word;
