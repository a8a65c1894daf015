//! The chunks that nearly all are, written as they will read: a piece of text, of a thought, of a call's arguments.
//!
//! A tree of values built for each word and taken down again was the largest cost of a stream that crosses dialects.

use bytes::BytesMut;

use crate::dialects::quoted;

/// What stands around each chunk of one stream.
#[derive(Debug)]
pub(super) struct Frame {
    before: BytesMut,
    behind: &'static [u8],
}

impl Frame {
    pub(super) fn new((id, model): (&str, &str), created: u64, includes_usage: bool) -> Self {
        let mut before = BytesMut::from(&b"data: {\"id\":"[..]);
        quoted::push(&mut before, id);
        before.extend_from_slice(
            format!(",\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":")
                .as_bytes(),
        );
        quoted::push(&mut before, model);
        before.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":{");
        let behind: &[u8] = if includes_usage {
            b"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n"
        } else {
            b"},\"logprobs\":null,\"finish_reason\":null}]}\n\n"
        };
        Self { before, behind }
    }

    /// A delta of one member that is a text; `name` needs no escapes.
    pub(super) fn text(&self, name: &str, text: &str, out: &mut BytesMut) {
        out.reserve(self.before.len() + name.len() + text.len() + self.behind.len() + 8);
        out.extend_from_slice(&self.before);
        out.extend_from_slice(b"\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        quoted::push(out, text);
        out.extend_from_slice(self.behind);
    }

    /// More of a call's arguments.
    pub(super) fn arguments(&self, index: u32, fragment: &str, out: &mut BytesMut) {
        out.extend_from_slice(&self.before);
        let call = format!("\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":");
        out.extend_from_slice(call.as_bytes());
        quoted::push(out, fragment);
        out.extend_from_slice(b"}}]");
        out.extend_from_slice(self.behind);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialects::one_line;

    proptest! {
        #[test]
        fn a_chunk_reads_as_it_would_in_a_tree(id in any::<String>(), model in any::<String>(), text in any::<String>(), created in any::<u64>(), index in any::<u32>(), usage in any::<bool>()) {
            let built = |delta: Value| {
                let mut chunk = json!({
                    "id": id, "object": "chat.completion.chunk", "created": created, "model": model,
                    "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}],
                });
                if usage {
                    chunk["usage"] = Value::Null;
                }
                [b"data: ", &one_line(&chunk)[..], b"\n\n"].concat()
            };
            let frame = Frame::new((&id, &model), created, usage);
            let mut out = BytesMut::new();
            frame.text("content", &text, &mut out);
            prop_assert_eq!(&out[..], &built(json!({"content": text}))[..]);
            out.clear();
            frame.arguments(index, &text, &mut out);
            let call = json!({"index": index, "function": {"arguments": text}});
            prop_assert_eq!(&out[..], &built(json!({"tool_calls": [call]}))[..]);
        }
    }
}
