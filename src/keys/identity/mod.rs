//! Who comes with a token of somebody else's: checked against that issuer's keys, then bound to a tenant.
//!
//! # Why a snapshot
//! Requests wait for no issuer. What the actor that asks them knows lies here, and is swapped as a whole when keys
//! or settings change: the tokens that were found good go with it.

mod cache;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ring::digest;
use tracing::warn;

use self::cache::Cache;
use super::roster::{Client, Roster};
use crate::config::{IdentitySettings, KeysFrom, TeamOf, TenantOf};
use crate::domain::Moment;
use crate::policy::grant::Allow;
use crate::policy::jwt::{Claims, Fault, KeySet, Unproven};

/// Every issuer in force.
#[derive(Debug, Default)]
pub struct Identities {
    all: Vec<Arc<Identity>>,
    /// When each sort of fault was last told, in whole seconds; told once a second at most.
    told: [AtomicU64; Fault::ALL.len()],
}

/// An issuer and what is known of its keys.
#[derive(Debug)]
pub struct Identity {
    pub settings: Arc<IdentitySettings>,
    /// `None`: never seen yet.
    pub keys: Option<Arc<KeySet>>,
    /// When they were last seen to be those of the issuer, and when it was last asked.
    times: Arc<Times>,
    good: Cache,
}

/// Kept over a change of keys. Zero is never.
#[derive(Debug, Default)]
struct Times {
    confirmed: AtomicU64,
    asked: AtomicU64,
    /// Since when it is asked and says nothing.
    silent: AtomicU64,
}

impl Times {
    fn copied(&self) -> Self {
        let copy = |time: &AtomicU64| AtomicU64::new(time.load(Ordering::Relaxed));
        Self {
            confirmed: copy(&self.confirmed),
            asked: copy(&self.asked),
            silent: copy(&self.silent),
        }
    }
}

/// Whom a token stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) tenant: Arc<str>,
    pub(super) team: Option<Arc<str>>,
    pub(super) user: Arc<str>,
    /// Tells the people behind one identity apart wherever something is kept for them.
    pub(super) apart: Arc<str>,
    /// `None`: it says nothing of pools.
    pub(super) pools: Option<Allow>,
}

/// Why a token lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    Refused(Fault),
    /// The issuer's keys are not known, or not well enough to refuse by them. It wants to be asked when it is named.
    NotKnown(Option<Arc<str>>),
    /// The same, and anyone could have made it: it is let in by none of the keys that are known.
    Doubtful(Option<Arc<str>>),
}

/// When a token is looked at: as tokens say it, in unix seconds, and as this process counts.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub unix: u64,
    pub here: Moment,
}

/// The issuer is not asked for a key that nobody knows more often.
pub const ASK_AT_MOST: Duration = Duration::from_secs(30);
/// More pools than any token has to name (ground rule G14).
const MOST_POOLS: usize = 256;
/// Longer names are no names of people.
const LONGEST_USER: usize = 255;

impl Identities {
    /// These issuers, with what is known of those that were there before. Who trusts the same issuer on other terms
    /// has the same keys, for as long as they would have served; whom they let in is looked at again.
    pub fn merge(settings: &[Arc<IdentitySettings>], before: &Self, now: Moment) -> Self {
        let all = settings.iter().map(|settings| {
            let same = before.all.iter().find(|one| one.settings == *settings);
            if let Some(same) = same {
                return Arc::clone(same);
            }
            let settings = Arc::clone(settings);
            let alike = before.all.iter().filter(|one| one.is_asked_as(&settings));
            let alike = alike.max_by_key(|one| one.times.confirmed.load(Ordering::Relaxed));
            Arc::new(match alike {
                Some(alike) => alike.on_terms(settings),
                None => Identity::new(settings, now),
            })
        });
        Self {
            all: all.collect(),
            told: Default::default(),
        }
    }

