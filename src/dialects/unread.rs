//! What of a request no decoder reads: named with its place, so that nothing is lost without a word.
//!
//! Each list is what its dialect's decoder reads. `[]` stands for every element, and below a place that ends in `*`
//! is somebody's data, of which all is kept. What stands at the top is no business of this: it is kept as it is,
//! and whoever encodes it says what cannot be said.

use serde_json::Value;

use crate::domain::ClientDialect;

const OPENAI: &[&str] = &[
    "messages[].content",
    "messages[].content[].cache_control.ttl",
    "messages[].content[].cache_control.type",
    "messages[].content[].file.file_data",
    "messages[].content[].file.filename",
    "messages[].content[].image_url",
    "messages[].content[].image_url.url",
    "messages[].content[].input_audio.data",
    "messages[].content[].input_audio.format",
    "messages[].content[].refusal",
    "messages[].content[].text",
    "messages[].content[].thinking",
    "messages[].content[].thinking[].text",
    "messages[].content[].thinking[].type",
    "messages[].content[].type",
    "messages[].reasoning",
    "messages[].reasoning_content",
    "messages[].reasoning_details.*",
    "messages[].refusal",
    "messages[].role",
    "messages[].thinking_blocks[].data",
    "messages[].thinking_blocks[].index",
    "messages[].thinking_blocks[].signature",
    "messages[].thinking_blocks[].thinking",
    "messages[].thinking_blocks[].type",
    "messages[].tool_call_id",
    "messages[].tool_calls[].extra_content.google.thought_signature",
    "messages[].tool_calls[].function.arguments",
    "messages[].tool_calls[].function.name",
    "messages[].tool_calls[].id",
    "messages[].tool_calls[].index",
    "messages[].tool_calls[].type",
    "reasoning.effort",
    "reasoning.enabled",
    "reasoning.exclude",
    "reasoning.max_tokens",
    "response_format.json_schema.name",
    "response_format.json_schema.schema.*",
    "response_format.json_schema.strict",
    "response_format.type",
    "stop[]",
    "stream_options.include_usage",
    "thinking.budget_tokens",
    "thinking.type",
    "tool_choice.function.name",
    "tool_choice.type",
    "tools[].cache_control.ttl",
    "tools[].cache_control.type",
    "tools[].function.description",
    "tools[].function.name",
    "tools[].function.parameters.*",
    "tools[].function.strict",
    "tools[].type",
];

const ANTHROPIC: &[&str] = &[
    "messages[].content",
    "messages[].content[].cache_control.ttl",
    "messages[].content[].cache_control.type",
    "messages[].content[].content",
    "messages[].content[].content[].cache_control.ttl",
    "messages[].content[].content[].cache_control.type",
    "messages[].content[].content[].source.data",
    "messages[].content[].content[].source.media_type",
    "messages[].content[].content[].source.type",
    "messages[].content[].content[].source.url",
    "messages[].content[].content[].text",
    "messages[].content[].content[].title",
    "messages[].content[].content[].type",
    "messages[].content[].data",
    "messages[].content[].id",
    "messages[].content[].input.*",
    "messages[].content[].is_error",
    "messages[].content[].name",
    "messages[].content[].signature",
    "messages[].content[].source.data",
    "messages[].content[].source.media_type",
    "messages[].content[].source.type",
    "messages[].content[].source.url",
    "messages[].content[].text",
    "messages[].content[].thinking",
    "messages[].content[].title",
    "messages[].content[].tool_use_id",
    "messages[].content[].type",
    "messages[].role",
    "metadata.user_id",
    "output_config.effort",
    "output_config.format.schema.*",
    "output_config.format.type",
    "output_format.schema.*",
    "output_format.type",
    "stop_sequences[]",
    "system[].cache_control.ttl",
    "system[].cache_control.type",
    "system[].text",
    "system[].type",
    "thinking.budget_tokens",
    "thinking.display",
    "thinking.type",
    "tool_choice.disable_parallel_tool_use",
    "tool_choice.name",
    "tool_choice.type",
    "tools[].cache_control.ttl",
    "tools[].cache_control.type",
    "tools[].description",
    "tools[].input_schema.*",
    "tools[].name",
    "tools[].strict",
    "tools[].type",
];

