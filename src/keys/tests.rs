//! What the roster and the office decide, without a store.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken step is a failed test"
)]

use std::sync::Arc;

use super::form::{KeyKind, RANDOM, make, read};
use super::*;
use crate::config::{BudgetForm, GrantForm, Settings, TeamForm, TenantForm, TermsForm};
use crate::domain::{Lane, Operation};
use crate::store::keys::{AdminScope, KeyChange, Roll, StoredKey, StoredTenant};

const NOW: u64 = 1_000_000;

fn pepper() -> Pepper {
    Pepper::new(b"one pepper")
}

/// A tenant `acme` that may use p and q, with a team `search` that may use p.
fn acme() -> StoredTenant {
    let pools = |names: &[&str]| GrantForm {
        pools: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..GrantForm::default()
    };
    let search = TeamForm {
        grant: GrantForm {
            lane: Some(Lane::Batch),
            ..pools(&["p"])
        },
        terms: TermsForm::default(),
    };
    let form = TenantForm {
        grant: pools(&["p", "q"]),
        terms: TermsForm {
            requests_per_minute: Some(100),
            ..TermsForm::default()
        },
        teams: [("search".to_owned(), search)].into(),
        ..TenantForm::default()
    };
    StoredTenant {
        name: "acme".to_owned(),
        form,
        version: 1,
    }
}

fn roster(keys: Vec<StoredKey>, tenant: StoredTenant, before: Option<&Roster>) -> Roster {
    let roll = Roll {
        changes: 1,
        tenants: [(tenant.name.clone(), Arc::new(tenant))].into(),
        keys: keys
            .into_iter()
            .map(|key| (key.id.clone(), Arc::new(key)))
            .collect(),
        file: None,
    };
    Roster::merge(&Settings::default(), Arc::new(roll), Some(pepper()), before)
}

fn wanted(team: Option<&str>) -> NewKey {
    NewKey {
        name: "app".to_owned(),
        tenant: Some("acme".to_owned()),
        team: team.map(str::to_owned),
        ..NewKey::default()
    }
}

fn issued(wanted: NewKey) -> Issued {
    let (settings, roster, by) = (
        Settings::default(),
        roster(Vec::new(), acme(), None),
        Principal::root("test"),
    );
    let office = Office {
        settings: &settings,
        roster: &roster,
        by: &by,
        now: NOW,
    };
    office.issue(wanted, &pepper(), &[7; RANDOM]).unwrap()
}

fn who(roster: &Roster, text: &str, now: u64) -> Result<Client, KeyFault> {
    let parts = read(text.as_bytes()).unwrap();
    roster.client(parts, text.as_bytes(), now).cloned()
}

#[test]
fn t1_a_key_has_what_its_tenant_its_team_and_it_itself_allow() {
    let of_team = issued(NewKey {
        grant: GrantForm {
            operations: Some(vec!["chat".to_owned()]),
            ..GrantForm::default()
        },
        ..wanted(Some("search"))
    });
    let all = roster(vec![of_team.key.clone()], acme(), None);
    let client = who(&all, of_team.text.expose(), NOW).unwrap();
    assert!(client.may_use("p") && !client.may_use("q"));
    assert!(client.grant.may_do(Operation::Chat) && !client.grant.may_do(Operation::Images));
    assert_eq!(client.lane, Lane::Batch);
    let path: Vec<&str> = client.path.iter().map(|account| &**account).collect();
    assert_eq!(path, ["acme", "acme/search", "acme#app"]);
    // The team is narrowed later on, and the key that did not change is narrowed with it.
    let mut narrowed = acme();
    if let Some(team) = narrowed.form.teams.get_mut("search") {
        team.grant.pools = Some(Vec::new());
    }
    let later = roster(vec![of_team.key], narrowed, Some(&all));
    assert!(
        !who(&later, of_team.text.expose(), NOW)
            .unwrap()
            .may_use("p")
    );
}

