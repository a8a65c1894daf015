//! Reading a journal record by record, from any record on, while it is being written.
//!
//! # Why two ways to read
//! [`verify`](super::verify) proves a journal and [`read`] uses it. This one computes no chain and holds one
//! line in memory, so that books and reports over millions of lines cost parsing and no more.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::segment::{first_seq, next_line, segments};
use crate::domain::{RequestId, Usage};

/// One record of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub seq: u64,
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
    pub record: ReadRecord,
}

impl Line {
    fn user(&mut self) -> Option<&mut String> {
        match &mut self.record {
            ReadRecord::Intent(intent) => intent.user.as_mut(),
            ReadRecord::Outcome(outcome) => outcome.user.as_mut(),
            ReadRecord::Attempt(_)
            | ReadRecord::Text(_)
            | ReadRecord::Event(_)
            | ReadRecord::Other => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ReadRecord {
    Intent(ReadIntent),
    Attempt(ReadAttempt),
    Outcome(ReadOutcome),
    Text(ReadText),
    Event(ReadEvent),
    /// Heads of segments, and kinds of other releases.
    Other,
}

// Who asked stands in intent and outcome field by field: serde's flatten would read every member twice.

/// The fields are those of [`IntentRecord`](super::IntentRecord).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReadIntent {
    pub at: u64,
    #[serde(deserialize_with = "request", serialize_with = "as_text")]
    pub request: RequestId,
    pub client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub asked: String,
    #[serde(default)]
    pub lane: String,
    #[serde(default)]
    pub stream: bool,
    #[serde(default)]
    pub input_estimate: u64,
    #[serde(default)]
    pub max_output: u64,
    #[serde(
        default,
        deserialize_with = "hex",
        serialize_with = "as_hex",
        skip_serializing_if = "Option::is_none"
    )]
    pub config: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_nano: Option<u64>,
    #[serde(
        default,
        deserialize_with = "hex",
        serialize_with = "as_hex",
        skip_serializing_if = "Option::is_none"
    )]
    pub price: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<String>,
}

/// The fields are those of [`AttemptRecord`](super::AttemptRecord).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReadAttempt {
    pub at: u64,
    #[serde(deserialize_with = "request", serialize_with = "as_text")]
    pub request: RequestId,
    pub number: u32,
    pub provider: String,
    pub model: String,
    #[serde(default)]
    pub key: String,
    pub outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<f64>,
    #[serde(default)]
    pub took_ms: f64,
    #[serde(
        default,
        deserialize_with = "usage",
        skip_serializing_if = "Option::is_none"
    )]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub won: bool,
    #[serde(default)]
    pub second_leg: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The fields are those of [`OutcomeRecord`](super::OutcomeRecord).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReadOutcome {
    pub at: u64,
    #[serde(deserialize_with = "request", serialize_with = "as_text")]
    pub request: RequestId,
    /// Empty in journals of the first release.
    #[serde(default)]
    pub client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub how: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    #[serde(
        default,
        deserialize_with = "usage",
        skip_serializing_if = "Option::is_none"
    )]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<f64>,
    #[serde(default)]
    pub took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub race: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano: Option<u64>,
    #[serde(default)]
    pub cost_estimated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadEvent {
    pub name: String,
    #[serde(default)]
    pub subject: String,
    #[serde(default)]
    pub detail: String,
}

/// A kept text, sealed; [`TextReader`](super::TextReader) opens it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadText {
    #[serde(deserialize_with = "request")]
    pub request: RequestId,
    pub part: String,
    pub owner: String,
    pub bytes: u64,
    #[serde(default)]
    pub cut: bool,
    #[serde(deserialize_with = "base64")]
    pub sealed: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("journal {path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("journal {path} line {line} is no record; run `switchyard audit verify`")]
    NoRecord { path: String, line: u64 },
}

