//! Who calls: the file's client keys, looked up by keyed digest, and the store's, looked up by their id.
//!
//! # Why a keyed digest
//! The key is hashed with a secret of this process before it is looked up, so neither the time a lookup
//! takes nor how far a comparison gets tells anything about the keys (attack A02).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::config::Settings;
use crate::domain::Moment;
use crate::keys::form::{self, KeyKind};
use crate::keys::{Client, Identities, KeyFault, Now, Roster, TokenFault};
use crate::policy::jwt::{Fault, looks_like_one, may_become_one};

/// Why a request has no good key; a label for the metric. The client always reads the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthFault {
    Missing,
    Malformed,
    Several,
    InQuery,
    Unknown,
    TooManyGuesses,
    /// Of the store's.
    Issued(KeyFault),
    /// A token of somebody else's.
    Token(Fault),
    /// The store's keys have not been confirmed for too long (ground rule G11).
    NotKnown,
    /// Those of the issuer of a token have not.
    Awaited,
    /// As before, for a token that none of those known has signed.
    Doubtful,
}

impl AuthFault {
    /// Whether it may be somebody who tries keys until one is right.
    pub(super) fn is_guess(self) -> bool {
        match self {
            Self::Token(fault) => fault.is_guess(),
            Self::NotKnown | Self::Awaited => false,
            Self::Doubtful
            | Self::Missing
            | Self::Malformed
            | Self::Several
            | Self::InQuery
            | Self::Unknown
            | Self::TooManyGuesses
            | Self::Issued(_) => true,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Several => "several",
            Self::InQuery => "in_query",
            Self::Unknown => "unknown",
            Self::TooManyGuesses => "too_many_guesses",
            Self::Issued(fault) => fault.label(),
            // Which check it was is for the log: one label for all that anyone may send.
            Self::Token(_) => "jwt",
            Self::NotKnown | Self::Awaited | Self::Doubtful => "not_known",
        }
    }

    /// What the gateway waits for itself, where that is why (fault X12); `None`: it is the caller's business.
    pub(super) fn awaited(self) -> Option<&'static str> {
        match self {
            Self::NotKnown => Some("the gateway cannot read its keys now; come back shortly"),
            Self::Awaited | Self::Doubtful => Some(
                "the gateway waits for the issuer of this token to tell its keys; come back shortly",
            ),
            Self::Missing
            | Self::Malformed
            | Self::Several
            | Self::InQuery
            | Self::Unknown
            | Self::TooManyGuesses
            | Self::Issued(_)
            | Self::Token(_) => None,
        }
    }
}

pub struct ClientKeys {
    /// A digest that has read a secret of this process.
    pepper: digest::Context,
    by_digest: HashMap<[u8; 32], Client>,
    /// The file names no keys and wants none: everyone who reaches the (loopback) listener is let in, as long as
    /// none was ever made.
    open: Option<Client>,
}

/// What is known of the store's keys when a request comes in.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) roster: &'a Roster,
    /// Others whose tokens are good here.
    pub(super) identities: &'a Identities,
    /// What wants to hear that a token names a key of theirs that nobody knows.
    pub(super) wanted: &'a dyn Fn(Arc<str>),
    /// As this process counts.
    pub(super) here: Moment,
    /// They were confirmed lately.
    pub(super) fresh: bool,
    /// They are those of this moment: one that is not among them was not made.
    pub(super) current: bool,
    /// Unix seconds.
    pub(super) now: u64,
}

/// Headers that may hold the key, besides `authorization`.
const KEY_HEADERS: [&str; 5] = [
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "x-portkey-api-key",
];
const LONGEST_KEY: usize = 4_096;

