//! A request in Google's form, decoded for a provider that speaks another.

use serde_json::{Map, Value};

use super::plain::{plain_schema, whole_number};
use crate::dialects::DialectError;
use crate::dialects::fields::{self, Taken, list, number, text};
use crate::dialects::json::exact;
use crate::dialects::unread::{MOST, shown};
use crate::domain::chat::{
    ChatRequest, Message, OutputFormat, Part, Role, Signature, Source, Tool, ToolChoice,
};
use crate::domain::{ClientDialect, Dialect};

/// Decodes a body that was peeked before: its top level is known to be sound.
pub fn decode_request(body: &[u8]) -> Result<ChatRequest, DialectError> {
    let (mut fields, unread) = fields::request(ClientDialect::Gemini, body)?;
    let mut request = ChatRequest {
        tools: tools(fields.remove("tools"))?,
        unread,
        ..ChatRequest::default()
    };
    let config = fields.remove("toolConfig");
    let calling = config
        .as_ref()
        .and_then(|config| config.get("functionCallingConfig"));
    if let Some(calling) = calling {
        request.tool_choice = choice(calling);
        for name in only_allowed(calling, &mut request.tools).iter().take(MOST) {
            let place = format!("tools.functionDeclarations.{}", shown(name));
            request.unread.push(place);
        }
    }
    let system = fields.remove("systemInstruction");
    if let Some(value) = system.filter(|value| !value.is_null()) {
        request.messages.push(Message {
            role: Role::System,
            parts: system_parts(value)?,
        });
    }
    turns(fields.remove("contents"), &mut request.messages)?;
    if let Some(Value::Object(config)) = fields.remove("generationConfig") {
        generation(config, &mut request)?;
    }
    if fields
        .remove("cachedContent")
        .is_some_and(|value| !value.is_null())
    {
        return Err(DialectError::at(
            "cachedContent",
            "content cached at Google cannot cross to the provider of this model",
        ));
    }
    fields.retain(|_, value| !value.is_null());
    for (ours, theirs) in [("safety_settings", "safetySettings"), ("labels", "labels")] {
        if let Some(value) = fields.remove(theirs) {
            request.extra.insert(ours.to_owned(), value);
        }
    }
    request.extra.extend(fields);
    Ok(request)
}

fn system_parts(value: Value) -> Result<Vec<Part>, DialectError> {
    if let Value::String(text) = value {
        return Ok(vec![Part::Text { text }]);
    }
    let parts = Taken::of(value).map(|mut fields| fields.take("parts"));
    Calls::default().parts("systemInstruction.parts", parts)
}

fn turns(contents: Option<Value>, messages: &mut Vec<Message>) -> Result<(), DialectError> {
    let mut calls = Calls::default();
    let contents = match contents {
        // A single turn may stand alone.
        Some(one @ Value::Object(_)) => vec![one],
        Some(Value::String(text)) => vec![serde_json::json!({"parts": [{"text": text}]})],
        other => list(other),
    };
    for (index, value) in contents.into_iter().enumerate() {
        let path = format!("contents[{index}]");
        let mut fields = Taken::of(value)
            .ok_or_else(|| DialectError::at(&*path, "a content must be an object with parts"))?;
        let role = match fields.text("role").as_deref() {
            None | Some("user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(_) => {
                return Err(DialectError::at(
                    format!("{path}.role"),
                    "role must be user or model",
                ));
            }
        };
        let parts = Some(fields.take("parts"));
        let parts = calls.parts(&format!("{path}.parts"), parts)?;
        messages.push(Message { role, parts });
    }
    Ok(())
}

