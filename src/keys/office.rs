//! What may be made and changed, and by whom. Decides; whoever asks carries the change out.

use std::sync::Arc;

use serde::Deserialize;

use super::form::{KeyKind, RANDOM, is_env, make};
use super::pepper::Pepper;
use super::roster::{AdminKey, Roster};
use super::terms::wider_terms;
use crate::config::{
    GrantForm, Mistake, Secret, Settings, TenantForm, TenantSettings, TermsForm, read_grant,
    read_name,
};
use crate::policy::grant::Grant;
use crate::policy::ledger::AccountTerms;
use crate::store::keys::{AdminScope, KeyUse, StoredKey, StoredTenant};

/// Who asks.
#[derive(Clone, Debug)]
pub struct Principal {
    /// As the journal names it.
    pub name: String,
    scopes: Arc<[AdminScope]>,
    /// `None`: of every tenant.
    tenant: Option<Arc<str>>,
    /// When its own key ends, in unix seconds; `None`: never.
    expires: Option<u64>,
}

impl Principal {
    /// The operator, who may do everything.
    pub fn root(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scopes: AdminScope::ALL.into(),
            tenant: None,
            expires: None,
        }
    }

    /// Whoever reaches a loopback listener without a key: may look.
    pub fn reader() -> Self {
        Self {
            name: "local".to_owned(),
            scopes: [AdminScope::Read].into(),
            tenant: None,
            expires: None,
        }
    }

    pub fn of(key: &AdminKey) -> Self {
        Self {
            name: format!("{} ({})", key.name, key.id),
            scopes: Arc::clone(&key.scopes),
            tenant: key.tenant.clone(),
            expires: key.expires,
        }
    }

    pub fn may(&self, scope: AdminScope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether what belongs to this tenant is there for it at all.
    pub fn sees(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// The one tenant it stands in; `None`: above all.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Whether it stands above all tenants.
    pub fn sees_all(&self) -> bool {
        self.tenant.is_none()
    }
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// What was asked for makes no sense.
    Mistakes(Vec<Mistake>),
    /// It would go beyond what its creator, team or organisation has.
    Wider {
        what: String,
    },
    /// Who asks may not do this kind of thing.
    Scope(AdminScope),
    NotFound,
    Taken,
    /// There are no random numbers, or no pepper to make a digest with.
    NoSecret,
}

impl Denied {
    /// In one line: what, and the cure.
    pub fn text(&self) -> String {
        match self {
            Self::Mistakes(mistakes) => {
                let each: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                each.join("; ")
            }
            Self::Wider { what } => format!(
                "{what} goes beyond what its tenant, its team or its creator has; ask for no more than that"
            ),
            Self::Scope(scope) => format!(
                "this admin key lacks the scope {:?}; use one that has it",
                scope.label()
            ),
            Self::NotFound => "there is nothing of this name here".to_owned(),
            Self::Taken => {
                "its tenant has a client of this name already; choose another".to_owned()
            }
            Self::NoSecret => {
                "no digest can be made: look at keys.pepper and at the file beside the store"
                    .to_owned()
            }
        }
    }
}

impl Denied {
    fn one(path: &str, what: &str, cure: &str) -> Self {
        Self::Mistakes(vec![Mistake::new(path, what, cure)])
    }
}

/// A key that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    pub name: String,
    /// Who pays; of an admin key, whose keys it may see and make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// A part of the key's text; `live` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    #[serde(default)]
    pub grant: GrantForm,
    #[serde(default)]
    pub terms: TermsForm,
    /// Of an admin key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<AdminScope>,
}

/// What of a key may be changed; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyPatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Unix seconds; 0: it never ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<bool>,
    /// Its parts one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantForm>,
    /// As a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<TermsForm>,
}

impl KeyPatch {
    /// The fields there are (attack A06: nothing else can be written).
    pub const FIELDS: [&'static str; 5] = ["name", "expires", "blocked", "grant", "terms"];
}

/// A key that was made or given a new secret, and its text: the only time it is seen.
#[derive(Clone, Debug)]
pub struct Issued {
    pub key: StoredKey,
    pub text: Secret,
}

/// Longest overlap of a rotation: a secret that never ends is not rotated.
const LONGEST_OVERLAP: u64 = 90 * 86_400;

/// Decides for one who asks, at one state of things.
pub struct Office<'a> {
    pub settings: &'a Settings,
    pub roster: &'a Roster,
    pub by: &'a Principal,
    /// Unix seconds.
    pub now: u64,
}

