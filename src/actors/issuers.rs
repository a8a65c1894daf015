//! Asks issuers of tokens for their keys: again and again, and at once when a token names one that nobody knows.
//!
//! Requests read what was published and wait for nothing. A restart forgets nothing: keys, and when they were last
//! confirmed, lie in what is in force; only the pauses between failures begin anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tracing::{info, warn};

use super::member::{Crash, Member, Stage};
use super::slot::Seat;
use super::system::System;
use crate::config::{IdentitySettings, KeysFrom};
use crate::keys::Identity;
use crate::policy::jwt::KeySet;
use crate::policy::token::ask_again_after;
use crate::telemetry::metrics::identity_refreshed;

/// Who fetches keys; lives outside the actors, because it speaks HTTP. The error is a word for the metric.
pub trait IssuerDoor: Send + Sync {
    fn keys(
        &self,
        _settings: Arc<IdentitySettings>,
    ) -> BoxFuture<'static, Result<KeySet, &'static str>> {
        Box::pin(std::future::ready(Err("unavailable")))
    }
}

pub enum IssuersMessage {
    /// Others are in force: those that nobody was asked for are.
    Changed,
    /// It is time to ask this one again, unless it was asked since.
    Due {
        of: Arc<IdentitySettings>,
        turn: u64,
    },
    /// A token was signed with a key of this one's that nobody knows.
    Wanted { name: Arc<str> },
    Came {
        of: Arc<IdentitySettings>,
        result: Result<KeySet, &'static str>,
    },
}

pub(crate) struct Issuers {
    pub(super) system: std::sync::Weak<System>,
    pub(super) door: Arc<dyn IssuerDoor>,
    pub(super) seat: Arc<Seat>,
    pub(super) asking: HashMap<Arc<str>, Asking>,
}

/// How asking one of them goes.
pub(super) struct Asking {
    /// Of these settings.
    of: Arc<IdentitySettings>,
    under_way: bool,
    failures: u32,
    /// The one timer that counts.
    turn: u64,
}

impl Member for Issuers {
    type Message = IssuersMessage;

    fn started(&mut self, stage: &mut Stage<IssuersMessage>) -> Result<(), Crash> {
        self.follow(stage);
        Ok(())
    }

    fn handle(
        &mut self,
        message: IssuersMessage,
        stage: &mut Stage<IssuersMessage>,
    ) -> Result<(), Crash> {
        match message {
            IssuersMessage::Changed => self.follow(stage),
            IssuersMessage::Due { of, turn } => {
                let asking = self.asking.get(&of.name);
                if asking.is_some_and(|asking| asking.of == of && asking.turn == turn) {
                    self.ask(&of, stage);
                }
            }
            IssuersMessage::Wanted { name } => {
                let now = stage.clock.now();
                let identity = self.identity(|one| one.settings.name == name);
                if let Some(identity) = identity.filter(|one| one.may_be_asked(now)) {
                    self.ask(&Arc::clone(&identity.settings), stage);
                }
            }
            IssuersMessage::Came { of, result } => self.came(&of, result, stage),
        }
        Ok(())
    }
}

impl Issuers {
    fn identity(&self, is: impl Fn(&Identity) -> bool) -> Option<Arc<Identity>> {
        let identities = self.system.upgrade()?.identities();
        identities.all().iter().find(|one| is(one)).cloned()
    }

    /// Begins to ask those that are new.
    fn follow(&mut self, stage: &mut Stage<IssuersMessage>) {
        let Some(system) = self.system.upgrade() else {
            return;
        };
        let identities = system.identities();
        let all = identities.all().iter();
        let asked: Vec<&Arc<IdentitySettings>> = all
            .map(|identity| &identity.settings)
            .filter(|settings| !matches!(settings.keys, KeysFrom::File(_)))
            .collect();
        self.asking
            .retain(|_, asking| asked.iter().any(|one| **one == asking.of));
        for settings in asked {
            if !self.asking.contains_key(&settings.name) {
                let asking = Asking {
                    of: Arc::clone(settings),
                    under_way: false,
                    failures: 0,
                    turn: 0,
                };
                self.asking.insert(Arc::clone(&settings.name), asking);
                self.ask(settings, stage);
            }
        }
        self.tell_health();
    }

