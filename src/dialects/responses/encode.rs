//! From the canonical chat to the responses API's form, for clients who speak it: answers, events, errors.

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use super::items::shown_reasoning;
use crate::dialects::fields::{id_with, is_cut};
use crate::dialects::translate::events_of;
use crate::dialects::{AnswerTerms, logprobs, one_line, openai};
use crate::domain::chat::{ChatAnswer, ChatEvent, Citation, Signature, StopReason};
use crate::domain::{Failure, ServiceTier, Usage};

fn usage_value(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input.0,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input.0,
            "cache_write_tokens": usage.cache_write.0,
        },
        "output_tokens": usage.output.0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning.0},
        "total_tokens": usage.total().0,
    })
}

/// The request's own settings, as the object echoes them; what the client did not say has its default.
const ECHOED: [(&str, &str); 17] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    // Of this only the place: what was asked for is no tier that it was served in.
    ("service_tier", "null"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
];

/// Where the model answers in another dialect these are not used: what was asked is not repeated as if it had been done.
const UNUSED: [&str; 2] = ["max_tool_calls", "truncation"];

/// What of a request its response repeats.
pub(super) fn echo(request: &Value, tells_tokens: bool) -> Map<String, Value> {
    let value = |name: &str, default: &str| {
        let said = request.get(name).filter(|value| !value.is_null());
        match said {
            Some(_) if name == "service_tier" => Value::Null,
            Some(_) if name == "top_logprobs" && !tells_tokens => Value::from(0),
            Some(said) if !UNUSED.contains(&name) => said.clone(),
            Some(_) | None => serde_json::from_str(default).unwrap_or_default(),
        }
    };
    let all = ECHOED.iter();
    all.map(|(name, default)| ((*name).to_owned(), value(name, default)))
        .collect()
}

/// How a response ended, in its two fields. Where nobody said why, it is not called completed, and no reason is made
/// up (fault S14).
fn ended(stop: Option<StopReason>) -> (&'static str, Value) {
    let Some(stop) = stop else {
        return ("incomplete", Value::Null);
    };
    match stop {
        StopReason::Length => ("incomplete", json!({"reason": "max_output_tokens"})),
        StopReason::ContentFilter => ("incomplete", json!({"reason": "content_filter"})),
        StopReason::End
        | StopReason::StopSequence
        | StopReason::ToolCalls
        | StopReason::Paused
        | StopReason::Unknown => ("completed", Value::Null),
    }
}

/// The object around the output.
#[derive(Debug)]
struct Frame {
    id: String,
    model: String,
    created: u64,
    echo: Map<String, Value>,
}

impl Frame {
    fn new(terms: &AnswerTerms) -> Self {
        Self {
            id: format!("resp_{}", terms.request_id.trim_start_matches("sy-")),
            model: terms.asked.clone(),
            created: terms.created,
            echo: echo(&terms.request, terms.logprobs),
        }
    }

    fn object(&self, status: &str, output: &[Value], usage: Option<&Usage>) -> Value {
        let mut object = self.echo.clone();
        let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
        put("id", self.id.as_str().into());
        put("object", "response".into());
        put("created_at", self.created.into());
        put("status", status.into());
        put("background", false.into());
        put("error", Value::Null);
        put("incomplete_details", Value::Null);
        put("model", self.model.as_str().into());
        put("output", output.to_vec().into());
        let tier = usage.and_then(|usage| usage.tier);
        put("service_tier", tier.map(ServiceTier::word).into());
        // Nothing is kept: the next turn has to bring the conversation along.
        put("store", false.into());
        put("usage", usage.map_or(Value::Null, usage_value));
        Value::Object(object)
    }

    /// Ids of items are the response's own, numbered.
    fn item_id(&self, kind: &str, place: usize) -> String {
        format!("{kind}_{}_{place}", self.id.trim_start_matches("resp_"))
    }
}

