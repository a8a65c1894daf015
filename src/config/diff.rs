//! What differs between two settings, in words an operator reads in the log.

use std::collections::{HashMap, HashSet};

use super::settings::{ListenSettings, Settings};

/// What changed; empty when nothing did that anyone would notice.
pub fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut said = Vec::new();
    named(
        &mut said,
        "provider",
        &old.providers,
        &new.providers,
        |provider| provider.name.to_string(),
    );
    named(&mut said, "pool", &old.pools, &new.pools, |pool| {
        pool.name.to_string()
    });
    named(&mut said, "client", &old.clients, &new.clients, |client| {
        client.name.to_string()
    });
    named(&mut said, "tenant", &old.tenants, &new.tenants, |tenant| {
        tenant.name.to_string()
    });
    let (before, now) = (&old.identities, &new.identities);
    named(&mut said, "identity", before, now, |identity| {
        identity.name.to_string()
    });
    let mut section = |name: &str, same: bool| {
        if !same {
            said.push(format!("{name} changed"));
        }
    };
    section("egress", old.egress == new.egress);
    section("media", old.media == new.media);
    section("dialects", old.unsupported == new.unsupported);
    section("timeouts", old.timeouts == new.timeouts);
    section("guard", old.guard == new.guard);
    section("failover", old.failover == new.failover);
    section("streams", old.streams == new.streams);
    section("idempotency", old.idempotency == new.idempotency);
    section("listen", old.listen == new.listen);
    section("admin", old.admin == new.admin);
    section("journal", old.journal == new.journal);
    section("store", old.store == new.store);
    section("logs", old.logs == new.logs);
    section("alerts", old.alerts == new.alerts);
    section("pricing", old.pricing == new.pricing);
    section(
        "registry",
        old.models == new.models && old.registry == new.registry,
    );
    said.extend(restart_needed(old, new));
    said
}

/// Changes that only a restart brings into force; everything else is in force at once.
pub fn restart_needed(old: &Settings, new: &Settings) -> Vec<String> {
    let mut said = Vec::new();
    let mut needs = |name: &str, same: bool| {
        if !same {
            said.push(format!("{name} takes effect at the next restart"));
        }
    };
    // The one limit that is looked at again and again.
    let listen = ListenSettings {
        memory_limit_bytes: new.listen.memory_limit_bytes,
        ..old.listen.clone()
    };
    needs("listen", listen == new.listen);
    needs(
        "admin.address",
        old.admin.address == new.admin.address && old.admin.enabled == new.admin.enabled,
    );
    needs("journal", old.journal == new.journal);
    needs("store", old.store == new.store);
    needs("logs", old.logs == new.logs);
    said
}

fn named<T: PartialEq>(
    said: &mut Vec<String>,
    what: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
) {
    let before: HashMap<String, &T> = old.iter().map(|one| (name(one), one)).collect();
    let after: HashSet<String> = new.iter().map(&name).collect();
    for one in new {
        match before.get(&name(one)).copied() {
            None => said.push(format!("{what} {} added", name(one))),
            Some(before) if before != one => said.push(format!("{what} {} changed", name(one))),
            Some(_) => {}
        }
    }
    for gone in old.iter().filter(|one| !after.contains(&name(one))) {
        said.push(format!("{what} {} removed", name(gone)));
    }
}
