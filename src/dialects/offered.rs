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

use super::json::Node;
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
        let request = Node::whole(body).object();
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

    /// Whether an answer, or an event of one, calls what was not offered; `None` when it cannot be read.
    ///
    /// # Why not as a tree of values
    /// What the crate for JSON refuses, clients read: half of a surrogate pair beside a call, or a number beyond all
    /// bounds, would carry it past.
    pub fn is_exceeded_by(&self, speaks: ClientDialect, answer: &[u8]) -> Option<bool> {
        if self.anything {
            return Some(false);
        }
        let answer = Node::readable(answer)?;
        Some(match speaks {
            ClientDialect::Openai => {
                let delta = at(&answer, &["choices", LIST, "delta"]);
                let message = at(&answer, &["choices", LIST, "message"]);
                let mut said = delta.iter().chain(&message);
                said.any(|said| self.is_exceeded_in_chat(said))
            }
            ClientDialect::Anthropic => {
                let whole = at(&answer, &["content", LIST]);
                let block = answer.under("content_block");
                let mut blocks = whole.iter().chain(&block);
                blocks.any(|block| kinds(block).any(|kind| kind == "tool_use") && self.lacks(block))
            }
            ClientDialect::Responses => {
                let whole = at(&answer, &["output", LIST]);
                let event = at(&answer, &["response", "output", LIST]);
                let item = answer.under("item");
                let mut items = whole.iter().chain(&event).chain(&item);
                items.any(|item| self.is_exceeded_by_item(item))
            }
            ClientDialect::Gemini => {
                let parts = at(&answer, &["candidates", LIST, "content", "parts", LIST]);
                let names = ["functionCall", "function_call"];
                let calls = parts
                    .iter()
                    .flat_map(|part| names.into_iter().flat_map(move |name| part.under(name)));
                let mut calls = calls.filter(|call| call.bytes() != b"null");
                calls.any(|call| self.lacks(&call))
            }
        })
    }

    /// Whether a call is of nothing that was offered, by any name it has.
    fn lacks(&self, call: &Node<'_>) -> bool {
        let names = call.under("name");
        let known = |name: &Node<'_>| name.said().is_some_and(|name| self.has(&name));
        names.is_empty() || !names.iter().all(known)
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// A call's later pieces have no name; they go with the first.
    fn is_exceeded_in_chat(&self, said: &Node<'_>) -> bool {
        let places: [&[&str]; 3] = [
            &["tool_calls", LIST, "function", "name"],
            &["tool_calls", LIST, "custom", "name"],
            &["function_call", "name"],
        ];
        let names = places.into_iter().flat_map(|place| at(said, place));
        let mut names = names.filter_map(|name| name.said());
        names.any(|name| !name.is_empty() && !self.has(&name))
    }

    /// Calls that the client is to carry out. What the provider runs itself is in its answer as something that was
    /// done: searches, its own code, connectors.
    fn is_exceeded_by_item(&self, item: &Node<'_>) -> bool {
        let offers = |wanted: &str| self.kinds.iter().any(|kind| kind.starts_with(wanted));
        kinds(item).any(|kind| match kind.as_str() {
            "function_call" | "custom_tool_call" => self.lacks(item),
            "local_shell_call" => !offers("local_shell"),
            "shell_call" => !offers("shell"),
            "apply_patch_call" => !offers("apply_patch"),
            "computer_call" => !offers("computer"),
            _ => false,
        })
    }
}

/// In a path: every element of a list.
const LIST: &str = "[]";

/// Everything at a path; of twin keys all.
fn at<'a>(node: &Node<'a>, path: &[&str]) -> Vec<Node<'a>> {
    let mut here = vec![node.clone()];
    for step in path {
        let below = |node: &Node<'a>| match *step {
            LIST => node.items(),
            name => node.under(name),
        };
        here = here.iter().flat_map(below).collect();
    }
    here
}

/// What something says it is.
fn kinds(node: &Node<'_>) -> impl Iterator<Item = String> {
    node.under("type").into_iter().filter_map(|kind| kind.said())
}

#[cfg(test)]
mod tests {
    use ClientDialect::{Anthropic, Gemini, Openai, Responses};
    use serde_json::json;

    use super::*;

    fn exceeds(speaks: ClientDialect, request: &Value, answer: &Value) -> bool {
        let offered = Offered::of(speaks, request.to_string().as_bytes());
        let text = answer.to_string();
        let exceeds = offered.is_exceeded_by(speaks, text.as_bytes()).unwrap();
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

    #[test]
    fn a29_nothing_that_a_client_reads_past_hides_a_call() {
        let call = r#""tool_calls":[{"index":0,"function":{"name":"NAME","arguments":""}}]"#;
        let offered = Offered::of(Openai, br#"{"tools":[{"function":{"name":"f"}}]}"#);
        for beside in [
            r#""content":"x\ud800y""#,
            r#""content":"\udc00\ud800""#,
            r#""x":1e999"#,
            r#""x":-123456789012345678901234567890e12345"#,
            r#""content":"a","content":"b""#,
            r#""tool_calls":[]"#,
            r#""tool_calls":null"#,
        ] {
            for (name, expected) in [("f", false), ("rm", true), ("f\\ud800", true)] {
                let call = call.replace("NAME", name);
                for delta in [format!("{beside},{call}"), format!("{call},{beside}")] {
                    let text = format!(r#"{{"choices":[{{"delta":{{{delta}}}}}]}}"#);
                    let exceeds = offered.is_exceeded_by(Openai, text.as_bytes());
                    assert_eq!(exceeds, Some(expected), "{text}");
                }
            }
        }
        // Which twin counts is the reader's choice.
        for (names, expected) in [
            (r#""name":"f","name":"rm""#, true),
            (r#""name":"rm","name":"f""#, true),
            (r#""name":"f","n\u0061me":"f""#, false),
        ] {
            let text = format!(r#"{{"content_block":{{"type":"tool_use",{names}}}}}"#);
            let offered = Offered::of(Anthropic, br#"{"tools":[{"name":"f"}]}"#);
            let exceeds = offered.is_exceeded_by(Anthropic, text.as_bytes());
            assert_eq!(exceeds, Some(expected), "{text}");
        }
        for text in [r#"{"tool_calls":NaN}"#, r#"{"tool_calls":[}"#, "_call"] {
            assert_eq!(offered.is_exceeded_by(Openai, text.as_bytes()), None);
        }
    }
}
