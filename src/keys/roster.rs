//! Every tenant and key in force. Built beside the requests, swapped in as a whole, looked up without a lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::form::{KeyKind, KeyParts};
use super::identity::Bearer;
use super::pepper::Pepper;
use crate::config::{
    ClientSettings, IdentitySettings, Mistake, Settings, TenantSettings, account_path, read_grant,
};
use crate::domain::{ClientName, Lane, Stake, Weight};
use crate::policy::grant::Grant;
use crate::policy::ledger::AccountName;
use crate::policy::residency::Demand;
use crate::store::keys::{AdminScope, KeyUse, Roll, StoredKey};

/// Who calls, and what it may use.
#[derive(Clone, Debug)]
pub struct Client {
    pub name: ClientName,
    /// The configuration names it. Only those names are of one client each; a key of the store has its name within
    /// its tenant (attack A04).
    pub of_file: bool,
    /// Its own lane; a request may step back from it.
    pub lane: Lane,
    pub tenant: Arc<str>,
    /// Of its tenant, among the others.
    pub weight: Weight,
    pub team: Option<Arc<str>>,
    /// The accounts it counts in, the widest first.
    pub path: SmallVec<[AccountName; 4]>,
    /// What its organisation, its team and its key allow, taken together.
    pub grant: Arc<Grant>,
    /// What the same demand of whoever serves it; `None`: nothing.
    pub demand: Option<Arc<Demand>>,
    /// The person a token was issued to; `None` for keys, which say nothing of people.
    pub user: Option<Arc<str>>,
    /// Tells those apart who have one name; `None` where each has its own.
    apart: Option<Arc<str>>,
}

impl Client {
    pub fn may_use(&self, pool: &str) -> bool {
        self.grant.pools.holds(pool)
    }

    /// Whose what it keeps is: names of clients are unique within their tenant only (attack A04).
    pub fn owner(&self) -> ClientName {
        format!("{}#{}", self.tenant, self.own_name()).into()
    }

    /// Its name within its tenant, which is of nobody else: people who come with tokens of one issuer share a name
    /// in limits, metrics and reports, and nothing that is kept for one of them.
    pub fn own_name(&self) -> ClientName {
        match &self.apart {
            Some(apart) => format!("{}~{apart}", self.name).into(),
            None => self.name.clone(),
        }
    }

    /// For whom what it holds of what is short is counted.
    pub fn stake(&self) -> Stake {
        Stake {
            tenant: Arc::clone(&self.tenant),
            weight: self.weight,
        }
    }

    fn new(
        name: ClientName,
        tenant: Arc<str>,
        team: Option<Arc<str>>,
        grant: Grant,
        demand: Option<Arc<Demand>>,
    ) -> Self {
        Self {
            path: account_path(&tenant, team.as_deref(), name.as_str()),
            lane: grant.lane,
            of_file: false,
            user: None,
            apart: None,
            demand,
            grant: Arc::new(grant),
            name,
            tenant,
            weight: Weight::ONE,
            team,
        }
    }

    /// A client of the file's.
    pub fn of_file(client: &ClientSettings, tenants: &[Arc<TenantSettings>]) -> Self {
        let tenant = tenants.iter().find(|tenant| tenant.name == client.tenant);
        let team = client.team.as_deref();
        let bound = tenant.and_then(|tenant| tenant.grant_of(team));
        let grant = bound.map_or_else(|| client.grant.clone(), |bound| bound.and(&client.grant));
        let client = Self::new(
            client.name.clone(),
            Arc::from(client.tenant.as_str()),
            client.team.clone(),
            grant,
            client.demand.clone(),
        );
        Self {
            of_file: true,
            weight: tenant.map_or(Weight::ONE, |tenant| tenant.weight),
            ..client
        }
    }

