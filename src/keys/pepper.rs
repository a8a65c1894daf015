//! What digests of keys are keyed with: who reads the store alone can neither check a guess nor make a key.

use ring::hmac;

use crate::config::{IssuedKeySettings, StoreSettings};
use crate::store::keys::Digest;
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

    /// The operator's, or the one beside the store; that is made when `create` is set. Blocks.
    pub fn load(
        store: &StoreSettings,
        issued: &IssuedKeySettings,
        create: bool,
    ) -> Result<Self, StoreError> {
        let secret = embedded::pepper(store, issued.pepper.as_ref(), create)?;
        Ok(Self::new(&secret))
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
