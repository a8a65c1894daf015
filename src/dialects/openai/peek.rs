//! What the gateway needs to know of a request, without building it.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::wishes::Wishes;
use crate::dialects::gemini;
use crate::dialects::json::{JsonError, Media, MemberSpan, members_of, scan_request};
use crate::domain::{ClientDialect, Failure, FailureKind, Operation, ServiceTier};

/// A request refused before any provider is asked: what, where, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    pub kind: FailureKind,
    pub message: String,
    pub param: Option<&'static str>,
}

impl RequestError {
    pub(super) fn at(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::InvalidRequest,
            message: message.into(),
            param: Some(param),
        }
    }
}

impl From<JsonError> for RequestError {
    fn from(error: JsonError) -> Self {
        let message = format!("the request body is not JSON the gateway accepts: {error}");
        Self {
            kind: FailureKind::InvalidRequest,
            message,
            param: None,
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let failure = Self::new(error.kind, error.message);
        match error.param {
            Some(param) => failure.at(param),
            None => failure,
        }
    }
}

/// The facts of a chat request and the places to splice.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatPeek {
    pub model: String,
    pub stream: bool,
    /// `None` when the client did not say.
    pub include_usage: Option<bool>,
    pub max_output: Option<u64>,
    /// Answers that are made and billed, whether or not all are shown.
    pub choices: u32,
    /// The answer may be spoken.
    pub aloud: bool,
    /// The lane of the provider's that is asked for.
    pub tier: Option<ServiceTier>,
    /// The client's own limit on the time it will wait.
    pub timeout: Option<Duration>,
    /// Where else it may go, and where not.
    pub wishes: Wishes,
    /// Bytes of files that came along: they are not text, and cost otherwise.
    pub attached: usize,
    /// What the text names or holds beside itself.
    pub media: Media,
    /// The answer is to be plain text instead of JSON.
    pub plain_text: bool,
    pub(super) spans: Spans,
}

impl ChatPeek {
    /// Whether a stream is to end with what was used.
    pub fn wants_usage(&self) -> bool {
        self.include_usage == Some(true) || self.wishes.cost
    }

    /// The same request for the model that its address names; what the body names does not count.
    pub fn addressed(mut self, model: String) -> Self {
        self.spans.model_differs |= self.model != model;
        self.model = model;
        self
    }

    /// Follows a body in which other bytes stand in these places now, with the length of each.
    pub fn moved(&mut self, edits: &[(Range<usize>, usize)]) {
        let place = |place: usize| {
            let before = edits.iter().filter(|(range, _)| range.end <= place);
            before.fold(place, |place, (range, length)| {
                (place + length).saturating_sub(range.len())
            })
        };
        let moved = |range: &mut Range<usize>| *range = place(range.start)..place(range.end);
        let spans = &mut self.spans;
        match &mut spans.model {
            ModelPlace::Nowhere => {}
            ModelPlace::Quoted(range) | ModelPlace::Bare(range) => moved(range),
            ModelPlace::Absent { at, .. } => *at = place(*at),
        }
        let options = [&mut spans.stream_options, &mut spans.include_usage];
        options.into_iter().flatten().for_each(moved);
        for span in &mut spans.ours {
            moved(span);
        }
        spans.end = place(spans.end);
    }
}

/// Where a request names its model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum ModelPlace {
    /// In its address.
    #[default]
    Nowhere,
    /// A JSON text, quotes included.
    Quoted(Range<usize>),
    /// A form's field.
    Bare(Range<usize>),
    /// Not at all; it goes in here, behind and before these words.
    Absent {
        at: usize,
        before: String,
        after: &'static str,
        quoted: bool,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) model: ModelPlace,
    /// The body's own model is not the one asked for.
    pub(super) model_differs: bool,
    pub(super) stream_options: Option<Range<usize>>,
    pub(super) include_usage: Option<Range<usize>>,
    /// Whole members that are ours and never leave, in order, each with one neighbouring comma.
    pub(super) ours: SmallVec<[Range<usize>; 2]>,
    /// Just before the closing brace.
    pub(super) end: usize,
}

