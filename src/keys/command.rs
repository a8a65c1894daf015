//! What is asked about keys and tenants, by the command line and by the admin API: the same questions, the same
//! answers.

use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

use super::form::RANDOM;
use super::office::{Denied, Issued, KeyPatch, NewKey, Office};
use super::pepper::Pepper;
use crate::config::{Secret, TenantForm, TenantSettings};
use crate::policy::grant::{Allow, Grant};
use crate::store::keys::{AdminScope, KeyChange, KeyUse, StoredKey};

/// A part of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What the page before told to go on with.
    pub after: Option<String>,
    pub limit: Option<usize>,
    /// Only of this tenant.
    pub tenant: Option<String>,
}

#[derive(Clone, Debug)]
pub enum KeyCommand {
    Issue {
        wanted: NewKey,
        once: Option<String>,
    },
    IssueAdmin {
        wanted: NewKey,
        once: Option<String>,
    },
    Keys(Page),
    Key {
        id: String,
    },
    Amend {
        id: String,
        patch: KeyPatch,
    },
    Rotate {
        id: String,
        overlap: u64,
    },
    Remove {
        id: String,
    },
    Tenants(Page),
    Tenant {
        name: String,
    },
    PutTenant {
        name: String,
        form: TenantForm,
    },
    RemoveTenant {
        name: String,
    },
}

/// What is to be done, and what is told once it is.
#[derive(Clone, Debug)]
pub struct Decision {
    /// `None`: nothing changes.
    pub change: Option<KeyChange>,
    pub told: Value,
    /// The text of a key that was just made: shown once, and kept apart so that nothing else prints it.
    pub secret: Option<Secret>,
}

/// Entries of a page when nobody says how many, and at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

