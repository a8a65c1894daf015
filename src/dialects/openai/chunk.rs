//! A stream that goes through as it comes: each event is looked at, none is built.

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use smallvec::SmallVec;

use super::arguments::Arguments;
use super::encode::write_error_event;
use super::error::outcome_of;
use super::said::{Form, Said, read};
use crate::dialects::Relay;
use crate::dialects::sse::{Event, Framer};
use crate::domain::{Failure, ServiceTier, StreamEnd, StreamFacts, StreamFault, Usage};

/// Reads one chunk, or says what is wrong with it.
pub(crate) fn read_chunk(data: &[u8]) -> Result<Said<'_>, StreamFault> {
    let said = read(data, Form::Chunk)
        .map_err(|_| StreamFault::Malformed("a chunk is not JSON of this protocol"))?;
    match &said.error {
        Some(error) => Err(outcome_of(error).into()),
        None => Ok(said),
    }
}

/// The relay for an OpenAI provider and an OpenAI client.
#[derive(Debug)]
pub struct SpliceRelay {
    framer: Framer,
    facts: StreamFacts,
    /// Per choice, whether it has finished.
    choices: SmallVec<[(u32, bool); 1]>,
    expected_choices: u32,
    strip_usage: bool,
    arguments: Arguments,
    /// Some name it in their first chunk alone.
    tier: Option<ServiceTier>,
}

impl SpliceRelay {
    /// `strip_usage`: the client did not ask for the usage chunk that we asked for.
    pub fn new(expected_choices: u32, strip_usage: bool) -> Self {
        Self {
            framer: Framer::default(),
            facts: StreamFacts::default(),
            choices: SmallVec::new(),
            expected_choices,
            strip_usage,
            arguments: Arguments::default(),
            tier: None,
        }
    }

    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamFault> {
        if self.facts.terminal {
            // What comes after the end is nobody's (fault S14).
            return Ok(());
        }
        if &event.data[..] == b"[DONE]" {
            self.facts.terminal = true;
            return Ok(());
        }
        if event.data.is_empty() {
            return Ok(());
        }
        if event.name.as_deref() == Some(b"error") {
            return Err(reported(&event.data));
        }
        let chunk = read_chunk(&event.data)?;
        if chunk.is_prelude() {
            return Ok(());
        }
        self.note(&chunk)?;
        let only_usage = chunk.choices.is_empty() && chunk.usage.is_some();
        if !(only_usage && self.strip_usage) {
            pass(event, out);
        }
        Ok(())
    }

    fn note(&mut self, chunk: &Said<'_>) -> Result<(), StreamFault> {
        self.tier = chunk.tier.or(self.tier);
        let facts = &mut self.facts;
        for choice in &chunk.choices {
            let place = match self
                .choices
                .iter()
                .position(|(index, _)| *index == choice.index)
            {
                Some(place) => place,
                None if self.choices.len() < 128 => {
                    self.choices.push((choice.index, false));
                    self.choices.len() - 1
                }
                None => {
                    return Err(StreamFault::Malformed(
                        "more choices than a request can ask for",
                    ));
                }
            };
            let mut arguments = 0;
            if let Some(calls) = choice.tool_calls {
                arguments = self
                    .arguments
                    .read(choice.index, calls)
                    .map_err(|_| StreamFault::Malformed("a tool call has another shape"))?;
            }
            facts.content |= choice.content > 0;
            facts.content_bytes += (choice.content + arguments) as u64;
            if let Some(finish) = choice.finish.as_deref() {
                facts.filtered |= finish == "content_filter";
                facts.limited |= finish == "length";
                if finish == "tool_calls" {
                    facts.quirks += self.arguments.cut(choice.index);
                }
                if let Some((_, finished)) = self.choices.get_mut(place) {
                    facts.quirks += u32::from(std::mem::replace(finished, true));
                }
            }
        }
        facts.finished = self.choices.len() >= usize::try_from(self.expected_choices).unwrap_or(1)
            && self.choices.iter().all(|(_, finished)| *finished);
        if chunk.usage.is_some() {
            // The last one counts; they are never added up (fault P29).
            let tier = self.tier;
            facts.usage = chunk.usage.map(|usage| Usage { tier, ..usage });
        }
        if facts.served_model.is_none() {
            facts.served_model = chunk
                .model
                .as_ref()
                .map(|model| model.chars().take(256).collect());
        }
        Ok(())
    }
}

