//! Section 1: provider faults.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::bomb::gzip_zeros;
use super::{Row, Variant, answer, variant};
use crate::http1::{self, LAST_CHUNK, chunk};
use crate::mock::{
    Behaviour, Body, Dialect, Draft, Edit, Ending, Form, Healthy, Kind, Part, Step, Weather, Words,
    edit, head, short_duration,
};

pub(super) const ROWS: &[Row] = &[
    answer("P01", "rate limit, integer", |dialect| {
        vec![variant("7s", p01(dialect, 7))]
    }),
    answer("P02", "rate limit as a date, by a skewed clock", p02),
    answer(
        "P03",
        "rate limit in milliseconds and fractions",
        |dialect| {
            vec![
                variant("ms", p03(dialect, "retry-after-ms", "1250")),
                variant("fraction", p03(dialect, "retry-after", "0.5")),
            ]
        },
    ),
    answer("P04", "absurd pushback", p04),
    answer("P05", "limits told on 200", |dialect| {
        vec![variant("tokens", p05(dialect, Duration::from_secs(360)))]
    }),
    answer("P06", "Anthropic's limits told on 200", p06),
    answer("P07", "limit in the body only", p07),
    answer("P08", "overloaded", |dialect| {
        vec![
            variant("529", p08(dialect)),
            variant("503", Behaviour::status(503)),
        ]
    }),
    answer("P09", "CDN error page", p09),
    answer("P10", "hard down", |dialect| {
        vec![variant("500", p10(dialect))]
    }),
    answer("P11", "partly failing", |dialect| {
        vec![variant("30_percent", p11(dialect, 0.3, 11))]
    }),
    answer("P12", "flapping", |dialect| {
        vec![variant(
            "5s",
            p12(dialect, Duration::from_secs(5), Duration::from_secs(5)),
        )]
    }),
    answer("P13", "200 with an error in its body", p13),
    answer("P14", "200 without an answer", p14),
    answer("P15", "broken JSON", p15),
    answer("P16", "HTML with 200", |_| {
        vec![variant(
            "login",
            Behaviour::status(200).body("text/html; charset=utf-8", LOGIN),
        )]
    }),
    answer("P17", "wrong form", p17),
    answer("P18", "wrong length", p18),
    answer("P19", "ambiguous framing", p19),
    answer("P20", "slow head", |_| {
        vec![variant("45s", p20(Duration::from_secs(45)))]
    }),
    answer("P21", "pings only", |_| {
        vec![variant(
            "60s",
            p21(Duration::from_secs(5), Duration::from_secs(60)),
        )]
    }),
    answer("P22", "brown-out", |_| vec![variant("ten_times", p22(10))]),
    answer("P23", "model gone", p23),
    answer("P24", "context too long", p24),
    answer("P25", "content filter", p25),
    answer(
        "P26",
        "region down (set on every mock of the region)",
        |dialect| vec![variant("500", p10(dialect))],
    ),
    answer("P27", "poison request", |dialect| {
        vec![variant("marker", p27(dialect, "[[poison]]"))]
    }),
    answer("P28", "model swapped", |_| {
        vec![variant("other", p28("another-model"))]
    }),
    answer("P29", "usage wrong", p29),
    answer("P30", "redirect", |_| {
        [("302", 302), ("307", 307)]
            .map(|(name, status)| {
                variant(
                    name,
                    Behaviour::status(status).header("location", "http://127.0.0.2:1/v1/elsewhere"),
                )
            })
            .into()
    }),
    answer("P31", "odd statuses", p31),
    answer("P32", "oversize answer", p32),
    answer("P33", "compression bomb", p33),
    answer(
        "P34",
        "correlated half failure (set on every mock, each with its seed)",
        |dialect| vec![variant("half", p34(dialect, 34))],
    ),
    answer("P35", "all down (set on every mock)", |dialect| {
        vec![variant("500", p10(dialect))]
    }),
];

const LOGIN: &str =
    "<!doctype html><html><head><title>Sign in</title></head><body><form>…</form></body></html>";

