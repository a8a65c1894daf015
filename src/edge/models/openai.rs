//! Models in OpenAI's form, with what the gateway knows beside it.

use serde_json::{Value, json};

use super::Listed;
use crate::config::PoolOrigin;
use crate::pricing::{Model, Source};

pub(super) fn list(models: &[Listed<'_>]) -> Value {
    let data: Vec<Value> = models.iter().map(one).collect();
    json!({"object": "list", "data": data})
}

pub(super) fn one(model: &Listed<'_>) -> Value {
    let (pool, settings) = (model.pool, model.settings);
    let targets: Vec<String> = model
        .targets
        .iter()
        .map(|target| {
            format!(
                "{}/{}",
                target.provider,
                target.model.as_ref().map_or("*", |model| model.as_str())
            )
        })
        .collect();
    let owner = match (pool.settings.origin, pool.settings.targets.first()) {
        (PoolOrigin::Explicit, _) | (_, None) => "switchyard",
        (PoolOrigin::Implicit | PoolOrigin::Wildcard, Some(target)) => target.provider.as_str(),
    };
    let context = model
        .targets
        .iter()
        .filter_map(|target| target.context_window)
        .max();
    let mut told = json!({
        "id": model.id(),
        "object": "model",
        "created": 0,
        "owned_by": owner,
        "context_window": context,
        "targets": targets,
    });
    if let Some(known) = &model.known {
        describe(known, &mut told);
    }
    if let Some(notice) = settings.notices.get(&pool.name) {
        told["warning"] = notice.as_str().into();
    }
    told
}

/// What the registry knows of a model; money as decimal text in dollars per million tokens.
fn describe(model: &Model, told: &mut Value) {
    let capabilities: Vec<&str> = model.capabilities.iter().map(|can| can.label()).collect();
    told["capabilities"] = capabilities.into();
    told["max_output_tokens"] = model.output_limit.into();
    if !model.prices.is_empty() {
        let prices = model.prices.iter();
        let prices =
            prices.map(|(class, rate)| (class.label().to_owned(), rate.to_string().into()));
        told["pricing"] = Value::Object(prices.collect());
        told["pricing_confirmed"] = matches!(model.source, Source::Confirmed(_)).into();
    }
    for (name, day) in [("deprecated", model.deprecated), ("retired", model.retired)] {
        if let Some(day) = day {
            told[name] = day.to_string().into();
        }
    }
    if let Some(successor) = &model.successor {
        told["successor"] = successor.as_str().into();
    }
}
