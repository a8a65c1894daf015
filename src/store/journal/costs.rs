//! What a line tells of costs, read without taking the line apart as a whole.
//!
//! # Why not as the other records are read
//! A start and every look at the books from the command line read all that is not booked yet, and most of what a line
//! holds no report looks at. Here it is gone through once, in the form the writer gives it, and nothing is copied. A
//! line in any other form, such as one with an escape in it, is left to serde.

use std::time::Duration;

use smallvec::SmallVec;

use super::read::{Kind, ReadRecord};
use super::record::{AttemptRecord, MOST_WORDS, OutcomeRecord, Record, clipped};
use super::told::{ReadAttempt, ReadOutcome, usage_of};
use crate::domain::{ServiceTier, Usage};

/// What an attempt cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttemptCost<'a> {
    pub at: u64,
    pub took_ms: f64,
    pub provider: &'a str,
    pub usage: Option<Usage>,
    /// The provider did not tell it.
    pub estimated: bool,
    pub cost_nano: Option<u64>,
}

/// What a request cost, and who pays.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeCost<'a> {
    pub at: u64,
    pub took_ms: f64,
    pub client: &'a str,
    pub tenant: Option<&'a str>,
    pub team: Option<&'a str>,
    pub user: Option<&'a str>,
    pub tags: SmallVec<[&'a str; 4]>,
    pub how: &'a str,
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub usage: Option<Usage>,
    pub cost_nano: Option<u64>,
    /// `None`: what it cost.
    pub charged_nano: Option<u64>,
    pub cost_estimated: bool,
}

impl<'a> From<&'a ReadAttempt> for AttemptCost<'a> {
    fn from(read: &'a ReadAttempt) -> Self {
        Self {
            at: read.at,
            took_ms: read.took_ms,
            provider: &read.provider,
            usage: read.usage,
            estimated: read.estimated,
            cost_nano: read.cost_nano,
        }
    }
}

impl<'a> From<&'a ReadOutcome> for OutcomeCost<'a> {
    fn from(read: &'a ReadOutcome) -> Self {
        Self {
            at: read.at,
            took_ms: read.took_ms,
            client: &read.client,
            tenant: read.tenant.as_deref(),
            team: read.team.as_deref(),
            user: read.user.as_deref(),
            tags: read.tags.iter().map(String::as_str).collect(),
            how: &read.how,
            provider: read.provider.as_deref(),
            model: read.model.as_deref(),
            usage: read.usage,
            cost_nano: read.cost_nano,
            charged_nano: read.charged_nano,
            cost_estimated: read.cost_estimated,
        }
    }
}

/// Something that happened to the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTold<'a> {
    pub name: &'a str,
    pub subject: &'a str,
    pub detail: &'a str,
}

/// What one record tells of costs.
#[derive(Clone, Debug, PartialEq)]
pub enum Cost<'a> {
    Attempt(AttemptCost<'a>),
    Outcome(OutcomeCost<'a>),
    Event(EventTold<'a>),
    /// Nothing.
    Other,
}

impl<'a> Cost<'a> {
    /// As the writer writes it; `None` where the line is in any other form.
    pub(super) fn written(kind: Kind, line: &'a [u8]) -> Option<Self> {
        match kind {
            Kind::Attempt => attempt(line).map(Self::Attempt),
            Kind::Outcome => outcome(line).map(Self::Outcome),
            Kind::Intent | Kind::Text | Kind::Event | Kind::Other => None,
        }
    }
}

impl<'a> Cost<'a> {
    /// Of a record on its way into the journal, as its readers will find it there. `alias` is as for
    /// [`encode`](super::record::encode).
    pub(super) fn of(record: &'a Record<'a>, alias: Option<&'a str>, at: u64) -> Self {
        match record {
            Record::Attempt(attempt) => Self::Attempt(of_attempt(attempt, at)),
            Record::Outcome(outcome) => Self::Outcome(of_outcome(outcome, alias, at)),
            Record::Event {
                name,
                subject,
                detail,
            } => Self::Event(EventTold {
                name: clipped(name),
                subject: clipped(subject),
                detail: clipped(detail),
            }),
            Record::Intent(_) | Record::Reserve { .. } | Record::Text(_) => Self::Other,
        }
    }
}

fn of_attempt<'a>(attempt: &AttemptRecord<'a>, at: u64) -> AttemptCost<'a> {
    AttemptCost {
        at,
        took_ms: written_ms(attempt.took),
        provider: clipped(attempt.provider),
        usage: attempt.usage,
        estimated: attempt.estimated,
        cost_nano: attempt.cost_nano,
    }
}

