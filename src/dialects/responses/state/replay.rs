//! Streams of responses that have been told before.

use serde_json::{Value, json};

use super::log::{events, last_event};
use crate::dialects::one_line;

/// Behind these nothing comes.
const ENDS: [&str; 4] = [
    "response.completed",
    "response.incomplete",
    "response.failed",
    "error",
];

/// Whether it is the last event of a stream.
pub fn is_end(event: &Value) -> bool {
    let kind = event.get("type").and_then(Value::as_str);
    kind.is_some_and(|kind| ENDS.contains(&kind))
}

/// How a stream is told that its response was cancelled: the protocol has no event for it.
pub fn cancelled_event() -> Value {
    json!({
        "type": "error", "code": "cancelled", "message": "the response was cancelled", "param": null,
    })
}

/// A response that is not made any more, as a stream behind the event that the client knows: as it was sent, where
/// that was kept. Where it was not, or not to its end, its end is told all the same, and numbered behind all that
/// the client knows: a client that waits for it would else ask for ever.
pub fn told_again(log: &[u8], response: &Value, known: Option<u64>) -> Vec<u8> {
    let sent = Sent::of(log);
    let mut rest = match known {
        _ if !sent.from_its_beginning => Vec::new(),
        Some(known) => after(log, known),
        None => log.to_vec(),
    };
    if sent.from_its_beginning && sent.to_its_end {
        return rest;
    }
    let behind = |number: u64| number.saturating_add(1);
    if sent.from_its_beginning {
        let last = sent.last.max(known).map_or(0, behind);
        Writer::at(last).end(response, &mut rest);
        return rest;
    }
    let Some(known) = known else {
        return replay(response);
    };
    // One that was made as a whole has only the numbers of its replay.
    let ended_well = matches!(status(response), Some("completed" | "incomplete"));
    if log.is_empty() && ended_well {
        rest = after(&replay(response), known);
    }
    if rest.is_empty() {
        let last = sent.last.unwrap_or_default().max(behind(known));
        Writer::at(last).end(response, &mut rest);
    }
    rest
}

/// What a log holds of the stream.
struct Sent {
    from_its_beginning: bool,
    to_its_end: bool,
    /// The number of its last event, if that has one.
    last: Option<u64>,
}

impl Sent {
    fn of(log: &[u8]) -> Self {
        let last = last_event(log);
        Self {
            // What was too long to be kept is there by its end only.
            from_its_beginning: events(log).next().is_some_and(|event| !is_end(&event)),
            to_its_end: last.as_ref().is_some_and(is_end),
            last: last.and_then(|event| event.get("sequence_number")?.as_u64()),
        }
    }
}

fn status(response: &Value) -> Option<&str> {
    response.get("status").and_then(Value::as_str)
}

/// The end of a stream without what it said: by what and at which number it ended.
pub(super) fn stub(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(event) = last_event(block).filter(is_end)
        && let Some(kind) = event.get("type").and_then(Value::as_str)
    {
        let number = event.get("sequence_number");
        write(
            &mut out,
            kind,
            &json!({"type": kind, "sequence_number": number}),
        );
    }
    out
}

/// The events behind this number, as they were sent.
fn after(log: &[u8], number: u64) -> Vec<u8> {
    let mut writer = Writer::default();
    for event in events(log) {
        let own = event.get("sequence_number").and_then(Value::as_u64);
        if own.is_some_and(|own| own > number) {
            let kind = event
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            write(&mut writer.out, kind, &event);
        }
    }
    writer.out
}

/// The stream of a response that was not told as one: each text in one piece, numbered the same every time.
fn replay(response: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut begun = response.clone();
    for (name, value) in [
        ("status", json!("in_progress")),
        ("output", json!([])),
        ("usage", Value::Null),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
    ] {
        begun[name] = value;
    }
    writer.say("response.created", json!({"response": begun}));
    writer.say("response.in_progress", json!({"response": begun}));
    let output = response.get("output").and_then(Value::as_array);
    for (index, item) in output.into_iter().flatten().enumerate() {
        writer.item(index, item);
    }
    let Writer { mut out, number } = writer;
    Writer::at(number).end(response, &mut out);
    out
}

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    number: u64,
}

fn write(out: &mut Vec<u8>, kind: &str, event: &Value) {
    out.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
    out.extend_from_slice(&one_line(event));
    out.extend_from_slice(b"\n\n");
}

impl Writer {
    /// One whose next event has this number.
    fn at(number: u64) -> Self {
        Self {
            out: Vec::new(),
            number,
        }
    }

    /// The end of a response, behind what is told of it.
    fn end(mut self, response: &Value, told: &mut Vec<u8>) {
        match status(response) {
            Some("cancelled") => self.say("error", cancelled_event()),
            Some("failed") => self.say("response.failed", json!({"response": response})),
            Some("incomplete") => self.say("response.incomplete", json!({"response": response})),
            // Who asks for one that is under way is not told an end of it.
            Some("queued" | "in_progress") => {}
            Some(_) | None => self.say("response.completed", json!({"response": response})),
        }
        told.extend_from_slice(&self.out);
    }

    fn say(&mut self, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.number.into();
        self.number = self.number.saturating_add(1);
        write(&mut self.out, kind, &event);
    }

    fn item(&mut self, index: usize, item: &Value) {
        let mut begun = item.clone();
        let kind = item.get("type").and_then(Value::as_str);
        match kind {
            Some("message") => begun["content"] = json!([]),
            Some("function_call") => begun["arguments"] = "".into(),
            _ => {}
        }
        if begun.get("status").is_some() {
            begun["status"] = "in_progress".into();
        }
        self.say(
            "response.output_item.added",
            json!({"output_index": index, "item": begun}),
        );
        let id = item.get("id").cloned().unwrap_or_default();
        match kind {
            Some("message") => self.parts(index, &id, item),
            Some("function_call") => {
                let arguments = item.get("arguments").cloned().unwrap_or_default();
                let place = json!({"item_id": id, "output_index": index});
                let with = |name: &str| merged(&place, name, &arguments);
                self.say("response.function_call_arguments.delta", with("delta"));
                let mut done = with("arguments");
                done["name"] = item.get("name").cloned().unwrap_or_default();
                self.say("response.function_call_arguments.done", done);
            }
            _ => {}
        }
        self.say(
            "response.output_item.done",
            json!({"output_index": index, "item": item}),
        );
    }

    fn parts(&mut self, index: usize, id: &Value, item: &Value) {
        let parts = item.get("content").and_then(Value::as_array);
        for (number, part) in parts.into_iter().flatten().enumerate() {
            let place = json!({"item_id": id, "output_index": index, "content_index": number});
            let (name, kind) = match part.get("type").and_then(Value::as_str) {
                Some("refusal") => ("refusal", "response.refusal"),
                _ => ("text", "response.output_text"),
            };
            let text = part.get(name).cloned().unwrap_or_default();
            let mut empty = part.clone();
            empty[name] = "".into();
            self.say(
                "response.content_part.added",
                merged(&place, "part", &empty),
            );
            let mut delta = merged(&place, "delta", &text);
            let mut done = merged(&place, name, &text);
            if name == "text" {
                delta["logprobs"] = json!([]);
                done["logprobs"] = json!([]);
            }
            self.say(&format!("{kind}.delta"), delta);
            self.say(&format!("{kind}.done"), done);
            self.say("response.content_part.done", merged(&place, "part", part));
        }
    }
}

fn merged(place: &Value, name: &str, value: &Value) -> Value {
    let mut event = place.clone();
    event[name] = value.clone();
    event
}
