//! A prompt: searched, spliced, refused, or sent where it may go.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use super::aside::aside;
use super::hidden::refused_unseen;
use super::splice::{Edits, applied, rewrite};
use super::structured::schema_of;
use super::{Guarded, Teller, forbidden, unguarded};
use crate::config::{GuardRules, GuardSettings};
use crate::dialects::texts::{TextKind, Unreadable, place_of, texts};
use crate::dispatch::Dispatch;
use crate::dispatch::request::Request;
use crate::domain::{Failure, FailureKind};
use crate::policy::guard::{Action, RuleId, Tally, Vault, redact};
use crate::policy::residency::Demands;

/// What a search of a prompt comes to.
#[derive(Default)]
pub(super) struct Looked {
    edits: Edits,
    vault: Vault,
    tally: Tally,
    /// The rule that forbids it, and where.
    blocked: Option<(RuleId, usize)>,
    routed: bool,
}

impl Looked {
    pub(super) fn hits(&self) -> u64 {
        self.tally.met().map(|(_, count)| u64::from(count)).sum()
    }
}

/// Why a prompt could not be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    Unreadable,
    TooMuch,
}

impl From<Unreadable> for Unseen {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// Searches every text of a prompt.
pub(super) fn look(
    settings: &GuardSettings,
    rules: &GuardRules,
    body: &[u8],
) -> Result<Looked, Unseen> {
    let spans = texts(body)?;
    let all: usize = spans.iter().map(|span| span.range.len()).sum();
    if all > settings.max_text_bytes {
        return Err(Unseen::TooMuch);
    }
    let mut looked = Looked::default();
    let (mut vault, mut tally) = (Vault::default(), Tally::default());
    let (mut blocked, mut routed) = (None, false);
    looked.edits = rewrite(body, &spans, &mut |text, kind, place| {
        let found = redact(&settings.finder, &rules.requests, text, (&mut vault, body));
        tally.add(&found.tally);
        routed |= found.routed;
        if let Some((rule, _)) = found.blocked {
            blocked.get_or_insert((rule, place));
        }
        if found.edits.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for edit in &found.edits {
            out.push_str(text.get(end..edit.range.start).unwrap_or_default());
            out.push_str(match kind {
                TextKind::Plain | TextKind::Json => &edit.with,
                // Letters and digits only.
                TextKind::Label => edit.with.trim_matches(['<', '>']),
            });
            end = edit.range.end;
        }
        out.push_str(text.get(end..).unwrap_or_default());
        Some(out)
    })?;
    (looked.vault, looked.tally) = (vault, tally);
    (looked.blocked, looked.routed) = (blocked, routed);
    Ok(looked)
}

impl Dispatch {
    /// Looks at a request before anyone else does. What comes back is what all the rest of its story sees.
    pub async fn guard(&self, mut request: Request) -> Result<Request, Failure> {
        let Some(settings) = request.published.settings.guard.clone() else {
            return Ok(request);
        };
        let pools = request.route.chain.iter().map(|pool| &pool.name);
        let rules = settings.rules(pools, request.caller.name_in_file());
        if rules.is_off() && settings.webhook.is_none() {
            return Ok(request);
        }
        // Apart, so that requests nobody looks at carry nothing of it.
        let guarded = Box::pin(self.looked_at(&mut request, settings, rules)).await;
        guarded.inspect_err(|failure| {
            if failure.kind == FailureKind::PolicyUnavailable {
                self.news.metrics.blocked_by("policy_unavailable");
            }
        })?;
        Ok(request)
    }

