//! Reads an event stream event by event, with the moment each one came.

use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;

use super::connection::Client;
use super::{AnswerHead, BodyEnd, ClientError};
use crate::http1::{BodyDecoder, Fields};
use crate::mock::Dialect;

/// One event, parsed as the standard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// From the last byte of the request.
    pub at: Duration,
    /// Empty when the event has no `event:` line.
    pub event: String,
    /// The `data:` lines, joined by LF.
    pub data: String,
}

/// An event stream while it is read.
#[derive(Debug)]
pub struct SseReader<'a> {
    client: &'a mut Client,
    head: AnswerHead,
    decoder: BodyDecoder,
    lines: Lines,
    /// Comment lines seen, without the colon.
    comments: Vec<String>,
    raw: BytesMut,
    end: Option<BodyEnd>,
}

/// The names of events that end an answer, where it is not `[DONE]`.
const LAST: [&str; 4] = [
    "message_stop",
    "message-end",
    "response.completed",
    "response.incomplete",
];

/// An event stream that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseStream {
    pub head: AnswerHead,
    pub events: Vec<SseEvent>,
    pub comments: Vec<String>,
    pub end: BodyEnd,
    pub took: Duration,
    /// The body, byte for byte.
    pub raw: BytesMut,
}

impl<'a> SseReader<'a> {
    pub(super) fn new(client: &'a mut Client, head: AnswerHead, decoder: BodyDecoder) -> Self {
        Self {
            client,
            head,
            decoder,
            lines: Lines::default(),
            comments: Vec::new(),
            raw: BytesMut::new(),
            end: None,
        }
    }

    #[must_use]
    pub fn head(&self) -> &AnswerHead {
        &self.head
    }

    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// `None` before the end.
    #[must_use]
    pub fn end(&self) -> Option<BodyEnd> {
        self.end
    }

    /// The connection beneath, to change its pace or patience between events.
    pub fn client(&mut self) -> &mut Client {
        self.client
    }

    /// The next event; `None` at the end of the body, however it came (see [`SseReader::end`]).
    ///
    /// # Errors
    /// When the body's framing is malformed.
    pub async fn next(&mut self) -> Result<Option<SseEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready() {
                return Ok(Some(event));
            }
            if self.end.is_some() {
                return Ok(None);
            }
            self.read_more().await?;
        }
    }

    /// The next event of those that have come already.
    pub fn ready(&mut self) -> Option<SseEvent> {
        let (event, data) = self.lines.next_event(&mut self.comments)?;
        Some(SseEvent {
            at: self.client.since_sent(),
            event,
            data,
        })
    }

    /// The body so far, byte for byte.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Reads what comes next, be it an event or less; the end, once it has come. See [`SseReader::ready`].
    ///
    /// # Errors
    /// As [`SseReader::next`].
    pub async fn read_more(&mut self) -> Result<Option<BodyEnd>, ClientError> {
        match self.client.read_piece(&mut self.decoder).await? {
            Ok(piece) => {
                self.raw.extend_from_slice(&piece);
                self.lines.push(&piece);
                Ok(None)
            }
            Err(end) => Ok(Some(*self.end.insert(end))),
        }
    }

    /// Reads to the end without looking for events.
    ///
    /// # Errors
    /// As [`SseReader::next`].
    pub async fn read_rest(&mut self) -> Result<BodyEnd, ClientError> {
        loop {
            match self.client.read_piece(&mut self.decoder).await? {
                Ok(piece) => self.raw.extend_from_slice(&piece),
                Err(end) => return Ok(*self.end.insert(end)),
            }
        }
    }

    /// Reads at most `count` events.
    ///
    /// # Errors
    /// As [`SseReader::next`].
    pub async fn take(&mut self, count: usize) -> Result<Vec<SseEvent>, ClientError> {
        let mut events = Vec::new();
        while events.len() < count {
            let Some(event) = self.next().await? else {
                break;
            };
            events.push(event);
        }
        Ok(events)
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// As [`SseReader::next`].
    pub async fn collect(mut self) -> Result<SseStream, ClientError> {
        let events = self.take(usize::MAX).await?;
        Ok(SseStream {
            took: self.client.since_sent(),
            head: self.head,
            events,
            comments: self.comments,
            end: self.end.unwrap_or(BodyEnd::Silent),
            raw: self.raw,
        })
    }
}

