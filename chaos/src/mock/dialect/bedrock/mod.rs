//! Bedrock Converse and `ConverseStream`.

mod complaint;

use serde_json::{Value, json};

pub(super) use complaint::complaint;

use super::super::asked::Asked;
use super::super::behaviour::Behaviour;
use super::super::draft::{Draft, Event, Kind};
use super::super::event_stream::frame;
use super::super::framing::Framing;
use super::super::plan::{Plan, halves};
use super::super::wish::{Choice, Turns, Wish, list, text};
use super::places::{Blank, Places};
use super::work::{Form, answer};

pub(super) const PLACES: Places = Places {
    usage: &[("", "usage")],
    tokens: &["/usage/inputTokens", "/usage/outputTokens"],
    total: &["/usage/totalTokens"],
    usage_in: Kind::Usage,
    index: Some("/contentBlockIndex"),
    model: &[],
    blanks: &[
        Blank::new("no_message", "/output", "{}"),
        Blank::new("no_content", "/output/message/content", "[]"),
        Blank::new("null_content", "/output/message/content", "null"),
    ],
};

pub(super) fn sample_request(prompt: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": prompt}]}],
        "inferenceConfig": {"maxTokens": 1024}})
}

/// Shaped like a signed request; the mock knows no secret and proves no signature.
pub(super) fn sample_headers(key: &str) -> Vec<(String, String)> {
    let scope = "20260101/us-east-1/bedrock/aws4_request";
    let signature = "0".repeat(64);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
    );
    vec![
        ("authorization".to_owned(), authorization),
        ("x-amz-date".to_owned(), "20260101T000000Z".to_owned()),
    ]
}

/// The access key's id in a signed request.
pub(in super::super) fn access_key(authorization: &str) -> Option<&str> {
    let signed = authorization.strip_prefix("AWS4-HMAC-SHA256")?;
    let (_, credential) = signed.split_once("Credential=")?;
    credential.split('/').next().filter(|id| !id.is_empty())
}

/// The segment before the verb, as it was encoded.
pub(in super::super) fn model(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/model/")?;
    rest.split('/').next().filter(|model| !model.is_empty())
}

/// `kind` is an exception's name, or what another dialect calls the same trouble.
pub(super) fn exception(kind: &str) -> &'static str {
    match kind {
        "AccessDeniedException" | "permission_error" => "AccessDeniedException",
        "UnrecognizedClientException" | "authentication_error" => "UnrecognizedClientException",
        "ResourceNotFoundException" | "not_found_error" => "ResourceNotFoundException",
        "ModelTimeoutException" | "timeout_error" => "ModelTimeoutException",
        "ThrottlingException" | "rate_limit_error" | "rate_limit_exceeded" => "ThrottlingException",
        "ServiceQuotaExceededException" | "insufficient_quota" => "ServiceQuotaExceededException",
        "InternalServerException" | "server_error" | "api_error" => "InternalServerException",
        "ServiceUnavailableException" | "overloaded_error" => "ServiceUnavailableException",
        "ModelErrorException" => "ModelErrorException",
        "ModelStreamErrorException" => "ModelStreamErrorException",
        _ => "ValidationException",
    }
}

