//! What a proven token says.

use serde_json::{Map, Value};

use super::{Fault, Rules};

/// Where a claim stands: a name as it is written, or behind a `/` a path into nested ones (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName(String);

/// The claims of a token that stood every check. Nobody else makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    members: Value,
    /// When it ends, in unix seconds.
    pub until: u64,
}

impl ClaimName {
    /// `None` for what names nothing.
    pub fn read(text: &str) -> Option<Self> {
        let plain = !text.is_empty() && text.len() <= 256 && !text.contains(char::is_control);
        plain.then(|| Self(text.to_owned()))
    }
}

impl Claims {
    pub(super) fn in_force(
        members: Map<String, Value>,
        rules: &Rules,
        now: u64,
    ) -> Result<Self, Fault> {
        let time = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or(Fault::Claim),
        };
        let until = time("exp")?.ok_or(Fault::Expired)?;
        if now >= until.saturating_add(rules.leeway) {
            return Err(Fault::Expired);
        }
        let latest = now.saturating_add(rules.leeway);
        // One that was issued tomorrow was issued by a clock that cannot be trusted with its end either.
        for begins in [time("nbf")?, time("iat")?].into_iter().flatten() {
            if begins > latest {
                return Err(Fault::NotYet);
            }
        }
        let is_ours = |one: &Value| {
            let one = one.as_str();
            one.is_some_and(|one| rules.audiences.iter().any(|ours| ours == one))
        };
        let is_for_us = match members.get("aud") {
            Some(Value::Array(many)) => many.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !is_for_us {
            return Err(Fault::Audience);
        }
        Ok(Self {
            members: Value::Object(members),
            until,
        })
    }

    fn get(&self, name: &ClaimName) -> Option<&Value> {
        if name.0.starts_with('/') {
            self.members.pointer(&name.0)
        } else {
            self.members.get(&name.0)
        }
    }

    /// A claim that says one thing; a list of one says one thing, too.
    pub fn text(&self, name: &ClaimName) -> Option<&str> {
        let said = self.get(name)?;
        let one = match said.as_array().map(Vec::as_slice) {
            Some([one]) => one,
            Some(_) => return None,
            None => said,
        };
        one.as_str()
    }

    /// A claim that says several: a list, or words with spaces between as in `scope`. `None` when it is not there.
    pub fn texts(&self, name: &ClaimName) -> Option<Vec<&str>> {
        match self.get(name)? {
            Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect()),
            Value::String(words) => Some(words.split_ascii_whitespace().collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        }
    }

    /// Whether a claim is one of these, or a list that holds one.
    pub fn says(&self, name: &ClaimName, wanted: &[Value]) -> bool {
        match self.get(name) {
            Some(Value::Array(many)) => many.iter().any(|one| wanted.contains(one)),
            Some(one) => wanted.contains(one),
            None => false,
        }
    }
}

/// A time as tokens have it (RFC 7519, `NumericDate`), in whole seconds.
fn seconds(value: &Value) -> Option<u64> {
    /// Beyond it seconds are no whole numbers to everyone any more.
    const LATEST: u64 = 1 << 53;
    let whole = value.as_u64().or_else(|| {
        let seconds = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "judged to lie within what fits"
        )]
        (0.0..LATEST as f64)
            .contains(&seconds)
            .then_some(seconds as u64)
    })?;
    (whole < LATEST).then_some(whole)
}
