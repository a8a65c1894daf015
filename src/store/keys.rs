//! Keys and tenants that were made while the gateway ran: what is kept of them.
//!
//! # Why a counter of changes
//! Whoever uses keys holds all of them in memory and asks the store four times a second for one number. Each record
//! bears the number of its last change, so what is new is read alone, and a record is only replaced by who knew its
//! last change: two who change it at once do not undo each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Pending;
use crate::config::{GrantForm, TenantForm, TermsForm};

/// What opens a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyUse {
    /// Asks models.
    Client,
    /// Asks the admin listener.
    Admin,
}

/// What an admin key may do there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AdminScope {
    Read,
    /// Change tenants, pools, providers and settings in force.
    Write,
    /// Make and change client keys.
    Keys,
}

impl AdminScope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Keys];

    pub fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Keys => "keys",
        }
    }
}

/// A key as it is kept; its secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    pub id: String,
    pub r#use: KeyUse,
    /// What it is for, such as `live`; a part of its text.
    pub env: String,
    /// Of its own among the keys of its tenant.
    pub name: String,
    /// Who pays; of an admin key: whose keys it may make, `None` for everybody's.
    pub tenant: Option<String>,
    pub team: Option<String>,
    pub grant: GrantForm,
    pub terms: TermsForm,
    #[serde(default)]
    pub scopes: Vec<AdminScope>,
    /// Unix seconds; `None` never ends.
    pub expires: Option<u64>,
    pub blocked: bool,
    /// Unix seconds.
    pub created: u64,
    pub created_by: String,
    pub changed_by: String,
    /// The mark of the pepper that its digest was made with.
    pub pepper: String,
    /// HMAC-SHA-256 of its whole text under the pepper.
    #[serde(skip)]
    pub digest: Digest,
    /// The digest of before its last rotation, and until when (unix seconds) that is good as well.
    #[serde(skip)]
    pub before: Option<(Digest, u64)>,
    /// The number of its last change.
    #[serde(skip)]
    pub version: u64,
}

pub type Digest = [u8; 32];

/// A tenant as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTenant {
    pub name: String,
    pub form: TenantForm,
    pub version: u64,
}

/// All there is, as of one change.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    /// The number of the last change; 0 where nothing was ever made.
    pub changes: u64,
    /// Device and number of the file it was read from: another one in its place counts changes of its own.
    pub file: Option<(u64, u64)>,
    pub tenants: BTreeMap<String, Arc<StoredTenant>>,
    /// By id.
    pub keys: BTreeMap<String, Arc<StoredKey>>,
}

/// What is to be changed.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// A key that is not there yet. Who hands in the same `once` again is told of the first.
    Add {
        key: Box<StoredKey>,
        once: Option<String>,
    },
    /// Another state of a key, if its `version` is still the last.
    Replace(Box<StoredKey>),
    Remove {
        id: String,
    },
    /// Makes a tenant, or replaces it if `version` is still the last; 0: whatever it was before.
    PutTenant(Box<StoredTenant>),
    RemoveTenant {
        name: String,
    },
}

/// How a change went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChanged {
    /// It is on the disk, under this number.
    Done(u64),
    /// The same was asked before.
    Again,
    /// There is a key of this name.
    Taken,
    /// Somebody else was faster; read it again.
    Stale,
    /// It is not there.
    Missing,
    /// There is no room for more keys.
    TooMany,
    /// It has keys.
    InUse,
}

/// Where changes are made.
pub trait KeyStore: Send + Sync {
    fn change(&self, change: KeyChange) -> Pending<KeyChanged>;
    /// The id of the key that was made under this `once`.
    fn made_once(&self, once: &str) -> Pending<Option<String>>;
}