fn generation(
    mut config: Map<String, Value>,
    request: &mut ChatRequest,
) -> Result<(), DialectError> {
    request.max_output = config
        .remove("maxOutputTokens")
        .and_then(|value| whole_number(&value)?.as_u64());
    request.temperature = number(config.remove("temperature").as_ref());
    request.top_p = number(config.remove("topP").as_ref());
    request.top_k = config
        .remove("topK")
        .and_then(|value| value.as_f64())
        .map(|k| k.max(0.0) as u64);
    request.stop = list(config.remove("stopSequences"))
        .into_iter()
        .filter_map(|stop| text(Some(stop)))
        .collect();
    let json = text(config.remove("responseMimeType")).as_deref() == Some("application/json");
    let schema = config
        .remove("responseJsonSchema")
        .or_else(|| config.remove("responseSchema").map(plain_schema))
        .filter(Value::is_object);
    request.output_format = match schema {
        Some(schema) => Some(OutputFormat::Schema {
            name: "answer".to_owned(),
            schema,
            strict: None,
        }),
        None => json.then_some(OutputFormat::Json),
    };
    if let Some(thinking) = config.remove("thinkingConfig") {
        let budget = thinking.get("thinkingBudget").and_then(Value::as_i64);
        // Minus one leaves it to the model.
        request.reasoning_free = budget == Some(-1);
        request.reasoning_shown = thinking.get("includeThoughts").and_then(Value::as_bool);
        request.reasoning_budget = budget.and_then(|budget| u64::try_from(budget).ok());
        let level = thinking.get("thinkingLevel").and_then(Value::as_str);
        request.reasoning_effort = level.map(str::to_ascii_lowercase);
    }
    for (ours, theirs) in [
        ("seed", "seed"),
        ("presence_penalty", "presencePenalty"),
        ("frequency_penalty", "frequencyPenalty"),
        ("n", "candidateCount"),
        ("logprobs", "responseLogprobs"),
        ("top_logprobs", "logprobs"),
    ] {
        if let Some(value) = config.remove(theirs).filter(|value| !value.is_null()) {
            request.extra.insert(ours.to_owned(), value);
        }
    }
    let modalities = list(config.remove("responseModalities"));
    if modalities.iter().any(|one| {
        one.as_str()
            .is_some_and(|one| !one.eq_ignore_ascii_case("text"))
    }) {
        return Err(DialectError::at(
            "generationConfig.responseModalities",
            "the provider of this model answers in text only",
        ));
    }
    request
        .extra
        .extend(config.into_iter().filter(|(_, value)| !value.is_null()));
    Ok(())
}

/// Ids for calls and results, which are matched by name and order here.
#[derive(Default)]
struct Calls {
    made: u32,
    /// Name and id of calls that have no result yet, oldest first.
    open: Vec<(String, String)>,
}

impl Calls {
    fn parts(&mut self, path: &str, value: Option<Value>) -> Result<Vec<Part>, DialectError> {
        let list = match value {
            Some(one @ Value::Object(_)) => vec![one],
            other => list(other),
        };
        let mut parts = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            self.part(&format!("{path}[{index}]"), value, &mut parts)?;
        }
        Ok(parts)
    }

    fn part(
        &mut self,
        path: &str,
        value: Value,
        parts: &mut Vec<Part>,
    ) -> Result<(), DialectError> {
        let mut fields =
            Taken::of(value).ok_or_else(|| DialectError::at(path, "a part must be an object"))?;
        let signature = fields
            .text("thoughtSignature")
            .map(|data| Signature::read(&data, Dialect::Gemini));
        let is_thought = fields.take("thought") == Value::Bool(true);
        if let Some(text) = fields.text("text") {
            match (is_thought, signature) {
                (true, signature) => parts.push(Part::thought(text, signature)),
                (false, signature) => {
                    if !text.is_empty() {
                        parts.push(Part::Text { text });
                    }
                    if signature.is_some() {
                        parts.push(Part::thought(String::new(), signature));
                    }
                }
            }
            return Ok(());
        }
        if let Some(mut call) = Taken::of(fields.take("functionCall")) {
            parts.push(self.call(path, &mut call, signature)?);
            return Ok(());
        }
        if let Some(mut result) = Taken::of(fields.take("functionResponse")) {
            parts.push(self.result(path, &mut result)?);
            return Ok(());
        }
        parts.push(media(path, &mut fields)?);
        Ok(())
    }

    fn call(
        &mut self,
        path: &str,
        call: &mut Taken,
        signature: Option<Signature>,
    ) -> Result<Part, DialectError> {
        let name = call.text("name").ok_or_else(|| {
            DialectError::at(format!("{path}.functionCall.name"), "this field is missing")
        })?;
        self.made += 1;
        let id = call
            .text("id")
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| format!("call_{}", self.made));
        self.open.push((name.clone(), id.clone()));
        let args = call.take("args");
        Ok(Part::ToolCall {
            id,
            name,
            arguments: if args.is_object() {
                exact::write_data(&args)
            } else {
                "{}".to_owned()
            },
            signature,
        })
    }

    fn result(&mut self, path: &str, result: &mut Taken) -> Result<Part, DialectError> {
        let name = result.text("name").unwrap_or_default();
        let given = result.text("id").filter(|id| !id.is_empty());
        let place = self
            .open
            .iter()
            .position(|(called, id)| given.as_ref().map_or(*called == name, |given| given == id));
        let known = place.map(|place| self.open.remove(place).1);
        let id = known.or(given).ok_or_else(|| {
            DialectError::at(
                format!("{path}.functionResponse.name"),
                "this result answers no call of an earlier content",
            )
        })?;
        let response = result.take("response");
        let said = |name: &str| response.get(name).and_then(Value::as_str);
        let only = response.as_object().is_some_and(|fields| fields.len() == 1);
        let is_error = only && said("error").is_some();
        let plain = only.then(|| {
            said("result")
                .or_else(|| said("output"))
                .or_else(|| said("error"))
        });
        let text = plain
            .flatten()
            .map_or_else(|| exact::write_data(&response), str::to_owned);
        let mut parts = vec![Part::Text { text }];
        for media_part in list(Some(result.take("parts"))) {
            if let Some(mut fields) = Taken::of(media_part) {
                parts.push(media(path, &mut fields)?);
            }
        }
        Ok(Part::ToolResult {
            id,
            parts,
            is_error,
        })
    }
}

