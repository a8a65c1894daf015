//! How long a prompt is: asked in the form of one dialect, counted by a provider of another.

use serde_json::{Value, json};

use super::json::scan_object;
use super::{
    AnswerFault, DialectError, Encoded, Recipient, decode_request, encode_request, fields, openai,
};
use crate::domain::chat::ChatRequest;
use crate::domain::{ClientDialect, Dialect, Quirks, Tokens};

/// What Anthropic counts; it refuses to be told anything else.
const COUNTED: [&str; 6] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
];

/// The question of a client, for a provider of another dialect that counts.
pub fn count_request(
    client: ClientDialect,
    provider: Dialect,
    body: &[u8],
    model: &str,
    settle: impl FnOnce(&mut ChatRequest),
) -> Result<Encoded, DialectError> {
    let inner = if client == ClientDialect::Gemini {
        prompt_of(body)?
    } else {
        None
    };
    let mut request = decode_request(client, inner.as_deref().unwrap_or(body))?;
    settle(&mut request);
    // Nothing is written, so the limit is only said where one has to be, and taken out again.
    let recipient = Recipient {
        model,
        default_max_output: Tokens(1_024),
        quirks: &Quirks::default(),
    };
    let mut encoded = encode_request(provider, &request, recipient)?;
    let mut said = fields::object(&encoded.body)?;
    let question = if provider == Dialect::Gemini {
        said.insert("model".to_owned(), format!("models/{model}").into());
        json!({"generateContentRequest": said})
    } else {
        said.retain(|name, _| COUNTED.contains(&name.as_str()));
        said.into()
    };
    encoded.body = serde_json::to_vec(&question).unwrap_or_default();
    Ok(encoded)
}

/// Google's clients may send the whole request they are going to make.
fn prompt_of(body: &[u8]) -> Result<Option<Vec<u8>>, DialectError> {
    let mut fields = fields::object(body)?;
    let inner = ["generateContentRequest", "generate_content_request"];
    let inner = inner.iter().find_map(|name| fields.remove(*name));
    Ok(inner.map(|inner| serde_json::to_vec(&inner).unwrap_or_default()))
}

/// What a provider of this dialect counted.
pub fn counted(provider: Dialect, body: &[u8]) -> Result<Tokens, AnswerFault> {
    const MALFORMED: AnswerFault = AnswerFault::Malformed("the answer is not JSON");
    scan_object(body).map_err(|_| MALFORMED)?;
    let value: Value = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(AnswerFault::Disguised(openai::outcome_of(error)));
    }
    let name = if provider == Dialect::Gemini {
        "totalTokens"
    } else {
        "input_tokens"
    };
    let count = value.get(name).and_then(Value::as_u64);
    count
        .map(Tokens)
        .ok_or(AnswerFault::Empty("the answer has no count"))
}

/// A count as a client of this dialect reads it.
pub fn count_answer(client: ClientDialect, count: Tokens) -> Vec<u8> {
    let name = match client {
        ClientDialect::Gemini => "totalTokens",
        ClientDialect::Openai | ClientDialect::Anthropic | ClientDialect::Responses => {
            "input_tokens"
        }
    };
    serde_json::to_vec(&json!({name: count.0})).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(client: ClientDialect, provider: Dialect, body: &Value) -> Value {
        let encoded = count_request(client, provider, body.to_string().as_bytes(), "m-1", |_| {});
        serde_json::from_slice(&encoded.unwrap().body).unwrap()
    }

    #[test]
    fn e3_e4_a_prompt_is_counted_across_dialects_without_what_counting_refuses() {
        let google = json!({"contents": [{"parts": [{"text": "hi"}]}],
            "systemInstruction": {"parts": [{"text": "be brief"}]}, "generationConfig": {"temperature": 0.5}});
        let plain = asked(ClientDialect::Gemini, Dialect::Anthropic, &google);
        assert_eq!(plain["messages"][0]["role"], "user");
        assert!(plain.get("system").is_some());
        for refused in ["max_tokens", "temperature", "stream"] {
            assert!(plain.get(refused).is_none(), "{refused}: {plain}");
        }
        let whole = json!({"generateContentRequest": google});
        let wrapped = asked(ClientDialect::Gemini, Dialect::Anthropic, &whole);
        assert_eq!(wrapped, plain);
        let anthropic = json!({"model": "p", "messages": [{"role": "user", "content": "hi"}]});
        let question = asked(ClientDialect::Anthropic, Dialect::Gemini, &anthropic);
        let inner = &question["generateContentRequest"];
        assert_eq!(inner["model"], "models/m-1");
        assert_eq!(inner["contents"][0]["parts"][0]["text"], "hi");
    }

    #[test]
    fn p14_what_has_no_count_is_no_answer() {
        assert_eq!(
            counted(Dialect::Gemini, br#"{"totalTokens":7}"#),
            Ok(Tokens(7))
        );
        for bad in [r#"{"input_tokens":7}"#, r#"{"totalTokens":-1}"#, "[]", ""] {
            assert!(counted(Dialect::Gemini, bad.as_bytes()).is_err(), "{bad}");
        }
        let told = count_answer(ClientDialect::Gemini, Tokens(7));
        assert_eq!(told, br#"{"totalTokens":7}"#);
    }
}