    /// Who comes with a token. What its tenant may use bounds what the issuer and the token say; `None`: the tenant or
    /// the team is not there.
    pub(super) fn of_token(
        identity: &IdentitySettings,
        bearer: &Bearer,
        roster: &Roster,
    ) -> Option<Self> {
        let home = roster.tenant(&bearer.tenant)?;
        let team = bearer.team.as_deref();
        let mut grant = home.grant_of(team)?.and(&identity.grant);
        if let Some(pools) = &bearer.pools {
            grant.pools = grant.pools.and(pools);
        }
        let above = home.demand_of(team).map(|demand| &**demand);
        let client = Self::new(
            identity.client_name(),
            Arc::clone(&bearer.tenant),
            bearer.team.clone(),
            grant,
            identity.form.demand(above),
        );
        Some(Self {
            user: Some(Arc::clone(&bearer.user)),
            apart: Some(Arc::clone(&bearer.apart)),
            ..client
        })
    }

    /// Whoever reaches a gateway that knows no keys.
    pub fn local(tenants: &[Arc<TenantSettings>]) -> Self {
        let tenant = tenants
            .iter()
            .find(|tenant| tenant.name.as_str() == TenantSettings::DEFAULT);
        let grant = tenant.map_or(Grant::EVERYTHING, |tenant| tenant.grant.clone());
        let name = Arc::from(TenantSettings::DEFAULT);
        let demand = tenant.and_then(|tenant| tenant.demand_of(None)).cloned();
        let local = ClientName::from("local");
        let mut local = Self::new(local, Arc::clone(&name), None, grant, demand);
        local.of_file = true;
        local.weight = tenant.map_or(Weight::ONE, |tenant| tenant.weight);
        local.lane = local.lane.max(Lane::Default);
        local.path = smallvec![name];
        local
    }
}

/// A key of the store's, ready to be used.
#[derive(Debug)]
struct KnownKey {
    record: Arc<StoredKey>,
    client: Client,
}

/// Who asks the admin listener by a key of the store's.
#[derive(Clone, Debug)]
pub struct AdminKey {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub scopes: Arc<[AdminScope]>,
    /// `None`: of every tenant.
    pub tenant: Option<Arc<str>>,
    /// Unix seconds; `None` never ends.
    pub expires: Option<u64>,
}

/// Why a key of our form is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    Unknown,
    Expired,
    Blocked,
    /// Its tenant or team is not there any more.
    Homeless,
}

impl KeyFault {
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Blocked => "blocked",
            Self::Homeless => "homeless",
        }
    }
}

/// All tenants and keys of one configuration and one state of the store.
#[derive(Debug, Default)]
pub struct Roster {
    /// The file's and the store's, keys' accounts among them.
    pub tenants: Vec<Arc<TenantSettings>>,
    /// What the store holds.
    pub roll: Arc<Roll>,
    pub pepper: Option<Pepper>,
    /// What of the store could not be used, and why.
    pub mistakes: Vec<Mistake>,
    /// How many tenants have somebody who may ask.
    pub peers: usize,
    keys: HashMap<String, Arc<KnownKey>>,
}

