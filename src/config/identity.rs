//! Others who say who calls: issuers of tokens, what their tokens must be, and whom they stand for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::forms::GrantForm;
use super::judge::{Judge, Slash};
use super::mistakes::Mistake;
use super::raw::{RawConfig, RawIdentity};
use super::registry::{is_fetchable, is_here};
use super::settings::{EgressSettings, ProxySettings, TenantSettings};
use crate::domain::{ClientName, TenantName};
use crate::policy::grant::Grant;
use crate::policy::jwt::{Algorithm, ClaimName, KeySet, LARGEST_SET, Rules};

/// One issuer, and what its tokens are good for.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentitySettings {
    pub name: Arc<str>,
    pub rules: Rules,
    pub keys: KeysFrom,
    pub ca_pem: Option<Arc<[u8]>>,
    pub egress: EgressSettings,
    /// Keys are looked at again so often.
    pub refresh: Duration,
    /// The last good keys serve for so long when no others come.
    pub keep: Duration,
    /// What tells the people behind it apart.
    pub user: ClaimName,
    pub tenant: TenantOf,
    pub team: TeamOf,
    /// Each of these claims must say one of these.
    pub required: Vec<(ClaimName, Vec<Value>)>,
    /// Which pools a token says it may use, and what stands before their names; `None`: tokens say nothing of pools.
    pub pools: Option<(ClaimName, String)>,
    /// What all of its tokens allow at most; the tenant bounds it.
    pub grant: Grant,
    /// The same as it was written, for what it demands of providers.
    pub form: GrantForm,
    /// Of what was read from files.
    pub(super) fingerprint: [u8; 32],
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    /// A document that names the address.
    Discovery(String),
    Address(String),
    /// A file; it is read again with the configuration.
    File(Arc<KeySet>),
}

