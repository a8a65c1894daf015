//! Anthropic's messages, both sides.

mod answer;
mod decode;
mod delta;
mod encode;
mod events;
mod request;
mod vertex;

pub use answer::{decode_answer, decode_error};
pub use decode::{decode_request, ends_in_results};
pub use encode::{StreamEncoder, encode_answer, encode_error};
pub use events::EventDecoder;
pub use request::encode_request;
pub use vertex::for_vertex;
