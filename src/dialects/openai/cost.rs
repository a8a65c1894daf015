//! What an answer cost, told where its usage stands: `usage.cost`, as users of OpenRouter read it.
//!
//! # Why it is cut in
//! Everything else of an answer stays byte for byte what it was. The amount is written as the decimal it is: no
//! float ever holds it here.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::dialects::Relay;
use crate::dialects::json::{Cursor, scan_object};
use crate::dialects::sse::{Event, Framer};
use crate::domain::{Failure, NanoUsd, StreamEnd, StreamFacts, StreamFault, Usage};

/// What is told of a request's cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldCost {
    pub cost: NanoUsd,
    /// A part of it rests on an estimate.
    pub estimated: bool,
}

/// Says what a request comes to that used so much; `None` where nobody knows.
pub trait Costing: Send {
    fn cost(&self, usage: &Usage) -> Option<ToldCost>;
}

/// Names of ours; what a provider says under them is another's price.
const COST: [&[u8]; 2] = [b"cost", b"cost_details"];

/// The answer, or the event of a stream, with its cost; `None` where no usage stands in it, or it is not JSON.
pub fn with_cost(text: &[u8], told: ToldCost) -> Option<Vec<u8>> {
    let usage = usage_of(text)?;
    let object = text.get(usage.clone())?;
    let members = scan_object(object).ok()?;
    let mut out = Vec::with_capacity(text.len() + 64);
    out.extend_from_slice(text.get(..usage.start)?);
    out.push(b'{');
    for member in &members {
        let key = object.get(member.key.clone())?;
        if COST.contains(&key) {
            continue;
        }
        // With the quotes around its name, and whatever stands between name and value.
        let whole = member.key.start.checked_sub(1)?..member.value.end;
        out.extend_from_slice(object.get(whole)?);
        out.push(b',');
    }
    out.extend_from_slice(format!("\"cost\":{}", told.cost).as_bytes());
    if told.estimated {
        out.extend_from_slice(b",\"cost_details\":{\"estimated\":true}");
    }
    out.push(b'}');
    out.extend_from_slice(text.get(usage.end..)?);
    Some(out)
}

/// Where the object of the member `usage` stands.
fn usage_of(text: &[u8]) -> Option<Range<usize>> {
    let mut cursor = Cursor::new(text).ok()?;
    if cursor.next() != Some(b'{') {
        return None;
    }
    let mut found = None;
    let walked = cursor.object(|cursor, key| {
        let is_object = cursor.next() == Some(b'{');
        let (start, end) = cursor.skip_span()?;
        if key == b"usage" && is_object {
            found = Some(start..end);
        }
        Ok(())
    });
    walked.and_then(|()| cursor.end()).ok()?;
    found
}

/// A relay whose last usage says what it cost.
pub struct CostRelay {
    inner: Box<dyn Relay>,
    costing: Box<dyn Costing>,
    framer: Framer,
    said: BytesMut,
}

impl CostRelay {
    /// Takes over a relay that has written `held` already; answers what is to be written in its place.
    pub fn over(
        inner: Box<dyn Relay>,
        costing: Box<dyn Costing>,
        held: BytesMut,
    ) -> (Self, BytesMut) {
        let usage = inner.facts().usage;
        let told = usage.and_then(|usage| costing.cost(&usage));
        let out = tell_whole(held, told);
        let relay = Self {
            inner,
            costing,
            framer: Framer::default(),
            said: BytesMut::new(),
        };
        (relay, out)
    }

    fn tell(&mut self, out: &mut BytesMut) -> Result<(), StreamFault> {
        let said = self.said.split().freeze();
        let usage = self.inner.facts().usage;
        write_told(&mut self.framer, &said, out, || {
            usage.and_then(|usage| self.costing.cost(&usage))
        })
    }
}

/// Whole events that are there, with their cost; as they are where it is not known, or they are too large to look at.
pub fn tell_whole(said: BytesMut, told: Option<ToldCost>) -> BytesMut {
    if told.is_none() {
        return said;
    }
    let said = said.freeze();
    let mut out = BytesMut::with_capacity(said.len() + 64);
    match write_told(&mut Framer::default(), &said, &mut out, || told) {
        Ok(()) => out,
        Err(_) => BytesMut::from(said),
    }
}

/// Passes whole events on, the cost in those that have a usage.
fn write_told(
    framer: &mut Framer,
    said: &Bytes,
    out: &mut BytesMut,
    told: impl Fn() -> Option<ToldCost>,
) -> Result<(), StreamFault> {
    framer.push(said).map_err(|_| StreamFault::TooLarge)?;
    while let Some(event) = framer.next_event() {
        let event = event.map_err(|_| StreamFault::TooLarge)?;
        match priced(&event, &told) {
            Some(data) => write_event(&data, out),
            None => out.extend_from_slice(&event.raw),
        }
    }
    Ok(())
}

