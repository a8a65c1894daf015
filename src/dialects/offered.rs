//! The tools that a request offers, and calls in an answer that are of none of them (attack A29).
//!
//! # Why needles first
//! Most of what passes calls nothing. A call cannot be said without its dialect's word for it, and the one way to
//! hide that word from a search is to escape its letters, which nobody does who means well: only what holds either is
//! read.

use std::collections::HashSet;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use serde_json::Value;

use crate::domain::ClientDialect;

/// What a request lets a model call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// By name.
    names: HashSet<Box<str>>,
    /// Tools of the provider's making that the client carries out, by their type.
    kinds: HashSet<Box<str>>,
    /// It brings names along that are not written in it.
    anything: bool,
}

/// What begins an escape of one of the letters of ASCII.
static ESCAPES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u00"));
static OF_OPENAI: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"_call"));
static OF_ANTHROPIC: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"tool_use\""));
static OF_GOOGLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"function"));

/// Whether there may be a call in this text of an answer.
pub fn may_call(speaks: ClientDialect, text: &[u8]) -> bool {
    let needle = match speaks {
        ClientDialect::Openai | ClientDialect::Responses => &OF_OPENAI,
        ClientDialect::Anthropic => &OF_ANTHROPIC,
        ClientDialect::Gemini => &OF_GOOGLE,
    };
    let is_letter = |place: usize| matches!(text.get(place + 4), Some(b'4'..=b'7'));
    needle.find(text).is_some() || ESCAPES.find_iter(text).any(is_letter)
}

impl Offered {
    /// What a request offers that was checked before.
    pub fn of(speaks: ClientDialect, body: &[u8]) -> Self {
        let mut offered = Self::default();
        let mentions = |name: &str| memmem::find(body, name.as_bytes()).is_some();
        // What the provider keeps may hold tools, which nobody here knows.
        let kept_there: &[&str] = match speaks {
            ClientDialect::Gemini => &["cachedContent", "cached_content"],
            ClientDialect::Responses => &["prompt"],
            ClientDialect::Openai | ClientDialect::Anthropic => &[],
        };
        let mut places = ["tools", "functions"].iter().chain(kept_there);
        if !places.any(|name| mentions(name)) {
            return offered;
        }
        // What cannot be read is judged by its provider; here it offers nothing.
        let request = super::json::Node::whole(body).object();
        let kept = request.get(kept_there);
        offered.anything = kept.is_some_and(|kept| kept.bytes() != b"null");
        for name in ["tools", "functions"] {
            let listed = request.get(&[name]).map(|listed| listed.bytes());
            let listed = listed.and_then(|listed| serde_json::from_slice(listed).ok());
            offered.take(speaks, &listed.unwrap_or_default(), 0);
        }
        offered
    }

    fn take(&mut self, speaks: ClientDialect, listed: &Value, depth: usize) {
        /// Tools in named groups of tools; nobody nests them deeper.
        const DEEPEST: usize = 4;
        if depth > DEEPEST {
            return;
        }
        // Google takes one where it takes a list.
        let one = listed.is_object().then(|| std::slice::from_ref(listed));
        for tool in one
            .or(listed.as_array().map(Vec::as_slice))
            .into_iter()
            .flatten()
        {
            let kind = tool["type"].as_str();
            match speaks {
                ClientDialect::Gemini => {
                    for name in ["functionDeclarations", "function_declarations"] {
                        self.names_in(&tool[name]);
                    }
                    // Moves of a mouse have names of Google's own.
                    let moves = ["computerUse", "computer_use"];
                    self.anything |= moves.iter().any(|name| !tool[*name].is_null());
                }
                ClientDialect::Openai | ClientDialect::Anthropic | ClientDialect::Responses => {
                    for place in [tool, &tool["function"], &tool["custom"]] {
                        self.names.extend(place["name"].as_str().map(Box::from));
                    }
                    self.kinds.extend(kind.map(Box::from));
                    self.take(speaks, &tool["tools"], depth + 1);
                }
            }
        }
    }