impl Office<'_> {
    /// Decides a command. `pepper` is asked for only where a digest is made.
    pub fn decide(
        &self,
        command: KeyCommand,
        pepper: impl FnOnce() -> Result<Pepper, Denied>,
    ) -> Result<Decision, Denied> {
        Ok(match command {
            KeyCommand::Issue { wanted, once } => {
                self.added(self.issue(wanted, &pepper()?, &random()?)?, once)
            }
            KeyCommand::IssueAdmin { wanted, once } => {
                self.added(self.issue_admin(wanted, &pepper()?, &random()?)?, once)
            }
            KeyCommand::Rotate { id, overlap } => {
                let Issued { key, text } = self.rotate(&id, overlap, &pepper()?, &random()?)?;
                Decision {
                    told: json!({"key": self.shown(&key)}),
                    change: Some(KeyChange::Replace(Box::new(key))),
                    secret: Some(text),
                }
            }
            KeyCommand::Amend { id, patch } => {
                let key = self.amend(&id, patch)?;
                Decision {
                    told: json!({"key": self.shown(&key)}),
                    change: Some(KeyChange::Replace(Box::new(key))),
                    secret: None,
                }
            }
            KeyCommand::Remove { id } => {
                self.remove(&id)?;
                done(json!({"removed": id}), KeyChange::Remove { id })
            }
            KeyCommand::Key { id } => told(json!({"key": self.shown(self.key(&id)?)})),
            KeyCommand::Keys(page) => told(self.keys(&page)?),
            KeyCommand::Tenants(page) => told(self.tenants(&page)?),
            KeyCommand::Tenant { name } => {
                let found = self.roster.tenant(&name).filter(|_| self.by.sees(&name));
                told(json!({"tenant": self.shown_tenant(found.ok_or(Denied::NotFound)?)}))
            }
            KeyCommand::PutTenant { name, form } => {
                let stored = self.put_tenant(&name, form, 0)?;
                let told = json!({"tenant": {"name": stored.name, "stored": stored.form}});
                done(told, KeyChange::PutTenant(Box::new(stored)))
            }
            KeyCommand::RemoveTenant { name } => {
                self.remove_tenant(&name)?;
                done(json!({"removed": name}), KeyChange::RemoveTenant { name })
            }
        })
    }

    fn added(&self, issued: Issued, once: Option<String>) -> Decision {
        let Issued { key, text } = issued;
        Decision {
            told: json!({"key": self.shown(&key)}),
            change: Some(KeyChange::Add {
                // Whose it is is a part of it: nobody meets another's.
                once: once.map(|once| format!("{}/{once}", self.by.name)),
                key: Box::new(key),
            }),
            secret: Some(text),
        }
    }

    fn keys(&self, page: &Page) -> Result<Value, Denied> {
        self.allow(AdminScope::Read)?;
        let after = page.after.as_deref().unwrap_or_default();
        let from = (
            std::ops::Bound::Excluded(after.to_owned()),
            std::ops::Bound::Unbounded,
        );
        let wanted = |key: &StoredKey| match (key.tenant.as_deref(), page.tenant.as_deref()) {
            (Some(own), wanted) => self.by.sees(own) && wanted.is_none_or(|wanted| wanted == own),
            (None, wanted) => self.by.sees_all() && wanted.is_none(),
        };
        let found = self.roster.roll.keys.range(from);
        let found = found.map(|(_, key)| key).filter(|key| wanted(key));
        let (keys, more) = taken(found, page);
        let next = keys.last().filter(|_| more).map(|key| key.id.clone());
        let keys: Vec<Value> = keys.into_iter().map(|key| self.shown(key)).collect();
        Ok(json!({"keys": keys, "next": next}))
    }

    fn tenants(&self, page: &Page) -> Result<Value, Denied> {
        self.allow(AdminScope::Read)?;
        let after = page.after.as_deref().unwrap_or_default();
        let found = self.roster.tenants.iter();
        let found = found.filter(|tenant| {
            let name = tenant.name.as_str();
            name > after && self.by.sees(name)
        });
        let (tenants, more) = taken(found, page);
        let next = tenants
            .last()
            .filter(|_| more)
            .map(|last| last.name.clone());
        let tenants: Vec<Value> = tenants
            .into_iter()
            .map(|tenant| self.shown_tenant(tenant))
            .collect();
        Ok(json!({"tenants": tenants, "next": next}))
    }

    /// A key as people and programs see it. Never its digest.
    pub fn shown(&self, key: &StoredKey) -> Value {
        let state = if key.blocked {
            "blocked"
        } else if key.expires.is_some_and(|at| self.now >= at) {
            "expired"
        } else {
            "active"
        };
        let mut shown = json!({
            "id": key.id,
            "use": key.r#use,
            "env": key.env,
            "name": key.name,
            "tenant": key.tenant,
            "state": state,
            "expires": key.expires,
            "created": key.created,
            "created_by": key.created_by,
            "changed_by": key.changed_by,
        });
        match key.r#use {
            KeyUse::Client => {
                shown["team"] = key.team.clone().into();
                shown["grant"] = json!(key.grant);
                shown["terms"] = json!(key.terms);
            }
            KeyUse::Admin => shown["scopes"] = json!(key.scopes),
        }
        if let Some((_, until)) = key.before.filter(|(_, until)| self.now < *until) {
            shown["old_secret_until"] = until.into();
        }
        shown
    }

    fn shown_tenant(&self, tenant: &TenantSettings) -> Value {
        let teams: serde_json::Map<String, Value> = tenant
            .teams
            .iter()
            .map(|(name, grant)| (name.to_string(), json!({"grant": shown_grant(grant)})))
            .collect();
        let stored = self.roster.roll.tenants.get(tenant.name.as_str());
        json!({
            "name": tenant.name,
            "from": if tenant.written { "file" } else { "store" },
            "time_zone": tenant.zone.name(),
            "weight": tenant.weight.get(),
            "grant": shown_grant(&tenant.grant),
            "demand": tenant.demand_of(None).map(|demand| demand.words()),
            "teams": teams,
            "stored": stored.map(|stored| &stored.form),
        })
    }
}

fn shown_grant(grant: &Grant) -> Value {
    let shown = |allow: &Allow| match allow.patterns() {
        None => json!(["*"]),
        Some(patterns) => json!(patterns.iter().map(|one| &**one).collect::<Vec<_>>()),
    };
    json!({
        "pools": shown(&grant.pools),
        "providers": shown(&grant.providers),
        "regions": shown(&grant.regions),
        "operations": shown(&grant.operations),
        "lane": grant.lane,
    })
}

/// As many as fit on a page, and whether there are more.
fn taken<'a, T>(found: impl Iterator<Item = &'a T>, page: &Page) -> (Vec<&'a T>, bool) {
    let limit = page.limit.unwrap_or(USUAL).clamp(1, MOST);
    let mut taken: Vec<&T> = found.take(limit + 1).collect();
    let more = taken.len() > limit;
    taken.truncate(limit);
    (taken, more)
}

fn told(told: Value) -> Decision {
    Decision {
        change: None,
        told,
        secret: None,
    }
}

fn done(told: Value, change: KeyChange) -> Decision {
    Decision {
        change: Some(change),
        told,
        secret: None,
    }
}

fn random() -> Result<[u8; RANDOM], Denied> {
    let mut bytes = [0; RANDOM];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Denied::NoSecret),
    }
}
