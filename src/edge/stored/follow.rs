//! A stream that is made in the background, read from an event on.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde_json::Value;

use crate::dialects::responses::state::is_end;
use crate::dispatch::StreamPiece;
use crate::dispatch::once::Reader;

/// Reads what others read as well, but for the events that its client knows.
pub(in crate::edge) struct Follow {
    reader: Reader,
    /// The last event that the client knows; `None`: it knows nothing, or what it knows has passed.
    known: Option<u64>,
    /// An event that has not come in whole, while they are still looked at.
    held: BytesMut,
    /// How much of it was searched for an end before.
    searched: usize,
    /// What comes behind the last of it.
    end: Option<StreamPiece>,
}

impl Follow {
    pub(super) fn new(reader: Reader, known: Option<u64>) -> Self {
        Self {
            reader,
            known,
            held: BytesMut::new(),
            searched: 0,
            end: None,
        }
    }

    pub(in crate::edge) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<StreamPiece> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        loop {
            let piece = ready!(self.reader.poll_piece(cx));
            let Some(known) = self.known else {
                return Poll::Ready(piece);
            };
            match piece {
                StreamPiece::Data(bytes) => {
                    self.held.extend_from_slice(&bytes);
                    while let Some(event) = self.next_event() {
                        if is_later(&event, known) {
                            // All behind it is new as well.
                            self.known = None;
                            let mut rest = event;
                            rest.unsplit(self.held.split());
                            return Poll::Ready(StreamPiece::Data(rest.freeze()));
                        }
                    }
                }
                end @ (StreamPiece::End | StreamPiece::Broken | StreamPiece::Cut) => {
                    let half: Bytes = self.held.split().freeze();
                    if half.is_empty() {
                        return Poll::Ready(end);
                    }
                    self.end = Some(end);
                    return Poll::Ready(StreamPiece::Data(half));
                }
            }
        }
    }

    /// The next whole event of what is held; its lines end in our own way, as they were written.
    fn next_event(&mut self) -> Option<BytesMut> {
        let unseen = self.held.get(self.searched..)?;
        let Some(place) = memmem::find(unseen, b"\n\n") else {
            // The last byte may be half of an end.
            self.searched = self.held.len().saturating_sub(1);
            return None;
        };
        let end = self.searched + place + 2;
        self.searched = 0;
        Some(self.held.split_to(end))
    }
}

/// Signs of life have no number, and are nothing that a client knows. How it ended is told whatever its number:
/// nothing else comes behind it.
fn is_later(event: &[u8], known: u64) -> bool {
    let mut lines = event.split(|byte| *byte == b'\n');
    let data = lines.find_map(|line| line.strip_prefix(b"data:"));
    let Some(data) = data else { return false };
    let Ok(event) = serde_json::from_slice::<Value>(data.trim_ascii()) else {
        return true;
    };
    let number = event.get("sequence_number").and_then(Value::as_u64);
    is_end(&event) || number.is_none_or(|number| number > known)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::dispatch::Told;
    use crate::dispatch::once::{End, Head, Tape};
    use crate::domain::RequestId;

    async fn read(pieces: &[&str], known: Option<u64>) -> String {
        let (tape, reader) = Tape::new(RequestId::from_draw(1));
        tape.begin(Head::Stream {
            told: Told::default(),
        });
        let mut follow = Follow::new(reader, known);
        let mut text = String::new();
        let mut pieces = pieces.iter();
        loop {
            match pieces.next() {
                Some(piece) => tape.write(piece.as_bytes()),
                None => tape.end(End::Whole),
            }
            loop {
                let mut polled = None;
                poll_fn(|cx| {
                    polled = Some(follow.poll_piece(cx));
                    Poll::Ready(())
                })
                .await;
                match polled {
                    Some(Poll::Ready(StreamPiece::Data(bytes))) => {
                        text.push_str(std::str::from_utf8(&bytes).unwrap());
                    }
                    Some(Poll::Ready(_)) => return text,
                    Some(Poll::Pending) | None => break,
                }
            }
        }
    }

    #[tokio::test]
    async fn events_that_are_known_do_not_come_again_however_they_are_cut() {
        let event = |number: u64| {
            format!("event: x\ndata: {{\"type\":\"x\",\"sequence_number\":{number}}}\n\n")
        };
        let all = format!(
            ": here\n\n{}{}{}: here\n\n{}",
            event(0),
            event(1),
            event(2),
            event(3)
        );
        let bytes: Vec<&str> = (0..all.len()).filter_map(|at| all.get(at..=at)).collect();
        for (known, expected) in [
            (None, all.clone()),
            (Some(1), format!("{}: here\n\n{}", event(2), event(3))),
            (Some(2), event(3)),
            (Some(3), String::new()),
        ] {
            assert_eq!(read(&[&all], known).await, expected, "{known:?}");
            assert_eq!(read(&bytes, known).await, expected, "{known:?} by bytes");
        }
    }

    #[tokio::test]
    async fn how_it_ended_is_told_whatever_its_number() {
        for kind in [
            "error",
            "response.failed",
            "response.completed",
            "response.incomplete",
        ] {
            let end =
                format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":2}}\n\n");
            assert_eq!(read(&[&end], Some(7)).await, end);
        }
    }

    #[tokio::test]
    async fn what_says_that_it_broke_has_no_number_and_is_told() {
        let broke = "event: error\ndata: {\"type\":\"error\"}\n\n";
        assert_eq!(read(&[broke], Some(7)).await, broke);
        assert_eq!(read(&["event: x\nda"], Some(7)).await, "event: x\nda");
    }
}