    fn ask(&mut self, of: &Arc<IdentitySettings>, stage: &mut Stage<IssuersMessage>) {
        let Some(asking) = self.asking.get_mut(&of.name) else {
            return;
        };
        if std::mem::replace(&mut asking.under_way, true) {
            return;
        }
        if let Some(identity) = self.identity(|one| one.settings == *of) {
            identity.ask(stage.clock.now());
        }
        let (fetched, of) = (self.door.keys(Arc::clone(of)), Arc::clone(of));
        stage.spawn(async move {
            let result = fetched.await;
            Some(IssuersMessage::Came { of, result })
        });
    }

    fn came(
        &mut self,
        of: &Arc<IdentitySettings>,
        result: Result<KeySet, &'static str>,
        stage: &mut Stage<IssuersMessage>,
    ) {
        let Some(asking) = self.asking.get_mut(&of.name).filter(|one| one.of == *of) else {
            return;
        };
        asking.under_way = false;
        let wait = match result {
            Ok(keys) => {
                if std::mem::take(&mut asking.failures) > 0 {
                    info!(identity = %of.name, "the issuer tells its keys again");
                }
                if let Some(system) = self.system.upgrade() {
                    system.adopt_issuer_keys(of, keys);
                }
                identity_refreshed(&of.name, "ok", Some(super::tenant::wall().0 / 1_000));
                of.refresh
            }
            Err(why) => {
                asking.failures = asking.failures.saturating_add(1);
                if asking.failures == 1 {
                    warn!(identity = %of.name, why, "the issuer's keys cannot be had; those known are kept for a while");
                }
                identity_refreshed(&of.name, why, None);
                ask_again_after(asking.failures, fastrand::f64()).max(SOONEST)
            }
        };
        if let Some(asking) = self.asking.get_mut(&of.name) {
            asking.turn += 1;
            let (of, turn) = (Arc::clone(of), asking.turn);
            stage.after(wait, IssuersMessage::Due { of, turn });
        }
        self.tell_health();
    }

    fn tell_health(&self) {
        let behind = self.asking.values().any(|asking| asking.failures > 0);
        let health = match (self.asking.is_empty(), behind) {
            (true, _) => "nobody to ask",
            (false, false) => "in force",
            (false, true) => "behind",
        };
        self.seat.set_health(health);
    }
}