impl Roster {
    /// Joins file and store. Keys that did not change since `before` are taken from there.
    pub fn merge(
        settings: &Settings,
        roll: Arc<Roll>,
        pepper: Option<Pepper>,
        before: Option<&Self>,
    ) -> Self {
        let mut mistakes = Vec::new();
        let mut tenants = tenants(settings, &roll, &mut mistakes);
        let mut keys = HashMap::with_capacity(roll.keys.len());
        let clients = settings.clients.iter();
        let mut peers: BTreeSet<&str> = clients.map(|client| client.tenant.as_str()).collect();
        let mut accounts: BTreeMap<&str, Vec<&Arc<StoredKey>>> = BTreeMap::new();
        for (id, record) in &roll.keys {
            let Some(tenant) = record.tenant.as_deref() else {
                continue;
            };
            if record.r#use == KeyUse::Admin {
                continue;
            }
            let Some(home) = tenants.get(tenant) else {
                continue;
            };
            let Some(bound) = home.grant_of(record.team.as_deref()) else {
                continue;
            };
            peers.insert(tenant);
            if record.terms != crate::config::TermsForm::default() {
                accounts.entry(tenant).or_default().push(record);
            }
            let known = before
                .and_then(|before| before.keys.get(id))
                .filter(|known| {
                    Arc::ptr_eq(&known.record, record)
                        && before.is_some_and(|before| before.binds_alike(record, home))
                });
            let known = match known {
                Some(known) => Arc::clone(known),
                None => Arc::new(KnownKey {
                    client: client(record, home, bound, &mut mistakes),
                    record: Arc::clone(record),
                }),
            };
            keys.insert(id.clone(), known);
        }
        for (name, records) in accounts {
            if let Some(tenant) = tenants.get_mut(name) {
                let (with_keys, unreadable) = with_accounts(tenant, &records, &mut mistakes);
                *tenant = Arc::new(with_keys);
                // Without its limits a key would be worth more than it was made for.
                for id in unreadable {
                    keys.remove(id);
                }
            }
        }
        Self {
            peers: peers.len(),
            tenants: tenants.into_values().collect(),
            roll,
            pepper,
            mistakes,
            keys,
        }
    }

    /// Whether keys can be told from guesses; without the pepper they were made with none can.
    pub fn can_tell(&self) -> bool {
        self.pepper.is_some() || self.roll.keys.is_empty()
    }

    pub fn tenant(&self, name: &str) -> Option<&Arc<TenantSettings>> {
        self.tenants
            .binary_search_by(|tenant| tenant.name.as_str().cmp(name))
            .ok()
            .and_then(|place| self.tenants.get(place))
    }

    /// Whether a key was bound by the same before, when its tenant was another.
    fn binds_alike(&self, key: &StoredKey, now: &TenantSettings) -> bool {
        let team = key.team.as_deref();
        let before = key.tenant.as_deref().and_then(|name| self.tenant(name));
        before.is_some_and(|before| {
            before.weight == now.weight
                && before.grant_of(team) == now.grant_of(team)
                && before.demand_of(team) == now.demand_of(team)
        })
    }

    /// Whose key has this id, whether or not it is good now.
    pub fn of_key(&self, id: &str) -> Option<&Client> {
        self.keys.get(id).map(|known| &known.client)
    }

    /// Who has this client key, at this time in unix seconds.
    pub fn client(&self, parts: KeyParts<'_>, text: &[u8], now: u64) -> Result<&Client, KeyFault> {
        let known = self.keys.get(parts.id);
        let record = match known {
            Some(known) => Some(&known.record),
            None => self.roll.keys.get(parts.id),
        };
        self.check(record, KeyKind::Client, (parts.kind, text), now)?;
        Ok(&known.ok_or(KeyFault::Homeless)?.client)
    }

    /// Who has this admin key.
    pub fn admin(&self, parts: KeyParts<'_>, text: &[u8], now: u64) -> Result<AdminKey, KeyFault> {
        let record = self.roll.keys.get(parts.id);
        let record = self.check(record, KeyKind::Admin, (parts.kind, text), now)?;
        if let Some(tenant) = &record.tenant
            && self.tenant(tenant).is_none()
        {
            return Err(KeyFault::Homeless);
        }
        Ok(AdminKey {
            id: Arc::from(record.id.as_str()),
            name: Arc::from(record.name.as_str()),
            scopes: record.scopes.clone().into(),
            tenant: record.tenant.as_deref().map(Arc::from),
            expires: record.expires,
        })
    }

    /// The record of a key whose whole text is right. A key that is none takes as long to refuse as one whose secret
    /// is wrong, whether or not that has an older one beside it (attack A02).
    fn check<'a>(
        &self,
        record: Option<&'a Arc<StoredKey>>,
        kind: KeyKind,
        (sent, text): (KeyKind, &[u8]),
        now: u64,
    ) -> Result<&'a Arc<StoredKey>, KeyFault> {
        let pepper = self.pepper.as_ref().ok_or(KeyFault::Unknown)?;
        let wanted = match kind {
            KeyKind::Client => KeyUse::Client,
            KeyKind::Admin => KeyUse::Admin,
        };
        let digest = record.map_or([0; 32], |record| record.digest);
        let good = pepper.matches(text, &digest);
        let before = record.and_then(|record| record.before);
        let old = !good && pepper.matches(text, &before.unwrap_or_default().0);
        let record = record
            .filter(|record| record.r#use == wanted && sent == kind)
            .ok_or(KeyFault::Unknown)?;
        if !good {
            let (_, until) = record.before.filter(|_| old).ok_or(KeyFault::Unknown)?;
            if now >= until {
                return Err(KeyFault::Expired);
            }
        }
        if record.blocked {
            return Err(KeyFault::Blocked);
        }
        if record.expires.is_some_and(|at| now >= at) {
            return Err(KeyFault::Expired);
        }
        Ok(record)
    }
}

