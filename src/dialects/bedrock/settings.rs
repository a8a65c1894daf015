//! Settings of a request: the few that all models share, and those of one maker's models.

use serde_json::{Map, Value, json};

use super::model::Maker;
use crate::dialects::DialectError;
use crate::dialects::json::exact;
use crate::dialects::refuse::leave_out;
use crate::domain::chat::{ChatRequest, OutputFormat, Part, Tool, ToolChoice};

/// The least a budget for thoughts may be.
const LEAST_BUDGET: u64 = 1_024;

/// Adds everything but the conversation.
pub(super) fn add(
    request: &ChatRequest,
    model: &str,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) -> Result<(), DialectError> {
    let maker = Maker::of(model);
    let own = own_fields(request, maker, dropped);
    let thinks = own
        .get("thinking")
        .is_some_and(|own| own["type"] == "enabled");
    let mut put = |name: &str, value: Map<String, Value>| {
        if !value.is_empty() {
            body.insert(name.to_owned(), value.into());
        }
    };
    put("inferenceConfig", inference(request, thinks, dropped));
    put("outputConfig", output(request, maker)?);
    put("additionalModelRequestFields", own);
    if let Some(config) = tool_config(request, dropped) {
        body.insert("toolConfig".to_owned(), config);
    }
    Ok(())
}

fn inference(
    request: &ChatRequest,
    thinks: bool,
    dropped: &mut Vec<&'static str>,
) -> Map<String, Value> {
    // A model that thinks on a budget chooses for itself.
    let temperature = request.temperature.filter(|_| !thinks);
    if temperature.is_some_and(|temperature| temperature > 1.0) {
        leave_out(dropped, "temperature above 1");
    }
    let stop = (!request.stop.is_empty()).then(|| json!(request.stop));
    [
        ("maxTokens", request.max_output.map(Value::from)),
        ("temperature", temperature.map(|one| one.min(1.0).into())),
        ("topP", request.top_p.map(Value::from)),
        ("stopSequences", stop),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

fn output(request: &ChatRequest, maker: Maker) -> Result<Map<String, Value>, DialectError> {
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
    if let (Maker::Anthropic, Some(effort)) = (maker, level(request)) {
        output.insert("effort".to_owned(), effort.into());
    }
    Ok(output)
}

fn level(request: &ChatRequest) -> Option<&'static str> {
    match request.reasoning_effort.as_deref()? {
        "none" => None,
        "minimal" | "low" => Some("low"),
        "medium" => Some("medium"),
        _ => Some("high"),
    }
}

/// What one maker's models know and others do not.
fn own_fields(
    request: &ChatRequest,
    maker: Maker,
    dropped: &mut Vec<&'static str>,
) -> Map<String, Value> {
    let mut own = Map::new();
    if let Some(top_k) = request.top_k {
        match maker {
            Maker::Anthropic => _ = own.insert("top_k".to_owned(), top_k.into()),
            Maker::Nova => _ = own.insert("inferenceConfig".to_owned(), json!({"topK": top_k})),
            Maker::GptOss | Maker::Other => leave_out(dropped, "top_k"),
        }
    }
    match (maker, request.reasoning_budget, level(request)) {
        (Maker::Anthropic, Some(0), _) => {
            own.insert("thinking".to_owned(), json!({"type": "disabled"}));
        }
        (Maker::Anthropic, Some(budget), _) => {
            let most = request
                .max_output
                .map_or(u64::MAX, |most| most.saturating_sub(1));
            if most < LEAST_BUDGET {
                leave_out(dropped, "reasoning budget");
            } else {
                let budget = budget.clamp(LEAST_BUDGET, most);
                let thinking = json!({"type": "enabled", "budget_tokens": budget});
                own.insert("thinking".to_owned(), thinking);
            }
        }
        (Maker::Nova, Some(0), _) => {
            own.insert("reasoningConfig".to_owned(), json!({"type": "disabled"}));
        }
        (Maker::Nova, _, Some(level)) => {
            let config = json!({"type": "enabled", "maxReasoningEffort": level});
            own.insert("reasoningConfig".to_owned(), config);
        }
        (Maker::GptOss, _, Some(level)) => {
            own.insert("reasoning_effort".to_owned(), level.into());
        }
        (_, Some(budget), None) if budget > 0 => leave_out(dropped, "reasoning budget"),
        (Maker::Other, _, Some(_)) => leave_out(dropped, "reasoning_effort"),
        (Maker::Anthropic | Maker::Nova | Maker::GptOss | Maker::Other, _, _) => {}
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