fn limited(dialect: Dialect) -> Behaviour {
    let kind = match dialect {
        Dialect::OpenAi => "rate_limit_exceeded",
        Dialect::Anthropic => "rate_limit_error",
    };
    Behaviour::status(429).json(&dialect.error_body(
        kind,
        Some("rate_limit_exceeded"),
        "rate limit reached",
    ))
}

/// 429 with `retry-after` in whole seconds.
#[must_use]
pub fn p01(dialect: Dialect, seconds: u64) -> Behaviour {
    limited(dialect).header("retry-after", seconds.to_string())
}

/// 7 s after the answer's own `date`, which is five minutes off; decided when the request comes.
fn p02(dialect: Dialect) -> Vec<Variant> {
    let skewed = |skew: i64| {
        Behaviour::choose(move |_| {
            let now = http1::unix_now().saturating_add(skew);
            limited(dialect)
                .header("date", http1::http_date(now))
                .header("retry-after", http1::http_date(now.saturating_add(7)))
        })
    };
    vec![variant("fast", skewed(300)), variant("slow", skewed(-300))]
}

/// 429 with this pushback field.
#[must_use]
pub fn p03(dialect: Dialect, field: &str, value: &str) -> Behaviour {
    limited(dialect).header(field, value)
}

fn p04(dialect: Dialect) -> Vec<Variant> {
    let one = |value: &str| limited(dialect).header("retry-after", value);
    vec![
        variant("negative", one("-1")),
        variant("words", one("abc")),
        variant("empty", one("")),
        variant("huge", one("999999")),
        variant("two", one("3").header("retry-after", "7")),
    ]
}

/// A healthy answer that says how much is left.
pub(super) fn remaining(dialect: Dialect, left: u64, reset: Duration) -> Behaviour {
    let healthy = Behaviour::healthy();
    match dialect {
        Dialect::OpenAi => healthy
            .header("x-ratelimit-remaining-requests", left.to_string())
            .header("x-ratelimit-reset-requests", short_duration(reset)),
        Dialect::Anthropic => Behaviour::choose(move |_| {
            Behaviour::healthy()
                .header("anthropic-ratelimit-requests-remaining", left.to_string())
                .header("anthropic-ratelimit-requests-reset", at(reset))
        }),
    }
}

/// The moment that long from now; to be called when the request comes.
fn at(wait: Duration) -> String {
    http1::rfc3339(
        http1::unix_now().saturating_add(i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)),
    )
}

/// 200 with no tokens left until `reset`.
#[must_use]
pub fn p05(dialect: Dialect, reset: Duration) -> Behaviour {
    match dialect {
        Dialect::OpenAi => Behaviour::healthy()
            .header("x-ratelimit-limit-tokens", "30000")
            .header("x-ratelimit-remaining-tokens", "0")
            .header("x-ratelimit-reset-tokens", short_duration(reset)),
        Dialect::Anthropic => p06_of("tokens", reset),
    }
}

fn p06_of(what: &'static str, reset: Duration) -> Behaviour {
    Behaviour::choose(move |_| {
        Behaviour::healthy()
            .header(&format!("anthropic-ratelimit-{what}-limit"), "8000")
            .header(&format!("anthropic-ratelimit-{what}-remaining"), "0")
            .header(&format!("anthropic-ratelimit-{what}-reset"), at(reset))
    })
}

fn p06(dialect: Dialect) -> Vec<Variant> {
    match dialect {
        Dialect::OpenAi => Vec::new(),
        Dialect::Anthropic => vec![
            variant(
                "output_tokens",
                p06_of("output-tokens", Duration::from_secs(30)),
            ),
            variant(
                "input_tokens",
                p06_of("input-tokens", Duration::from_secs(30)),
            ),
        ],
    }
}

