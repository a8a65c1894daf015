//! What a healthy answer to one request will say and when, before a dialect puts it into its own form.

use std::time::Duration;

use serde_json::{Value, json};

use super::asked::Asked;
use super::behaviour::{Calls, Form, Healthy, Words};
use super::log::Reported;
use super::schema;
use super::weather::Weather;
use super::wish::Wish;
use crate::{canary, http1};

/// One request cannot make the mock build more than this.
const MOST_WORDS: u64 = 200_000;
const MOST_CHOICES: u64 = 16;
const MOST_CALLS: usize = 16;

/// A tool call of the answer.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) name: String,
    /// A JSON object as text.
    pub(super) arguments: String,
}

/// When each part of the answer is due.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    pub(super) head: Duration,
    /// From the head to the first content.
    pub(super) first: Duration,
    /// Before each later content event.
    pub(super) gaps: Vec<Duration>,
}

impl Waits {
    fn draw(weather: &Weather, events: usize, rng: &mut fastrand::Rng) -> Self {
        let first_content = weather.first_content.draw(rng);
        let head = weather
            .head
            .map_or(first_content, |head| head.draw(rng).min(first_content));
        let gaps = (1..events).map(|_| weather.gap.draw(rng)).collect();
        Self {
            head,
            first: first_content.saturating_sub(head),
            gaps,
        }
    }

    /// Before the `position`-th content event, from 0.
    pub(super) fn before(&self, position: usize) -> Duration {
        match position.checked_sub(1) {
            None => self.first,
            Some(gap) => self.gaps.get(gap).copied().unwrap_or_default(),
        }
    }

    /// Of a unary answer, from the request to its head.
    pub(super) fn whole(&self) -> Duration {
        self.gaps
            .iter()
            .fold(self.head.saturating_add(self.first), |sum, gap| {
                sum.saturating_add(*gap)
            })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Unique across requests and mocks of one name.
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: i64,
    pub(super) streams: bool,
    /// One per content event; joined they are the text.
    pub(super) pieces: Vec<String>,
    /// The token limit of the request was smaller than what the weather had to say.
    pub(super) limited: bool,
    pub(super) calls: Vec<Call>,
    pub(super) choices: usize,
    pub(super) include_usage: bool,
    pub(super) thinks: bool,
    /// The provider's filter has stopped the answer.
    pub(super) refuses: bool,
    /// How much of the input came from the provider's cache.
    pub(super) cached: u64,
    /// Settings of the request that the answer repeats.
    pub(super) echo: Vec<(&'static str, Value)>,
    pub(super) usage: Reported,
    pub(super) waits: Waits,
}

impl Plan {
    pub(super) fn new(
        mock: &str,
        asked: &Asked,
        healthy: &Healthy,
        weather: &Weather,
        seed: u64,
    ) -> Self {
        let mut rng =
            fastrand::Rng::with_seed(seed ^ asked.number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let wish = asked.dialect.wish(asked);
        let input = (read(asked) / 4).max(1);
        let limit = wish.limit.unwrap_or(u64::MAX);
        let words = weather.tokens.min(limit).min(MOST_WORDS);
        let pieces = match &healthy.words {
            Words::Given(pieces) => pieces.clone(),
            Words::Canary => {
                let spoken = (1..=words).map(|position| piece(mock, asked.number, position));
                match schema::of_request(&asked.json) {
                    None => spoken.collect(),
                    Some(schema) => {
                        let said: String = spoken.collect();
                        let answer = schema::fill(&schema, &said).to_string();
                        halves(&answer).into_iter().map(str::to_owned).collect()
                    }
                }
            }
        };
        let calls = calls(mock, asked.number, &wish, &healthy.calls);
        let choices = healthy
            .choices
            .unwrap_or_else(|| usize::try_from(wish.choices.clamp(1, MOST_CHOICES)).unwrap_or(1));
        let said = if calls.is_empty() {
            pieces.len()
        } else {
            calls.len().saturating_mul(8)
        };
        let waits = Waits::draw(weather, said, &mut rng);
        Self {
            id: format!("{mock}{:08x}{:06}", rng.u32(..), asked.number),
            model: asked.model().unwrap_or("mock-model").to_owned(),
            created: http1::unix_now(),
            streams: match healthy.form {
                Form::AsAsked => asked.streams(),
                Form::Unary => false,
                Form::Stream => true,
            },
            limited: calls.is_empty() && healthy.words == Words::Canary && weather.tokens > limit,
            pieces,
            calls,
            choices,
            include_usage: wish.include_usage,
            thinks: wish.is_to_think(),
            refuses: wish.is_to_refuse(),
            cached: if wish.is_cached() { input / 2 } else { 0 },
            echo: wish.echo,
            usage: Reported {
                input,
                output: (said as u64).saturating_mul(choices as u64).max(1),
            },
            waits,
        }
    }

    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// The input that no cache held.
    pub(super) fn fresh_input(&self) -> u64 {
        self.usage.input.saturating_sub(self.cached)
    }
}

/// Bytes of a request that are read as its prompt: whoever asks for the usage of a stream pays nothing for asking.
fn read(asked: &Asked) -> u64 {
    let asking = asked.json.get("stream_options").map_or(0, |options| {
        let member = r#","stream_options":"#.len();
        options.to_string().len().saturating_add(member)
    });
    asked.body.len().saturating_sub(asking) as u64
}

/// A word with the space that parts it from the one before, as tokens of real models come.
fn piece(mock: &str, request: u64, position: u64) -> String {
    let word = canary::word(mock, request, position);
    if position == 1 {
        word
    } else {
        format!(" {word}")
    }
}

fn calls(mock: &str, request: u64, wish: &Wish, wanted: &Calls) -> Vec<Call> {
    let names = &wish.tools;
    let count = match wanted {
        Calls::Given(calls) => {
            let given = calls.iter().map(|(name, arguments)| Call {
                name: name.clone(),
                arguments: arguments.to_string(),
            });
            return given.take(MOST_CALLS).collect();
        }
        Calls::Exactly(count) => *count,
        Calls::AsAsked if names.is_empty() => 0,
        Calls::AsAsked => wish.calls(),
    };
    let count = count.min(if wish.one_at_a_time { 1 } else { MOST_CALLS });
    (0..count)
        .map(|position| {
            let turn = names
                .get(position.checked_rem(names.len()).unwrap_or(0))
                .map_or("lookup", String::as_str);
            let canary = canary::word(mock, request, position as u64 + 1);
            Call {
                name: wish.choice.forced().unwrap_or(turn).to_owned(),
                arguments: json!({"canary": canary, "city": "Köln"}).to_string(),
            }
        })
        .collect()
}

/// A text in two pieces, cut between characters: tool arguments never come in one.
pub(super) fn halves(text: &str) -> Vec<&str> {
    let mut middle = text.len() / 2;
    while !text.is_char_boundary(middle) {
        middle = middle.saturating_sub(1);
    }
    let (front, back) = text.split_at(middle);
    [front, back]
        .into_iter()
        .filter(|half| !half.is_empty())
        .collect()
}
