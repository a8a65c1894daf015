//! Accounts and grants as they are written over the admin API and kept in the store: the same words as in the file,
//! judged by the same rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::judge::{Judge, Slash};
use super::mistakes::Mistake;
use super::raw::{BudgetForm, LimitForm, RawTermsOf};
use super::settings::TenantSettings;
use super::tenants::{Reader, RightsOf, grant, weight};
use crate::domain::Lane;
use crate::policy::grant::Grant;
use crate::policy::ledger::{AccountTerms, Zone};
use crate::policy::residency::{Demand, Demands, is_place};

/// What an account may do and spend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TermsForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitForm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetForm>,
    /// Output tokens of a request that names no limit itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_output: Option<u64>,
}

impl TermsForm {
    fn raw(&self) -> RawTermsOf<'_> {
        RawTermsOf {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrency: self.concurrency,
            limits: &self.limits,
            budgets: &self.budgets,
            default_max_output: self.default_max_output,
        }
    }
}

/// What may be used; what is left out is not limited here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrantForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pools: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// interactive, default or batch: the best one.
    #[schema(value_type = Option<String>)]
    pub lane: Option<Lane>,
    /// Only providers that keep nothing; nothing takes back what a table above demands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_retention: Option<bool>,
    /// Only providers that do not train on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_training: Option<bool>,
    /// None of these providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_providers: Option<Vec<String>>,
}

impl GrantForm {
    fn rights(&self) -> RightsOf<'_> {
        RightsOf {
            pools: self.pools.as_deref(),
            providers: self.providers.as_deref(),
            regions: self.regions.as_deref(),
            operations: self.operations.as_deref(),
            lane: self.lane,
            not_providers: self.not_providers.as_deref(),
        }
    }

    /// What it allows.
    pub(super) fn read(&self, judge: &mut Judge<'_>, path: &str) -> Grant {
        let regions = self.regions.iter().flatten();
        let stems = regions.map(|region| region.strip_suffix('*').unwrap_or(region));
        for odd in stems
            .filter(|stem| !stem.is_empty() && !is_place(stem))
            .take(1)
        {
            judge.wrong(
                format!("{path}.regions"),
                format!(
                    "{:?} is no region",
                    odd.chars().take(64).collect::<String>()
                ),
                "use up to 64 small letters, digits and -, as \"eu\" or \"eu-central-1\"",
            );
        }
        grant(judge, path, &self.rights())
    }

    /// What it demands of whoever serves, as the file's tables do.
    pub fn demands(&self) -> Demands<'_> {
        let regions = self.regions.as_deref();
        Demands {
            // Anywhere is also where nobody says where it is.
            regions: regions.filter(|regions| !regions.iter().any(|one| one == "*")),
            zero_retention: self.zero_retention.unwrap_or(false),
            no_training: self.no_training.unwrap_or(false),
            providers: self.providers.as_deref(),
            not_providers: self.not_providers.as_deref().unwrap_or_default(),
        }
    }

    /// What is demanded above and here; `None`: nothing.
    pub fn demand(&self, above: Option<&Demand>) -> Option<Arc<Demand>> {
        let demand = above.cloned().unwrap_or_default().and(&self.demands());
        (!demand.is_none()).then(|| Arc::new(demand))
    }

    /// Parts that are written here take the place of what was written before.
    pub fn over(self, before: Self) -> Self {
        Self {
            pools: self.pools.or(before.pools),
            providers: self.providers.or(before.providers),
            regions: self.regions.or(before.regions),
            operations: self.operations.or(before.operations),
            lane: self.lane.or(before.lane),
            zero_retention: self.zero_retention.or(before.zero_retention),
            no_training: self.no_training.or(before.no_training),
            not_providers: self.not_providers.or(before.not_providers),
        }
    }
}

/// A part of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TeamForm {
    pub grant: GrantForm,
    pub terms: TermsForm,
}

/// An organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantForm {
    /// Where its days and months begin; UTC when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How many times the share of a tenant of weight 1 it has where there is not enough for all: 1 to 1000; 1 when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    pub grant: GrantForm,
    pub terms: TermsForm,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub teams: BTreeMap<String, TeamForm>,
}

/// More teams than anyone has are a mistake (ground rule G14).
const MOST_TEAMS: usize = 1_000;