impl SseStream {
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.head.fields
    }

    /// The JSON of every event that is JSON.
    #[must_use]
    pub fn documents(&self) -> Vec<Value> {
        self.events
            .iter()
            .filter_map(|event| serde_json::from_str(&event.data).ok())
            .collect()
    }

    /// The text of the answer.
    #[must_use]
    pub fn text(&self, dialect: Dialect) -> String {
        dialect.text_of(&self.documents())
    }

    /// When the first event with text came.
    #[must_use]
    pub fn first_content_at(&self, dialect: Dialect) -> Option<Duration> {
        let has_text = |event: &&SseEvent| {
            serde_json::from_str(&event.data)
                .is_ok_and(|document| !dialect.text_of(&[document]).is_empty())
        };
        self.events.iter().find(has_text).map(|event| event.at)
    }

    #[must_use]
    pub fn is_done(&self) -> bool {
        self.events
            .iter()
            .any(|event| event.data == "[DONE]" || LAST.contains(&event.event.as_str()))
    }
}

/// The line and event rules of the WHATWG standard.
#[derive(Debug, Default)]
struct Lines {
    pending: BytesMut,
    event: String,
    data: Vec<String>,
    begun: bool,
    /// The last line ended with CR; a LF right behind belongs to it.
    after_cr: bool,
}

impl Lines {
    fn push(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    fn next_event(&mut self, comments: &mut Vec<String>) -> Option<(String, String)> {
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !self.data.is_empty() {
                    return Some((event, std::mem::take(&mut self.data).join("\n")));
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line.as_str(), ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" => comments.push(value.to_owned()),
                "event" => value.clone_into(&mut self.event),
                "data" => self.data.push(value.to_owned()),
                _ => {}
            }
        }
        None
    }

    /// A line ends with LF, CRLF or CR. It is given out at its CR, without waiting for what may follow.
    fn next_line(&mut self) -> Option<String> {
        if self.after_cr && !self.pending.is_empty() {
            self.after_cr = false;
            if self.pending.starts_with(b"\n") {
                drop(self.pending.split_to(1));
            }
        }
        if !self.begun && self.pending.len() >= 3 {
            self.begun = true;
            if self.pending.starts_with(b"\xEF\xBB\xBF") {
                drop(self.pending.split_to(3));
            }
        }
        let end = memchr::memchr2(b'\n', b'\r', &self.pending)?;
        self.begun = true;
        self.after_cr = self.pending.get(end) == Some(&b'\r');
        let line = self.pending.split_to(end);
        drop(self.pending.split_to(1));
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(wire: &[u8], size: usize) -> Vec<(String, String)> {
        let (mut lines, mut comments, mut seen) = (Lines::default(), Vec::new(), Vec::new());
        for piece in wire.chunks(size) {
            lines.push(piece);
            while let Some(event) = lines.next_event(&mut comments) {
                seen.push(event);
            }
        }
        seen
    }

    #[test]
    fn line_ends_of_every_kind_give_the_same_events_in_slices_of_any_size() {
        let pair = |event: &str, data: &str| (event.to_owned(), data.to_owned());
        let wanted = vec![pair("", "a\nb"), pair("x", "é"), pair("", "")];
        for newline in ["\n", "\r\n", "\r"] {
            let text = "\u{FEFF}data: a\ndata:b\n\n: note\nid: 7\nevent: x\ndata: é\n\ndata\n\n"
                .replace('\n', newline);
            for size in 1..text.len() {
                assert_eq!(
                    events(text.as_bytes(), size),
                    wanted,
                    "{newline:?} in slices of {size}"
                );
            }
        }
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_an_event() {
        assert!(events(b"data: a\n", 3).is_empty());
    }
}