pub(super) fn error_kind(status: u16) -> &'static str {
    match status {
        401..=403 => "AccessDeniedException",
        404 | 410 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        400..=499 => "ValidationException",
        503 | 529 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// The name is in a field, the text in the body.
pub(super) fn error(status: u16, kind: &str, message: &str) -> Behaviour {
    let name = exception(kind);
    Behaviour::status(status)
        .header("x-amzn-requestid", "00000000-0000-4000-8000-000000000000")
        .header(
            "x-amzn-errortype",
            format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
        )
        .json(&json!({"message": message}))
}

/// An exception inside a stream; its name begins in lower case there.
pub(super) fn exception_frame(kind: &str, message: &str) -> bytes::Bytes {
    let name = exception(kind);
    let (first, rest) = name.split_at(1);
    let name = format!("{}{rest}", first.to_ascii_lowercase());
    let headers = [
        (":exception-type", name.as_str()),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    frame(&headers, json!({"message": message}).to_string().as_bytes())
}

pub(super) fn wish(asked: &Asked) -> Wish {
    let request = &asked.json;
    let tools = list(request, "/toolConfig/tools").iter();
    let named = tools.filter_map(|tool| tool.pointer("/toolSpec/name").and_then(Value::as_str));
    let choice = request.pointer("/toolConfig/toolChoice");
    let forced = choice
        .map(|choice| text(choice, "/tool/name"))
        .unwrap_or_default();
    let must = choice.is_some_and(|choice| choice.get("any").is_some());
    let fields = "/additionalModelRequestFields";
    let thinking = ["thinking", "reasoning_config"]
        .map(|name| text(request, &format!("{fields}/{name}/type")));
    Wish {
        limit: request
            .pointer("/inferenceConfig/maxTokens")
            .and_then(Value::as_u64),
        choices: 1,
        include_usage: true,
        thinks: thinking.contains(&"enabled"),
        tools: named.map(str::to_owned).collect(),
        choice: match (forced, must) {
            ("", false) => Choice::Free,
            ("", true) => Choice::Must,
            (name, _) => Choice::Named(name.to_owned()),
        },
        one_at_a_time: false,
        turns: Turns::of(request.get("messages")),
        echo: Vec::new(),
    }
}

pub(super) fn text_of(document: &Value) -> String {
    let delta = text(document, "/delta/text");
    if !delta.is_empty() {
        return delta.to_owned();
    }
    let blocks = list(document, "/output/message/content");
    blocks.iter().map(|block| text(block, "/text")).collect()
}

pub(super) fn draft(plan: &Plan) -> Draft {
    let id = format!("00000000-0000-4000-8000-{:0>12}", plan.created);
    let form = Form {
        content_types: [Framing::EventStream.content_type(), "application/json"],
        fields: vec![("x-amzn-requestid", id)],
        events: &events,
        whole: &whole,
    };
    answer(plan, &form)
}

fn whole(plan: &Plan) -> Value {
    json!({"output": {"message": {"role": "assistant", "content": blocks(plan)}},
        "stopReason": stop_reason(plan), "usage": usage(plan), "metrics": metrics(plan)})
}

fn usage(plan: &Plan) -> Value {
    let (input, output) = (plan.usage.input, plan.usage.output);
    let mut usage = json!({"inputTokens": plan.fresh_input(), "outputTokens": output,
        "totalTokens": input.saturating_add(output)});
    if let (true, Some(usage)) = (plan.cached > 0, usage.as_object_mut()) {
        usage.insert("cacheReadInputTokens".to_owned(), json!(plan.cached));
    }
    usage
}

fn metrics(plan: &Plan) -> Value {
    let taken = u64::try_from(plan.waits.whole().as_millis()).unwrap_or(u64::MAX);
    json!({"latencyMs": taken})
}

fn stop_reason(plan: &Plan) -> &'static str {
    if !plan.calls.is_empty() {
        "tool_use"
    } else if plan.refuses {
        "guardrail_intervened"
    } else if plan.limited {
        "max_tokens"
    } else {
        "end_turn"
    }
}

const THOUGHTS: [&str; 2] = ["let me ", "think"];

fn tool_id(plan: &Plan, at: usize) -> String {
    format!("tooluse_{}_{at}", plan.id)
}

fn signature(plan: &Plan) -> String {
    format!("sig-{}", plan.id)
}

fn blocks(plan: &Plan) -> Vec<Value> {
    let thinking = plan.thinks.then(|| {
        json!({"reasoningContent": {"reasoningText": {"text": THOUGHTS.concat(), "signature": signature(plan)}}})
    });
    let said = plan.calls.is_empty().then(|| json!({"text": plan.text()}));
    let uses = plan.calls.iter().enumerate().map(|(at, call)| {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        json!({"toolUse": {"toolUseId": tool_id(plan, at), "name": call.name, "input": input}})
    });
    thinking.into_iter().chain(said).chain(uses).collect()
}

fn event(kind: Kind, name: &'static str, data: Value) -> Event {
    Event::framed(Framing::EventStream, kind, Some(name), data)
}

fn events(plan: &Plan) -> Vec<Event> {
    let role = json!({"role": "assistant"});
    let mut events = vec![event(Kind::Opening, "messageStart", role)];
    let mut position: usize = 0;
    for (index, (start, deltas)) in streamed_blocks(plan).into_iter().enumerate() {
        if let Some(start) = start {
            let start = json!({"contentBlockIndex": index, "start": start});
            events.push(event(Kind::Opening, "contentBlockStart", start));
        }
        for delta in deltas {
            let delta = json!({"contentBlockIndex": index, "delta": delta});
            let wait = plan.waits.before(position);
            events.push(event(Kind::Content, "contentBlockDelta", delta).after(wait));
            position = position.saturating_add(1);
        }
        let stop = json!({"contentBlockIndex": index});
        events.push(event(Kind::Closing, "contentBlockStop", stop));
    }
    let stop = json!({"stopReason": stop_reason(plan)});
    events.push(event(Kind::Finish, "messageStop", stop));
    let metadata = json!({"usage": usage(plan), "metrics": metrics(plan)});
    events.push(event(Kind::Usage, "metadata", metadata));
    events
}

/// Each block's start, which only tools have, and its deltas.
fn streamed_blocks(plan: &Plan) -> Vec<(Option<Value>, Vec<Value>)> {
    let mut blocks = Vec::new();
    if plan.thinks {
        let thought = |thought: &&str| json!({"reasoningContent": {"text": thought}});
        let mut deltas: Vec<Value> = THOUGHTS.iter().map(thought).collect();
        deltas.push(json!({"reasoningContent": {"signature": signature(plan)}}));
        blocks.push((None, deltas));
    }
    if plan.calls.is_empty() {
        let deltas = plan.pieces.iter().map(|piece| json!({"text": piece}));
        blocks.push((None, deltas.collect()));
    }
    for (at, call) in plan.calls.iter().enumerate() {
        let start = json!({"toolUse": {"toolUseId": tool_id(plan, at), "name": call.name}});
        let delta = |fragment: &str| json!({"toolUse": {"input": fragment}});
        let deltas = halves(&call.arguments).into_iter().map(delta);
        blocks.push((Some(start), deltas.collect()));
    }
    blocks
}
