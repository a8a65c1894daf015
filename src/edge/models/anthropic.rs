//! Models in Anthropic's form.

use serde_json::{Value, json};

use super::{Listed, field, page, wanted};
use crate::domain::{Failure, FailureKind};
use crate::pricing::Capability;

/// On a page, when nobody says how many.
const USUAL: usize = 20;
const MOST: usize = 1_000;

pub(super) fn list(models: &[Listed<'_>], query: &str) -> Result<Value, Failure> {
    let most = wanted(query, "limit", MOST)?.unwrap_or(USUAL);
    let place = |name: &'static str| {
        let Some(id) = field(query, name).filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        let place = models.iter().position(|model| model.id() == id);
        place.map(Some).ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidRequest,
                format!("{name:?} names no model of the list"),
            )
            .at(name)
        })
    };
    let (shown, more) = match place("before_id")? {
        // The page that ends before it; more of it lies further ahead.
        Some(before) => {
            let start = before.saturating_sub(most);
            (models.get(start..before).unwrap_or_default(), start > 0)
        }
        None => page(models, place("after_id")?, most),
    };
    let data: Vec<Value> = shown.iter().map(one).collect();
    Ok(json!({
        "data": data,
        "first_id": shown.first().map(Listed::id),
        "last_id": shown.last().map(Listed::id),
        "has_more": more,
    }))
}

pub(super) fn one(model: &Listed<'_>) -> Value {
    let known = model.known.as_deref();
    let at = |day: Option<crate::pricing::Date>| day.map(|day| format!("{day}T00:00:00Z"));
    let (deprecated, retired) = known.map_or((None, None), |known| {
        (at(known.deprecated), at(known.retired))
    });
    json!({
        "type": "model",
        "id": model.id(),
        "display_name": model.id(),
        // Nobody says since when; the form has a word for that.
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": if deprecated.is_some() { "deprecated" } else { "active" },
        "deprecated_at": deprecated,
        "retires_at": retired,
        "max_input_tokens": model.context(),
        "max_tokens": known.and_then(|known| known.output_limit),
        "capabilities": known.map(capabilities),
    })
}

/// What is not known to be there is told as not there.
fn capabilities(model: &crate::pricing::Model) -> Value {
    let told = |is: bool| json!({"supported": is});
    let can = |capability| told(model.can(capability));
    let thinks = model.can(Capability::Reasoning);
    let searches = model.can(Capability::Search);
    json!({
        "batch": told(false),
        "citations": told(false),
        "code_execution": told(false),
        "context_management": {"supported": false},
        "effort": {"supported": thinks, "low": told(thinks), "medium": told(thinks), "high": told(thinks), "max": told(false)},
        "image_input": can(Capability::Vision),
        "pdf_input": can(Capability::Documents),
        "server_tools": {"supported": searches, "web_search": told(searches), "code_execution": told(false)},
        "structured_outputs": can(Capability::JsonSchema),
        "thinking": {"supported": thinks, "types": {"enabled": told(thinks), "disabled": told(true), "adaptive": told(false), "between_tools": told(false)}},
    })
}
