//! Who has spent what, and what is left: the books as an operator looks at them.

use serde_json::{Value, json};

use super::Edge;
use crate::actors::TenantEntry;
use crate::domain::NanoUsd;
use crate::policy::ledger::{AccountView, PurseView, Standing};

/// Every tenant with limits or budgets, by name.
pub(super) fn tenants(edge: &Edge) -> Value {
    let published = edge.published();
    let mut tenants: Vec<&TenantEntry> = published.tenants.values().map(AsRef::as_ref).collect();
    tenants.sort_by(|one, other| one.cell.name.cmp(&other.cell.name));
    let tenants: Vec<Value> = tenants
        .into_iter()
        .map(|entry| tenant(edge, entry))
        .collect();
    json!({"tenants": tenants})
}

fn tenant(edge: &Edge, entry: &TenantEntry) -> Value {
    let accounts = entry.cell.view(edge.clock.now());
    let accounts: Vec<Value> = accounts.iter().map(account).collect();
    json!({
        "name": entry.cell.name,
        "open_requests": entry.cell.open_requests(),
        "accounts": accounts,
    })
}

fn account(view: &AccountView) -> Value {
    let budgets: Vec<Value> = view.purses.iter().map(budget).collect();
    json!({
        "account": *view.name,
        "at_once": view.at_once,
        "requests_per_minute": view.requests.as_ref().map(standing),
        "tokens_per_minute": view.tokens.as_ref().map(standing),
        "budgets": budgets,
    })
}

fn standing(standing: &Standing) -> Value {
    json!({
        "limit": standing.limit,
        "remaining": standing.remaining,
        "reset_s": standing.reset.as_secs_f64(),
    })
}

fn budget(purse: &PurseView) -> Value {
    let left = purse.cap.limit - purse.spent - purse.reserved;
    let usd = |amount: NanoUsd| amount.to_string();
    json!({
        "limit_usd": usd(purse.cap.limit),
        "period": purse.cap.period.to_string(),
        "time_zone": purse.cap.zone.name(),
        "hard": purse.cap.hard,
        "spent_usd": usd(purse.spent),
        "reserved_usd": usd(purse.reserved),
        "left_usd": usd(left),
        "resets_at_ms": purse.resets_at,
    })
}
