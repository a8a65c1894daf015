//! A canonical chat as OpenAI wants it, for a provider that speaks this dialect and a client that does not.

use serde_json::{Map, Value, json};

use super::encode_messages::messages;
use super::thinking;
use crate::dialects::json::exact;
use crate::dialects::refuse::{self, leave_out};
use crate::dialects::{DialectError, Encoded};
use crate::domain::Quirks;
use crate::domain::chat::{ChatRequest, OutputFormat, Tool, ToolChoice};

/// What this form has a word for beside the canonical chat. Clients of other forms have words of their own, and
/// a member it does not know is refused here.
const OWN: [&str; 19] = [
    "max_tokens",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "verbosity",
    "metadata",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "prediction",
    "moderation",
    "modalities",
    "web_search_options",
    "functions",
    "function_call",
];
const LONGEST_USER: usize = 64;

/// Encodes for `model`; what has no canonical form goes along as the client wrote it.
///
/// Usage is asked for only where the request asks: who bills by a stream sets `include_usage` first.
pub fn encode_request(
    request: &ChatRequest,
    model: &str,
    quirks: &Quirks,
) -> Result<Encoded, DialectError> {
    let mut dropped = refuse::unspeakable(&request.extra, &OWN)?;
    let mut body: Map<String, Value> = request
        .extra
        .iter()
        .filter(|(name, _)| OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Reasoning models refuse the old name and some compatible providers the new one: who wrote the old
    // one knows the provider.
    let limit = if body.contains_key("max_tokens") {
        "max_tokens"
    } else {
        "max_completion_tokens"
    };
    let wire = messages(request, (model, quirks), &mut dropped)?;
    thinking::ask(request, (model, quirks), &mut body, &mut dropped);
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    put("messages", Some(wire.into()));
    put(limit, request.max_output.map(Value::from));
    put("temperature", request.temperature.map(Value::from));
    put("top_p", request.top_p.map(Value::from));
    // OpenAI refuses a member it does not know, and a sampling preference is not worth the request.
    if request.top_k.is_some() {
        leave_out(&mut dropped, "top_k");
    }
    put(
        "stop",
        (!request.stop.is_empty()).then(|| json!(request.stop)),
    );
    put(
        "response_format",
        request.output_format.as_ref().map(response_format),
    );
    // A longer one is refused.
    let user = request.user.as_deref();
    put(
        "user",
        user.filter(|user| user.len() <= LONGEST_USER)
            .map(Value::from),
    );
    if user.is_some_and(|user| user.len() > LONGEST_USER) {
        leave_out(&mut dropped, "user");
    }
    put("stream", request.stream.then_some(Value::Bool(true)));
    let options = streamed_usage(request, &mut dropped);
    put("stream_options", options);
    put(
        "tools",
        (!request.tools.is_empty()).then(|| request.tools.iter().map(tool).collect()),
    );
    let (choice, parallel) = choices(request, &mut dropped);
    put("tool_choice", choice);
    put("parallel_tool_calls", parallel);
    let body = exact::write(&body.into()).into_bytes();
    Ok(Encoded::new(body, dropped))
}

/// Only a stream may have options.
fn streamed_usage(request: &ChatRequest, dropped: &mut Vec<&'static str>) -> Option<Value> {
    if !request.include_usage {
        return None;
    }
    if !request.stream {
        leave_out(dropped, "stream_options");
        return None;
    }
    Some(json!({"include_usage": true}))
}

fn tool(tool: &Tool) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = description.as_str().into();
    }
    if let Some(schema) = &tool.schema {
        function["parameters"] = schema.clone();
    }
    if let Some(strict) = tool.strict {
        function["strict"] = strict.into();
    }
    json!({"type": "function", "function": function})
}

