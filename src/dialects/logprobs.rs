//! How likely each token of a text was, in the forms that tell it token by token.
//!
//! Cohere tells it by numbers of tokens and not by their text, so it stays there; Anthropic and Bedrock tell none.

use serde_json::{Value, json};

use crate::domain::chat::{ChatEvent, ChatRequest, TokenLogprob};

/// How many tokens are to be told that might have stood in the place of each.
pub(super) fn alternatives(request: &ChatRequest) -> Option<&Value> {
    request.extra.get("top_logprobs")
}

// --- OpenAI's two forms, and Ollama's ---

fn token(value: &Value) -> Option<TokenLogprob> {
    let bytes = value.get("bytes").and_then(Value::as_array);
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let top = value.get("top_logprobs").and_then(Value::as_array);
    Some(TokenLogprob {
        token: value.get("token")?.as_str()?.to_owned(),
        logprob: value.get("logprob")?.as_f64()?,
        bytes: bytes.and_then(|bytes| bytes.iter().map(byte).collect()),
        top: top.into_iter().flatten().filter_map(token).collect(),
    })
}

/// A list of tokens; nothing where there is none.
pub(super) fn read(list: Option<&Value>) -> Vec<TokenLogprob> {
    let list = list.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(token).collect()
}

/// A chat's, of words and refusals alike.
pub(super) fn of_choice(choice: Option<&Value>) -> Vec<TokenLogprob> {
    let told = choice.and_then(|choice| choice.get("logprobs"));
    let list = |name| read(told.and_then(|told| told.get(name)));
    let mut all = list("content");
    all.append(&mut list("refusal"));
    all
}

pub(super) fn event(told: Vec<TokenLogprob>) -> Option<ChatEvent> {
    (!told.is_empty()).then_some(ChatEvent::Logprobs { tokens: told })
}

fn bare(one: &TokenLogprob) -> Value {
    let own = || one.token.as_bytes().to_vec();
    let bytes = one.bytes.clone().unwrap_or_else(own);
    json!({"token": one.token, "logprob": one.logprob, "bytes": bytes})
}

pub(super) fn write(told: &[TokenLogprob]) -> Value {
    let one = |one: &TokenLogprob| {
        let mut value = bare(one);
        value["top_logprobs"] = one.top.iter().map(bare).collect();
        value
    };
    told.iter().map(one).collect()
}

/// As a chat's choice has it.
pub(super) fn for_choice(told: &[TokenLogprob]) -> Value {
    if told.is_empty() {
        Value::Null
    } else {
        json!({"content": write(told), "refusal": null})
    }
}

// --- Google's ---

/// What is zero may be left out there.
fn candidate(value: &Value) -> TokenLogprob {
    let text = value.get("token").and_then(Value::as_str);
    let logprob = value.get("logProbability").and_then(Value::as_f64);
    TokenLogprob {
        token: text.unwrap_or_default().to_owned(),
        logprob: logprob.unwrap_or(0.0),
        bytes: None,
        top: Vec::new(),
    }
}

/// The tokens that were chosen, each with what else might have been.
pub(super) fn of_candidate(told: Option<&Value>) -> Vec<TokenLogprob> {
    let list = |name: &str| {
        let list = told.and_then(|candidate| candidate.pointer(name));
        list.and_then(Value::as_array)
    };
    let chosen = list("/logprobsResult/chosenCandidates")
        .into_iter()
        .flatten();
    let mut top = list("/logprobsResult/topCandidates").into_iter().flatten();
    let all = chosen.map(|one| {
        let others = top.next().and_then(|others| others.get("candidates"));
        let others = others.and_then(Value::as_array).into_iter().flatten();
        TokenLogprob {
            top: others.map(candidate).collect(),
            ..candidate(one)
        }
    });
    all.collect()
}

pub(super) fn for_candidate(told: &[TokenLogprob]) -> Value {
    let one = |one: &TokenLogprob| json!({"token": one.token, "logProbability": one.logprob});
    let chosen: Value = told.iter().map(one).collect();
    let top = told.iter().map(|token| {
        let others: Value = token.top.iter().map(one).collect();
        json!({"candidates": others})
    });
    json!({"chosenCandidates": chosen, "topCandidates": top.collect::<Value>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Value {
        json!([
            {"token": "391", "logprob": -0.25, "bytes": [51, 57, 49], "top_logprobs": [
                {"token": "391", "logprob": -0.25, "bytes": [51, 57, 49]},
                {"token": "39", "logprob": -1.5, "bytes": [51, 57]},
            ]},
            {"token": ".", "logprob": 0.0, "bytes": [46], "top_logprobs": []},
        ])
    }

    #[test]
    fn g_tokens_come_back_as_they_were_told() {
        assert_eq!(write(&read(Some(&told()))), told());
        let choice = json!({"logprobs": {"content": told(), "refusal": null}});
        let read = of_choice(Some(&choice));
        assert_eq!(for_choice(&read), choice["logprobs"]);
        assert_eq!(for_choice(&[]), Value::Null);
    }

    #[test]
    fn g_google_s_form_tells_the_same_save_the_bytes() {
        let tokens = read(Some(&told()));
        let written = for_candidate(&tokens);
        let back = of_candidate(Some(&json!({"logprobsResult": written})));
        assert_eq!(write(&back), told());
        let zero = json!({"logprobsResult": {"chosenCandidates": [{"token": "a"}]}});
        assert_eq!(of_candidate(Some(&zero))[0].logprob, 0.0);
    }

    #[test]
    fn what_is_no_list_of_tokens_is_none() {
        for odd in [
            json!(5),
            json!({"content": 1}),
            json!([1, {"token": 2}, null]),
        ] {
            assert_eq!(read(Some(&odd)), []);
            assert_eq!(of_choice(Some(&odd)), []);
            assert_eq!(of_candidate(Some(&odd)), []);
        }
        let odd = json!({"logprobsResult": {"chosenCandidates": [5], "topCandidates": 7}});
        assert_eq!(of_candidate(Some(&odd)).len(), 1);
    }
}