const RESPONSES: &[&str] = &[
    "input[].arguments",
    "input[].call_id",
    "input[].content",
    "input[].content[].file_data",
    "input[].content[].file_url",
    "input[].content[].filename",
    "input[].content[].image_url",
    "input[].content[].input_audio.data",
    "input[].content[].input_audio.format",
    "input[].content[].refusal",
    "input[].content[].text",
    "input[].content[].type",
    "input[].encrypted_content",
    // Names and states of items at OpenAI, which no other provider could tell anything by.
    "input[].id",
    "input[].name",
    "input[].output",
    "input[].output[].file_data",
    "input[].output[].file_url",
    "input[].output[].filename",
    "input[].output[].image_url",
    "input[].output[].text",
    "input[].output[].type",
    "input[].role",
    "input[].status",
    "input[].summary[].text",
    "input[].summary[].type",
    "input[].type",
    "reasoning.effort",
    "reasoning.summary",
    "text.format.name",
    "text.format.schema.*",
    "text.format.strict",
    "text.format.type",
    "text.verbosity",
    "tool_choice.name",
    "tool_choice.type",
    "tools[].description",
    "tools[].name",
    "tools[].parameters.*",
    "tools[].strict",
    "tools[].type",
];

const GEMINI: &[&str] = &[
    "contents.parts",
    "contents[].parts.text",
    "contents[].parts[].fileData.fileUri",
    "contents[].parts[].fileData.mimeType",
    "contents[].parts[].functionCall.args.*",
    "contents[].parts[].functionCall.id",
    "contents[].parts[].functionCall.name",
    "contents[].parts[].functionResponse.id",
    "contents[].parts[].functionResponse.name",
    "contents[].parts[].functionResponse.parts[].inlineData.data",
    "contents[].parts[].functionResponse.parts[].inlineData.mimeType",
    "contents[].parts[].functionResponse.response.*",
    "contents[].parts[].inlineData.data",
    "contents[].parts[].inlineData.mimeType",
    "contents[].parts[].text",
    "contents[].parts[].thought",
    "contents[].parts[].thoughtSignature",
    "contents[].role",
    "generationConfig.candidateCount",
    "generationConfig.frequencyPenalty",
    "generationConfig.logprobs",
    "generationConfig.maxOutputTokens",
    "generationConfig.presencePenalty",
    "generationConfig.responseJsonSchema.*",
    "generationConfig.responseLogprobs",
    "generationConfig.responseMimeType",
    "generationConfig.responseModalities[]",
    "generationConfig.responseSchema.*",
    "generationConfig.seed",
    "generationConfig.stopSequences[]",
    "generationConfig.temperature",
    "generationConfig.thinkingConfig.includeThoughts",
    "generationConfig.thinkingConfig.thinkingBudget",
    "generationConfig.thinkingConfig.thinkingLevel",
    "generationConfig.topK",
    "generationConfig.topP",
    "systemInstruction.parts[].text",
    // It says what the member's name says.
    "systemInstruction.role",
    "toolConfig.functionCallingConfig.allowedFunctionNames[]",
    "toolConfig.functionCallingConfig.mode",
    "tools[].functionDeclarations[].description",
    "tools[].functionDeclarations[].name",
    "tools[].functionDeclarations[].parameters.*",
    "tools[].functionDeclarations[].parametersJsonSchema.*",
];

/// The places nobody reads.
pub(super) fn unread(dialect: ClientDialect, request: &Value) -> Vec<String> {
    let read = match dialect {
        ClientDialect::Openai => OPENAI,
        ClientDialect::Anthropic => ANTHROPIC,
        ClientDialect::Responses => RESPONSES,
        ClientDialect::Gemini => GEMINI,
    };
    let mut walk = Walk {
        read,
        pattern: String::new(),
        place: String::new(),
        found: Vec::new(),
    };
    for (name, value) in request.as_object().into_iter().flatten() {
        let below = |place: &str| {
            let rest = place.strip_prefix(&**name);
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        if read.iter().any(|place| below(place)) {
            walk.member(name, value);
        }
    }
    walk.found
}

/// So many are named; whoever says more knows it.
pub(super) const MOST: usize = 16;

struct Walk {
    read: &'static [&'static str],
    /// The place without the numbers of elements, and with them.
    pattern: String,
    place: String,
    found: Vec<String>,
}

impl Walk {
    fn member(&mut self, name: &str, value: &Value) {
        if value.is_null() || self.found.len() >= MOST {
            return;
        }
        let (pattern, place) = (self.pattern.len(), self.place.len());
        for (text, dot) in [
            (&mut self.pattern, pattern > 0),
            (&mut self.place, place > 0),
        ] {
            if dot {
                text.push('.');
            }
            text.push_str(name);
        }
        self.value(value);
        self.pattern.truncate(pattern);
        self.place.truncate(place);
    }

