//! Events of a stream in another order than they should come: the part of S13 that no number tells.

use serde_json::json;

use super::before::{last_kind, stream};
use crate::fault::{Variant, variant};
use crate::mock::{
    Behaviour, Calls, Dialect, Draft, Edit, Event, Form, Healthy, Kind, Payload, edit,
};

/// Every form of it that a text can have in this dialect.
pub(crate) fn disorder(dialect: Dialect) -> Vec<Variant> {
    let finish = match dialect {
        Dialect::OpenAi | Dialect::Anthropic => Kind::Finish,
        Dialect::Responses
        | Dialect::Gemini
        | Dialect::Bedrock
        | Dialect::Cohere
        | Dialect::Ollama => last_kind(dialect),
    };
    let mut forms = vec![variant(
        "finish_before_content",
        stream().edit(moved(finish, Before::LastContent)),
    )];
    let usage = dialect.places().usage_in;
    if usage == Kind::Usage {
        let early = stream().edit(moved(Kind::Usage, Before::FirstContent));
        forms.push(variant("usage_before_content", early));
    }
    match dialect {
        Dialect::OpenAi => {
            forms.push(variant(
                "done_twice",
                stream().edit(edit::twice(Kind::Terminal)),
            ));
        }
        Dialect::Anthropic => {
            forms.push(variant(
                "content_before_block",
                stream().edit(moved_content_first()),
            ));
            forms.push(variant(
                "stop_twice",
                stream().edit(edit::twice(Kind::Terminal)),
            ));
        }
        Dialect::Responses
        | Dialect::Gemini
        | Dialect::Bedrock
        | Dialect::Cohere
        | Dialect::Ollama => {}
    }
    forms
}

/// The same of an answer that calls tools, whatever was asked.
pub(super) fn of_calls(dialect: Dialect) -> Vec<Variant> {
    match dialect {
        Dialect::OpenAi => vec![
            variant("arguments_before_name", calling(1, swap_first_two)),
            variant("indexes_swapped", calling(2, swap_indexes)),
        ],
        Dialect::Anthropic
        | Dialect::Responses
        | Dialect::Gemini
        | Dialect::Bedrock
        | Dialect::Cohere
        | Dialect::Ollama => Vec::new(),
    }
}

enum Before {
    FirstContent,
    LastContent,
}

/// The first event of a kind stands before content that it should follow.
fn moved(kind: Kind, before: Before) -> Edit {
    Edit::new(move |draft: &mut Draft| {
        let Some(events) = draft.events() else { return };
        let is_content = |event: &Event| event.kind == Kind::Content;
        let content = match before {
            Before::FirstContent => events.iter().position(is_content),
            Before::LastContent => events.iter().rposition(is_content),
        };
        let from = events.iter().position(|event| event.kind == kind);
        if let (Some(from), Some(to)) = (from, content)
            && to < from
        {
            let event = events.remove(from);
            events.insert(to, event);
        }
    })
}

/// The first content comes before the event that opens its block.
fn moved_content_first() -> Edit {
    Edit::new(|draft: &mut Draft| {
        let Some(events) = draft.events() else { return };
        let Some(content) = events.iter().position(|event| event.kind == Kind::Content) else {
            return;
        };
        let before = events.iter().take(content);
        let mut before = before.enumerate();
        let opening = before.rfind(|(_, event)| event.kind == Kind::Opening);
        if let Some((opening, _)) = opening {
            let event = events.remove(content);
            events.insert(opening, event);
        }
    })
}

/// A stream that calls tools, asked to or not.
fn calling(calls: usize, spoil: fn(&mut [Event])) -> Behaviour {
    let calling = Healthy {
        form: Form::Stream,
        calls: Calls::Exactly(calls),
        ..Healthy::default()
    };
    Behaviour::from(calling).edit(Edit::new(move |draft: &mut Draft| {
        if let Some(events) = draft.events() {
            spoil(events);
        }
    }))
}

/// What a call is named comes after the first piece of what it is called with.
fn swap_first_two(events: &mut [Event]) {
    let content = events.iter().enumerate();
    let mut content = content.filter(|(_, event)| event.kind == Kind::Content);
    if let (Some((first, _)), Some((second, _))) = (content.next(), content.next()) {
        events.swap(first, second);
    }
}

/// The last piece of one call says that it belongs to the other.
fn swap_indexes(events: &mut [Event]) {
    const INDEX: &str = "/choices/0/delta/tool_calls/0/index";
    let last = events.iter_mut().rev().find_map(|event| {
        let Payload::Json { data, .. } = &mut event.payload else {
            return None;
        };
        data.pointer_mut(INDEX)
    });
    if let Some(index) = last {
        *index = json!(1_u64.saturating_sub(index.as_u64().unwrap_or(0)));
    }
}
