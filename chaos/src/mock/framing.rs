//! How the events of a stream lie in its body.

use bytes::Bytes;

use super::event_stream;

/// How the events of a stream lie in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// `event:` and `data:` lines and a blank one.
    #[default]
    Sse,
    /// AWS's binary frames, with checksums.
    EventStream,
    /// One JSON object a line; an event has no name of its own.
    Lines,
}

impl Framing {
    /// What an answer that streams says of itself.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::EventStream => "application/vnd.amazon.eventstream",
            Self::Lines => "application/x-ndjson",
        }
    }

    /// One event around this payload, whatever the payload is; `name` is what the framing calls the event.
    #[must_use]
    pub fn wrap(self, name: Option<&str>, payload: &[u8]) -> Bytes {
        match self {
            Self::Sse => {
                let mut event = Vec::with_capacity(payload.len().saturating_add(64));
                if let Some(name) = name {
                    event.extend_from_slice(format!("event: {name}\n").as_bytes());
                }
                event.extend_from_slice(b"data: ");
                event.extend_from_slice(payload);
                event.extend_from_slice(b"\n\n");
                event.into()
            }
            Self::Lines => [payload, b"\n"].concat().into(),
            Self::EventStream => {
                let named = name.map(|name| (":event-type", name));
                let headers: Vec<(&str, &str)> = named
                    .into_iter()
                    .chain([
                        (":content-type", "application/json"),
                        (":message-type", "event"),
                    ])
                    .collect();
                event_stream::frame(&headers, payload)
            }
        }
    }

    /// An event-stream frame that is no event but an error outside the service's own list.
    #[must_use]
    pub fn error_frame(code: &str, message: &str) -> Bytes {
        let headers = [
            (":error-code", code),
            (":error-message", message),
            (":message-type", "error"),
        ];
        event_stream::frame(&headers, b"")
    }

    /// An event-stream frame whose known headers stand behind one of each type the format has.
    #[must_use]
    pub fn frame_of_every_type(name: &str, payload: &[u8]) -> Bytes {
        event_stream::frame_of_every_type(name, payload)
    }
}
