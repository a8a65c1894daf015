//! Writes who pays into the gateway's configuration: clients with keys, tenants with budgets, a registry of prices.

use std::path::Path;

use toml::{Table, Value};

use super::config::{ConfigError, secret, write};
use crate::scenario::{Client, Scenario, Tenant};

/// Begins the key of every client of a run; found in a log or a record, it proves a leak.
pub const CLIENT_MARK: &str = "sk-chaos-client-";

/// What a client of the scenario says it is.
#[must_use]
pub fn client_key(name: &str) -> String {
    format!("{CLIENT_MARK}{name}-0123456789abcdef")
}

/// Adds the scenario's clients, tenants and prices to a configuration that is enclosed already.
///
/// # Errors
/// When the folder cannot be written.
pub fn let_in(config: &mut Table, scenario: &Scenario, folder: &Path) -> Result<(), ConfigError> {
    let mut clients = match config.get("clients") {
        Some(Value::Array(clients)) => clients.clone(),
        Some(_) | None => Vec::new(),
    };
    for one in &scenario.clients {
        clients.push(client(one, folder)?.into());
    }
    config.insert("clients".into(), clients.into());
    if !scenario.tenants.is_empty() {
        let under = config.entry("tenants").or_insert(Table::new().into());
        if let Value::Table(tenants) = under {
            for one in &scenario.tenants {
                let own = tenants.entry(&one.name).or_insert(Table::new().into());
                if let Value::Table(own) = own {
                    tenant(one, own);
                }
            }
        }
    }
    promises(config, scenario);
    if scenario.has_prices() {
        let path = folder.join("prices.toml");
        write(&path, &prices(scenario))?;
        let mut registry = Table::new();
        registry.insert("file".into(), path.display().to_string().into());
        config.insert("registry".into(), registry.into());
    }
    Ok(())
}

fn client(one: &Client, folder: &Path) -> Result<Table, ConfigError> {
    let mut table = Table::new();
    table.insert("name".into(), one.name.clone().into());
    table.insert("lane".into(), "interactive".into());
    let key = secret(
        folder,
        &format!("client-{}-key", one.name),
        &client_key(&one.name),
    )?;
    table.insert("key".into(), key.into());
    if let Some(tenant) = &one.tenant {
        table.insert("tenant".into(), tenant.clone().into());
    }
    if let Some(requests) = one.requests_per_minute {
        let requests = i64::try_from(requests).unwrap_or(i64::MAX);
        table.insert("requests_per_minute".into(), requests.into());
    }
    Ok(table)
}

fn tenant(one: &Tenant, own: &mut Table) {
    let mut budgets = Vec::new();
    let all = [(&one.budget, true), (&one.soft_budget, false)];
    for (usd, hard) in all
        .into_iter()
        .filter_map(|(usd, hard)| Some((usd.as_ref()?, hard)))
    {
        let mut cap = Table::new();
        cap.insert("usd".into(), usd.clone().into());
        cap.insert("period".into(), "total".into());
        cap.insert("hard".into(), hard.into());
        if !one.tell_at.is_empty() {
            let shares = one.tell_at.iter().map(|share| i64::from(*share));
            let shares: Vec<Value> = shares.map(Value::from).collect();
            cap.insert("tell_at".into(), shares.into());
        }
        budgets.push(Value::from(cap));
    }
    if !budgets.is_empty() {
        own.insert("budgets".into(), budgets.into());
    }
    if !one.regions.is_empty() {
        own.insert("regions".into(), one.regions.clone().into());
    }
}

/// Tells the gateway where each provider is, and what was paid for there in advance.
fn promises(config: &mut Table, scenario: &Scenario) {
    let Some(Value::Table(providers)) = config.get_mut("providers") else {
        return;
    };
    for mock in &scenario.mocks {
        let Some(Value::Table(own)) = providers.get_mut(&mock.name) else {
            continue;
        };
        if let Some(region) = &mock.region {
            own.insert("regions".into(), vec![Value::from(region.clone())].into());
        }
        if let Some(credit) = &mock.credit {
            own.insert("credit".into(), credit.clone().into());
        }
    }
}

/// The registry's own form: one table per provider's model.
fn prices(scenario: &Scenario) -> String {
    let mut text = String::new();
    for mock in &scenario.mocks {
        let Some(price) = &mock.price else { continue };
        let (name, input, output) = (&mock.name, &price.input, &price.output);
        text.push_str(&format!(
            "[{name}.\"{name}-1\"]\ncan = [\"chat\"]\ncontext = 128000\noutput_limit = 4096\nprice = {{ input = \"{input}\", output = \"{output}\" }}\nconfirmed = \"the run's own scenario\"\n"
        ));
    }
    text
}
