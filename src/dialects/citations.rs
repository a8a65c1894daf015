//! The sources of an answer, as each provider tells them.

use serde_json::Value;

use crate::domain::chat::{ChatAnswer, ChatEvent, Citation, Part};

fn text(value: &Value, pointer: &str) -> Option<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// An address a client can follow.
fn address(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).filter(|url| url.starts_with("https://") || url.starts_with("http://"))
}

fn span(value: &Value, start: &str, end: &str) -> Option<(u64, u64)> {
    let at = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
    Some((at(start)?, at(end)?)).filter(|(start, end)| start <= end)
}

/// An annotation of OpenAI's: in chat its members stand one level down, in responses they do not.
pub(super) fn annotation(value: &Value) -> Citation {
    let inner = value.get("url_citation").unwrap_or(value);
    Citation {
        url: address(inner, "/url"),
        title: text(inner, "/title").or_else(|| text(inner, "/filename")),
        quote: text(inner, "/content"),
        span: span(inner, "/start_index", "/end_index"),
    }
}

/// Sources that stand beside the answer: addresses, or what a search found.
pub(super) fn beside(answer: &Value) -> Vec<Citation> {
    let list = |name: &str| {
        answer
            .get(name)
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty())
    };
    if let Some(found) = list("search_results") {
        let one = |result| Citation {
            url: address(result, "/url"),
            title: text(result, "/title"),
            quote: text(result, "/snippet"),
            span: None,
        };
        return found.iter().map(one).collect();
    }
    let one = |value| Citation {
        url: address(value, ""),
        ..Citation::default()
    };
    list("citations").into_iter().flatten().map(one).collect()
}

/// A location of Anthropic's, for the piece of text it is told with.
pub(super) fn location(value: &Value, span: Option<(u64, u64)>) -> Citation {
    Citation {
        url: address(value, "/url").or_else(|| address(value, "/source")),
        title: text(value, "/title").or_else(|| text(value, "/document_title")),
        quote: text(value, "/cited_text"),
        span,
    }
}

/// What Google's answer is grounded in; places are told in bytes of its text.
pub(super) fn grounding(candidate: &Value, said: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    let chunks = candidate.pointer("/groundingMetadata/groundingChunks");
    let chunks: Vec<&Value> = chunks
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let supports = candidate.pointer("/groundingMetadata/groundingSupports");
    let mut supported = vec![false; chunks.len()];
    for support in supports.and_then(Value::as_array).into_iter().flatten() {
        let segment = support.get("segment").unwrap_or(&Value::Null);
        let end = segment.get("endIndex").and_then(Value::as_u64);
        let start = segment
            .get("startIndex")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let span = end.and_then(|end| Some((characters(said, start)?, characters(said, end)?)));
        let places = support
            .get("groundingChunkIndices")
            .and_then(Value::as_array);
        for place in places.into_iter().flatten().filter_map(Value::as_u64) {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            if let (Some(chunk), Some(supported)) = (chunks.get(place), supported.get_mut(place)) {
                *supported = true;
                found.push(chunk_citation(chunk, span));
            }
        }
    }
    let bare = chunks
        .iter()
        .zip(supported)
        .filter(|(_, supported)| !supported);
    found.extend(bare.map(|(chunk, _)| chunk_citation(chunk, None)));
    let sources = candidate.get("citationMetadata").and_then(|cited| {
        cited
            .get("citationSources")
            .or_else(|| cited.get("citations"))?
            .as_array()
    });
    for source in sources.into_iter().flatten() {
        let bytes = span(source, "/startIndex", "/endIndex");
        found.push(Citation {
            url: address(source, "/uri"),
            title: text(source, "/title"),
            quote: None,
            span: bytes
                .and_then(|(start, end)| Some((characters(said, start)?, characters(said, end)?))),
        });
    }
    found
}

fn chunk_citation(chunk: &Value, span: Option<(u64, u64)>) -> Citation {
    let either = |name: &str| {
        ["/web", "/retrievedContext", "/maps"]
            .iter()
            .find_map(|kind| text(chunk, &format!("{kind}/{name}")))
    };
    Citation {
        url: either("uri").filter(|url| url.starts_with("http")),
        title: either("title"),
        quote: either("text"),
        span,
    }
}

fn characters(said: &str, bytes: u64) -> Option<u64> {
    let bytes = usize::try_from(bytes).ok()?;
    Some(said.get(..bytes.min(said.len()))?.chars().count() as u64)
}

/// Cohere's: a piece of the text, and the documents or results of tools behind it.
pub(super) fn sources(value: &Value) -> Vec<Citation> {
    let span = span(value, "/start", "/end");
    let list = value.get("sources").and_then(Value::as_array);
    let one = |source| Citation {
        url: address(source, "/document/url").or_else(|| address(source, "/tool_output/url")),
        title: text(source, "/document/title").or_else(|| text(source, "/id")),
        quote: text(source, "/document/snippet").or_else(|| text(source, "/document/text")),
        span,
    };
    list.into_iter().flatten().map(one).collect()
}

/// Bedrock's, for the piece of text it is told with.
pub(super) fn source(value: &Value, span: Option<(u64, u64)>) -> Citation {
    Citation {
        url: address(value, "/location/web/url").or_else(|| address(value, "/source")),
        title: text(value, "/title"),
        quote: text(value, "/sourceContent/0/text"),
        span,
    }
}

/// How much text was said, so that a source's place in it can be told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    characters: u64,
    /// Where the piece under way began.
    piece: u64,
}

impl Said {
    pub(super) fn begins(&mut self) {
        self.piece = self.characters;
    }

    pub(super) fn more(&mut self, text: &str) {
        self.characters += text.chars().count() as u64;
    }

    pub(super) fn piece(&self) -> Option<(u64, u64)> {
        (self.characters > self.piece).then_some((self.piece, self.characters))
    }
}

pub(super) fn events(found: Vec<Citation>) -> impl Iterator<Item = ChatEvent> {
    found
        .into_iter()
        .map(|citation| ChatEvent::Citation { citation })
}

/// Whether a source has no place in any client's form: it is told by nothing but its provider's own numbers.
pub(super) fn is_lost(citation: &Citation) -> bool {
    citation.url.is_none()
}

/// What of an answer its client does not get, by name.
pub fn lost_of(answer: &ChatAnswer) -> Vec<&'static str> {
    let text = |part: &Part| matches!(part, Part::Text { .. });
    let lost = answer.citations.iter().any(is_lost);
    let nowhere = !answer.citations.is_empty() && !answer.parts.iter().any(text);
    let mut names = Vec::new();
    if lost || nowhere {
        names.push("citations");
    }
    if answer.traces {
        names.push("server tool calls");
    }
    names
}
