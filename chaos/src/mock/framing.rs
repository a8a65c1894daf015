//! How the events of a stream lie in its body.

use bytes::Bytes;

/// How the events of a stream lie in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// `event:` and `data:` lines and a blank one.
    #[default]
    Sse,
}

impl Framing {
    /// What an answer that streams says of itself.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
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
        }
    }
}
