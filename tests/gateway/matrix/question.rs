//! What is asked in each row of the matrix, in each client's words.

use serde_json::{Value, json};
use switchyard_chaos::mock::Dialect;

use super::heard::Call;
use super::speaker::asked;

/// A transparent pixel.
pub const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
pub const ADDRESS: &str = "https://pictures.example/one.png";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    Within,
    ByAddress,
}

/// What a client says, whatever its dialect calls it.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub system: Option<&'static str>,
    /// The user's and the model's turns in turn.
    pub turns: Vec<&'static str>,
    pub picture: Option<Picture>,
    pub tools: bool,
    /// The answer is to be an object with a city.
    pub form: bool,
    pub think: bool,
    /// Calls the model made, and what came of them.
    pub called: Vec<Call>,
}

impl Question {
    pub fn of(text: &'static str) -> Self {
        Self {
            turns: vec![text],
            ..Self::default()
        }
    }

    /// The path and the body.
    pub fn said(&self, client: Dialect, stream: bool) -> (String, Value) {
        let (path, mut body) = asked(client, stream);
        match client {
            Dialect::OpenAi => self.to_chat(&mut body),
            Dialect::Anthropic => self.to_anthropic(&mut body),
            Dialect::Responses => self.to_responses(&mut body),
            _ => self.to_gemini(&mut body),
        }
        (path, body)
    }

