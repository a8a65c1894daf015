//! One cell: a client's dialect, a provider's, and something to say.

use serde_json::Value;
use switchyard_chaos::client::{BodyEnd, Client};
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use super::heard::{Heard, hear, turn};
use super::question::{ADDRESS, PICTURE, Picture, Question};
use super::speaker::{is_whole, key};
use crate::frame::Gateway;

/// The rows of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Text,
    Turns,
    Tools,
    Form,
    Thoughts,
    Picture,
    Address,
    Refusal,
    Caches,
    Error,
    Late,
    Cut,
}

impl Row {
    pub const ALL: [Self; 12] = [
        Self::Text,
        Self::Turns,
        Self::Tools,
        Self::Form,
        Self::Thoughts,
        Self::Picture,
        Self::Address,
        Self::Refusal,
        Self::Caches,
        Self::Error,
        Self::Late,
        Self::Cut,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Text => "text and its usage",
            Self::Turns => "system prompt and turns",
            Self::Tools => "parallel tools and their results",
            Self::Form => "structured output",
            Self::Thoughts => "thinking",
            Self::Picture => "picture",
            Self::Address => "picture by address",
            Self::Refusal => "refusal",
            Self::Caches => "usage with caches",
            Self::Error => "error before content",
            Self::Late => "error in a stream",
            Self::Cut => "stream cut",
        }
    }

    /// A provider that failed is blocked for a while: each of these has a gateway of its own.
    pub fn breaks(self) -> bool {
        matches!(self, Self::Error | Self::Late | Self::Cut)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Works,
    /// Not sent: a 400 with this message.
    Refused(String),
    /// Works without these fields of the request.
    Without(String),
    /// The provider has no such thing; the answer is whole without it.
    HasNone,
    /// Something did not hold; the panic told what.
    Wrong,
}

pub struct Pair<'a> {
    pub client: Dialect,
    pub mock: &'a MockProvider,
    pub gateway: &'a Gateway,
}

/// An answer with what surrounds it.
struct Answered {
    status: u16,
    dropped: Option<String>,
    heard: Heard,
    whole: bool,
    /// For the message of a failed test.
    raw: String,
}