    /// The same with other keys for one of them.
    pub fn with_keys(&self, of: &IdentitySettings, keys: &Arc<KeySet>) -> Self {
        let all = self.all.iter().map(|identity| {
            if *identity.settings == *of {
                Arc::new(identity.with_keys(Arc::clone(keys)))
            } else {
                Arc::clone(identity)
            }
        });
        Self {
            all: all.collect(),
            told: Default::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn all(&self) -> &[Arc<Identity>] {
        &self.all
    }

    /// The longest token that any of them takes.
    pub fn longest(&self) -> usize {
        let longest = self.all.iter().map(|one| one.settings.rules.longest);
        longest.max().unwrap_or_default()
    }

    /// Who comes with this token; `digest` is of all of it. What the client is told does not depend on the reason.
    pub fn client(
        &self,
        (token, digest): (&[u8], &[u8; 32]),
        roster: &Roster,
        now: Now,
    ) -> Result<Client, TokenFault> {
        let known = self.all.iter().filter(|one| one.is_known(now.here));
        let mut remembered = known.filter_map(|one| Some((one, one.good.get(digest, now.here)?)));
        if let Some((identity, bearer)) = remembered.next() {
            let bound = Client::of_token(&identity.settings, &bearer, roster);
            return bound.ok_or_else(|| self.refused(identity, Fault::Tenant, now));
        }
        let refuse = |fault| self.tell("", fault, now);
        if token.len() > self.longest() {
            return Err(refuse(Fault::TooLong));
        }
        let issuer = match Unproven::read(token) {
            Ok(read) => read.issuer().map(str::to_owned),
            Err(fault) => return Err(refuse(fault)),
        };
        let mut told = None;
        let named = |one: &&Arc<Identity>| Some(&one.settings.rules.issuer) == issuer.as_ref();
        // Two of one issuer differ in what they demand: whose checks it stands is whose it is.
        for identity in self.all.iter().filter(named) {
            match identity.bearer(token, now) {
                Ok((bearer, until)) => {
                    let bound = Client::of_token(&identity.settings, &bearer, roster);
                    let Some(client) = bound else {
                        told = Some(self.refused(identity, Fault::Tenant, now));
                        continue;
                    };
                    let left = Duration::from_secs(until.saturating_sub(now.unix));
                    let end = now.here.after(left);
                    identity.good.keep(*digest, bearer, (now.here, end));
                    return Ok(client);
                }
                Err(TokenFault::Refused(fault)) => {
                    told = Some(self.refused(identity, fault, now));
                }
                Err(unknown) => told = Some(unknown),
            }
        }
        Err(told.unwrap_or_else(|| refuse(Fault::Issuer)))
    }

    fn refused(&self, identity: &Identity, fault: Fault, now: Now) -> TokenFault {
        self.tell(&identity.settings.name, fault, now)
    }

    /// Tells the operator which check it was. Nothing of the token is told.
    fn tell(&self, identity: &str, fault: Fault, now: Now) -> TokenFault {
        let second = now.here.whole_secs();
        let last = self.told.get(fault as usize);
        if last.is_some_and(|last| last.swap(second, Ordering::Relaxed) != second) {
            warn!(identity, check = fault.label(), "a token was refused");
        }
        TokenFault::Refused(fault)
    }
}

impl Identity {
    fn new(settings: Arc<IdentitySettings>, now: Moment) -> Self {
        let keys = match &settings.keys {
            KeysFrom::File(keys) => Some(Arc::clone(keys)),
            KeysFrom::Discovery(_) | KeysFrom::Address(_) => None,
        };
        let times = Times::default();
        if keys.is_some() {
            times.confirmed.store(now.0, Ordering::Relaxed);
        }
        Self {
            settings,
            keys,
            times: Arc::new(times),
            good: Cache::default(),
        }
    }

    /// Whether these settings are of the same issuer, whose keys come from the same place, proven by the same authority.
    fn is_asked_as(&self, settings: &IdentitySettings) -> bool {
        self.settings.rules.issuer == settings.rules.issuer
            && self.settings.keys == settings.keys
            && self.settings.ca_pem == settings.ca_pem
    }

    fn on_terms(&self, settings: Arc<IdentitySettings>) -> Self {
        Self {
            settings,
            keys: self.keys.clone(),
            // Of its own: two may come from one.
            times: Arc::new(self.times.copied()),
            good: Cache::default(),
        }
    }

    fn with_keys(&self, keys: Arc<KeySet>) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            keys: Some(keys),
            times: Arc::clone(&self.times),
            // What other keys proved has to be proven again.
            good: Cache::default(),
        }
    }

    fn is_of_file(&self) -> bool {
        matches!(self.settings.keys, KeysFrom::File(_))
    }

    /// The issuer has just said that these are its keys.
    pub fn confirm(&self, at: Moment) {
        self.times.confirmed.store(at.0, Ordering::Relaxed);
        self.times.silent.store(0, Ordering::Relaxed);
    }