    /// Who speaks, and what; the last of the user's has the picture beside it.
    fn each(
        &self,
        model: &'static str,
    ) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let last = self.turns.len() - 1;
        let turns = self.turns.iter().enumerate();
        turns.map(move |(at, text)| {
            let role = if at % 2 == 0 { "user" } else { model };
            (role, *text, at == last)
        })
    }

    fn picture(&self, last: bool) -> Option<String> {
        let picture = self.picture.filter(|_| last)?;
        Some(match picture {
            Picture::Within => format!("data:image/png;base64,{PICTURE}"),
            Picture::ByAddress => ADDRESS.to_owned(),
        })
    }

    /// As [`Question::said`], with the model's turn as it came, and the question again behind it.
    pub fn said_after(&self, client: Dialect, turn: Vec<Value>, stream: bool) -> (String, Value) {
        let (path, mut body) = self.said(client, stream);
        let turns = match client {
            Dialect::OpenAi | Dialect::Anthropic => &mut body["messages"],
            Dialect::Responses => &mut body["input"],
            _ => &mut body["contents"],
        };
        let turns = turns.as_array_mut().unwrap();
        let again = turns.last().cloned();
        turns.extend(turn.into_iter().chain(again));
        (path, body)
    }

    fn to_chat(&self, body: &mut Value) {
        let mut messages: Vec<Value> = Vec::new();
        if let Some(system) = self.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        for (role, text, last) in self.each("assistant") {
            messages.push(match self.picture(last) {
                None => json!({"role": role, "content": text}),
                Some(url) => json!({"role": role, "content": [
                    {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}},
                ]}),
            });
        }
        if !self.called.is_empty() {
            let calls = self.called.iter().map(|call| {
                json!({"id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments}})
            });
            let calls: Vec<Value> = calls.collect();
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
            let results = self.called.iter();
            messages
                .extend(results.map(
                    |call| json!({"role": "tool", "tool_call_id": call.id, "content": "dry"}),
                ));
        }
        body["messages"] = messages.into();
        if self.tools {
            body["tools"] = json!([{"type": "function", "function": {
                "name": "weather", "description": "of a city", "parameters": city()}}]);
        }
        if self.form {
            body["response_format"] = json!({"type": "json_schema",
                "json_schema": {"name": "place", "schema": city(), "strict": true}});
        }
        if self.think {
            body["reasoning_effort"] = "low".into();
        }
    }

    fn to_anthropic(&self, body: &mut Value) {
        body["max_tokens"] = 4096.into();
        if let Some(system) = self.system {
            body["system"] = system.into();
        }
        let mut messages: Vec<Value> = Vec::new();
        for (role, text, last) in self.each("assistant") {
            let mut content = vec![json!({"type": "text", "text": text})];
            match self.picture.filter(|_| last) {
                None => {}
                Some(Picture::Within) => content.push(json!({"type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}})),
                Some(Picture::ByAddress) => content.push(json!({"type": "image",
                    "source": {"type": "url", "url": ADDRESS}})),
            }
            messages.push(json!({"role": role, "content": content}));
        }
        if !self.called.is_empty() {
            let uses = self.called.iter().map(|call| {
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input()})
            });
            let uses: Vec<Value> = uses.collect();
            messages.push(json!({"role": "assistant", "content": uses}));
            let results = self.called.iter().map(
                |call| json!({"type": "tool_result", "tool_use_id": call.id, "content": "dry"}),
            );
            let results: Vec<Value> = results.collect();
            messages.push(json!({"role": "user", "content": results}));
        }
        body["messages"] = messages.into();
        if self.tools {
            body["tools"] =
                json!([{"name": "weather", "description": "of a city", "input_schema": city()}]);
        }
        if self.form {
            body["output_config"] = json!({"format": {"type": "json_schema", "schema": city()}});
        }
        if self.think {
            body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
        }
    }

    fn to_responses(&self, body: &mut Value) {
        if let Some(system) = self.system {
            body["instructions"] = system.into();
        }
        let mut input: Vec<Value> = Vec::new();
        for (role, text, last) in self.each("assistant") {
            input.push(match self.picture(last) {
                None => json!({"role": role, "content": text}),
                Some(url) => json!({"role": role, "content": [
                    {"type": "input_text", "text": text}, {"type": "input_image", "image_url": url},
                ]}),
            });
        }
        input.extend(self.called.iter().map(|call| {
            json!({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments})
        }));
        input.extend(self.called.iter().map(
            |call| json!({"type": "function_call_output", "call_id": call.id, "output": "dry"}),
        ));
        body["input"] = input.into();
        body["store"] = false.into();
        if self.tools {
            body["tools"] = json!([{"type": "function", "name": "weather", "description": "of a city",
                "parameters": city(), "strict": false}]);
        }
        if self.form {
            body["text"] = json!({"format": {"type": "json_schema", "name": "place", "schema": city(), "strict": true}});
        }
        if self.think {
            body["reasoning"] = json!({"effort": "low", "summary": "auto"});
        }
    }

    fn to_gemini(&self, body: &mut Value) {
        if let Some(system) = self.system {
            body["systemInstruction"] = json!({"parts": [{"text": system}]});
        }
        let mut contents: Vec<Value> = Vec::new();
        for (role, text, last) in self.each("model") {
            let mut parts = vec![json!({"text": text})];
            match self.picture.filter(|_| last) {
                None => {}
                Some(Picture::Within) => {
                    parts.push(json!({"inlineData": {"mimeType": "image/png", "data": PICTURE}}));
                }
                Some(Picture::ByAddress) => {
                    parts.push(json!({"fileData": {"mimeType": "image/png", "fileUri": ADDRESS}}));
                }
            }
            contents.push(json!({"role": role, "parts": parts}));
        }
        if !self.called.is_empty() {
            // As they came: a signature lies beside the first.
            let parts: Vec<Value> = self.called.iter().map(|call| call.part.clone()).collect();
            contents.push(json!({"role": "model", "parts": parts}));
            let results = self.called.iter().map(|call| {
                let mut result = json!({"name": call.name, "response": {"result": "dry"}});
                if !call.id.is_empty() {
                    result["id"] = call.id.as_str().into();
                }
                json!({"functionResponse": result})
            });
            let results: Vec<Value> = results.collect();
            contents.push(json!({"role": "user", "parts": results}));
        }
        body["contents"] = contents.into();
        if self.tools {
            body["tools"] = json!([{"functionDeclarations": [
                {"name": "weather", "description": "of a city", "parametersJsonSchema": city()}]}]);
        }
        let mut config = json!({});
        if self.form {
            config["responseMimeType"] = "application/json".into();
            config["responseJsonSchema"] = city();
        }
        if self.think {
            config["thinkingConfig"] = json!({"includeThoughts": true, "thinkingBudget": 1024});
        }
        body["generationConfig"] = config;
    }
}

fn city() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": false})
}
