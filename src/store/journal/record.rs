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
    out.extend_from_slice(b"\"at\":");
    decimal(out, at_ms);
    match record {
        Record::Intent(intent) => {
            text(out, "kind", "intent");
            id(out, intent.request);
            text(out, "client", intent.client);
            text(out, "asked", intent.asked);
            text(out, "lane", intent.lane.label());
            flag(out, "stream", intent.stream);
            number(out, "input_estimate", intent.input_estimate.0);
            number(out, "max_output", intent.max_output.0);
            // Writing to a vector cannot fail.
            let _ = write!(out, ",\"config\":\"{:016x}\"", intent.config_version);
        }
        Record::Attempt(attempt) => {
            text(out, "kind", "attempt");
            id(out, attempt.request);
            number(out, "number", attempt.number.into());
            text(out, "provider", attempt.provider);
            text(out, "model", attempt.model);
            text(out, "key", attempt.key);
            text(out, "outcome", attempt.outcome.label());
            if let Some(status) = attempt.status {
                number(out, "status", status.into());
            }
            millis(out, "first_content_ms", attempt.first_content);
            millis(out, "took_ms", Some(attempt.took));
            usage(out, attempt.usage);
            flag(out, "won", attempt.won);
            flag(out, "second_leg", attempt.second_leg);
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
    number(out, "status", outcome.status.into());
    number(out, "attempts", outcome.attempts.into());
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
        flag(out, "estimated", true);
    }
    millis(out, "first_content_ms", outcome.first_content);
    millis(out, "took_ms", Some(outcome.took));
}

fn id(out: &mut Vec<u8>, request: RequestId) {
    name(out, "request");
    out.push(b'"');
    out.extend_from_slice(request.text().as_str().as_bytes());
    out.push(b'"');
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn flag(out: &mut Vec<u8>, named: &str, value: bool) {
    name(out, named);
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn number(out: &mut Vec<u8>, named: &str, value: u64) {
    name(out, named);
    decimal(out, value);
}

/// A number in decimal. The formatting machinery costs more than the rest of a record.
pub(super) fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        // Below ten, so nothing is cut off.
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// Milliseconds with three digits: microseconds, readable.
fn millis(out: &mut Vec<u8>, named: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    number(out, named, micros / 1_000);
    let thousandths = micros % 1_000;
    out.push(b'.');
    for unit in [100, 10, 1] {
        out.push(b'0' + (thousandths / unit % 10) as u8);
    }
}

fn usage(out: &mut Vec<u8>, usage: Option<Usage>) {
    let Some(usage) = usage else { return };
    name(out, "usage");
    out.extend_from_slice(b"{\"input\":");
    decimal(out, usage.input.0);
    number(out, "output", usage.output.0);
    for (named, tokens) in [
        ("cached_input", usage.cached_input),
        ("cache_write", usage.cache_write),
        ("reasoning", usage.reasoning),
        ("audio_input", usage.audio_input),
        ("audio_output", usage.audio_output),
    ] {
        if tokens.0 > 0 {
            number(out, named, tokens.0);
        }
    }
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, named: &str, value: &str) {
    name(out, named);
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