fn media(path: &str, fields: &mut Taken) -> Result<Part, DialectError> {
    let of = |media_type: &str, source: Source| {
        if media_type.starts_with("image/") {
            Part::Image { source }
        } else {
            Part::Document { source, name: None }
        }
    };
    if let Some(mut inline) = Taken::of(fields.take("inlineData")) {
        let media_type = inline.text("mimeType").unwrap_or_default();
        let data = inline.text("data").unwrap_or_default();
        if let Some(format) = media_type.strip_prefix("audio/") {
            let format = format.to_owned();
            return Ok(Part::Audio { format, data });
        }
        return Ok(of(&media_type.clone(), Source::Base64 { media_type, data }));
    }
    if let Some(mut file) = Taken::of(fields.take("fileData")) {
        let media_type = file.text("mimeType").unwrap_or_default();
        let url = file
            .text("fileUri")
            .filter(|url| url.starts_with("https://"));
        let url = url.ok_or_else(|| {
            DialectError::at(
                format!("{path}.fileData.fileUri"),
                "only https addresses can cross to the provider of this model",
            )
        })?;
        return Ok(of(&media_type, Source::Url { url }));
    }
    Err(DialectError::at(
        path,
        "this kind of part cannot cross to the provider of this model",
    ))
}

fn tools(value: Option<Value>) -> Result<Vec<Tool>, DialectError> {
    let mut tools = Vec::new();
    for (index, value) in list(value).into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let mut fields =
            Taken::of(value).ok_or_else(|| DialectError::at(&*path, "a tool must be an object"))?;
        let declared = fields.take("functionDeclarations");
        if declared.is_null() || fields.holds_more() {
            return Err(DialectError::at(
                path,
                "tools that run at Google cannot cross to the provider of this model",
            ));
        }
        for value in list(Some(declared)) {
            let mut fields = Taken::of(value)
                .ok_or_else(|| DialectError::at(&*path, "a declaration must be an object"))?;
            let own = fields.take("parametersJsonSchema");
            let schema = if own.is_null() {
                plain_schema(fields.take("parameters"))
            } else {
                own
            };
            tools.push(Tool {
                name: fields.text("name").ok_or_else(|| {
                    DialectError::at(format!("{path}.functionDeclarations"), "a name is missing")
                })?,
                description: fields.text("description"),
                schema: Some(schema).filter(Value::is_object),
                strict: None,
                cache_for_an_hour: None,
            });
        }
    }
    Ok(tools)
}

/// Elsewhere nothing names several of the tools: the others are left out instead, and these are their names.
fn only_allowed(config: &Value, tools: &mut Vec<Tool>) -> Vec<String> {
    let names = config.get("allowedFunctionNames").and_then(Value::as_array);
    let Some(names) = names.filter(|names| names.len() > 1) else {
        return Vec::new();
    };
    let allowed = |tool: &mut Tool| names.iter().any(|name| name.as_str() == Some(&*tool.name));
    let left_out = tools.extract_if(.., |tool| !allowed(tool));
    left_out.map(|tool| tool.name).collect()
}

fn choice(config: &Value) -> Option<ToolChoice> {
    let names = config.get("allowedFunctionNames").and_then(Value::as_array);
    let only = names.filter(|names| names.len() == 1);
    let only = only.and_then(|names| names.first()?.as_str());
    match config.get("mode").and_then(Value::as_str)? {
        "NONE" => Some(ToolChoice::None),
        "ANY" => Some(only.map_or(ToolChoice::Required, |name| {
            ToolChoice::Named(name.to_owned())
        })),
        _ => Some(ToolChoice::Auto),
    }
}