impl ClientKeys {
    pub fn new(settings: &Settings) -> Self {
        // One block of the digest, so that it is read once and not for every request.
        let mut secret = [0; 64];
        // Without randomness the digest is unkeyed, which is still a digest.
        let _ = SystemRandom::new().fill(&mut secret);
        let mut pepper = digest::Context::new(&digest::SHA256);
        pepper.update(&secret);
        let clients = settings.clients.iter();
        let by_digest = clients
            .map(|client| {
                let digest = peppered(&pepper, client.key.expose().as_bytes());
                (digest, Client::of_file(client, &settings.tenants))
            })
            .collect();
        let keyless = settings.clients.is_empty() && settings.identities.is_empty();
        let open = keyless && !settings.issued.required;
        Self {
            pepper,
            by_digest,
            open: open.then(|| Client::local(&settings.tenants)),
        }
    }

    /// Decides who calls from head alone, before a byte of the body is read (attack A01).
    pub(super) fn identify(
        &self,
        known: Known<'_>,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Client, AuthFault> {
        if query.is_some_and(|query| {
            query
                .split('&')
                .any(|pair| pair.starts_with("key=") || pair.starts_with("api_key="))
        }) {
            return Err(AuthFault::InQuery);
        }
        if let Some(local) = self
            .open
            .as_ref()
            .filter(|_| known.roster.roll.changes == 0)
        {
            // Whether there are keys is not known: then there may be.
            return known
                .fresh
                .then(|| local.clone())
                .ok_or(AuthFault::NotKnown);
        }
        let tokens = known.identities.longest();
        let credential = credential_or_token(headers, tokens)?;
        if let Some(parts) = form::read(credential)
            && parts.kind == KeyKind::Client
        {
            if !known.fresh {
                return Err(AuthFault::NotKnown);
            }
            let found = known.roster.client(parts, credential, known.now);
            return found.cloned().map_err(|fault| {
                if fault == KeyFault::Unknown && !known.current {
                    AuthFault::NotKnown
                } else {
                    AuthFault::Issued(fault)
                }
            });
        }
        let digest = peppered(&self.pepper, credential);
        if let Some(client) = self.by_digest.get(&digest) {
            return Ok(client.clone());
        }
        if known.identities.is_empty() || !looks_like_one(credential) {
            return Err(AuthFault::Unknown);
        }
        let now = Now {
            unix: known.now,
            here: known.here,
        };
        let found = known
            .identities
            .client((credential, &digest), known.roster, now);
        found.map_err(|fault| {
            let (wanted, fault) = match fault {
                TokenFault::Refused(fault) => return AuthFault::Token(fault),
                TokenFault::NotKnown(wanted) => (wanted, AuthFault::Awaited),
                TokenFault::Doubtful(wanted) => (wanted, AuthFault::Doubtful),
            };
            if let Some(name) = wanted {
                (known.wanted)(name);
            }
            fault
        })
    }
}

fn peppered(pepper: &digest::Context, credential: &[u8]) -> [u8; 32] {
    let mut digest = pepper.clone();
    digest.update(credential);
    let mut short = [0; 32];
    for (to, from) in short.iter_mut().zip(digest.finish().as_ref()) {
        *to = *from;
    }
    short
}

/// As [`credential_or_token`], of those who have keys.
pub(super) fn credential(headers: &HeaderMap) -> Result<&[u8], AuthFault> {
    credential_or_token(headers, 0)
}