/// Fields other gateways taught clients to send. They are for us, and no provider knows them.
pub(crate) const OURS: [&str; 20] = [
    "fallbacks",
    "disable_fallbacks",
    "num_retries",
    "timeout",
    "stream_timeout",
    "cache",
    "guardrails",
    "priority",
    "mock_response",
    "mock_testing_fallbacks",
    "drop_params",
    "no-log",
    "provider",
    "models",
    "route",
    "transforms",
    "plugins",
    "tags",
    "custom_llm_provider",
    "usage",
];

/// Where a request goes is decided by the configuration alone (attack A09).
pub(super) const REFUSED: [&str; 3] = ["api_base", "base_url", "api_key"];

const LONGEST_MODEL: usize = 256;
const MOST_OUTPUT: u64 = 10_000_000;
const MOST_CHOICES: u64 = 128;

/// A chat completion's facts.
pub fn peek_request(body: &[u8]) -> Result<ChatPeek, RequestError> {
    let peek = peek_as(body, ClientDialect::Openai)?;
    named(peek)
}

/// Refuses a request that names no model; a list of them will do.
pub(super) fn named(mut peek: ChatPeek) -> Result<ChatPeek, RequestError> {
    if peek.model.is_empty() && !peek.wishes.fallbacks.is_empty() {
        peek.model = peek.wishes.fallbacks.remove(0);
        peek.spans.model_differs = true;
    }
    if peek.model.is_empty() {
        return Err(RequestError::at(
            "model",
            "\"model\" is missing; GET /v1/models lists what there is",
        ));
    }
    Ok(peek)
}

/// The facts of a request of any dialect whose body names the model.
pub fn peek_named(body: &[u8], dialect: ClientDialect) -> Result<ChatPeek, RequestError> {
    named(peek_as(body, dialect)?)
}

/// The facts of a request whose address names the model.
pub fn peek_addressed(
    body: &[u8],
    dialect: ClientDialect,
    operation: Operation,
    model: &str,
) -> Result<ChatPeek, RequestError> {
    let peek = if operation == Operation::Chat {
        peek_as(body, dialect)?
    } else {
        peek_unnamed(body, dialect, operation)?
    };
    Ok(peek.addressed(usable(model)?))
}

/// A model's name as an address has it.
pub(super) fn usable(model: &str) -> Result<String, RequestError> {
    if model.is_empty() || model.len() > LONGEST_MODEL || model.chars().any(char::is_control) {
        return Err(RequestError::at(
            "model",
            "the address names no usable model; GET /v1/models lists what there is",
        ));
    }
    Ok(model.to_owned())
}

/// The facts of an operation whose body names the model.
pub fn peek_operation(
    body: &[u8],
    dialect: ClientDialect,
    operation: Operation,
) -> Result<ChatPeek, RequestError> {
    named(peek_unnamed(body, dialect, operation)?)
}

fn peek_unnamed(
    body: &[u8],
    dialect: ClientDialect,
    operation: Operation,
) -> Result<ChatPeek, RequestError> {
    let mut peek = if dialect == ClientDialect::Gemini {
        peek_google(body, operation)?
    } else {
        peek_with(body, dialect, Some(operation))?
    };
    if !operation.writes() {
        peek.max_output = Some(0);
        peek.choices = 1;
    }
    Ok(peek)
}

/// Google's operations beside generations have nothing but what they are given.
fn peek_google(body: &[u8], operation: Operation) -> Result<ChatPeek, RequestError> {
    let names = if operation == Operation::CountTokens {
        ["contents", "generateContentRequest"]
    } else if operation == Operation::EmbedOne {
        ["content", "content"]
    } else {
        ["requests", "requests"]
    };
    let (members, media) = scan_request(body)?;
    let given = members.iter().any(|member| {
        let key = body.get(member.key.clone()).unwrap_or_default();
        let value = body.get(member.value.clone()).unwrap_or_default();
        let known = names.iter().any(|name| key == name.as_bytes());
        (known || key == b"generate_content_request") && !is_nothing(value)
    });
    if !given {
        let [name, _] = names;
        return Err(RequestError::at(
            name,
            format!("{name:?} is missing or empty; there is nothing to do"),
        ));
    }
    Ok(ChatPeek {
        include_usage: Some(true),
        media,
        ..ChatPeek::empty()
    })
}

