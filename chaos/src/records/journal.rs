//! The journal as its reader sees it: intents, attempts, outcomes, one JSON document a line.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::lab::enclosed;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
}

/// That a request was going to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub at: u64,
    /// Its place among all records.
    pub place: u64,
    pub stream: bool,
    pub tenant: Option<String>,
    pub client: String,
    /// Nano-dollars set aside for it; `None` where nothing is.
    pub reserved: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub at: u64,
    pub request: String,
    pub provider: String,
    pub outcome: String,
    pub won: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub at: u64,
    /// Its place among all records.
    pub place: u64,
    pub tenant: Option<String>,
    /// Nano-dollars; `None` when nobody reckoned.
    pub cost: Option<u64>,
    /// The cost rests on an estimate or a reservation.
    pub cost_estimated: bool,
    pub how: String,
    pub reason: String,
    pub status: u16,
    pub attempts: u32,
    pub provider: Option<String>,
    pub usage: Option<Tokens>,
    pub estimated: bool,
}

/// Everything the journal holds, by request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Journal {
    /// Intents by request id.
    pub intents: HashMap<String, Vec<Intent>>,
    pub attempts: Vec<Attempt>,
    pub outcomes: HashMap<String, Vec<Outcome>>,
    /// Names of events, with what they were about.
    pub events: Vec<(u64, String, String)>,
    /// Lines that are no record.
    pub unreadable: u64,
    /// Lines that were read.
    lines: u64,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    at: u64,
    kind: String,
    #[serde(default)]
    request: String,
    provider: Option<String>,
    outcome: Option<String>,
    how: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    attempts: u32,
    usage: Option<Tokens>,
    #[serde(default)]
    estimated: bool,
    #[serde(default)]
    won: bool,
    #[serde(default)]
    stream: bool,
    name: Option<String>,
    subject: Option<String>,
    tenant: Option<String>,
    #[serde(default)]
    client: String,
    reserved_nano: Option<u64>,
    cost_nano: Option<u64>,
    #[serde(default)]
    cost_estimated: bool,
}

impl Journal {
    /// Reads every segment of a folder, oldest first.
    ///
    /// # Errors
    /// When the folder or a file cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut journal = Self::default();
        // What was cut from a torn end lies beside the segments, and is no part of the journal.
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|name| name == "jsonl");
        for file in files(folder)?.into_iter().filter(is_segment) {
            for line in BufReader::new(fs::File::open(file)?).split(b'\n') {
                journal.line(&line?);
            }
        }
        Ok(journal)
    }

    fn line(&mut self, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.lines = self.lines.saturating_add(1);
        let place = self.lines;
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        match line.kind.as_str() {
            "intent" => self.intents.entry(line.request).or_default().push(Intent {
                at: line.at,
                place,
                stream: line.stream,
                tenant: line.tenant,
                client: line.client,
                reserved: line.reserved_nano,
            }),
            "attempt" => self.attempts.push(Attempt {
                at: line.at,
                request: line.request,
                provider: line.provider.unwrap_or_default(),
                outcome: line.outcome.unwrap_or_default(),
                won: line.won,
            }),
            "outcome" => self
                .outcomes
                .entry(line.request)
                .or_default()
                .push(Outcome {
                    at: line.at,
                    place,
                    tenant: line.tenant,
                    cost: line.cost_nano,
                    cost_estimated: line.cost_estimated,
                    how: line.how.unwrap_or_default(),
                    reason: line.reason.unwrap_or_default(),
                    status: line.status,
                    attempts: line.attempts,
                    provider: line.provider,
                    usage: line.usage,
                    estimated: line.estimated,
                }),
            "event" => self.events.push((
                line.at,
                line.name.unwrap_or_default(),
                line.subject.unwrap_or_default(),
            )),
            // Headers and marks of segments, and kinds that come later.
            _ => {}
        }
    }
}

pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

/// Asks the gateway's own tool whether the journal is intact; what it said, when it is not.
///
/// # Errors
/// When the tool cannot be run.
pub fn audit(binary: &Path, folder: &Path) -> io::Result<Result<(), String>> {
    let told = enclosed(binary, folder)
        .args(["audit", "verify"])
        .arg(folder)
        .output()?;
    if told.status.success() {
        return Ok(Ok(()));
    }
    let mut said = String::from_utf8_lossy(&told.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&told.stderr));
    Ok(Err(said.trim().to_owned()))
}
