//! Webhooks as their receiver read them, signed as standardwebhooks.com says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::hmac;
use serde_json::Value;

use crate::scenario::nanos;

/// What a receiver said to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Taken,
    /// Taken, but so late that the sender may not have heard it.
    Late,
    Error,
    /// Nothing, until the sender had enough.
    Silence,
}

/// One webhook as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The receiver's name.
    pub to: String,
    pub at_ms: u64,
    /// When it came, in seconds since 1970.
    pub unix: i64,
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: Bytes,
    pub reply: Reply,
}

/// What a webhook says of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub account: String,
    pub percent: u8,
    /// In nano-dollars.
    pub limit: u64,
    pub spent: u64,
    pub hard: bool,
    /// All of it is spent.
    pub exhausted: bool,
}

/// A signature is of no use to whoever finds it later.
const MOST_SECONDS_OLD: u64 = 60;

impl Delivery {
    /// Whether it is signed by whoever knows the secret, just now.
    #[must_use]
    pub fn is_signed(&self, secret: &str) -> bool {
        let known = signature(secret, &self.id, &self.timestamp, &self.body);
        let seconds: Option<i64> = self.timestamp.parse().ok();
        let age = seconds.map(|seconds| self.unix.abs_diff(seconds));
        self.signature == known && age.is_some_and(|age| age <= MOST_SECONDS_OLD)
    }

    /// `None` for a body of another form, or of another id than its head says.
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let data = body.get("data")?;
        let text = |name: &str| data.get(name)?.as_str();
        let exhausted = match body.get("type")?.as_str()? {
            "budget.reached" => false,
            "budget.exhausted" => true,
            _ => return None,
        };
        if body.get("id")?.as_str()? != self.id {
            return None;
        }
        Some(Said {
            account: text("account")?.to_owned(),
            percent: u8::try_from(data.get("percent")?.as_u64()?).ok()?,
            limit: nanos(text("limit_usd")?)?,
            spent: nanos(text("spent_usd")?)?,
            hard: data.get("hard")?.as_bool()?,
            exhausted,
        })
    }
}

/// HMAC-SHA-256 over `id.timestamp.body`.
#[must_use]
pub fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut signed = hmac::Context::with_key(&key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        signed.update(part);
    }
    format!("v1,{}", STANDARD.encode(signed.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's own libraries, whose secret is base64 behind `whsec_`.
    #[test]
    fn m2_the_signature_is_the_one_of_standard_webhooks() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        let known = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(STANDARD.encode(hmac::sign(&key, signed)), known);
        // As text it is the key itself.
        let own = signature("secret", "a", "1", b"{}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let digest = STANDARD.encode(hmac::sign(&key, b"a.1.{}"));
        assert_eq!(own, format!("v1,{digest}"));
    }

    #[test]
    fn m2_a_form_that_is_not_known_says_nothing() {
        let body = r#"{"id": "a", "type": "budget.reached", "data": {"account": "acme", "percent": 80,
            "spent_usd": "0.8", "limit_usd": "1", "hard": true}}"#;
        let delivery = |id: &str, body: &str| Delivery {
            to: "finance".to_owned(),
            at_ms: 0,
            unix: 1_000,
            id: id.to_owned(),
            timestamp: "990".to_owned(),
            signature: signature("secret", id, "990", body.as_bytes()),
            body: Bytes::copy_from_slice(body.as_bytes()),
            reply: Reply::Taken,
        };
        let said = delivery("a", body).said().unwrap();
        assert_eq!(
            (said.percent, said.spent, said.limit),
            (80, 800_000_000, 1_000_000_000)
        );
        assert_eq!(delivery("b", body).said(), None);
        assert_eq!(delivery("a", "{}").said(), None);
        let one = delivery("a", body);
        assert!(one.is_signed("secret") && !one.is_signed("other"));
        let old = Delivery {
            unix: 2_000,
            ..one.clone()
        };
        assert!(!old.is_signed("secret"));
        let forged = Delivery {
            body: Bytes::from_static(b"{}"),
            ..one
        };
        assert!(!forged.is_signed("secret"));
    }
}