impl TenantForm {
    /// What it means, or every mistake in it.
    pub fn settings(&self, name: &str) -> Result<TenantSettings, Vec<Mistake>> {
        let mut judge = Judge::of_defaults();
        judge.name("name", name, Slash::Refused);
        let zone = self.time_zone.as_deref().unwrap_or("UTC").parse();
        let zone = zone.unwrap_or_else(|error| {
            judge.wrong("time_zone", format!("{error}"), "");
            Zone::default()
        });
        let own = self.grant.read(&mut judge, "grant");
        let weight = weight(&mut judge, "weight", self.weight);
        let mut settings = TenantSettings {
            name: name.into(),
            written: false,
            weight,
            accounts: BTreeMap::new(),
            zone,
            grant: own,
            teams: BTreeMap::new(),
            demand: self.grant.demand(None),
            team_demands: BTreeMap::new(),
        };
        if self.teams.len() > MOST_TEAMS {
            judge.wrong("teams", "are more than 1000", "make another tenant");
        }
        account(&mut judge, &mut settings, "terms", name, &self.terms);
        for (team, form) in self.teams.iter().take(MOST_TEAMS) {
            add_team(&mut judge, &mut settings, team, form);
        }
        done(judge, settings)
    }
}

impl TenantSettings {
    /// Adds the teams of the store's that it does not have itself: where both name one, the file's counts. One that
    /// cannot be read is left out, and its keys with it: without its limits they would be worth more than was meant.
    pub fn with_teams_of(&self, form: &TenantForm) -> (Self, Vec<Mistake>) {
        let (mut settings, mut mistakes) = (self.clone(), Vec::new());
        for (team, form) in &form.teams {
            if self.teams.contains_key(team.as_str()) {
                continue;
            }
            let mut judge = Judge::of_defaults();
            add_team(&mut judge, &mut settings, team, form);
            if !judge.mistakes.is_empty() {
                settings.teams.remove(team.as_str());
                settings.team_demands.remove(team);
                mistakes.append(&mut judge.mistakes);
            }
        }
        (settings, mistakes)
    }

    /// What a key of this tenant may do and spend, or every mistake in it.
    pub fn terms_of(&self, form: &TermsForm) -> Result<AccountTerms, Vec<Mistake>> {
        let mut judge = Judge::of_defaults();
        let mut reader = Reader::new(&mut judge, self.zone.clone());
        let terms = reader.terms("terms", &form.raw());
        done(judge, terms)
    }
}

/// What a form allows, or every mistake in it.
pub fn read_grant(form: &GrantForm) -> Result<Grant, Vec<Mistake>> {
    let mut judge = Judge::of_defaults();
    let grant = form.read(&mut judge, "grant");
    done(judge, grant)
}

/// Whether this may be the name of a client, a team or a tenant.
pub fn read_name(path: &str, name: &str) -> Result<(), Vec<Mistake>> {
    let mut judge = Judge::of_defaults();
    judge.name(path, name, Slash::Refused);
    done(judge, ())
}

fn add_team(judge: &mut Judge<'_>, settings: &mut TenantSettings, team: &str, form: &TeamForm) {
    let path = format!("teams.{team}");
    judge.name(&path, team, Slash::Refused);
    let own = form.grant.read(judge, &format!("{path}.grant"));
    let both = settings.grant.and(&own);
    settings.teams.insert(Arc::from(team), both);
    if let Some(demand) = form.grant.demand(settings.demand.as_deref()) {
        settings.team_demands.insert(team.to_owned(), demand);
    }
    let name = format!("{}/{team}", settings.name);
    let path = format!("{path}.terms");
    account(judge, settings, &path, &name, &form.terms);
}

fn account(
    judge: &mut Judge<'_>,
    settings: &mut TenantSettings,
    path: &str,
    name: &str,
    form: &TermsForm,
) {
    let mut reader = Reader::new(judge, settings.zone.clone());
    let terms = reader.terms(path, &form.raw());
    if !terms.is_empty() {
        settings.accounts.insert(name.into(), terms);
    }
}

fn done<T>(judge: Judge<'_>, found: T) -> Result<T, Vec<Mistake>> {
    if judge.mistakes.is_empty() {
        Ok(found)
    } else {
        Err(judge.mistakes)
    }
}
