//! A raw HTTP/1.1 client that sees what a client sees: every byte, when it came, and how it ended.

mod connection;
mod sse;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

pub(crate) use connection::parse_head as answer_head;
pub use connection::request_bytes;
pub use connection::{Client, ConnectOptions, ReadPace};
pub use sse::{SseEvent, SseReader, SseStream};

use crate::http1::{self, Fields, WireError};

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// As its framing wanted.
    Whole,
    /// FIN before that.
    Cut,
    /// RST before that.
    Reset,
    /// The client's patience ended first; the connection is still open.
    Silent,
}

/// An answer's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHead {
    pub status: u16,
    pub fields: Fields,
    /// Informational heads (1xx) that came before.
    pub informational: Vec<u16>,
    /// From the last byte of the request.
    pub at: Duration,
}

/// A whole answer, or as much of it as came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub head: AnswerHead,
    pub body: Bytes,
    pub end: BodyEnd,
    /// From the last byte of the request to the end of the body.
    pub took: Duration,
    /// Whole HTTP chunks, 0 without chunked framing.
    pub chunks: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("connection broke while sending: {0}")]
    Send(std::io::Error),
    #[error("connection was reset before the answer's head")]
    ResetBeforeHead,
    #[error("connection was closed before the answer's head")]
    ClosedBeforeHead,
    #[error("connection was closed inside the answer's head")]
    CutInHead,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl AnswerHead {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http1::field(&self.fields, name)
    }
}

impl Answer {
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// `Null` when the body is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
