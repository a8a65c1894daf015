//! A token as it came: three parts, of which the last is to prove the others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memchr_iter;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::claims::Claims;
use super::{Fault, KeySet, Rules, json};

/// Whether a credential has the shape of a signed token; says nothing of what is in it.
pub fn looks_like_one(credential: &[u8]) -> bool {
    may_become_one(credential) && memchr_iter(b'.', credential).count() == 2
}

/// A token that was read and is not believed: anyone can write one.
pub struct Unproven<'t> {
    /// What the signature is of.
    signed: &'t [u8],
    signature: Vec<u8>,
    algorithm: Option<Algorithm>,
    /// Which key it says it is signed with.
    key: Option<String>,
    claims: Map<String, Value>,
}

/// The same of one that is too long to be looked at.
pub fn may_become_one(credential: &[u8]) -> bool {
    // So begins what begins a JSON object.
    credential.starts_with(b"e")
}

impl<'t> Unproven<'t> {
    pub fn read(token: &'t [u8]) -> Result<Self, Fault> {
        let mut dots = memchr_iter(b'.', token);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Fault::Malformed);
        };
        let part = |range: std::ops::Range<usize>| {
            let text = token.get(range).ok_or(Fault::Malformed)?;
            // Strict: no padding, no other alphabet, no bits that nobody reads.
            URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Malformed)
        };
        let header = json::object(&part(0..first)?).ok_or(Fault::Malformed)?;
        let claims = json::object(&part(first + 1..second)?).ok_or(Fault::Malformed)?;
        let signature = part(second + 1..token.len())?;
        let (algorithm, key) = heeded(&header)?;
        Ok(Self {
            signed: token.get(..second).ok_or(Fault::Malformed)?,
            signature,
            algorithm,
            key,
            claims,
        })
    }

    /// Who it says has issued it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Believes it, if it stands every check; `now` in unix seconds.
    pub fn proven(self, rules: &Rules, keys: &KeySet, now: u64) -> Result<Claims, Fault> {
        let pinned = |algorithm: &Algorithm| rules.algorithms.contains(algorithm);
        let algorithm = self.algorithm.filter(pinned).ok_or(Fault::Algorithm)?;
        let key = keys.find(self.key.as_deref(), algorithm);
        if !key
            .ok_or(Fault::Key)?
            .has_signed(self.signed, &self.signature)
        {
            return Err(Fault::Signature);
        }
        if self.issuer() != Some(&rules.issuer) {
            return Err(Fault::Issuer);
        }
        Claims::in_force(self.claims, rules, now)
    }
}

/// What counts of a header. A key that it brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) does not.
fn heeded(header: &Map<String, Value>) -> Result<(Option<Algorithm>, Option<String>), Fault> {
    // Whatever it calls critical is not understood here (RFC 7515, 4.1.11).
    if header.contains_key("crit") {
        return Err(Fault::Header);
    }
    if let Some(kind) = header.get("typ") {
        let kind = kind.as_str().ok_or(Fault::Header)?;
        // Other kinds are signed with the same key and mean something else (RFC 8725, 3.11).
        let known = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];
        if !known.iter().any(|one| kind.eq_ignore_ascii_case(one)) {
            return Err(Fault::Header);
        }
    }
    let algorithm = header.get("alg").and_then(Value::as_str);
    let key = match header.get("kid") {
        None => None,
        Some(id) => Some(id.as_str().ok_or(Fault::Header)?.to_owned()),
    };
    Ok((algorithm.and_then(|name| name.parse().ok()), key))
}
