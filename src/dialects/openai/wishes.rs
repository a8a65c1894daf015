//! Where a request says it may go: fields that other gateways taught clients, for us and no provider.
//!
//! They only ever narrow or order what the client's key and the configuration allow. A demand that is not kept here is
//! refused rather than forgotten: who asks for a provider that keeps nothing must not be sent to one that does.

use serde_json::{Map, Value};

use super::peek::RequestError;
use crate::domain::Preference;

/// Names a request may list.
const MOST: usize = 8;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Models that may serve when the one asked for cannot, in this order.
    pub fallbacks: Vec<String>,
    /// The configured fallbacks of a model are not to be used.
    pub no_fallbacks: bool,
    /// Most that may be tried again; `None` leaves it to the configuration, which is the upper bound.
    pub retries: Option<u32>,
    pub preference: Preference,
    /// What it used, and what that cost, is to be told with the answer.
    pub cost: bool,
}

impl Wishes {
    /// Takes what one of our own fields says.
    pub(super) fn read(&mut self, key: &str, value: &[u8]) -> Result<(), RequestError> {
        let wanted = [
            "models",
            "fallbacks",
            "disable_fallbacks",
            "num_retries",
            "provider",
            "usage",
        ];
        if !wanted.contains(&key) {
            return Ok(());
        }
        // It was scanned before, so it is JSON and not deep.
        let value: Value = serde_json::from_slice(value).unwrap_or_default();
        match (key, value) {
            ("models", Value::Array(list)) => self.named("models", list)?,
            ("fallbacks", Value::Array(list)) => self.named("fallbacks", list)?,
            ("disable_fallbacks", Value::Bool(off)) => self.no_fallbacks |= off,
            ("num_retries", Value::Number(count)) => {
                let count = count.as_u64().and_then(|count| u32::try_from(count).ok());
                self.retries = Some(count.ok_or_else(|| {
                    RequestError::at("num_retries", "\"num_retries\" must be 0 or more")
                })?);
            }
            ("provider", Value::Object(fields)) => self.provider(fields)?,
            ("usage", Value::Object(fields)) => {
                self.cost = fields.get("include").and_then(Value::as_bool) == Some(true);
            }
            ("provider" | "disable_fallbacks" | "num_retries" | "usage", _) | (_, Value::Null) => {}
            _ => {
                return Err(RequestError::at(
                    if key == "models" {
                        "models"
                    } else {
                        "fallbacks"
                    },
                    format!("{key:?} must be a list of models' names"),
                ));
            }
        }
        Ok(())
    }

    fn named(&mut self, param: &'static str, list: Vec<Value>) -> Result<(), RequestError> {
        if self.fallbacks.len() + list.len() > MOST {
            return Err(RequestError::at(
                param,
                format!("a request may name at most {MOST} models beside its own"),
            ));
        }
        for one in list {
            let name = match one {
                Value::String(name) => Some(name),
                // With settings of its own, of which the name counts.
                Value::Object(mut fields) => match fields.remove("model") {
                    Some(Value::String(name)) => Some(name),
                    _ => None,
                },
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
            };
            let wrong = || {
                RequestError::at(
                    param,
                    format!(
                        "{param:?} must hold models' names, or objects with one under \"model\""
                    ),
                )
            };
            let name = super::peek::printable(name.ok_or_else(wrong)?).map_err(|_| wrong())?;
            self.fallbacks.push(name);
        }
        Ok(())
    }

