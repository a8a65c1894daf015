//! An issuer's public keys, as a JWK set (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Kind};
use super::json;

/// A larger document is not read.
pub const LARGEST_SET: usize = 1 << 20;
/// More keys than any issuer has at once (ground rule G14).
const MOST_KEYS: usize = 256;
/// Shorter keys can be worked out; ring knows no longer ones.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Every key that can sign for an issuer; those for anything else are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Why a document is no key set to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    #[error("it is no JWK set")]
    Malformed,
    #[error("it holds no public key that can sign")]
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// Compared, and nothing else: no path, no address, no question to a database.
    id: Option<String>,
    /// `None`: whatever its material fits.
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point as ring wants it, and the name of its curve.
    Point(&'static str, Vec<u8>),
}

impl KeySet {
    pub fn parse(bytes: &[u8]) -> Result<Self, NoKeys> {
        if bytes.len() > LARGEST_SET {
            return Err(NoKeys::Malformed);
        }
        let mut set = json::object(bytes).ok_or(NoKeys::Malformed)?;
        let Some(Value::Array(listed)) = set.remove("keys") else {
            return Err(NoKeys::Malformed);
        };
        let members = listed.iter().filter_map(Value::as_object);
        let keys: Vec<Key> = members.filter_map(key).take(MOST_KEYS).collect();
        if keys.is_empty() {
            return Err(NoKeys::Empty);
        }
        Ok(Self { keys })
    }

    /// The key a token says it is signed with. Without an id there must be no choice.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<PublicKey<'_>> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        let found = match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        found.map(|key| PublicKey { key, algorithm })
    }
}

/// A key together with the one algorithm it is used with.
pub(super) struct PublicKey<'a> {
    key: &'a Key,
    algorithm: Algorithm,
}

impl PublicKey<'_> {
    pub(super) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match (self.algorithm.kind(), &self.key.material) {
            (Kind::Rsa(how), Material::Rsa { modulus, exponent }) => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(how, text, signature).is_ok()
            }
            (Kind::Curve(_, how), Material::Point(_, point)) => {
                let key = UnparsedPublicKey::new(how, point);
                key.verify(text, signature).is_ok()
            }
            (Kind::Rsa(_), Material::Point(..)) | (Kind::Curve(..), Material::Rsa { .. }) => false,
        }
    }
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match (algorithm.kind(), &self.material) {
            (Kind::Rsa(_), Material::Rsa { .. }) => true,
            (Kind::Curve(wanted, _), Material::Point(curve, _)) => wanted == *curve,
            (Kind::Rsa(_), Material::Point(..)) | (Kind::Curve(..), Material::Rsa { .. }) => false,
        };
        kind && self.only.is_none_or(|only| only == algorithm)
    }
}

/// One key, if it signs and can be read.
fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let is_to_sign = jwk.get("use").is_none_or(|used| used == "sig");
    let checks = |doing: &Value| {
        let doing = doing.as_array();
        doing.is_some_and(|doing| doing.iter().any(|one| one == "verify"))
    };
    // Who publishes the other half has nothing left to prove with.
    if !is_to_sign || !jwk.get("key_ops").is_none_or(checks) || jwk.contains_key("d") {
        return None;
    }
    let only = match jwk.get("alg") {
        None => None,
        Some(alg) => Some(alg.as_str()?.parse().ok()?),
    };
    let id = match jwk.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let material = match text("kty")? {
        "RSA" => rsa(&number("n")?, &number("e")?)?,
        "EC" => {
            let (curve, length) = match text("crv")? {
                "P-256" => ("P-256", 32),
                "P-384" => ("P-384", 48),
                _ => return None,
            };
            let (x, y) = (number("x")?, number("y")?);
            if x.len() != length || y.len() != length {
                return None;
            }
            // Uncompressed; whether it lies on the curve is seen when it is used.
            Material::Point(curve, [&[4], &x[..], &y[..]].concat())
        }
        "OKP" if text("crv")? == "Ed25519" => {
            let x = number("x")?;
            (x.len() == 32).then_some(Material::Point("Ed25519", x))?
        }
        _ => return None,
    };
    Some(Key { id, only, material })
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Material> {
    let modulus = without_zeros(modulus);
    let spare = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    let bits = (modulus.len() * 8).checked_sub(spare)?;
    RSA_BITS.contains(&bits).then(|| Material::Rsa {
        modulus: modulus.to_vec(),
        exponent: without_zeros(exponent).to_vec(),
    })
}

/// Some issuers write the sign of a number that has none.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