/// Reads the journal in a folder from record `from_seq` on (1 is the first), segment by segment.
///
/// The last line may be half written: reading ends before it. A line in the middle that is no record is told
/// as an error, and reading goes on behind it. End users are given by name; those that were erased, and those
/// who came after reading began, by alias.
pub fn read(folder: &Path, from_seq: u64) -> Lines {
    let mut lines = Lines {
        from_seq,
        names: super::owners::names(folder),
        files: VecDeque::new(),
        open: None,
        failed: None,
        buffer: Vec::new(),
    };
    match segments(folder) {
        Ok(files) => {
            let mut files: VecDeque<_> = files
                .into_iter()
                .filter_map(|path| Some((first_seq(&path)?, path)))
                .collect();
            // Segments that end before the first wanted record are not opened.
            while files.get(1).is_some_and(|(first, _)| *first <= from_seq) {
                files.pop_front();
            }
            lines.files = files;
        }
        Err(source) => lines.failed = Some(failed(folder, source)),
    }
    lines
}

/// The first record of the segment that holds the first record of this time or a later one.
///
/// Only the head of each segment is read. A clock that was set back makes the answer earlier, never later.
pub(super) fn seq_at(folder: &Path, at_ms: u64) -> io::Result<u64> {
    let mut begins = 0;
    let mut line = Vec::new();
    for path in segments(folder)? {
        next_line(&mut BufReader::new(File::open(&path)?), &mut line)?;
        let Some(head) = head(&line) else { continue };
        if head.at_ms >= at_ms {
            break;
        }
        begins = head.seq;
    }
    Ok(begins)
}

fn failed(path: &Path, source: io::Error) -> ReadError {
    ReadError::Io {
        path: path.display().to_string(),
        source,
    }
}

/// The records of a journal in order; see [`read`].
#[derive(Debug)]
pub struct Lines {
    from_seq: u64,
    /// End users behind their aliases.
    names: HashMap<String, String>,
    files: VecDeque<(u64, PathBuf)>,
    open: Option<Segment>,
    failed: Option<ReadError>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    reader: BufReader<File>,
    path: PathBuf,
    line: u64,
    /// The next segment begins with this record: what stands here with its number or a later one was
    /// written to a failing disk, refused, and is about to be cut.
    until: u64,
}

