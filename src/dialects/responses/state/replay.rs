//! Streams of responses that have been told before.

use serde_json::{Value, json};

use super::log::events;
use crate::dialects::one_line;

/// The events behind this number, as they were sent.
pub fn after(log: &[u8], number: u64) -> Vec<u8> {
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
pub fn replay(response: &Value) -> Vec<u8> {
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
    let end = match response.get("status").and_then(Value::as_str) {
        Some("completed") => "response.completed",
        Some("incomplete") => "response.incomplete",
        Some("failed") => "response.failed",
        // Still under way, or cancelled: there is no event for it.
        _ => return writer.out,
    };
    writer.say(end, json!({"response": response}));
    writer.out
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
    fn say(&mut self, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.number.into();
        self.number += 1;
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