/// The one credential of a request; `longest` of a token, 0 where none is taken. Two that differ are refused: which one counts would be a guess.
fn credential_or_token(headers: &HeaderMap, longest: usize) -> Result<&[u8], AuthFault> {
    let mut found: Option<&[u8]> = None;
    for (name, value) in headers {
        let candidate = if *name == AUTHORIZATION {
            let (scheme, rest) = value
                .as_bytes()
                .split_at_checked(7)
                .ok_or(AuthFault::Malformed)?;
            if !scheme.eq_ignore_ascii_case(b"bearer ") {
                return Err(AuthFault::Malformed);
            }
            rest
        } else if KEY_HEADERS.contains(&name.as_str()) {
            value.as_bytes()
        } else {
            continue;
        };
        let candidate = candidate.trim_ascii();
        let candidate = candidate.strip_prefix(b"Bearer ").unwrap_or(candidate);
        if longest > 0 && candidate.len() > longest && may_become_one(candidate) {
            return Err(AuthFault::Token(Fault::TooLong));
        }
        if candidate.is_empty()
            || candidate.len() > longest.max(LONGEST_KEY)
            || !candidate.iter().all(u8::is_ascii_graphic)
        {
            return Err(AuthFault::Malformed);
        }
        if found.is_some_and(|before| before != candidate) {
            return Err(AuthFault::Several);
        }
        found = Some(candidate);
    }
    found.ok_or(AuthFault::Missing)
}

const PLACES: usize = 1_024;
const MOST_GUESSES: u64 = 30;
const MINUTE: u64 = 60;

/// Counts failed keys per address and minute, in a table that cannot grow (attack A02).
pub struct GuessLimiter {
    /// Minute (upper half) and count (lower half).
    counts: Box<[AtomicU64]>,
}