/// The file's tenants with the store's teams, and the store's own tenants.
fn tenants(
    settings: &Settings,
    roll: &Roll,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, Arc<TenantSettings>> {
    let mut tenants: BTreeMap<String, Arc<TenantSettings>> = settings
        .tenants
        .iter()
        .map(|tenant| (tenant.name.to_string(), Arc::clone(tenant)))
        .collect();
    for (name, stored) in &roll.tenants {
        let own = tenants.get(name);
        let joined = match own.filter(|own| own.written) {
            Some(own) => {
                let (joined, mut wrong) = own.with_teams_of(&stored.form);
                mistakes.append(&mut wrong);
                Ok(joined)
            }
            // The default one is there also where nobody wrote it down, with the accounts of the file's clients.
            None => stored.form.settings(name).map(|mut read| {
                let clients = own.map(|own| own.accounts.clone());
                read.accounts.extend(clients.unwrap_or_default());
                read
            }),
        };
        match joined {
            Ok(joined) => drop(tenants.insert(name.clone(), Arc::new(joined))),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    tenants
}

fn client(
    record: &StoredKey,
    home: &TenantSettings,
    bound: &Grant,
    mistakes: &mut Vec<Mistake>,
) -> Client {
    let own = read_grant(&record.grant).unwrap_or_else(|wrong| {
        mistakes.extend(wrong);
        // Written by another release: what cannot be read allows nothing.
        Grant {
            pools: crate::policy::grant::Allow::only(Vec::<String>::new()),
            ..Grant::EVERYTHING
        }
    });
    let team = record.team.as_deref();
    let above = home.demand_of(team).map(|demand| &**demand);
    let usual = record.grant.lane.unwrap_or(Lane::Default);
    let mut client = Client::new(
        ClientName::from(record.name.as_str()),
        Arc::from(home.name.as_str()),
        team.map(Arc::from),
        bound.and(&own),
        record.grant.demand(above),
    );
    client.lane = client.lane.max(usual);
    client.weight = home.weight;
    client
}

/// The tenant with its keys' accounts, and the keys whose terms nobody can read.
fn with_accounts<'k>(
    tenant: &TenantSettings,
    keys: &[&'k Arc<StoredKey>],
    mistakes: &mut Vec<Mistake>,
) -> (TenantSettings, Vec<&'k str>) {
    let mut tenant = tenant.clone();
    let mut unreadable = Vec::new();
    for key in keys {
        let name: AccountName = format!("{}#{}", tenant.name, key.name).into();
        match tenant.terms_of(&key.terms) {
            // The file's own terms for a client of this name count.
            Ok(terms) => drop(tenant.accounts.entry(name).or_insert(terms)),
            Err(wrong) => {
                unreadable.push(key.id.as_str());
                mistakes.extend(wrong);
            }
        }
    }
    (tenant, unreadable)
}
