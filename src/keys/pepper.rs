//! What digests of keys are keyed with: who reads the store alone can neither check a guess nor make a key.

use ring::hmac;

use crate::config::{IssuedKeySettings, StoreSettings};
use crate::store::keys::{Digest, Roll};
use crate::store::{StoreError, embedded};

#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pepper")
    }
}

impl Pepper {
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The operator's, or the one beside the store; with the first key a random one is made there. One that no key was
    /// made with is refused: with it every key would look like a guess. Blocks.
    pub fn load(
        store: &StoreSettings,
        issued: &IssuedKeySettings,
        roll: &Roll,
    ) -> Result<Self, StoreError> {
        let first = roll.keys.is_empty();
        let secret = embedded::pepper(store, issued.pepper.as_ref(), first)?;
        let pepper = Self::new(&secret);
        let mark = pepper.mark();
        if first || roll.keys.values().any(|key| key.pepper == mark) {
            return Ok(pepper);
        }
        Err(StoreError::Key {
            path: store.path.display().to_string(),
            why: "that digests of keys are made with is another one than they were made with; name the old one in keys.pepper, or restore the file beside the store".to_owned(),
        })
    }

    /// Tells it from another, and nothing else.
    pub fn mark(&self) -> String {
        let digest = self.digest(b"the mark of a pepper");
        digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    pub fn digest(&self, text: &[u8]) -> Digest {
        let tag = hmac::sign(&self.0, text);
        let mut digest = Digest::default();
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        digest
    }

    /// Compared in constant time.
    pub fn matches(&self, text: &[u8], digest: &Digest) -> bool {
        hmac::verify(&self.0, text, digest).is_ok()
    }
}
