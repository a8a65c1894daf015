//! `switchyard keys` and `switchyard tenants`: made, shown and ended while the gateway runs.

mod remote;
mod table;
mod way;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use switchyard::config::{BudgetForm, GrantForm, TeamForm, TenantForm, TermsForm};
use switchyard::domain::Lane;
use switchyard::keys::{KeyCommand, KeyPatch, NewKey, Page};
use switchyard::store::keys::AdminScope;

use crate::command::{complain, say, time};
use way::Way;

#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Tenants {
    #[command(subcommand)]
    command: TenantsCommand,
    #[command(flatten)]
    place: Place,
}

/// Which gateway.
#[derive(Args)]
struct Place {
    /// The configuration file; ./switchyard.toml is used when it is there. Its store is changed, and a gateway that
    /// runs on it knows within a second.
    #[arg(long, short, global = true)]
    config: Option<PathBuf>,
    /// Ask the admin listener of a running gateway instead, such as http://127.0.0.1:8081.
    #[arg(long, global = true, requires = "key", value_name = "URL")]
    admin: Option<String>,
    /// An admin key, as a reference: env:NAME or file:/path.
    #[arg(long, global = true, value_name = "REFERENCE")]
    key: Option<String>,
    /// For programs.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a key for a client and show it, this once.
    Create(Create),
    /// Make a key for the admin listener and show it, this once.
    CreateAdmin {
        #[arg(long)]
        name: String,
        /// read, write, keys; more than one with commas.
        #[arg(long, value_delimiter = ',', value_parser = scope, required = true)]
        scopes: Vec<AdminScope>,
        /// Only for this tenant's keys.
        #[arg(long)]
        tenant: Option<String>,
        /// 2027-01-01, 2027-01-01T08:00:00Z, or from now: 90d, 24h.
        #[arg(long, value_parser = to_come)]
        expires: Option<u64>,
    },
    /// Every key, without its secret.
    List {
        #[arg(long)]
        tenant: Option<String>,
    },
    /// One key, by its id.
    Show { id: String },
    /// Let nobody in by this key until it is unblocked.
    Block { id: String },
    /// Let them in again.
    Unblock { id: String },
    /// Give a key another secret and show it, this once.
    Rotate {
        id: String,
        /// How long the old secret stays good beside it, such as 24h.
        #[arg(long, value_parser = span, default_value = "0s")]
        overlap: u64,
    },
    /// End a key for ever.
    Delete { id: String },
    /// Change what a key may do; what is left out stays.
    Set {
        id: String,
        #[arg(long)]
        name: Option<String>,
        /// As at create; "never" for a key that does not end.
        #[arg(long, value_parser = to_come_or_never)]
        expires: Option<u64>,
        #[command(flatten)]
        rights: Rights,
        #[command(flatten)]
        limits: Limits,
    },
}

#[derive(Args)]
struct Create {
    /// Of its own in its tenant: limits, budgets and reports go by it.
    #[arg(long)]
    name: String,
    /// Who pays.
    #[arg(long)]
    tenant: Option<String>,
    #[arg(long)]
    team: Option<String>,
    /// A part of the key's text, such as live or test.
    #[arg(long)]
    env: Option<String>,
    /// 2027-01-01, 2027-01-01T08:00:00Z, or from now: 90d, 24h.
    #[arg(long, value_parser = to_come)]
    expires: Option<u64>,
    #[command(flatten)]
    rights: Rights,
    #[command(flatten)]
    limits: Limits,
}

/// What may be used; names with commas between them, a * at the end of a beginning.
#[derive(Args)]
struct Rights {
    #[arg(long, value_delimiter = ',')]
    pools: Option<Vec<String>>,
    #[arg(long, value_delimiter = ',')]
    providers: Option<Vec<String>>,
    #[arg(long, value_delimiter = ',')]
    regions: Option<Vec<String>>,
    /// chat, completions, embeddings, moderations, rerank, images, image_edits, image_variations, speech, transcriptions, translations, count_tokens.
    #[arg(long, value_delimiter = ',')]
    operations: Option<Vec<String>>,
    /// The best one: interactive, default or batch.
    #[arg(long, value_parser = lane)]
    lane: Option<Lane>,
    /// Only providers that keep nothing.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    zero_retention: Option<bool>,
    /// Only providers that do not train on it.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    no_training: Option<bool>,
    /// None of these providers.
    #[arg(long, value_delimiter = ',')]
    not_providers: Option<Vec<String>>,
}

