//! One request as the mock received it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::dialect::{Dialect, bedrock, gemini};
use super::form;
use crate::http1::{self, Fields};

/// One request as the mock received it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// What the mock speaks.
    pub dialect: Dialect,
    /// 1 for the first request this mock saw.
    pub number: u64,
    /// 1 for the first connection this mock accepted.
    pub connection: u64,
    /// 0 for the first request on its connection.
    pub reuse: u64,
    /// When the whole request had arrived, since the mock's start.
    pub at: Duration,
    pub method: String,
    /// With the query, as sent.
    pub path: String,
    pub fields: Fields,
    /// The body with its framing taken off, byte for byte.
    pub body: Bytes,
    /// `Null` when the body is not JSON.
    pub json: Value,
}

impl Asked {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http1::field(&self.fields, name)
    }

    /// The provider key, from wherever the dialect has it.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        let bearer = self
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        let signed = self.header("authorization").and_then(bedrock::access_key);
        let key = match self.dialect {
            Dialect::Bedrock => signed.or(bearer),
            Dialect::Cohere | Dialect::Ollama => bearer,
            Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => bearer
                .or_else(|| self.header("x-api-key"))
                .or_else(|| self.header("api-key")),
            Dialect::Gemini => self
                .header("x-goog-api-key")
                .or_else(|| gemini::query_key(&self.path))
                .or(bearer),
        };
        key.map(str::trim)
    }

    /// The model asked for; one in the path is encoded as it stands there.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self.dialect {
            Dialect::OpenAi
            | Dialect::Anthropic
            | Dialect::Responses
            | Dialect::Cohere
            | Dialect::Ollama => {
                let named = self.json.get("model").and_then(Value::as_str);
                named.or_else(|| form::text(self, "model"))
            }
            Dialect::Gemini => gemini::model(self.bare_path()),
            Dialect::Bedrock => bedrock::model(self.bare_path()),
        }
    }

    /// Whether an event stream was asked for.
    #[must_use]
    pub fn streams(&self) -> bool {
        match self.dialect {
            Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses | Dialect::Cohere => {
                self.json.get("stream") == Some(&Value::Bool(true))
            }
            Dialect::Gemini => self.bare_path().ends_with(":streamGenerateContent"),
            Dialect::Bedrock => self.bare_path().ends_with("/converse-stream"),
            // It streams unless told otherwise.
            Dialect::Ollama => self.json.get("stream") != Some(&Value::Bool(false)),
        }
    }

    /// The path without the query.
    #[must_use]
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}