    fn provider(&mut self, fields: Map<String, Value>) -> Result<(), RequestError> {
        let wanted = &mut self.preference;
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("order", value) => wanted.order = names("provider.order", &value)?,
                ("only", value) => wanted.only = names("provider.only", &value)?,
                ("ignore", value) => wanted.ignore = names("provider.ignore", &value)?,
                ("allow_fallbacks", Value::Bool(allowed)) => wanted.order_only = !allowed,
                ("data_collection", value) if value == "deny" => {
                    return Err(unkept("provider.data_collection"));
                }
                ("zdr", Value::Bool(true)) => return Err(unkept("provider.zdr")),
                ("enforce_distillable_text", Value::Bool(true)) => {
                    return Err(unkept("provider.enforce_distillable_text"));
                }
                ("max_price", Value::Object(_)) => return Err(unkept("provider.max_price")),
                ("quantizations", Value::Array(list)) if !list.is_empty() => {
                    return Err(unkept("provider.quantizations"));
                }
                // Preferences, and what nobody has heard of.
                _ => {}
            }
        }
        Ok(())
    }
}

fn unkept(param: &'static str) -> RequestError {
    RequestError::at(
        param,
        format!(
            "this gateway cannot promise {param:?}; name the providers that may serve in \"provider.only\""
        ),
    )
}

fn names(param: &'static str, value: &Value) -> Result<Vec<String>, RequestError> {
    let wrong = || {
        RequestError::at(
            param,
            format!("{param:?} must be a list of providers' names"),
        )
    };
    if value.is_null() {
        return Ok(Vec::new());
    }
    let list = value.as_array().filter(|list| list.len() <= 32);
    let names = list.ok_or_else(wrong)?.iter().map(|one| {
        let name = one.as_str().filter(|name| !name.is_empty());
        name.map(str::to_owned).ok_or_else(wrong)
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: &[(&str, Value)]) -> Result<Wishes, RequestError> {
        let mut wishes = Wishes::default();
        for (key, value) in fields {
            wishes.read(key, value.to_string().as_bytes())?;
        }
        Ok(wishes)
    }

    #[test]
    fn e9_wishes_of_other_gateways_are_understood() {
        let wishes = read(&[
            ("models", json!(["a", "b"])),
            ("fallbacks", json!(["c", {"model": "d", "temperature": 1}])),
            ("num_retries", json!(0)),
            ("disable_fallbacks", json!(true)),
            ("usage", json!({"include": true})),
            (
                "provider",
                json!({"order": ["x"], "only": ["x", "y"], "ignore": ["z"], "allow_fallbacks": false, "sort": "price", "zdr": false, "new": 1}),
            ),
        ])
        .unwrap();
        assert_eq!(wishes.fallbacks, ["a", "b", "c", "d"]);
        assert_eq!((wishes.retries, wishes.no_fallbacks), (Some(0), true));
        assert!(wishes.cost);
        let wanted = wishes.preference;
        assert_eq!(
            (wanted.order, wanted.order_only),
            (vec!["x".to_owned()], true)
        );
        assert_eq!((wanted.only.len(), wanted.ignore.len()), (2, 1));
    }

    #[test]
    fn e9_what_is_not_understood_is_ignored_and_what_is_not_kept_is_refused() {
        let nothing = read(&[
            ("provider", json!("openai")),
            ("provider", json!(null)),
            ("models", json!(null)),
            ("num_retries", json!("many")),
            ("cache", json!({"ttl": 1})),
            ("usage", json!(true)),
            ("usage", json!({"include": "yes"})),
        ]);
        assert_eq!(nothing.unwrap(), Wishes::default());
        for (field, at) in [
            (json!({"zdr": true}), "provider.zdr"),
            (
                json!({"data_collection": "deny"}),
                "provider.data_collection",
            ),
            (json!({"max_price": {"prompt": 1}}), "provider.max_price"),
            (json!({"quantizations": ["fp8"]}), "provider.quantizations"),
            (json!({"only": "openai"}), "provider.only"),
            (json!({"order": [""]}), "provider.order"),
        ] {
            assert_eq!(read(&[("provider", field)]).unwrap_err().param, Some(at));
        }
        for (key, value) in [
            ("models", json!("a")),
            ("fallbacks", json!([7])),
            ("fallbacks", json!([{"a": ["b"]}])),
            ("models", json!(["a\u{0}"])),
            ("models", json!(vec!["a"; 9])),
            ("num_retries", json!(-1)),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err().param, Some(key));
        }
    }
}
