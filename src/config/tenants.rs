//! Who pays and what each account may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::identity;
use super::judge::{Judge, Slash};
use super::raw::{BudgetForm, RawClient, RawConfig, RawTeam, RawTenant, RawTermsOf};
use super::settings::TenantSettings;
use crate::domain::money::AmountError;
use crate::domain::{Lane, Operation, Weight};
use crate::policy::grant::{Allow, Grant};
use crate::policy::ledger::{AccountName, AccountTerms, Cap, QuotaTerms, Zone};

/// Told when nothing else is said: in time to do something, and when it is spent.
pub(super) const TELL_AT: [u8; 2] = [80, 100];

/// The accounts of one tenant while they are read.
pub(super) struct Reader<'j, 'e> {
    judge: &'j mut Judge<'e>,
    zone: Zone,
    accounts: BTreeMap<AccountName, AccountTerms>,
}

/// What may be used, wherever it was written; `None` is not limited.
pub(super) struct RightsOf<'a> {
    pub(super) pools: Option<&'a [String]>,
    pub(super) providers: Option<&'a [String]>,
    pub(super) regions: Option<&'a [String]>,
    pub(super) operations: Option<&'a [String]>,
    pub(super) lane: Option<Lane>,
    /// Kept out of it by who demands it; of what the file writes `residency` judges.
    pub(super) not_providers: Option<&'a [String]>,
}

impl RawTenant {
    fn rights(&self) -> RightsOf<'_> {
        RightsOf {
            pools: self.pools.as_deref(),
            providers: self.providers.as_deref(),
            regions: self.regions.as_deref(),
            operations: self.operations.as_deref(),
            lane: self.lane,
            not_providers: None,
        }
    }
}

impl RawTeam {
    fn rights(&self) -> RightsOf<'_> {
        RightsOf {
            pools: self.pools.as_deref(),
            providers: self.providers.as_deref(),
            regions: self.regions.as_deref(),
            operations: self.operations.as_deref(),
            lane: self.lane,
            not_providers: None,
        }
    }
}

impl RawClient {
    pub(super) fn rights(&self) -> RightsOf<'_> {
        RightsOf {
            pools: Some(&self.pools),
            providers: self.providers.as_deref(),
            regions: self.regions.as_deref(),
            operations: self.operations.as_deref(),
            lane: Some(self.lane),
            not_providers: None,
        }
    }
}

/// More patterns than anyone reads (ground rule G14).
const MOST_PATTERNS: usize = 1_000;

pub(super) fn grant(judge: &mut Judge<'_>, path: &str, rights: &RightsOf<'_>) -> Grant {
    for (index, name) in rights.operations.iter().copied().flatten().enumerate() {
        let known = |operation: Operation| operation.label();
        if name != "*" && !Operation::ALL.map(known).contains(&name.as_str()) {
            judge.wrong(
                format!("{path}.operations[{index}]"),
                format!("{name:?} is no operation"),
                "use one of: chat, completions, embeddings, moderations, rerank, images, image_edits, image_variations, speech, transcriptions, translations, count_tokens",
            );
        }
    }
    let mut allow = |name: &str, patterns: Option<&[String]>| {
        let Some(patterns) = patterns else {
            return Allow::Everything;
        };
        if patterns.len() > MOST_PATTERNS {
            judge.wrong(
                format!("{path}.{name}"),
                "holds more than 1000 names",
                "name beginnings with a * at the end",
            );
        }
        let unusable = |text: &&String| {
            let stem = text.strip_suffix('*').unwrap_or(text);
            text.is_empty()
                || text.len() > 256
                || stem.contains('*')
                || stem.contains(char::is_control)
        };
        if let Some(wrong) = patterns.iter().find(unusable) {
            judge.wrong(
                format!("{path}.{name}"),
                format!(
                    "{:?} is no name",
                    wrong.chars().take(64).collect::<String>()
                ),
                "write a name, or the beginning of names and a * at its end",
            );
        }
        Allow::only(patterns.iter().take(MOST_PATTERNS))
    };
    allow("not_providers", rights.not_providers);
    Grant {
        pools: allow("pools", rights.pools),
        providers: allow("providers", rights.providers),
        regions: allow("regions", rights.regions),
        operations: allow("operations", rights.operations),
        lane: rights.lane.unwrap_or(Lane::Interactive),
    }
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
    let own = grant(judge, &path, &tenant.rights());
    let weight = weight(judge, &format!("{path}.weight"), tenant.weight);
    let mut teams = BTreeMap::new();
    let mut reader = Reader::new(judge, zone);
    reader.account(&path, name.to_owned(), &tenant.terms());
    for (team, raw) in &tenant.teams {
        let path = format!("{path}.teams.{team}");
        account_name(reader.judge, &path, team);
        reader.account(&path, format!("{name}/{team}"), &raw.terms());
        let theirs = grant(reader.judge, &path, &raw.rights());
        teams.insert(Arc::from(team.as_str()), own.and(&theirs));
    }
    for (tag, terms) in &tenant.tags {
        let path = format!("{path}.tags.{tag}");
        account_name(reader.judge, &path, tag);
        reader.account(&path, format!("{name}+{tag}"), &terms.terms());
    }
    for (index, client) in raw.clients.iter().enumerate() {
        if client.tenant.as_deref().unwrap_or(TenantSettings::DEFAULT) == name {
            let path = format!("clients[{index}]");
            reader.account(&path, format!("{name}#{}", client.name), &client.terms());
        }
    }
    for (identity, written) in &raw.identities {
        if identity::tenants(written).any(|tenant| tenant == name) {
            let account = format!("{name}#{}", identity::client_name(identity));
            let path = format!("identities.{identity}");
            reader.account(&path, account, &written.terms());
        }
    }
    TenantSettings {
        name: name.into(),
        written: raw.tenants.contains_key(name),
        weight,
        accounts: reader.accounts,
        zone: reader.zone,
        grant: own,
        teams,
        // Decided by `residency`.
        demand: None,
        team_demands: BTreeMap::new(),
    }
}

