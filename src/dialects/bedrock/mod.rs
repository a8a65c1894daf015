//! AWS Bedrock's Converse, as providers speak it: one form for models of many makers.
//!
//! What only one maker's models know goes into a field of its own, by the name of the model.

mod answer;
mod embedding;
mod events;
mod media;
mod model;
mod request;
mod settings;

pub use answer::{decode_answer, decode_error};
pub use embedding::{decode_embedded, encode_embedding};
pub use events::EventDecoder;
pub use request::encode_request;
