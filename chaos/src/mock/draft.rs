//! A healthy answer before it becomes bytes: this is what edits spoil.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::behaviour::{Part, Step, head};
use super::framing::Framing;
use crate::http1::{Fields, LAST_CHUNK, chunk};

/// An answer that is not yet bytes.
#[derive(Debug, Clone)]
pub struct Draft {
    pub status: u16,
    /// Without the framing fields, which follow from the body.
    pub fields: Fields,
    pub body: Body,
    /// Informational heads (1xx) that go out first.
    pub early_heads: Vec<(u16, Fields)>,
    /// From the request to the head.
    pub head_wait: Duration,
    /// `content-length` of a document when it is not the truth.
    pub promised_length: Option<usize>,
    pub ending: Ending,
}

#[derive(Debug, Clone)]
pub enum Body {
    Document(Document),
    Events(Vec<Event>),
}

#[derive(Debug, Clone)]
pub enum Document {
    Json(Value),
    Raw(Bytes),
}

/// What an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Announces the answer or a block; holds no content.
    Opening,
    Content,
    /// Closes a block; holds no content.
    Closing,
    /// Tells why the answer stopped.
    Finish,
    Usage,
    /// `[DONE]`, `message_stop`, `response.completed`.
    Terminal,
    /// Pings, comments and whatever an edit put in.
    Noise,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub kind: Kind,
    /// Before it is written.
    pub wait: Duration,
    pub payload: Payload,
}

#[derive(Debug, Clone)]
pub enum Payload {
    Json {
        framing: Framing,
        event: Option<&'static str>,
        data: Value,
    },
    Raw(Bytes),
}

/// How the wire ends after the last byte of the draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As the framing wants it; a shortened event list then ends cleanly and is still cut.
    Whole,
    /// FIN without the last chunk.
    Fin,
    Reset,
    /// Open and silent until the peer leaves.
    Hold,
    /// Open and silent this long, then whole.
    Linger(Duration),
}

impl Event {
    /// An event of an SSE stream.
    #[must_use]
    pub fn json(kind: Kind, event: Option<&'static str>, data: Value) -> Self {
        Self::framed(Framing::Sse, kind, event, data)
    }

    #[must_use]
    pub fn framed(framing: Framing, kind: Kind, event: Option<&'static str>, data: Value) -> Self {
        let payload = Payload::Json {
            framing,
            event,
            data,
        };
        Self {
            kind,
            wait: Duration::ZERO,
            payload,
        }
    }

    #[must_use]
    pub fn raw(kind: Kind, bytes: impl Into<Bytes>) -> Self {
        Self {
            kind,
            wait: Duration::ZERO,
            payload: Payload::Raw(bytes.into()),
        }
    }

    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The event as it goes into the body.
    #[must_use]
    pub fn render(&self) -> Bytes {
        match &self.payload {
            Payload::Raw(bytes) => bytes.clone(),
            Payload::Json {
                framing,
                event,
                data,
            } => framing.wrap(*event, data.to_string().as_bytes()),
        }
    }
}

impl Document {
    #[must_use]
    pub fn render(&self) -> Bytes {
        match self {
            Self::Json(value) => value.to_string().into(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

impl Draft {
    pub(super) fn healthy(fields: Fields, body: Body, head_wait: Duration) -> Self {
        Self {
            status: 200,
            fields,
            body,
            early_heads: Vec::new(),
            head_wait,
            promised_length: None,
            ending: Ending::Whole,
        }
    }

    /// Every JSON text of the answer.
    pub fn documents(&mut self) -> Vec<&mut Value> {
        match &mut self.body {
            Body::Document(Document::Json(value)) => vec![value],
            Body::Document(Document::Raw(_)) => Vec::new(),
            Body::Events(events) => events
                .iter_mut()
                .filter_map(|event| match &mut event.payload {
                    Payload::Json { data, .. } => Some(data),
                    Payload::Raw(_) => None,
                })
                .collect(),
        }
    }

    /// The events, or nothing for a document.
    pub fn events(&mut self) -> Option<&mut Vec<Event>> {
        match &mut self.body {
            Body::Events(events) => Some(events),
            Body::Document(_) => None,
        }
    }

    /// The place in the event list just behind the `count`-th content event.
    #[must_use]
    pub fn behind_content(&self, count: usize) -> Option<usize> {
        let Body::Events(events) = &self.body else {
            return None;
        };
        if count == 0 {
            return events.iter().position(|event| event.kind == Kind::Content);
        }
        let contents = events
            .iter()
            .enumerate()
            .filter(|(_, event)| event.kind == Kind::Content);
        contents
            .map(|(at, _)| at.saturating_add(1))
            .nth(count.saturating_sub(1))
    }

    pub(super) fn steps(self) -> Vec<Step> {
        let Self {
            status,
            mut fields,
            body,
            early_heads,
            head_wait,
            promised_length,
            ending,
        } = self;
        let mut steps: Vec<Step> = early_heads
            .iter()
            .map(|(status, fields)| Step::raw(head(*status, fields)))
            .collect();
        push_sleep(&mut steps, head_wait);
        match body {
            Body::Document(document) => {
                let bytes = document.render();
                let length = promised_length.unwrap_or(bytes.len());
                fields.push(("content-length".to_owned(), length.to_string()));
                steps.push(Step::Send {
                    bytes: head(status, &fields),
                    part: Part::Head,
                });
                steps.push(Step::Send {
                    bytes,
                    part: Part::Content,
                });
                push_ending(&mut steps, ending, None);
            }
            Body::Events(events) => {
                fields.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
                steps.push(Step::Send {
                    bytes: head(status, &fields),
                    part: Part::Head,
                });
                for event in events {
                    push_sleep(&mut steps, event.wait);
                    let part = if event.kind == Kind::Content {
                        Part::Content
                    } else {
                        Part::Other
                    };
                    steps.push(Step::Send {
                        bytes: chunk(&event.render()),
                        part,
                    });
                }
                push_ending(&mut steps, ending, Some(LAST_CHUNK));
            }
        }
        steps
    }
}

fn push_sleep(steps: &mut Vec<Step>, wait: Duration) {
    if !wait.is_zero() {
        steps.push(Step::Sleep(wait));
    }
}

fn push_ending(steps: &mut Vec<Step>, ending: Ending, last_chunk: Option<Bytes>) {
    match ending {
        Ending::Fin => steps.push(Step::Fin),
        Ending::Reset => steps.push(Step::Reset),
        Ending::Hold => steps.push(Step::Hold),
        Ending::Whole => steps.extend(last_chunk.map(Step::raw)),
        Ending::Linger(how_long) => {
            steps.push(Step::Sleep(how_long));
            steps.extend(last_chunk.map(Step::raw));
        }
    }
}