#[test]
fn a03_each_way_to_end_a_key_ends_it() {
    let Issued { key, text } = issued(wanted(None));
    let text = text.expose();
    let of = |key: StoredKey| roster(vec![key], acme(), None);
    assert!(who(&of(key.clone()), text, NOW).is_ok());
    let blocked = StoredKey {
        blocked: true,
        ..key.clone()
    };
    assert_eq!(who(&of(blocked), text, NOW).unwrap_err(), KeyFault::Blocked);
    let ending = StoredKey {
        expires: Some(NOW + 1),
        ..key.clone()
    };
    let ending = of(ending);
    assert!(who(&ending, text, NOW).is_ok());
    assert_eq!(who(&ending, text, NOW + 1).unwrap_err(), KeyFault::Expired);
    let gone = roster(Vec::new(), acme(), None);
    assert_eq!(who(&gone, text, NOW).unwrap_err(), KeyFault::Unknown);
    let homeless = StoredTenant {
        name: "other".to_owned(),
        ..acme()
    };
    let homeless = roster(vec![key.clone()], homeless, None);
    assert_eq!(who(&homeless, text, NOW).unwrap_err(), KeyFault::Homeless);
    // The same id with another secret, whole by its sum.
    let forged = make(KeyKind::Client, "live", Some(&key.id), &[8; RANDOM]);
    let forged = who(&of(key.clone()), forged.text.expose(), NOW);
    assert_eq!(forged.unwrap_err(), KeyFault::Unknown);
    // The same secret said to be for something else.
    let other = make(KeyKind::Client, "test", Some(&key.id), &[7; RANDOM]);
    assert_eq!(
        who(&of(key), other.text.expose(), NOW).unwrap_err(),
        KeyFault::Unknown
    );
}

#[test]
fn g11_without_a_pepper_no_key_is_good() {
    let Issued { key, text } = issued(wanted(None));
    let with = roster(vec![key], acme(), None);
    let without = Roster::merge(
        &Settings::default(),
        Arc::clone(&with.roll),
        None,
        Some(&with),
    );
    assert_eq!(
        who(&without, text.expose(), NOW).unwrap_err(),
        KeyFault::Unknown
    );
}

#[test]
fn a06_a_key_whose_terms_nobody_can_read_opens_nothing() {
    let Issued { mut key, text } = issued(wanted(None));
    key.terms.budgets = vec![BudgetForm {
        usd: "1".to_owned(),
        period: "fortnight".to_owned(),
        hard: true,
        tell_at: None,
    }];
    let all = roster(vec![key.clone()], acme(), None);
    assert_eq!(
        who(&all, text.expose(), NOW).unwrap_err(),
        KeyFault::Homeless
    );
    key.terms.budgets.clear();
    key.grant.operations = Some(vec!["fly".to_owned()]);
    let all = roster(vec![key], acme(), None);
    assert!(!who(&all, text.expose(), NOW).unwrap().may_use("p"));
    assert!(!all.mistakes.is_empty());
}

#[test]
fn a06_a_rotation_keeps_to_its_overlap_and_a_second_one_ends_the_first() {
    let settings = Settings::default();
    let by = Principal::root("test");
    let first = issued(wanted(None));
    let rotated = |key: &StoredKey, random: u8, overlap: u64| {
        let all = roster(vec![key.clone()], acme(), None);
        let office = Office {
            settings: &settings,
            roster: &all,
            by: &by,
            now: NOW,
        };
        office.rotate(&key.id, overlap, &pepper(), &[random; RANDOM])
    };
    let second = rotated(&first.key, 8, 60).unwrap();
    let both = roster(vec![second.key.clone()], acme(), None);
    assert!(who(&both, first.text.expose(), NOW + 59).is_ok());
    assert_eq!(
        who(&both, first.text.expose(), NOW + 60).unwrap_err(),
        KeyFault::Expired
    );
    assert!(who(&both, second.text.expose(), NOW + 60).is_ok());
    let third = rotated(&second.key, 9, 60).unwrap();
    let both = roster(vec![third.key.clone()], acme(), None);
    assert!(who(&both, first.text.expose(), NOW).is_err());
    assert!(rotated(&third.key, 9, 91 * 86_400).is_err());
}

#[test]
fn a06_who_has_one_scope_takes_over_no_key_that_has_more() {
    let settings = Settings::default();
    let none = roster(Vec::new(), acme(), None);
    let root = Principal::root("test");
    let office = |roster, by| Office {
        settings: &settings,
        roster,
        by,
        now: NOW,
    };
    let admin = |name: &str, tenant: Option<&str>, scopes: &[AdminScope], random: u8| {
        let wanted = NewKey {
            name: name.to_owned(),
            tenant: tenant.map(str::to_owned),
            scopes: scopes.to_vec(),
            ..NewKey::default()
        };
        office(&none, &root).issue_admin(wanted, &pepper(), &[random; RANDOM])
    };
    let strong = admin("strong", None, &AdminScope::ALL, 1).unwrap();
    let weak = admin("weak", None, &[AdminScope::Keys], 2).unwrap();
    let all = roster(vec![strong.key.clone(), weak.key.clone()], acme(), None);
    let text = weak.text.expose().as_bytes();
    let by = Principal::of(&all.admin(read(text).unwrap(), text, NOW).unwrap());
    let denied = office(&all, &by).rotate(&strong.key.id, 0, &pepper(), &[3; RANDOM]);
    assert!(matches!(denied, Err(Denied::Wider { .. })), "{denied:?}");
    assert!(office(&all, &by).remove(&strong.key.id).is_err());
    assert!(office(&all, &by).remove(&weak.key.id).is_ok());
    // A client's key opens nothing of the admin's, nor the other way round.
    assert!(all.client(read(text).unwrap(), text, NOW).is_err());
}

