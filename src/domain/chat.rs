//! The canonical chat: what every dialect is decoded to and encoded from, so N dialects cost N.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Usage;
pub use super::signature::{FOREIGN_IN_BASE64, FOREIGN_SIGNATURE, Signature};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// `Some(false)`: at most one tool call per turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<OutputFormat>,
    /// `none`, `minimal`, `low`, `medium`, `high`, …: the set grows, so it stays text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// Tokens a model may think for, where a client counts them; 0 turns thinking off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_budget: Option<u64>,
    /// The model may think as long as it finds right.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reasoning_free: bool,
    /// Whether the thoughts are to be shown; `None` leaves it to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_shown: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default)]
    pub stream: bool,
    #[serde(default)]
    pub include_usage: bool,
    /// Places of the client's request that have no canonical form: whoever cannot pass them on says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// Fields of the client's dialect that have no canonical form.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    Image {
        source: Source,
    },
    Document {
        source: Source,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    Audio {
        format: String,
        data: String,
    },
    /// The arguments are the JSON text of an object, possibly malformed: models write it.
    ToolCall {
        id: String,
        name: String,
        arguments: String,
        /// What its provider wants back with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Signature>,
    },
    ToolResult {
        id: String,
        parts: Vec<Part>,
        #[serde(default)]
        is_error: bool,
    },
    Thinking {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Signature>,
    },
    /// A thought its provider keeps to itself.
    RedactedThinking {
        data: Signature,
    },
    Refusal {
        text: String,
    },
    /// Everything up to here may be kept in the provider's cache.
    CachePoint {
        /// For an hour instead of five minutes.
        #[serde(default)]
        hour: bool,
    },
}

impl ChatRequest {
    /// Whether it asks how likely the tokens of the answer were.
    pub fn wants_logprobs(&self) -> bool {
        self.extra.get("logprobs") == Some(&Value::Bool(true))
    }

    /// Whether it brings results of tools for the model to go on with.
    pub fn ends_in_results(&self) -> bool {
        let result = |part: &Part| matches!(part, Part::ToolResult { .. });
        let latest = self.messages.iter().rev();
        latest
            .take_while(|message| message.role != Role::Assistant)
            .any(|message| message.parts.iter().any(result))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    Url { url: String },
    Base64 { media_type: String, data: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema; `None` takes no arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// All tools up to this one may be kept in the provider's cache; `true` for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_for_an_hour: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    None,
    Auto,
    Required,
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// Any JSON object.
    Json,
    Schema {
        name: String,
        schema: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    End,
    StopSequence,
    Length,
    ToolCalls,
    ContentFilter,
    /// The provider paused a long turn; sending it back goes on.
    Paused,
    /// A reason that the gateway does not know; it can only be passed on as it came.
    Unknown,
}

impl StopReason {
    /// Whether what was said may end in the middle: nothing that is cut there needs another explanation.
    pub fn may_cut(self) -> bool {
        match self {
            Self::Length | Self::ContentFilter => true,
            Self::End | Self::StopSequence | Self::ToolCalls | Self::Paused | Self::Unknown => {
                false
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatAnswer {
    pub id: String,
    pub model: String,
    /// Unix seconds; 0 when the dialect does not say.
    pub created: u64,
    pub parts: Vec<Part>,
    pub stop: StopReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What its text rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub citations: Vec<Citation>,
    /// It holds content that has no canonical form and so can only be passed on as it came.
    #[serde(default)]
    pub foreign: bool,
    /// Tools of the provider's own were at work, and what they did is told in its own form only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub traces: bool,
    /// How likely the tokens of its text were, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// The stop that ended it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<String>,
}

impl ChatAnswer {
    /// It ended plainly and says nothing: no answer, save where the request ends in the results of tools.
    pub fn is_silent(&self) -> bool {
        self.parts.is_empty() && !self.foreign && self.stop == StopReason::End
    }
}

/// How likely a token was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    pub token: String,
    pub logprob: f64,
    /// Where a token is no whole character; `None` where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
    /// What might have stood in its place, without alternatives of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TokenLogprob>,
}

/// A source that a piece of an answer's text rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// `None` for what is known to its provider only: a document of the request, a file it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The piece it stands for, in characters of all the text of the answer; `None` where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(u64, u64)>,
}

/// One step of an answer, whoever gives it. Answers with several choices are only ever spliced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ChatEvent {
    Start {
        id: String,
        model: String,
    },
    Text {
        text: String,
    },
    Thinking {
        text: String,
    },
    /// Signs the thought before it, or the text when there was none.
    Signed {
        signature: Signature,
    },
    RedactedThinking {
        data: Signature,
    },
    Refusal {
        text: String,
    },
    /// Of the tokens of the text that comes next.
    Logprobs {
        tokens: Vec<TokenLogprob>,
    },
    Citation {
        citation: Citation,
    },
    /// Content that has no canonical form and so can only be passed on as it came.
    Foreign {
        bytes: usize,
    },
    /// What a tool of the provider's own did: it has no canonical form, and the answer is whole without it.
    Trace,
    /// `index` counts tool calls only.
    ToolCall {
        index: u32,
        id: String,
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Signature>,
    },
    ToolArguments {
        index: u32,
        fragment: String,
    },
    Stop {
        reason: StopReason,
    },
    Usage {
        usage: Usage,
    },
    /// The protocol's own terminal event.
    Done,
}