fn message_item(id: &str, status: &str, content: Vec<Value>) -> Value {
    json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": content})
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn refusal_part(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

fn call_item(id: &str, status: &str, call: (&str, &str, &str)) -> Value {
    let (call_id, name, arguments) = call;
    json!({
        "type": "function_call", "id": id, "status": status,
        "call_id": call_id, "name": name, "arguments": arguments,
    })
}

/// Arguments as a client may parse them: never empty, never `null`.
fn arguments_of(text: &str) -> &str {
    if text.is_empty() || text == "null" {
        "{}"
    } else {
        text
    }
}

/// A whole answer: the items its stream would have ended with.
pub fn encode_answer(answer: &ChatAnswer, terms: &AnswerTerms) -> Vec<u8> {
    let mut encoder = StreamEncoder::new(terms);
    let mut unheard = BytesMut::new();
    encoder.frame.model.clone_from(&answer.model);
    if answer.model.is_empty() {
        encoder.frame.model.clone_from(&terms.asked);
    }
    for event in events_of(answer) {
        encoder.event(&event, &mut unheard);
        unheard.clear();
    }
    encoder.stop = Some(answer.stop);
    encoder.usage = answer.usage;
    one_line(&encoder.whole(&mut unheard))
}

/// A response that has no output yet, or never will.
pub fn without_output(terms: &AnswerTerms, status: &str, failure: Option<&Failure>) -> Value {
    let mut object = Frame::new(terms).object(status, &[], None);
    if let Some(failure) = failure {
        object["error"] = json!({"code": failure.code(), "message": failure.shown_message()});
    }
    object
}

/// The item under way.
#[derive(Debug)]
enum Open {
    Message {
        text: String,
        refusal: bool,
        annotations: Vec<Value>,
        logprobs: Vec<Value>,
    },
    Reasoning {
        text: String,
    },
    Call {
        index: u32,
        call_id: String,
        name: String,
        arguments: String,
    },
}

/// Writes typed events with gapless numbers; every item and part begins and ends.
#[derive(Debug)]
pub struct StreamEncoder {
    frame: Frame,
    sequence: u64,
    started: bool,
    open: Option<Open>,
    /// Of the next piece of text.
    logprobs: Vec<Value>,
    output: Vec<Value>,
    /// A call is not whole.
    cut: bool,
    stop: Option<StopReason>,
    usage: Option<Usage>,
}

impl StreamEncoder {
    pub fn new(terms: &AnswerTerms) -> Self {
        Self {
            frame: Frame::new(terms),
            sequence: 0,
            started: false,
            open: None,
            logprobs: Vec::new(),
            output: Vec::new(),
            cut: false,
            stop: None,
            usage: None,
        }
    }

    pub fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start { model, .. } => {
                if !self.started && !model.is_empty() {
                    self.frame.model.clone_from(model);
                }
                self.start(out);
            }
            ChatEvent::Text { text } => self.say(text, false, out),
            ChatEvent::Refusal { text } => self.say(text, true, out),
            ChatEvent::Logprobs { tokens } => {
                if let Value::Array(told) = logprobs::write(tokens) {
                    self.logprobs.extend(told);
                }
            }
            ChatEvent::Thinking { text } => self.think(text, out),
            ChatEvent::Signed { signature } => self.sign(signature, out),
            ChatEvent::RedactedThinking { data } => {
                self.close(None, out);
                self.begin_reasoning(out);
                self.close(Some(&Signature::of_redacted(data)), out);
            }
            ChatEvent::ToolCall {
                index,
                id,
                name,
                signature,
            } => {
                self.close(None, out);
                let call_id = id_with(id, signature.as_ref());
                let item_id = self.item_id("fc");
                let item = call_item(&item_id, "in_progress", (&call_id, name, ""));
                self.added(&item, out);
                self.open = Some(Open::Call {
                    index: *index,
                    call_id,
                    name: name.clone(),
                    arguments: String::new(),
                });
            }
            ChatEvent::ToolArguments { index, fragment } => self.fragment(*index, fragment, out),
            ChatEvent::Citation { citation } => self.cite(citation, out),
            ChatEvent::Stop { reason } => self.stop = Some(*reason),
            ChatEvent::Usage { usage } => self.usage = Some(*usage),
            ChatEvent::Foreign { .. } | ChatEvent::Trace | ChatEvent::Done => {}
        }
    }

    /// An event that was written by another: what is written here is about the same response, and numbered behind it.
    pub fn passed(&mut self, number: Option<u64>, said: &[ChatEvent]) {
        self.started = true;
        self.sequence = number.unwrap_or(self.sequence).saturating_add(1);
        for event in said {
            if let ChatEvent::Start { id, model } = event {
                for (own, told) in [(&mut self.frame.id, id), (&mut self.frame.model, model)] {
                    if !told.is_empty() {
                        own.clone_from(told);
                    }
                }
            }
        }
    }

    /// The terminal event with the whole response.
    pub fn end(&mut self, out: &mut BytesMut) {
        self.start(out);
        let response = self.whole(out);
        let (status, _) = self.ended();
        self.write(
            &format!("response.{status}"),
            json!({"response": response}),
            out,
        );
    }

    pub fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        self.start(out);
        let error = json!({
            "type": "error", "code": failure.code(), "message": failure.shown_message(),
            "param": failure.param, "request_id": request_id,
        });
        self.write("error", error, out);
        let mut response = self
            .frame
            .object("failed", &self.output, self.usage.as_ref());
        response["error"] = json!({"code": failure.code(), "message": failure.shown_message()});
        self.write("response.failed", json!({"response": response}), out);
    }

    fn whole(&mut self, out: &mut BytesMut) -> Value {
        self.close(None, out);
        let (status, details) = self.ended();
        let mut response = self.frame.object(status, &self.output, self.usage.as_ref());
        response["incomplete_details"] = details;
        response
    }

    /// With half of a call it is not completed, whatever its provider says (fault S17).
    fn ended(&self) -> (&'static str, Value) {
        let told = self.stop.filter(|stop| !self.cut || stop.may_cut());
        ended(told)
    }

    fn item_id(&self, kind: &str) -> String {
        self.frame.item_id(kind, self.output.len())
    }

    fn start(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let response = self.frame.object("in_progress", &[], None);
        self.write("response.created", json!({"response": response}), out);
        self.write("response.in_progress", json!({"response": response}), out);
    }

    fn added(&mut self, item: &Value, out: &mut BytesMut) {
        self.start(out);
        let event = json!({"output_index": self.output.len(), "item": item});
        self.write("response.output_item.added", event, out);
    }

    fn say(&mut self, more: &str, refusing: bool, out: &mut BytesMut) {
        let goes_on =
            matches!(&self.open, Some(Open::Message { refusal, .. }) if *refusal == refusing);
        let item_id = if goes_on {
            self.item_id("msg")
        } else {
            self.close(None, out);
            let id = self.item_id("msg");
            self.added(&message_item(&id, "in_progress", Vec::new()), out);
            let part = if refusing {
                refusal_part("")
            } else {
                text_part("")
            };
            let event = self.of_part(&id, json!({"part": part}));
            self.write("response.content_part.added", event, out);
            self.open = Some(Open::Message {
                text: String::new(),
                refusal: refusing,
                annotations: Vec::new(),
                logprobs: Vec::new(),
            });
            id
        };
        let told = std::mem::take(&mut self.logprobs);
        if let Some(Open::Message { text, logprobs, .. }) = &mut self.open {
            text.push_str(more);
            logprobs.extend(told.iter().cloned());
        }
        let (kind, delta) = if refusing {
            ("response.refusal.delta", json!({"delta": more}))
        } else {
            let delta = json!({"delta": more, "logprobs": told});
            ("response.output_text.delta", delta)
        };
        let event = self.of_part(&item_id, delta);
        self.write(kind, event, out);
    }

    /// A source with an address belongs to the text under way; others have no place here.
    fn cite(&mut self, citation: &Citation, out: &mut BytesMut) {
        let Some(url) = citation.url.as_deref() else {
            return;
        };
        let (start, end) = citation.span.unwrap_or_default();
        let annotation = json!({
            "type": "url_citation", "start_index": start, "end_index": end, "url": url,
            "title": citation.title.as_deref().unwrap_or(url),
        });
        let id = self.item_id("msg");
        let Some(Open::Message {
            annotations,
            refusal: false,
            ..
        }) = &mut self.open
        else {
            return;
        };
        let place = annotations.len();
        annotations.push(annotation.clone());
        let event = json!({"annotation_index": place, "annotation": annotation});
        let event = self.of_part(&id, event);
        self.write("response.output_text.annotation.added", event, out);
    }

    fn of_part(&self, item_id: &str, mut event: Value) -> Value {
        event["item_id"] = item_id.into();
        event["output_index"] = self.output.len().into();
        event["content_index"] = 0.into();
        event
    }

    fn of_summary(&self, item_id: &str, mut event: Value) -> Value {
        event["item_id"] = item_id.into();
        event["output_index"] = self.output.len().into();
        event["summary_index"] = 0.into();
        event
    }

    fn begin_reasoning(&mut self, out: &mut BytesMut) {
        let id = self.item_id("rs");
        self.added(&json!({"type": "reasoning", "id": id, "summary": []}), out);
        self.open = Some(Open::Reasoning {
            text: String::new(),
        });
    }

    fn think(&mut self, more: &str, out: &mut BytesMut) {
        if !matches!(self.open, Some(Open::Reasoning { .. })) {
            self.close(None, out);
            self.begin_reasoning(out);
        }
        let id = self.item_id("rs");
        let Some(Open::Reasoning { text }) = &mut self.open else {
            return;
        };
        let first = text.is_empty();
        text.push_str(more);
        if first {
            let part = json!({"part": {"type": "summary_text", "text": ""}});
            let event = self.of_summary(&id, part);
            self.write("response.reasoning_summary_part.added", event, out);
        }
        let event = self.of_summary(&id, json!({"delta": more}));
        self.write("response.reasoning_summary_text.delta", event, out);
    }

    /// A signature without a thought before it gets an item of its own.
    fn sign(&mut self, signature: &Signature, out: &mut BytesMut) {
        if !matches!(self.open, Some(Open::Reasoning { .. })) {
            self.close(None, out);
            self.begin_reasoning(out);
        }
        self.close(Some(signature), out);
    }

    fn fragment(&mut self, wanted: u32, more: &str, out: &mut BytesMut) {
        let id = self.item_id("fc");
        let Some(Open::Call {
            index, arguments, ..
        }) = &mut self.open
        else {
            return;
        };
        if *index == wanted {
            arguments.push_str(more);
            let event = json!({
                "item_id": id, "output_index": self.output.len(), "delta": more,
            });
            self.write("response.function_call_arguments.delta", event, out);
        }
    }

    fn close(&mut self, signature: Option<&Signature>, out: &mut BytesMut) {
        let Some(open) = self.open.take() else { return };
        let item = match open {
            Open::Message {
                text,
                refusal,
                annotations,
                logprobs,
            } => self.close_message(&text, refusal, (annotations, logprobs), out),
            Open::Reasoning { text } => self.close_reasoning(&text, signature, out),
            Open::Call {
                call_id,
                name,
                arguments,
                ..
            } => {
                let id = self.item_id("fc");
                let arguments = arguments_of(&arguments);
                let call = (&*call_id, &*name, arguments);
                if is_cut(arguments) {
                    self.cut = true;
                    call_item(&id, "incomplete", call)
                } else {
                    let event = json!({
                        "item_id": id, "output_index": self.output.len(), "name": name,
                        "arguments": arguments,
                    });
                    self.write("response.function_call_arguments.done", event, out);
                    call_item(&id, "completed", call)
                }
            }
        };
        let event = json!({"output_index": self.output.len(), "item": item});
        self.write("response.output_item.done", event, out);
        self.output.push(item);
    }

    fn close_message(
        &mut self,
        text: &str,
        refusal: bool,
        (annotations, logprobs): (Vec<Value>, Vec<Value>),
        out: &mut BytesMut,
    ) -> Value {
        let id = self.item_id("msg");
        let (kind, done, part) = if refusal {
            let done = json!({"refusal": text});
            ("response.refusal.done", done, refusal_part(text))
        } else {
            let done = json!({"text": text, "logprobs": logprobs});
            let mut part = text_part(text);
            part["annotations"] = annotations.into();
            part["logprobs"] = logprobs.into();
            ("response.output_text.done", done, part)
        };
        let done = self.of_part(&id, done);
        self.write(kind, done, out);
        let ended = self.of_part(&id, json!({"part": part}));
        self.write("response.content_part.done", ended, out);
        message_item(&id, "completed", vec![part])
    }

    fn close_reasoning(
        &mut self,
        text: &str,
        signature: Option<&Signature>,
        out: &mut BytesMut,
    ) -> Value {
        let id = self.item_id("rs");
        if !text.is_empty() {
            let done = self.of_summary(&id, json!({"text": text}));
            self.write("response.reasoning_summary_text.done", done, out);
            let part = json!({"part": {"type": "summary_text", "text": text}});
            let part = self.of_summary(&id, part);
            self.write("response.reasoning_summary_part.done", part, out);
        }
        shown_reasoning(&id, text, signature)
    }

    fn write(&mut self, kind: &str, mut event: Value, out: &mut BytesMut) {
        event["type"] = kind.into();
        event["sequence_number"] = self.sequence.into();
        self.sequence = self.sequence.saturating_add(1);
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(&one_line(&event));
        out.extend_from_slice(b"\n\n");
    }
}

/// The body of an error answer: the same in both of OpenAI's forms.
pub fn encode_error(failure: &Failure, request_id: &str) -> Vec<u8> {
    openai::encode_error(failure, request_id)
}