#[test]
fn t1_what_the_file_says_of_a_tenant_counts() {
    let mut settings = Settings::default();
    let own = TenantForm::default().settings("acme").unwrap();
    let own = crate::config::TenantSettings {
        written: true,
        ..own
    };
    settings.tenants.push(Arc::new(own));
    let mut roll = Roll {
        changes: 1,
        ..Roll::default()
    };
    roll.tenants.insert("acme".to_owned(), Arc::new(acme()));
    let merged = Roster::merge(&settings, Arc::new(roll), None, None);
    let tenant = merged.tenant("acme").unwrap();
    assert!(
        tenant.grant.pools.holds("anything"),
        "not the store's grant"
    );
    assert!(tenant.teams.contains_key("search"), "but the store's team");
    assert!(tenant.accounts.is_empty());
    let by = Principal::root("test");
    let office = Office {
        settings: &settings,
        roster: &merged,
        by: &by,
        now: NOW,
    };
    assert!(office.put_tenant("acme", acme().form, 0).is_err());
}

#[test]
fn t1_a_secret_is_in_no_answer_but_beside_it() {
    let settings = Settings::default();
    let roster = roster(Vec::new(), acme(), None);
    let by = Principal::root("test");
    let office = Office {
        settings: &settings,
        roster: &roster,
        by: &by,
        now: NOW,
    };
    let command = KeyCommand::Issue {
        wanted: wanted(None),
        once: None,
    };
    let decision = office.decide(command, || Ok(pepper())).unwrap();
    let secret = decision.secret.unwrap();
    let secret = secret.expose().rsplit('_').nth(1).unwrap();
    assert!(!decision.told.to_string().contains(secret));
    let Some(KeyChange::Add { key, .. }) = decision.change else {
        panic!("nothing is added");
    };
    assert!(!serde_json::to_string(&key).unwrap().contains(secret));
    assert!(!format!("{key:?}").contains(secret));
}

#[test]
fn t3_what_a_stored_tenant_its_team_and_a_key_demand_of_providers_is_all_demanded() {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let mut tenant = acme();
    tenant.form.grant.zero_retention = Some(true);
    if let Some(team) = tenant.form.teams.get_mut("search") {
        team.grant.no_training = Some(true);
    }
    let of = |grant: GrantForm| {
        let made = issued(NewKey {
            grant,
            ..wanted(Some("search"))
        });
        let all = roster(vec![made.key.clone()], tenant.clone(), None);
        who(&all, made.text.expose(), NOW).unwrap().demand.unwrap()
    };
    let whole = of(GrantForm {
        not_providers: names(&["a*"]),
        ..GrantForm::default()
    });
    assert_eq!(
        whole.words(),
        ["zero_retention", "no_training", "not_providers"]
    );
    assert_eq!(whole.region(), None);
    // Nothing takes back what is demanded above.
    let less = of(GrantForm {
        zero_retention: Some(false),
        no_training: Some(false),
        not_providers: names(&[]),
        ..GrantForm::default()
    });
    assert_eq!(less.words(), ["zero_retention", "no_training"]);
    // A star is the way back to anywhere, where nobody above says otherwise.
    let regions = |regions: &[&str]| {
        of(GrantForm {
            regions: names(regions),
            ..GrantForm::default()
        })
    };
    assert_eq!(regions(&["eu"]).region(), Some("eu"));
    assert_eq!(regions(&["*"]).region(), None);
}

#[test]
fn t3_a_region_that_is_none_is_a_mistake_in_a_stored_grant_too() {
    for (regions, good) in [("EU", false), ("eu*", true), ("*", true), ("e u", false)] {
        let form = GrantForm {
            regions: Some(vec![regions.to_owned()]),
            ..GrantForm::default()
        };
        let told = crate::config::read_grant(&form);
        assert_eq!(told.is_ok(), good, "{regions}: {told:?}");
    }
}

