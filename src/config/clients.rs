//! Who may call: clients of the file, and what holds for keys of the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::judge::{Judge, Slash};
use super::raw::{RawClient, RawConfig};
use super::secret::Secret;
use super::settings::{ClientSettings, IssuedKeySettings, TenantSettings};
use super::tenants;

pub(super) fn clients(judge: &mut Judge<'_>, raw: &[RawClient]) -> Vec<ClientSettings> {
    let mut clients: Vec<ClientSettings> = Vec::new();
    // There may be tens of thousands: each is held against those alone that might be the same.
    let mut names: HashSet<&str> = HashSet::new();
    let mut alike: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, client) in raw.iter().enumerate() {
        let path = format!("clients[{index}]");
        judge.name(&format!("{path}.name"), &client.name, Slash::Refused);
        if !names.insert(client.name.as_str()) {
            judge.wrong(
                format!("{path}.name"),
                format!("{:?} is there twice", client.name),
                "name each client once",
            );
        }
        let Some(key) = judge.secret(&format!("{path}.key"), &client.key) else {
            continue;
        };
        if key.expose().len() < 8 {
            judge.wrong(
                format!("{path}.key"),
                "the key is shorter than 8 characters",
                "use a long random one",
            );
        }
        let alike = alike.entry(key.fingerprint()).or_default();
        let mut others = alike.iter().filter_map(|place| clients.get(*place));
        if others.any(|other| other.key == key) {
            judge.wrong(
                format!("{path}.key"),
                "another client has the same key",
                "give each its own",
            );
        }
        alike.push(clients.len());
        clients.push(ClientSettings {
            name: client.name.as_str().into(),
            key,
            grant: tenants::grant(judge, &path, &client.rights()),
            lane: client.lane,
            tenant: client
                .tenant
                .as_deref()
                .unwrap_or(TenantSettings::DEFAULT)
                .into(),
            team: client.team.as_deref().map(Arc::from),
            // Decided by `residency`.
            demand: None,
        });
    }
    clients
}

/// A shorter pepper can be guessed.
pub(super) const SHORTEST_PEPPER: usize = 32;

pub(super) fn issued(judge: &mut Judge<'_>, raw: &RawConfig) -> IssuedKeySettings {
    let pepper = raw.keys.pepper.as_ref();
    let pepper = pepper.and_then(|reference| judge.secret("keys.pepper", reference));
    let short = |pepper: &Secret| pepper.expose().len() < SHORTEST_PEPPER;
    if pepper.as_ref().is_some_and(short) {
        judge.wrong(
            "keys.pepper",
            "is shorter than 32 characters",
            "make one with: openssl rand -hex 32",
        );
    }
    IssuedKeySettings {
        pepper,
        required: raw.keys.required,
    }
}
