//! What the clients saw, request by request: the first of the four records.

use serde_json::Value;

use crate::canary::{self, Broken, Origin};

/// How a request ended for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Status 200, and an end that claims to be whole.
    Whole,
    /// An error answer, with the code it named.
    Refused(String),
    /// An error event inside a stream, with the code it named.
    ErrorEvent(String),
    /// The stream or body stopped: the client can see that it is not whole.
    Cut,
    /// The connection was reset in the middle.
    Reset,
    /// No byte within the client's patience.
    Silent,
    /// No answer at all: refused, reset or closed before a head.
    Unanswered(&'static str),
    /// The client left of its own will.
    Left,
    /// An abusive client was refused as it must be: the status, or `closed`.
    Repelled(String),
    /// An abusive client got what nobody like it may get.
    Indulged(String),
}

impl Ended {
    /// What totals and cases call it.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Whole => "ok".to_owned(),
            Self::Refused(code) | Self::ErrorEvent(code) => code.clone(),
            Self::Cut => "cut".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::Silent => "silent".to_owned(),
            Self::Unanswered(why) => (*why).to_owned(),
            Self::Left => "left".to_owned(),
            Self::Repelled(how) => format!("repelled_{how}"),
            Self::Indulged(how) => how.clone(),
        }
    }

    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Whole | Self::Left | Self::Repelled(_))
    }
}

/// One request as its client saw it. Times are milliseconds of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub number: u64,
    /// Place of the workload in the scenario.
    pub workload: usize,
    pub stream: bool,
    /// When it should have been sent; an open loop does not wait for the gateway.
    pub due_ms: u64,
    pub head_ms: Option<u64>,
    pub first_content_ms: Option<u64>,
    pub end_ms: u64,
    pub status: Option<u16>,
    /// `x-request-id`.
    pub id: Option<String>,
    /// `x-switchyard-attempts`.
    pub attempts: Option<u32>,
    pub retry_after: bool,
    pub ended: Ended,
    /// An error event was followed by the mark of a whole stream.
    pub done_after_error: bool,
    /// What the text proves; `None` when there was none.
    pub text: Option<Result<Origin, Broken>>,
    /// A secret that was found in the answer, by its name.
    pub leaked: Option<&'static str>,
    /// The name of another tenant that was found in anything its client read.
    pub foreign: Option<String>,
}

impl Told {
    #[must_use]
    pub fn new(number: u64, workload: usize, stream: bool, due_ms: u64) -> Self {
        Self {
            number,
            workload,
            stream,
            due_ms,
            head_ms: None,
            first_content_ms: None,
            end_ms: due_ms,
            status: None,
            id: None,
            attempts: None,
            retry_after: false,
            ended: Ended::Unanswered("unsent"),
            done_after_error: false,
            text: None,
            leaked: None,
            foreign: None,
        }
    }

    /// Judges the text that came.
    pub fn read(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.text = Some(canary::verify(text));
        }
    }

    /// How long the client waited for the first content.
    #[must_use]
    pub fn waited(&self) -> Option<u64> {
        self.first_content_ms
            .map(|first| first.saturating_sub(self.due_ms))
    }
}

/// The code of an error document in any dialect; `unnamed` when there is none.
#[must_use]
pub fn code_of(document: &Value) -> String {
    let error = document.get("error").unwrap_or(document);
    ["code", "type", "status"]
        .iter()
        .find_map(|name| error.get(*name).and_then(Value::as_str))
        .unwrap_or("unnamed")
        .to_owned()
}