    async fn looked_at(
        &self,
        request: &mut Request,
        settings: Arc<GuardSettings>,
        rules: GuardRules,
    ) -> Result<(), Failure> {
        let teller = Teller {
            settings: &settings,
            news: &self.news,
            request: request.id,
        };
        refused_unseen(request, (&settings, &rules), &teller)?;
        let (body, is_form) = (request.body(), request.content_type.is_some());
        let looked = if is_form {
            Looked::default()
        } else {
            self.look_aside(&settings, &rules, &body).await?
        };
        let note = teller.tell("guard.prompt", (&looked.tally, &rules.requests));
        if let Some((rule, place)) = looked.blocked {
            teller.blocked(rule);
            let told = forbidden(settings.name_of(rule), "prompt");
            return Err(told.at(place_of(&body, place)));
        }
        if looked.routed {
            keep_within(request, &rules.regions);
        }
        if tells_tokens(&rules, &body, is_form) {
            return Err(Failure::new(
                FailureKind::InvalidRequest,
                "log probabilities, and the tokens and words of a verbose transcript, would tell piece by piece what the guard takes out of the answer; leave them out",
            )
            .at(if is_form { "response_format" } else { "logprobs" }));
        }
        let schema = if rules.structured == Action::Off {
            None
        } else {
            schema_of(request.speaks, &body, rules.structured)?
        };
        if !looked.edits.is_empty() {
            request.rewrite(
                applied(&body, &looked.edits).into(),
                &spans_of(&looked.edits),
            );
        }
        self.ask_webhook(request, &settings).await?;
        let guarded = Guarded {
            settings,
            rules,
            vault: looked.vault,
            schema,
            note,
            request: request.id,
            operation: request.operation,
            record: None,
            news: Arc::clone(&self.news),
        };
        let guarded = guarded.with_record(&request.caller);
        if guarded.looks_at_answers() || guarded.note.is_some() {
            request.guarded = Some(Arc::new(guarded));
        }
        Ok(())
    }

    async fn look_aside(
        &self,
        settings: &Arc<GuardSettings>,
        rules: &GuardRules,
        body: &Bytes,
    ) -> Result<Looked, Failure> {
        let drill = self.drill.take();
        if rules.requests.is_off() && drill.is_none() {
            return Ok(Looked::default());
        }
        let (for_search, own, text) = (Arc::clone(settings), rules.clone(), body.clone());
        let bounds = (settings.limit, body.len());
        let looked = aside(bounds, drill, move || look(&for_search, &own, &text)).await?;
        looked.map_err(|unseen| match unseen {
            Unseen::TooMuch => unguarded(
                "the prompt holds more text than the guard looks at; send less, or raise guard.max_text_bytes",
            ),
            Unseen::Unreadable => unguarded("the guard cannot tell what the prompt holds"),
        })
    }
}

/// Whether the answer is asked for a second time, token by token, where rules may take something out of it.
fn tells_tokens(rules: &GuardRules, body: &[u8], is_form: bool) -> bool {
    let hides = rules.answers.any(Action::Redact) || rules.answers.any(Action::Block);
    let names = |what: &[u8]| memmem::find(body, what).is_some();
    if is_form {
        return hides && (names(b"logprobs") || names(b"verbose_json"));
    }
    if !hides || !names(b"ogprobs") {
        return false;
    }
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let asks = |value: Option<&Value>| {
        value.is_some_and(|value| {
            value == &Value::Bool(true) || value.as_u64().is_some_and(|many| many > 0)
        })
    };
    let included = request["include"].as_array();
    [
        "/logprobs",
        "/top_logprobs",
        "/generationConfig/responseLogprobs",
        "/generationConfig/logprobs",
    ]
    .iter()
    .any(|place| asks(request.pointer(place)))
        || included.is_some_and(|several| {
            several
                .iter()
                .any(|one| one == "message.output_text.logprobs")
        })
}

/// Where bytes changed, and how long what stands there now is.
pub(super) fn spans_of(edits: &Edits) -> Vec<(std::ops::Range<usize>, usize)> {
    let spans = edits
        .iter()
        .map(|(range, with)| (range.clone(), with.len()));
    spans.collect()
}

/// Adds to what is demanded for a request that it stays in each of these lists of regions.
fn keep_within(request: &mut Request, regions: &[Vec<String>]) {
    let mut demand = request.demand.as_deref().cloned().unwrap_or_default();
    for list in regions {
        demand = demand.and(&Demands {
            regions: Some(list),
            ..Demands::default()
        });
    }
    request.demand = Some(Arc::new(demand));
}
