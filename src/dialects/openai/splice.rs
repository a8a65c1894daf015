//! Changing a few fields of a request without touching the rest of it.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::peek::{ChatPeek, ModelPlace};
use crate::dialects::json::{Edits, edited};

/// What a provider of the same dialect gets to see differently.
#[derive(Clone, Copy, Debug)]
pub struct SpliceEdit<'a> {
    /// The model as the provider calls it.
    pub model: &'a str,
    /// Streams have to be asked for what they used.
    pub ask_usage: bool,
}

/// The request in pieces: new text where something changed, the client's own bytes everywhere else. `others` are
/// edits of what stands inside the conversation.
///
/// A stream always asks for usage, because it is billed by it; what the client did not ask for is taken
/// out of the answer again.
pub fn splice_request(
    body: &Bytes,
    peek: &ChatPeek,
    edit: &SpliceEdit<'_>,
    others: Edits,
) -> SmallVec<[Bytes; 5]> {
    let spans = &peek.spans;
    let mut edits = others;
    let changed = edit.model != peek.model || spans.model_differs;
    match &spans.model {
        ModelPlace::Quoted(at) if changed => edits.push((at.clone(), json_text(edit.model))),
        ModelPlace::Bare(at) if changed => {
            edits.push((at.clone(), Bytes::copy_from_slice(edit.model.as_bytes())));
        }
        ModelPlace::Absent {
            at,
            before,
            after,
            quoted,
        } => {
            let name = if *quoted {
                json_text(edit.model)
            } else {
                Bytes::copy_from_slice(edit.model.as_bytes())
            };
            let said = [before.as_bytes(), &name, after.as_bytes()].concat();
            edits.push((*at..*at, said.into()));
        }
        ModelPlace::Quoted(_) | ModelPlace::Bare(_) | ModelPlace::Nowhere => {}
    }
    for ours in &spans.ours {
        edits.push((ours.clone(), Bytes::new()));
    }
    if edit.ask_usage && peek.stream && peek.include_usage != Some(true) {
        edits.push(usage_edit(body, peek));
    }
    edited(body, edits)
}

fn usage_edit(body: &Bytes, peek: &ChatPeek) -> (Range<usize>, Bytes) {
    const WHOLE: &[u8] = br#"{"include_usage":true}"#;
    let spans = &peek.spans;
    if let Some(value) = &spans.include_usage {
        return (value.clone(), Bytes::from_static(b"true"));
    }
    match &spans.stream_options {
        Some(options) => {
            let inside = body
                .get(options.start + 1..options.end.saturating_sub(1))
                .unwrap_or_default();
            let is_object = body.get(options.start) == Some(&b'{');
            if is_object && inside.iter().any(|byte| !byte.is_ascii_whitespace()) {
                (
                    options.start + 1..options.start + 1,
                    Bytes::from_static(br#""include_usage":true,"#),
                )
            } else {
                (options.clone(), Bytes::from_static(WHOLE))
            }
        }
        None => (
            spans.end..spans.end,
            Bytes::from_static(br#","stream_options":{"include_usage":true}"#),
        ),
    }
}

fn json_text(text: &str) -> Bytes {
    serde_json::to_vec(text).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::peek::peek_request;
    use super::*;

    fn spliced(body: &Value, pretty: bool, model: &str) -> Value {
        let text = if pretty {
            serde_json::to_vec_pretty(body)
        } else {
            serde_json::to_vec(body)
        }
        .unwrap();
        let body = Bytes::from(text);
        let peek = peek_request(&body).unwrap();
        let edit = SpliceEdit {
            model,
            ask_usage: true,
        };
        let pieces = splice_request(&body, &peek, &edit, Edits::new());
        serde_json::from_slice(&pieces.concat()).unwrap()
    }

    #[test]
    fn an_unchanged_request_is_not_copied() {
        let body = Bytes::from_static(br#"{"model":"m","messages":[{}],"x-own":[1,2]}"#);
        let peek = peek_request(&body).unwrap();
        let pieces = splice_request(
            &body,
            &peek,
            &SpliceEdit {
                model: "m",
                ask_usage: true,
            },
            Edits::new(),
        );
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ptr(), body.as_ptr());
    }

    #[test]
    fn e1_unknown_fields_survive_and_our_own_never_leave() {
        let body = json!({"model":"fast","messages":[{}],"future":{"a":[1]},"fallbacks":["x"],"tags":["y"]});
        let seen = spliced(&body, false, "gpt-4o");
        assert_eq!(
            seen,
            json!({"model":"gpt-4o","messages":[{}],"future":{"a":[1]}})
        );
    }

    proptest! {
        #[test]
        fn only_the_edits_differ(
            order in Just(["model", "messages", "stream", "stream_options", "timeout", "provider", "other"]).prop_shuffle(),
            keep in prop::collection::vec(any::<bool>(), 7),
            options in prop_oneof![Just(json!(null)), Just(json!({})), Just(json!({"include_usage":false})), Just(json!({"include_usage":true})), Just(json!({"include_obfuscation":true}))],
            stream in any::<bool>(),
            pretty in any::<bool>(),
        ) {
            let mut text = Vec::new();
            for (name, keep) in order.iter().zip(keep) {
                let value = match *name {
                    "model" => json!("fast"),
                    "messages" => json!([{"role":"user","content":"a\"b"}]),
                    "stream" => json!(stream),
                    "stream_options" => options.clone(),
                    "timeout" => json!(5),
                    "provider" => json!({"order":["a"]}),
                    _ => json!({"deep":[1,{"x":null}]}),
                };
                if keep || ["model", "messages"].contains(name) {
                    let gap = if pretty { " \n" } else { "" };
                    text.push(format!("{gap}\"{name}\"{gap}:{gap}{value}{gap}"));
                }
            }
            let body = Bytes::from(format!("{{{}}}", text.join(",")));
            let peek = peek_request(&body).unwrap();
            let pieces = splice_request(&body, &peek, &SpliceEdit { model: "up/stream", ask_usage: true }, Edits::new());
            let seen: Value = serde_json::from_slice(&pieces.concat()).unwrap();
            let mut expected: Value = serde_json::from_slice(&body).unwrap();
            let object = expected.as_object_mut().unwrap();
            object["model"] = json!("up/stream");
            object.remove("timeout");
            object.remove("provider");
            if peek.stream {
                let options = object.entry("stream_options").or_insert(json!({}));
                if options.is_null() {
                    *options = json!({});
                }
                options["include_usage"] = json!(true);
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