/// How tools may be called; where there are none, saying so is refused and means nothing.
fn choices(
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> (Option<Value>, Option<Value>) {
    let choice = request.tool_choice.as_ref().map(|choice| match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    });
    let parallel = request.parallel_tool_calls.map(Value::Bool);
    if !request.tools.is_empty() {
        return (choice, parallel);
    }
    if choice.is_some() {
        leave_out(dropped, "tool_choice");
    }
    if parallel.is_some() {
        leave_out(dropped, "parallel_tool_calls");
    }
    (None, None)
}

fn response_format(format: &OutputFormat) -> Value {
    match format {
        OutputFormat::Json => json!({"type": "json_object"}),
        OutputFormat::Schema {
            name,
            schema,
            strict,
        } => {
            let mut described = json!({"name": name, "schema": schema});
            if let Some(strict) = strict {
                described["strict"] = (*strict).into();
            }
            json!({"type": "json_schema", "json_schema": described})
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::super::decode_request;
    use super::*;
    use crate::domain::chat::{Message, Part, Role, Source};

    fn words() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z ]{1,12}",
            any::<String>().prop_filter("empty", |text| !text.is_empty()),
        ]
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            words().prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,6}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn schema() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-z]{1,6}", json_value(), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    /// Texts of a part may be empty: only a message that holds nothing else says an empty text plainly.
    fn text() -> impl Strategy<Value = Part> {
        prop_oneof![9 => words(), 1 => Just(String::new())].prop_map(|text| Part::Text { text })
    }

    fn data() -> impl Strategy<Value = Source> {
        ("[a-z]{1,6}/[a-z]{1,6}", "[A-Za-z0-9+/]{0,16}={0,2}")
            .prop_map(|(media_type, data)| Source::Base64 { media_type, data })
    }

    fn user_part() -> impl Strategy<Value = Part> {
        let address = "https://[a-z]{1,8}/[a-z]{0,8}".prop_map(|url| Source::Url { url });
        prop_oneof![
            3 => text(),
            1 => prop_oneof![address, data()].prop_map(|source| Part::Image { source }),
            1 => (data(), option::of(words())).prop_map(|(source, name)| Part::Document { source, name }),
            1 => ("wav|mp3", "[A-Za-z0-9+/]{0,16}").prop_map(|(format, data)| Part::Audio { format, data }),
        ]
    }

    fn call() -> impl Strategy<Value = Part> {
        let arguments = prop_oneof![Just("{}".to_owned()), any::<String>()];
        (words(), words(), arguments).prop_map(|(id, name, arguments)| Part::ToolCall {
            id,
            name,
            arguments,
            signature: None,
        })
    }

    /// What was said comes before what was called, as the dialect has it.
    fn assistant() -> impl Strategy<Value = Message> {
        let refusal = words().prop_map(|text| Part::Refusal { text });
        let said = prop::collection::vec(prop_oneof![3 => text(), 1 => refusal], 0..4);
        (said, prop::collection::vec(call(), 0..3)).prop_map(|(mut parts, calls)| {
            parts.extend(calls);
            let role = Role::Assistant;
            Message { role, parts }
        })
    }

    fn result() -> impl Strategy<Value = Message> {
        (words(), prop::collection::vec(text(), 0..3)).prop_map(|(id, parts)| {
            let is_error = false;
            let parts = vec![Part::ToolResult {
                id,
                parts,
                is_error,
            }];
            let role = Role::Tool;
            Message { role, parts }
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let of = |role| move |parts| Message { role, parts };
        prop_oneof![
            prop::collection::vec(text(), 0..3).prop_map(of(Role::System)),
            prop::collection::vec(user_part(), 0..4).prop_map(of(Role::User)),
            assistant(),
            result(),
        ]
    }

    fn tool_strategy() -> impl Strategy<Value = Tool> {
        let flags = option::of(any::<bool>());
        (
            words(),
            option::of(any::<String>()),
            option::of(schema()),
            flags,
        )
            .prop_map(|(name, description, schema, strict)| Tool {
                name,
                description,
                schema,
                strict,
                cache_for_an_hour: None,
            })
    }

    /// Tools and how to call them; without tools the dialect has no word for the rest.
    fn tooling() -> impl Strategy<Value = (Vec<Tool>, Option<ToolChoice>, Option<bool>)> {
        let choice = prop_oneof![
            Just(ToolChoice::None),
            Just(ToolChoice::Auto),
            Just(ToolChoice::Required),
            words().prop_map(ToolChoice::Named),
        ];
        let some = (
            prop::collection::vec(tool_strategy(), 1..3),
            option::of(choice),
            option::of(any::<bool>()),
        );
        prop_oneof![Just((Vec::new(), None, None)), some]
    }

    fn format() -> impl Strategy<Value = OutputFormat> {
        let described = (words(), json_value(), option::of(any::<bool>()));
        prop_oneof![
            Just(OutputFormat::Json),
            described.prop_map(|(name, schema, strict)| OutputFormat::Schema {
                name,
                schema,
                strict
            }),
        ]
    }

    /// Members without a canonical form: never null, and none that stays at the gateway.
    fn extra() -> impl Strategy<Value = Map<String, Value>> {
        let name = prop_oneof![
            Just("seed".to_owned()),
            Just("logit_bias".to_owned()),
            Just("prediction".to_owned()),
        ];
        prop::collection::btree_map(name, json_value(), 0..4)
            .prop_map(|map| map.into_iter().collect())
    }

    /// Hundredths, as people write them.
    fn share(most: u32) -> impl Strategy<Value = Option<f64>> {
        option::of((0..=most * 100).prop_map(|hundredths| f64::from(hundredths) / 100.0))
    }

    /// Whatever OpenAI's published form has a word for.
    fn speakable() -> impl Strategy<Value = ChatRequest> {
        let said = (words(), prop::collection::vec(message(), 0..5), tooling());
        let limits = (option::of(any::<u64>()), share(2), share(1));
        let stop = prop::collection::vec(any::<String>(), 0..3);
        let form = (stop, option::of(format()), option::of(words()));
        let rest = (option::of(any::<String>()), 0..3_u8, extra());
        (said, limits, form, rest).prop_map(
            |(
                (model, messages, (tools, tool_choice, parallel_tool_calls)),
                (max_output, temperature, top_p),
                (stop, output_format, reasoning_effort),
                (user, streaming, extra),
            )| ChatRequest {
                model,
                messages,
                tools,
                tool_choice,
                parallel_tool_calls,
                max_output,
                temperature,
                top_p,
                top_k: None,
                stop,
                output_format,
                reasoning_effort,
                reasoning_budget: None,
                reasoning_free: false,
                reasoning_shown: None,
                unread: Vec::new(),
                user: user.filter(|user: &String| user.len() <= LONGEST_USER),
                stream: streaming > 0,
                include_usage: streaming > 1,
                extra,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same_request(request in speakable()) {
            let encoded = encode_request(&request, &request.model, &Quirks::default()).unwrap();
            prop_assert_eq!(encoded.dropped, Vec::<&str>::new());
            prop_assert_eq!(decode_request(&encoded.body).unwrap(), request);
        }
    }

    #[test]
    fn the_provider_s_name_of_the_model_is_sent() {
        let request = ChatRequest {
            model: "fast".to_owned(),
            ..ChatRequest::default()
        };
        let encoded = encode_request(&request, "gpt-test", &Quirks::default()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&encoded.body).unwrap(),
            json!({"model": "gpt-test", "messages": []})
        );
    }

    #[test]
    fn a09_what_is_for_the_gateway_never_leaves() {
        let names = ["api_key", "api_base", "base_url", "fallbacks", "timeout"];
        let request = ChatRequest {
            extra: names
                .iter()
                .map(|name| ((*name).to_owned(), json!("x")))
                .collect(),
            ..ChatRequest::default()
        };
        let encoded = encode_request(&request, "gpt-test", &Quirks::default()).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        for name in names {
            assert_eq!(body.get(name), None, "{name}");
        }
    }
}
