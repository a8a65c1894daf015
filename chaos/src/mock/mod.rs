//! A provider that is not one: healthy answers in its dialect, and every fault of the catalogue on the wire.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use switchyard_chaos::fault;
//! use switchyard_chaos::mock::{Dialect, MockOptions, MockProvider};
//!
//! let mock = MockProvider::start(MockOptions::for_dialect(Dialect::OpenAi)).await?;
//! mock.script(vec![fault::p01(Dialect::OpenAi, 7)]);
//! // … the first request to mock.base_url() gets a 429, every later one a healthy answer
//! # Ok(()) }
//! ```
//!
//! # Why
//! Written on bare sockets: a server library would refuse to send most of what this module is for.

mod asked;
mod behaviour;
mod connection;
mod control;
mod dialect;
mod draft;
pub mod edit;
mod event_stream;
mod fast;
mod form;
mod framing;
mod intake;
mod listener;
mod log;
mod mark;
mod options;
mod plan;
mod provider;
mod rate_limit;
mod sample;
mod schema;
mod script;
mod shared;
mod stage;
#[cfg(test)]
mod tests;
mod weather;
mod wish;

pub use asked::Asked;
pub use behaviour::{
    After, Behaviour, Calls, Canned, Form, Healthy, Part, Slice, Step, Words, head,
};
pub use dialect::Dialect;
pub use draft::{Body, Document, Draft, Ending, Event, Kind, Payload};
pub use edit::Edit;
pub use fast::Fast;
pub use framing::Framing;
pub use log::{Exchange, Leaving, Reported};
pub use options::MockOptions;
pub use provider::MockProvider;
pub use rate_limit::RateLimit;
pub(crate) use rate_limit::short_duration;
pub(crate) use sample::{bytes as sample_bytes, events as sample_events, frame as sample_frame};
pub use script::Script;
pub use shared::Door;
pub use weather::{Spread, Weather};
