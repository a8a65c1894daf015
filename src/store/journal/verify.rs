//! Proving a journal: every line chained to the one before, every intent with exactly one outcome.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::anchor::{Anchor, AnchorFound, AnchorVerdict};
use super::segment::{
    Chain, FIRST_CHAIN, ends_oddly, hex, link, next_line, segments, split_line, unhex,
};

/// What a walk over a journal found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    pub segments: usize,
    pub records: u64,
    pub intents: u64,
    pub attempts: u64,
    pub outcomes: u64,
    pub events: u64,
    /// The first record that breaks the chain or the order; `None` when none does.
    pub broken: Option<Broken>,
    /// The first record there is: 1, or where the kept segments begin.
    pub first: u64,
    pub last: u64,
    /// Outcomes of requests whose intent was in a segment that is not kept any more.
    pub begun_before: u64,
    /// What became of each anchor.
    pub anchors: Vec<AnchorVerdict>,
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

impl Default for VerifyReport {
    fn default() -> Self {
        Self {
            segments: 0,
            records: 0,
            intents: 0,
            attempts: 0,
            outcomes: 0,
            events: 0,
            broken: None,
            first: 1,
            last: 0,
            begun_before: 0,
            anchors: Vec::new(),
            open: 0,
            unaccounted: 0,
            torn_tail: false,
            head: String::new(),
        }
    }
}