/// How much.
#[derive(Args)]
struct Limits {
    #[arg(long)]
    requests_per_minute: Option<u64>,
    #[arg(long)]
    tokens_per_minute: Option<u64>,
    #[arg(long)]
    concurrency: Option<u32>,
    /// How long an answer may be where the request does not say, in tokens.
    #[arg(long)]
    default_max_output: Option<u64>,
    /// Dollars and a period: 20/day, 100/month, 5/rolling:24h. May be given more than once.
    #[arg(long, value_parser = budget)]
    budget: Vec<BudgetForm>,
}

#[derive(Subcommand)]
enum TenantsCommand {
    /// Make a tenant, or a team of one.
    Create(Account),
    /// Every tenant, the file's and the store's.
    List,
    /// Set what a tenant or a team of it may use and spend, as a whole.
    Set(Account),
    /// End a tenant that has no keys any more.
    Delete { name: String },
}

#[derive(Args)]
struct Account {
    name: String,
    /// This team of the tenant.
    #[arg(long)]
    team: Option<String>,
    /// Where its days and months begin, such as Europe/Berlin.
    #[arg(long, conflicts_with = "team")]
    time_zone: Option<String>,
    /// How many times the share of a tenant of weight 1 it has where there is not enough for all.
    #[arg(long, conflicts_with = "team")]
    weight: Option<u32>,
    #[command(flatten)]
    rights: Rights,
    #[command(flatten)]
    limits: Limits,
}

impl Rights {
    fn form(self) -> GrantForm {
        GrantForm {
            pools: self.pools,
            providers: self.providers,
            regions: self.regions,
            operations: self.operations,
            lane: self.lane,
            zero_retention: self.zero_retention,
            no_training: self.no_training,
            not_providers: self.not_providers,
        }
    }
}

impl Limits {
    fn form(self) -> TermsForm {
        TermsForm {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrency: self.concurrency,
            limits: Vec::new(),
            budgets: self.budget,
            default_max_output: self.default_max_output,
        }
    }
}

/// Ends with 0, with 1 where it was refused, with 2 where nobody could be asked.
pub(crate) fn keys(asked: Keys) -> ExitCode {
    let Keys { command, place } = asked;
    let command = match command {
        KeysCommand::Create(create) => KeyCommand::Issue {
            wanted: NewKey {
                name: create.name,
                tenant: create.tenant,
                team: create.team,
                env: create.env,
                expires: create.expires,
                grant: create.rights.form(),
                terms: create.limits.form(),
                scopes: Vec::new(),
            },
            once: None,
        },
        KeysCommand::CreateAdmin {
            name,
            scopes,
            tenant,
            expires,
        } => KeyCommand::IssueAdmin {
            wanted: NewKey {
                name,
                tenant,
                expires,
                scopes,
                ..NewKey::default()
            },
            once: None,
        },
        KeysCommand::List { tenant } => {
            return answer(&place, |way| every(way, "keys", tenant, KeyCommand::Keys));
        }
        KeysCommand::Show { id } => KeyCommand::Key { id },
        KeysCommand::Block { id } => blocked(id, true),
        KeysCommand::Unblock { id } => blocked(id, false),
        KeysCommand::Rotate { id, overlap } => KeyCommand::Rotate { id, overlap },
        KeysCommand::Delete { id } => KeyCommand::Remove { id },
        KeysCommand::Set {
            id,
            name,
            expires,
            rights,
            limits,
        } => {
            let (grant, terms) = (rights.form(), limits.form());
            let patch = KeyPatch {
                name,
                expires,
                blocked: None,
                grant: (grant != GrantForm::default()).then_some(grant),
                terms: (terms != TermsForm::default()).then_some(terms),
            };
            KeyCommand::Amend { id, patch }
        }
    };
    answer(&place, |way| way.ask(command))
}

/// All pages of a list as one.
fn every(
    way: &Way,
    list: &str,
    tenant: Option<String>,
    of: fn(Page) -> KeyCommand,
) -> Result<serde_json::Value, way::Refused> {
    let mut page = Page {
        tenant,
        limit: Some(1_000),
        after: None,
    };
    let mut all = Vec::new();
    loop {
        let mut told = way.ask(of(page.clone()))?;
        if let Some(more) = told[list].as_array_mut() {
            all.append(more);
        }
        match told["next"].as_str() {
            Some(next) => page.after = Some(next.to_owned()),
            None => return Ok(serde_json::json!({list: all})),
        }
    }
}

