//! Healthy answers to what is asked of models beside conversations and embeddings.

use serde_json::{Value, json};

use super::super::asked::Asked;
use super::super::draft::{Body, Document, Draft, Event, Kind};
use super::super::form;
use super::super::log::Reported;
use super::super::plan::Plan;
use super::Dialect;
use super::embeddings::base64;

/// A picture of one dot.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Completion,
    Moderation,
    Rerank,
    Image,
    Speech,
    Transcript,
    Count,
}

impl Work {
    fn at(dialect: Dialect, path: &str) -> Option<Self> {
        let ends = |end: &str| path.ends_with(end);
        match dialect {
            Dialect::OpenAi if ends("/v1/completions") => Some(Self::Completion),
            Dialect::OpenAi if ends("/moderations") => Some(Self::Moderation),
            Dialect::OpenAi | Dialect::Cohere if ends("/rerank") => Some(Self::Rerank),
            Dialect::OpenAi if ends("/audio/speech") => Some(Self::Speech),
            Dialect::OpenAi if ends("/audio/transcriptions") || ends("/audio/translations") => {
                Some(Self::Transcript)
            }
            Dialect::OpenAi
                if ["generations", "edits", "variations"]
                    .iter()
                    .any(|end| path.ends_with(&format!("/images/{end}"))) =>
            {
                Some(Self::Image)
            }
            Dialect::Anthropic if ends("/messages/count_tokens") => Some(Self::Count),
            Dialect::Gemini if ends(":countTokens") => Some(Self::Count),
            Dialect::OpenAi
            | Dialect::Anthropic
            | Dialect::Responses
            | Dialect::Gemini
            | Dialect::Bedrock
            | Dialect::Cohere
            | Dialect::Ollama => None,
        }
    }
}

pub(super) fn is_path(dialect: Dialect, path: &str) -> bool {
    Work::at(dialect, path).is_some()
}

/// What a real provider refuses in such a request.
pub(super) fn complaint(asked: &Asked) -> Option<String> {
    let work = Work::at(asked.dialect, asked.bare_path())?;
    if asked.model().is_none() {
        return Some("you must provide a model parameter".to_owned());
    }
    let wanted = match work {
        Work::Transcript => {
            return form::file(asked, "file")
                .is_none()
                .then(|| "no file".to_owned());
        }
        Work::Count if asked.dialect == Dialect::Anthropic => {
            // It takes nothing that is about the answer.
            let refused = ["max_tokens", "temperature", "stream"];
            return refused
                .into_iter()
                .find(|name| asked.json.get(name).is_some())
                .map(|name| format!("{name}: Extra inputs are not permitted"));
        }
        Work::Count | Work::Image => return None,
        Work::Completion => "prompt",
        Work::Moderation | Work::Speech => "input",
        Work::Rerank => "documents",
    };
    asked
        .json
        .get(wanted)
        .is_none()
        .then(|| format!("missing {wanted}"))
}

/// The answer, and what it reports.
pub(super) fn draft(asked: &Asked, plan: &Plan) -> Option<(Draft, Reported)> {
    let work = Work::at(asked.dialect, asked.bare_path())?;
    let usage = plan.usage;
    let wait = plan.waits.head.saturating_add(plan.waits.first);
    let (kind, body) = match work {
        Work::Speech => speech(asked, plan),
        Work::Transcript => transcript(asked, plan),
        Work::Completion | Work::Moderation | Work::Rerank | Work::Image | Work::Count => {
            let answer = Document::Json(answer(work, asked, plan));
            ("application/json", Body::Document(answer))
        }
    };
    let fields = vec![("content-type".to_owned(), kind.to_owned())];
    Some((Draft::healthy(fields, body, wait), usage))
}

fn answer(work: Work, asked: &Asked, plan: &Plan) -> Value {
    let (input, output) = (plan.usage.input, plan.usage.output);
    let total = input.saturating_add(output);
    match work {
        Work::Completion => {
            json!({"id": plan.id, "object": "text_completion", "created": plan.created, "model": plan.model,
            "choices": [{"index": 0, "text": plan.text(), "finish_reason": "stop", "logprobs": null}],
            "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": total}})
        }
        Work::Moderation => {
            json!({"id": plan.id, "model": plan.model, "results": [{"flagged": false, "categories": {}, "category_scores": {}}]})
        }
        Work::Rerank => {
            let documents = asked.json.get("documents").and_then(Value::as_array);
            let count = documents.map_or(0, Vec::len);
            let most = asked.json.get("top_n").and_then(Value::as_u64);
            let most = most.map_or(count, |most| usize::try_from(most).unwrap_or(count));
            let results: Vec<Value> = (0..count)
                .rev()
                .take(most)
                .map(|index| json!({"index": index, "relevance_score": 0.5}))
                .collect();
            json!({"id": plan.id, "results": results, "meta": {"billed_units": {"search_units": 1}}})
        }
        Work::Image => json!({"created": plan.created, "data": [{"b64_json": base64(PICTURE)}],
            "usage": {"input_tokens": input, "output_tokens": output, "total_tokens": total}}),
        Work::Count if asked.dialect == Dialect::Gemini => json!({"totalTokens": input}),
        Work::Count => json!({"input_tokens": input}),
        Work::Speech | Work::Transcript => Value::Null,
    }
}

/// The words as if they were sound, a piece each.
fn speech(asked: &Asked, plan: &Plan) -> (&'static str, Body) {
    let waits = |place: usize| plan.waits.before(place);
    let pieces = plan.pieces.iter().enumerate();
    if asked.json.get("stream_format").and_then(Value::as_str) != Some("sse") {
        let sounds = pieces.map(|(place, piece)| {
            Event::raw(Kind::Content, piece.clone().into_bytes()).after(waits(place))
        });
        return ("audio/mpeg", Body::Events(sounds.collect()));
    }
    let mut events: Vec<Event> = pieces
        .map(|(place, piece)| {
            let delta = json!({"type": "speech.audio.delta", "audio": base64(piece.as_bytes())});
            Event::json(Kind::Content, None, delta).after(waits(place))
        })
        .collect();
    let done = json!({"type": "speech.audio.done", "usage": counted(plan)});
    events.push(Event::json(Kind::Finish, None, done));
    ("text/event-stream", Body::Events(events))
}

fn counted(plan: &Plan) -> Value {
    let (input, output) = (plan.usage.input, plan.usage.output);
    json!({"type": "tokens", "input_tokens": input, "output_tokens": output, "total_tokens": input.saturating_add(output)})
}

fn transcript(asked: &Asked, plan: &Plan) -> (&'static str, Body) {
    let text = plan.text();
    if form::text(asked, "stream").is_some_and(|stream| stream.eq_ignore_ascii_case("true")) {
        let mut events: Vec<Event> = plan
            .pieces
            .iter()
            .enumerate()
            .map(|(place, piece)| {
                let delta = json!({"type": "transcript.text.delta", "delta": piece});
                Event::json(Kind::Content, None, delta).after(plan.waits.before(place))
            })
            .collect();
        let done = json!({"type": "transcript.text.done", "text": text, "usage": counted(plan)});
        events.push(Event::json(Kind::Finish, None, done));
        return ("text/event-stream", Body::Events(events));
    }
    let written = ["text", "srt", "vtt"];
    if form::text(asked, "response_format").is_some_and(|form| written.contains(&form)) {
        let document = Document::Raw((text + "\n").into());
        return ("text/plain; charset=utf-8", Body::Document(document));
    }
    let document = Document::Json(json!({"text": text, "usage": counted(plan)}));
    ("application/json", Body::Document(document))
}
