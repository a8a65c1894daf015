//! Ways to spoil a healthy answer, one fault each; they compose, in the order given.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::draft::{Body, Document, Draft, Ending, Event, Kind, Payload};

/// One change to a healthy answer.
#[derive(Clone)]
pub struct Edit(Arc<dyn Fn(&mut Draft) + Send + Sync>);

impl fmt::Debug for Edit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Edit")
    }
}

impl Edit {
    /// For what no function here says.
    #[must_use]
    pub fn new(apply: impl Fn(&mut Draft) + Send + Sync + 'static) -> Self {
        Self(Arc::new(apply))
    }

    pub(super) fn apply(&self, draft: &mut Draft) {
        (self.0)(draft);
    }
}

/// An edit of the event list; a document is left as it is.
fn on_events(apply: impl Fn(&mut Vec<Event>) + Send + Sync + 'static) -> Edit {
    Edit::new(move |draft| {
        if let Some(events) = draft.events() {
            apply(events);
        }
    })
}

/// Adds a field, beside one of the same name if there is one.
#[must_use]
pub fn header(name: &str, value: impl Into<String>) -> Edit {
    let field = (name.to_owned(), value.into());
    Edit::new(move |draft| draft.fields.push(field.clone()))
}

/// Replaces the content type.
#[must_use]
pub fn content_type(value: &'static str) -> Edit {
    Edit::new(move |draft| {
        draft
            .fields
            .retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        draft
            .fields
            .push(("content-type".to_owned(), value.to_owned()));
    })
}

#[must_use]
pub fn status(status: u16) -> Edit {
    Edit::new(move |draft| draft.status = status)
}

/// Puts `value` at the JSON pointer wherever something other than `null` stands there.
#[must_use]
pub fn replace(pointer: &'static str, value: Value) -> Edit {
    Edit::new(move |draft| {
        for document in draft.documents() {
            if let Some(found) = document
                .pointer_mut(pointer)
                .filter(|found| !found.is_null())
            {
                *found = value.clone();
            }
        }
    })
}

/// Takes a member out of every document that has it.
#[must_use]
pub fn remove(parent: &'static str, member: &'static str) -> Edit {
    Edit::new(move |draft| {
        for document in draft.documents() {
            if let Some(Value::Object(found)) = document.pointer_mut(parent) {
                found.remove(member);
            }
        }
    })
}

/// Only the first `content` content events, then this ending; [`Ending::Whole`] is the clean cut of S10.
#[must_use]
pub fn cut_after(content: usize, ending: Ending) -> Edit {
    Edit::new(move |draft| {
        if let Some(at) = draft.behind_content(content)
            && let Some(events) = draft.events()
        {
            events.truncate(at);
            draft.ending = ending;
        }
    })
}

/// Only the head, then this ending.
#[must_use]
pub fn only_head(ending: Ending) -> Edit {
    Edit::new(move |draft| {
        draft.body = Body::Events(Vec::new());
        draft.ending = ending;
    })
}

/// The whole event list becomes these.
#[must_use]
pub fn only(events: Vec<Event>) -> Edit {
    on_events(move |list| list.clone_from(&events))
}

/// Puts bytes behind the `content`-th content event; 0 is just before the first.
#[must_use]
pub fn insert_after(content: usize, bytes: impl Into<Bytes>) -> Edit {
    let bytes = bytes.into();
    Edit::new(move |draft| {
        if let Some(at) = draft.behind_content(content)
            && let Some(events) = draft.events()
        {
            events.insert(at, Event::raw(Kind::Noise, bytes.clone()));
        }
    })
}

/// The `content`-th content event (from 1) becomes these bytes, still counted as content.
#[must_use]
pub fn replace_content(content: usize, bytes: impl Into<Bytes>) -> Edit {
    let bytes = bytes.into();
    on_events(move |events| {
        let mut contents = events
            .iter_mut()
            .filter(|event| event.kind == Kind::Content);
        if let Some(event) = contents.nth(content.saturating_sub(1)) {
            event.payload = Payload::Raw(bytes.clone());
        }
    })
}

/// Leaves out the `content`-th content event (from 1).
#[must_use]
pub fn without_content(content: usize) -> Edit {
    Edit::new(move |draft| {
        let behind = draft.behind_content(content.max(1));
        if let (Some(behind), Some(events)) = (behind, draft.events())
            && let Some(at) = behind.checked_sub(1)
        {
            events.remove(at);
        }
    })
}

