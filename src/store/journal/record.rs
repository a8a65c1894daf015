//! What is recorded, and how a record is written as JSON. Never any text of a prompt or an answer.

use std::io::Write as _;
use std::time::Duration;

use crate::domain::{AttemptOutcome, Lane, RequestId, Tokens, Usage};

#[derive(Debug)]
pub enum Record<'a> {
    /// Durable before the first byte goes to a provider.
    Intent(IntentRecord<'a>),
    /// One per try.
    Attempt(AttemptRecord<'a>),
    /// Exactly once per request.
    Outcome(OutcomeRecord<'a>),
    /// Something that happened to the gateway itself.
    Event {
        name: &'a str,
        subject: &'a str,
        detail: &'a str,
    },
}

#[derive(Debug)]
pub struct IntentRecord<'a> {
    pub request: RequestId,
    pub client: &'a str,
    /// The model as the client wrote it.
    pub asked: &'a str,
    pub lane: Lane,
    pub stream: bool,
    pub input_estimate: Tokens,
    pub max_output: Tokens,
    pub config_version: u64,
}

#[derive(Debug)]
pub struct AttemptRecord<'a> {
    pub request: RequestId,
    pub number: u32,
    pub provider: &'a str,
    pub model: &'a str,
    /// The name of our key, never the key.
    pub key: &'a str,
    pub outcome: AttemptOutcome,
    /// What the provider answered; `None` when it did not.
    pub status: Option<u16>,
    pub first_content: Option<Duration>,
    pub took: Duration,
    pub usage: Option<Usage>,
    /// Whether this attempt's answer went to the client.
    pub won: bool,
    pub second_leg: bool,
}

#[derive(Debug)]
pub struct OutcomeRecord<'a> {
    pub request: RequestId,
    /// `ok`, `failed`, `cancelled` or `interrupted`.
    pub how: &'a str,
    pub kind: &'a str,
    pub status: u16,
    pub attempts: u32,
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub served_model: Option<&'a str>,
    pub usage: Option<Usage>,
    pub estimated: bool,
    pub first_content: Option<Duration>,
    pub took: Duration,
    pub race: Option<&'a str>,
}

/// Names from outside are cut to this (attack A12).
const LONGEST_TEXT: usize = 256;

/// Appends the members of a record without the braces around them; sequence number and chain are the
/// writer's.
pub(super) fn encode(record: &Record<'_>, at_ms: u64, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "\"at\":{at_ms}");
    match record {
        Record::Intent(intent) => {
            text(out, "kind", "intent");
            id(out, intent.request);
            text(out, "client", intent.client);
            text(out, "asked", intent.asked);
            text(out, "lane", intent.lane.label());
            let _ = write!(
                out,
                ",\"stream\":{},\"input_estimate\":{},\"max_output\":{},\"config\":\"{:016x}\"",
                intent.stream, intent.input_estimate.0, intent.max_output.0, intent.config_version
            );
        }
        Record::Attempt(attempt) => {
            text(out, "kind", "attempt");
            id(out, attempt.request);
            let _ = write!(out, ",\"number\":{}", attempt.number);
            text(out, "provider", attempt.provider);
            text(out, "model", attempt.model);
            text(out, "key", attempt.key);
            text(out, "outcome", attempt.outcome.label());
            number(out, "status", attempt.status);
            millis(out, "first_content_ms", attempt.first_content);
            millis(out, "took_ms", Some(attempt.took));
            usage(out, attempt.usage);
            let _ = write!(
                out,
                ",\"won\":{},\"second_leg\":{}",
                attempt.won, attempt.second_leg
            );
        }
        Record::Outcome(outcome) => encode_outcome(outcome, out),
        Record::Event {
            name,
            subject,
            detail,
        } => {
            text(out, "kind", "event");
            text(out, "name", name);
            text(out, "subject", subject);
            text(out, "detail", detail);
        }
    }
}

fn encode_outcome(outcome: &OutcomeRecord<'_>, out: &mut Vec<u8>) {
    text(out, "kind", "outcome");
    id(out, outcome.request);
    text(out, "how", outcome.how);
    text(out, "reason", outcome.kind);
    let _ = write!(
        out,
        ",\"status\":{},\"attempts\":{}",
        outcome.status, outcome.attempts
    );
    for (name, value) in [
        ("provider", outcome.provider),
        ("model", outcome.model),
        ("served_model", outcome.served_model),
        ("race", outcome.race),
    ] {
        if let Some(value) = value {
            text(out, name, value);
        }
    }
    usage(out, outcome.usage);
    if outcome.estimated {
        out.extend_from_slice(b",\"estimated\":true");
    }
    millis(out, "first_content_ms", outcome.first_content);
    millis(out, "took_ms", Some(outcome.took));
}

fn id(out: &mut Vec<u8>, request: RequestId) {
    out.extend_from_slice(b",\"request\":\"");
    out.extend_from_slice(request.text().as_str().as_bytes());
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, value: Option<u16>) {
    if let Some(value) = value {
        let _ = write!(out, ",\"{name}\":{value}");
    }
}

/// Milliseconds with three digits: microseconds, readable.
fn millis(out: &mut Vec<u8>, name: &str, value: Option<Duration>) {
    if let Some(value) = value {
        let micros = value.as_micros();
        let _ = write!(out, ",\"{name}\":{}.{:03}", micros / 1_000, micros % 1_000);
    }
}

fn usage(out: &mut Vec<u8>, usage: Option<Usage>) {
    let Some(usage) = usage else { return };
    let _ = write!(
        out,
        ",\"usage\":{{\"input\":{},\"output\":{}",
        usage.input.0, usage.output.0
    );
    for (name, tokens) in [
        ("cached_input", usage.cached_input),
        ("cache_write", usage.cache_write),
        ("reasoning", usage.reasoning),
        ("audio_input", usage.audio_input),
        ("audio_output", usage.audio_output),
    ] {
        if tokens.0 > 0 {
            let _ = write!(out, ",\"{name}\":{}", tokens.0);
        }
    }
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let mut end = value.len().min(LONGEST_TEXT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = value.get(..end).unwrap_or_default();
    if value
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\' && byte < 0x7f)
    {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a vector cannot fail.
        let _ = serde_json::to_writer(&mut *out, value);
    }
}
