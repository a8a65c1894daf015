//! Settings of a request: the few that all models share, and those of one maker's models.

use serde_json::{Map, Value, json};

use super::model::Maker;
use crate::dialects::DialectError;
use crate::dialects::effort::{self, Claude, Effort, Sampling, claude};
use crate::dialects::json::exact;
use crate::dialects::refuse::leave_out;
use crate::domain::Dialect;
use crate::domain::chat::{ChatRequest, OutputFormat, Part, Tool, ToolChoice};

/// Adds everything but the conversation.
pub(super) fn add(
    request: &ChatRequest,
    model: &str,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) -> Result<(), DialectError> {
    let maker = Maker::of(model);
    let asked = match maker {
        Maker::Anthropic => claude(request, model, (Dialect::Bedrock, None), dropped),
        Maker::Nova | Maker::GptOss | Maker::Other => Claude {
            max_tokens: request.max_output,
            ..Claude::default()
        },
    };
    let sampling = Sampling::of(request, asked.own_sampling, dropped);
    let own = own_fields(request, maker, (&asked, &sampling), dropped);
    let mut put = |name: &str, value: Map<String, Value>| {
        if !value.is_empty() {
            body.insert(name.to_owned(), value.into());
        }
    };
    put("inferenceConfig", inference(request, &asked, &sampling));
    put("outputConfig", output(request, &asked)?);
    put("additionalModelRequestFields", own);
    if let Some(config) = tool_config(request, dropped) {
        body.insert("toolConfig".to_owned(), config);
    }
    Ok(())
}

fn inference(request: &ChatRequest, asked: &Claude, sampling: &Sampling) -> Map<String, Value> {
    let stop = (!request.stop.is_empty()).then(|| json!(request.stop));
    [
        ("maxTokens", asked.max_tokens.map(Value::from)),
        ("temperature", sampling.temperature.map(Value::from)),
        ("topP", sampling.top_p.map(Value::from)),
        ("stopSequences", stop),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

fn output(request: &ChatRequest, asked: &Claude) -> Result<Map<String, Value>, DialectError> {
    let mut output = Map::new();
    match &request.output_format {
        Some(OutputFormat::Schema { name, schema, .. }) => {
            let schema = json!({"name": name, "schema": exact::write_data(schema)});
            let format = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
            output.insert("textFormat".to_owned(), format);
        }
        Some(OutputFormat::Json) => {
            return Err(DialectError::at(
                "response_format",
                "the provider of this model has no json_object mode; use json_schema",
            ));
        }
        None => {}
    }
    if let Some(effort) = asked.effort {
        output.insert("effort".to_owned(), effort.into());
    }
    Ok(output)
}

/// What one maker's models know and others do not.
fn own_fields(
    request: &ChatRequest,
    maker: Maker,
    (asked, sampling): (&Claude, &Sampling),
    dropped: &mut Vec<&'static str>,
) -> Map<String, Value> {
    let mut own = Map::new();
    if let Some(top_k) = sampling.top_k {
        match maker {
            Maker::Anthropic => _ = own.insert("top_k".to_owned(), top_k.into()),
            Maker::Nova => _ = own.insert("inferenceConfig".to_owned(), json!({"topK": top_k})),
            Maker::GptOss | Maker::Other => leave_out(dropped, "top_k"),
        }
    }
    if let Some(thinking) = &asked.thinking {
        own.insert("thinking".to_owned(), thinking.clone());
    }
    let asked = effort::is_asked(request);
    let effort = Effort::asked(request);
    let level = effort.map(|effort| effort.clamp(Effort::Low, Effort::High).word());
    match (maker, effort, level) {
        (Maker::Anthropic, _, _) => {}
        (Maker::Nova, Some(Effort::None), _) => {
            own.insert("reasoningConfig".to_owned(), json!({"type": "disabled"}));
        }
        (Maker::Nova, _, Some(level)) => {
            let config = json!({"type": "enabled", "maxReasoningEffort": level});
            own.insert("reasoningConfig".to_owned(), config);
        }
        (Maker::GptOss, _, Some(level)) => {
            own.insert("reasoning_effort".to_owned(), level.into());
        }
        // Not to think is what others do anyway.
        (Maker::Other, Some(Effort::None), _) => {}
        (Maker::Nova | Maker::GptOss | Maker::Other, _, _) if asked => {
            leave_out(dropped, effort::name(request));
        }
        (Maker::Nova | Maker::GptOss | Maker::Other, _, _) => {}
    }
    own
}

/// A conversation that holds calls needs the tools declared, even when none may be called any more.
fn tool_config(request: &ChatRequest, dropped: &mut Vec<&'static str>) -> Option<Value> {
    let called = called(request);
    let mut choice = match &request.tool_choice {
        Some(ToolChoice::Required) => Some(json!({"any": {}})),
        Some(ToolChoice::Named(name)) => Some(json!({"tool": {"name": name}})),
        Some(ToolChoice::Auto) => Some(json!({"auto": {}})),
        Some(ToolChoice::None) if called.is_empty() => return None,
        Some(ToolChoice::None) => {
            leave_out(dropped, "tool_choice");
            None
        }
        None => None,
    };
    let mut tools = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        tools.push(declared(tool));
        if let Some(hour) = tool.cache_for_an_hour {
            tools.push(cache_point(hour));
        }
    }
    if tools.is_empty() {
        choice = None;
        let schema = json!({"json": {"type": "object"}});
        tools.extend(
            called
                .iter()
                .map(|name| json!({"toolSpec": {"name": name, "inputSchema": schema}})),
        );
    }
    if tools.is_empty() {
        return None;
    }
    if request.parallel_tool_calls == Some(false) {
        leave_out(dropped, "parallel_tool_calls");
    }
    let mut config = json!({"tools": tools});
    if let Some(choice) = choice {
        config["toolChoice"] = choice;
    }
    Some(config)
}

/// The tools called so far, each once.
fn called(request: &ChatRequest) -> Vec<&str> {
    let mut called: Vec<&str> = Vec::new();
    for part in request.messages.iter().flat_map(|message| &message.parts) {
        if let Part::ToolCall { name, .. } = part
            && !called.contains(&name.as_str())
        {
            called.push(name);
        }
    }
    called
}

fn declared(tool: &Tool) -> Value {
    let schema = tool
        .schema
        .clone()
        .unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let mut spec = json!({"name": tool.name, "inputSchema": {"json": schema}});
    // An empty description is refused.
    if let Some(description) = tool.description.as_deref().filter(|text| !text.is_empty()) {
        spec["description"] = description.into();
    }
    if tool.strict == Some(true) {
        spec["strict"] = true.into();
    }
    json!({"toolSpec": spec})
}

pub(super) fn cache_point(hour: bool) -> Value {
    if hour {
        json!({"cachePoint": {"type": "default", "ttl": "1h"}})
    } else {
        json!({"cachePoint": {"type": "default"}})
    }
}