fn of_outcome<'a>(outcome: &OutcomeRecord<'a>, alias: Option<&'a str>, at: u64) -> OutcomeCost<'a> {
    let who = &outcome.who;
    let tags = who.tags.iter().take(MOST_WORDS);
    OutcomeCost {
        at,
        took_ms: written_ms(outcome.took),
        client: clipped(who.client),
        tenant: who.tenant.map(clipped),
        team: who.team.map(clipped),
        user: alias.or(who.user).map(clipped),
        tags: tags.map(|tag| clipped(tag)).collect(),
        how: clipped(outcome.how),
        provider: outcome.provider.map(clipped),
        model: outcome.model.map(clipped),
        usage: outcome.usage,
        cost_nano: outcome.cost_nano,
        charged_nano: outcome
            .charged_nano
            .filter(|_| outcome.charged_nano != outcome.cost_nano),
        cost_estimated: outcome.cost_estimated,
    }
}

/// Milliseconds as they are written: with three digits behind the point.
#[expect(clippy::cast_precision_loss, reason = "nothing takes that long")]
fn written_ms(took: Duration) -> f64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    micros as f64 / 1_000.0
}

impl<'a> From<&'a ReadRecord> for Cost<'a> {
    fn from(read: &'a ReadRecord) -> Self {
        match read {
            ReadRecord::Attempt(attempt) => Self::Attempt(attempt.into()),
            ReadRecord::Outcome(outcome) => Self::Outcome(outcome.into()),
            ReadRecord::Event(event) => Self::Event(EventTold {
                name: &event.name,
                subject: &event.subject,
                detail: &event.detail,
            }),
            ReadRecord::Intent(_) | ReadRecord::Text(_) | ReadRecord::Other => Self::Other,
        }
    }
}

/// Reads the members one record has, each at most once; what is not looked at is checked all the same, so that a line
/// that serde refuses is not counted here.
fn attempt(line: &[u8]) -> Option<AttemptCost<'_>> {
    let (mut at, mut took_ms, mut provider, mut usage) = (None, None, None, None);
    let (mut estimated, mut cost_nano) = (None, None);
    let mut seen = Seen::default();
    members(line, |name, value| match name {
        b"at" => once(&mut at, value.number()?),
        b"took_ms" => once(&mut took_ms, value.fraction()?),
        b"provider" => once(&mut provider, value.text()?),
        b"usage" => once(&mut usage, value.usage()?),
        b"estimated" => once(&mut estimated, value.flag()?),
        b"cost_nano" => once(&mut cost_nano, value.number()?),
        b"request" => seen.once(0, value.request()?),
        b"number" => seen.once(1, value.at_most(u32::MAX.into())?),
        b"model" => seen.once(2, value.text()?),
        b"outcome" => seen.once(3, value.text()?),
        b"key" => seen.once(4, value.text()?),
        b"status" => seen.once(5, value.at_most(u16::MAX.into())?),
        b"first_content_ms" => seen.once(6, value.fraction()?),
        b"won" => seen.once(7, value.flag()?),
        b"second_leg" => seen.once(8, value.flag()?),
        b"region" => seen.once(9, value.text()?),
        b"charged_nano" => seen.once(10, value.number()?),
        b"list_nano" => seen.once(11, value.number()?),
        b"operation" => seen.once(12, value.text()?),
        b"choices" => seen.once(13, value.at_most(u32::MAX.into())?),
        b"asked_tier" => seen.once(14, value.text()?),
        b"reason" => seen.once(15, value.text()?),
        b"seq" => value.number().map(drop),
        b"kind" | b"chain" => value.text().map(drop),
        _ => None,
    })?;
    seen.has_all(0..4).then_some(AttemptCost {
        at: at?,
        took_ms: took_ms.unwrap_or_default(),
        provider: provider?,
        usage,
        estimated: estimated.unwrap_or_default(),
        cost_nano,
    })
}

