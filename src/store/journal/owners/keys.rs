//! Keys: one of the installation, one per owner, and the master key they are wrapped with.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::config::Secret;

pub(super) type Key = Zeroizing<[u8; 32]>;

/// What data keys are wrapped with, from a secret that the journal's folder does not hold.
pub(super) struct Master {
    key: Key,
    /// Tells one master key from another and says nothing of it.
    pub(super) mark: String,
}

impl Master {
    pub(super) fn new(secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let mark = hmac::sign(&root, b"switchyard journal: mark of the master key");
        Self {
            key: derived(&root, b"switchyard journal: wrapping of data keys"),
            mark: hex(mark.as_ref().get(..8).unwrap_or_default()),
        }
    }

    /// A data key as it may lie on a disk; bound to its owner.
    pub(super) fn wrap(
        &self,
        data: &Key,
        owner: &str,
        random: &dyn SecureRandom,
    ) -> Option<String> {
        Some(hex(&seal(&self.key, owner.as_bytes(), &**data, random)?))
    }

    pub(super) fn unwrap(&self, wrapped: &str, owner: &str) -> Option<Key> {
        let plain = Zeroizing::new(open(&self.key, owner.as_bytes(), &unhex(wrapped)?)?);
        let mut key = Key::default();
        (plain.len() == key.len()).then(|| key.copy_from_slice(&plain))?;
        Some(key)
    }
}

pub(super) fn derived(root: &hmac::Key, purpose: &[u8]) -> Key {
    let mut key = Key::default();
    for (to, from) in key.iter_mut().zip(hmac::sign(root, purpose).as_ref()) {
        *to = *from;
    }
    key
}

pub(super) fn drawn(random: &dyn SecureRandom) -> Option<Key> {
    let mut key = Key::default();
    random.fill(&mut *key).ok()?;
    Some(key)
}

/// AES-256-GCM under a nonce of its own, which stands in front. `None` without randomness.
pub(super) fn seal(
    key: &Key,
    bound_to: &[u8],
    plain: &[u8],
    random: &dyn SecureRandom,
) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce).ok()?;
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &**key).ok()?);
    let mut sealed = plain.to_vec();
    cipher
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound_to),
            &mut sealed,
        )
        .ok()?;
    sealed.splice(0..0, nonce);
    Some(sealed)
}

/// `None` if the key is another, or anything was changed.
pub(super) fn open(key: &Key, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &**key).ok()?);
    let mut plain = sealed.to_vec();
    let length = cipher
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(bound_to),
            &mut plain,
        )
        .ok()?
        .len();
    plain.truncate(length);
    Some(plain)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