    fn names_in(&mut self, declared: &Value) {
        for one in declared.as_array().into_iter().flatten() {
            self.names.extend(one["name"].as_str().map(Box::from));
        }
    }

    /// Whether an answer, or an event of one, calls what was not offered.
    pub fn is_exceeded_by(&self, speaks: ClientDialect, answer: &Value) -> bool {
        if self.anything {
            return false;
        }
        match speaks {
            ClientDialect::Openai => list(&answer["choices"]).any(|choice| {
                let said = [&choice["delta"], &choice["message"]];
                said.into_iter().any(|said| self.is_exceeded_in_chat(said))
            }),
            ClientDialect::Anthropic => {
                let blocks = list(&answer["content"]).chain([&answer["content_block"]]);
                let mut calls = blocks.filter(|block| block["type"] == "tool_use");
                calls.any(|call| self.lacks(&call["name"]))
            }
            ClientDialect::Responses => {
                let listed = list(&answer["output"]).chain(list(&answer["response"]["output"]));
                let mut items = listed.chain([&answer["item"]]);
                items.any(|item| self.is_exceeded_by_item(item))
            }
            ClientDialect::Gemini => list(&answer["candidates"]).any(|candidate| {
                let mut parts = list(&candidate["content"]["parts"]);
                parts.any(|part| {
                    let names = ["functionCall", "function_call"];
                    let calls = names.map(|name| &part[name]);
                    let mut calls = calls.into_iter().filter(|call| !call.is_null());
                    calls.any(|call| self.lacks(&call["name"]))
                })
            }),
        }
    }

    fn lacks(&self, name: &Value) -> bool {
        name.as_str().is_none_or(|name| !self.names.contains(name))
    }

    /// A call's later pieces have no name; they go with the first.
    fn is_exceeded_in_chat(&self, said: &Value) -> bool {
        let calls = list(&said["tool_calls"]);
        let named = calls.flat_map(|call| [&call["function"]["name"], &call["custom"]["name"]]);
        let mut names = named.chain([&said["function_call"]["name"]]);
        names.any(|name| name.as_str().is_some_and(|name| !name.is_empty()) && self.lacks(name))
    }