/// An issuer that is down is not asked more often.
const SOONEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arc_swap::ArcSwapOption;
    use serde_json::json;
    use tokio::time::sleep;

    use super::*;
    use crate::actors::InjectedFault;
    use crate::actors::tests::{settings, system_with};
    use crate::config::{Settings, Source};
    use crate::keys::{Now, TokenFault};
    use crate::policy::jwt::Fault;
    use crate::policy::jwt::forge::{Signer, set};

    const UNIX: u64 = 1_800_000_000;

    /// Tells what it has; an error when it has nothing.
    #[derive(Default)]
    struct Door {
        keys: ArcSwapOption<KeySet>,
        asked: AtomicUsize,
    }

    impl Door {
        fn has(&self, keys: Option<KeySet>) {
            self.keys.store(keys.map(Arc::new));
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    impl IssuerDoor for Door {
        fn keys(
            &self,
            _: Arc<IdentitySettings>,
        ) -> BoxFuture<'static, Result<KeySet, &'static str>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let keys = self.keys.load_full();
            let keys = keys.map(|keys| KeySet::clone(&keys)).ok_or("unavailable");
            Box::pin(std::future::ready(keys))
        }
    }

    fn with_an_issuer() -> Settings {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[identities.corp]\nissuer = \"https://login.example\"\naudiences = [\"gw\"]\nalgorithms = [\"EdDSA\"]\nkeep_s = 7200\nrefresh_s = 3600\n";
        std::fs::write(file.path(), text).unwrap();
        let source = Source {
            file: Some(file.path().to_owned()),
        };
        let loaded = source.load().unwrap();
        Settings {
            identities: loaded.identities,
            tenants: loaded.tenants,
            ..settings(None)
        }
    }

    fn token(signer: &Signer, id: &str) -> String {
        let claims = json!({"iss": "https://login.example", "aud": "gw", "sub": "ada", "exp": UNIX + 90_000});
        signer.token(&json!({"alg": "EdDSA", "kid": id}), &claims)
    }

    /// Who comes with it, as requests are told.
    fn known(system: &System, token: &str) -> Result<(), TokenFault> {
        let roster = Arc::clone(&system.published().roster);
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let digest = digest.as_ref().try_into().unwrap();
        let now = Now {
            unix: UNIX,
            here: system.clock.now(),
        };
        let identities = system.identities();
        let found = identities.client((token.as_bytes(), &digest), &roster, now);
        found.map(|client| assert_eq!(client.name.as_str(), "jwt~corp"))
    }

    fn want(system: &System) {
        let name = Arc::from("corp");
        system
            .issuers
            .cast(IssuersMessage::Wanted { name })
            .unwrap();
    }

    async fn a_moment() {
        sleep(Duration::from_millis(100)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a26_a_new_key_is_asked_for_at_once_and_never_twice_in_half_a_minute() {
        let (old, new) = (Signer::ed(), Signer::ed());
        let door = Arc::new(Door::default());
        door.has(Some(set(&[old.jwk("k1")])));
        let (system, root, _) = system_with(with_an_issuer(), Arc::clone(&door) as _).await;
        a_moment().await;
        let (first, second) = (token(&old, "k1"), token(&new, "k2"));
        assert_eq!(known(&system, &first), Ok(()));
        assert_eq!(door.asked(), 1);
        door.has(Some(set(&[new.jwk("k2")])));
        // What was told a moment ago is all there is.
        assert_eq!(
            known(&system, &second),
            Err(TokenFault::Refused(Fault::Key))
        );
        want(&system);
        a_moment().await;
        assert_eq!(door.asked(), 1);
        sleep(Duration::from_secs(31)).await;
        let wanted = Err(TokenFault::Doubtful(Some(Arc::from("corp"))));
        assert_eq!(known(&system, &second), wanted);
        for _ in 0..50 {
            want(&system);
        }
        a_moment().await;
        assert_eq!(door.asked(), 2);
        assert_eq!(known(&system, &second), Ok(()));
        // It was good a moment ago and is remembered no longer than its key.
        assert_eq!(known(&system, &first), Err(TokenFault::Refused(Fault::Key)));
        root.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a26_the_last_good_keys_serve_for_their_time_through_a_crash_and_then_nobody_is_let_in()
    {
        let signer = Signer::ed();
        let door = Arc::new(Door::default());
        let (system, root, _) = system_with(with_an_issuer(), Arc::clone(&door) as _).await;
        a_moment().await;
        let good = token(&signer, "k1");
        assert_eq!(known(&system, &good), Err(TokenFault::NotKnown(None)));
        door.has(Some(set(&[signer.jwk("k1")])));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(known(&system, &good), Ok(()));
        door.has(None);
        assert!(system.inject("root/issuers", InjectedFault::Panic));
        sleep(Duration::from_secs(7_000)).await;
        assert_eq!(known(&system, &good), Ok(()), "two hours are not over");
        // Nobody hammers an issuer that is down, and nobody forgets it.
        assert!((60..500).contains(&door.asked()), "{}", door.asked());
        sleep(Duration::from_secs(300)).await;
        assert_eq!(known(&system, &good), Err(TokenFault::NotKnown(None)));
        door.has(Some(set(&[signer.jwk("k1")])));
        sleep(Duration::from_secs(70)).await;
        assert_eq!(known(&system, &good), Ok(()));
        root.stop(Duration::from_secs(1)).await;
    }

    /// The same, with what one identity says changed.
    fn changed(settings: &Settings, change: impl FnOnce(&mut IdentitySettings)) -> Settings {
        let mut identity = IdentitySettings::clone(&settings.identities[0]);
        change(&mut identity);
        Settings {
            identities: vec![Arc::new(identity)],
            ..settings.clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a26_other_terms_for_an_issuer_that_is_down_forget_none_of_its_keys() {
        let (signer, thief) = (Signer::ed(), Signer::ed());
        let door = Arc::new(Door::default());
        door.has(Some(set(&[signer.jwk("k1")])));
        let settings = with_an_issuer();
        let (system, root, _) = system_with(settings.clone(), Arc::clone(&door) as _).await;
        a_moment().await;
        let good = token(&signer, "k1");
        assert_eq!(known(&system, &good), Ok(()));
        door.has(None);
        sleep(Duration::from_secs(3_000)).await;
        let other = |keep: u64| {
            changed(&settings, |identity| {
                identity.keep = Duration::from_secs(keep);
                identity.grant.lane = crate::domain::Lane::Batch;
            })
        };
        system.publish(other(7_100));
        a_moment().await;
        assert_eq!(known(&system, &good), Ok(()), "its keys stay");
        assert!(known(&system, &token(&thief, "k1")).is_err());
        // They are as old as they were.
        sleep(Duration::from_secs(4_200)).await;
        assert_eq!(known(&system, &good), Err(TokenFault::NotKnown(None)));
        system.publish(other(7_300));
        assert_eq!(
            known(&system, &good),
            Ok(()),
            "and good for as long as is said now"
        );
        // Whose keys come from elsewhere is another issuer.
        let elsewhere = changed(&settings, |identity| {
            identity.keep = Duration::from_secs(90_000);
            identity.keys = KeysFrom::Address("https://other.example/keys".to_owned());
        });
        system.publish(elsewhere);
        assert_eq!(known(&system, &good), Err(TokenFault::NotKnown(None)));
        root.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a26_what_was_good_on_other_terms_is_looked_at_again() {
        let signer = Signer::ed();
        let door = Arc::new(Door::default());
        door.has(Some(set(&[signer.jwk("k1")])));
        let settings = with_an_issuer();
        let (system, root, _) = system_with(settings.clone(), Arc::clone(&door) as _).await;
        a_moment().await;
        let good = token(&signer, "k1");
        assert_eq!(known(&system, &good), Ok(()));
        system.publish(changed(&settings, |identity| {
            identity.rules.audiences = vec!["other".to_owned()];
        }));
        let refused = Err(TokenFault::Refused(Fault::Audience));
        assert_eq!(known(&system, &good), refused);
        root.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a26_a_new_key_under_the_old_name_or_under_none_is_asked_for_as_well() {
        for id in [Some("k1"), None] {
            let (old, new) = (Signer::ed(), Signer::ed());
            let door = Arc::new(Door::default());
            let keys = |signer: &Signer| {
                let mut key = signer.jwk("k1");
                if id.is_none() {
                    key.as_object_mut().unwrap().remove("kid");
                }
                Some(set(&[key]))
            };
            let signed = |signer: &Signer| {
                let mut header = json!({"alg": "EdDSA"});
                if let Some(id) = id {
                    header["kid"] = id.into();
                }
                let claims = json!({"iss": "https://login.example", "aud": "gw", "sub": "ada", "exp": UNIX + 90_000});
                signer.token(&header, &claims)
            };
            door.has(keys(&old));
            let (system, root, _) = system_with(with_an_issuer(), Arc::clone(&door) as _).await;
            a_moment().await;
            let (first, second) = (signed(&old), signed(&new));
            assert_eq!(known(&system, &first), Ok(()));
            door.has(keys(&new));
            // Whoever guesses learns at once that it is none, as long as the keys are those of a moment ago.
            let refused = Err(TokenFault::Refused(Fault::Signature));
            assert_eq!(known(&system, &second), refused);
            sleep(Duration::from_secs(31)).await;
            let wanted = Err(TokenFault::NotKnown(Some(Arc::from("corp"))));
            assert_eq!(known(&system, &second), wanted);
            for _ in 0..50 {
                want(&system);
            }
            a_moment().await;
            assert_eq!(door.asked(), 2);
            assert_eq!(known(&system, &second), Ok(()));
            assert_eq!(known(&system, &first), refused);
            root.stop(Duration::from_secs(1)).await;
        }
    }
}
