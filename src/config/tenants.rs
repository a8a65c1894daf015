//! Who pays and what each account may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alerts;
use super::raw::{RawConfig, RawTenant, RawTermsOf};
use super::settings::TenantSettings;
use super::validate::{Judge, Slash};
use crate::domain::money::AmountError;
use crate::policy::ledger::{AccountName, AccountTerms, Cap, QuotaTerms, Zone};

/// Told when nothing else is said: in time to do something, and when it is spent.
const TELL_AT: [u8; 2] = [80, 100];

/// The accounts of one tenant while they are read.
struct Reader<'j, 'e> {
    judge: &'j mut Judge<'e>,
    zone: Zone,
    /// What receivers of alerts want to be told of every budget, in percent.
    shares: Vec<u8>,
    accounts: BTreeMap<AccountName, AccountTerms>,
}

pub(super) fn settings(judge: &mut Judge<'_>, raw: &RawConfig) -> Vec<Arc<TenantSettings>> {
    // Clients may belong to a tenant that nobody wrote down, as long as it is the default one.
    let nobody = RawTenant::default();
    let mut written: BTreeMap<&str, &RawTenant> = BTreeMap::new();
    written.insert(TenantSettings::DEFAULT, &nobody);
    written.extend(
        raw.tenants
            .iter()
            .map(|(name, tenant)| (name.as_str(), tenant)),
    );
    members(judge, raw, &written);
    written
        .into_iter()
        .map(|(name, tenant)| Arc::new(one(judge, raw, name, tenant)))
        .collect()
}

/// Every client's tenant and team must be there.
fn members(judge: &mut Judge<'_>, raw: &RawConfig, written: &BTreeMap<&str, &RawTenant>) {
    for (index, client) in raw.clients.iter().enumerate() {
        let name = client.tenant.as_deref().unwrap_or(TenantSettings::DEFAULT);
        let Some(tenant) = written.get(name) else {
            judge.wrong(
                format!("clients[{index}].tenant"),
                format!("there is no tenant {name:?}"),
                format!("add [tenants.{name}], or correct the name"),
            );
            continue;
        };
        if let Some(team) = client
            .team
            .as_deref()
            .filter(|team| !tenant.teams.contains_key(*team))
        {
            judge.wrong(
                format!("clients[{index}].team"),
                format!("the tenant {name:?} has no team {team:?}"),
                format!("add [tenants.{name}.teams.{team}], or correct the name"),
            );
        }
    }
}

fn one(judge: &mut Judge<'_>, raw: &RawConfig, name: &str, tenant: &RawTenant) -> TenantSettings {
    let path = format!("tenants.{name}");
    account_name(judge, &path, name);
    let zone = tenant.time_zone.as_deref().unwrap_or("UTC");
    let zone = zone.parse().unwrap_or_else(|error| {
        judge.wrong(
            format!("{path}.time_zone"),
            format!("{zone:?}: {error}"),
            "",
        );
        Zone::default()
    });
    let mut reader = Reader {
        judge,
        zone,
        shares: alerts::shares(raw),
        accounts: BTreeMap::new(),
    };
    reader.account(&path, name.to_owned(), tenant.terms());
    for (team, terms) in &tenant.teams {
        let path = format!("{path}.teams.{team}");
        account_name(reader.judge, &path, team);
        reader.account(&path, format!("{name}/{team}"), terms.terms());
    }
    for (tag, terms) in &tenant.tags {
        let path = format!("{path}.tags.{tag}");
        account_name(reader.judge, &path, tag);
        reader.account(&path, format!("{name}+{tag}"), terms.terms());
    }
    for (index, client) in raw.clients.iter().enumerate() {
        if client.tenant.as_deref().unwrap_or(TenantSettings::DEFAULT) == name {
            let path = format!("clients[{index}]");
            reader.account(&path, format!("{name}#{}", client.name), client.terms());
        }
    }
    TenantSettings {
        name: name.into(),
        accounts: reader.accounts,
    }
}

/// The signs that join the parts of an account's name may not be in one.
fn account_name(judge: &mut Judge<'_>, path: &str, name: &str) {
    judge.name(path, name, Slash::Refused);
}

impl Reader<'_, '_> {
    fn account(&mut self, path: &str, name: String, raw: RawTermsOf<'_>) {
        if raw.default_max_output == Some(0) {
            self.judge.wrong(
                format!("{path}.default_max_output"),
                "0 would leave no room for an answer",
                "leave it out for the model's own limit",
            );
        }
        let terms = AccountTerms {
            quota: self.quota(
                path,
                raw.requests_per_minute,
                raw.tokens_per_minute,
                raw.concurrency,
            ),
            quotas: raw
                .limits
                .iter()
                .enumerate()
                .map(|(index, limit)| {
                    let path = format!("{path}.limits[{index}]");
                    let quota = self.quota(
                        &path,
                        limit.requests_per_minute,
                        limit.tokens_per_minute,
                        limit.concurrency,
                    );
                    if quota.is_empty() {
                        self.judge.wrong(
                            path,
                            "limits nothing",
                            "add requests_per_minute, tokens_per_minute or concurrency",
                        );
                    }
                    (limit.pool.clone(), quota)
                })
                .collect(),
            caps: self.caps(path, &raw),
            default_max_output: raw.default_max_output,
        };
        if !terms.is_empty() {
            self.accounts.insert(name.into(), terms);
        }
    }

    fn quota(
        &mut self,
        path: &str,
        requests: Option<u64>,
        tokens: Option<u64>,
        at_once: Option<u32>,
    ) -> QuotaTerms {
        let zeros = [
            ("requests_per_minute", requests == Some(0)),
            ("tokens_per_minute", tokens == Some(0)),
            ("concurrency", at_once == Some(0)),
        ];
        for (name, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
            self.judge.wrong(
                format!("{path}.{name}"),
                "0 would let nothing in",
                "leave it out for no limit; to shut a client out, remove it",
            );
        }
        QuotaTerms {
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            concurrency: at_once,
        }
    }

    fn caps(&mut self, path: &str, raw: &RawTermsOf<'_>) -> Vec<Cap> {
        let mut caps: Vec<Cap> = Vec::new();
        for (index, budget) in raw.budgets.iter().enumerate() {
            let path = format!("{path}.budgets[{index}]");
            let limit = budget.usd.parse().map_err(|error: AmountError| {
                self.judge.wrong(
                    format!("{path}.usd"),
                    format!("{:?} is no amount: {error}", budget.usd),
                    "write dollars as a text, such as \"100\" or \"0.50\"",
                );
            });
            let period = budget.period.parse().map_err(|error| {
                self.judge.wrong(
                    format!("{path}.period"),
                    format!("{:?} {error}", budget.period),
                    "",
                );
            });
            let mut tell_at = budget.tell_at.clone().unwrap_or_else(|| TELL_AT.to_vec());
            tell_at.extend_from_slice(&self.shares);
            tell_at.sort_unstable();
            tell_at.dedup();
            if tell_at.first() == Some(&0) {
                self.judge.wrong(
                    format!("{path}.tell_at"),
                    "0 % is reached before anything is spent",
                    "write percents from 1 on",
                );
            }
            if let (Ok(limit), Ok(period)) = (limit, period) {
                caps.push(Cap {
                    limit,
                    period,
                    zone: self.zone.clone(),
                    hard: budget.hard,
                    tell_at,
                });
            }
        }
        if caps.len() > 16 {
            self.judge.wrong(
                format!("{path}.budgets"),
                "are more than 16",
                "one per period does",
            );
        }
        caps
    }
}