/// An error event, in whatever form it came.
pub(super) fn reported(data: &[u8]) -> StreamFault {
    let value: Value = serde_json::from_slice(data).unwrap_or(Value::Null);
    outcome_of(value.get("error").unwrap_or(&value)).into()
}

/// The event's own bytes where they are plain, else the same data in plain form: a client's parser may
/// know only the plain one (fault S16).
fn pass(event: &Event, out: &mut BytesMut) {
    let plain = event.raw.starts_with(b"data: ")
        && event.raw.ends_with(b"\n\n")
        && event.raw.len() == event.data.len() + b"data: \n\n".len();
    if plain {
        out.extend_from_slice(&event.raw);
        return;
    }
    for line in event.data.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

impl Relay for SpliceRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        self.framer.push(piece).map_err(|_| StreamFault::TooLarge)?;
        while let Some(event) = self.framer.next_event() {
            let event = event.map_err(|_| StreamFault::TooLarge)?;
            self.event(&event, out)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        if let Some(event) = self.framer.rest() {
            // A last event without its blank line still counts if it is whole, and is a cut if it is not. Behind
            // the finish it takes nothing away (ground rule G3).
            match self.event(&event, out) {
                Err(StreamFault::Malformed(_)) if self.facts.finished => {}
                Err(StreamFault::Malformed(_)) => return Err(StreamFault::Truncated),
                other => other?,
            }
        }
        let facts = &self.facts;
        let some_choice_is_open = self.choices.iter().any(|(_, finished)| !finished)
            || self.choices.len() < usize::try_from(self.expected_choices).unwrap_or(1);
        let whole = facts.finished || (facts.terminal && facts.content && self.choices.len() == 1);
        if !whole || (some_choice_is_open && self.expected_choices > 1) {
            return Err(StreamFault::Truncated);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Ok(if facts.finished && facts.terminal {
            StreamEnd::Clean
        } else {
            StreamEnd::Unclean
        })
    }

    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        write_error_event(failure, request_id, out);
    }

    fn facts(&self) -> &StreamFacts {
        &self.facts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{AttemptOutcome, FailureKind, Tokens};

    fn chunk(delta: &str, finish: &str) -> String {
        format!(
            "data: {{\"id\":\"c\",\"model\":\"m-1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    }

    fn role() -> String {
        chunk(r#"{"role":"assistant","content":""}"#, "null")
    }

    fn text(text: &str) -> String {
        chunk(&format!("{{\"content\":\"{text}\"}}"), "null")
    }

    fn stop() -> String {
        chunk("{}", "\"stop\"")
    }

    const USAGE: &str =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn run(stream: &str, relay: &mut SpliceRelay) -> (Result<StreamEnd, StreamFault>, String) {
        let mut out = BytesMut::new();
        let fed = relay.feed(&Bytes::copy_from_slice(stream.as_bytes()), &mut out);
        let end = fed.and_then(|()| relay.end(&mut out));
        (end, String::from_utf8(out.to_vec()).unwrap())
    }

    fn plain() -> SpliceRelay {
        SpliceRelay::new(1, false)
    }

    #[test]
    fn e1_a_whole_stream_passes_byte_for_byte() {
        let stream = [
            role(),
            text("a"),
            text("b"),
            stop(),
            USAGE.into(),
            DONE.into(),
        ]
        .concat();
        let mut relay = plain();
        assert_eq!(run(&stream, &mut relay), (Ok(StreamEnd::Clean), stream));
        let usage = relay.facts().usage.unwrap();
        assert_eq!((usage.input, usage.output), (Tokens(3), Tokens(2)));
        assert_eq!(relay.facts().served_model.as_deref(), Some("m-1"));
    }

    #[test]
    fn s18_only_what_was_asked_for_by_number_counts_as_long() {
        let audio = chunk(
            &format!(r#"{{"audio":{{"data":"{}"}}}}"#, "a".repeat(4_000)),
            "null",
        );
        let call = chunk(
            r#"{"tool_calls":[{"index":0,"id":"call_0123456789","type":"function","function":{"name":"look_something_up","arguments":"{}"}}]}"#,
            "null",
        );
        for (event, most) in [(audio, 20), (call, 20), (text(&"a".repeat(4_000)), 4_100)] {
            let mut relay = plain();
            let _ = run(&event, &mut relay);
            let counted = relay.facts().content_bytes;
            assert!((1..=most).contains(&counted), "{counted} of {event:.60}");
        }
    }

    #[test]
    fn g3_what_breaks_behind_the_finish_takes_nothing_away() {
        let stream = [role(), text("a"), stop(), "data: {\"choices\":[".into()].concat();
        let (end, out) = run(&stream, &mut plain());
        assert_eq!(end, Ok(StreamEnd::Unclean));
        assert!(out.ends_with(DONE));
        let cut = [role(), text("a"), "data: {\"choices\":[".into()].concat();
        assert_eq!(run(&cut, &mut plain()).0, Err(StreamFault::Truncated));
    }

    #[test]
    fn usage_that_the_client_did_not_ask_for_is_taken_out() {
        let stream = [role(), text("a"), stop(), USAGE.into(), DONE.into()].concat();
        let mut relay = SpliceRelay::new(1, true);
        let (end, out) = run(&stream, &mut relay);
        assert_eq!(
            (end, out),
            (Ok(StreamEnd::Clean), stream.replace(USAGE, ""))
        );
        assert!(relay.facts().usage.is_some());
    }

    #[test]
    fn g1_a_role_a_comment_or_an_empty_choice_is_no_content() {
        let mut relay = plain();
        let mut out = BytesMut::new();
        for piece in [
            role(),
            ": ping\n\n".into(),
            "data: {\"choices\":[]}\n\n".into(),
            chunk(r#"{"content":null}"#, "null"),
        ] {
            relay.feed(&Bytes::from(piece), &mut out).unwrap();
            assert!(!relay.facts().content);
        }
        relay
            .feed(
                &Bytes::from(chunk(r#"{"tool_calls":[{"index":0}]}"#, "null")),
                &mut out,
            )
            .unwrap();
        assert!(relay.facts().content);
    }

    #[test]
    fn azures_verdict_on_the_prompt_reaches_nobody_as_an_answer_of_no_model() {
        let verdict = "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[]}\n\n";
        let rest = [role(), text("a"), stop(), DONE.into()].concat();
        let mut relay = plain();
        let (end, out) = run(&format!("{verdict}{rest}"), &mut relay);
        assert_eq!((end, out), (Ok(StreamEnd::Clean), rest));
        assert_eq!(relay.facts().served_model.as_deref(), Some("m-1"));
    }

    #[test]
    fn g3_an_end_without_a_finish_is_truncated_however_clean() {
        for stream in [
            role() + &text("a"),
            role(),
            String::new(),
            DONE.into(),
            role() + DONE,
        ] {
            assert_eq!(
                run(&stream, &mut plain()).0,
                Err(StreamFault::Truncated),
                "{stream}"
            );
        }
    }

    #[test]
    fn s14_the_variants_of_an_end_are_told_apart() {
        let (end, out) = run(&[role(), text("a"), stop()].concat(), &mut plain());
        assert_eq!(end, Ok(StreamEnd::Unclean));
        assert!(out.ends_with(DONE));
        let (end, out) = run(&[role(), text("a"), DONE.into()].concat(), &mut plain());
        assert_eq!(end, Ok(StreamEnd::Unclean));
        assert!(!out.contains("\"stop\""), "no invented reason");
        let (end, out) = run(
            &[text("a"), stop(), DONE.into(), text("late")].concat(),
            &mut plain(),
        );
        assert_eq!(end, Ok(StreamEnd::Clean));
        assert!(!out.contains("late"));
        assert_eq!(out.matches("[DONE]").count(), 1);
    }

    #[test]
    fn s19_one_of_several_choices_cut_is_a_cut() {
        let of = |index: u32, finish: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"x\"}},\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let cut = [of(0, "null"), of(1, "null"), of(0, "\"stop\""), DONE.into()].concat();
        assert_eq!(
            run(&cut, &mut SpliceRelay::new(2, false)).0,
            Err(StreamFault::Truncated)
        );
        let missing = [of(0, "\"stop\""), DONE.into()].concat();
        assert_eq!(
            run(&missing, &mut SpliceRelay::new(2, false)).0,
            Err(StreamFault::Truncated)
        );
        let whole = [of(0, "\"stop\""), of(1, "\"stop\""), DONE.into()].concat();
        assert_eq!(
            run(&whole, &mut SpliceRelay::new(2, false)).0,
            Ok(StreamEnd::Clean)
        );
    }

    #[test]
    fn s01_s11_errors_in_the_stream_are_sorted_and_never_passed_on() {
        for (event, expected) in [
            (
                "event: error\ndata: {\"error\":{\"type\":\"overloaded_error\"}}\n\n",
                AttemptOutcome::Overloaded,
            ),
            (
                "data: {\"error\":{\"code\":429,\"message\":\"x\"}}\n\n",
                AttemptOutcome::Throttled,
            ),
            (
                "data: {\"error\":{\"message\":\"canary\",\"type\":\"server_error\"}}\n\n",
                AttemptOutcome::ServerError,
            ),
        ] {
            let (end, out) = run(&(text("a") + event), &mut plain());
            assert_eq!(end.unwrap_err().outcome(), expected, "{event}");
            assert!(!out.contains("error"), "{out}");
        }
        let finish = chunk("{}", "\"error\"");
        assert!(run(&(text("a") + &finish), &mut plain()).0.is_err());
    }

    #[test]
    fn s12_a_bad_chunk_ends_the_stream_and_is_not_skipped() {
        for bad in [
            "data: {\"choi\n\n",
            "data: [1]\n\n",
            "data: \"x\"\n\n",
            "data: {\"choices\":5}\n\n",
        ] {
            let (end, out) = run(
                &[text("a"), bad.into(), text("b"), stop(), DONE.into()].concat(),
                &mut plain(),
            );
            assert!(matches!(end, Err(StreamFault::Malformed(_))), "{bad}");
            assert_eq!(out, text("a"), "{bad}");
        }
    }

    #[test]
    fn s16_odd_forms_reach_the_client_in_plain_form() {
        let odd = text("a")
            .replace("data: ", "data:")
            .replace("\n\n", "\r\n\r\n")
            + "id: 5\n"
            + &stop();
        let (end, out) = run(&odd, &mut plain());
        assert_eq!(
            (end, out),
            (
                Ok(StreamEnd::Unclean),
                [text("a"), stop(), DONE.into()].concat()
            )
        );
    }

    #[test]
    fn g2_a_13_the_error_event_is_one_event_without_done_whatever_it_holds() {
        let mut out = BytesMut::new();
        let failure = Failure::new(
            FailureKind::UpstreamReset,
            "x\n\ndata: {\"forged\":1}\r\u{2028}",
        );
        plain().fail(&failure, "sy-1", &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        assert!(text.starts_with("data: {\"error\":") && text.contains("upstream_reset"));
        assert!(!text.contains("[DONE]") && !text.contains('\r') && !text.contains('\u{2028}'));
    }

    proptest! {
        #[test]
        fn n12_any_slicing_gives_the_same_bytes(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
            let stream = [role(), text("héllo"), text("wörld"), stop(), USAGE.into(), DONE.into()].concat();
            let bytes = stream.as_bytes();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let mut relay = plain();
            let mut out = BytesMut::new();
            for pair in places.windows(2) {
                relay.feed(&Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]), &mut out).unwrap();
            }
            prop_assert_eq!(relay.end(&mut out), Ok(StreamEnd::Clean));
            prop_assert_eq!(&out[..], bytes);
        }

        #[test]
        fn no_stream_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
            let mut relay = plain();
            let mut out = BytesMut::new();
            for piece in pieces {
                let _ = relay.feed(&Bytes::from(piece), &mut out);
            }
            let _ = relay.end(&mut out);
        }
    }
}
