//! The typed events of a streamed answer, numbered without gaps.

use serde_json::{Value, json};

use super::super::super::draft::{Event, Kind};
use super::super::super::plan::{Plan, halves};
use super::{Item, State, THOUGHTS, item, item_id, items, response, text_part};

struct Script<'a> {
    plan: &'a Plan,
    events: Vec<Event>,
    /// Content events so far.
    said: usize,
}

pub(super) fn events(plan: &Plan) -> Vec<Event> {
    let mut script = Script {
        plan,
        events: Vec::new(),
        said: 0,
    };
    let begun = json!({"response": response(plan, State::Begun)});
    script.push(Kind::Opening, "response.created", begun.clone());
    script.push(Kind::Opening, "response.in_progress", begun);
    for (index, one) in items(plan).into_iter().enumerate() {
        let added = json!({"output_index": index, "item": item(plan, one, State::Begun)});
        script.push(Kind::Opening, "response.output_item.added", added);
        match one {
            Item::Reasoning => script.reasoning(index),
            Item::Message => script.message(index),
            Item::Call(at) => script.call(index, at),
        }
        let done = json!({"output_index": index, "item": item(plan, one, State::Over)});
        script.push(Kind::Closing, "response.output_item.done", done);
    }
    let last = if plan.limited {
        "response.incomplete"
    } else {
        "response.completed"
    };
    let whole = json!({"response": response(plan, State::Over)});
    script.push(Kind::Terminal, last, whole);
    script.events
}

impl Script<'_> {
    fn push(&mut self, kind: Kind, name: &'static str, mut data: Value) {
        if let Some(data) = data.as_object_mut() {
            data.insert("type".to_owned(), json!(name));
            data.insert("sequence_number".to_owned(), json!(self.events.len()));
        }
        let event = Event::json(kind, Some(name), data);
        self.events.push(if kind == Kind::Content {
            let wait = self.plan.waits.before(self.said);
            self.said = self.said.saturating_add(1);
            event.after(wait)
        } else {
            event
        });
    }

    fn message(&mut self, index: usize) {
        let at = |member: &str, value: Value| {
            let id = item_id(self.plan, Item::Message);
            let mut data = json!({"item_id": id, "output_index": index, "content_index": 0});
            if let Some(data) = data.as_object_mut() {
                data.insert(member.to_owned(), value);
            }
            data
        };
        let said = self.plan.text();
        let opening = at("part", text_part(self.plan, ""));
        let deltas: Vec<Value> = self
            .plan
            .pieces
            .iter()
            .map(|piece| at("delta", json!(piece)))
            .collect();
        let (delta, done, member) = if self.plan.refuses {
            ("response.refusal.delta", "response.refusal.done", "refusal")
        } else {
            let (delta, done) = ("response.output_text.delta", "response.output_text.done");
            (delta, done, "text")
        };
        let whole = at(member, json!(said));
        let part = at("part", text_part(self.plan, &said));
        self.push(Kind::Opening, "response.content_part.added", opening);
        for piece in deltas {
            self.push(Kind::Content, delta, piece);
        }
        self.push(Kind::Closing, done, whole);
        self.push(Kind::Closing, "response.content_part.done", part);
    }

    fn reasoning(&mut self, index: usize) {
        let id = item_id(self.plan, Item::Reasoning);
        let part = |text: &str| {
            json!({"item_id": id, "output_index": index, "summary_index": 0,
                "part": {"type": "summary_text", "text": text}})
        };
        self.push(
            Kind::Opening,
            "response.reasoning_summary_part.added",
            part(""),
        );
        for thought in THOUGHTS {
            let delta =
                json!({"item_id": id, "output_index": index, "summary_index": 0, "delta": thought});
            self.push(
                Kind::Content,
                "response.reasoning_summary_text.delta",
                delta,
            );
        }
        let whole = THOUGHTS.concat();
        let text = json!({"item_id": id, "output_index": index, "summary_index": 0, "text": whole});
        self.push(Kind::Closing, "response.reasoning_summary_text.done", text);
        self.push(
            Kind::Closing,
            "response.reasoning_summary_part.done",
            part(&whole),
        );
    }

    fn call(&mut self, index: usize, at: usize) {
        let Some(call) = self.plan.calls.get(at) else {
            return;
        };
        let id = item_id(self.plan, Item::Call(at));
        for fragment in halves(&call.arguments) {
            let delta = json!({"item_id": id, "output_index": index, "delta": fragment});
            self.push(
                Kind::Content,
                "response.function_call_arguments.delta",
                delta,
            );
        }
        let done = json!({"item_id": id, "output_index": index, "name": call.name, "arguments": call.arguments});
        self.push(Kind::Closing, "response.function_call_arguments.done", done);
    }
}
