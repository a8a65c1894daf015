//! Records as their readers get them, and how each field is read from JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::Asked;
use crate::domain::{Operation, RequestId, ServiceTier, Tokens, Usage};

// Who asked stands in intent and outcome field by field: serde's flatten would read every member twice.

/// The fields are those of [`IntentRecord`](super::IntentRecord).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReadIntent {
    pub at: u64,
    #[serde(deserialize_with = "request", serialize_with = "as_text")]
    pub request: RequestId,
    pub client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub asked: String,
    #[serde(default)]
    pub lane: String,
    #[serde(default)]
    pub stream: bool,
    #[serde(default)]
    pub input_estimate: u64,
    #[serde(default)]
    pub max_output: u64,
    #[serde(
        default,
        deserialize_with = "hex",
        serialize_with = "as_hex",
        skip_serializing_if = "Option::is_none"
    )]
    pub config: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_nano: Option<u64>,
    /// `None`: as much as was reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_bill_nano: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_nano: Option<u64>,
    /// `None`: as much as it may come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_bill_nano: Option<u64>,
    #[serde(
        default,
        deserialize_with = "hex",
        serialize_with = "as_hex",
        skip_serializing_if = "Option::is_none"
    )]
    pub price: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<String>,
}

/// The fields are those of [`AttemptRecord`](super::AttemptRecord).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReadAttempt {
    pub at: u64,
    #[serde(deserialize_with = "request", serialize_with = "as_text")]
    pub request: RequestId,
    pub number: u32,
    pub provider: String,
    pub model: String,
    #[serde(default)]
    pub key: String,
    pub outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<f64>,
    #[serde(default)]
    pub took_ms: f64,
    #[serde(
        default,
        deserialize_with = "usage",
        skip_serializing_if = "Option::is_none"
    )]
    pub usage: Option<Usage>,
    /// Not written before there was a discount that it matters for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    #[serde(default)]
    pub won: bool,
    #[serde(default)]
    pub second_leg: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano: Option<u64>,
    /// `None`: what it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged_nano: Option<u64>,
    /// `None`: what it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_nano: Option<u64>,
    /// `None` in journals of before: its price cannot be reckoned again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// `None`: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReadAttempt {
    /// What its price rests on beside its usage, where that was recorded.
    pub fn asked(&self) -> Option<Asked> {
        let label = self.operation.as_deref()?;
        let mut all = Operation::ALL.into_iter();
        Some(Asked {
            // Those of one label have one price.
            operation: all.find(|operation| operation.label() == label)?,
            choices: self.choices.unwrap_or(1),
            tier: self.asked_tier.as_deref().and_then(ServiceTier::of),
        })
    }
}

/// The fields are those of [`OutcomeRecord`](super::OutcomeRecord).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReadOutcome {
    pub at: u64,
    #[serde(deserialize_with = "request", serialize_with = "as_text")]
    pub request: RequestId,
    /// Empty in journals of the first release.
    #[serde(default)]
    pub client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub how: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    #[serde(
        default,
        deserialize_with = "usage",
        skip_serializing_if = "Option::is_none"
    )]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<f64>,
    #[serde(default)]
    pub took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub race: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano: Option<u64>,
    /// `None`: what it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged_nano: Option<u64>,
    #[serde(default)]
    pub cost_estimated: bool,
}

/// More was set aside than the intent said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ReadReserve {
    pub(super) more_nano: u64,
    /// `None`: as much.
    pub(super) more_bill_nano: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadEvent {
    pub name: String,
    #[serde(default)]
    pub subject: String,
    #[serde(default)]
    pub detail: String,
}

/// A kept text, sealed; [`TextReader`](super::TextReader) opens it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadText {
    #[serde(deserialize_with = "request")]
    pub request: RequestId,
    pub part: String,
    pub owner: String,
    pub bytes: u64,
    #[serde(default)]
    pub cut: bool,
    #[serde(deserialize_with = "base64")]
    pub sealed: Vec<u8>,
}

fn request<'de, D: Deserializer<'de>>(from: D) -> Result<RequestId, D::Error> {
    let text = <&str>::deserialize(from)?;
    text.strip_prefix("sy-")
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .map(RequestId::from_draw)
        .ok_or_else(|| serde::de::Error::custom("no request id"))
}

fn base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    STANDARD
        .decode(<&str>::deserialize(from)?)
        .map_err(serde::de::Error::custom)
}

fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = <&str>::deserialize(from)?;
    Ok(u64::from_str_radix(text, 16).ok())
}

#[expect(clippy::ref_option, reason = "serde hands a reference to the field")]
fn as_hex<S: Serializer>(version: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{:016x}", version.unwrap_or_default()))
}

fn as_text<S: Serializer>(request: &RequestId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(request.text().as_str())
}

/// Counts that are zero are not written.
fn usage<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Usage>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Written {
        input: u64,
        output: u64,
        cached_input: u64,
        cache_write: u64,
        cache_write_hour: u64,
        reasoning: u64,
        audio_input: u64,
        audio_output: u64,
        tier: Option<String>,
    }
    let written = Written::deserialize(from)?;
    let counts = [
        written.input,
        written.output,
        written.cached_input,
        written.cache_write,
        written.cache_write_hour,
        written.reasoning,
        written.audio_input,
        written.audio_output,
    ];
    let tier = written.tier.as_deref().and_then(ServiceTier::of);
    Ok(Some(usage_of(counts, tier)))
}

/// A usage by its counts, in the order in which they are written.
pub(super) fn usage_of(counts: [u64; 8], tier: Option<ServiceTier>) -> Usage {
    let [
        input,
        output,
        cached_input,
        cache_write,
        cache_write_hour,
        reasoning,
        audio_input,
        audio_output,
    ] = counts.map(Tokens);
    Usage {
        input,
        output,
        cached_input,
        cache_write,
        cache_write_hour,
        reasoning,
        audio_input,
        audio_output,
        tier,
    }
}