fn is_nothing(value: &[u8]) -> bool {
    matches!(value, b"" | b"null" | b"\"\"" | b"[]" | b"{}")
}

fn peek_as(body: &[u8], dialect: ClientDialect) -> Result<ChatPeek, RequestError> {
    peek_with(body, dialect, None)
}

/// Where a dialect keeps what is said, and what it must be.
fn content_of(dialect: ClientDialect) -> &'static str {
    match dialect {
        ClientDialect::Openai | ClientDialect::Anthropic => "messages",
        ClientDialect::Responses => "input",
        ClientDialect::Gemini => "contents",
    }
}

fn limit_of(dialect: ClientDialect) -> &'static str {
    match dialect {
        ClientDialect::Openai | ClientDialect::Anthropic | ClientDialect::Gemini => "max_tokens",
        ClientDialect::Responses => "max_output_tokens",
    }
}

#[expect(clippy::too_many_lines, reason = "a table of fields")]
fn peek_with(
    body: &[u8],
    dialect: ClientDialect,
    operation: Option<Operation>,
) -> Result<ChatPeek, RequestError> {
    let (members, media) = scan_request(body)?;
    let limit = limit_of(dialect);
    let content = operation.map_or_else(|| content_of(dialect), Operation::content);
    let mut peek = ChatPeek {
        // Everywhere else usage comes without being asked for.
        include_usage: (dialect != ClientDialect::Openai).then_some(true),
        media: Media {
            sources: match dialect {
                ClientDialect::Anthropic => media.sources,
                ClientDialect::Openai | ClientDialect::Responses | ClientDialect::Gemini => 0,
            },
            ..media
        },
        ..ChatPeek::empty()
    };
    let mut has_messages = false;
    let mut prompts = 1;
    let mut ours: SmallVec<[usize; 2]> = SmallVec::new();
    for (index, member) in members.iter().enumerate() {
        let key = body
            .get(member.key.clone())
            .and_then(|key| std::str::from_utf8(key).ok())
            .unwrap_or_default();
        let value = body.get(member.value.clone()).unwrap_or_default();
        match key {
            "model" => {
                peek.model = model(value)?;
                peek.spans.model = ModelPlace::Quoted(member.value.clone());
            }
            // What an operation is given has many forms; its provider judges them.
            key if key == content && operation.is_some() => {
                has_messages = !is_nothing(value);
                if operation == Some(Operation::Completions) {
                    prompts = prompts_in(value);
                }
            }
            key if key == content => has_messages = said(content, value, dialect)?,
            "generationConfig" | "generation_config" if dialect == ClientDialect::Gemini => {
                generation(body, member, &mut peek)?;
            }
            // What follows are names of the other dialects.
            _ if dialect == ClientDialect::Gemini => {}
            // Speech streams in any case; this asks for events around it.
            "stream_format" if operation == Some(Operation::Speech) => {
                peek.stream = value == b"\"sse\"";
            }
            "stream" if operation == Some(Operation::Speech) => {}
            "stream" => peek.stream = flag("stream", value)?.unwrap_or(false),
            "stream_options" if dialect == ClientDialect::Openai => {
                stream_options(body, member, &mut peek)?
            }
            key if key == limit => {
                peek.max_output = peek.max_output.max(count(limit, value, MOST_OUTPUT)?)
            }
            "max_completion_tokens" => {
                peek.max_output =
                    peek.max_output
                        .max(count("max_completion_tokens", value, MOST_OUTPUT)?);
            }
            // One prompt's answers are made from the best of so many.
            "n" => peek.choices = peek.choices.max(choices("n", value)?),
            "best_of" => peek.choices = peek.choices.max(choices("best_of", value)?),
            "speed" if value == b"\"fast\"" => peek.tier = Some(ServiceTier::Fast),
            "service_tier" if peek.tier != Some(ServiceTier::Fast) => {
                peek.tier = text(value).and_then(|word| ServiceTier::of(&word))
            }
            "modalities" => peek.aloud = memmem::find(value, b"audio").is_some(),
            "temperature" => within("temperature", value, 0.0, 2.0)?,
            "top_p" => within("top_p", value, 0.0, 1.0)?,
            "presence_penalty" => within("presence_penalty", value, -2.0, 2.0)?,
            "frequency_penalty" => within("frequency_penalty", value, -2.0, 2.0)?,
            key if REFUSED.contains(&key) => {
                let kind = FailureKind::InvalidRequest;
                let message = format!(
                    "{key:?} is not accepted: providers and their keys come from the gateway's configuration"
                );
                return Err(RequestError {
                    kind,
                    message,
                    param: None,
                });
            }
            key if OURS.contains(&key) => {
                if key == "timeout" {
                    peek.timeout = seconds(value);
                }
                peek.wishes.read(key, value)?;
                ours.push(index);
            }
            _ => {}
        }
    }
    if !has_messages {
        return Err(RequestError::at(
            content,
            match operation {
                None => format!("{content:?} is missing; send at least one message"),
                Some(_) => format!("{content:?} is missing or empty; there is nothing to do"),
            },
        ));
    }
    peek.choices = peek.choices.saturating_mul(prompts);
    if peek.spans.model == ModelPlace::Nowhere && dialect != ClientDialect::Gemini {
        peek.spans.model = absent(body);
    }
    peek.spans.ours = ours
        .iter()
        .map(|index| with_comma(&members, *index, &ours))
        .collect();
    peek.spans.end = body
        .iter()
        .rposition(|byte| *byte == b'}')
        .unwrap_or(body.len());
    Ok(peek)
}