/// As [`attempt`].
fn outcome(line: &[u8]) -> Option<OutcomeCost<'_>> {
    let (mut at, mut took_ms, mut usage) = (None, None, None);
    let (mut client, mut tenant, mut team, mut user) = (None, None, None, None);
    let (mut how, mut provider, mut model, mut tags) = (None, None, None, None);
    let (mut cost_nano, mut charged_nano, mut cost_estimated) = (None, None, None);
    let mut seen = Seen::default();
    members(line, |name, value| match name {
        b"at" => once(&mut at, value.number()?),
        b"took_ms" => once(&mut took_ms, value.fraction()?),
        b"client" => once(&mut client, value.text()?),
        b"tenant" => once(&mut tenant, value.text()?),
        b"team" => once(&mut team, value.text()?),
        b"user" => once(&mut user, value.text()?),
        b"tags" => once(&mut tags, value.texts()?),
        b"how" => once(&mut how, value.text()?),
        b"provider" => once(&mut provider, value.text()?),
        b"model" => once(&mut model, value.text()?),
        b"usage" => once(&mut usage, value.usage()?),
        b"cost_nano" => once(&mut cost_nano, value.number()?),
        b"charged_nano" => once(&mut charged_nano, value.number()?),
        b"cost_estimated" => once(&mut cost_estimated, value.flag()?),
        b"request" => seen.once(0, value.request()?),
        b"reason" => seen.once(1, value.text()?),
        b"status" => seen.once(2, value.at_most(u16::MAX.into())?),
        b"attempts" => seen.once(3, value.at_most(u32::MAX.into())?),
        b"served_model" => seen.once(4, value.text()?),
        b"estimated" => seen.once(5, value.flag()?),
        b"first_content_ms" => seen.once(6, value.fraction()?),
        b"race" => seen.once(7, value.text()?),
        b"seq" => value.number().map(drop),
        b"kind" | b"chain" => value.text().map(drop),
        _ => None,
    })?;
    seen.has_all(0..1).then_some(OutcomeCost {
        at: at?,
        took_ms: took_ms.unwrap_or_default(),
        client: client.unwrap_or_default(),
        tenant,
        team,
        user,
        tags: tags.unwrap_or_default(),
        how: how?,
        provider,
        model,
        usage,
        cost_nano,
        charged_nano,
        cost_estimated: cost_estimated.unwrap_or_default(),
    })
}

/// Sets what was not set before.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Which members there were, of those whose value is of no interest.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    fn once<T>(&mut self, member: u32, _checked: T) -> Option<()> {
        let before = self.0;
        self.0 |= 1 << member;
        (self.0 != before).then_some(())
    }

    fn has_all(&self, mut members: std::ops::Range<u32>) -> bool {
        members.all(|member| self.0 & (1 << member) != 0)
    }
}

