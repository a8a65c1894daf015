//! A JSON schema that structured answers are held against: our own subset of it.
//!
//! # Why a subset
//! What providers' structured output accepts is small: types, properties, items, enumerations, bounds, references
//! into the schema itself. A complete validator fetches addresses, knows formats, and is larger than all the rest
//! of the guard. What a schema says beyond the subset is a mistake that is told when it is read, not ignored.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// References may lead in circles.
const DEEPEST: usize = 64;
/// One value is looked at this often at most, whatever `anyOf` says.
const MOST_STEPS: u32 = 100_000;
const LARGEST_PATTERN: usize = 1 << 20;

/// What this subset understands, and what says nothing about a value.
const KNOWN: &[&str] = &[
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "pattern",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$id",
    "$comment",
    "format",
    "nullable",
    "propertyOrdering",
    "strict",
];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(String);

/// A schema that can be held against values.
#[derive(Clone, Debug)]
pub struct Schema {
    root: Value,
    patterns: BTreeMap<String, Regex>,
}

impl Schema {
    pub fn new(root: Value) -> Result<Self, SchemaError> {
        let mut patterns = BTreeMap::new();
        learn(&root, &mut patterns, DEEPEST)?;
        Ok(Self { root, patterns })
    }

    /// Whether the value is what the schema says.
    pub fn fits(&self, value: &Value) -> bool {
        let mut steps = MOST_STEPS;
        self.is(&self.root, value, DEEPEST, &mut steps)
    }

    fn is(&self, schema: &Value, value: &Value, depth: usize, steps: &mut u32) -> bool {
        let (Some(depth), Some(left)) = (depth.checked_sub(1), steps.checked_sub(1)) else {
            return false;
        };
        *steps = left;
        let schema = match schema {
            Value::Bool(anything) => return *anything,
            Value::Object(schema) => schema,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => return false,
        };
        if schema.get("nullable") == Some(&Value::Bool(true)) && value.is_null() {
            return true;
        }
        if let Some(Value::String(place)) = schema.get("$ref") {
            let found = place
                .strip_prefix('#')
                .and_then(|place| self.root.pointer(place));
            if !found.is_some_and(|found| self.is(found, value, depth, steps)) {
                return false;
            }
        }
        self.says(schema, value)
            && self.combines(schema, value, (depth, steps))
            && self.holds(schema, value, (depth, steps))
    }

    /// What the value itself has to be.
    fn says(&self, schema: &Map<String, Value>, value: &Value) -> bool {
        schema.iter().all(|(word, wanted)| match word.as_str() {
            "type" => match wanted.as_array() {
                Some(several) => several.iter().any(|one| is_of(one, value)),
                None => is_of(wanted, value),
            },
            "enum" => wanted
                .as_array()
                .is_some_and(|several| several.contains(value)),
            "const" => wanted == value,
            "minLength" => length(value).is_none_or(|length| length >= bound(wanted, 0)),
            "maxLength" => length(value).is_none_or(|length| length <= bound(wanted, u64::MAX)),
            "minItems" => items(value).is_none_or(|items| items >= bound(wanted, 0)),
            "maxItems" => items(value).is_none_or(|items| items <= bound(wanted, u64::MAX)),
            "minimum" => compared(value, wanted, |value, bound| value >= bound),
            "maximum" => compared(value, wanted, |value, bound| value <= bound),
            "exclusiveMinimum" => compared(value, wanted, |value, bound| value > bound),
            "exclusiveMaximum" => compared(value, wanted, |value, bound| value < bound),
            "pattern" => match (value, wanted.as_str()) {
                (Value::String(text), Some(pattern)) => self
                    .patterns
                    .get(pattern)
                    .is_some_and(|regex| regex.is_match(text)),
                _ => true,
            },
            _ => true,
        })
    }

