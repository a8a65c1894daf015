//! The head of a journal, kept where whoever can write the journal cannot.
//!
//! # Why
//! A chain proves that nothing changed between two of its records. Whoever may write the file can cut its end,
//! or compute the whole chain anew; only a head kept elsewhere shows that.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use super::read::head;
use super::segment::{Chain, LONGEST_LINE, hex, segments, split_line, unhex};

/// A record's number and chain value, written `seq:chain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub(super) seq: u64,
    pub(super) chain: Chain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an anchor is a record's number, a colon and 64 hex digits, as `switchyard audit anchor` prints it"
)]
pub struct AnchorError;

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (seq, chain) = text.trim().split_once(':').ok_or(AnchorError)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| AnchorError)?,
            chain: unhex(chain.as_bytes()).ok_or(AnchorError)?,
        })
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.chain))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnchorVerdict {
    pub anchor: String,
    pub found: AnchorFound,
}

/// What a journal says to an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorFound {
    /// The record stands there with this chain: all up to it is as it was.
    Same,
    /// The record stands there with another chain.
    Different,
    /// The journal ends before it.
    Missing,
    /// The record is older than what the journal keeps.
    Removed,
}

impl AnchorFound {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Same => "found: nothing up to it was changed",
            Self::Different => "DIFFERS: the journal was rebuilt",
            Self::Missing => "MISSING: the journal was cut",
            Self::Removed => "older than what is kept: nothing can be said",
        }
    }
}

/// The last whole record of a journal; `None` when there is none yet. Only the end of a file is read.
pub fn anchor(folder: &Path) -> io::Result<Option<Anchor>> {
    for path in segments(folder)?.iter().rev() {
        let mut file = File::open(path)?;
        // A whole line fits even when half a one follows it.
        let tail = 2 * LONGEST_LINE as u64;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(tail)))?;
        let mut end = Vec::new();
        file.take(tail).read_to_end(&mut end)?;
        // What follows the last line break is half a line, or nothing.
        let last = end.rsplit(|byte| *byte == b'\n').nth(1);
        let found = last.and_then(|line| {
            let (_, chain) = split_line(line)?;
            let seq = head(line)?.seq;
            Some(Anchor { seq, chain })
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
