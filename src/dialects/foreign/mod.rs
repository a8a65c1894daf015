//! What another provider signed, cut out of a request that is otherwise passed on byte for byte.
//!
//! # Why cut
//! A conversation that moved here from another provider carries proofs that only the other one understands; sent
//! along, the whole request would be refused. Built anew without them, it would lose whatever has no canonical
//! form. So the bytes of the foreign thoughts go, and nothing else.

use std::ops::Range;

use bytes::Bytes;

use super::fields::IN_ID;
use super::gemini;
use super::json::{Edits, Node, Object, cut_items};
use super::refuse::leave_out;
use crate::domain::chat::Signature;
use crate::domain::{ClientDialect, Dialect, SignerName, Signers};

mod mark;
pub use mark::Marker;

/// Where the request goes.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// As the provider calls it.
    pub model: &'a str,
    /// It is Google's, in whatever form it is spoken to: it wants back what it signed.
    pub google: bool,
    /// It may be given `reasoning_details`, which only few who copy OpenAI's form have.
    pub details: bool,
    pub signer: &'a SignerName,
    pub signers: &'a Signers,
}

/// What a signature is where the request goes.
enum Known {
    Own,
    /// Its own behind a marker.
    Marked(String),
    Foreign,
}

impl Home<'_> {
    fn known(&self, text: &str, native: Dialect) -> Known {
        let signature = Signature::read(text, native);
        match self.signers.known(&signature, (native, self.signer)) {
            None => Known::Foreign,
            Some(data) if data == text => Known::Own,
            Some(data) => Known::Marked(data.to_owned()),
        }
    }
}

/// Google's name of a signature, in either spelling.
const GOOGLES: [&str; 2] = ["thoughtSignature", "thought_signature"];

/// What has to change, and what the client is told of it.
#[derive(Debug, Default)]
pub struct Foreign {
    pub edits: Edits,
    pub dropped: Vec<&'static str>,
}

/// Finds what another provider signed in a request of this dialect, which was checked before.
pub fn cut_foreign(dialect: ClientDialect, body: &[u8], home: Home<'_>) -> Foreign {
    let mut found = Foreign::default();
    let request = Node::whole(body).object();
    match dialect {
        ClientDialect::Openai => found.openai(&request, home),
        ClientDialect::Anthropic => found.anthropic(&request, home),
        ClientDialect::Responses => found.responses(&request, home),
        ClientDialect::Gemini => found.gemini(&request, home),
    }
    found
}

/// Whether the member of this name is marked as another's.
fn is_marked(object: &Object<'_>, names: &[&str]) -> bool {
    object
        .text(names)
        .is_some_and(|text| Signature::is_marked(&text))
}

