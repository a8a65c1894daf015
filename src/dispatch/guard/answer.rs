//! A whole answer: what was taken out of its prompt comes back, and what the rules find is taken out of it.

use std::sync::Arc;

use bytes::Bytes;

use super::aside::aside;
use super::splice::{applied, rewrite};
use super::structured::{fits, said};
use super::{Guarded, forbidden, unguarded};
use crate::dialects::texts::{TextKind, Unreadable, texts};
use crate::domain::{ClientDialect, Failure};
use crate::policy::guard::{Action, Channel, Form, RuleId, Tally};

/// What a search of an answer comes to.
struct Looked {
    /// `None` where nothing changed.
    body: Option<Bytes>,
    tally: Tally,
    blocked: Option<RuleId>,
    fits: bool,
}

impl Guarded {
    /// The answer as it may leave.
    pub(in crate::dispatch) async fn answer(
        self: &Arc<Self>,
        speaks: ClientDialect,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        if !self.looks_at_answers() {
            return Ok(body);
        }
        let (own, text) = (Arc::clone(self), body.clone());
        let bounds = (self.settings.limit, body.len());
        let looked = aside(bounds, None, move || own.look_at(speaks, &text)).await;
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
        Ok(looked.body.unwrap_or(body))
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

    fn look_at(&self, speaks: ClientDialect, body: &[u8]) -> Result<Looked, Unreadable> {
        let spans = texts(body)?;
        let (mut tally, mut blocked) = (Tally::default(), None);
        let edits = rewrite(body, &spans, &mut |text, kind, _| {
            let form = match kind {
                TextKind::Plain | TextKind::Label => Form::Text,
                TextKind::Json => Form::Json,
            };
            let mut channel = Channel::new(form);
            channel.push(0, text);
            let decided = channel.decide(self.search(), true);
            tally.add(&decided.tally);
            blocked = blocked.or(decided.blocked);
            let said: String = decided.said.into_iter().map(|said| said.text).collect();
            (said != text).then_some(said)
        })?;
        let changed = (!edits.is_empty()).then(|| applied(body, &edits));
        let fits = self.schema.as_ref().is_none_or(|schema| {
            let seen = changed.as_deref().unwrap_or(body);
            let answer = serde_json::from_slice(seen).unwrap_or_default();
            said(speaks, &answer).iter().all(|said| fits(schema, said))
        });
        Ok(Looked {
            body: changed.map(Bytes::from),
            tally,
            blocked,
            fits,
        })
    }
}