    fn combines(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        (depth, steps): (usize, &mut u32),
    ) -> bool {
        for (word, wanted) in schema {
            let mut fitting = |several: &Value| {
                let several = several.as_array().map_or(&[][..], Vec::as_slice);
                let count = several
                    .iter()
                    .filter(|one| self.is(one, value, depth, steps))
                    .count();
                (count, several.len())
            };
            let fits = match word.as_str() {
                "anyOf" => fitting(wanted).0 > 0,
                "oneOf" => fitting(wanted).0 == 1,
                "allOf" => {
                    let (count, all) = fitting(wanted);
                    count == all
                }
                "not" => !self.is(wanted, value, depth, steps),
                _ => true,
            };
            if !fits {
                return false;
            }
        }
        true
    }

    /// What the value has inside.
    fn holds(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        (depth, steps): (usize, &mut u32),
    ) -> bool {
        match value {
            Value::Object(members) => {
                let none = Map::new();
                let known = schema
                    .get("properties")
                    .and_then(Value::as_object)
                    .unwrap_or(&none);
                let required = schema.get("required").and_then(Value::as_array);
                let all_there = required
                    .into_iter()
                    .flatten()
                    .all(|name| name.as_str().is_some_and(|name| members.contains_key(name)));
                let others = schema.get("additionalProperties");
                all_there
                    && members
                        .iter()
                        .all(|(name, member)| match known.get(name).or(others) {
                            Some(wanted) => self.is(wanted, member, depth, steps),
                            None => true,
                        })
            }
            Value::Array(items) => match schema.get("items") {
                Some(wanted) => items.iter().all(|item| self.is(wanted, item, depth, steps)),
                None => true,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match (kind.as_str().unwrap_or_default(), value) {
        ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("null", Value::Null)
        | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => {
            number.is_i64()
                || number.is_u64()
                || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    }
}

fn bound(wanted: &Value, otherwise: u64) -> u64 {
    wanted.as_u64().unwrap_or(otherwise)
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn items(value: &Value) -> Option<u64> {
    value.as_array().map(|items| items.len() as u64)
}

fn compared(value: &Value, wanted: &Value, fits: impl Fn(f64, f64) -> bool) -> bool {
    match (value.as_f64(), wanted.as_f64()) {
        (Some(value), Some(wanted)) => fits(value, wanted),
        _ => true,
    }
}

/// Goes through the schema once: what is not understood is a mistake, and patterns are compiled.
fn learn(
    schema: &Value,
    patterns: &mut BTreeMap<String, Regex>,
    depth: usize,
) -> Result<(), SchemaError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(SchemaError(format!("nests deeper than {DEEPEST}")));
    };
    let Value::Object(members) = schema else {
        let no_object = SchemaError("holds a schema that is no object".to_owned());
        return if schema.is_boolean() {
            Ok(())
        } else {
            Err(no_object)
        };
    };
    for (word, wanted) in members {
        if !KNOWN.contains(&word.as_str()) {
            return Err(SchemaError(format!(
                "says {word:?}, which is not understood here"
            )));
        }
        match (word.as_str(), wanted) {
            ("pattern", Value::String(pattern)) => {
                let regex = RegexBuilder::new(pattern)
                    .size_limit(LARGEST_PATTERN)
                    .build()
                    .map_err(|_| SchemaError("has a pattern that cannot be compiled".to_owned()))?;
                patterns.insert(pattern.clone(), regex);
            }
            ("$ref", Value::String(place)) if !place.starts_with('#') => {
                return Err(SchemaError("refers to another document".to_owned()));
            }
            ("properties" | "$defs" | "definitions", Value::Object(inside)) => {
                for one in inside.values() {
                    learn(one, patterns, depth)?;
                }
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(several)) => {
                for one in several {
                    learn(one, patterns, depth)?;
                }
            }
            ("items" | "additionalProperties" | "not", one) => learn(one, patterns, depth)?,
            _ => {}
        }
    }
    Ok(())
}
