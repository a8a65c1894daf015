//! The tools that a request offers, and calls in an answer that are of none of them (attack A29).
//!
//! # Why needles first
//! Most of what passes calls nothing. A call cannot be said without its dialect's word for it, and the one way to
//! hide that word from a search is to escape its letters, which nobody does who means well: only what holds either is
//! read.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::json::{Node, Object};
use crate::domain::ClientDialect;
use memchr::memmem::{self, Finder};

/// More tools than any provider takes, and longer names (ground rule G14): what is beyond is offered by nobody.
const MOST_NAMES: usize = 4_096;
const LONGEST_NAME: usize = 256;

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
        let refers = |names: &[&str]| {
            let mut said = names.iter().filter_map(|name| request.get(&[name]));
            said.any(|said| said.bytes() != b"null")
        };
        offered.anything = refers(kept_there);
        for name in ["tools", "functions"] {
            if let Some(listed) = request.get(&[name]) {
                offered.take(speaks, &listed, 0);
            }
        }
        if speaks == ClientDialect::Responses {
            if mentions(FOUND) {
                let input = request.get(&["input"]).map(|input| input.items());
                offered.take_found(&input.unwrap_or_default());
            }
            // What was found in turns that the provider keeps.
            let searches = offered.kinds.iter().any(|kind| &**kind == "tool_search");
            offered.anything |= searches && refers(&["previous_response_id", "conversation"]);
        }
        offered
    }

    /// Tools that the client found when the model searched for some: they are offered from then on.
    fn take_found(&mut self, input: &[Node<'_>]) {
        for item in input {
            let item = item.object();
            if item.text(&["type"]).as_deref() == Some(FOUND)
                && let Some(listed) = item.get(&["tools"])
            {
                self.take(ClientDialect::Responses, &listed, 0);
            }
        }
    }

    fn take(&mut self, speaks: ClientDialect, listed: &Node<'_>, depth: usize) {
        /// Tools in named groups of tools; nobody nests them deeper.
        const DEEPEST: usize = 4;
        if depth > DEEPEST {
            return;
        }
        let mut tools = listed.items();
        if listed.bytes().starts_with(b"{") {
            // Google takes one where it takes a list.
            tools.push(listed.clone());
        }
        for tool in &tools {
            let tool = tool.object();
            match speaks {
                ClientDialect::Gemini => {
                    for name in ["functionDeclarations", "function_declarations"] {
                        let declared = tool.get(&[name]).map(|declared| declared.items());
                        for one in declared.unwrap_or_default() {
                            self.name_of(&one.object());
                        }
                    }
                    // Moves of a mouse have names of Google's own.
                    let moves = tool.get(&["computerUse", "computer_use"]);
                    self.anything |= moves.is_some_and(|moves| moves.bytes() != b"null");
                }
                ClientDialect::Openai | ClientDialect::Anthropic | ClientDialect::Responses => {
                    self.name_of(&tool);
                    for place in ["function", "custom"] {
                        if let Some(inside) = tool.get(&[place]) {
                            self.name_of(&inside.object());
                        }
                    }
                    let kind = tool.text(&["type"]);
                    let kind = kind
                        .filter(|kind| kind.len() <= LONGEST_NAME && self.kinds.len() < MOST_NAMES);
                    self.kinds.extend(kind.as_deref().map(Box::from));
                    if let Some(inside) = tool.get(&["tools"]) {
                        self.take(speaks, &inside, depth + 1);
                    }
                }
            }
        }
    }

    fn name_of(&mut self, tool: &Object<'_>) {
        let name = tool.text(&["name"]);
        let name = name.filter(|name| name.len() <= LONGEST_NAME && self.names.len() < MOST_NAMES);
        self.names.extend(name.as_deref().map(Box::from));
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

/// Type of an item that holds what the client found.
const FOUND: &str = "tool_search_output";

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
    node.under("type")
        .into_iter()
        .filter_map(|kind| kind.said())
}

#[cfg(test)]
mod tests {
    use ClientDialect::{Anthropic, Gemini, Openai, Responses};
    use serde_json::{Value, json};

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
    fn a29_what_the_client_found_is_offered_and_what_was_found_at_the_provider_is_not_known() {
        let call = |name: &str| json!({"item": {"type": "function_call", "name": name}});
        let found = |kind: &str, tools: Value| {
            let output = json!({"type": kind, "call_id": "c1", "tools": tools});
            json!({"tools": [{"type": "tool_search", "execution": "client"}], "input": [{"role": "user", "content": "hi"}, output]})
        };
        let (tool, group) = (
            json!([{"type": "function", "name": "f"}]),
            json!([{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]),
        );
        for tools in [tool.clone(), group] {
            let request = found("tool_search_output", tools);
            assert!(!exceeds(Responses, &request, &call("f")));
            assert!(exceeds(Responses, &request, &call("g")));
        }
        // What a function told is no tool.
        assert!(exceeds(
            Responses,
            &found("function_call_output", tool.clone()),
            &call("f")
        ));
        let mut later = json!({"tools": [{"type": "tool_search"}], "input": "on", "previous_response_id": "resp_1"});
        assert!(!exceeds(Responses, &later, &call("f")));
        later["previous_response_id"] = Value::Null;
        assert!(exceeds(Responses, &later, &call("f")));
        later["conversation"] = "conv_1".into();
        assert!(!exceeds(Responses, &later, &call("f")));
        // Without a search all there is is in the request, whatever it talks about.
        later["tools"] = tool;
        later["input"] = "tool_search".into();
        assert!(exceeds(Responses, &later, &call("g")));
    }

    #[test]
    fn g14_what_is_kept_of_a_request_is_bounded() {
        let tool = |name: String| json!({"name": name, "type": "x".repeat(300)});
        let many = (0..5_000).map(|nth| tool(format!("f{nth}")));
        let long = [tool("x".repeat(300))];
        let request = json!({"tools": long.into_iter().chain(many).collect::<Vec<_>>()});
        let offered = Offered::of(Anthropic, request.to_string().as_bytes());
        assert_eq!(offered.names.len(), MOST_NAMES);
        assert!(offered.has("f0") && !offered.has(&"x".repeat(300)));
        assert!(offered.kinds.is_empty());
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