/// Who pays for a token's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantOf {
    Fixed(TenantName),
    /// What the claim says, and whose tokens that are; any other value is nobody's.
    Claimed(ClaimName, BTreeMap<String, TenantName>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TeamOf {
    None,
    Fixed(Arc<str>),
    /// It must be a team of the tenant.
    Claimed(ClaimName),
}

/// More issuers than anyone trusts (ground rule G14).
const MOST: usize = 32;
/// Where issuers tell about themselves (OpenID Connect Discovery 1.0).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

impl IdentitySettings {
    /// What whoever comes with its tokens is called: no client's name has such a sign in it.
    pub fn client_name(&self) -> ClientName {
        client_name(&self.name).into()
    }

    /// The proxy on the way to this address; none stands before this machine.
    pub fn proxy_to(&self, url: &str) -> Option<&ProxySettings> {
        let proxy = self.egress.proxy_to(url);
        proxy.map(|proxy| &**proxy).filter(|_| !is_here(url))
    }
}

pub(super) fn client_name(identity: &str) -> String {
    format!("jwt~{identity}")
}

/// Every tenant its tokens may be of.
pub(super) fn tenants(raw: &RawIdentity) -> impl Iterator<Item = &str> {
    let claimed = raw.tenants.values().map(String::as_str);
    let fixed = raw.tenant.as_deref().or_else(|| {
        let unsaid = raw.tenant_claim.is_none();
        unsaid.then_some(TenantSettings::DEFAULT)
    });
    claimed.chain(fixed)
}

pub(super) fn settings(
    judge: &mut Judge<'_>,
    raw: &RawConfig,
    egress: &EgressSettings,
) -> Vec<Arc<IdentitySettings>> {
    if raw.identities.len() > MOST {
        judge.wrong("identities", "are more than 32", "leave some out");
    }
    let all = raw.identities.iter().take(MOST);
    all.filter_map(|(name, identity)| {
        let path = format!("identities.{name}");
        judge.name(&path, name, Slash::Refused);
        judge_tenants(judge, &path, raw, identity);
        one(judge, (&path, name), identity, egress)
    })
    .map(Arc::new)
    .collect()
}

fn one(
    judge: &mut Judge<'_>,
    (path, name): (&str, &str),
    raw: &RawIdentity,
    egress: &EgressSettings,
) -> Option<IdentitySettings> {
    let form = GrantForm {
        pools: raw.pools.clone(),
        providers: raw.providers.clone(),
        regions: raw.regions.clone(),
        operations: raw.operations.clone(),
        lane: Some(raw.lane),
        zero_retention: Some(raw.zero_retention),
        no_training: Some(raw.no_training),
        not_providers: Some(raw.not_providers.clone()),
    };
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let authority = raw.ca_file.as_deref();
    let ca_pem = authority.and_then(|file| judge.file(&format!("{path}.ca_file"), file));
    digest.update(ca_pem.as_deref().unwrap_or_default());
    let keys = keys_from(judge, path, raw, &mut digest);
    let (refresh, keep) = times(judge, path, raw);
    // Each is judged before any is missed.
    let rules = rules(judge, path, raw);
    let user = claim(judge, path, ("user_claim", &raw.user_claim));
    let (tenant, team) = (tenant_of(judge, path, raw), team_of(judge, path, raw));
    let required = required(judge, path, raw);
    let pools = pools(judge, path, raw);
    let grant = form.read(judge, path);
    Some(IdentitySettings {
        name: Arc::from(name),
        rules,
        keys: keys?,
        ca_pem,
        egress: egress.clone(),
        refresh,
        keep,
        user: user?,
        tenant: tenant?,
        team: team?,
        required,
        pools,
        grant,
        form,
        fingerprint: digest.finish().as_ref().try_into().unwrap_or_default(),
    })
}

fn pools(judge: &mut Judge<'_>, path: &str, raw: &RawIdentity) -> Option<(ClaimName, String)> {
    if raw.pools_claim.is_none() && !raw.pools_prefix.is_empty() {
        judge.wrong(
            format!("{path}.pools_prefix"),
            "means nothing without pools_claim",
            "name the claim whose words it stands before, or leave it out",
        );
    }
    let name = raw.pools_claim.as_deref()?;
    let name = claim(judge, path, ("pools_claim", name))?;
    Some((name, raw.pools_prefix.clone()))
}

fn rules(judge: &mut Judge<'_>, path: &str, raw: &RawIdentity) -> Rules {
    if raw.audiences.is_empty() || raw.audiences.iter().any(String::is_empty) {
        judge.wrong(
            format!("{path}.audiences"),
            "names nobody, and a token for any other service would be good here",
            "write what the issuer puts into aud for this gateway, as [\"switchyard\"]",
        );
    }
    let at = format!("{path}.algorithms");
    if raw.algorithms.is_empty() {
        judge.wrong(&at, "is empty", "leave it out for RS256 and ES256");
    }
    let mut algorithms = Vec::new();
    for name in &raw.algorithms {
        if let Ok(known) = name.parse::<Algorithm>() {
            algorithms.push(known);
            continue;
        }
        let symmetric = name
            .get(..2)
            .is_some_and(|two| two.eq_ignore_ascii_case("HS"));
        let why = if name.eq_ignore_ascii_case("none") {
            "is no signature: anyone could write such a token"
        } else if symmetric {
            "has one secret for both sides: whoever can check such a token can make one"
        } else {
            "is no algorithm of tokens that this gateway knows"
        };
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        judge.wrong(&at, format!("{name:?} {why}"), format!("use of: {known}"));
    }
    if raw.leeway_s > 300 {
        judge.wrong(
            format!("{path}.leeway_s"),
            "is more than five minutes, for which every token would live on",
            "set the clocks instead",
        );
    }
    let longest = judge.positive(
        &format!("{path}.max_token_bytes"),
        u64::from(raw.max_token_bytes),
    );
    Rules {
        issuer: raw.issuer.clone(),
        audiences: raw.audiences.clone(),
        algorithms,
        leeway: raw.leeway_s.min(300),
        longest: usize::try_from(longest).unwrap_or(usize::MAX),
    }
}

fn times(judge: &mut Judge<'_>, path: &str, raw: &RawIdentity) -> (Duration, Duration) {
    if !(60..=86_400).contains(&raw.refresh_s) {
        judge.wrong(
            format!("{path}.refresh_s"),
            "is not between a minute and a day",
            "leave it out for 600; a key that nobody knows yet is asked for at once",
        );
    }
    if raw.keep_s < raw.refresh_s || raw.keep_s > 30 * 86_400 {
        judge.wrong(
            format!("{path}.keep_s"),
            "is less than refresh_s, or more than 30 days",
            "leave it out for 86400",
        );
    }
    (
        Duration::from_secs(raw.refresh_s.clamp(60, 86_400)),
        Duration::from_secs(raw.keep_s.clamp(60, 30 * 86_400)),
    )
}

fn keys_from(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawIdentity,
    digest: &mut ring::digest::Context,
) -> Option<KeysFrom> {
    const CURE: &str = "write it as \"https://…\"; http is for this machine only";
    let at = format!("{path}.jwks");
    let issuer = format!("{path}.issuer");
    if raw.issuer.is_empty() {
        judge.wrong(&issuer, "is empty", "write what its tokens have in iss");
        return None;
    }
    match raw.jwks.as_deref() {
        None => {
            if !is_fetchable(&raw.issuer) || raw.issuer.contains(['?', '#']) {
                let what = "is no plain https address to ask for keys";
                judge.wrong(issuer, what, format!("{CURE}, or name jwks"));
                return None;
            }
            let base = raw.issuer.trim_end_matches('/');
            Some(KeysFrom::Discovery(format!("{base}{WELL_KNOWN}")))
        }
        Some(address) if !address.starts_with("file:") => {
            if !is_fetchable(address) {
                judge.wrong(at, "is no plain https address", CURE);
                return None;
            }
            Some(KeysFrom::Address(address.to_owned()))
        }
        Some(file) => {
            let file = file.trim_start_matches("file:");
            let length = std::fs::metadata(file).map_or(0, |meta| meta.len());
            if length > LARGEST_SET as u64 {
                judge.wrong(at, "is larger than 1 MiB", "is it the right file");
                return None;
            }
            let text = judge.file(&at, file)?;
            digest.update(&text);
            let keys = KeySet::parse(&text).map_err(|why| {
                judge.wrong(at, why.to_string(), "name a file with {\"keys\": […]}")
            });
            keys.ok().map(|keys| KeysFrom::File(Arc::new(keys)))
        }
    }
}

fn claim(judge: &mut Judge<'_>, path: &str, (option, name): (&str, &str)) -> Option<ClaimName> {
    let read = ClaimName::read(name);
    if read.is_none() {
        judge.wrong(
            format!("{path}.{option}"),
            "names no claim",
            "write its name, or a path into nested ones as \"/realm_access/roles\"",
        );
    }
    read
}

fn tenant_of(judge: &mut Judge<'_>, path: &str, raw: &RawIdentity) -> Option<TenantOf> {
    let Some(name) = &raw.tenant_claim else {
        if !raw.tenants.is_empty() {
            judge.wrong(
                format!("{path}.tenants"),
                "means nothing without tenant_claim",
                "name the claim, or write tenant = \"…\"",
            );
        }
        let fixed = raw.tenant.as_deref().unwrap_or(TenantSettings::DEFAULT);
        return Some(TenantOf::Fixed(fixed.into()));
    };
    if raw.tenant.is_some() || raw.tenants.is_empty() {
        judge.wrong(
            format!("{path}.tenant_claim"),
            "goes with tenants, which says whose each value is, and not with tenant",
            "write tenants = { \"value of the claim\" = \"tenant\" }, or leave it out",
        );
    }
    let tenants = raw.tenants.iter();
    let tenants = tenants.map(|(value, tenant)| (value.clone(), tenant.as_str().into()));
    let name = claim(judge, path, ("tenant_claim", name))?;
    Some(TenantOf::Claimed(name, tenants.collect()))
}

fn team_of(judge: &mut Judge<'_>, path: &str, raw: &RawIdentity) -> Option<TeamOf> {
    match (&raw.team, &raw.team_claim) {
        (None, None) => Some(TeamOf::None),
        (Some(team), None) => Some(TeamOf::Fixed(Arc::from(team.as_str()))),
        (None, Some(name)) => {
            let name = claim(judge, path, ("team_claim", name))?;
            Some(TeamOf::Claimed(name))
        }
        (Some(_), Some(_)) => {
            let what = "there is a team as well";
            judge.wrong(format!("{path}.team_claim"), what, "leave one of them out");
            None
        }
    }
}

fn required(judge: &mut Judge<'_>, path: &str, raw: &RawIdentity) -> Vec<(ClaimName, Vec<Value>)> {
    let is_plain = |value: &Value| value.is_string() || value.is_boolean() || value.is_u64();
    let mut required = Vec::new();
    for (name, wanted) in &raw.require {
        let at = format!("require.{name}");
        let many = wanted.as_array().cloned();
        let wanted = many.unwrap_or_else(|| vec![wanted.clone()]);
        if wanted.is_empty() || !wanted.iter().all(is_plain) {
            judge.wrong(
                format!("{path}.{at}"),
                "is nothing a claim could be compared with",
                "write a text, true, false, a number, or a list of them of which one is enough",
            );
        }
        if let Some(name) = claim(judge, path, (&at, name)) {
            required.push((name, wanted));
        }
    }
    required
}

/// Tenants may also be of the store, which nobody knows here; their limits are not written here, though.
fn judge_tenants(judge: &mut Judge<'_>, path: &str, raw: &RawConfig, identity: &RawIdentity) {
    let terms = identity.terms();
    let unlimited = terms.requests_per_minute.is_none()
        && terms.tokens_per_minute.is_none()
        && terms.concurrency.is_none()
        && terms.default_max_output.is_none()
        && terms.limits.is_empty()
        && terms.budgets.is_empty();
    for name in tenants(identity) {
        let known = raw.tenants.get(name);
        if known.is_none() && name != TenantSettings::DEFAULT {
            if unlimited {
                judge.warnings.push(Mistake::new(
                    path,
                    format!("there is no tenant {name:?} in this file"),
                    "unless the store has it, its tokens are refused",
                ));
            } else {
                judge.wrong(
                    path,
                    format!("has limits in {name:?}, a tenant that is not in this file"),
                    format!("add [tenants.{name}], or leave the limits to the tenant"),
                );
            }
        }
        if let (Some(known), Some(team)) = (known, &identity.team)
            && !known.teams.contains_key(team)
        {
            judge.wrong(
                format!("{path}.team"),
                format!("the tenant {name:?} has no team {team:?}"),
                format!("add [tenants.{name}.teams.{team}], or correct the name"),
            );
        }
    }
}
