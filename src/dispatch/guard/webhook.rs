//! An operator's own judge: asked about every prompt, after the rules have taken out what they take out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::prompt::spans_of;
use super::splice::{Edits, applied};
use super::{forbidden, unguarded};
use crate::config::GuardSettings;
use crate::dialects::texts::{TextSpan, place_of, read_text, texts, write_text};
use crate::dispatch::Dispatch;
use crate::dispatch::request::Request;
use crate::domain::Failure;
use crate::upstream::Webhook;

#[derive(Serialize)]
struct Question<'a> {
    request_id: &'a str,
    tenant: &'a str,
    /// Of its own within its tenant.
    client: &'a str,
    model: &'a str,
    texts: Vec<Text<'a>>,
}

#[derive(Serialize)]
struct Text<'a> {
    place: String,
    text: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Verdict {
    Allow,
    Block,
    /// As many texts as there were, in the same order.
    Replace {
        texts: Vec<String>,
    },
}

impl Dispatch {
    pub(super) async fn ask_webhook(
        &self,
        request: &mut Request,
        settings: &GuardSettings,
    ) -> Result<(), Failure> {
        let Some(wanted) = &settings.webhook else {
            return Ok(());
        };
        if request.content_type.is_some() {
            // A form, which was refused already unless what was not judged may go on.
            return Ok(());
        }
        let verdict = match self.upstreams.webhook() {
            Some(webhook) => {
                self.may_judge(request, &webhook)?;
                self.verdict(request, settings, &webhook).await
            }
            None => Err("it is not set up".to_owned()),
        };
        match verdict {
            Ok((_, Verdict::Allow)) => Ok(()),
            Ok((_, Verdict::Block)) => {
                self.news.metrics.blocked_by("webhook");
                let id = request.id.text();
                self.news
                    .journal
                    .event("guard.prompt", id.as_str(), "webhook=1;block");
                Err(forbidden("webhook", "prompt"))
            }
            Ok((spans, Verdict::Replace { texts })) => {
                let pairs = spans.into_iter().zip(texts);
                let edits: Edits = pairs
                    .map(|(span, text)| (span.range, write_text(&text)))
                    .collect();
                let body = request.body();
                request.rewrite(applied(&body, &edits).into(), &spans_of(&edits));
                Ok(())
            }
            Err(why) => {
                warn!(why, "the guard's webhook gave no verdict");
                if wanted.allows_on_failure {
                    return Ok(());
                }
                Err(unguarded(
                    "the gateway's judge of prompts gave no verdict, and nothing goes on without one",
                ))
            }
        }
    }

    async fn verdict(
        &self,
        request: &Request,
        settings: &GuardSettings,
        webhook: &Webhook,
    ) -> Result<(Vec<TextSpan>, Verdict), String> {
        let body = request.body();
        let spans = texts(&body).map_err(|error| error.to_string())?;
        let all: usize = spans.iter().map(|span| span.range.len()).sum();
        if all > settings.max_text_bytes {
            return Err("the prompt holds more text than guard.max_text_bytes".to_owned());
        }
        let id = request.id.text();
        let mut question = Question {
            request_id: id.as_str(),
            tenant: &request.caller.payer.tenant,
            client: request.caller.client.as_str(),
            model: &request.asked,
            texts: Vec::with_capacity(spans.len()),
        };
        for span in &spans {
            let written = body.get(span.range.clone()).unwrap_or_default();
            question.texts.push(Text {
                place: place_of(&body, span.range.start),
                text: read_text(written).ok_or("a text cannot be read")?,
            });
        }
        let asked = serde_json::to_vec(&question).map_err(|_| "it cannot be asked")?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let told = webhook
            .ask(asked, now)
            .await
            .map_err(|fault| fault.to_string())?;
        let verdict = serde_json::from_slice(&told).map_err(|_| "its answer is no verdict")?;
        if let Verdict::Replace { texts } = &verdict
            && texts.len() != spans.len()
        {
            return Err("it replaced another number of texts than there are".to_owned());
        }
        Ok((spans, verdict))
    }
}