fn priced(event: &Event, told: impl Fn() -> Option<ToldCost>) -> Option<Vec<u8>> {
    memmem::find(&event.data, b"\"usage\"")?;
    with_cost(&event.data, told()?)
}

fn write_event(data: &[u8], out: &mut BytesMut) {
    for line in data.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

impl Relay for CostRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        let fed = self.inner.feed(piece, &mut self.said);
        // What came before the fault is still good.
        self.tell(out)?;
        fed
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        let end = self.inner.end(&mut self.said)?;
        self.tell(out)?;
        Ok(end)
    }

    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        // Its last word is an error and holds no usage.
        out.extend_from_slice(&self.said.split());
        self.inner.fail(failure, request_id, out);
    }

    fn facts(&self) -> &StreamFacts {
        self.inner.facts()
    }

    fn recorded(&mut self) -> Option<Bytes> {
        self.inner.recorded()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "the macro of proptest hides its functions from the exemption for tests"
    )]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::SpliceRelay;
    use super::*;

    const TOLD: ToldCost = ToldCost {
        cost: NanoUsd(1_230),
        estimated: false,
    };

    fn text(told: Option<Vec<u8>>) -> Option<String> {
        told.map(|told| String::from_utf8(told).unwrap())
    }

    #[test]
    fn m4_the_cost_stands_in_the_usage_and_nothing_else_changes() {
        let answer =
            br#"{ "a":1.50, "usage" : { "prompt_tokens": 5 , "x":[{"cost":1}] } ,"cost":9}"#;
        assert_eq!(
            text(with_cost(answer, TOLD)).unwrap(),
            r#"{ "a":1.50, "usage" : {"prompt_tokens": 5,"x":[{"cost":1}],"cost":0.00000123} ,"cost":9}"#
        );
        let estimated = ToldCost {
            estimated: true,
            ..TOLD
        };
        assert_eq!(
            text(with_cost(br#"{"usage":{}}"#, estimated)).unwrap(),
            r#"{"usage":{"cost":0.00000123,"cost_details":{"estimated":true}}}"#
        );
    }

    #[test]
    fn m4_what_another_said_it_cost_is_replaced_and_not_doubled() {
        let answer = br#"{"usage":{"cost":7,"prompt_tokens":5,"cost_details":{"upstream_inference_cost":6}}}"#;
        assert_eq!(
            text(with_cost(answer, TOLD)).unwrap(),
            r#"{"usage":{"prompt_tokens":5,"cost":0.00000123}}"#
        );
    }

    #[test]
    fn m4_without_a_usage_nothing_is_told() {
        for answer in [
            &b"{}"[..],
            br#"{"usage":null}"#,
            br#"{"usage":[]}"#,
            br#"{"x":{"usage":{}}}"#,
            br#"[{"usage":{}}]"#,
            br#"{"usage":{}"#,
            br#"{"usage":{}} {}"#,
            b"",
        ] {
            assert_eq!(with_cost(answer, TOLD), None);
        }
    }

    struct PerToken;

    impl Costing for PerToken {
        fn cost(&self, usage: &Usage) -> Option<ToldCost> {
            Some(ToldCost {
                cost: NanoUsd(usage.total().0 * 1_000_000),
                estimated: false,
            })
        }
    }

    fn stream() -> String {
        let chunk = |choices: Value, usage: Value| {
            format!(
                "data: {}\n\n",
                json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage})
            )
        };
        let said =
            json!([{"index": 0, "delta": {"content": "say \"usage\""}, "finish_reason": null}]);
        let end = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
        let used = json!({"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11});
        [
            chunk(said, Value::Null),
            chunk(end, Value::Null),
            chunk(json!([]), used),
            "data: [DONE]\n\n".to_owned(),
        ]
        .concat()
    }

    proptest! {
        #[test]
        fn m4_a_stream_tells_its_cost_in_its_last_usage_however_it_is_cut(
            cuts in prop::collection::vec(1_usize..80, 0..40),
            handed in 0_usize..8,
        ) {
            let whole = stream();
            let mut pieces = Vec::new();
            let mut rest = whole.as_bytes();
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(Bytes::copy_from_slice(piece));
                rest = more;
            }
            pieces.push(Bytes::copy_from_slice(rest));
            let handed = handed.min(pieces.len());
            let mut inner: Box<dyn Relay> = Box::new(SpliceRelay::new(1, false));
            let mut held = BytesMut::new();
            for piece in &pieces[..handed] {
                inner.feed(piece, &mut held).unwrap();
            }
            let (mut relay, mut out) = CostRelay::over(inner, Box::new(PerToken), held);
            for piece in &pieces[handed..] {
                relay.feed(piece, &mut out).unwrap();
            }
            relay.end(&mut out).unwrap();
            let expected = whole.replace("\"total_tokens\":11}", "\"total_tokens\":11,\"cost\":0.011}");
            prop_assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        }
    }
}
