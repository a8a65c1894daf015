//! Cohere's chat, second version, as providers speak it.

mod answer;
mod events;
mod request;

pub use answer::{decode_answer, decode_error};
pub use events::EventDecoder;
pub use request::encode_request;
