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

/// Beyond so many of one sort, how many there are says more than their names.
const MOST_NAMED: usize = 50;

fn named<T: PartialEq>(
    said: &mut Vec<String>,
    what: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
) {
    let before: HashMap<String, &T> = old.iter().map(|one| (name(one), one)).collect();
    let mut now = HashSet::with_capacity(new.len());
    let (mut added, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for one in new {
        let name = name(one);
        match before.get(&name) {
            None => added.push(name.clone()),
            Some(before) if *before != one => changed.push(name.clone()),
            Some(_) => {}
        }
        now.insert(name);
    }
    removed.extend(old.iter().map(name).filter(|name| !now.contains(name)));
    for (names, how) in [(added, "added"), (changed, "changed"), (removed, "removed")] {
        if names.len() > MOST_NAMED {
            said.push(format!("{} of {what} {how}", names.len()));
        } else {
            said.extend(names.into_iter().map(|name| format!("{what} {name} {how}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(old: &[(u32, u32)], new: &[(u32, u32)]) -> Vec<String> {
        let mut said = Vec::new();
        named(&mut said, "client", old, new, |one| one.0.to_string());
        said
    }

    #[test]
    fn c04_what_differs_is_named_and_many_are_counted() {
        let (old, new) = ([(1, 0), (2, 0), (3, 0)], [(2, 0), (3, 1), (4, 0)]);
        let expected = ["client 4 added", "client 3 changed", "client 1 removed"];
        assert_eq!(said(&old, &new), expected);
        let many: Vec<(u32, u32)> = (0..60).map(|nth| (nth, 0)).collect();
        assert_eq!(said(&[], &many), ["60 of client added"]);
        assert_eq!(said(&many, &many), Vec::<String>::new());
    }

    #[test]
    fn c08_fifty_thousand_are_compared_in_one_go() {
        let many: Vec<(u32, u32)> = (0..50_000).map(|nth| (nth, nth)).collect();
        let other: Vec<(u32, u32)> = (10..50_010).rev().map(|nth| (nth, 7)).collect();
        // Each held against all the others takes minutes.
        assert_eq!(said(&many, &other).len(), 10 + 1 + 10);
    }
}
