//! What a mock says at each step of a conversation with tools, read from a file: a coding agent then does real work.
//!
//! ```toml
//! [[answer]]                # while the conversation holds no result of a tool
//! [[answer.call]]           # the first of these that the request offers
//! tool = "write_file"
//! arguments = { path = "a.txt", content = "done" }
//! [[answer]]                # once it holds one
//! text = "It is written."
//! ```
//!
//! # Why
//! Steps are told by what the conversation holds, not counted: agents ask other things beside it (a title, whether
//! the model is there), ask again when a stream broke, and run several conversations at once.

use serde::Deserialize;
use serde_json::Value;

use super::asked::Asked;
use super::behaviour::{Behaviour, Calls, Healthy, Words};

/// The answers of one conversation, in their order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    answer: Vec<Answer>,
}

/// One of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    text: Option<String>,
    #[serde(default)]
    call: Vec<Call>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    tool: String,
    #[serde(default)]
    arguments: serde_json::Map<String, Value>,
}

impl Script {
    /// # Errors
    /// When the text is not such a script.
    pub fn read(text: &str) -> Result<Self, String> {
        let script: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if script.answer.is_empty() {
            return Err("a script needs at least one [[answer]]".to_owned());
        }
        let unclear = |answer: &Answer| answer.text.is_some() != answer.call.is_empty();
        match script.answer.iter().position(unclear) {
            None => Ok(script),
            Some(at) => Err(format!(
                "answer {} of the script needs either a text or an [[answer.call]]",
                at.saturating_add(1)
            )),
        }
    }

    /// Answers every request by its place in the conversation; a request that offers none of the step's tools, and
    /// one beyond the last step, as if there were no script.
    #[must_use]
    pub fn behaviour(self) -> Behaviour {
        Behaviour::choose(move |asked| {
            let said = self.said(asked);
            said.map_or_else(Behaviour::healthy, Behaviour::from)
        })
    }

    fn said(&self, asked: &Asked) -> Option<Healthy> {
        let wish = asked.dialect.wish(asked);
        let answer = self.answer.get(wish.turns.results)?;
        let given = if let Some(text) = &answer.text {
            // A request without tools is not of this conversation.
            (!wish.tools.is_empty()).then(|| (vec![text.clone()], Vec::new()))
        } else {
            let offered = |call: &&Call| wish.tools.contains(&call.tool);
            let call = answer.call.iter().find(offered);
            let call = call.map(|call| (call.tool.clone(), call.arguments.clone().into()));
            call.map(|call| (Vec::new(), vec![call]))
        };
        given.map(|(pieces, calls)| Healthy {
            words: Words::Given(pieces),
            calls: Calls::Given(calls),
            ..Healthy::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_says_two_things_or_nothing_at_a_step_is_refused() {
        for (text, complaint) in [
            ("answer = []", "at least one"),
            ("[[answer]]", "answer 1 of the script"),
            (
                "[[answer]]\ntext = \"a\"\n[[answer]]\ntext = \"a\"\n[[answer.call]]\ntool = \"t\"",
                "answer 2 of the script",
            ),
            ("[[answer]]\nsay = \"a\"", "unknown field"),
        ] {
            let refused = Script::read(text).unwrap_err();
            assert!(refused.contains(complaint), "{refused}");
        }
    }
}
