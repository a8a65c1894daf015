//! Models in Google's form.

use serde_json::{Value, json};

use super::{Listed, field, page, wanted};
use crate::domain::{Failure, FailureKind};
use crate::pricing::Capability;

/// On a page, when nobody says how many.
const USUAL: usize = 50;
const MOST: usize = 1_000;

pub(super) fn list(models: &[Listed<'_>], query: &str) -> Result<Value, Failure> {
    let most = wanted(query, "pageSize", MOST)?.unwrap_or(USUAL);
    let after = match field(query, "pageToken").filter(|token| !token.is_empty()) {
        None => None,
        // A token is the name the last page ended with.
        Some(token) => {
            let place = models.iter().position(|model| model.id() == token);
            Some(place.ok_or_else(|| {
                Failure::new(
                    FailureKind::InvalidRequest,
                    "\"pageToken\" is not one of this list's; begin again without it",
                )
                .at("pageToken")
            })?)
        }
    };
    let (shown, more) = page(models, after, most);
    let listed: Vec<Value> = shown.iter().map(one).collect();
    let mut told = json!({"models": listed});
    if let Some(last) = shown.last().filter(|_| more) {
        told["nextPageToken"] = last.id().into();
    }
    Ok(told)
}

pub(super) fn one(model: &Listed<'_>) -> Value {
    let id = model.id();
    let known = model.known.as_deref();
    let can = |capability| known.is_some_and(|known| known.can(capability));
    // Of what nobody knows it may be asked.
    let unknown = known.is_none_or(|known| known.capabilities.is_empty());
    let mut methods = Vec::new();
    if unknown || can(Capability::Chat) {
        methods.extend(["generateContent", "streamGenerateContent", "countTokens"]);
    }
    if unknown || can(Capability::Embedding) {
        methods.extend(["embedContent", "batchEmbedContents"]);
    }
    let mut told = json!({
        "name": format!("models/{id}"),
        "baseModelId": id,
        "version": "",
        "displayName": id,
        "description": "",
        "supportedGenerationMethods": methods,
        "thinking": can(Capability::Reasoning),
    });
    let output = known.and_then(|known| known.output_limit);
    for (name, limit) in [
        ("inputTokenLimit", model.context()),
        ("outputTokenLimit", output),
    ] {
        if let Some(limit) = limit {
            told[name] = limit.into();
        }
    }
    told
}
