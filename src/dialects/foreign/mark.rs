//! The name of who signed, put before what it signed in an answer that is otherwise passed on byte for byte.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::items;
use crate::dialects::json::{Edits, Node, Object, edited};
use crate::dialects::sse::Event;
use crate::domain::chat::Signature;
use crate::domain::{ClientDialect, SignerName, Stamp};

/// Marks what one signer wrote, for clients of the dialect it is spoken to in.
#[derive(Debug)]
pub struct Marker {
    dialect: ClientDialect,
    signer: SignerName,
    /// A signature has begun that may come in several pieces.
    begun: bool,
}

impl Marker {
    /// `None` for who is at home in the dialect.
    pub fn of(dialect: ClientDialect, stamp: &Stamp) -> Option<Self> {
        Some(Self {
            dialect,
            signer: stamp.name_for(dialect.dialect())?.clone(),
            begun: false,
        })
    }

    /// A whole answer that was checked before.
    pub fn whole(&mut self, body: &Bytes) -> Bytes {
        let edits = self.edits(body);
        if edits.is_empty() {
            return body.clone();
        }
        edited(body, edits).concat().into()
    }

    /// An event of a stream as it goes on; `None` where it stays as it is.
    pub(crate) fn event(&mut self, event: &Event) -> Option<BytesMut> {
        let edits = self.edits(&event.data);
        if edits.is_empty() {
            return None;
        }
        let mut out = BytesMut::new();
        if let Some(name) = &event.name {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name);
            out.extend_from_slice(b"\n");
        }
        let data = edited(&event.data, edits).concat();
        // Data of several lines is joined by their ends.
        for line in data.split(|byte| *byte == b'\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n");
        }
        out.extend_from_slice(b"\n");
        Some(out)
    }

    fn edits(&mut self, body: &[u8]) -> Edits {
        let mut edits = Edits::new();
        let names: &[&str] = match self.dialect {
            // What signs there goes by another field, which is told apart where it comes back.
            ClientDialect::Openai => &[],
            ClientDialect::Anthropic => &["\"signature\"", "\"redacted_thinking\"", "_block_st"],
            ClientDialect::Responses => &["\"encrypted_content\""],
            ClientDialect::Gemini => &["\"thoughtSignature\"", "\"thought_signature\""],
        };
        let holds = |name: &&str| memmem::find(body, name.as_bytes()).is_some();
        if !names.iter().any(holds) {
            return edits;
        }
        let answer = Node::whole(body).object();
        match self.dialect {
            ClientDialect::Openai => {}
            ClientDialect::Anthropic => self.anthropic(&answer, &mut edits),
            ClientDialect::Responses => self.responses(&answer, &mut edits),
            ClientDialect::Gemini => self.gemini(&answer, &mut edits),
        }
        edits
    }

    /// Puts the mark before a text that is not empty.
    fn put(&self, object: &Object<'_>, names: &[&str], before: &str, edits: &mut Edits) -> bool {
        let Some(node) = object.get(names) else {
            return false;
        };
        match node.as_text() {
            Some(text) if !text.is_empty() => {
                let form = self.dialect.dialect();
                let signature = Signature {
                    signer: Some(self.signer.clone()),
                    ..Signature::new(form, format!("{before}{text}"))
                };
                let marked = serde_json::Value::from(signature.shown(form));
                edits.push((node.span, Bytes::from(marked.to_string())));
                true
            }
            Some(_) | None => false,
        }
    }

    fn anthropic(&mut self, answer: &Object<'_>, edits: &mut Edits) {
        for block in items(answer, &["content"]) {
            self.block(&block.object(), edits);
        }
        if let Some(block) = answer.get(&["content_block"]) {
            self.begun = self.block(&block.object(), edits);
        }
        let delta = answer.get(&["delta"]).map(|delta| delta.object());
        if let Some(delta) = delta.filter(|_| !self.begun) {
            self.begun = self.put(&delta, &["signature"], "", edits);
        }
    }

    fn block(&self, block: &Object<'_>, edits: &mut Edits) -> bool {
        match block.text(&["type"]).as_deref() {
            Some("thinking") => self.put(block, &["signature"], "", edits),
            Some("redacted_thinking") => self.put(block, &["data"], "", edits),
            Some(_) | None => false,
        }
    }

    fn responses(&self, answer: &Object<'_>, edits: &mut Edits) {
        let whole = answer.get(&["response"]).map(|response| response.object());
        let item = answer.get(&["item"]);
        let listed = items(answer, &["output"]);
        let finished = whole.map(|whole| items(&whole, &["output"]));
        for item in item
            .into_iter()
            .chain(listed)
            .chain(finished.into_iter().flatten())
        {
            let item = item.object();
            let id = item.text(&["id"]).unwrap_or_default();
            self.put(&item, &["encrypted_content"], &format!("{id}."), edits);
        }
    }

    fn gemini(&self, answer: &Object<'_>, edits: &mut Edits) {
        for candidate in items(answer, &["candidates"]) {
            let content = candidate.object().get(&["content"]).map(|it| it.object());
            for part in content.map(|it| items(&it, &["parts"])).unwrap_or_default() {
                self.put(&part.object(), &super::GOOGLES, "", edits);
            }
        }
    }
}