/// A model goes in before everything else: what follows is never nothing.
fn absent(body: &[u8]) -> ModelPlace {
    let brace = body.iter().position(|byte| *byte == b'{');
    ModelPlace::Absent {
        at: brace.map_or(0, |brace| brace + 1),
        before: "\"model\":".to_owned(),
        after: ",",
        quoted: true,
    }
}

impl ChatPeek {
    pub(super) fn empty() -> Self {
        Self {
            model: String::new(),
            stream: false,
            include_usage: None,
            max_output: None,
            choices: 1,
            aloud: false,
            tier: None,
            timeout: None,
            wishes: Wishes::default(),
            attached: 0,
            media: Media::default(),
            plain_text: false,
            spans: Spans::default(),
        }
    }
}

fn model(value: &[u8]) -> Result<String, RequestError> {
    let text: Cow<'_, str> =
        text(value).ok_or_else(|| RequestError::at("model", "\"model\" must be a text"))?;
    printable(text.into_owned())
}

pub(super) fn printable(text: String) -> Result<String, RequestError> {
    if text.is_empty() || text.len() > LONGEST_MODEL || text.chars().any(char::is_control) {
        return Err(RequestError::at(
            "model",
            format!("\"model\" must have 1 to {LONGEST_MODEL} printable characters"),
        ));
    }
    Ok(text)
}

fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_slice::<Text<'_>>(value)
        .ok()
        .map(|text| text.0)
}

/// The limit on the answer, which Google's form keeps one level down.
/// Google keeps the limits of a generation in an object of their own.
fn generation(body: &[u8], member: &MemberSpan, peek: &mut ChatPeek) -> Result<(), RequestError> {
    if body.get(member.value.start) != Some(&b'{') {
        return Ok(());
    }
    for member in members_of(body, &member.value) {
        let name = body.get(member.key.clone()).unwrap_or_default();
        let value = body.get(member.value.clone()).unwrap_or_default();
        // Google takes 100.0 and "100", too.
        let whole = || {
            let read = serde_json::from_slice(value).ok();
            let whole = read.and_then(|value| gemini::whole_number(&value));
            whole.map_or(Cow::Borrowed(value), |whole| {
                Cow::Owned(whole.to_string().into_bytes())
            })
        };
        match name {
            b"maxOutputTokens" | b"max_output_tokens" => {
                let limit = "generationConfig.maxOutputTokens";
                peek.max_output = count(limit, &whole(), MOST_OUTPUT)?;
            }
            b"candidateCount" | b"candidate_count" => {
                let count = count("generationConfig.candidateCount", &whole(), MOST_CHOICES)?;
                let count = count.and_then(|count| u32::try_from(count).ok());
                peek.choices = count.unwrap_or(1);
            }
            b"responseModalities" | b"response_modalities" => {
                peek.aloud = memmem::find(value, b"AUDIO").is_some();
            }
            _ => {}
        }
    }
    Ok(())
}