fn blocked(id: String, blocked: bool) -> KeyCommand {
    let patch = KeyPatch {
        blocked: Some(blocked),
        ..KeyPatch::default()
    };
    KeyCommand::Amend { id, patch }
}

pub(crate) fn tenants(asked: Tenants) -> ExitCode {
    let Tenants { command, place } = asked;
    answer(&place, |way| match command {
        TenantsCommand::List => every(way, "tenants", None, KeyCommand::Tenants),
        TenantsCommand::Delete { name } => way.ask(KeyCommand::RemoveTenant { name }),
        TenantsCommand::Create(account) => put(way, account, true),
        TenantsCommand::Set(account) => put(way, account, false),
    })
}

/// A tenant as it is to be: what is there, with this account in the place of what it was.
fn put(way: &Way, account: Account, new: bool) -> Result<serde_json::Value, way::Refused> {
    let name = account.name;
    let show = KeyCommand::Tenant { name: name.clone() };
    let before = match way.ask(show) {
        Ok(told) => Some(told),
        Err(way::Refused::NotFound) => None,
        Err(other) => return Err(other),
    };
    let stored = before.as_ref().map(|told| told["tenant"]["stored"].clone());
    let stored: Option<TenantForm> = stored.and_then(|form| serde_json::from_value(form).ok());
    let mut form = stored.clone().unwrap_or_default();
    let (grant, terms) = (account.rights.form(), account.limits.form());
    let there = match &account.team {
        Some(team) => before.is_some_and(|told| !told["tenant"]["teams"][team].is_null()),
        None => before.is_some_and(|told| told["tenant"]["from"] == "file") || stored.is_some(),
    };
    if new && there {
        return Err(way::Refused::Told(
            "it is there already; change it with: switchyard tenants set".to_owned(),
        ));
    }
    match account.team {
        Some(team) => drop(form.teams.insert(team, TeamForm { grant, terms })),
        None => {
            form = TenantForm {
                time_zone: account.time_zone.or(form.time_zone),
                weight: account.weight.or(form.weight),
                grant,
                terms,
                teams: form.teams,
            }
        }
    }
    way.ask(KeyCommand::PutTenant { name, form })
}

fn answer(
    place: &Place,
    ask: impl FnOnce(&Way) -> Result<serde_json::Value, way::Refused>,
) -> ExitCode {
    let way = match Way::find(place) {
        Ok(way) => way,
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    match ask(&way) {
        Ok(told) => {
            if place.json {
                say(&serde_json::to_string_pretty(&told).unwrap_or_default());
            } else {
                say(table::text(&told).trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(refused) => {
            complain(&refused.to_string());
            ExitCode::FAILURE
        }
    }
}

// --- what is typed ---

fn scope(text: &str) -> Result<AdminScope, String> {
    let found = AdminScope::ALL
        .into_iter()
        .find(|scope| scope.label() == text);
    found.ok_or_else(|| "use one of: read, write, keys".to_owned())
}

fn lane(text: &str) -> Result<Lane, String> {
    let found = Lane::ALL.into_iter().find(|lane| lane.label() == text);
    found.ok_or_else(|| "use one of: interactive, default, batch".to_owned())
}

fn budget(text: &str) -> Result<BudgetForm, String> {
    let (usd, period) = text
        .split_once('/')
        .ok_or("write dollars and a period, such as 20/day or 5/rolling:24h")?;
    Ok(BudgetForm {
        usd: usd.to_owned(),
        period: period.to_owned(),
        hard: true,
        tell_at: None,
    })
}

/// Seconds.
fn span(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    units
        .into_iter()
        .find_map(|(unit, seconds)| {
            let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(seconds)
        })
        .ok_or_else(|| "write a time such as 90m, 24h or 7d".to_owned())
}

/// Unix seconds.
fn to_come(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = span(text) {
        return way::now()
            .checked_add(seconds)
            .ok_or("is too long".to_owned());
    }
    time::parse(text)
        .map(|ms| ms / 1_000)
        .map_err(|_| "write 2027-01-01, 2027-01-01T08:00:00Z, or from now: 90d, 24h".to_owned())
}

fn to_come_or_never(text: &str) -> Result<u64, String> {
    if text == "never" {
        Ok(0)
    } else {
        to_come(text)
    }
}
