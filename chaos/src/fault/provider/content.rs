//! Answers that are whole and still wrong: P13 to P17, P23 to P25, P28, P29.

use serde_json::{Value, json};

use crate::fault::{Variant, variant};
use crate::mock::{Behaviour, Dialect, Draft, Edit, Form, Healthy, Kind, Weather, Words, edit};

pub(super) const LOGIN: &str =
    "<!doctype html><html><head><title>Sign in</title></head><body><form>…</form></body></html>";

pub(super) fn unary() -> Behaviour {
    Healthy {
        form: Form::Unary,
        ..Healthy::default()
    }
    .into()
}

pub(super) fn p13(dialect: Dialect) -> Vec<Variant> {
    let overloaded = dialect.error_body("overloaded_error", Some("overloaded"), "Overloaded");
    vec![
        variant(
            "inner_502",
            Behaviour::status(200)
                .json(&json!({"error": {"code": 502, "message": "Provider returned error"}})),
        ),
        variant(
            "inner_429",
            Behaviour::status(200)
                .json(&json!({"error": {"code": 429, "message": "Rate limited"}})),
        ),
        variant("typed", Behaviour::status(200).json(&overloaded)),
    ]
}

pub(super) fn p14(dialect: Dialect) -> Vec<Variant> {
    let json = |body: &'static str| Behaviour::status(200).body("application/json", body);
    let mut variants = vec![
        variant("empty", json("")),
        variant("braces", json("{}")),
        variant("null", json("null")),
    ];
    variants.extend(dialect.places().blanks.iter().map(|blank| {
        let spoilt = edit::replace(blank.pointer, blank.value());
        variant(blank.name, unary().edit(spoilt))
    }));
    variants
}

pub(super) fn p15(_: Dialect) -> Vec<Variant> {
    let spoilt = |change: fn(&[u8]) -> Vec<u8>| unary().edit(edit::rewrite(change));
    vec![
        variant(
            "half",
            spoilt(|body| body.get(..body.len() / 2).unwrap_or_default().to_vec()),
        ),
        variant("bom", spoilt(|body| [b"\xEF\xBB\xBF", body].concat())),
        variant("utf8", spoilt(|body| replace_last(body, b"-", b"\xC3\x28"))),
        variant(
            "trailing_comma",
            spoilt(|body| replace_last(body, b"}", b",}")),
        ),
        variant(
            "nan",
            spoilt(|body| replace_last(body, b"\"usage\":", b"\"score\":NaN,\"usage\":")),
        ),
    ]
}

fn replace_last(body: &[u8], needle: &[u8], with: &[u8]) -> Vec<u8> {
    let Some(place) = memchr::memmem::rfind(body, needle) else {
        return body.to_vec();
    };
    let (front, back) = body.split_at(place);
    [front, with, back.get(needle.len()..).unwrap_or_default()].concat()
}

pub(super) fn p17(_: Dialect) -> Vec<Variant> {
    let form = |form: Form| {
        Behaviour::from(Healthy {
            form,
            ..Healthy::default()
        })
    };
    vec![
        variant("sse_unasked", form(Form::Stream)),
        variant("json_unasked", form(Form::Unary)),
        variant(
            "text_plain",
            Behaviour::healthy().edit(edit::content_type("text/plain; charset=utf-8")),
        ),
    ]
}

pub(super) fn p23(dialect: Dialect) -> Vec<Variant> {
    vec![
        variant(
            "404",
            dialect.error(
                404,
                "the model `mock-model` does not exist or you do not have access to it",
            ),
        ),
        variant(
            "410",
            dialect.error(410, "the model `mock-model` has been retired"),
        ),
        variant(
            "deprecated",
            dialect.error(
                400,
                "the model `mock-model` has been deprecated, use `mock-model-2`",
            ),
        ),
    ]
}

pub(super) fn p24(dialect: Dialect) -> Vec<Variant> {
    let long = "This model's maximum context length is 128000 tokens, however your messages resulted in 130001 tokens";
    let code = dialect.error_of(
        400,
        "invalid_request_error",
        Some("context_length_exceeded"),
        long,
    );
    let validation = json!({"__type": "ValidationException", "message": "Input is too long for requested model."});
    let own = match dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => None,
        Dialect::Bedrock => Some(dialect.error(400, "Input is too long for requested model.")),
        Dialect::Ollama => Some(dialect.error(
            400,
            "the input length exceeds the context length",
        )),
        Dialect::Cohere => Some(dialect.error(
            400,
            "too many tokens: size limit exceeded by 2001 tokens. Try using shorter or fewer inputs.",
        )),
        Dialect::Gemini => Some(dialect.error(
            400,
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
        )),
    };
    let own = own.map(|own| variant("own_words", own));
    let others = [
        variant("code", code),
        variant(
            "prompt_is_too_long",
            dialect.error(400, "prompt is too long: 205000 tokens > 200000 maximum"),
        ),
        variant(
            "validation_exception",
            Behaviour::status(400)
                .header("x-amzn-errortype", "ValidationException")
                .json(&validation),
        ),
    ];
    own.into_iter().chain(others).collect()
}

