//! Who signs in tests.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use super::KeySet;

/// A key that is used for tests only.
const PEM: &str = include_str!("../../../tests/gateway/service_account.pem");

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Somebody who signs.
pub(crate) enum Signer {
    Rsa(RsaKeyPair),
    Ec(&'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn rsa() -> Self {
        let inside: String = PEM.lines().filter(|line| !line.contains("--")).collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(inside).unwrap());
        Self::Rsa(key.unwrap())
    }

    pub(crate) fn p256() -> Self {
        Self::ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(crate) fn ec(
        curve: &'static str,
        how: &'static ring::signature::EcdsaSigningAlgorithm,
    ) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(how, key.as_ref(), &random).unwrap();
        Self::Ec(curve, key)
    }

    pub(crate) fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    pub(crate) fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                let (n, e) = (b64(public.n), b64(public.e));
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": n, "e": e})
            }
            Self::Ec(curve, key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "kid": id, "x": b64(x), "y": b64(y)})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": b64(key.public_key())})
            }
        }
    }

    fn sign(&self, header: &Value, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                if header["alg"] == "PS256" {
                    key.sign(&RSA_PSS_SHA256, &random, text, &mut signature)
                } else {
                    key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                }
                .unwrap();
                signature
            }
            Self::Ec(_, key) => key.sign(&random, text).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(text).as_ref().to_vec(),
        }
    }

    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        self.raw(&header.to_string(), &claims.to_string(), header)
    }

    pub(crate) fn raw(&self, header: &str, claims: &str, how: &Value) -> String {
        let text = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(how, text.as_bytes());
        format!("{text}.{}", b64(signature))
    }
}

pub(crate) fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}