/// Chat wants a list of messages; the others let a text, or one turn, stand alone.
fn said(name: &'static str, value: &[u8], dialect: ClientDialect) -> Result<bool, RequestError> {
    let alone = match dialect {
        ClientDialect::Openai | ClientDialect::Anthropic => false,
        ClientDialect::Responses => value.len() > 2 && value.first() == Some(&b'"'),
        ClientDialect::Gemini => matches!(value.first(), Some(b'"' | b'{')),
    };
    if alone {
        return Ok(true);
    }
    messages(value).map_err(|error| RequestError {
        message: error.message.replace("\"messages\"", &format!("{name:?}")),
        param: Some(name),
        ..error
    })
}

fn messages(value: &[u8]) -> Result<bool, RequestError> {
    let inside = value.strip_prefix(b"[").unwrap_or_default();
    let first = inside.iter().find(|byte| !byte.is_ascii_whitespace());
    match (value.first(), first) {
        (Some(b'['), Some(b'{')) => Ok(true),
        (Some(b'['), Some(b']')) => Err(RequestError::at(
            "messages",
            "\"messages\" is empty; send at least one message",
        )),
        (Some(b'['), _) => Err(RequestError::at(
            "messages[0]",
            "each message must be an object with role and content",
        )),
        _ => Err(RequestError::at(
            "messages",
            "\"messages\" must be a list of messages",
        )),
    }
}

pub(super) fn flag(name: &'static str, value: &[u8]) -> Result<Option<bool>, RequestError> {
    match value {
        b"true" => Ok(Some(true)),
        b"false" => Ok(Some(false)),
        b"null" => Ok(None),
        _ => Err(RequestError::at(
            name,
            format!("{name:?} must be true or false"),
        )),
    }
}

fn number(value: &[u8]) -> Option<f64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

pub(super) fn count(
    name: &'static str,
    value: &[u8],
    most: u64,
) -> Result<Option<u64>, RequestError> {
    if value == b"null" {
        return Ok(None);
    }
    let whole: Option<u64> = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    whole
        .filter(|count| (1..=most).contains(count))
        .map(Some)
        .ok_or_else(|| {
            RequestError::at(
                name,
                format!("{name:?} must be a whole number from 1 to {most}"),
            )
        })
}

/// A list of texts is answered text by text; a list of numbers is one text.
fn prompts_in(value: &[u8]) -> u32 {
    let Some(items) = value.strip_prefix(b"[") else {
        return 1;
    };
    let first = items.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'"' | b'[')) {
        return 1;
    }
    let count = serde_json::from_slice::<Vec<&RawValue>>(value).map_or(1, |list| list.len());
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn choices(name: &'static str, value: &[u8]) -> Result<u32, RequestError> {
    Ok(count(name, value, MOST_CHOICES)?
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1))
}

fn within(name: &'static str, value: &[u8], least: f64, most: f64) -> Result<(), RequestError> {
    if value == b"null" || number(value).is_some_and(|number| (least..=most).contains(&number)) {
        return Ok(());
    }
    Err(RequestError::at(
        name,
        format!("{name:?} must be a number from {least} to {most}"),
    ))
}