fn p07(dialect: Dialect) -> Vec<Variant> {
    let with = |detail: Value| {
        let mut body = dialect.error_body(
            "rate_limit_error",
            Some("429"),
            "resource has been exhausted",
        );
        if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
            error.insert("details".to_owned(), json!([detail]));
        }
        Behaviour::status(429).json(&body)
    };
    let per_day = json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]});
    vec![
        variant(
            "retry_delay",
            with(
                json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.837906927s"}),
            ),
        ),
        variant("per_day", with(per_day)),
    ]
}

/// 529 with the overloaded type.
#[must_use]
pub fn p08(dialect: Dialect) -> Behaviour {
    Behaviour::status(529).json(&dialect.error_body(
        "overloaded_error",
        Some("overloaded"),
        "Overloaded",
    ))
}

fn p09(_: Dialect) -> Vec<Variant> {
    let page = format!(
        "<!DOCTYPE html><html><head><title>error</title></head><body>{}</body></html>",
        "<p>Ray ID</p>".repeat(3100)
    );
    [("502", 502), ("520", 520), ("524", 524)]
        .map(|(name, status)| {
            variant(
                name,
                Behaviour::status(status).body("text/html; charset=UTF-8", page.clone()),
            )
        })
        .into()
}

/// Every request 500, 20 ms after it came.
#[must_use]
pub fn p10(dialect: Dialect) -> Behaviour {
    dialect
        .error(500, "the server had an error while processing your request")
        .delayed(Duration::from_millis(20))
}

/// 500 for this share of requests.
#[must_use]
pub fn p11(dialect: Dialect, share: f64, seed: u64) -> Behaviour {
    Behaviour::share(share, seed, p10(dialect))
}

/// Good for a while, 500 for a while, from the mock's start on.
#[must_use]
pub fn p12(dialect: Dialect, good: Duration, ill: Duration) -> Behaviour {
    Behaviour::flapping(good, ill, p10(dialect))
}

