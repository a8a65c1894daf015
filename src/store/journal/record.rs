//! What is recorded, and how a record is written as JSON. No text of a prompt or an answer, unless sealed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::{
    AttemptOutcome, Lane, Operation, RequestId, ServiceTier, Tokens, Usage, decimal, hex_digits,
    thousandths,
};

#[derive(Debug)]
pub enum Record<'a> {
    /// Durable before the first byte goes to a provider.
    Intent(IntentRecord<'a>),
    /// More is set aside than the intent says: durable before the leg it is for is sent.
    Reserve {
        request: RequestId,
        more_nano: u64,
        /// What of it providers may bill; written where that is something else.
        more_bill_nano: u64,
    },
    /// One per try.
    Attempt(AttemptRecord<'a>),
    /// Exactly once per request.
    Outcome(OutcomeRecord<'a>),
    /// A prompt or an answer, sealed with a key of its owner.
    Text(TextRecord<'a>),
    /// Something that happened to the gateway itself.
    Event {
        name: &'a str,
        subject: &'a str,
        detail: &'a str,
    },
}

/// Who asked and who pays. What is not known is not written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    pub client: &'a str,
    pub tenant: Option<&'a str>,
    pub team: Option<&'a str>,
    /// The end user, as the client names them.
    pub user: Option<&'a str>,
    pub tags: &'a [Arc<str>],
}

#[derive(Debug)]
pub struct IntentRecord<'a> {
    pub request: RequestId,
    pub who: Who<'a>,
    /// The model as the client wrote it.
    pub asked: &'a str,
    pub lane: Lane,
    pub stream: bool,
    pub input_estimate: Tokens,
    pub max_output: Tokens,
    pub config_version: u64,
    /// Keyed with a secret of this installation: a short prompt cannot be found by trying.
    pub prompt_hash: Option<[u8; 16]>,
    /// Nano-dollars, as they would be charged, held back for the request, all its copies together; `None` when nothing is.
    pub reserved_nano: Option<u64>,
    /// Nano-dollars that providers may bill for all of that; written where that is something else.
    pub reserved_bill_nano: Option<u64>,
    /// Nano-dollars, as they would be charged, that it may come to where nothing is held back: what a kill leaves
    /// behind of it is booked at that. `None` when nobody knows.
    pub most_nano: Option<u64>,
    /// Nano-dollars that providers may bill for all of that; written where that is something else.
    pub most_bill_nano: Option<u64>,
    /// Version of the price list that the reservation was made with.
    pub price: Option<u64>,
    /// Where the request may be served.
    pub region: Option<&'a str>,
    /// What policy decided about it, a word each.
    pub policy: &'a [&'a str],
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
    /// The provider did not tell it.
    pub estimated: bool,
    /// Whether this attempt's answer went to the client.
    pub won: bool,
    pub second_leg: bool,
    pub region: Option<&'a str>,
    /// Nano-dollars that the provider bills for it; `None` when nobody reckoned.
    pub cost_nano: Option<u64>,
    /// Nano-dollars that are charged for it; written where that is something else.
    pub charged_nano: Option<u64>,
    /// Nano-dollars it would have cost without the discount for what was bought before; written where that is
    /// something else.
    pub list_nano: Option<u64>,
    /// What its price rests on beside its usage; `None` when nobody reckoned.
    pub asked: Option<Asked>,
    /// More on the outcome: which wait ran out, what was wrong with the body.
    pub reason: Option<&'a str>,
}

/// What was asked for, as far as the price depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub operation: Operation,
    /// Answers, or pictures made; written where that is more than one.
    pub choices: u32,
    /// The lane of the provider's.
    pub tier: Option<ServiceTier>,
}

#[derive(Debug)]
pub struct OutcomeRecord<'a> {
    pub request: RequestId,
    /// The intent's, again: an outcome alone is enough to be booked.
    pub who: Who<'a>,
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
    /// Nano-dollars that providers bill, all attempts together; `None` when nobody reckoned.
    pub cost_nano: Option<u64>,
    /// Nano-dollars that are charged to who asked; written where that is something else.
    pub charged_nano: Option<u64>,
    /// The cost rests on an estimate or a reservation, not on what a provider reported.
    pub cost_estimated: bool,
}