pub(super) fn seconds(value: &[u8]) -> Option<Duration> {
    number(value)
        .filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

fn stream_options(
    body: &[u8],
    member: &MemberSpan,
    peek: &mut ChatPeek,
) -> Result<(), RequestError> {
    let value = body.get(member.value.clone()).unwrap_or_default();
    if value == b"null" {
        peek.spans.stream_options = Some(member.value.clone());
        return Ok(());
    }
    if value.first() != Some(&b'{') {
        return Err(RequestError::at(
            "stream_options",
            "\"stream_options\" must be an object",
        ));
    }
    for option in members_of(body, &member.value) {
        if body.get(option.key.clone()) == Some(b"include_usage") {
            let value = body.get(option.value.clone()).unwrap_or_default();
            peek.include_usage = flag("stream_options.include_usage", value)?;
            peek.spans.include_usage = Some(option.value.clone());
        }
    }
    peek.spans.stream_options = Some(member.value.clone());
    Ok(())
}

/// A whole member and the comma that goes with it, so that what is left is still an object: the comma
/// behind, or, when nothing that stays follows, the comma before.
fn with_comma(members: &[MemberSpan], index: usize, ours: &[usize]) -> Range<usize> {
    let Some(member) = members.get(index) else {
        return 0..0;
    };
    let start = member.key.start - 1;
    let something_stays_behind = (index + 1..members.len()).any(|later| !ours.contains(&later));
    match (
        members.get(index + 1),
        index.checked_sub(1).and_then(|before| members.get(before)),
    ) {
        (Some(next), _) if something_stays_behind => start..next.key.start - 1,
        (_, Some(before)) => before.value.end..member.value.end,
        _ => start..member.value.end,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> String {
        peek_request(body.as_bytes()).unwrap_err().message
    }

    const MESSAGES: &str = r#""messages":[{"role":"user","content":"x"}]"#;

    #[test]
    fn the_facts_of_a_request_are_found() {
        let body = format!(
            r#"{{"model":"fast","stream":true,"stream_options":{{"include_usage":true}},"max_tokens":7,"n":2,"timeout":1.5,{MESSAGES}}}"#
        );
        let peek = peek_request(body.as_bytes()).unwrap();
        assert_eq!(
            (peek.model.as_str(), peek.stream, peek.include_usage),
            ("fast", true, Some(true))
        );
        assert_eq!(
            (peek.max_output, peek.choices, peek.timeout),
            (Some(7), 2, Some(Duration::from_millis(1_500)))
        );
    }

    #[test]
    fn places_follow_a_body_in_which_other_words_stand() {
        let said = r#"[{"role":"user","content":"Anna"}]"#;
        for body in [
            format!(
                r#"{{"model":"m","messages":{said},"stream_options":{{"include_usage":false}},"tags":["Anna"]}}"#
            ),
            format!(
                r#"{{"user":"Anna","timeout":5,"messages":{said},"stream_options":{{}},"model":"m"}}"#
            ),
            format!(r#"{{"models":["m"],"user":"Anna","messages":{said}}}"#),
        ] {
            for with in ["<PERSON_1>", "A", ""] {
                let places = memchr::memmem::find_iter(body.as_bytes(), "Anna");
                let edits: Vec<_> = places.map(|at| (at..at + 4, with.len())).collect();
                let mut peek = peek_request(body.as_bytes()).unwrap();
                peek.moved(&edits);
                let after = body.replace("Anna", with);
                let mut fresh = peek_request(after.as_bytes()).unwrap();
                // What it wishes was read before.
                fresh.wishes = peek.wishes.clone();
                assert_eq!(peek, fresh, "{after}");
            }
        }
    }

    /// How many answers are billed, and what comes beside the text.
    fn extent(
        body: &str,
        dialect: ClientDialect,
        operation: Option<Operation>,
    ) -> (u32, u32, u32, bool) {
        let peek = match operation {
            None => peek_as(body.as_bytes(), dialect).unwrap(),
            Some(operation) => peek_unnamed(body.as_bytes(), dialect, operation).unwrap(),
        };
        (
            peek.choices,
            peek.media.pictures,
            peek.media.files + peek.media.sources,
            peek.aloud,
        )
    }

    #[test]
    fn a18_every_answer_that_is_billed_is_counted() {
        let completions = |more: &str| {
            let body = format!(r#"{{"model":"m",{more}}}"#);
            extent(&body, ClientDialect::Openai, Some(Operation::Completions)).0
        };
        assert_eq!(completions(r#""prompt":"x","n":2,"best_of":5"#), 5);
        assert_eq!(
            completions(r#""prompt":["a","b","c"],"best_of":5,"n":2"#),
            15
        );
        assert_eq!(completions(r#""prompt":[1,2,3]"#), 1);
        let dearer = br#"{"model":"m","service_tier":"priority","messages":[{}]}"#;
        let tier = peek_as(dearer, ClientDialect::Openai).unwrap().tier;
        assert_eq!(tier, Some(ServiceTier::Priority));
        let fast =
            br#"{"model":"m","speed":"fast","service_tier":"auto","max_tokens":5,"messages":[{}]}"#;
        let tier = peek_as(fast, ClientDialect::Anthropic).unwrap().tier;
        assert_eq!(tier, Some(ServiceTier::Fast));
        assert_eq!(completions(r#""prompt": [ [1,2],[3]],"n":2"#), 4);
        let google = r#"{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"candidateCount":3,"maxOutputTokens":"7"}}"#;
        assert_eq!(extent(google, ClientDialect::Gemini, None).0, 3);
    }

    #[test]
    fn a18_pictures_files_and_sound_are_counted_wherever_they_stand() {
        let chat = r#"{"model":"m","modalities":["text","audio"],"messages":[{"role":"user","content":[
            {"type":"image_url","image_url":{"url":"https://a.example/x.png"}},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},
            {"type":"file","file":{"file_id":"f"}},{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}},
            {"type":"text","text":"\"file_id\": \"image_url\", source"}]}]}"#;
        assert_eq!(extent(chat, ClientDialect::Openai, None), (1, 2, 2, true));
        let anthropic = r#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":[
            {"type":"document","source":{"type":"url","url":"https://a.example/x.pdf"}}]}]}"#;
        assert_eq!(
            extent(anthropic, ClientDialect::Anthropic, None),
            (1, 0, 1, false)
        );
        let google = r#"{"contents":[{"parts":[{"inline_data":{"mimeType":"a/b","data":"AA"}},{"fileData":{"fileUri":"gs://x"}}]}]}"#;
        assert_eq!(extent(google, ClientDialect::Gemini, None).2, 3);
        let responses = r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"https://a.example/x"},
            {"type":"input_file","file_url":"https://a.example/y"}]}],"tools":[{"type":"function","name":"f","parameters":{"properties":{"source":{}}}}]}"#;
        assert_eq!(
            extent(responses, ClientDialect::Responses, None),
            (1, 1, 1, false)
        );
    }

    #[test]
    fn l06_numbers_out_of_range_are_refused_before_anything_is_reserved() {
        for (field, value) in [
            ("max_tokens", "1000000000000000000"),
            ("max_tokens", "-1"),
            ("max_tokens", "1.5"),
            ("max_completion_tokens", "0"),
            ("max_tokens", "\"7\""),
            ("n", "10000"),
            ("temperature", "1e999"),
            ("temperature", "2.1"),
            ("top_p", "-0.1"),
            ("stream", "1"),
        ] {
            let message = refused(&format!(r#"{{"model":"m",{MESSAGES},"{field}":{value}}}"#));
            assert!(
                message.contains(field) && message.contains("must"),
                "{field} {value}: {message}"
            );
        }
    }

    #[test]
    fn a09_an_address_or_a_key_in_the_request_is_refused() {
        for field in REFUSED {
            let message = refused(&format!(
                r#"{{"model":"m",{MESSAGES},"{field}":"http://169.254.169.254"}}"#
            ));
            assert!(
                message.contains("configuration") && !message.contains("169"),
                "{message}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_cure() {
        assert!(refused(&format!("{{{MESSAGES}}}")).contains("/v1/models"));
        assert!(refused(r#"{"model":"m"}"#).contains("at least one"));
        assert!(refused(r#"{"model":"m","messages":[]}"#).contains("empty"));
        assert!(refused(r#"{"model":"m","messages":["x"]}"#).contains("object"));
        assert!(refused(r#"{"model":5,"messages":[{}]}"#).contains("text"));
        assert!(refused(r#"{"model":"a\u0000b","messages":[{}]}"#).contains("printable"));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = peek_request(&body);
        }

        #[test]
        fn no_shape_panics(body in "\\{(\"(model|messages|stream|stream_options|n|max_tokens|timeout)\":(null|true|\\[\\]|\\{\\}|\\[\\{\\}\\]|\"a\"|-?[0-9]{1,3}),?){0,6}\\}") {
            let _ = peek_request(body.as_bytes());
        }
    }
}
