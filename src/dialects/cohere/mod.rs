//! Cohere's chat, second version, as providers speak it.

mod answer;
mod embedding;
mod events;
mod request;

pub use answer::{decode_answer, decode_error};
pub use embedding::{decode_embedded, encode_embedding};
pub use events::EventDecoder;
pub use request::encode_request;

pub(super) use embedding::fields as embedding_fields;
