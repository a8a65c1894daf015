//! Ollama's own chat, as providers speak it: a line of JSON per event, arguments as objects, no ids that can be
//! relied on.

mod answer;
mod embedding;
mod events;
mod request;

pub use answer::{decode_answer, decode_error};
pub use embedding::{decode_embedded, encode_embedding};
pub use events::EventDecoder;
pub use request::encode_request;
