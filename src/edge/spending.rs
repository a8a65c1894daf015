//! Who has spent what, and what is left: the books as an operator looks at them.

use std::collections::HashMap;

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Edge;
use crate::actors::{TenantEntry, wall};
use crate::config::JournalMode;
use crate::domain::{NanoUsd, Wall};
use crate::policy::ledger::{AccountView, PurseView, Standing};
use crate::store::StoreError;
use crate::store::journal::alias_names;
use crate::store::spending::{Position, SpendBy, SpendLine, SpendQuestion};

/// Every tenant with limits or budgets, by name.
pub(super) fn tenants(edge: &Edge) -> Value {
    let published = edge.published();
    let mut tenants: Vec<&TenantEntry> = published.tenants.values().map(AsRef::as_ref).collect();
    tenants.sort_by(|one, other| one.cell.name.cmp(&other.cell.name));
    let tenants: Vec<Value> = tenants
        .into_iter()
        .map(|entry| tenant(edge, entry))
        .collect();
    json!({"tenants": tenants, "providers": providers(edge)})
}

/// What may be spent at providers, and what was.
fn providers(edge: &Edge) -> Vec<Value> {
    let tills = edge.system.tables.tills.all();
    let mut tills: Vec<_> = tills.values().collect();
    tills.sort_by(|one, other| one.provider.cmp(&other.provider));
    let accounts = tills
        .into_iter()
        .flat_map(|till| till.view(edge.clock.now()));
    let told = accounts.map(|view| {
        let budgets: Vec<Value> = view.purses.iter().map(budget).collect();
        json!({"provider": *view.name, "budgets": budgets})
    });
    told.collect()
}

/// One tenant, if it has limits or budgets.
pub(super) fn tenant_of(edge: &Edge, name: &str) -> Option<Value> {
    let published = edge.published();
    let entry = published.tenants.get(name)?;
    Some(tenant(edge, entry))
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

/// How far a report looks back when nobody says: thirty days.
const USUAL: u64 = 30 * 86_400;

/// What was spent, by what was asked for: `by`, `from`, `to` (unix seconds) and `tenant`.
pub(super) fn question<'a>(
    value: impl Fn(&str) -> Option<&'a str>,
) -> Result<SpendQuestion, String> {
    let by = value("by").unwrap_or("tenant");
    let by = SpendBy::by_label(by).ok_or_else(|| {
        let known: Vec<&str> = SpendBy::ALL.into_iter().map(SpendBy::label).collect();
        format!("by is one of: {}", known.join(", "))
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let seconds = |name: &str, usual: u64| match value(name) {
        None => Ok(usual),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name} is a time in unix seconds")),
    };
    Ok(SpendQuestion {
        by,
        from: seconds("from", now.saturating_sub(USUAL))?,
        to: seconds("to", now + 1)?,
        tenant: value("tenant").map(str::to_owned),
    })
}

pub(super) async fn report(edge: &Edge, question: SpendQuestion) -> Result<Value, StoreError> {
    let (question_by, by) = (question.by, question.by.label());
    let lines = if edge.news.store.is_there().await {
        edge.news.store.spending().await?.report(question).await?
    } else {
        Vec::new()
    };
    let names = match question_by {
        SpendBy::User => names(edge).await,
        SpendBy::Tenant
        | SpendBy::Team
        | SpendBy::Client
        | SpendBy::Provider
        | SpendBy::Model
        | SpendBy::Tag
        | SpendBy::Day
        | SpendBy::Hour => HashMap::new(),
    };
    let lines: Vec<Value> = lines.iter().map(|one| line(one, &names)).collect();
    let (until, behind) = booked(edge).await;
    Ok(json!({"by": by, "lines": lines, "booked_until_ms": until, "behind_seconds": behind}))
}

/// Until when what ended is in the reports, and how long ago that is. Nothing where nothing is booked.
async fn booked(edge: &Edge) -> (Option<u64>, Option<f64>) {
    if edge.published().settings.journal.mode == JournalMode::Off {
        return (None, None);
    }
    let mut until = edge.news.booked_until.load(Ordering::Relaxed);
    if until == 0 {
        // Not yet by this process: what the one before it left.
        let left = async { edge.news.store.spending().await?.position().await };
        until = match edge.news.store.is_there().await {
            true => left.await.map_or(0, |position: Position| position.at_ms),
            false => 0,
        };
    }
    let behind = wall().since(Wall(until)).as_secs_f64();
    ((until > 0).then_some(until), Some(behind))
}

/// End users stand in the books under their aliases, as in the journal; who was erased has no name any more.
async fn names(edge: &Edge) -> HashMap<String, String> {
    let journal = edge.published().settings.journal.path.clone();
    let read = tokio::task::spawn_blocking(move || alias_names(&journal));
    read.await.unwrap_or_default()
}

fn line(line: &SpendLine, names: &HashMap<String, String>) -> Value {
    let mut value = serde_json::to_value(line).unwrap_or_default();
    if let Some((tenant, alias)) = line.name.split_once('@')
        && let Some(name) = names.get(alias)
    {
        value["name"] = format!("{tenant}@{name}").into();
    }
    let cost = NanoUsd(line.sum.cost_nano);
    value["cost_usd"] = cost.to_string().into();
    if let Some(charged) = line.charged_nano() {
        value["charged_usd"] = NanoUsd(charged).to_string().into();
    }
    value
}