/// What a tenant weighs among the others.
pub(super) fn weight(judge: &mut Judge<'_>, path: &str, written: Option<u32>) -> Weight {
    let Some(number) = written else {
        return Weight::ONE;
    };
    Weight::new(number).unwrap_or_else(|| {
        judge.wrong(
            path,
            format!("{number} is no weight"),
            "write how many times the share of a tenant of weight 1 it may have, from 1 to 1000",
        );
        Weight::ONE
    })
}

/// The signs that join the parts of an account's name may not be in one.
fn account_name(judge: &mut Judge<'_>, path: &str, name: &str) {
    judge.name(path, name, Slash::Refused);
}

impl<'j, 'e> Reader<'j, 'e> {
    pub(super) fn new(judge: &'j mut Judge<'e>, zone: Zone) -> Self {
        Self {
            judge,
            zone,
            accounts: BTreeMap::new(),
        }
    }

    fn account(&mut self, path: &str, name: String, raw: &RawTermsOf<'_>) {
        let terms = self.terms(path, raw);
        if !terms.is_empty() {
            self.accounts.insert(name.into(), terms);
        }
    }

    pub(super) fn terms(&mut self, path: &str, raw: &RawTermsOf<'_>) -> AccountTerms {
        if raw.default_max_output == Some(0) {
            self.judge.wrong(
                format!("{path}.default_max_output"),
                "0 would leave no room for an answer",
                "leave it out for the model's own limit",
            );
        }
        AccountTerms {
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
            caps: caps(self.judge, path, &self.zone, raw.budgets),
            default_max_output: raw.default_max_output,
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
}

/// What may be spent, as far as it can be read.
pub(super) fn caps(
    judge: &mut Judge<'_>,
    path: &str,
    zone: &Zone,
    budgets: &[BudgetForm],
) -> Vec<Cap> {
    let mut caps: Vec<Cap> = Vec::new();
    for (index, budget) in budgets.iter().enumerate() {
        let path = format!("{path}.budgets[{index}]");
        let limit = budget.usd.parse().map_err(|error: AmountError| {
            judge.wrong(
                format!("{path}.usd"),
                format!("{:?} is no amount: {error}", budget.usd),
                "write dollars as a text, such as \"100\" or \"0.50\"",
            );
        });
        let period = budget.period.parse().map_err(|error| {
            judge.wrong(
                format!("{path}.period"),
                format!("{:?} {error}", budget.period),
                "",
            );
        });
        let mut tell_at = budget.tell_at.as_deref().unwrap_or(&TELL_AT).to_vec();
        tell_at.sort_unstable();
        tell_at.dedup();
        if tell_at.first() == Some(&0) {
            judge.wrong(
                format!("{path}.tell_at"),
                "0 % is reached before anything is spent",
                "write percents from 1 on",
            );
        }
        if let (Ok(limit), Ok(period)) = (limit, period) {
            caps.push(Cap {
                limit,
                period,
                zone: zone.clone(),
                hard: budget.hard,
                tell_at,
            });
        }
    }
    if caps.len() > 16 {
        judge.wrong(
            format!("{path}.budgets"),
            "are more than 16",
            "one per period does",
        );
    }
    caps
}
