//! The events of a stream as they were sent, and what is ours in them.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem};
use serde_json::{Value, json};

use super::replay::stub;
use crate::dialects::one_line;

/// What the gateway says of a response, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// `None`: it is not kept, and has the id it came with.
    pub id: Option<String>,
    pub previous: Option<String>,
    pub background: bool,
}

/// Puts what is ours into a response object.
pub fn stamp_response(response: &mut Value, stamp: &Stamp) {
    let Value::Object(fields) = response else {
        return;
    };
    if let Some(id) = &stamp.id {
        fields.insert("id".to_owned(), id.as_str().into());
    }
    fields.insert("store".to_owned(), stamp.id.is_some().into());
    fields.insert("background".to_owned(), stamp.background.into());
    let previous = stamp.previous.as_deref();
    fields.insert(
        "previous_response_id".to_owned(),
        previous.map_or(Value::Null, Value::from),
    );
}

/// A line of a stream with what is ours in it, the response it speaks of, and whether it is the last word on it.
/// `None`: the line is not about the response as a whole.
pub fn stamp_line(line: &[u8], stamp: &Stamp) -> Option<(Vec<u8>, Value, bool)> {
    let data = line.strip_prefix(b"data:")?;
    // Within a text a quote is escaped, so this can only be a name or a whole text.
    memmem::find(data, b"\"response\"")?;
    let mut event: Value = serde_json::from_slice(data.trim_ascii()).ok()?;
    let response = event.get_mut("response").filter(|it| it.is_object())?;
    stamp_response(response, stamp);
    let whole = response.clone();
    let kind = event.get("type").and_then(Value::as_str);
    let last = matches!(
        kind,
        Some("response.completed" | "response.incomplete" | "response.failed")
    );
    let mut stamped = b"data: ".to_vec();
    stamped.extend_from_slice(&one_line(&event));
    Some((stamped, whole, last))
}

/// A longer stream is kept without its events but the last, and of that only which it was.
const LONGEST: usize = 8 << 20;

/// What was sent so far.
#[derive(Debug, Default)]
pub struct EventLog {
    bytes: BytesMut,
    /// Of the first piece, which says what it is the log of.
    first: usize,
    too_long: bool,
    /// The last piece of one that is too long.
    last: Bytes,
}

impl EventLog {
    pub fn push(&mut self, piece: &[u8]) {
        if self.bytes.len() + piece.len() > LONGEST {
            self.too_long = true;
        }
        if self.too_long {
            self.last = Bytes::copy_from_slice(piece);
        } else {
            self.bytes.extend_from_slice(piece);
        }
        if self.first == 0 {
            self.first = self.bytes.len();
        }
    }

    /// Holds no more of it than its first piece; what ended it is still told.
    pub fn give_up(&mut self) {
        self.too_long = true;
        if self.bytes.len() > self.first {
            let first = self.bytes.get(..self.first);
            self.bytes = BytesMut::from(first.unwrap_or_default());
        }
    }

    /// All of it, or how it ended where it was too long to be kept; nothing where that did not end.
    pub fn whole(&self) -> Bytes {
        if self.too_long {
            return stub(&self.last).into();
        }
        Bytes::copy_from_slice(&self.bytes)
    }

    pub fn so_far(&self) -> &[u8] {
        &self.bytes
    }
}

/// The events in a piece of a stream.
pub(super) fn events(bytes: &[u8]) -> impl Iterator<Item = Value> {
    lines(bytes).filter_map(|line| {
        let data = line.strip_prefix(b"data:")?;
        serde_json::from_slice(data.trim_ascii()).ok()
    })
}

/// The last event in a piece of a stream.
pub(super) fn last_event(bytes: &[u8]) -> Option<Value> {
    let mut from_the_end = bytes.rsplit(|byte| *byte == b'\n');
    let data = from_the_end.find_map(|line| line.strip_prefix(b"data:"))?;
    serde_json::from_slice(data.trim_ascii()).ok()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', rest).map_or(rest.len(), |place| place + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

/// A failed response that says less than had come before it failed, with all of that: its line and itself.
pub fn with_what_had_come(line: Vec<u8>, response: Value, log: &[u8]) -> (Vec<u8>, Value) {
    let items = |response: &Value| {
        response
            .get("output")
            .and_then(Value::as_array)
            .map(Vec::len)
    };
    let failed = response.get("status").and_then(Value::as_str) == Some("failed");
    let had_come = if failed {
        cut_short(log, "failed")
    } else {
        None
    };
    let Some(mut had_come) = had_come.filter(|more| items(more) > items(&response)) else {
        return (line, response);
    };
    let Some(mut event) = last_event(&line) else {
        return (line, response);
    };
    let mut response = response;
    let output = had_come.get_mut("output").map(Value::take);
    response["output"] = output.unwrap_or_default();
    event["response"] = response.clone();
    let mut line = b"data: ".to_vec();
    line.extend_from_slice(&one_line(&event));
    (line, response)
}

/// The response of a stream that did not come to its end: what had come, and what became of it.
pub fn cut_short(log: &[u8], status: &str) -> Option<Value> {
    let (mut response, mut output, mut open) = (None, Vec::new(), String::new());
    let mut item_id = Value::Null;
    for mut event in events(log) {
        match event.get("type").and_then(Value::as_str) {
            Some("response.created" | "response.in_progress") => {
                response = event.get_mut("response").map(Value::take);
            }
            Some("response.output_item.done") => {
                output.extend(event.get_mut("item").map(Value::take));
                open.clear();
            }
            Some("response.output_text.delta") => {
                open.push_str(
                    event
                        .get("delta")
                        .and_then(Value::as_str)
                        .unwrap_or_default(),
                );
                item_id = event.get_mut("item_id").map_or(Value::Null, Value::take);
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        output.push(json!({
            "type": "message", "id": item_id, "status": "incomplete", "role": "assistant",
            "content": [{"type": "output_text", "text": open, "annotations": [], "logprobs": []}],
        }));
    }
    let mut response = response?;
    let fields = response.as_object_mut()?;
    fields.insert("status".to_owned(), status.into());
    fields.insert("output".to_owned(), output.into());
    Some(response)
}
