//! OpenAI's responses, both sides.

mod answer;
mod decode;
mod encode;
mod events;
mod items;
mod request;
pub mod state;

pub use answer::decode_answer;
pub use decode::decode_request;
pub use encode::{StreamEncoder, encode_answer, encode_error, without_output};
pub use events::EventDecoder;
pub use request::encode_request;