fn p13(dialect: Dialect) -> Vec<Variant> {
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

fn unary() -> Behaviour {
    Healthy {
        form: Form::Unary,
        ..Healthy::default()
    }
    .into()
}

fn p14(dialect: Dialect) -> Vec<Variant> {
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

fn p15(_: Dialect) -> Vec<Variant> {
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

fn p17(_: Dialect) -> Vec<Variant> {
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

fn p18(_: Dialect) -> Vec<Variant> {
    const SMUGGLED: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    vec![
        variant(
            "short",
            unary()
                .edit(edit::promise(200))
                .edit(edit::ending(Ending::Fin)),
        ),
        variant("excess", unary().edit(edit::excess(&[b'x'; 200]))),
        variant("smuggled", unary().edit(edit::excess(SMUGGLED))),
    ]
}

fn p19(_: Dialect) -> Vec<Variant> {
    let chunked_and_length = Edit::new(|draft: &mut Draft| {
        if let Body::Document(document) = &mut draft.body {
            let framed = [chunk(&document.render()), LAST_CHUNK].concat();
            *document = crate::mock::Document::Raw(framed.into());
            draft
                .fields
                .push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        }
    });
    vec![
        variant("length_and_chunked", unary().edit(chunked_and_length)),
        variant("two_lengths", unary().header("content-length", "5")),
        variant("obs_fold", unary().header("x-note", "a\r\n folded")),
        variant("bare_cr", unary().header("x-note", "a\rb")),
    ]
}

/// A healthy answer whose first byte comes this late.
#[must_use]
pub fn p20(delay: Duration) -> Behaviour {
    Behaviour::healthy().delayed(delay)
}

/// The head at once, `: ping` every so often, content only after `until`.
#[must_use]
pub fn p21(every: Duration, until: Duration) -> Behaviour {
    Behaviour::from(Healthy {
        form: Form::Stream,
        ..Healthy::default()
    })
    .edit(edit::pings(every, until, b": ping\n\n"))
}

/// All times of a usual provider, this many times over.
#[must_use]
pub fn p22(factor: u32) -> Behaviour {
    let usual = Weather::default()
        .first_content(Duration::from_millis(100))
        .gap(Duration::from_millis(5));
    usual.slower(factor).into()
}

fn p23(dialect: Dialect) -> Vec<Variant> {
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

fn p24(dialect: Dialect) -> Vec<Variant> {
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

fn p25(dialect: Dialect) -> Vec<Variant> {
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
                .edit(edit::replace("/choices/0/message/refusal", json!("I can't help with that.")))
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

/// 500 whenever the request body holds the marker.
#[must_use]
pub fn p27(dialect: Dialect, marker: &str) -> Behaviour {
    Behaviour::if_body_holds(marker, p10(dialect))
}

/// Another model than the one asked for.
#[must_use]
pub fn p28(model: &str) -> Behaviour {
    Behaviour::healthy()
        .edit(edit::replace("/model", json!(model)))
        .edit(edit::replace("/message/model", json!(model)))
}

fn p29(dialect: Dialect) -> Vec<Variant> {
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

fn p31(dialect: Dialect) -> Vec<Variant> {
    let first = |status: u16| {
        Behaviour::healthy().edit(Edit::new(move |draft: &mut Draft| {
            draft.early_heads.push((status, Vec::new()));
        }))
    };
    let mut variants = vec![
        variant("100", first(100)),
        variant("103", first(103)),
        variant(
            "101",
            Behaviour::status(101)
                .header("connection", "upgrade")
                .header("upgrade", "h2c"),
        ),
        variant("204", Behaviour::status(204)),
        variant("299", Behaviour::status(299)),
    ];
    let errors = [("409", 409), ("425", 425), ("499", 499)];
    variants.extend(errors.map(|(name, status)| variant(name, dialect.error(status, "try again"))));
    variants
}

fn p32(_: Dialect) -> Vec<Variant> {
    const PIECE: usize = 64 * 1024;
    let text: Bytes = vec![b'x'; PIECE].into();
    let again = |times: usize| Step::Repeat {
        bytes: text.clone(),
        per_burst: 1,
        gap: Duration::ZERO,
        bursts: times as u64,
    };
    let json_head = |length: usize| {
        let fields = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("content-length".to_owned(), length.to_string()),
        ];
        Step::Send {
            bytes: head(200, &fields),
            part: Part::Head,
        }
    };
    // The first piece of a body of 200 MB opens a JSON string that never ends.
    let body = vec![
        json_head(3200 * PIECE + 6),
        Step::raw(&b"{\"id\":\""[..6]),
        again(3200),
    ];
    let line_head = vec![
        ("content-type".to_owned(), "text/event-stream".to_owned()),
        ("transfer-encoding".to_owned(), "chunked".to_owned()),
    ];
    let one_line = vec![
        Step::Send {
            bytes: head(200, &line_head),
            part: Part::Head,
        },
        Step::raw(chunk(b"data: ")),
        Step::raw(format!("{:x}\r\n", 160 * PIECE)),
        again(160),
        Step::raw(&b"\r\n"[..]),
        Step::raw(chunk(b"\n\n")),
        Step::raw(LAST_CHUNK),
    ];
    let large_head = Behaviour::healthy().header("x-padding", "p".repeat(1 << 20));
    let many_fields = (0..500).fold(Behaviour::healthy(), |plain, field| {
        plain.header(&format!("x-field-{field}"), "v")
    });
    vec![
        variant("head_1mb", large_head),
        variant("head_500_fields", many_fields),
        variant("body_200mb", Behaviour::steps(body)),
        variant("line_10mb", Behaviour::steps(one_line)),
    ]
}

fn p33(_: Dialect) -> Vec<Variant> {
    let gzip = Behaviour::choose(|_| {
        Behaviour::status(200)
            .header("content-encoding", "gzip")
            .body("application/json", gzip_zeros(1 << 20))
    });
    // Not brotli at all: whoever obeys the field fails to unpack it, whoever never asked for it refuses first.
    let brotli = unary().header("content-encoding", "br");
    vec![variant("gzip", gzip), variant("br_unasked", brotli)]
}

/// 500 for half of all requests; give each mock its own seed.
#[must_use]
pub fn p34(dialect: Dialect, seed: u64) -> Behaviour {
    p11(dialect, 0.5, seed)
}
