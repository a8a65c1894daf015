//! Where text lies in one event of a stream, and which text it goes on with.

use std::ops::Range;

use memchr::memmem;
use smallvec::SmallVec;

use super::walk::{Met, Path, Unreadable, name, walk};
use super::{TextKind, TextSpan, is_free, kind_of};
use crate::domain::ClientDialect;

/// The text that a piece belongs to: its choice or block by number, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    pub numbers: SmallVec<[u32; 3]>,
    pub name: Box<str>,
}

/// Which texts go no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    None,
    All,
    /// Those of the choices with these numbers.
    Of(SmallVec<[u32; 2]>),
}

/// What one event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTexts {
    /// Pieces of texts that may go on in later events.
    pub pieces: Vec<(Channel, TextSpan)>,
    /// Texts that stand in this event as a whole.
    pub wholes: Vec<TextSpan>,
    pub finish: Finish,
}

const NUMBERS: &[&[u8]] = &[
    b"index",
    b"output_index",
    b"content_index",
    b"summary_index",
];

/// A text that was met, with the objects it stands in.
struct Seen {
    span: TextSpan,
    name: Box<str>,
    inside: SmallVec<[usize; 8]>,
    is_piece: bool,
}

/// What a walk over an event leaves behind.
#[derive(Default)]
struct Reading {
    texts: Vec<Seen>,
    /// The object, which of the names, the number.
    numbers: SmallVec<[(usize, usize, u32); 4]>,
    /// Objects that say why they end.
    finished: SmallVec<[usize; 2]>,
    /// What the event calls itself.
    sort: Range<usize>,
}

/// Reads one event of a client's dialect.
pub fn event_texts(dialect: ClientDialect, data: &[u8]) -> Result<EventTexts, Unreadable> {
    let mut reading = Reading::default();
    walk(data, |path, met| reading.meet(dialect, data, (path, met)))?;
    // In the order of their names, whatever the order in the event.
    reading.numbers.sort_unstable();
    let sort = data.get(reading.sort.clone()).unwrap_or_default();
    let in_arguments =
        dialect == ClientDialect::Responses && memmem::find(sort, b"arguments").is_some();
    let mut texts = EventTexts {
        pieces: Vec::new(),
        wholes: Vec::new(),
        finish: reading.finish(dialect, sort),
    };
    for mut text in std::mem::take(&mut reading.texts) {
        if !text.is_piece {
            texts.wholes.push(text.span);
            continue;
        }
        if in_arguments {
            text.span.kind = TextKind::Json;
        }
        let numbers = text
            .inside
            .iter()
            .flat_map(|object| reading.numbers_of(*object));
        let channel = Channel {
            numbers: numbers.collect(),
            name: text.name,
        };
        texts.pieces.push((channel, text.span));
    }
    Ok(texts)
}

impl Reading {
    fn meet(&mut self, dialect: ClientDialect, data: &[u8], (path, met): (&Path, Met)) {
        match met {
            Met::Key(range) => {
                if is_free(data, path) {
                    self.texts.push(of(data, path, range, TextKind::Plain));
                }
            }
            Met::Scalar(range) => {
                let Some(frame) = path.last() else {
                    return;
                };
                let value = data
                    .get(range)
                    .and_then(|text| std::str::from_utf8(text).ok());
                let number = value.and_then(|text| text.parse().ok());
                let rank = NUMBERS.iter().position(|known| *known == name(data, frame));
                if let (Some(number), Some(rank)) = (number, rank) {
                    self.numbers.push((frame.start, rank, number));
                }
            }
            Met::Text(range) => self.meet_text(dialect, data, (path, range)),
        }
    }

    fn meet_text(
        &mut self,
        dialect: ClientDialect,
        data: &[u8],
        (path, range): (&Path, Range<usize>),
    ) {
        match path.last().map(|frame| (frame.start, name(data, frame))) {
            Some((_, b"type")) if path.len() == 1 => self.sort = range.clone(),
            Some((start, b"finish_reason" | b"finishReason")) => self.finished.push(start),
            _ => {}
        }
        let piece = piece_kind(dialect, data, path);
        let kind = piece.or_else(|| kind_of(data, path, &range));
        if let Some(kind) = kind.filter(|_| piece.is_some() || !range.is_empty()) {
            let mut text = of(data, path, range, kind);
            text.is_piece = piece.is_some();
            self.texts.push(text);
        }
    }

