//! What a mock does with one request: a healthy answer (changed or not), a canned one, or bare wire steps.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::asked::Asked;
use super::edit::Edit;
use super::weather::Weather;
use crate::http1::{self, Fields};

/// What a `Send` carries, so that the log can tell the head from content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Status line and fields.
    Head,
    /// The first byte of a content part is "first content".
    Content,
    /// Roles, pings, usage, terminal events, error bodies.
    Other,
}

/// One thing done on the wire.
#[derive(Debug, Clone)]
pub enum Step {
    Send {
        bytes: Bytes,
        part: Part,
    },
    Sleep(Duration),
    /// The same bytes again and again: `per_burst` times, then a `gap`, `bursts` times over.
    Repeat {
        bytes: Bytes,
        per_burst: u32,
        gap: Duration,
        bursts: u64,
    },
    /// From here on, writes leave in pieces.
    Slice(Slice),
    /// Keep the connection open and say nothing until the peer leaves.
    Hold,
    /// RST, at once; what the peer has not received may be lost.
    Reset,
    /// FIN.
    Fin,
    /// Nothing on the wire: from here on the log names the fault.
    Mark,
}

impl Step {
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::Send {
            bytes: bytes.into(),
            part: Part::Other,
        }
    }
}

/// Writes in pieces of `bytes`, each its own segment, `gap` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub bytes: usize,
    pub gap: Duration,
}

/// What becomes of the connection after a whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum After {
    #[default]
    KeepAlive,
    /// FIN once the connection was idle this long.
    CloseIdle(Duration),
    /// Stay open, and FIN without a byte when the next request has arrived: the keep-alive race, made certain.
    FinOnReuse,
    /// As `FinOnReuse`, but RST, as a kernel answers for a socket that is gone.
    ResetOnReuse,
}

/// What the mock does with one request.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// What the log calls requests in which it shows.
    pub(super) label: Option<Arc<str>>,
    pub(super) act: Act,
    pub(super) delay: Duration,
    pub(super) slice: Option<Slice>,
    pub(super) after: After,
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    Healthy(Box<Healthy>),
    Canned(Canned),
    Steps(Vec<Step>),
    Choose(Choose),
}

/// Picks another behaviour, from what is known of the request.
#[derive(Clone)]
pub(super) struct Choose(pub(super) Arc<dyn Fn(&Asked) -> Behaviour + Send + Sync>);

impl fmt::Debug for Choose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Choose")
    }
}

/// Whether the answer is JSON or an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    AsAsked,
    Unary,
    Stream,
}

/// What the answer says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Words {
    /// Numbered words, see [`crate::canary`].
    #[default]
    Canary,
    /// These pieces, one per content event.
    Given(Vec<String>),
}

/// How many tools the answer calls.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Calls {
    /// As the request's marker `[[tools]]` or `[[tools:2]]`, or its `tool_choice`, says.
    #[default]
    AsAsked,
    Exactly(usize),
    /// These tools with these arguments.
    Given(Vec<(String, Value)>),
}

/// A correct answer, and what is then spoiled in it.
#[derive(Debug, Clone, Default)]
pub struct Healthy {
    /// `None`: the mock's.
    pub weather: Option<Weather>,
    pub form: Form,
    pub words: Words,
    pub calls: Calls,
    /// `None`: as the request's `n` says.
    pub choices: Option<usize>,
    pub edits: Vec<Edit>,
}

/// A status, fields and a body, independent of what was asked.
#[derive(Debug, Clone)]
pub struct Canned {
    pub status: u16,
    pub fields: Fields,
    pub body: Bytes,
}

impl From<Act> for Behaviour {
    fn from(act: Act) -> Self {
        Self {
            label: None,
            act,
            delay: Duration::ZERO,
            slice: None,
            after: After::KeepAlive,
        }
    }
}

impl Behaviour {
    #[must_use]
    pub fn healthy() -> Self {
        Self::from(Healthy::default())
    }

    /// `status` with an empty body; see [`Behaviour::header`] and [`Behaviour::json`].
    #[must_use]
    pub fn status(status: u16) -> Self {
        Act::Canned(Canned {
            status,
            fields: Vec::new(),
            body: Bytes::new(),
        })
        .into()
    }

    #[must_use]
    pub fn steps(steps: Vec<Step>) -> Self {
        Act::Steps(steps).into()
    }