    fn value(&mut self, value: &Value) {
        let (mut here, mut below, mut data) = (false, false, false);
        // The lists are sorted: what begins alike stands together.
        let from = self.read.partition_point(|place| *place < &*self.pattern);
        let alike = self.read.get(from..).unwrap_or_default().iter();
        for place in alike.take_while(|place| place.starts_with(&*self.pattern)) {
            match place.strip_prefix(&*self.pattern) {
                Some("") => here = true,
                Some(".*") => data = true,
                Some(rest) if rest.starts_with(['.', '[']) => below = true,
                Some(_) | None => {}
            }
        }
        match value {
            _ if data => {}
            Value::Object(fields) if below => {
                for (name, value) in fields {
                    self.member(name, value);
                }
            }
            Value::Array(list) if below => {
                let (pattern, place) = (self.pattern.len(), self.place.len());
                self.pattern.push_str("[]");
                for (index, value) in list.iter().enumerate() {
                    self.place.push_str(&format!("[{index}]"));
                    self.value(value);
                    self.place.truncate(place);
                }
                self.pattern.truncate(pattern);
            }
            // Where an object could stand, a plain value is the decoder's business.
            _ if here || below => {}
            // It says nothing: answers come with such lists, and clients send them back as they came.
            Value::Array(list) if list.is_empty() => {}
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => self.found.push(shown(&self.place)),
        }
    }
}

/// A place as the client wrote it, where an encoder knows it by its canonical name; `None` where it is the same.
pub fn own_place(dialect: ClientDialect, place: &str) -> Option<String> {
    let (schema, format) = match dialect {
        ClientDialect::Openai => ("function.parameters", "response_format.json_schema.schema"),
        ClientDialect::Anthropic => ("input_schema", "output_config.format.schema"),
        ClientDialect::Responses => ("parameters", "text.format.schema"),
        ClientDialect::Gemini => {
            return (place == "safety_settings").then(|| "safetySettings".to_owned());
        }
    };
    if let Some(below) = place.strip_prefix("response_format.schema") {
        return Some(format!("{format}{below}"));
    }
    let (tool, below) = place.split_once("].parameters")?;
    let number = tool.strip_prefix("tools[")?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("{tool}].{schema}{below}"))
}

/// A place as a header can carry it: names come from outside.
pub(super) fn shown(place: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_graphic() && letter != ',' {
            letter
        } else {
            '?'
        }
    };
    place.chars().take(128).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn g_what_nobody_reads_is_named_with_its_place() {
        let body = json!({"model": "m", "x": {"kept": 1}, "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]},
            {"role": "assistant", "name": "a", "content": null, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}", "ü,": 1}}]},
        ], "tools": [{"type": "function", "function": {"name": "f", "parameters": {"any": {"thing": 1}}}}]});
        let expected = [
            "messages[0].content[0].image_url.detail",
            "messages[1].name",
            "messages[1].tool_calls[0].function.??",
        ];
        assert_eq!(unread(ClientDialect::Openai, &body), expected);
    }

    #[test]
    fn g_an_answer_sent_back_names_nothing_for_its_empty_lists() {
        let part = json!({"type": "output_text", "text": "t", "annotations": [], "logprobs": []});
        let said = |part: &Value| {
            unread(
                ClientDialect::Responses,
                &json!({"input": [
                    {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]},
                ]}),
            )
        };
        assert_eq!(said(&part), Vec::<String>::new());
        let mut cited = part.clone();
        cited["annotations"] = json!([{"type": "url_citation", "url": "u"}]);
        assert_eq!(said(&cited), ["input[0].content[0].annotations"]);
    }

    #[test]
    fn g_a_place_in_a_schema_is_named_as_the_client_wrote_it() {
        use ClientDialect::{Anthropic, Gemini, Openai, Responses};
        for (dialect, place, own) in [
            (
                Openai,
                "tools[12].parameters.not",
                Some("tools[12].function.parameters.not"),
            ),
            (
                Anthropic,
                "tools[0].parameters.not",
                Some("tools[0].input_schema.not"),
            ),
            (
                Responses,
                "response_format.schema.not",
                Some("text.format.schema.not"),
            ),
            (Gemini, "safety_settings", Some("safetySettings")),
            (Openai, "tools[0].function.parameters", None),
            (Openai, "safety_settings", None),
        ] {
            assert_eq!(own_place(dialect, place).as_deref(), own, "{place}");
        }
    }

    #[test]
    fn the_lists_are_sorted_and_name_each_place_once() {
        for list in [OPENAI, ANTHROPIC, RESPONSES, GEMINI] {
            let out_of_place = list.windows(2).find(|pair| pair[0] >= pair[1]);
            assert_eq!(out_of_place, None);
        }
    }

    proptest! {
        #[test]
        fn no_names_make_a_header_that_cannot_be_sent(name in any::<String>(), many in 0..40_usize) {
            let members: serde_json::Map<String, Value> = (0..many).map(|one| (format!("{name}{one}"), json!(1))).collect();
            let found = unread(ClientDialect::Anthropic, &json!({"messages": [members]}));
            prop_assert!(found.len() <= MOST && found.len() >= many.min(MOST).saturating_sub(3));
            prop_assert!(found.iter().all(|place| place.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }
}
