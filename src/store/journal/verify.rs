//! Proving a journal: every line chained to the one before, every intent with exactly one outcome.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::segment::{Chain, FIRST_CHAIN, ends_oddly, hex, link, next_line, segments, split_line};

/// What a walk over a journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    pub segments: usize,
    pub records: u64,
    pub intents: u64,
    pub attempts: u64,
    pub outcomes: u64,
    pub events: u64,
    /// The first record that breaks the chain or the order; `None` when none does.
    pub broken: Option<Broken>,
    /// Intents without an outcome at the end of the journal; a running gateway has some.
    pub open: u64,
    /// Outcomes or attempts without an intent, and second outcomes.
    pub unaccounted: u64,
    /// The last line is half a record: the process died while writing it.
    pub torn_tail: bool,
    /// The chain value of the last record. Kept elsewhere, it also proves that nothing was cut or rebuilt.
    pub head: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    pub file: String,
    pub line: u64,
    pub what: String,
}

impl VerifyReport {
    pub fn intact(&self) -> bool {
        self.broken.is_none() && self.unaccounted == 0
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "segments   {}", self.segments)?;
        writeln!(
            f,
            "records    {} ({} intents, {} attempts, {} outcomes, {} events)",
            self.records, self.intents, self.attempts, self.outcomes, self.events
        )?;
        writeln!(
            f,
            "open       {} requests without an outcome yet",
            self.open
        )?;
        writeln!(f, "head       {}", self.head)?;
        if self.torn_tail {
            writeln!(
                f,
                "tail       the last line is half a record; the next start repairs it"
            )?;
        }
        match &self.broken {
            Some(broken) => writeln!(
                f,
                "BROKEN     {} line {}: {}",
                broken.file, broken.line, broken.what
            )?,
            None => writeln!(
                f,
                "chain      unbroken; compare the head with one you kept to rule out a rebuilt or shortened journal"
            )?,
        }
        if self.unaccounted > 0 {
            writeln!(
                f,
                "WRONG      {} records belong to no request, or end one twice",
                self.unaccounted
            )?;
        }
        write!(
            f,
            "verdict    {}",
            if self.intact() {
                "intact"
            } else {
                "NOT INTACT"
            }
        )
    }
}

/// The members verification looks at.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    pub(super) seq: u64,
    #[serde(borrow)]
    pub(super) kind: &'a str,
    #[serde(borrow)]
    pub(super) request: Option<&'a str>,
}

/// Walks all segments in order. Memory is bounded by the number of requests open at one time.
pub fn verify(folder: &Path) -> io::Result<VerifyReport> {
    let mut walk = Walk::default();
    let files = segments(folder)?;
    for (index, path) in files.iter().enumerate() {
        walk.segment(path, index + 1 == files.len())?;
    }
    walk.report.segments = files.len();
    walk.report.open = walk.open.len() as u64;
    walk.report.head = hex(&walk.chain);
    Ok(walk.report)
}

struct Walk {
    report: VerifyReport,
    chain: Chain,
    next_seq: Option<u64>,
    open: HashSet<Box<str>>,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            report: VerifyReport::default(),
            chain: FIRST_CHAIN,
            next_seq: None,
            open: HashSet::new(),
        }
    }
}

impl Walk {
    fn segment(&mut self, path: &Path, last: bool) -> io::Result<()> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut line = Vec::new();
        let mut number = 0;
        while let Some(whole) = next_line(&mut reader, &mut line)? {
            number += 1;
            if !whole && last && !ends_oddly(&line, &self.chain) {
                self.report.torn_tail = true;
                return Ok(());
            }
            if let Err(what) = self.line(&line, whole)
                && self.report.broken.is_none()
            {
                self.report.broken = Some(Broken {
                    file: name.clone(),
                    line: number,
                    what,
                });
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], whole: bool) -> Result<(), String> {
        if !whole {
            return Err("half a record, and not at the end".to_owned());
        }
        let (body, claimed) = split_line(line).ok_or("this is no journal record")?;
        let linked = link(&self.chain, body);
        let matches = linked == claimed;
        // From a broken record on, the claimed chain is followed, so that one break is told once.
        self.chain = claimed;
        let parsed: Line<'_> =
            serde_json::from_slice(line).map_err(|_| "this is no journal record".to_owned())?;
        let expected = self.next_seq.replace(parsed.seq + 1);
        self.count(&parsed);
        if expected.is_some_and(|expected| expected != parsed.seq) {
            return Err(format!(
                "record {} follows record {}: records were removed or moved",
                parsed.seq,
                expected.unwrap_or_default().saturating_sub(1)
            ));
        }
        if !matches {
            return Err(format!(
                "record {} does not continue the chain: it or one before it was changed",
                parsed.seq
            ));
        }
        if expected.is_none() && parsed.seq != 1 {
            return Err(format!(
                "the journal begins with record {}: earlier segments are missing",
                parsed.seq
            ));
        }
        Ok(())
    }

    fn count(&mut self, line: &Line<'_>) {
        let report = &mut self.report;
        report.records += 1;
        let request = line.request.unwrap_or_default();
        let accounted = match line.kind {
            "intent" => {
                report.intents += 1;
                self.open.insert(Box::from(request))
            }
            "attempt" => {
                report.attempts += 1;
                // The losing leg of a race is settled after the winner's outcome.
                true
            }
            "outcome" => {
                report.outcomes += 1;
                self.open.remove(request)
            }
            _ => {
                report.events += 1;
                true
            }
        };
        report.unaccounted += u64::from(!accounted);
    }
}
