//! What a start finds: where the chain goes on, what is torn, and which requests never ended.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::read::{Head, head, parse};
use super::record::{OutcomeRecord, Who};
use super::segment::{Chain, FIRST_CHAIN, ends_oddly, link, next_line, segments, split_line};
use super::told::{ReadAttempt, ReadIntent, ReadReserve};
use crate::domain::Usage;

/// No request is under way for longer.
const LONGEST_REQUEST_MS: u64 = 3_600_000;

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Half a record was cut from the end (fault X08).
    pub repaired: bool,
    /// Requests that were under way when the last process died; each got its outcome now (fault X07).
    pub interrupted: u64,
    /// A record in the middle does not fit the chain. Nothing is skipped; a new segment goes on.
    pub alarm: Option<String>,
}

pub(super) struct Found {
    pub(super) opened: Opened,
    pub(super) last_seq: u64,
    pub(super) chain: Chain,
    pub(super) open: Vec<Interrupted>,
    /// Segments that were not read; `None` when all were, or none can matter.
    pub(super) older: Option<Older>,
}

/// A request that was under way when its process died.
#[derive(Debug)]
pub(super) struct Interrupted {
    seq: u64,
    intent: ReadIntent,
    tags: Vec<Arc<str>>,
    attempts: Vec<ReadAttempt>,
    extended: Option<Aside>,
}

/// Nano-dollars on both sides: what providers bill, and what is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Aside {
    billed: u64,
    charged: u64,
}

impl Aside {
    /// Without a word on what is billed, or charged, it is the same.
    fn of(charged: u64, billed: Option<u64>) -> Self {
        Self {
            billed: billed.unwrap_or(charged),
            charged,
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            billed: self.billed.saturating_add(more.billed),
            charged: self.charged.saturating_add(more.charged),
        }
    }
}

/// The lines of a request, as long as it has no outcome.
#[derive(Default)]
struct Open {
    seq: u64,
    intent: Vec<u8>,
    attempts: Vec<Vec<u8>>,
    /// What was set aside after the intent.
    extended: Option<Aside>,
}

impl Open {
    fn extend(&mut self, more: Option<Aside>) {
        self.extended = match (self.extended, more) {
            (Some(before), Some(more)) => Some(before.plus(more)),
            (before, more) => more.or(before),
        };
    }
}

/// How long ago a record was written, by the clock that dated it.
fn since(at_ms: u64) -> Duration {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(Duration::from_millis(at_ms))
}

impl Interrupted {
    fn read(open: &Open) -> Option<Self> {
        let intent: ReadIntent = parse(&open.intent)?;
        Some(Self {
            seq: open.seq,
            tags: intent.tags.iter().map(|tag| Arc::from(&**tag)).collect(),
            intent,
            attempts: open
                .attempts
                .iter()
                .filter_map(|line| parse(line))
                .collect(),
            extended: open.extended,
        })
    }

    /// # Why the reservation comes on top
    /// An attempt is recorded when it ends. Those that are recorded told what they cost; whether another
    /// was under way, or two in a race, nothing on the disk can say, and the provider bills it all the
    /// same. The reservation bounds what was under way, or where there was no budget to hold it, what it may come to. So the sum may be above the provider's bill and is
    /// never below it; `cost_estimated` says that it is not to be taken for the bill. Where more was set aside
    /// later, it was made to cover what had been spent by then as well, so all of it together is the bound. What
    /// providers bill and what is charged are reckoned side by side: a margin is nobody's bill.
    fn aside(&self) -> Option<Aside> {
        let attempts = self.attempts.iter();
        let spent = attempts.filter_map(|attempt| {
            let billed = attempt.cost_nano?;
            Some(Aside::of(
                attempt.charged_nano.unwrap_or(billed),
                Some(billed),
            ))
        });
        let intent = &self.intent;
        let reserved = intent.reserved_nano;
        let reserved = reserved.map(|charged| Aside::of(charged, intent.reserved_bill_nano));
        let most = intent.most_nano;
        let most = most.map(|charged| Aside::of(charged, intent.most_bill_nano));
        let reserved = reserved.or(most);
        if let Some(extended) = self.extended {
            let aside = reserved.unwrap_or_default().plus(extended);
            let spent = spent.fold(Aside::default(), Aside::plus);
            return Some(Aside {
                billed: aside.billed.max(spent.billed),
                charged: aside.charged.max(spent.charged),
            });
        }
        spent.chain(reserved).reduce(Aside::plus)
    }

