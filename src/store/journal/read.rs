//! Reading a journal record by record, from any record on, while it is being written.
//!
//! # Why two ways to read
//! [`verify`](super::verify) proves a journal and [`read`] uses it. This one computes no chain and holds one
//! line in memory, so that books and reports over millions of lines cost parsing and no more.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::costs::Cost;
use super::segment::{first_seq, next_line, segments};
use super::told::{ReadAttempt, ReadEvent, ReadIntent, ReadOutcome, ReadText};

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

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Intent,
    Attempt,
    Outcome,
    Text,
    Event,
    Other,
}

impl Kind {
    fn of(word: &str) -> Self {
        match word {
            "intent" => Self::Intent,
            "attempt" => Self::Attempt,
            "outcome" => Self::Outcome,
            "text" => Self::Text,
            "event" => Self::Event,
            _ => Self::Other,
        }
    }
}

/// What one record tells of costs.
#[derive(Clone, Debug, PartialEq)]
pub struct CostLine<'a> {
    pub seq: u64,
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
    pub cost: Cost<'a>,
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
    let names = super::owners::names(folder);
    Lines::from(folder, from_seq, &[], names)
}

/// What tells of costs.
const COSTS: &[Kind] = &[Kind::Attempt, Kind::Outcome, Kind::Event];

/// As [`read`], but attempts, outcomes and events alone, with end users under their aliases: the other records are passed over
/// unread, and what is added up elsewhere forgets a name with the journal.
pub fn costs(folder: &Path, from_seq: u64) -> Lines {
    Lines::from(folder, from_seq, COSTS, HashMap::new())
}

/// As [`costs`], from the segment on that holds the first record of this time.
pub fn costs_since(folder: &Path, at_ms: u64) -> Lines {
    // A folder that cannot be read is told by the reader.
    costs(folder, seq_at(folder, at_ms).unwrap_or_default())
}

/// As [`costs`], from behind a bookmark: what was read before is not read again. `None` where the marked record
/// does not stand there any more.
pub fn costs_behind(folder: &Path, mark: &Bookmark) -> Option<Lines> {
    let mut lines = Lines::from(folder, mark.seq, COSTS, HashMap::new());
    let (_, path) = lines.files.pop_front()?;
    if *path != *mark.path {
        return None;
    }
    let mut segment = lines.segment(&path).ok()?;
    segment.reader.seek(SeekFrom::Start(mark.at)).ok()?;
    let whole = segment.next_line(&mut lines.buffer).ok()??;
    let head = head(&lines.buffer).filter(|_| whole)?;
    if (head.seq, head.at_ms) != (mark.seq, mark.at_ms) {
        return None;
    }
    segment.line = mark.line;
    segment.at = mark.at + lines.buffer.len() as u64 + 1;
    lines.from_seq = mark.seq + 1;
    lines.open = Some(segment);
    Some(lines)
}

/// Where a record stands, to go on reading behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    path: Arc<Path>,
    /// The byte at which its line begins.
    at: u64,
    /// The number of its line.
    line: u64,
    seq: u64,
    at_ms: u64,
}

impl Bookmark {
    /// Its number, and when it was written.
    pub fn record(&self) -> (u64, u64) {
        (self.seq, self.at_ms)
    }
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
    /// The last record that is wanted.
    last_seq: u64,
    /// The kinds that are wanted; empty: all.
    only: &'static [Kind],
    /// End users behind their aliases.
    names: HashMap<String, String>,
    files: VecDeque<(u64, PathBuf)>,
    open: Option<Segment>,
    failed: Option<ReadError>,
    buffer: Vec<u8>,
    /// The record of which a [`Cost`] is told that is not read from the line itself.
    spare: Option<ReadRecord>,
    /// Where the record that was given last stands.
    mark: Option<Bookmark>,
}

/// The line that is in the buffer.
#[derive(Clone, Copy, Debug)]
struct Place {
    seq: u64,
    at_ms: u64,
    kind: Kind,
    /// The byte at which it begins.
    begins: u64,
}

#[derive(Debug)]
struct Segment {
    reader: BufReader<File>,
    path: Arc<Path>,
    /// The byte at which the next line begins.
    at: u64,
    /// The number of the line that was read last.
    line: u64,
    /// The next segment begins with this record: what stands here with its number or a later one was
    /// written to a failing disk, refused, and is about to be cut.
    until: u64,
}