impl Foreign {
    /// Whether the member of this name was signed by another; the marker of the provider's own is taken off.
    fn is_foreign(
        &mut self,
        object: &Object<'_>,
        names: &[&str],
        (native, home): (Dialect, Home<'_>),
    ) -> bool {
        let Some(node) = object.get(names) else {
            return false;
        };
        // An empty one proves nothing: it is for the provider to judge.
        let Some(text) = node.as_text().filter(|text| !text.is_empty()) else {
            return false;
        };
        match home.known(&text, native) {
            Known::Own => false,
            Known::Marked(data) => {
                self.put(node.span, &data.into());
                false
            }
            Known::Foreign => true,
        }
    }

    fn thoughts_left(&mut self) {
        leave_out(&mut self.dropped, "thinking");
    }

    /// The id a call had before a signature travelled in it.
    fn plain_id(&mut self, object: &Object<'_>, name: &str) {
        let Some(node) = object.get(&[name]) else {
            return;
        };
        if let Some(text) = node.as_text()
            && let Some((bare, _)) = text.split_once(IN_ID)
        {
            self.put(node.span, &serde_json::Value::from(bare));
        }
    }

    fn put(&mut self, span: Range<usize>, value: &serde_json::Value) {
        self.edits.push((span, Bytes::from(value.to_string())));
    }

    // --- OpenAI's chat ---

    /// The field other gateways taught clients, which OpenAI itself refuses; the words beside it are of the same
    /// thought.
    fn openai(&mut self, request: &Object<'_>, home: Home<'_>) {
        for message in items(request, &["messages"]) {
            let message = message.object();
            if message.get(&["thinking_blocks"]).is_some() {
                message.cut(&["thinking_blocks", "reasoning_content"], &mut self.edits);
                self.thoughts_left();
            }
            if !home.details && message.get(&["reasoning_details"]).is_some() {
                message.cut(&["reasoning_details"], &mut self.edits);
                self.thoughts_left();
            }
            for call in items(&message, &["tool_calls"]) {
                self.google_s_call(&call.object(), home);
            }
        }
    }

    /// A call signed in Google's own form of this dialect. What has no marker came from a provider like this one.
    fn google_s_call(&mut self, call: &Object<'_>, home: Home<'_>) {
        let google = call.get(&["extra_content"]).map(|extra| extra.object());
        let google = google.and_then(|extra| Some(extra.get(&["google"])?.object()));
        let Some(google) = google else { return };
        let (names, native) = (["thought_signature"], Dialect::Gemini);
        let marked = is_marked(&google, &names);
        if !home.google || marked && self.is_foreign(&google, &names, (native, home)) {
            call.cut(&["extra_content"], &mut self.edits);
            self.thoughts_left();
        }
    }

    // --- Anthropic's messages ---

    fn anthropic(&mut self, request: &Object<'_>, home: Home<'_>) {
        let messages = items(request, &["messages"]);
        let turn = tool_turn(&messages);
        let (mut gone, mut thoughtless) = (Vec::with_capacity(messages.len()), false);
        for (place, message) in messages.iter().enumerate() {
            let blocks = items(&message.object(), &["content"]);
            let foreign = blocks.iter().map(|block| self.foreign_block(block, home));
            let foreign: Vec<bool> = foreign.collect();
            let emptied = !blocks.is_empty() && foreign.iter().all(|foreign| *foreign);
            gone.push(emptied);
            if foreign.contains(&true) {
                self.thoughts_left();
                thoughtless |= place >= turn && calls_without_thought(&blocks, &foreign);
            }
            if !emptied {
                cut_items(&blocks, &foreign, &mut self.edits);
                for block in &blocks {
                    let block = block.object();
                    self.sources(&block);
                    self.plain_id(&block, "id");
                    self.plain_id(&block, "tool_use_id");
                }
            }
        }
        cut_items(&messages, &gone, &mut self.edits);
        // A call under way has to begin with a thought where thoughts were asked for by a budget.
        let thinking = request.get(&["thinking"]);
        if let Some(thinking) = thinking.filter(|_| thoughtless)
            && thinking.object().text(&["type"]).as_deref() == Some("enabled")
        {
            self.put(thinking.span, &serde_json::json!({"type": "disabled"}));
            leave_out(&mut self.dropped, "reasoning budget");
        }
    }

    fn foreign_block(&mut self, block: &Node<'_>, home: Home<'_>) -> bool {
        let block = block.object();
        let name = match block.text(&["type"]).as_deref() {
            Some("thinking") => "signature",
            Some("redacted_thinking") => "data",
            Some(_) | None => return false,
        };
        self.is_foreign(&block, &[name], (Dialect::Anthropic, home))
    }

    /// Sources that another provider told.
    fn sources(&mut self, block: &Object<'_>) {
        let told = items(block, &["citations"]);
        let foreign = |one: &Node<'_>| is_marked(&one.object(), &["encrypted_index"]);
        let gone: Vec<bool> = told.iter().map(foreign).collect();
        if gone.contains(&true) {
            leave_out(&mut self.dropped, "citations");
            cut_items(&told, &gone, &mut self.edits);
        }
    }

    // --- OpenAI's responses ---

    fn responses(&mut self, request: &Object<'_>, home: Home<'_>) {
        let list = items(request, &["input"]);
        let mut gone = Vec::with_capacity(list.len());
        for item in &list {
            let item = item.object();
            let foreign = self.foreign_item(&item, home);
            gone.push(foreign);
            if foreign {
                self.thoughts_left();
            } else {
                self.plain_id(&item, "call_id");
            }
        }
        cut_items(&list, &gone, &mut self.edits);
    }

    /// Behind a marker the item's id stands before what is encrypted.
    fn foreign_item(&mut self, item: &Object<'_>, home: Home<'_>) -> bool {
        let Some(node) = item.get(&["encrypted_content"]) else {
            return false;
        };
        let Some(text) = node.as_text().filter(|text| !text.is_empty()) else {
            return false;
        };
        match home.known(&text, Dialect::Responses) {
            Known::Own => false,
            Known::Marked(data) => {
                let encrypted = data.split_once('.').map_or(&*data, |(_, own)| own);
                self.put(node.span, &encrypted.into());
                false
            }
            Known::Foreign => true,
        }
    }

    // --- Google's ---

    fn gemini(&mut self, request: &Object<'_>, home: Home<'_>) {
        let contents = items(request, &["contents"]);
        let mut gone = Vec::with_capacity(contents.len());
        for content in &contents {
            gone.push(self.gemini_parts(&content.object(), home));
        }
        cut_items(&contents, &gone, &mut self.edits);
    }

    /// Whether nothing is left of the turn.
    fn gemini_parts(&mut self, content: &Object<'_>, home: Home<'_>) -> bool {
        let parts = items(content, &["parts"]);
        let mut foreign = Vec::with_capacity(parts.len());
        let mut signed_elsewhere = Vec::with_capacity(parts.len());
        for part in &parts {
            let part = part.object();
            let signed = self.is_foreign(&part, &GOOGLES, (Dialect::Gemini, home));
            signed_elsewhere.push(signed);
            let thought = part
                .get(&["thought"])
                .is_some_and(|on| on.bytes() == b"true");
            let nothing = part.text(&["text"]).is_some_and(|text| text.is_empty());
            foreign.push(signed && (thought || nothing));
            if signed {
                self.thoughts_left();
            }
        }
        if !parts.is_empty() && foreign.iter().all(|foreign| *foreign) {
            return true;
        }
        cut_items(&parts, &foreign, &mut self.edits);
        let signed = foreign.iter().zip(signed_elsewhere);
        for (part, _) in parts
            .iter()
            .zip(signed)
            .filter(|(_, (gone, signed))| *signed && !**gone)
        {
            let part = part.object();
            let called = part.get(&["functionCall", "function_call"]).is_some();
            match part.get(&GOOGLES) {
                // Its newest models refuse a call without one.
                Some(signature) if called && gemini::newest(home.model) => {
                    self.put(signature.span, &gemini::NO_SIGNATURE.into());
                }
                _ => part.cut(&GOOGLES, &mut self.edits),
            }
        }
        false
    }
}

fn items<'a>(object: &Object<'a>, names: &[&str]) -> Vec<Node<'a>> {
    object
        .get(names)
        .map(|node| node.items())
        .unwrap_or_default()
}

/// Where the turn under way begins: behind the last thing a person said.
fn tool_turn(messages: &[Node<'_>]) -> usize {
    let said = messages.iter().rposition(|message| {
        let message = message.object();
        let blocks = items(&message, &["content"]);
        let result =
            |block: &Node<'_>| block.object().text(&["type"]).as_deref() == Some("tool_result");
        message.text(&["role"]).as_deref() == Some("user") && !blocks.iter().any(result)
    });
    said.map_or(0, |place| place + 1)
}

/// Whether a message calls a tool and has lost every thought it had.
fn calls_without_thought(blocks: &[Node<'_>], foreign: &[bool]) -> bool {
    let kind = |block: &Node<'_>| block.object().text(&["type"]).map(|kind| kind.into_owned());
    let mut left = blocks
        .iter()
        .zip(foreign)
        .filter(|(_, foreign)| !**foreign)
        .filter_map(|(block, _)| kind(block));
    let first = left.next();
    let thinks = first
        .as_deref()
        .is_some_and(|kind| kind.ends_with("thinking"));
    !thinks && first.into_iter().chain(left).any(|kind| kind == "tool_use")
}

#[cfg(test)]
mod tests;
