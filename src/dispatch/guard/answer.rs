//! A whole answer: what was taken out of its prompt comes back, and what the rules find is taken out of it.

use std::sync::Arc;

use bytes::Bytes;

use super::aside::aside;
use super::splice::{applied, rewrite};
use super::structured::{fits, said};
use super::{Guarded, forbidden, form_of, unguarded};
use crate::dialects::texts::{TextKind, Unreadable, texts};
use crate::domain::{ClientDialect, Failure};
use crate::policy::guard::{Action, Channel, RuleId, Tally};

/// What the bytes of a whole answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) enum Written {
    /// In the form of this client's dialect.
    Json(ClientDialect),
    /// Nothing but the text.
    Text,
}

/// An answer as it may leave, and as the journal keeps it; `None` where that is the same.
pub(in crate::dispatch) struct Seen {
    pub(in crate::dispatch) body: Bytes,
    pub(in crate::dispatch) record: Option<Bytes>,
}

/// What a search of an answer comes to.
struct Looked {
    /// `None` where nothing changed.
    body: Option<Bytes>,
    tally: Tally,
    blocked: Option<RuleId>,
    fits: bool,
    record: Option<Bytes>,
}

impl Guarded {
    /// The answer as it may leave.
    pub(in crate::dispatch) async fn answer(
        self: &Arc<Self>,
        written: Written,
        body: Bytes,
    ) -> Result<Seen, Failure> {
        if !self.looks_at_answers() {
            return Ok(Seen { body, record: None });
        }
        let (own, text) = (Arc::clone(self), body.clone());
        let bounds = (self.settings.limit, body.len());
        let looked = aside(bounds, None, move || own.look_twice(written, &text)).await;
        let looked = looked.and_then(|looked| {
            looked.map_err(|Unreadable| unguarded("the guard cannot tell what the answer holds"))
        });
        let looked = looked.inspect_err(|_| self.news.metrics.blocked_by("policy_unavailable"))?;
        self.tell_answer(&looked.tally, looked.blocked);
        if let Some(rule) = looked.blocked {
            return Err(forbidden(self.settings.name_of(rule), "answer"));
        }
        if !looked.fits && self.misses_its_schema() {
            return Err(forbidden("structured", "answer"));
        }
        Ok(Seen {
            body: looked.body.unwrap_or(body),
            record: looked.record,
        })
    }

    /// An answer is not what was asked for; whether that forbids it.
    pub(super) fn misses_its_schema(&self) -> bool {
        let action = self.rules.structured;
        self.news.metrics.guarded("structured", action.label(), 1);
        let request = self.request.text();
        self.news
            .journal
            .event("guard.answer", request.as_str(), "structured");
        if action == Action::Block {
            self.news.metrics.blocked_by("structured");
        }
        action == Action::Block
    }

    fn look_twice(&self, written: Written, body: &Bytes) -> Result<Looked, Unreadable> {
        let mut looked = self.look_at(written, body)?;
        if let Some(own) = &self.record {
            let kept = own.look_at(written, body)?;
            looked.record = Some(kept.body.unwrap_or_else(|| body.clone()));
        }
        Ok(looked)
    }

    fn look_at(&self, written: Written, body: &[u8]) -> Result<Looked, Unreadable> {
        let (mut tally, mut blocked) = (Tally::default(), None);
        let mut change = |text: &str, kind: TextKind| {
            let mut channel = Channel::new(form_of(kind));
            channel.push(0, text);
            let decided = channel.decide(self.search(), true);
            tally.add(&decided.tally);
            blocked = blocked.or(decided.blocked);
            let said: String = decided.said.into_iter().map(|said| said.text).collect();
            (said != text).then_some(said)
        };
        let changed = match written {
            Written::Json(_) => {
                let spans = texts(body)?;
                let edits = rewrite(body, &spans, &mut |text, kind, _| change(text, kind))?;
                (!edits.is_empty()).then(|| applied(body, &edits))
            }
            Written::Text => {
                let text = std::str::from_utf8(body).map_err(|_| Unreadable)?;
                change(text, TextKind::Plain).map(String::into_bytes)
            }
        };
        let seen = changed.as_deref().unwrap_or(body);
        Ok(Looked {
            fits: self.fits_its_schema(written, seen),
            body: changed.map(Bytes::from),
            tally,
            blocked,
            record: None,
        })
    }

    fn fits_its_schema(&self, written: Written, seen: &[u8]) -> bool {
        match (&self.schema, written) {
            (Some(schema), Written::Json(speaks)) => {
                let answer = serde_json::from_slice(seen).unwrap_or_default();
                said(speaks, &answer).iter().all(|said| fits(schema, said))
            }
            (Some(_) | None, Written::Json(_) | Written::Text) => true,
        }
    }
}