    fn usage(&self) -> Option<Usage> {
        let mut told = self.attempts.iter().filter_map(|attempt| attempt.usage);
        let mut sum = told.next()?;
        for more in told {
            sum.input += more.input;
            sum.output += more.output;
            sum.cached_input += more.cached_input;
            sum.cache_write += more.cache_write;
            sum.cache_write_hour += more.cache_write_hour;
            sum.reasoning += more.reasoning;
            sum.audio_input += more.audio_input;
            sum.audio_output += more.audio_output;
        }
        Some(sum)
    }

    pub(super) fn outcome(&self) -> OutcomeRecord<'_> {
        let last = self.attempts.last();
        let (usage, aside) = (self.usage(), self.aside());
        OutcomeRecord {
            request: self.intent.request,
            who: Who {
                client: &self.intent.client,
                tenant: self.intent.tenant.as_deref(),
                team: self.intent.team.as_deref(),
                user: self.intent.user.as_deref(),
                tags: &self.tags,
            },
            how: "interrupted",
            kind: "interrupted",
            status: 0,
            attempts: u32::try_from(self.attempts.len()).unwrap_or(u32::MAX),
            provider: last.map(|attempt| attempt.provider.as_str()),
            model: last.map(|attempt| attempt.model.as_str()),
            served_model: None,
            usage,
            estimated: usage.is_some(),
            first_content: None,
            // Since it was let in: what is paid counts in the time of its admission.
            took: since(self.intent.at),
            race: None,
            cost_nano: aside.map(|aside| aside.billed),
            charged_nano: aside.map(|aside| aside.charged),
            cost_estimated: aside.is_some(),
        }
    }
}

/// Reads the end of what is there, at least so many bytes of it: where the chain goes on, what was under way,
/// what is torn.
pub(super) fn look_back(folder: &Path, least: u64) -> io::Result<Found> {
    let files = segments(folder)?;
    let mut first = files.len();
    let mut bytes = 0;
    while first > 0 && bytes < least {
        first -= 1;
        bytes += files
            .get(first)
            .map_or(0, |path| fs::metadata(path).map_or(0, |meta| meta.len()));
    }
    let mut look = Look {
        unknown_before: first > 0,
        older_unread: first > 0,
        chain: FIRST_CHAIN,
        ..Look::default()
    };
    for (index, path) in files.iter().enumerate().skip(first) {
        look.segment(path, index + 1 == files.len())?;
    }
    let open = interrupted(&look.open);
    look.opened.interrupted = open.len() as u64;
    Ok(Found {
        open,
        older: Older::of(&files, first, &mut look)?,
        opened: look.opened,
        last_seq: look.last_seq,
        chain: look.chain,
    })
}

/// In the order they came, not in that of a map.
fn interrupted(open: &HashMap<Box<str>, Open>) -> Vec<Interrupted> {
    let mut open: Vec<_> = open.values().filter_map(Interrupted::read).collect();
    open.sort_by_key(|request| request.seq);
    open
}

/// Segments before those that a start read, as far as a request of theirs may have been under way at the end.
pub(super) struct Older {
    files: Vec<PathBuf>,
    /// Requests of theirs that ended later.
    ended: HashSet<Box<str>>,
    /// What was recorded later of those that did not.
    strays: HashMap<Box<str>, Open>,
}

impl Older {
    fn of(files: &[PathBuf], first: usize, look: &mut Look) -> io::Result<Option<Self>> {
        let mut from = first;
        while from > 0 {
            // The records of a segment are older than the next one's first.
            let Some(next) = files.get(from) else { break };
            if began(next)?.saturating_add(LONGEST_REQUEST_MS) < look.last_at {
                break;
            }
            from -= 1;
        }
        let older = files.get(from..first).unwrap_or_default();
        Ok((!older.is_empty()).then(|| Self {
            files: older.to_vec(),
            ended: std::mem::take(&mut look.ended),
            strays: std::mem::take(&mut look.strays),
        }))
    }