/// A value as it stands in a line.
#[derive(Clone, Copy)]
enum Value<'a> {
    /// Between its quotes; it holds no escape.
    Text(&'a [u8]),
    /// A number or a word.
    Plain(&'a [u8]),
    /// With its brackets.
    Object(&'a [u8]),
    /// Between its brackets.
    List(&'a [u8]),
}

impl<'a> Value<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            Self::Plain(_) | Self::Object(_) | Self::List(_) => None,
        }
    }

    fn plain(self) -> Option<&'a [u8]> {
        match self {
            Self::Plain(plain) => Some(plain),
            Self::Text(_) | Self::Object(_) | Self::List(_) => None,
        }
    }

    fn number(self) -> Option<u64> {
        let digits = self.plain()?;
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with(b"0")) {
            return None;
        }
        digits.iter().try_fold(0_u64, |number, digit| {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
            number.checked_mul(10)?.checked_add(digit.into())
        })
    }

    fn at_most(self, most: u64) -> Option<u64> {
        self.number().filter(|number| *number <= most)
    }

    /// Digits, a point, and digits.
    fn fraction(self) -> Option<f64> {
        let plain = self.plain()?;
        let point = memchr::memchr(b'.', plain)?;
        let (whole, part) = (plain.get(..point)?, plain.get(point + 1..)?);
        Value::Plain(whole).number()?;
        if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(plain).ok()?.parse().ok()
    }

    /// As the writer writes it.
    fn request(self) -> Option<()> {
        let digits = self.text()?.strip_prefix("sy-")?.as_bytes();
        (digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)).then_some(())
    }

    fn flag(self) -> Option<bool> {
        match self.plain()? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    fn texts(self) -> Option<SmallVec<[&'a str; 4]>> {
        let Self::List(mut list) = self else {
            return None;
        };
        let mut texts = SmallVec::new();
        while !list.is_empty() {
            if !texts.is_empty() {
                list = list.strip_prefix(b",")?;
            }
            let (one, rest) = value(list)?;
            texts.push(one.text()?);
            list = rest;
        }
        Some(texts)
    }

    fn usage(self) -> Option<Usage> {
        let Self::Object(object) = self else {
            return None;
        };
        let (mut counts, mut tier) = ([None; 8], None);
        members(object, |name, value| {
            let place = match name {
                b"input" => 0,
                b"output" => 1,
                b"cached_input" => 2,
                b"cache_write" => 3,
                b"cache_write_hour" => 4,
                b"reasoning" => 5,
                b"audio_input" => 6,
                b"audio_output" => 7,
                b"tier" => return once(&mut tier, ServiceTier::of(value.text()?)),
                _ => return None,
            };
            once(counts.get_mut(place)?, value.number()?)
        })?;
        Some(usage_of(
            counts.map(Option::unwrap_or_default),
            tier.flatten(),
        ))
    }
}

/// Goes through the members of an object; `None` as soon as one is not in the form the writer gives it, or `each` says so.
fn members<'a>(
    object: &'a [u8],
    mut each: impl FnMut(&'a [u8], Value<'a>) -> Option<()>,
) -> Option<()> {
    let mut rest = object.strip_prefix(b"{")?;
    loop {
        let (name, behind) = quoted(rest)?;
        let (value, behind) = value(behind.strip_prefix(b":")?)?;
        each(name, value)?;
        match behind.split_first()? {
            (b',', behind) => rest = behind,
            (b'}', []) => return Some(()),
            _ => return None,
        }
    }
}

/// A value, and what stands behind it.
fn value(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    match text.first()? {
        b'"' => quoted(text).map(|(text, rest)| (Value::Text(text), rest)),
        b'{' => {
            // None of ours holds another one, or a text with a bracket: where one does, what it is cut to is no object.
            let end = memchr::memchr(b'}', text)? + 1;
            let (object, rest) = text.split_at_checked(end)?;
            Some((Value::Object(object), rest))
        }
        b'[' => {
            let end = memchr::memchr(b']', text)?;
            Some((Value::List(text.get(1..end)?), text.get(end + 1..)?))
        }
        _ => {
            let end = text.iter().position(|byte| matches!(byte, b',' | b'}'))?;
            let (plain, rest) = text.split_at_checked(end)?;
            Some((Value::Plain(plain), rest))
        }
    }
}

/// A text without its quotes, and what stands behind it; `None` where it holds an escape.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let end = text.iter().position(ends)?;
    match text.split_at_checked(end)? {
        (text, [b'"', rest @ ..]) => Some((text, rest)),
        _ => None,
    }
}