/// The `content`-th content event (from 1) twice.
#[must_use]
pub fn double_content(content: usize) -> Edit {
    Edit::new(move |draft| {
        if let Some(at) = draft.behind_content(content)
            && let Some(events) = draft.events()
            && let Some(event) = at.checked_sub(1).and_then(|at| events.get(at)).cloned()
        {
            events.insert(at, event);
        }
    })
}

/// Leaves out every event of a kind.
#[must_use]
pub fn without(kind: Kind) -> Edit {
    on_events(move |events| events.retain(|event| event.kind != kind))
}

/// Every event of a kind twice in a row.
#[must_use]
pub fn twice(kind: Kind) -> Edit {
    on_events(move |events| {
        *events = events
            .drain(..)
            .flat_map(|event| {
                let again = (event.kind == kind).then(|| event.clone());
                std::iter::once(event).chain(again)
            })
            .collect();
    })
}

/// Bytes behind the last event.
#[must_use]
pub fn append(bytes: impl Into<Bytes>) -> Edit {
    let bytes = bytes.into();
    on_events(move |events| events.push(Event::raw(Kind::Noise, bytes.clone())))
}

/// Bytes before the first event.
#[must_use]
pub fn prepend(bytes: impl Into<Bytes>) -> Edit {
    let bytes = bytes.into();
    on_events(move |events| events.insert(0, Event::raw(Kind::Noise, bytes.clone())))
}

/// The head at once, these bytes every so often, content only after `until`.
#[must_use]
pub fn pings(every: Duration, until: Duration, bytes: impl Into<Bytes>) -> Edit {
    let bytes = bytes.into();
    Edit::new(move |draft| {
        draft.head_wait = Duration::ZERO;
        let Some(at) = draft.behind_content(0) else {
            return;
        };
        let Some(events) = draft.events() else { return };
        let count = until
            .as_millis()
            .checked_div(every.as_millis())
            .unwrap_or(0)
            .min(100_000);
        let whole = every.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if let Some(first) = events.get_mut(at) {
            first.wait = until.saturating_sub(whole);
        }
        let ping = Event::raw(Kind::Noise, bytes.clone()).after(every);
        events.splice(at..at, (0..count).map(|_| ping.clone()));
    })
}

/// Changes the bytes of every event, or of the document.
#[must_use]
pub fn rewrite(change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Edit {
    Edit::new(move |draft| match &mut draft.body {
        Body::Document(document) => *document = Document::Raw(change(&document.render()).into()),
        Body::Events(events) => {
            for event in events {
                event.payload = Payload::Raw(change(&event.render()).into());
            }
        }
    })
}

/// The body becomes one document of these bytes, whatever was asked.
#[must_use]
pub fn document(bytes: impl Into<Bytes>) -> Edit {
    let bytes = bytes.into();
    Edit::new(move |draft| draft.body = Body::Document(Document::Raw(bytes.clone())))
}

/// A document's `content-length` says this much more (or less) than the truth.
#[must_use]
pub fn promise(difference: isize) -> Edit {
    Edit::new(move |draft| {
        if let Body::Document(document) = &draft.body {
            draft.promised_length = Some(document.render().len().saturating_add_signed(difference));
        }
    })
}

/// Bytes behind a document that its `content-length` does not cover.
#[must_use]
pub fn excess(bytes: &'static [u8]) -> Edit {
    Edit::new(move |draft| {
        if let Body::Document(document) = &mut draft.body {
            let honest = document.render();
            draft.promised_length = Some(honest.len());
            *document = Document::Raw([&honest, bytes].concat().into());
        }
    })
}

/// This share (in percent) of a document under its full `content-length`, then the ending.
#[must_use]
pub fn cut_document(percent: usize, ending: Ending) -> Edit {
    Edit::new(move |draft| {
        if let Body::Document(document) = &mut draft.body {
            let mut bytes = document.render();
            draft.promised_length = Some(bytes.len());
            bytes.truncate(bytes.len().saturating_mul(percent.min(100)) / 100);
            *document = Document::Raw(bytes);
            draft.ending = ending;
        }
    })
}

#[must_use]
pub fn ending(ending: Ending) -> Edit {
    Edit::new(move |draft| draft.ending = ending)
}
