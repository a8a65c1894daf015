//! Google's generateContent, both sides: the Gemini API and Vertex AI share it.
//!
//! # Names in two styles
//! Google's servers take `camelCase` and `snake_case` at any depth, and its SDKs send a mixture. What a client
//! sends is read by [`names::camel`] first; what leaves is always `camelCase`.

mod answer;
mod decode;
mod embedding;
mod encode;
mod events;
mod names;
mod plain;
mod request;
mod schema;
mod thinking;

pub use answer::{decode_answer, decode_error};
pub use decode::decode_request;
pub use embedding::{
    decode_embedded, decode_embedding, encode_embedded, encode_embedding, readdress,
};
pub use encode::{StreamEncoder, encode_answer, encode_error};
pub use events::EventDecoder;
pub(super) use names::camel;
pub(super) use plain::whole_number;
pub(super) use request::NO_SIGNATURE;
pub use request::encode_request;
pub(super) use thinking::newest;
