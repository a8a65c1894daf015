//! Keys alone: what it takes to put fifty thousand in force, one more, and to know who calls.

use std::sync::Arc;
use std::time::Duration;

use switchyard::config::{GrantForm, Secret, Settings, TenantForm, TermsForm};
use switchyard::keys::form::{KeyKind, RANDOM, make, read};
use switchyard::keys::{Pepper, Roster};
use switchyard::store::embedded::{self, RollWatch};
use switchyard::store::keys::{KeyChange, KeyUse, StoredKey};

use super::placement::own_cpu_nanos;
use super::{Fault, float, say};

pub(super) const KEYS: u64 = 50_000;
const LOOKS: u64 = 1_000_000;

/// Measures in this process; nothing else runs in it.
pub(super) fn auth(folder: &std::path::Path) -> Result<(), Fault> {
    let mut settings = Settings::default();
    settings.store.path = folder.join("keys.db");
    let tenant = TenantForm::default().settings("acme");
    let tenant = tenant.map_err(|_| "no tenant")?;
    settings.tenants.push(Arc::new(tenant));
    let pepper = Pepper::new(b"a pepper for the bench, and no other");
    let mut random = fastrand::Rng::with_seed(8);
    let (texts, adds) = added(&pepper);
    embedded::change_many(&settings.store, &adds, |_| {})?;
    let mut watch = RollWatch::new(settings.store.clone(), Arc::default());
    let (read_all, roll) = timed(|| watch.look());
    let roll = roll?;
    let (merge, roster) = timed(|| Roster::merge(&settings, roll, Some(pepper.clone()), None));
    say(&format!(
        "keys put in force: {KEYS} in {:.0} ms ({:.0} ms of it reading the store)",
        millis(read_all + merge),
        millis(read_all)
    ));
    let (again, roll) = timed(|| watch.look());
    let roll = roll?;
    let one_more = Roster::merge(
        &settings,
        Arc::clone(&roll),
        Some(pepper.clone()),
        Some(&roster),
    );
    let (merge, _) = timed(|| Roster::merge(&settings, roll, Some(pepper), Some(&one_more)));
    say(&format!(
        "a look that finds nothing: {:.0} µs; one change among {KEYS}: {:.0} ms",
        again.as_secs_f64() * 1e6,
        millis(merge)
    ));
    let before = own_cpu_nanos();
    let mut known = 0_u64;
    for _ in 0..LOOKS {
        let text = random.choice(&texts).ok_or("no keys")?.expose().as_bytes();
        let parts = read(text).ok_or("no key")?;
        let client = roster.client(parts, text, 1).map_err(|why| why.label())?;
        known += std::hint::black_box(client.clone()).path.len() as u64;
    }
    let used = (own_cpu_nanos() - before) / float(LOOKS);
    if known == 0 {
        return Err("nobody was known".into());
    }
    say(&format!(
        "who calls, among {KEYS} keys: {used:.0} ns of CPU"
    ));
    Ok(())
}

/// The texts of keys, and what puts them into a store.
pub(super) fn added(pepper: &Pepper) -> (Vec<Secret>, Vec<KeyChange>) {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut texts, mut adds) = (Vec::new(), Vec::new());
    for nth in 0..KEYS {
        let mut bytes = [0; RANDOM];
        random.fill(&mut bytes);
        let made = make(KeyKind::Client, "live", None, &bytes);
        let digest = pepper.digest(made.text.expose().as_bytes());
        let key = key(nth, made.id, digest);
        texts.push(made.text);
        adds.push(KeyChange::Add {
            key: Box::new(key),
            once: None,
        });
    }
    (texts, adds)
}

fn key(nth: u64, id: String, digest: [u8; 32]) -> StoredKey {
    StoredKey {
        id,
        r#use: KeyUse::Client,
        env: "live".to_owned(),
        name: format!("app-{nth}"),
        tenant: Some("acme".to_owned()),
        team: None,
        grant: GrantForm {
            pools: Some(vec!["fast".to_owned(), "careful*".to_owned()]),
            ..GrantForm::default()
        },
        terms: TermsForm {
            requests_per_minute: Some(60),
            ..TermsForm::default()
        },
        scopes: Vec::new(),
        expires: None,
        blocked: false,
        created: 1,
        created_by: "bench".to_owned(),
        changed_by: "bench".to_owned(),
        pepper: String::new(),
        digest,
        before: None,
        version: 0,
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = tokio::time::Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