#[test]
fn a06_who_comes_to_an_end_hands_its_power_to_nobody_beyond_that_itself_included() {
    let settings = Settings::default();
    let none = roster(Vec::new(), acme(), None);
    let root = Principal::root("test");
    let office = |roster, by| Office {
        settings: &settings,
        roster,
        by,
        now: NOW,
    };
    let end = NOW + 100;
    let admin = |roster, by, expires: Option<u64>, random: u8| {
        let wanted = NewKey {
            name: format!("admin-{random}"),
            scopes: vec![AdminScope::Keys],
            expires,
            ..NewKey::default()
        };
        office(roster, by).issue_admin(wanted, &pepper(), &[random; RANDOM])
    };
    let lasting = admin(&none, &root, None, 1).unwrap();
    let ending = admin(&none, &root, Some(end), 2).unwrap();
    let all = roster(vec![lasting.key.clone(), ending.key.clone()], acme(), None);
    let text = ending.text.expose().as_bytes();
    let by = Principal::of(&all.admin(read(text).unwrap(), text, NOW).unwrap());
    let wider = |denied: Result<(), Denied>| matches!(denied, Err(Denied::Wider { .. }));
    let lengthened = |expires: u64| {
        let patch = KeyPatch {
            expires: Some(expires),
            ..KeyPatch::default()
        };
        office(&all, &by).amend(&ending.key.id, patch).map(drop)
    };
    assert!(wider(lengthened(0)) && wider(lengthened(end + 1)));
    assert!(lengthened(end - 1).is_ok());
    assert!(wider(admin(&all, &by, None, 3).map(drop)));
    assert!(wider(admin(&all, &by, Some(end + 1), 3).map(drop)));
    assert!(admin(&all, &by, Some(end), 3).is_ok());
    let rotated = |id: &str| office(&all, &by).rotate(id, 0, &pepper(), &[4; RANDOM]);
    assert!(wider(rotated(&lasting.key.id).map(drop)));
    assert!(rotated(&ending.key.id).is_ok());
    // What it may end it may end, and clients' keys outlast who made them.
    assert!(office(&all, &by).remove(&lasting.key.id).is_ok());
    assert!(
        office(&all, &by)
            .issue(wanted(None), &pepper(), &[5; RANDOM])
            .is_ok()
    );
}

#[test]
fn a06_a_team_of_the_stores_that_nobody_can_read_is_not_there() {
    let mut settings = Settings::default();
    let own = TenantForm::default().settings("acme").unwrap();
    settings
        .tenants
        .push(Arc::new(crate::config::TenantSettings {
            written: true,
            ..own
        }));
    let key = issued(wanted(Some("search")));
    let mut tenant = acme();
    let merged = |tenant: StoredTenant| {
        let roll = Roll {
            changes: 1,
            tenants: [(tenant.name.clone(), Arc::new(tenant))].into(),
            keys: [(key.key.id.clone(), Arc::new(key.key.clone()))].into(),
            file: None,
        };
        Roster::merge(&settings, Arc::new(roll), Some(pepper()), None)
    };
    let good = merged(tenant.clone());
    assert!(who(&good, key.text.expose(), NOW).is_ok());
    // As another release may have written it.
    if let Some(team) = tenant.form.teams.get_mut("search") {
        team.grant.operations = Some(vec!["dream".to_owned()]);
    }
    let odd = merged(tenant);
    assert_eq!(
        who(&odd, key.text.expose(), NOW).unwrap_err(),
        KeyFault::Homeless
    );
    assert!(!odd.mistakes.is_empty());
}

#[test]
fn o05_a_key_weighs_as_its_tenant_does_now() {
    let settings = Settings::default();
    let key = Arc::new(issued(wanted(None)).key);
    let roster = |weight, before: Option<&Roster>| {
        let mut tenant = acme();
        tenant.form.weight = weight;
        let roll = Roll {
            changes: 1,
            tenants: [(tenant.name.clone(), Arc::new(tenant))].into(),
            keys: [(key.id.clone(), Arc::clone(&key))].into(),
            file: None,
        };
        Roster::merge(&settings, Arc::new(roll), Some(pepper()), before)
    };
    let first = roster(None, None);
    let weight = |roster: &Roster| roster.of_key(&key.id).map(|client| client.weight.get());
    assert_eq!((weight(&first), first.peers), (Some(1), 1));
    let second = roster(Some(7), Some(&first));
    assert_eq!(weight(&second), Some(7));
    let odd = TenantForm {
        weight: Some(0),
        ..TenantForm::default()
    };
    assert!(odd.settings("acme").is_err());
}