impl Lines {
    fn from(
        folder: &Path,
        from_seq: u64,
        only: &'static [Kind],
        names: HashMap<String, String>,
    ) -> Self {
        let mut lines = Self {
            from_seq,
            last_seq: u64::MAX,
            only,
            names,
            files: VecDeque::new(),
            open: None,
            failed: None,
            buffer: Vec::new(),
            spare: None,
            mark: None,
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

    /// As if the journal ended with this record.
    #[must_use]
    pub fn up_to(self, last_seq: u64) -> Self {
        Self { last_seq, ..self }
    }

    /// Where the record that was given last stands; `None` before the first.
    pub fn bookmark(&self) -> Option<&Bookmark> {
        self.mark.as_ref()
    }

    fn segment(&self, path: &Path) -> io::Result<Segment> {
        Ok(Segment {
            reader: BufReader::with_capacity(1 << 18, File::open(path)?),
            path: path.into(),
            at: 0,
            line: 0,
            until: self.files.front().map_or(u64::MAX, |(first, _)| *first),
        })
    }

    /// The next segment there is; one that was removed meanwhile is passed over.
    fn next_segment(&mut self) -> Option<Result<Segment, ReadError>> {
        while let Some((_, path)) = self.files.pop_front() {
            match self.segment(&path) {
                Ok(segment) => return Some(Ok(segment)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Some(Err(failed(&path, error))),
            }
        }
        None
    }

    /// Goes to the next wanted line of the open segment, which is in the buffer then; `None` at the segment's end.
    fn step(&mut self) -> Option<Result<Place, ReadError>> {
        let last = self.files.is_empty();
        let segment = self.open.as_mut()?;
        loop {
            let begins = segment.at;
            let whole = match segment.next_line(&mut self.buffer) {
                Ok(whole) => whole?,
                Err(error) => return Some(Err(failed(&segment.path, error))),
            };
            let mut at_end = || segment.reader.fill_buf().is_ok_and(<[u8]>::is_empty);
            if !whole && last && at_end() {
                return None;
            }
            let Some(head) = head(&self.buffer).filter(|_| whole) else {
                return Some(Err(segment.no_record()));
            };
            if head.seq > self.last_seq {
                self.files.clear();
                return None;
            }
            if head.seq >= segment.until {
                return None;
            }
            let kind = Kind::of(head.kind);
            if head.seq < self.from_seq || !(self.only.is_empty() || self.only.contains(&kind)) {
                continue;
            }
            return Some(Ok(Place {
                seq: head.seq,
                at_ms: head.at_ms,
                kind,
                begins,
            }));
        }
    }

    /// Goes to the next wanted line there is, which is in the buffer then.
    fn go_on(&mut self) -> Option<Result<Place, ReadError>> {
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
            match self.step() {
                Some(Err(error @ ReadError::Io { .. })) => {
                    // Its rest cannot be read either.
                    self.open = None;
                    return Some(Err(error));
                }
                Some(place) => return Some(place),
                None => self.open = None,
            }
        }
    }

    /// What the next record tells of costs.
    pub fn next_cost(&mut self) -> Option<Result<CostLine<'_>, ReadError>> {
        let place = match self.go_on()? {
            Ok(place) => place,
            Err(error) => return Some(Err(error)),
        };
        let cost = match Cost::written(place.kind, &self.buffer) {
            Some(cost) => cost,
            None => match record(place.kind, &self.buffer) {
                Some(record) => Cost::from(&*self.spare.insert(record)),
                None => return self.open.as_ref().map(|segment| Err(segment.no_record())),
            },
        };
        set_mark(&mut self.mark, self.open.as_ref(), &place);
        Some(Ok(CostLine {
            seq: place.seq,
            at_ms: place.at_ms,
            cost,
        }))
    }
}

fn set_mark(mark: &mut Option<Bookmark>, segment: Option<&Segment>, place: &Place) {
    if let Some(segment) = segment {
        *mark = Some(Bookmark {
            path: Arc::clone(&segment.path),
            at: place.begins,
            line: segment.line,
            seq: place.seq,
            at_ms: place.at_ms,
        });
    }
}

impl Segment {
    /// As [`segment::next_line`](next_line), counting.
    fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
        let whole = next_line(&mut self.reader, line)?;
        self.line += 1;
        self.at += line.len() as u64 + u64::from(whole == Some(true));
        Ok(whole)
    }

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
        let place = match self.go_on()? {
            Ok(place) => place,
            Err(error) => return Some(Err(error)),
        };
        let Some(record) = record(place.kind, &self.buffer) else {
            return self.open.as_ref().map(|segment| Err(segment.no_record()));
        };
        let mut line = Line {
            seq: place.seq,
            at_ms: place.at_ms,
            record,
        };
        if let Some(user) = line.user()
            && let Some(name) = self.names.get(user.as_str())
        {
            user.clone_from(name);
        }
        set_mark(&mut self.mark, self.open.as_ref(), &place);
        Some(Ok(line))
    }
}

pub(super) fn record(kind: Kind, text: &[u8]) -> Option<ReadRecord> {
    Some(match kind {
        Kind::Intent => ReadRecord::Intent(parse(text)?),
        Kind::Attempt => ReadRecord::Attempt(parse(text)?),
        Kind::Outcome => ReadRecord::Outcome(parse(text)?),
        Kind::Text => ReadRecord::Text(parse(text)?),
        Kind::Event => ReadRecord::Event(parse(text)?),
        Kind::Other => ReadRecord::Other,
    })
}

pub(super) fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Option<T> {
    // Looked at once as a whole, instead of text by text.
    serde_json::from_str(std::str::from_utf8(line).ok()?).ok()
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