impl Pair<'_> {
    /// Asks as the row wants, whole and streamed; both have to come to the same.
    pub async fn try_out(&self, row: Row) -> Outcome {
        let streamed = self.one(row, true).await;
        if matches!(row, Row::Late | Row::Cut) {
            return streamed;
        }
        let whole = self.one(row, false).await;
        assert_eq!(whole, streamed, "{}", self.name(row));
        whole
    }

    fn name(&self, row: Row) -> String {
        let (client, provider) = (self.client.name(), self.mock.dialect().name());
        format!("{} of {client} at {provider}", row.title())
    }

    async fn one(&self, row: Row, stream: bool) -> Outcome {
        let mut question = Question::of("hello");
        match row {
            Row::Text => {}
            Row::Turns => {
                question.system = Some("be-brief");
                question.turns = vec!["first-turn", "second-turn", "third-turn"];
            }
            Row::Tools => {
                question = Question::of("[[tools:2]] rain?");
                question.tools = true;
            }
            Row::Form => question.form = true,
            Row::Thoughts => {
                question = Question::of("[[think]] why?");
                question.think = true;
            }
            Row::Picture => question.picture = Some(Picture::Within),
            Row::Address => question.picture = Some(Picture::ByAddress),
            Row::Refusal => question = Question::of("[[refuse]] how?"),
            Row::Caches => question = Question::of("[[cached]] again"),
            Row::Error | Row::Late | Row::Cut => return self.broken(row, stream).await,
        }
        let before = self.mock.requests();
        let answered = self.ask(&question, stream).await;
        let sent = self.mock.requests() - before;
        let name = format!("{}, stream: {stream}: {}", self.name(row), answered.raw);
        if answered.status == 400 && sent == 0 {
            return Outcome::Refused(message(&answered.raw));
        }
        assert_eq!((answered.status, sent), (200, 1), "{name}");
        assert!(answered.whole && !answered.heard.failed, "{name}");
        let found = self.judge(row, &answered.heard, &name);
        if row == Row::Tools {
            question.turns = vec!["rain?"];
            question.called = answered.heard.calls;
            let told = self.ask(&question, stream).await;
            let name = format!("results of {name}\n{}", told.raw);
            assert!(
                told.status == 200 && told.whole && !told.heard.failed,
                "{name}"
            );
            assert!(
                !told.heard.text.is_empty() && told.heard.calls.is_empty(),
                "{name}"
            );
            assert_eq!(self.sent().matches("dry").count(), 2, "{name}");
        }
        if row == Row::Thoughts && !stream {
            self.think_on(&question, &answered.raw).await;
        }
        match (found, answered.dropped) {
            (Outcome::Works, Some(dropped)) => Outcome::Without(dropped),
            (found, _) => found,
        }
    }

    /// What the provider got last.
    fn sent(&self) -> String {
        String::from_utf8(self.mock.last().unwrap().asked.body.to_vec()).unwrap()
    }

    fn judge(&self, row: Row, heard: &Heard, name: &str) -> Outcome {
        let provider = self.mock.dialect();
        let reported = self.mock.last().unwrap().reported.unwrap();
        let words = heard.text.split_whitespace().count();
        assert_eq!(
            (heard.input, heard.output),
            (reported.input, reported.output),
            "{name}"
        );
        match row {
            Row::Text => assert_eq!(words, 6, "{name}"),
            Row::Turns => {
                assert_eq!(words, 6, "{name}");
                let sent = self.sent();
                let at = |said: &str| sent.find(said).unwrap_or_else(|| panic!("{said}: {sent}"));
                assert!(at("first-turn") < at("second-turn"), "{sent}");
                assert!(
                    at("second-turn") < at("third-turn") && at("be-brief") > 0,
                    "{sent}"
                );
            }
            Row::Tools => {
                let [one, other] = heard.calls.as_slice() else {
                    panic!("two calls: {name}");
                };
                // Gemini itself gives calls no ids, and what it says to its own client is passed on as it is.
                let at_home = (self.client, provider) == (Dialect::Gemini, Dialect::Gemini);
                let known = !one.id.is_empty() && !other.id.is_empty() && one.id != other.id;
                assert!(known || at_home, "{name}");
                for call in [one, other] {
                    assert_eq!(
                        (call.name.as_str(), &call.input()["city"]),
                        ("weather", &"Köln".into()),
                        "{name}"
                    );
                }
            }
            Row::Form => {
                let answer: Value =
                    serde_json::from_str(&heard.text).unwrap_or_else(|_| panic!("{name}"));
                assert!(answer["city"].is_string(), "{name}");
            }
            Row::Thoughts => {
                assert_eq!(
                    (heard.thoughts.as_str(), words),
                    ("let me think", 6),
                    "{name}"
                );
            }
            Row::Picture => assert!(self.sent().contains(PICTURE), "{name}"),
            Row::Address => assert!(self.sent().contains(ADDRESS), "{name}"),
            Row::Refusal if provider == Dialect::Ollama => {
                assert!(!heard.refused, "{name}");
                return Outcome::HasNone;
            }
            Row::Refusal => assert!(heard.refused && words == 6, "{name}"),
            Row::Caches if provider == Dialect::Ollama => {
                assert_eq!(heard.cached, 0, "{name}");
                return Outcome::HasNone;
            }
            Row::Caches => assert_eq!(heard.cached, reported.input / 2, "{name}"),
            Row::Error | Row::Late | Row::Cut => {}
        }
        Outcome::Works
    }

    async fn broken(&self, row: Row, stream: bool) -> Outcome {
        let provider = self.mock.dialect();
        let bad: Vec<Behaviour> = match row {
            Row::Error => vec![provider.error(500, "secret-inside")],
            Row::Late => vec![fault::by_number("S11", provider).unwrap()],
            _ => vec![fault::s09(3), fault::s10(3)],
        };
        for bad in bad {
            self.mock.set(bad);
            let answered = self.ask(&Question::of("hello"), stream).await;
            let name = format!("{}: {}", self.name(row), answered.raw);
            assert!(!answered.whole && answered.heard.failed, "{name}");
            if row == Row::Error {
                assert!(answered.status >= 500, "{name}");
                assert!(is_own_error(self.client, &answered.raw), "{name}");
            } else {
                assert_eq!(answered.status, 200, "{name}");
                assert!(!answered.heard.text.is_empty(), "{name}");
            }
        }
        Outcome::Works
    }

    /// A thought goes back to who signed it with its signature, and its turn breaks nothing anywhere.
    async fn think_on(&self, question: &Question, raw: &str) {
        let document: Value = serde_json::from_str(raw).unwrap();
        let before = turn(self.client, &document);
        let asked = question.said_after(self.client, before, false);
        let told = self.post(asked, false).await;
        assert_eq!(told.status, 200, "after {raw}: {}", told.raw);
        let signs = matches!(self.mock.dialect(), Dialect::Anthropic | Dialect::Bedrock);
        let sent = self.sent();
        assert_eq!(sent.contains("\"sig-"), signs, "after {raw}: {sent}");
    }

    async fn ask(&self, question: &Question, stream: bool) -> Answered {
        self.post(question.said(self.client, stream), stream).await
    }

    async fn post(&self, (path, body): (String, Value), stream: bool) -> Answered {
        let mut connection = Client::connect(self.gateway.address).await.unwrap();
        if stream {
            let reader = connection
                .stream(&path, &key(self.client), &body)
                .await
                .unwrap();
            let seen = reader.collect().await.unwrap();
            let dropped = seen
                .fields()
                .iter()
                .find(|(name, _)| name == "x-switchyard-dropped");
            let documents = if seen.status() == 200 {
                seen.documents()
            } else {
                serde_json::from_slice(&seen.raw).into_iter().collect()
            };
            return Answered {
                status: seen.status(),
                dropped: dropped.map(|(_, value)| value.clone()),
                heard: hear(self.client, &documents),
                whole: is_whole(self.client, &seen),
                raw: String::from_utf8_lossy(&seen.raw).into_owned(),
            };
        }
        let answer = connection
            .post_json(&path, &key(self.client), &body)
            .await
            .unwrap();
        let document = answer.json();
        Answered {
            status: answer.status(),
            dropped: answer.header("x-switchyard-dropped").map(str::to_owned),
            heard: hear(self.client, std::slice::from_ref(&document)),
            whole: answer.status() == 200 && answer.end == BodyEnd::Whole,
            raw: document.to_string(),
        }
    }
}

fn message(raw: &str) -> String {
    let told: Value = serde_json::from_str(raw).unwrap();
    let message = told["error"]["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{raw}");
    message.to_owned()
}

/// An error as this client's API tells it, and nothing of the provider's own words.
fn is_own_error(client: Dialect, raw: &str) -> bool {
    let Ok(told) = serde_json::from_str::<Value>(raw) else {
        return false;
    };
    let error = &told["error"];
    let form = match client {
        Dialect::Anthropic => told["type"] == "error" && error["type"].is_string(),
        Dialect::Gemini => error["status"].is_string() && error["code"].is_u64(),
        _ => error["code"].is_string() && error["type"].is_string(),
    };
    form && error["message"].is_string()
}