    /// Calls that the client is to carry out. What the provider runs itself is in its answer as something that was
    /// done: searches, its own code, connectors.
    fn is_exceeded_by_item(&self, item: &Value) -> bool {
        let kind = |wanted: &str| self.kinds.iter().any(|kind| kind.starts_with(wanted));
        match item["type"].as_str().unwrap_or_default() {
            "function_call" | "custom_tool_call" => self.lacks(&item["name"]),
            "local_shell_call" => !kind("local_shell"),
            "shell_call" => !kind("shell"),
            "apply_patch_call" => !kind("apply_patch"),
            "computer_call" => !kind("computer"),
            _ => false,
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use ClientDialect::{Anthropic, Gemini, Openai, Responses};
    use serde_json::json;

    use super::*;

    fn exceeds(speaks: ClientDialect, request: &Value, answer: &Value) -> bool {
        let offered = Offered::of(speaks, request.to_string().as_bytes());
        let text = answer.to_string();
        let exceeds = offered.is_exceeded_by(speaks, answer);
        assert!(
            !exceeds || may_call(speaks, text.as_bytes()),
            "unseen: {text}"
        );
        exceeds
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of requests and answers")]
    fn a29_a_call_is_of_a_tool_that_was_offered_or_is_told() {
        let chat = json!({"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}], "functions": [{"name": "old"}]});
        let call = |name: &str| json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": name, "arguments": ""}}]}}]});
        let whole = |name: &str| json!({"choices": [{"message": {"tool_calls": [{"custom": {"name": name}}]}}]});
        let old = |name: &str| json!({"choices": [{"delta": {"function_call": {"name": name}}}]});
        let block = |name: &str| json!({"content_block": {"type": "tool_use", "name": name}});
        let item = |kind: &str, name: &str| json!({"item": {"type": kind, "name": name}});
        let part = |name: &str| json!({"candidates": [{"content": {"parts": [{"text": "x"}, {"functionCall": {"name": name}}]}}]});
        let nothing = json!({"messages": [{"content": "of tools and functions"}]});
        let typed = json!({"tools": [{"type": "bash_20250124", "name": "bash"}, {"name": "f"}]});
        let nested = json!({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}, {"type": "computer_use_preview"}]});
        let google =
            json!({"tools": [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]});
        for (speaks, request, answer, expected) in [
            (Openai, &chat, call("f"), false),
            (Openai, &chat, whole("c"), false),
            (Openai, &chat, old("old"), false),
            (Openai, &chat, call("g"), true),
            (Openai, &chat, whole("g"), true),
            (Openai, &chat, old("g"), true),
            // Its later pieces.
            (Openai, &chat, call(""), false),
            (Openai, &nothing, call("f"), true),
            (Anthropic, &typed, block("bash"), false),
            (Anthropic, &typed, block("f"), false),
            (Anthropic, &typed, block("rm"), true),
            (
                Anthropic,
                &typed,
                json!({"content": [{"type": "tool_use"}]}),
                true,
            ),
            (
                Anthropic,
                &nothing,
                json!({"content": [{"type": "server_tool_use", "name": "web_search"}]}),
                false,
            ),
            (Responses, &nested, item("function_call", "f"), false),
            (Responses, &nested, item("function_call", "g"), true),
            (Responses, &nested, item("computer_call", ""), false),
            (Responses, &nested, item("local_shell_call", ""), true),
            (Responses, &nested, item("shell_call", ""), true),
            (Responses, &nested, item("web_search_call", ""), false),
            (Responses, &nested, item("mcp_call", "x"), false),
            (
                Responses,
                &nothing,
                json!({"response": {"output": [{"type": "custom_tool_call", "name": "x"}]}}),
                true,
            ),
            (Gemini, &google, part("f"), false),
            (Gemini, &google, part("g"), true),
            (
                Gemini,
                &json!({"tools": {"function_declarations": [{"name": "g"}]}}),
                part("g"),
                false,
            ),
            (
                Gemini,
                &json!({"cachedContent": "cachedContents/1"}),
                part("g"),
                false,
            ),
            (
                Responses,
                &json!({"prompt": {"id": "pmpt_1"}}),
                item("function_call", "g"),
                false,
            ),
            (
                Responses,
                &json!({"prompt": null}),
                item("function_call", "g"),
                true,
            ),
            (
                Gemini,
                &json!({"tools": [{"computerUse": {}}]}),
                part("click_at"),
                false,
            ),
        ] {
            assert_eq!(
                exceeds(speaks, request, &answer),
                expected,
                "{request} {answer}"
            );
        }
    }

    #[test]
    fn a29_what_calls_nothing_is_not_read_and_no_spelling_hides_a_call() {
        for (speaks, text, expected) in [
            (
                Openai,
                r#"{"choices":[{"delta":{"content":"caf\u00e9 \u003cb\u003e"}}]}"#,
                false,
            ),
            (
                Openai,
                r#"{"choices":[{"delta":{"tool\u005fcalls":[]}}]}"#,
                true,
            ),
            (
                Anthropic,
                r#"{"content_block":{"type":"\u0074ool_use"}}"#,
                true,
            ),
            (
                Anthropic,
                r#"{"content_block":{"type":"server_tool_use"}}"#,
                false,
            ),
            (Gemini, r#"{"parts":[{"f\u0075nctionCall":{}}]}"#, true),
            (Gemini, r#"{"parts":[{"text":"a function"}]}"#, false),
            (Responses, r#"{"item":{"type":"function_call"}}"#, true),
        ] {
            assert_eq!(may_call(speaks, text.as_bytes()), expected, "{text}");
        }
    }
}
