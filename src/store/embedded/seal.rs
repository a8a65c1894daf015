//! What clients said is sealed before it reaches the file.
//!
//! # Form
//! `1 | salt (16) | ChaCha20-Poly1305`. The key of each record is derived from the store's key and the salt by
//! HKDF-SHA256, so none is ever used twice and the nonce may be zero. The place of a record is authenticated with
//! it: nothing that was moved to another owner, row or column opens.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::store::StoreError;

const FORM: u8 = 1;
const SALT: usize = 16;
const HEAD: usize = 1 + SALT;
const DOMAIN: &[u8] = b"switchyard store";

/// Opens and seals with one key.
pub(super) struct Sealer {
    key: Prk,
    random: SystemRandom,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self {
            key: Salt::new(HKDF_SHA256, DOMAIN).extract(secret),
            random: SystemRandom::new(),
        }
    }

    pub(super) fn seal(&self, place: &[&str], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut sealed = Vec::with_capacity(HEAD + plain.len() + CHACHA20_POLY1305.tag_len());
        let mut salt = [0; SALT];
        self.random.fill(&mut salt).map_err(|_| no_random())?;
        sealed.push(FORM);
        sealed.extend_from_slice(&salt);
        let key = self.record_key(&salt)?;
        let mut text = plain.to_vec();
        key.seal_in_place_append_tag(zero(), aad(place), &mut text)
            .map_err(|_| StoreError::Unreadable)?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    pub(super) fn open(&self, place: &[&str], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (head, text) = sealed
            .split_at_checked(HEAD)
            .ok_or(StoreError::Unreadable)?;
        let Some((&FORM, salt)) = head.split_first() else {
            return Err(StoreError::Unreadable);
        };
        let mut text = text.to_vec();
        let opened = self
            .record_key(salt)?
            .open_in_place(zero(), aad(place), &mut text)
            .map_err(|_| StoreError::Unreadable)?
            .len();
        text.truncate(opened);
        Ok(text)
    }

    fn record_key(&self, salt: &[u8]) -> Result<LessSafeKey, StoreError> {
        let info = [salt];
        let derived = self.key.expand(&info, &CHACHA20_POLY1305);
        let key = UnboundKey::from(derived.map_err(|_| StoreError::Unreadable)?);
        Ok(LessSafeKey::new(key))
    }
}

fn no_random() -> StoreError {
    StoreError::Failed {
        why: "the system gives no random numbers".to_owned(),
    }
}

fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Each part with its length, so that no two places read the same.
fn aad(place: &[&str]) -> Aad<Vec<u8>> {
    let mut whole = Vec::new();
    for part in place {
        whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
        whole.extend_from_slice(part.as_bytes());
    }
    Aad::from(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_only_and_looks_different_each_time() {
        let sealer = Sealer::new(b"one key");
        let place = ["responses", "app", "resp_1"];
        let sealed = sealer.seal(&place, b"a secret").unwrap();
        assert_eq!(sealer.open(&place, &sealed).unwrap(), b"a secret");
        assert_ne!(sealed, sealer.seal(&place, b"a secret").unwrap());
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        for other in [
            ["responses", "app", "resp_2"],
            ["responses", "apprs", "resp_1"],
            ["responsesa", "pp", "resp_1"],
        ] {
            assert_eq!(sealer.open(&other, &sealed), Err(StoreError::Unreadable));
        }
        let other = Sealer::new(b"another key");
        assert_eq!(other.open(&place, &sealed), Err(StoreError::Unreadable));
    }

    #[test]
    fn a_changed_or_cut_record_does_not_open() {
        let sealer = Sealer::new(b"one key");
        let sealed = sealer.seal(&["a"], b"text").unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(
                sealer.open(&["a"], &changed),
                Err(StoreError::Unreadable),
                "{place}"
            );
            assert_eq!(
                sealer.open(&["a"], &sealed[..place]),
                Err(StoreError::Unreadable),
                "{place}"
            );
        }
    }
}