    /// It is being asked.
    pub fn ask(&self, at: Moment) {
        self.times.asked.store(at.0, Ordering::Relaxed);
        let silent = &self.times.silent;
        // It may have been silent before.
        let _ = silent.compare_exchange(0, at.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it may be asked for a key that nobody knows.
    pub fn may_be_asked(&self, now: Moment) -> bool {
        let asked = self.times.asked.load(Ordering::Relaxed);
        !self.is_of_file() && (asked == 0 || now.since(Moment(asked)) >= ASK_AT_MOST)
    }

    /// Whether its keys are known well enough to let anyone in by them.
    pub fn is_known(&self, now: Moment) -> bool {
        let confirmed = self.times.confirmed.load(Ordering::Relaxed);
        self.keys.is_some()
            && (self.is_of_file() || now.since(Moment(confirmed)) <= self.settings.keep)
    }

    /// Whether a key that is not among them is none of the issuer's, and not just a new one, though it be under an old
    /// name (fault X12).
    fn knows_every_key(&self, now: Moment) -> bool {
        let confirmed = self.times.confirmed.load(Ordering::Relaxed);
        self.is_of_file() || now.since(Moment(confirmed)) < ASK_AT_MOST
    }

    /// Whether it has been asked in vain for longer than any answer takes.
    fn is_silent(&self, now: Moment) -> bool {
        let silent = self.times.silent.load(Ordering::Relaxed);
        silent != 0 && now.since(Moment(silent)) >= ASK_AT_MOST
    }

    /// What a token is that no known key has signed, where there may be others. Tokens of a key that was changed
    /// under its name come from many people at once, and are no guesses for as long as the issuer may still say so.
    fn unsigned(&self, fault: Fault, now: Moment) -> TokenFault {
        let name = self.may_be_asked(now);
        let name = name.then(|| Arc::clone(&self.settings.name));
        if fault == Fault::Signature && !self.is_silent(now) {
            TokenFault::NotKnown(name)
        } else {
            TokenFault::Doubtful(name)
        }
    }

    /// Whom a token stands for, and until when in unix seconds.
    fn bearer(&self, token: &[u8], now: Now) -> Result<(Bearer, u64), TokenFault> {
        let rules = &self.settings.rules;
        if token.len() > rules.longest {
            return Err(TokenFault::Refused(Fault::TooLong));
        }
        let keys = self.keys.as_ref().filter(|_| self.is_known(now.here));
        let keys = keys.ok_or(TokenFault::NotKnown(None))?;
        let proven = Unproven::read(token).and_then(|read| read.proven(rules, keys, now.unix));
        match proven {
            Ok(claims) => {
                let bearer = bearer(&self.settings, &claims).map_err(TokenFault::Refused)?;
                Ok((bearer, claims.until))
            }
            Err(fault @ (Fault::Key | Fault::Signature)) if !self.knows_every_key(now.here) => {
                Err(self.unsigned(fault, now.here))
            }
            Err(fault) => Err(TokenFault::Refused(fault)),
        }
    }
}

/// What the claims of a proven token mean here.
fn bearer(settings: &IdentitySettings, claims: &Claims) -> Result<Bearer, Fault> {
    for (name, wanted) in &settings.required {
        if !claims.says(name, wanted) {
            return Err(Fault::Claim);
        }
    }
    let user = claims.text(&settings.user).ok_or(Fault::Claim)?;
    if user.is_empty() || user.len() > LONGEST_USER || user.contains(char::is_control) {
        return Err(Fault::Claim);
    }
    let tenant = match &settings.tenant {
        TenantOf::Fixed(tenant) => tenant,
        TenantOf::Claimed(name, tenants) => {
            let said = claims.text(name).ok_or(Fault::Claim)?;
            tenants.get(said).ok_or(Fault::Tenant)?
        }
    };
    let team = match &settings.team {
        TeamOf::None => None,
        TeamOf::Fixed(team) => Some(Arc::clone(team)),
        TeamOf::Claimed(name) => Some(Arc::from(claims.text(name).ok_or(Fault::Claim)?)),
    };
    let pools = match &settings.pools {
        None => None,
        Some((name, prefix)) => {
            let said = claims.texts(name).ok_or(Fault::Claim)?;
            let named = said.iter().filter_map(|word| word.strip_prefix(&**prefix));
            let named: Vec<&str> = named.filter(|name| !name.is_empty()).collect();
            if named.len() > MOST_POOLS {
                return Err(Fault::Claim);
            }
            // Who issues tokens is not who writes patterns here.
            Some(Allow::named(named))
        }
    };
    Ok(Bearer {
        tenant: Arc::from(tenant.as_str()),
        team,
        apart: apart(user),
        user: Arc::from(user),
        pools,
    })
}

/// A name that holds nothing of the person's, has no sign in it that joins names, and is of one of them only.
fn apart(user: &str) -> Arc<str> {
    let digest = digest::digest(&digest::SHA256, user.as_bytes());
    let short = digest.as_ref().iter().take(16);
    let mut text = String::with_capacity(32);
    for byte in short {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text.into()
}