impl Lines {
    /// The next segment there is; one that was removed meanwhile is passed over.
    fn next_segment(&mut self) -> Option<Result<Segment, ReadError>> {
        while let Some((_, path)) = self.files.pop_front() {
            match File::open(&path) {
                Ok(file) => {
                    return Some(Ok(Segment {
                        reader: BufReader::with_capacity(1 << 18, file),
                        path,
                        line: 0,
                        until: self.files.front().map_or(u64::MAX, |(first, _)| *first),
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Some(Err(failed(&path, error))),
            }
        }
        None
    }

    /// One line of the open segment; `None` at its end.
    fn next_line(&mut self) -> Option<Result<Line, ReadError>> {
        let last = self.files.is_empty();
        let segment = self.open.as_mut()?;
        loop {
            let whole = match next_line(&mut segment.reader, &mut self.buffer) {
                Ok(whole) => whole?,
                Err(error) => return Some(Err(failed(&segment.path, error))),
            };
            segment.line += 1;
            let mut at_end = || segment.reader.fill_buf().is_ok_and(<[u8]>::is_empty);
            if !whole && last && at_end() {
                return None;
            }
            let Some(head) = head(&self.buffer).filter(|_| whole) else {
                return Some(Err(segment.no_record()));
            };
            if head.seq >= segment.until {
                return None;
            }
            if head.seq < self.from_seq {
                continue;
            }
            let mut read = line(&head, &self.buffer);
            if let Some(user) = read.as_mut().and_then(Line::user)
                && let Some(name) = self.names.get(user.as_str())
            {
                user.clone_from(name);
            }
            return Some(read.ok_or_else(|| segment.no_record()));
        }
    }
}

impl Segment {
    fn no_record(&self) -> ReadError {
        ReadError::NoRecord {
            path: self.path.display().to_string(),
            line: self.line,
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        loop {
            if self.open.is_none() {
                match self.next_segment()? {
                    Ok(segment) => self.open = Some(segment),
                    Err(error) => return Some(Err(error)),
                }
            }
            match self.next_line() {
                Some(Err(error @ ReadError::Io { .. })) => {
                    // Its rest cannot be read either.
                    self.open = None;
                    return Some(Err(error));
                }
                Some(line) => return Some(line),
                None => self.open = None,
            }
        }
    }
}

fn line(head: &Head<'_>, text: &[u8]) -> Option<Line> {
    let record = match head.kind {
        "intent" => ReadRecord::Intent(parse(text)?),
        "attempt" => ReadRecord::Attempt(parse(text)?),
        "outcome" => ReadRecord::Outcome(parse(text)?),
        "text" => ReadRecord::Text(parse(text)?),
        "event" => ReadRecord::Event(parse(text)?),
        _ => ReadRecord::Other,
    };
    Some(Line {
        seq: head.seq,
        at_ms: head.at_ms,
        record,
    })
}

pub(super) fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Option<T> {
    serde_json::from_slice(line).ok()
}

/// How every line begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) kind: &'a str,
    /// Empty for records that are not about a request.
    pub(super) request: &'a str,
}

/// Reads how a line begins. The writer puts these members first, in this order, and none holds an escape.
pub(super) fn head(line: &[u8]) -> Option<Head<'_>> {
    let (seq, rest) = digits(line.strip_prefix(b"{\"seq\":")?)?;
    let (at_ms, rest) = digits(rest.strip_prefix(b",\"at\":")?)?;
    let (kind, rest) = word(rest.strip_prefix(b",\"kind\":\"")?)?;
    let request = rest
        .strip_prefix(b",\"request\":\"")
        .and_then(word)
        .map_or("", |(request, _)| request);
    Some(Head {
        seq,
        at_ms,
        kind,
        request,
    })
}

fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = text.split_at_checked(end)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

fn word(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(b'"', text)?;
    let (word, rest) = text.split_at_checked(end)?;
    Some((std::str::from_utf8(word).ok()?, rest.get(1..)?))
}

fn request<'de, D: Deserializer<'de>>(from: D) -> Result<RequestId, D::Error> {
    let text = <&str>::deserialize(from)?;
    text.strip_prefix("sy-")
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .map(RequestId::from_draw)
        .ok_or_else(|| serde::de::Error::custom("no request id"))
}

fn base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    STANDARD
        .decode(<&str>::deserialize(from)?)
        .map_err(serde::de::Error::custom)
}

fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = <&str>::deserialize(from)?;
    Ok(u64::from_str_radix(text, 16).ok())
}

#[expect(clippy::ref_option, reason = "serde hands a reference to the field")]
fn as_hex<S: Serializer>(version: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{:016x}", version.unwrap_or_default()))
}

fn as_text<S: Serializer>(request: &RequestId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(request.text().as_str())
}

/// Counts that are zero are not written.
fn usage<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Usage>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Written {
        input: u64,
        output: u64,
        cached_input: u64,
        cache_write: u64,
        cache_write_hour: u64,
        reasoning: u64,
        audio_input: u64,
        audio_output: u64,
    }
    use crate::domain::Tokens;
    let written = Written::deserialize(from)?;
    Ok(Some(Usage {
        input: Tokens(written.input),
        output: Tokens(written.output),
        cached_input: Tokens(written.cached_input),
        cache_write: Tokens(written.cache_write),
        cache_write_hour: Tokens(written.cache_write_hour),
        reasoning: Tokens(written.reasoning),
        audio_input: Tokens(written.audio_input),
        audio_output: Tokens(written.audio_output),
    }))
}