#[derive(Debug)]
pub struct TextRecord<'a> {
    pub request: RequestId,
    /// `prompt` or `answer`.
    pub part: &'a str,
    pub owner: &'a str,
    /// Of the whole text, of which only a beginning may be kept.
    pub bytes: u64,
    pub cut: bool,
    pub sealed: &'a [u8],
}

impl Record<'_> {
    /// Who asked, where a record tells.
    pub(super) fn who(&self) -> Option<&Who<'_>> {
        match self {
            Record::Intent(intent) => Some(&intent.who),
            Record::Outcome(outcome) => Some(&outcome.who),
            Record::Reserve { .. }
            | Record::Attempt(_)
            | Record::Text(_)
            | Record::Event { .. } => None,
        }
    }
}

/// Names from outside are cut to this (attack A12).
const LONGEST_TEXT: usize = 256;
/// More tags, or more words of policy, are left out: a line stays far shorter than a reader's limit.
pub(super) const MOST_WORDS: usize = 32;

/// Appends the members of a record without the braces around them; sequence number and chain are the
/// writer's. The end user is written under `alias`, where there is one.
pub(super) fn encode(record: &Record<'_>, alias: Option<&str>, at_ms: u64, out: &mut Vec<u8>) {
    /// What nearly all of them fit in.
    const USUAL: usize = 768;
    out.reserve(USUAL);
    out.extend_from_slice(b"\"at\":");
    decimal(out, at_ms);
    match record {
        Record::Intent(intent) => encode_intent(intent, alias, out),
        Record::Reserve {
            request,
            more_nano,
            more_bill_nano,
        } => {
            text(out, "kind", "reserve");
            id(out, *request);
            number(out, "more_nano", *more_nano);
            if more_bill_nano != more_nano {
                number(out, "more_bill_nano", *more_bill_nano);
            }
        }
        Record::Attempt(attempt) => encode_attempt(attempt, out),
        Record::Outcome(outcome) => encode_outcome(outcome, alias, out),
        Record::Text(kept) => {
            text(out, "kind", "text");
            id(out, kept.request);
            text(out, "part", kept.part);
            text(out, "owner", kept.owner);
            number(out, "bytes", kept.bytes);
            if kept.cut {
                flag(out, "cut", true);
            }
            name(out, "sealed");
            between_quotes(out, STANDARD.encode(kept.sealed).as_bytes());
        }
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

fn encode_attempt(attempt: &AttemptRecord<'_>, out: &mut Vec<u8>) {
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
    if attempt.estimated {
        flag(out, "estimated", true);
    }
    flag(out, "won", attempt.won);
    flag(out, "second_leg", attempt.second_leg);
    if_text(out, "region", attempt.region);
    costs(out, attempt.cost_nano, attempt.charged_nano);
    let list = attempt.list_nano;
    if_number(out, "list_nano", list.filter(|_| list != attempt.cost_nano));
    if let Some(asked) = attempt.asked {
        text(out, "operation", asked.operation.label());
        let several = Some(asked.choices.into()).filter(|choices| *choices > 1);
        if_number(out, "choices", several);
        if_text(out, "asked_tier", asked.tier.map(ServiceTier::word));
    }
    if_text(out, "reason", attempt.reason);
}

fn encode_intent(intent: &IntentRecord<'_>, alias: Option<&str>, out: &mut Vec<u8>) {
    text(out, "kind", "intent");
    id(out, intent.request);
    who(out, &intent.who, alias);
    text(out, "asked", intent.asked);
    text(out, "lane", intent.lane.label());
    flag(out, "stream", intent.stream);
    number(out, "input_estimate", intent.input_estimate.0);
    number(out, "max_output", intent.max_output.0);
    hex_number(out, "config", intent.config_version);
    if let Some(hash) = intent.prompt_hash {
        let mut digits = [[0; 2]; 16];
        hex_digits(&hash, &mut digits);
        name(out, "prompt_hash");
        between_quotes(out, digits.as_flattened());
    }
    for (named, charged, billed_named, billed) in [
        (
            "reserved_nano",
            intent.reserved_nano,
            "reserved_bill_nano",
            intent.reserved_bill_nano,
        ),
        (
            "most_nano",
            intent.most_nano,
            "most_bill_nano",
            intent.most_bill_nano,
        ),
    ] {
        if_number(out, named, charged);
        if_number(out, billed_named, billed.filter(|_| billed != charged));
    }
    if let Some(version) = intent.price {
        hex_number(out, "price", version);
    }
    if_text(out, "region", intent.region);
    words(out, "policy", intent.policy.iter().copied());
}

/// The members every record about somebody has. The client of an intent is always written.
fn who(out: &mut Vec<u8>, who: &Who<'_>, alias: Option<&str>) {
    text(out, "client", who.client);
    if_text(out, "tenant", who.tenant);
    if_text(out, "team", who.team);
    if_text(out, "user", alias.or(who.user));
    words(out, "tags", who.tags.iter().map(|tag| &**tag));
}

fn encode_outcome(outcome: &OutcomeRecord<'_>, alias: Option<&str>, out: &mut Vec<u8>) {
    text(out, "kind", "outcome");
    id(out, outcome.request);
    who(out, &outcome.who, alias);
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
        if_text(out, name, value);
    }
    usage(out, outcome.usage);
    if outcome.estimated {
        flag(out, "estimated", true);
    }
    millis(out, "first_content_ms", outcome.first_content);
    millis(out, "took_ms", Some(outcome.took));
    costs(out, outcome.cost_nano, outcome.charged_nano);
    if outcome.cost_estimated {
        flag(out, "cost_estimated", true);
    }
}

/// What is billed, and what is charged where that is something else.
fn costs(out: &mut Vec<u8>, billed: Option<u64>, charged: Option<u64>) {
    if_number(out, "cost_nano", billed);
    if_number(out, "charged_nano", charged.filter(|_| charged != billed));
}

fn id(out: &mut Vec<u8>, request: RequestId) {
    name(out, "request");
    between_quotes(out, request.text().as_str().as_bytes());
}

#[inline]
fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// What holds nothing that has to be escaped.
fn between_quotes(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

#[inline]
fn flag(out: &mut Vec<u8>, named: &str, value: bool) {
    name(out, named);
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

#[inline]
fn number(out: &mut Vec<u8>, named: &str, value: u64) {
    name(out, named);
    decimal(out, value);
}

#[inline]
fn if_number(out: &mut Vec<u8>, named: &str, value: Option<u64>) {
    if let Some(value) = value {
        number(out, named, value);
    }
}

/// A version: 16 hex digits.
fn hex_number(out: &mut Vec<u8>, named: &str, value: u64) {
    let mut digits = [[0; 2]; 8];
    hex_digits(&value.to_be_bytes(), &mut digits);
    name(out, named);
    between_quotes(out, digits.as_flattened());
}

/// Milliseconds with three digits: microseconds, readable.
fn millis(out: &mut Vec<u8>, named: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    name(out, named);
    thousandths(out, micros);
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
        ("cache_write_hour", usage.cache_write_hour),
        ("reasoning", usage.reasoning),
        ("audio_input", usage.audio_input),
        ("audio_output", usage.audio_output),
    ] {
        if tokens.0 > 0 {
            number(out, named, tokens.0);
        }
    }
    if_text(out, "tier", usage.tier.map(ServiceTier::word));
    out.push(b'}');
}

#[inline]
fn if_text(out: &mut Vec<u8>, named: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, named, value);
    }
}

#[inline]
fn text(out: &mut Vec<u8>, named: &str, value: &str) {
    name(out, named);
    quoted(out, value);
}

/// A list of short texts; nothing when it is empty.
fn words<'a>(out: &mut Vec<u8>, named: &str, words: impl Iterator<Item = &'a str>) {
    for (index, word) in words.take(MOST_WORDS).enumerate() {
        if index == 0 {
            name(out, named);
            out.push(b'[');
        } else {
            out.pop();
            out.push(b',');
        }
        quoted(out, word);
        out.push(b']');
    }
}

/// As much of a text as a record holds.
pub(super) fn clipped(value: &str) -> &str {
    let mut end = value.len().min(LONGEST_TEXT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or_default()
}

fn quoted(out: &mut Vec<u8>, value: &str) {
    let value = clipped(value);
    // Looked at to its end: that takes several bytes at a time.
    let is_odd = |odd: bool, byte: u8| {
        odd | !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\')
    };
    if !value.bytes().fold(false, is_odd) {
        between_quotes(out, value.as_bytes());
    } else {
        // Writing to a vector cannot fail.
        let _ = serde_json::to_writer(&mut *out, value);
    }
}
