//! What a request asks for, whatever its dialect calls it.

use serde_json::Value;

/// How free the model is to call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Choice {
    #[default]
    Free,
    Must,
    Named(String),
}

/// What a request asks for, whatever its dialect calls it.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// Most tokens of the answer.
    pub(super) limit: Option<u64>,
    pub(super) choices: u64,
    pub(super) include_usage: bool,
    pub(super) thinks: bool,
    /// Names of the tools on offer.
    pub(super) tools: Vec<String>,
    pub(super) choice: Choice,
    pub(super) one_at_a_time: bool,
    pub(super) turns: Turns,
    /// Settings the answer repeats.
    pub(super) echo: Vec<(&'static str, Value)>,
}

/// The conversation, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    /// The last one as JSON text.
    last: String,
    /// Results of tools among all of them.
    pub(super) results: usize,
}

/// What stands in a turn that brings a tool's result, in one dialect or another. A text cannot look like it: its
/// quotes are escaped.
const RESULTS: [&str; 7] = [
    "\"tool_result\"",
    "\"role\":\"tool\"",
    "\"function_call_output\"",
    "\"custom_tool_call_output\"",
    "\"functionResponse\"",
    "\"function_response\"",
    "\"toolResult\"",
];

impl Turns {
    /// Of a list of turns, or of what is no list and so the only one.
    pub(super) fn of(turns: Option<&Value>) -> Self {
        let last = match turns.and_then(Value::as_array) {
            Some(turns) => turns.last(),
            None => turns,
        };
        let all = turns.map(Value::to_string).unwrap_or_default();
        Self {
            last: last.map(Value::to_string).unwrap_or_default(),
            results: RESULTS.iter().map(|mark| all.matches(mark).count()).sum(),
        }
    }
}

impl Choice {
    pub(super) fn forced(&self) -> Option<&str> {
        match self {
            Self::Free | Self::Must => None,
            Self::Named(name) => Some(name),
        }
    }
}

impl Wish {
    /// Chat completions, and what is shaped like them.
    pub(super) fn of_chat(request: &Value) -> Self {
        let limits = ["max_completion_tokens", "max_tokens"];
        let one_at_a_time = request.get("parallel_tool_calls") == Some(&Value::Bool(false))
            || request.pointer("/tool_choice/disable_parallel_tool_use")
                == Some(&Value::Bool(true));
        Self {
            limit: limits
                .iter()
                .find_map(|name| request.get(*name).and_then(Value::as_u64)),
            choices: request.get("n").and_then(Value::as_u64).unwrap_or(1),
            include_usage: request
                .pointer("/stream_options/include_usage")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            thinks: request
                .pointer("/thinking/type")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind == "enabled" || kind == "adaptive"),
            tools: tools(request),
            choice: choice(request.get("tool_choice")),
            one_at_a_time,
            turns: Turns::of(request.get("messages")),
            echo: Vec::new(),
        }
    }

    /// `[[tools]]` asks for one call, `[[tools:3]]` for three; a tool choice that leaves no choice asks for one.
    /// After a tool's result the model has what it wanted and answers in words.
    pub(super) fn calls(&self) -> usize {
        let last = &self.turns.last;
        if RESULTS.iter().any(|mark| last.contains(mark)) {
            return 0;
        }
        if let Some((_, rest)) = last.split_once("[[tools") {
            let count = rest
                .strip_prefix(':')
                .and_then(|rest| rest.split("]]").next())
                .and_then(|digits| digits.parse().ok());
            return count.unwrap_or(1);
        }
        usize::from(self.choice != Choice::Free)
    }

    /// `[[think]]` asks for thoughts where the dialect has no setting for them, or the gateway between none.
    pub(super) fn is_to_think(&self) -> bool {
        self.thinks || self.turns.last.contains("[[think]]")
    }

    /// `[[refuse]]` asks for an answer as the provider's own filter leaves it.
    pub(super) fn is_to_refuse(&self) -> bool {
        self.turns.last.contains("[[refuse]]")
    }

    /// `[[cached]]` asks for usage in which half of the input came from the provider's cache.
    pub(super) fn is_cached(&self) -> bool {
        self.turns.last.contains("[[cached]]")
    }
}

/// The names in `tools`, nested in `function` or not.
pub(super) fn tools(request: &Value) -> Vec<String> {
    let name = |tool: &Value| {
        let found = tool.pointer("/function/name").or_else(|| tool.get("name"));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    list(request, "/tools").iter().filter_map(name).collect()
}

/// A `tool_choice`: a word, or an object with a type and perhaps a name.
pub(super) fn choice(choice: Option<&Value>) -> Choice {
    let Some(choice) = choice else {
        return Choice::Free;
    };
    let named = choice
        .pointer("/function/name")
        .or_else(|| choice.get("name"));
    let kind = choice
        .as_str()
        .or_else(|| choice.get("type").and_then(Value::as_str));
    match (kind, named.and_then(Value::as_str)) {
        (Some("function" | "tool"), Some(name)) => Choice::Named(name.to_owned()),
        (Some("required" | "REQUIRED" | "any" | "function" | "tool"), _) => Choice::Must,
        (_, _) => Choice::Free,
    }
}

/// The array at a pointer; empty when there is none.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The text at a pointer; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