impl VerifyReport {
    pub fn intact(&self) -> bool {
        self.broken.is_none()
            && self.unaccounted == 0
            && self.anchors.iter().all(|anchor| match anchor.found {
                // Nothing can be said about what the retention removed, and nothing speaks against it.
                AnchorFound::Same | AnchorFound::Removed => true,
                AnchorFound::Different | AnchorFound::Missing => false,
            })
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "segments   {}, records {} to {}",
            self.segments, self.first, self.last
        )?;
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
        writeln!(f, "head       {}:{}", self.last, self.head)?;
        self.oddities(f)?;
        for AnchorVerdict { anchor, found } in &self.anchors {
            writeln!(f, "anchor     {anchor} {}", found.words())?;
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

impl VerifyReport {
    fn oddities(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first > 1 && self.broken.is_none() {
            writeln!(
                f,
                "removed    records 1 to {}, as a later record tells; {} requests had begun there",
                self.first - 1,
                self.begun_before
            )?;
        }
        if self.torn_tail {
            writeln!(
                f,
                "tail       the last line is half a record; the next start repairs it"
            )?;
        }
        if self.unaccounted > 0 {
            writeln!(
                f,
                "WRONG      {} records belong to no request, or end one twice",
                self.unaccounted
            )?;
        }
        match &self.broken {
            Some(broken) => writeln!(
                f,
                "BROKEN     {} line {}: {}",
                broken.file, broken.line, broken.what
            ),
            None if self.anchors.is_empty() => writeln!(
                f,
                "chain      unbroken; keep the head elsewhere, and name it with --anchor to rule out a rebuilt or shortened journal"
            ),
            None => writeln!(f, "chain      unbroken"),
        }
    }
}

/// The members verification looks at.
#[derive(Deserialize)]
struct Line<'a> {
    seq: u64,
    #[serde(borrow)]
    kind: &'a str,
    #[serde(borrow)]
    request: Option<&'a str>,
    /// Of heads of segments and of trims: the chain value before the first record.
    #[serde(borrow)]
    previous: Option<&'a str>,
    /// Of trims: the record that is now the first.
    first: Option<u64>,
}

/// Walks all segments in order. Memory is bounded by the number of requests open at one time.
pub fn verify(folder: &Path) -> io::Result<VerifyReport> {
    verify_against(folder, &[])
}

/// The same, and looks for each of these heads, kept elsewhere since: a journal that was cut at its end or
/// rebuilt as a whole has a good chain, but not theirs (attack A27).
pub fn verify_against(folder: &Path, anchors: &[Anchor]) -> io::Result<VerifyReport> {
    let mut walk = Walk {
        report: VerifyReport::default(),
        chain: FIRST_CHAIN,
        next_seq: None,
        begins: None,
        trim_told: false,
        open: HashSet::new(),
        anchors: anchors
            .iter()
            .map(|anchor| (anchor, AnchorFound::Missing))
            .collect(),
    };
    let files = segments(folder)?;
    for (index, path) in files.iter().enumerate() {
        walk.segment(path, index + 1 == files.len())?;
    }
    walk.report.segments = files.len();
    if let Some(path) = files.first() {
        walk.judge_beginning(path);
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    report: VerifyReport,
    chain: Chain,
    next_seq: Option<u64>,
    /// Where the journal begins, when not at record 1: its first record, and the chain before it.
    begins: Option<(u64, Chain)>,
    /// A record of the journal says that it begins there.
    trim_told: bool,
    open: HashSet<Box<str>>,
    anchors: Vec<(&'a Anchor, AnchorFound)>,
}

impl Walk<'_> {
    fn segment(&mut self, path: &Path, last: bool) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut line = Vec::new();
        let mut number = 0;
        while let Some(whole) = next_line(&mut reader, &mut line)? {
            number += 1;
            if !whole && last && !ends_oddly(&line, &self.chain) {
                self.report.torn_tail = true;
                return Ok(());
            }
            if let Err(what) = self.line(&line, whole) {
                self.broken(path, number, what);
            }
        }
        Ok(())
    }

    fn broken(&mut self, path: &Path, line: u64, what: String) {
        let file = path.file_name().unwrap_or_default();
        self.report.broken.get_or_insert_with(|| Broken {
            file: file.to_string_lossy().into_owned(),
            line,
            what,
        });
    }

    fn line(&mut self, line: &[u8], whole: bool) -> Result<(), String> {
        if !whole {
            return Err("half a record, and not at the end".to_owned());
        }
        let (body, claimed) = split_line(line).ok_or("this is no journal record")?;
        let parsed: Option<Line<'_>> = serde_json::from_slice(line).ok();
        if self.next_seq.is_none()
            && let Some(parsed) = parsed.as_ref().filter(|parsed| parsed.seq != 1)
        {
            let before = parsed.previous.and_then(|hex| unhex(hex.as_bytes()));
            self.chain = before.unwrap_or(FIRST_CHAIN);
            self.begins = Some((parsed.seq, self.chain));
        }
        let linked = link(&self.chain, body);
        let matches = linked == claimed;
        // From a broken record on, the claimed chain is followed, so that one break is told once.
        self.chain = claimed;
        let parsed = parsed.ok_or("this is no journal record")?;
        let expected = self.next_seq.replace(parsed.seq.saturating_add(1));
        self.count(&parsed);
        self.compare(parsed.seq, &linked);
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
        Ok(())
    }

    /// Holds a record's chain against the anchors.
    fn compare(&mut self, seq: u64, chain: &Chain) {
        for (anchor, found) in &mut self.anchors {
            if anchor.seq == seq {
                *found = if anchor.chain == *chain {
                    AnchorFound::Same
                } else {
                    AnchorFound::Different
                };
            }
        }
    }

    /// A journal that does not begin with record 1 has to say itself that what came before was removed.
    fn judge_beginning(&mut self, first: &Path) {
        let Some((seq, _)) = self.begins else { return };
        if !self.trim_told {
            let what =
                format!("the journal begins with record {seq}: earlier segments are missing");
            self.report.broken = None;
            self.broken(first, 1, what);
        }
    }

    fn finish(mut self) -> VerifyReport {
        if let Some((seq, before)) = self.begins {
            self.report.first = seq;
            // The head of what was removed is known from the record that tells of the removal.
            self.compare(seq.saturating_sub(1), &before);
        }
        for (anchor, found) in &mut self.anchors {
            if *found == AnchorFound::Missing && anchor.seq < self.report.first.saturating_sub(1) {
                *found = AnchorFound::Removed;
            }
        }
        self.report.anchors = self
            .anchors
            .iter()
            .map(|(anchor, found)| AnchorVerdict {
                anchor: anchor.to_string(),
                found: *found,
            })
            .collect();
        self.report.last = self.next_seq.unwrap_or(1).saturating_sub(1);
        self.report.open = self.open.len() as u64;
        self.report.head = hex(&self.chain);
        self.report
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
            "reserve" => {
                report.events += 1;
                self.open.contains(request) || self.begins.is_some()
            }
            "outcome" => {
                report.outcomes += 1;
                let known = self.open.remove(request);
                report.begun_before += u64::from(!known && self.begins.is_some());
                known || self.begins.is_some()
            }
            "trim" => {
                report.events += 1;
                self.trim_told |= self.begins.is_some_and(|(seq, before)| {
                    line.first == Some(seq)
                        && line.previous.and_then(|hex| unhex(hex.as_bytes())) == Some(before)
                });
                true
            }
            _ => {
                report.events += 1;
                true
            }
        };
        report.unaccounted += u64::from(!accounted);
    }
}
