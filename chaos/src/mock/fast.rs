//! The cheap path for load: prebuilt bytes out, nothing parsed that need not be, nothing logged.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::behaviour::{Form, Step};
use super::dialect::Dialect;
use super::sample;
use super::shared::{Counted, Shared};

/// A request larger than this is not load, it is a mistake.
const REQUEST_LIMIT: usize = 16 * 1024 * 1024;
const FIELDS: usize = 64;

/// What every request gets when the mock is fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fast {
    /// Bytes of text in the answer, spread evenly over the chunks.
    pub text_bytes: usize,
    /// Content events of a stream.
    pub chunks: usize,
    /// Before the head.
    pub delay: Duration,
    /// Between events; zero sends the whole stream in one write.
    pub gap: Duration,
    /// So many events leave with the head, before the first gap.
    pub together: usize,
}

impl Default for Fast {
    fn default() -> Self {
        Self {
            text_bytes: 1024,
            chunks: 32,
            delay: Duration::ZERO,
            gap: Duration::ZERO,
            together: 0,
        }
    }
}

/// The answers, built once.
#[derive(Debug)]
pub(super) struct FastAnswers {
    delay: Duration,
    gap: Duration,
    unary: Bytes,
    /// One write each.
    stream: Vec<Bytes>,
    /// What in a body decides between the two.
    marks: [memmem::Finder<'static>; 2],
    /// A body with a mark wants a stream; otherwise one without.
    mark_is_stream: bool,
}

impl FastAnswers {
    pub(super) fn new(fast: Fast, dialect: Dialect, name: &str) -> Self {
        let (by_default, marks) = match dialect {
            Dialect::OpenAi
            | Dialect::Anthropic
            | Dialect::Responses
            | Dialect::Gemini
            | Dialect::Bedrock
            | Dialect::Cohere => (Form::Unary, ["\"stream\":true", "\"stream\": true"]),
            Dialect::Ollama => (Form::Stream, ["\"stream\":false", "\"stream\": false"]),
        };
        let unary = wire(fast, dialect, name, Form::Unary).concat().into();
        let mut stream = wire(fast, dialect, name, Form::Stream);
        let first = if fast.gap.is_zero() {
            stream.len()
        } else {
            stream.len().min(fast.together.saturating_add(1))
        };
        let rest = stream.split_off(first);
        stream = vec![stream.concat().into()];
        stream.extend(rest);
        Self {
            delay: fast.delay,
            gap: fast.gap,
            unary,
            stream,
            marks: marks.map(memmem::Finder::new),
            mark_is_stream: by_default == Form::Unary,
        }
    }

    /// Serves until the peer leaves.
    pub(super) async fn serve(&self, stream: &mut TcpStream, shared: &Shared) {
        let mut inbox = BytesMut::with_capacity(64 * 1024);
        // The peer's leaving is the normal end here.
        while let Ok(Some(wants_stream)) = self.next_request(stream, &mut inbox).await {
            shared.requests.fetch_add(1, Ordering::Relaxed);
            let _counted = Counted::new(&shared.in_flight);
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            if self.answer(stream, wants_stream).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, stream: &mut TcpStream, wants_stream: bool) -> io::Result<()> {
        if !wants_stream {
            return stream.write_all(&self.unary).await;
        }
        for (position, bytes) in self.stream.iter().enumerate() {
            if position > 0 && !self.gap.is_zero() {
                tokio::time::sleep(self.gap).await;
            }
            stream.write_all(bytes).await?;
        }
        Ok(())
    }

    /// Takes one request off the wire and tells whether it asks for a stream; `None` when the peer is done.
    async fn next_request(
        &self,
        stream: &mut TcpStream,
        inbox: &mut BytesMut,
    ) -> io::Result<Option<bool>> {
        loop {
            if let Some(Request {
                head,
                body,
                by_path,
            }) = measure(inbox)?
            {
                let whole = head.saturating_add(body);
                if whole > REQUEST_LIMIT {
                    return Err(io::Error::other("request is too large for the fast mock"));
                }
                while inbox.len() < whole {
                    inbox.reserve(whole.saturating_sub(inbox.len()));
                    if stream.read_buf(inbox).await? == 0 {
                        return Ok(None);
                    }
                }
                let request = inbox.split_to(whole);
                let body = request.get(head..).unwrap_or_default();
                let by_body = || {
                    let found = self.marks.iter().any(|mark| mark.find(body).is_some());
                    found == self.mark_is_stream
                };
                return Ok(Some(by_path || by_body()));
            }
            inbox.reserve(16 * 1024);
            if stream.read_buf(inbox).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// What a complete head says of its request.
struct Request {
    /// Its own length.
    head: usize,
    /// The length of the body it announces.
    body: usize,
    /// Its path asks for a stream.
    by_path: bool,
}

fn measure(inbox: &[u8]) -> io::Result<Option<Request>> {
    let mut slots = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut slots);
    let Ok(status) = parsed.parse(inbox) else {
        return Err(io::Error::other("not an HTTP/1.1 request"));
    };
    let httparse::Status::Complete(head) = status else {
        return Ok(None);
    };
    let by_path = parsed.path.is_some_and(|path| {
        path.contains(":streamGenerateContent") || path.ends_with("/converse-stream")
    });
    let named = |name: &str| {
        parsed
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
    };
    if named("transfer-encoding").is_some() {
        return Err(io::Error::other(
            "the fast mock reads bodies by content-length only",
        ));
    }
    let length = named("content-length")
        .map(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
    let body = match length {
        None => 0,
        Some(Some(body)) => body,
        Some(None) => return Err(io::Error::other("content-length is not a number")),
    };
    Ok(Some(Request {
        head,
        body,
        by_path,
    }))
}

/// A healthy answer as the writes it is made of: the head, each event, the end.
fn wire(fast: Fast, dialect: Dialect, name: &str, form: Form) -> Vec<Bytes> {
    let chunks = fast.chunks.max(1);
    let piece = "x".repeat(fast.text_bytes.div_ceil(chunks).max(1));
    let steps = sample::draft(dialect, name, vec![piece; chunks], form).steps();
    steps
        .into_iter()
        .filter_map(|step| {
            if let Step::Send { bytes, .. } = step {
                Some(bytes)
            } else {
                None
            }
        })
        .collect()
}