impl Office<'_> {
    /// Makes a key for a client.
    pub fn issue(
        &self,
        wanted: NewKey,
        pepper: &Pepper,
        random: &[u8; RANDOM],
    ) -> Result<Issued, Denied> {
        self.allow(AdminScope::Keys)?;
        if !wanted.scopes.is_empty() {
            return Err(Denied::one(
                "scopes",
                "are of admin keys",
                "leave them out, or make an admin key",
            ));
        }
        let named = wanted.tenant.as_deref().unwrap_or(TenantSettings::DEFAULT);
        let tenant = self.tenant(named)?;
        let bound = self.bound(tenant, wanted.team.as_deref())?;
        self.name(tenant.name.as_str(), &wanted.name)?;
        let grant = within(bound, &wanted.grant)?;
        self.terms(tenant, wanted.team.as_deref(), &wanted.terms)?;
        drop(grant);
        let tenant = Some(tenant.name.to_string());
        self.made(KeyKind::Client, NewKey { tenant, ..wanted }, pepper, random)
    }

    /// Makes a key for the admin listener.
    pub fn issue_admin(
        &self,
        wanted: NewKey,
        pepper: &Pepper,
        random: &[u8; RANDOM],
    ) -> Result<Issued, Denied> {
        self.allow(AdminScope::Keys)?;
        if let Some(beyond) = wanted.scopes.iter().find(|scope| !self.by.may(**scope)) {
            let what = format!("scope {}", beyond.label());
            return Err(Denied::Wider { what });
        }
        let plain = wanted.grant == GrantForm::default()
            && wanted.terms == TermsForm::default()
            && wanted.team.is_none();
        if !plain || wanted.scopes.is_empty() {
            return Err(Denied::one(
                "scopes",
                "are what an admin key has, and nothing else",
                "name one or more of: read, write, keys",
            ));
        }
        match wanted.tenant.as_deref() {
            Some(tenant) => drop(self.tenant(tenant)?),
            None if self.by.sees_all() => {}
            None => {
                let what = "tenant".to_owned();
                return Err(Denied::Wider { what });
            }
        }
        read_name("name", &wanted.name).map_err(Denied::Mistakes)?;
        self.outlasts(wanted.expires)?;
        self.made(KeyKind::Admin, wanted, pepper, random)
    }

    /// Another state of a key.
    pub fn amend(&self, id: &str, patch: KeyPatch) -> Result<StoredKey, Denied> {
        let mut key = self.changeable(id)?;
        if let Some(name) = patch.name.filter(|name| *name != key.name) {
            if key.r#use == KeyUse::Client {
                self.name(key.tenant.as_deref().unwrap_or_default(), &name)?;
            } else {
                read_name("name", &name).map_err(Denied::Mistakes)?;
            }
            key.name = name;
        }
        if let Some(expires) = patch.expires {
            key.expires = self.expiry(Some(expires).filter(|at| *at > 0))?;
            if key.r#use == KeyUse::Admin {
                self.outlasts(key.expires)?;
            }
        }
        key.blocked = patch.blocked.unwrap_or(key.blocked);
        let has_terms = patch.grant.is_some() || patch.terms.is_some();
        if has_terms && key.r#use == KeyUse::Admin {
            return Err(Denied::one(
                "grant",
                "is of client keys",
                "make another admin key",
            ));
        }
        if has_terms {
            let tenant = self.tenant(key.tenant.as_deref().unwrap_or_default())?;
            let bound = self.bound(tenant, key.team.as_deref())?;
            if let Some(grant) = patch.grant {
                key.grant = grant.over(std::mem::take(&mut key.grant));
                within(bound, &key.grant)?;
            }
            if let Some(terms) = patch.terms {
                self.terms(tenant, key.team.as_deref(), &terms)?;
                key.terms = terms;
            }
        }
        Ok(key)
    }

    /// A key with another secret; the old one stays good for `overlap` seconds.
    pub fn rotate(
        &self,
        id: &str,
        overlap: u64,
        pepper: &Pepper,
        random: &[u8; RANDOM],
    ) -> Result<Issued, Denied> {
        let mut key = self.changeable(id)?;
        if overlap > LONGEST_OVERLAP {
            return Err(Denied::one(
                "overlap_seconds",
                "is longer than 90 days",
                "make another key and end this one when nobody uses it",
            ));
        }
        let kind = match key.r#use {
            KeyUse::Client => KeyKind::Client,
            KeyUse::Admin => {
                self.outlasts(key.expires)?;
                KeyKind::Admin
            }
        };
        let made = make(kind, &key.env, Some(&key.id), random);
        let old = std::mem::replace(
            &mut key.digest,
            pepper.digest(made.text.expose().as_bytes()),
        );
        key.pepper = pepper.mark();
        key.before = (overlap > 0).then(|| (old, self.now.saturating_add(overlap)));
        Ok(Issued {
            key,
            text: made.text,
        })
    }

    /// Whether this key may be ended.
    pub fn remove(&self, id: &str) -> Result<(), Denied> {
        self.changeable(id).map(drop)
    }

    /// A key that the one who asks may look at.
    pub fn key(&self, id: &str) -> Result<&Arc<StoredKey>, Denied> {
        let reads = self.by.may(AdminScope::Read) || self.by.may(AdminScope::Keys);
        if !reads {
            return Err(Denied::Scope(AdminScope::Read));
        }
        let key = self.roster.roll.keys.get(id).ok_or(Denied::NotFound)?;
        let seen = match key.tenant.as_deref() {
            Some(tenant) => self.by.sees(tenant),
            None => self.by.sees_all(),
        };
        seen.then_some(key).ok_or(Denied::NotFound)
    }

    /// A tenant as it is to be.
    pub fn put_tenant(
        &self,
        name: &str,
        form: TenantForm,
        version: u64,
    ) -> Result<StoredTenant, Denied> {
        self.allow(AdminScope::Write)?;
        self.above_tenants()?;
        form.settings(name).map_err(Denied::Mistakes)?;
        let own = self.settings.tenants.iter();
        let mut own = own.filter(|tenant| tenant.written && tenant.name.as_str() == name);
        let only_teams = TenantForm {
            teams: form.teams.clone(),
            ..TenantForm::default()
        };
        if let Some(own) = own.next() {
            if form != only_teams {
                return Err(Denied::one(
                    "name",
                    "is a tenant of the configuration file",
                    "change it there; here it may be given teams",
                ));
            }
            if let Some(team) = form
                .teams
                .keys()
                .find(|team| own.teams.contains_key(team.as_str()))
            {
                return Err(Denied::one(
                    &format!("teams.{team}"),
                    "is a team of the configuration file",
                    "change it there",
                ));
            }
        }
        Ok(StoredTenant {
            name: name.to_owned(),
            form,
            version,
        })
    }

    pub fn remove_tenant(&self, name: &str) -> Result<(), Denied> {
        self.allow(AdminScope::Write)?;
        self.above_tenants()?;
        if !self.roster.roll.tenants.contains_key(name) {
            return Err(Denied::NotFound);
        }
        Ok(())
    }

    // --- what everything rests on ---

    pub(super) fn allow(&self, scope: AdminScope) -> Result<(), Denied> {
        self.by.may(scope).then_some(()).ok_or(Denied::Scope(scope))
    }

    fn above_tenants(&self) -> Result<(), Denied> {
        let what = "tenant".to_owned();
        self.by
            .sees_all()
            .then_some(())
            .ok_or(Denied::Wider { what })
    }

    /// A tenant of another's is not there (attack A04).
    fn tenant(&self, name: &str) -> Result<&Arc<TenantSettings>, Denied> {
        let found = self.roster.tenant(name).filter(|_| self.by.sees(name));
        found.ok_or_else(|| {
            Denied::one("tenant", "there is no tenant of this name", "make it first")
        })
    }

    fn bound<'t>(
        &self,
        tenant: &'t TenantSettings,
        team: Option<&str>,
    ) -> Result<&'t Grant, Denied> {
        tenant.grant_of(team).ok_or_else(|| {
            Denied::one(
                "team",
                "the tenant has no team of this name",
                "make it first",
            )
        })
    }

    /// A name that no other client of the tenant has: it is what accounts and reports go by.
    fn name(&self, tenant: &str, name: &str) -> Result<(), Denied> {
        read_name("name", name).map_err(Denied::Mistakes)?;
        let clients = self.settings.clients.iter();
        let mut taken = clients
            .filter(|client| client.tenant.as_str() == tenant && client.name.as_str() == name);
        taken.next().map_or(Ok(()), |_| Err(Denied::Taken))
    }

    fn terms(
        &self,
        tenant: &TenantSettings,
        team: Option<&str>,
        form: &TermsForm,
    ) -> Result<AccountTerms, Denied> {
        let terms = tenant.terms_of(form).map_err(Denied::Mistakes)?;
        let team = team.map(|team| format!("{}/{team}", tenant.name));
        let above = std::iter::once(tenant.name.as_str()).chain(team.as_deref());
        for account in above.filter_map(|name| tenant.accounts.get(name)) {
            if let Some(what) = wider_terms(&terms, account) {
                return Err(Denied::Wider { what });
            }
        }
        Ok(terms)
    }

    fn expiry(&self, at: Option<u64>) -> Result<Option<u64>, Denied> {
        if at.is_some_and(|at| at <= self.now || at > u64::from(u32::MAX)) {
            return Err(Denied::one(
                "expires",
                "is not a time to come",
                "write unix seconds, or leave it out for a key that does not end",
            ));
        }
        Ok(at)
    }

    /// Who comes to an end hands its power to nobody beyond that, itself included: no admin key that it makes,
    /// lengthens or is given the secret of may end later (attack A06).
    fn outlasts(&self, expires: Option<u64>) -> Result<(), Denied> {
        let beyond = self
            .by
            .expires
            .is_some_and(|end| expires.is_none_or(|at| at > end));
        let what = "expires".to_owned();
        if beyond {
            Err(Denied::Wider { what })
        } else {
            Ok(())
        }
    }

    fn changeable(&self, id: &str) -> Result<StoredKey, Denied> {
        self.allow(AdminScope::Keys)?;
        let key = self.key(id)?;
        // Who has fewer scopes may not take over a key that has more.
        if let Some(beyond) = key.scopes.iter().find(|scope| !self.by.may(**scope)) {
            let what = format!("scope {}", beyond.label());
            return Err(Denied::Wider { what });
        }
        Ok(StoredKey {
            changed_by: self.by.name.clone(),
            ..StoredKey::clone(key)
        })
    }

    fn made(
        &self,
        kind: KeyKind,
        wanted: NewKey,
        pepper: &Pepper,
        random: &[u8; RANDOM],
    ) -> Result<Issued, Denied> {
        let env = wanted.env.unwrap_or_else(|| "live".to_owned());
        if !is_env(&env) {
            return Err(Denied::one(
                "env",
                "is no word for a key",
                "use up to 16 small letters and digits, such as live or test",
            ));
        }
        let made = make(kind, &env, None, random);
        let key = StoredKey {
            id: made.id,
            r#use: match kind {
                KeyKind::Client => KeyUse::Client,
                KeyKind::Admin => KeyUse::Admin,
            },
            env,
            name: wanted.name,
            tenant: wanted.tenant,
            team: wanted.team,
            grant: wanted.grant,
            terms: wanted.terms,
            scopes: wanted.scopes,
            expires: self.expiry(wanted.expires)?,
            blocked: false,
            created: self.now,
            created_by: self.by.name.clone(),
            changed_by: self.by.name.clone(),
            pepper: pepper.mark(),
            digest: pepper.digest(made.text.expose().as_bytes()),
            before: None,
            version: 0,
        };
        Ok(Issued {
            key,
            text: made.text,
        })
    }
}

/// Reads a grant that may not go beyond `bound` in any part it names; what it leaves out is bounded anyway.
fn within(bound: &Grant, form: &GrantForm) -> Result<Grant, Denied> {
    let read = read_grant(form).map_err(Denied::Mistakes)?;
    let asked = Grant {
        pools: form
            .pools
            .as_ref()
            .map_or(&bound.pools, |_| &read.pools)
            .clone(),
        providers: form
            .providers
            .as_ref()
            .map_or(&bound.providers, |_| &read.providers)
            .clone(),
        regions: form
            .regions
            .as_ref()
            .map_or(&bound.regions, |_| &read.regions)
            .clone(),
        operations: form
            .operations
            .as_ref()
            .map_or(&bound.operations, |_| &read.operations)
            .clone(),
        lane: form.lane.unwrap_or(bound.lane),
    };
    match asked.wider_than(bound) {
        None => Ok(asked),
        Some(part) => Err(Denied::Wider {
            what: part.to_owned(),
        }),
    }
}