    /// Exactly these bytes; the connection is kept if they are a whole answer, for the peer cannot know better.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::steps(vec![Step::raw(bytes)])
    }

    /// Decided for each request anew.
    #[must_use]
    pub fn choose(choice: impl Fn(&Asked) -> Self + Send + Sync + 'static) -> Self {
        Act::Choose(Choose(Arc::new(choice))).into()
    }

    /// `bad` for this share of requests, drawn from the seed and the request's number, else healthy.
    #[must_use]
    pub fn share(share: f64, seed: u64, bad: Self) -> Self {
        Self::choose(move |asked| {
            let mut draw =
                fastrand::Rng::with_seed(seed ^ asked.number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if draw.f64() < share {
                bad.clone()
            } else {
                Self::healthy()
            }
        })
    }

    /// Healthy for `good`, then `bad` for `ill`, and so on, counted from the mock's start.
    #[must_use]
    pub fn flapping(good: Duration, ill: Duration, bad: Self) -> Self {
        Self::choose(move |asked| {
            let period = good.saturating_add(ill).as_nanos().max(1);
            if asked.at.as_nanos() % period < good.as_nanos() {
                Self::healthy()
            } else {
                bad.clone()
            }
        })
    }

    /// `bad` when the raw request body holds `needle`, else healthy.
    #[must_use]
    pub fn if_body_holds(needle: impl Into<String>, bad: Self) -> Self {
        let needle = needle.into();
        Self::choose(move |asked| {
            if memchr::memmem::find(&asked.body, needle.as_bytes()).is_some() {
                bad.clone()
            } else {
                Self::healthy()
            }
        })
    }

    /// Adds a field. On a healthy answer that is an edit; on bare steps it changes nothing.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        match &mut self.act {
            Act::Canned(canned) => canned.fields.push((name.to_owned(), value)),
            Act::Healthy(healthy) => healthy.edits.push(super::edit::header(name, value)),
            Act::Steps(_) | Act::Choose(_) => {}
        }
        self
    }

    /// The body of a canned answer, with its content type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        if let Act::Canned(canned) = &mut self.act {
            canned.body = body.into();
            canned
                .fields
                .push(("content-type".to_owned(), content_type.to_owned()));
        }
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Spoils a healthy answer; edits run in the order given.
    #[must_use]
    pub fn edit(mut self, edit: Edit) -> Self {
        if let Act::Healthy(healthy) = &mut self.act {
            healthy.edits.push(edit);
        }
        self
    }

    /// Named in the log by every exchange in which it shows: one that was over or left before that is not.
    #[must_use]
    pub fn labelled(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Nothing at all is written for this long.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    #[must_use]
    pub fn sliced(mut self, bytes: usize, gap: Duration) -> Self {
        self.slice = Some(Slice {
            bytes: bytes.max(1),
            gap,
        });
        self
    }

    #[must_use]
    pub fn then(mut self, after: After) -> Self {
        self.after = after;
        self
    }
}

impl From<Healthy> for Behaviour {
    fn from(healthy: Healthy) -> Self {
        Act::Healthy(Box::new(healthy)).into()
    }
}

impl From<Weather> for Behaviour {
    fn from(weather: Weather) -> Self {
        Healthy {
            weather: Some(weather),
            ..Healthy::default()
        }
        .into()
    }
}

impl Canned {
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut fields = self.fields.clone();
        // A 204 or 1xx has no body, and so no length.
        if self.status >= 200
            && self.status != 204
            && http1::field(&fields, "content-length").is_none()
        {
            fields.push(("content-length".to_owned(), self.body.len().to_string()));
        }
        let mut steps = vec![Step::Send {
            bytes: head(self.status, &fields),
            part: Part::Head,
        }];
        if !self.body.is_empty() {
            steps.push(Step::raw(self.body.clone()));
        }
        steps
    }
}

/// A status line and fields; `date` is added unless the fields bring their own.
#[must_use]
pub fn head(status: u16, fields: &Fields) -> Bytes {
    let mut text = format!("HTTP/1.1 {status} {}\r\n", http1::reason(status));
    if http1::field(fields, "date").is_none() {
        text.push_str("date: ");
        text.push_str(&http1::http_date(http1::unix_now()));
        text.push_str("\r\n");
    }
    for (name, value) in fields {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into()
}