    /// Reads them; their chain is left to `audit verify`.
    pub(super) fn interrupted(&self) -> io::Result<Vec<Interrupted>> {
        let mut look = Look::default();
        let mut line = Vec::new();
        for path in &self.files {
            let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
            while next_line(&mut reader, &mut line)?.is_some() {
                if let Some(head) = head(&line) {
                    look.keep_account(&head, &line);
                }
            }
        }
        look.open.retain(|request, _| !self.ended.contains(request));
        for (request, stray) in &self.strays {
            if let Some(open) = look.open.get_mut(request) {
                open.attempts.extend(stray.attempts.iter().cloned());
                open.extend(stray.extended);
            }
        }
        Ok(interrupted(&look.open))
    }
}

/// When a segment began.
fn began(path: &Path) -> io::Result<u64> {
    let mut line = Vec::new();
    next_line(&mut BufReader::new(File::open(path)?), &mut line)?;
    Ok(head(&line).map_or(u64::MAX, |head| head.at_ms))
}

#[derive(Default)]
struct Look {
    opened: Opened,
    last_seq: u64,
    last_at: u64,
    chain: Chain,
    open: HashMap<Box<str>, Open>,
    /// Requests that ended and did not begin in what was read.
    ended: HashSet<Box<str>>,
    /// Records of requests that began before what was read, and did not end in it.
    strays: HashMap<Box<str>, Open>,
    /// There are segments before what is read.
    older_unread: bool,
    /// The next record continues a chain that was not read.
    unknown_before: bool,
}

impl Look {
    fn segment(&mut self, path: &Path, last: bool) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut line = Vec::new();
        let mut good: u64 = 0;
        while let Some(whole) = next_line(&mut reader, &mut line)? {
            if whole && self.line(&line) {
                good += line.len() as u64 + 1;
                continue;
            }
            // Only what was never written whole is cut. A record that was, and is not one now, was changed.
            let torn = !whole && !ends_oddly(&line, &self.chain);
            if torn && last && reader_is_at_end(&mut reader)? {
                self.opened.repaired = true;
                return cut_tail(path, good);
            }
            let after = format!("after record {}", self.last_seq);
            self.opened.alarm.get_or_insert(after);
        }
        Ok(())
    }

    /// Takes a record in; whether it is one.
    fn line(&mut self, line: &[u8]) -> bool {
        let Some((body, claimed)) = split_line(line) else {
            return false;
        };
        let Some(head) = head(line) else {
            return false;
        };
        let follows =
            link(&self.chain, body) == claimed || std::mem::take(&mut self.unknown_before);
        self.unknown_before = false;
        if !follows {
            self.opened
                .alarm
                .get_or_insert_with(|| format!("record {}", head.seq));
        }
        self.chain = claimed;
        self.last_seq = head.seq;
        self.last_at = head.at_ms;
        self.keep_account(&head, line);
        true
    }

    /// What is known of a request, which may have begun before what is read.
    fn of(&mut self, request: &str) -> Option<&mut Open> {
        if !self.older_unread || self.open.contains_key(request) {
            return self.open.get_mut(request);
        }
        Some(self.strays.entry(Box::from(request)).or_default())
    }

    /// Who is under way.
    fn keep_account(&mut self, head: &Head<'_>, line: &[u8]) {
        match head.kind {
            "intent" => {
                let open = Open {
                    seq: head.seq,
                    intent: line.to_vec(),
                    ..Open::default()
                };
                self.open.insert(Box::from(head.request), open);
            }
            "reserve" => {
                if let Some(read) = parse::<ReadReserve>(line)
                    && let Some(open) = self.of(head.request)
                {
                    open.extend(Some(Aside::of(read.more_nano, read.more_bill_nano)));
                }
            }
            "attempt" => {
                if let Some(open) = self.of(head.request) {
                    open.attempts.push(line.to_vec());
                }
            }
            "outcome" => {
                let began_here = self.open.remove(head.request).is_some();
                self.strays.remove(head.request);
                if !began_here {
                    self.ended.insert(Box::from(head.request));
                }
            }
            _ => {}
        }
    }
}

fn reader_is_at_end(reader: &mut impl io::BufRead) -> io::Result<bool> {
    Ok(reader.fill_buf()?.is_empty())
}

/// Cuts the torn end off and keeps it beside the segment.
pub(super) fn cut_tail(path: &Path, good: u64) -> io::Result<()> {
    let whole = fs::read(path)?;
    let keep = usize::try_from(good).unwrap_or(usize::MAX);
    fs::write(
        path.with_extension("torn"),
        whole.get(keep..).unwrap_or_default(),
    )?;
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.set_len(good)?;
    file.sync_data()
}
