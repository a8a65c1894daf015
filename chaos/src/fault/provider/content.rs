//! Answers that are whole and still wrong: P13 to P17, P23 to P25, P28, P29.

use serde_json::{Value, json};

use crate::fault::{Variant, variant};
use crate::mock::{Behaviour, Dialect, Draft, Edit, Form, Healthy, Kind, Words, edit};

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
    let spoilt = match dialect {
        Dialect::OpenAi => vec![
            ("no_choices", edit::replace("/choices", json!([]))),
            (
                "no_message",
                edit::replace("/choices/0/message", Value::Null),
            ),
            (
                "no_content",
                edit::replace("/choices/0/message/content", Value::Null),
            ),
        ],
        Dialect::Anthropic => vec![
            ("no_content", edit::replace("/content", json!([]))),
            ("null_content", edit::replace("/content", Value::Null)),
        ],
    };
    variants.extend(
        spoilt
            .into_iter()
            .map(|(name, edit)| variant(name, unary().edit(edit))),
    );
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
    let code = dialect.error_body(
        "invalid_request_error",
        Some("context_length_exceeded"),
        long,
    );
    let validation = json!({"__type": "ValidationException", "message": "Input is too long for requested model."});
    vec![
        variant("code", Behaviour::status(400).json(&code)),
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
    ]
}

pub(super) fn p25(dialect: Dialect) -> Vec<Variant> {
    let body = dialect.error_body(
        "invalid_request_error",
        Some("content_filter"),
        "the response was filtered",
    );
    let refused = variant("400", Behaviour::status(400).json(&body));
    match dialect {
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

/// Another model than the one asked for.
#[must_use]
pub fn p28(model: &str) -> Behaviour {
    Behaviour::healthy()
        .edit(edit::replace("/model", json!(model)))
        .edit(edit::replace("/message/model", json!(model)))
}

pub(super) fn p29(dialect: Dialect) -> Vec<Variant> {
    let (input, output) = match dialect {
        Dialect::OpenAi => ("/usage/prompt_tokens", "/usage/completion_tokens"),
        Dialect::Anthropic => ("/usage/input_tokens", "/usage/output_tokens"),
    };
    let missing = Behaviour::healthy()
        .edit(edit::remove("", "usage"))
        .edit(edit::remove("/message", "usage"))
        .edit(edit::without(Kind::Usage));
    let both = |value: Value| {
        Behaviour::healthy()
            .edit(edit::replace(input, value.clone()))
            .edit(edit::replace(output, value))
    };
    let mut variants = vec![
        variant("missing", missing),
        variant(
            "null",
            Behaviour::healthy()
                .edit(edit::replace("/usage", Value::Null))
                .edit(edit::replace("/message/usage", Value::Null)),
        ),
        variant("negative", both(json!(-5))),
        variant("absurd", both(json!(1_000_000_000))),
        variant("text", both(json!("12"))),
    ];
    match dialect {
        Dialect::OpenAi => {
            variants.push(variant(
                "total_is_not_the_sum",
                Behaviour::healthy().edit(edit::replace("/usage/total_tokens", json!(3))),
            ));
            variants.push(variant(
                "twice",
                Behaviour::healthy().edit(edit::twice(Kind::Usage)),
            ));
        }
        Dialect::Anthropic => variants.push(variant(
            "twice",
            Behaviour::healthy().edit(edit::twice(Kind::Finish)),
        )),
    }
    variants
}
