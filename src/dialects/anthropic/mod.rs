//! Anthropic's messages, provider side: requests out, answers and streams in.

mod answer;
mod events;
mod request;

pub use answer::{decode_answer, decode_error};
pub use events::EventDecoder;
pub use request::encode_request;