impl Default for GuessLimiter {
    fn default() -> Self {
        Self {
            counts: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl GuessLimiter {
    fn place(&self, address: IpAddr) -> Option<&AtomicU64> {
        let bits = match address {
            IpAddr::V4(address) => u64::from(u32::from(address)),
            // A household has a /64 of its own.
            IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
        };
        let mixed = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.counts
            .get(usize::try_from(mixed % PLACES as u64).unwrap_or_default())
    }

    pub(super) fn failed(&self, address: IpAddr, now: Moment) {
        let minute = now.whole_secs() / MINUTE;
        if let Some(place) = self.place(address) {
            let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
                Some(if packed >> 32 == minute {
                    packed + 1
                } else {
                    (minute << 32) | 1
                })
            });
        }
    }

    pub(super) fn is_guessing(&self, address: IpAddr, now: Moment) -> bool {
        let minute = now.whole_secs() / MINUTE;
        self.place(address).is_some_and(|place| {
            let packed = place.load(Ordering::Relaxed);
            packed >> 32 == minute && (packed & u64::from(u32::MAX)) > MOST_GUESSES
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::policy::jwt::forge::{Signer, set};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn e8_every_usual_header_is_understood() {
        for name in [
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "x-litellm-api-key",
            "x-portkey-api-key",
        ] {
            assert_eq!(
                credential(&headers(&[(name, "sk-1")])),
                Ok(b"sk-1".as_slice()),
                "{name}"
            );
        }
        assert_eq!(
            credential(&headers(&[("authorization", "bearer sk-1")])),
            Ok(b"sk-1".as_slice())
        );
        let twice = headers(&[("authorization", "Bearer sk-1"), ("x-api-key", "sk-1")]);
        assert_eq!(credential(&twice), Ok(b"sk-1".as_slice()));
    }

    #[test]
    fn a01_odd_keys_are_refused() {
        for (pairs, fault) in [
            (vec![], AuthFault::Missing),
            (vec![("authorization", "Basic eDp5")], AuthFault::Malformed),
            (vec![("authorization", "Bearer ")], AuthFault::Malformed),
            (vec![("authorization", "Bearer a b")], AuthFault::Malformed),
            (vec![("x-api-key", "")], AuthFault::Malformed),
            (
                vec![("authorization", "Bearer a"), ("x-api-key", "b")],
                AuthFault::Several,
            ),
        ] {
            assert_eq!(credential(&headers(&pairs)), Err(fault), "{pairs:?}");
        }
        let long = "x".repeat(LONGEST_KEY + 1);
        assert_eq!(
            credential(&headers(&[("x-api-key", &long)])),
            Err(AuthFault::Malformed)
        );
        let keys = ClientKeys::new(&Settings::default());
        let known = Known {
            roster: &Roster::default(),
            identities: &Identities::default(),
            wanted: &|_| {},
            here: Moment::START,
            fresh: true,
            current: true,
            now: 0,
        };
        let asked = keys.identify(known, &HeaderMap::new(), Some("a=1&key=sk-1"));
        assert_eq!(asked.unwrap_err(), AuthFault::InQuery);
    }

    /// An issuer that has told one key, and nothing since.
    fn issuer(signer: &Signer) -> (ClientKeys, Identities) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[identities.corp]\nissuer = \"https://login.example\"\naudiences = [\"gw\"]\nalgorithms = [\"EdDSA\"]\n";
        std::fs::write(file.path(), text).unwrap();
        let file = Some(file.path().to_owned());
        let settings = Source { file }.load().unwrap();
        let all = &settings.identities;
        let known = Identities::merge(all, &Identities::default(), Moment::START);
        let known = known.with_keys(&all[0], &Arc::new(set(&[signer.jwk("k1")])));
        (ClientKeys::new(&settings), known)
    }

    #[test]
    fn x12_a_token_that_no_known_key_has_signed_waits_for_its_issuer_and_counts_as_a_guess() {
        let (signer, thief) = (Signer::ed(), Signer::ed());
        let (keys, identities) = issuer(&signer);
        let found = |token: &str, here: u64| {
            let asked = std::cell::Cell::new(0);
            let known = Known {
                roster: &Roster::default(),
                identities: &identities,
                wanted: &|_| asked.set(asked.get() + 1),
                here: Moment::from_secs(here),
                fresh: true,
                current: true,
                now: 1_800_000_000,
            };
            let key = headers(&[("x-api-key", token)]);
            (keys.identify(known, &key, None).unwrap_err(), asked.get())
        };
        let claims = serde_json::json!({"iss": "https://login.example", "aud": "gw", "sub": "ada", "exp": 1_800_000_090});
        let token = |id: &str| {
            let header = serde_json::json!({"alg": "EdDSA", "kid": id});
            thief.token(&header, &claims)
        };
        let (named, signed) = (token("k2"), token("k1"));
        assert_eq!(found(&named, 10), (AuthFault::Token(Fault::Key), 0));
        assert_eq!(found(&signed, 10), (AuthFault::Token(Fault::Signature), 0));
        assert_eq!(found(&named, 40), (AuthFault::Doubtful, 1));
        assert_eq!(found(&signed, 40), (AuthFault::Awaited, 1));
        identities.all()[0].ask(Moment::from_secs(40));
        assert_eq!(found(&named, 45), (AuthFault::Doubtful, 0));
        assert_eq!(found(&signed, 45), (AuthFault::Awaited, 0));
        // Who does not answer for so long cannot be waited for by whoever sends what he likes.
        assert_eq!(found(&signed, 71), (AuthFault::Doubtful, 1));
        identities.all()[0].confirm(Moment::from_secs(80));
        assert_eq!(found(&signed, 81), (AuthFault::Token(Fault::Signature), 0));
        assert_eq!(found(&signed, 111), (AuthFault::Awaited, 1));
        for (fault, is_guess) in [(AuthFault::Doubtful, true), (AuthFault::Awaited, false)] {
            assert_eq!(fault.is_guess(), is_guess);
            assert!(fault.awaited().is_some_and(|text| text.contains("issuer")));
        }
        assert!(!AuthFault::NotKnown.awaited().unwrap().contains("issuer"));
    }

    #[test]
    fn a02_guessing_is_limited_per_address_and_minute() {
        let limiter = GuessLimiter::default();
        let (guesser, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let now = Moment::from_secs(120);
        for _ in 0..=MOST_GUESSES {
            limiter.failed(guesser, now);
        }
        assert!(limiter.is_guessing(guesser, now));
        assert!(!limiter.is_guessing(other, now));
        assert!(!limiter.is_guessing(guesser, Moment::from_secs(180)));
    }
}