    fn numbers_of(&self, object: usize) -> impl Iterator<Item = u32> + '_ {
        let of_it = self
            .numbers
            .iter()
            .filter(move |(start, _, _)| *start == object);
        of_it.map(|(_, _, number)| *number)
    }

    fn finish(&self, dialect: ClientDialect, sort: &[u8]) -> Finish {
        let goes_on = match dialect {
            // Transcripts say so by their type.
            ClientDialect::Openai if sort.ends_with(b".done") => return Finish::All,
            ClientDialect::Openai | ClientDialect::Gemini => self.finished.is_empty(),
            ClientDialect::Anthropic => matches!(sort, b"content_block_delta" | b"ping"),
            ClientDialect::Responses => sort.ends_with(b".delta"),
        };
        if goes_on {
            return Finish::None;
        }
        if dialect != ClientDialect::Openai {
            return Finish::All;
        }
        let choices = self.finished.iter();
        Finish::Of(
            choices
                .map(|choice| self.numbers_of(*choice).next().unwrap_or(0))
                .collect(),
        )
    }
}

fn of(data: &[u8], path: &Path, range: Range<usize>, kind: TextKind) -> Seen {
    let own = path
        .last()
        .map(|frame| name(data, frame))
        .unwrap_or_default();
    Seen {
        span: TextSpan { range, kind },
        name: String::from_utf8_lossy(own).into(),
        inside: path.iter().map(|frame| frame.start).collect(),
        is_piece: false,
    }
}

/// Whether the text in this place goes on in the next event, and what it is.
fn piece_kind(dialect: ClientDialect, data: &[u8], path: &Path) -> Option<TextKind> {
    let top = name(data, path.first()?);
    let own = name(data, path.last()?);
    match (dialect, top, own) {
        (ClientDialect::Openai, b"choices", b"arguments")
        | (ClientDialect::Anthropic, b"delta", b"partial_json") => Some(TextKind::Json),
        (
            ClientDialect::Openai,
            b"choices",
            b"content" | b"text" | b"reasoning_content" | b"reasoning" | b"refusal" | b"thinking",
        )
        | (ClientDialect::Anthropic, b"delta" | b"content_block", b"text" | b"thinking")
        // Responses, and transcripts of OpenAI's.
        | (ClientDialect::Responses | ClientDialect::Openai, b"delta", b"delta")
        | (ClientDialect::Gemini, b"candidates", b"text") => Some(TextKind::Plain),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dialect: ClientDialect, data: &str) -> (Vec<(String, Vec<u32>, TextKind)>, Finish) {
        let texts = event_texts(dialect, data.as_bytes()).unwrap();
        let pieces = texts.pieces.into_iter().map(|(channel, span)| {
            (
                data[span.range].to_owned(),
                channel.numbers.to_vec(),
                span.kind,
            )
        });
        (pieces.collect(), texts.finish)
    }

    #[test]
    fn pieces_know_their_choice_their_call_and_their_block_whatever_the_order_of_keys() {
        use ClientDialect as D;
        let (text, json) = (TextKind::Plain, TextKind::Json);
        for (dialect, data, pieces, finish) in [
            (
                D::Openai,
                r#"{"id":"x","choices":[{"delta":{"content":"a"},"index":1,"finish_reason":null}]}"#,
                vec![("a".to_owned(), vec![1], text)],
                Finish::None,
            ),
            (
                D::Openai,
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"{"},"index":2}]},"finish_reason":"stop"}]}"#,
                vec![("{".to_owned(), vec![0, 2], json)],
                Finish::Of([0].into_iter().collect()),
            ),
            (
                D::Anthropic,
                r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
                vec![("{".to_owned(), vec![3], json)],
                Finish::None,
            ),
            (
                D::Anthropic,
                r#"{"type":"content_block_stop","index":3}"#,
                vec![],
                Finish::All,
            ),
            (
                D::Responses,
                r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"a","sequence_number":9}"#,
                vec![("a".to_owned(), vec![1, 0], text)],
                Finish::None,
            ),
            (
                D::Responses,
                r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"a"}"#,
                vec![("a".to_owned(), vec![1], json)],
                Finish::None,
            ),
            (
                D::Openai,
                r#"{"type":"transcript.text.delta","delta":"a"}"#,
                vec![("a".to_owned(), vec![], text)],
                Finish::None,
            ),
            (
                D::Openai,
                r#"{"type":"transcript.text.done","text":"all of it"}"#,
                vec![],
                Finish::All,
            ),
            (
                D::Gemini,
                r#"{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"finishReason":"STOP"}]}"#,
                vec![("a".to_owned(), vec![], text)],
                Finish::All,
            ),
        ] {
            assert_eq!(read(dialect, data), (pieces, finish), "{data}");
        }
    }

    #[test]
    fn whole_texts_at_an_end_are_told_apart_from_pieces() {
        let data = r#"{"type":"response.output_text.done","output_index":0,"text":"all of it"}"#;
        let texts = event_texts(ClientDialect::Responses, data.as_bytes()).unwrap();
        assert_eq!((texts.pieces.len(), texts.wholes.len()), (0, 1));
        assert_eq!(texts.finish, Finish::All);
    }
}