pub(super) fn p25(dialect: Dialect) -> Vec<Variant> {
    let body = dialect.error_of(
        400,
        "invalid_request_error",
        Some("content_filter"),
        "the response was filtered",
    );
    let refused = variant("400", body);
    match dialect {
        Dialect::Responses => p25_responses(refused),
        Dialect::Gemini => p25_gemini(),
        Dialect::Bedrock => p25_bedrock(refused),
        Dialect::Cohere => p25_cohere(refused),
        // It runs what it is given; there is no filter.
        Dialect::Ollama => Vec::new(),
        Dialect::OpenAi => {
            let silent = Healthy {
                words: Words::Given(Vec::new()),
                ..Healthy::default()
            };
            let filtered = Behaviour::from(silent)
                .edit(edit::replace(
                    "/choices/0/finish_reason",
                    json!("content_filter"),
                ))
                .edit(edit::replace("/choices/0/message/content", Value::Null));
            let refusal = unary()
                .edit(Edit::new(|draft: &mut Draft| {
                    for document in draft.documents() {
                        if let Some(message) = document.pointer_mut("/choices/0/message") {
                            *message = json!({"role": "assistant", "content": null, "refusal": "I can't help with that."});
                        }
                    }
                }));
            vec![
                refused,
                variant("finish", filtered),
                variant("refusal", refusal),
            ]
        }
        Dialect::Anthropic => {
            let refusal = Behaviour::healthy()
                .edit(edit::replace("/stop_reason", json!("refusal")))
                .edit(edit::replace("/delta/stop_reason", json!("refusal")));
            vec![refused, variant("refusal", refusal)]
        }
    }
}

fn p25_cohere(refused: Variant) -> Vec<Variant> {
    let toxic = Behaviour::healthy()
        .edit(edit::replace("/finish_reason", json!("ERROR_TOXIC")))
        .edit(edit::replace("/delta/finish_reason", json!("ERROR_TOXIC")));
    vec![refused, variant("toxic", toxic)]
}

fn p25_bedrock(refused: Variant) -> Vec<Variant> {
    let stopped =
        |reason: &str| Behaviour::healthy().edit(edit::replace("/stopReason", json!(reason)));
    vec![
        refused,
        variant("guardrail", stopped("guardrail_intervened")),
        variant("filtered", stopped("content_filtered")),
    ]
}

/// Cut by the filter, in every form of answer, and a prompt that gets no candidate at all.
fn p25_gemini() -> Vec<Variant> {
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}, "modelVersion": "mock-model"});
    let cut = |reason: &str| {
        let few = Weather::default().tokens(3);
        Behaviour::from(few).edit(edit::replace("/candidates/0/finishReason", json!(reason)))
    };
    vec![
        variant("prompt", Behaviour::status(200).json(&blocked)),
        variant("safety", cut("SAFETY")),
        variant("recitation", cut("RECITATION")),
        variant("prohibited", cut("PROHIBITED_CONTENT")),
    ]
}

fn p25_responses(refused: Variant) -> Vec<Variant> {
    let filtered = |parent: &'static str| {
        Edit::new(move |draft: &mut Draft| {
            for document in draft.documents() {
                if let Some(Value::Object(answer)) = document.pointer_mut(parent)
                    && answer.get("status") == Some(&json!("completed"))
                {
                    answer.insert("status".to_owned(), json!("incomplete"));
                    let why = json!({"reason": "content_filter"});
                    answer.insert("incomplete_details".to_owned(), why);
                    answer.insert("output".to_owned(), json!([]));
                }
            }
        })
    };
    let silent = Healthy {
        form: Form::Unary,
        words: Words::Given(Vec::new()),
        ..Healthy::default()
    };
    let refusal = json!([{"type": "refusal", "refusal": "I can't help with that."}]);
    let refusal = unary().edit(edit::replace("/output/0/content", refusal));
    vec![
        refused,
        variant("incomplete", Behaviour::from(silent).edit(filtered(""))),
        variant("refusal", refusal),
    ]
}

/// Another model than the one asked for; `None` where answers do not name their model.
#[must_use]
pub fn p28(dialect: Dialect, model: &str) -> Option<Behaviour> {
    let places = dialect.places().model;
    let swap =
        |healthy: Behaviour, place: &&'static str| healthy.edit(edit::replace(place, json!(model)));
    (!places.is_empty()).then(|| places.iter().fold(Behaviour::healthy(), swap))
}

pub(super) fn p29(dialect: Dialect) -> Vec<Variant> {
    let places = dialect.places();
    let each = |edits: Vec<Edit>| {
        edits
            .into_iter()
            .fold(Behaviour::healthy(), Behaviour::edit)
    };
    let parents = places.usage.iter();
    let mut missing: Vec<Edit> = parents
        .clone()
        .map(|(parent, member)| edit::remove(parent, member))
        .collect();
    missing.push(edit::without(Kind::Usage));
    let nulls = parents.map(|(parent, member)| null_member(parent, member));
    let both = |value: Value| {
        let numbers = places.tokens.iter();
        each(
            numbers
                .map(|place| edit::replace(place, value.clone()))
                .collect(),
        )
    };
    let mut variants = vec![
        variant("missing", each(missing)),
        variant("null", each(nulls.collect())),
        variant("negative", both(json!(-5))),
        variant("absurd", both(json!(1_000_000_000))),
        variant("text", both(json!("12"))),
    ];
    if !places.total.is_empty() {
        let sums = places.total.iter();
        let wrong = each(sums.map(|place| edit::replace(place, json!(3))).collect());
        variants.push(variant("total_is_not_the_sum", wrong));
    }
    variants.push(variant("twice", each(vec![edit::twice(places.usage_in)])));
    variants
}

/// `null` where usage would be told; where there was none, none appears.
fn null_member(parent: &'static str, member: &'static str) -> Edit {
    Edit::new(move |draft: &mut Draft| {
        for document in draft.documents() {
            if let Some(found) = document
                .pointer_mut(parent)
                .and_then(|found| found.get_mut(member))
            {
                *found = Value::Null;
            }
        }
    })
}
