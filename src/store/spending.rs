//! What was spent: the journal's outcomes, added up so that years of them are answered at once.
//!
//! # Why not ask the journal
//! It is the truth, and it is read from one end to the other. Here the same outcomes stand added up by a quarter
//! of an hour, which no time zone's midnight cuts, and the number of the last record that is in stands beside them
//! in the same transaction: each outcome is counted once, whatever is killed when.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Serialize;

use super::journal::{
    AttemptCost, Bookmark, Cost, Line, Lines, OutcomeCost, ReadError, costs, costs_behind, read,
};
use super::{Pending, StoreDesk, StoreError};
use crate::domain::{Bought, NanoUsd, Usage, Wall};

/// What is counted together, in seconds.
pub const QUARTER: u64 = 900;

/// What the journal has been read up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last record that is in; 0 before the first.
    pub seq: u64,
    /// When it was written: tells this journal from another in its place.
    pub at_ms: u64,
}

/// Whose margin it is: a client's, or with neither team nor client, a tag's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MarginPlace {
    pub quarter: u64,
    pub tenant: String,
    pub team: String,
    pub client: String,
    pub tag: String,
}

/// Who spent it on what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slice {
    /// Unix seconds at which its quarter of an hour begins.
    pub quarter: u64,
    pub tenant: String,
    pub team: String,
    pub client: String,
    pub provider: String,
    pub model: String,
}

/// A tag's or an end user's share, which cuts across the slices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    pub quarter: u64,
    pub tenant: String,
    pub kind: LabelKind,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LabelKind {
    Tag,
    User,
}

/// What was used and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub requests: u64,
    /// Of them: without a whole answer.
    pub failed: u64,
    /// Of them: nobody knows what they cost.
    pub unpriced: u64,
    pub input: u64,
    pub output: u64,
    pub cached_input: u64,
    pub cache_write: u64,
    pub cache_write_hour: u64,
    pub reasoning: u64,
    pub audio_input: u64,
    pub audio_output: u64,
    pub cost_nano: u64,
    /// Of the cost: resting on an estimate or a reservation.
    pub estimated_nano: u64,
}

/// Outcomes of a stretch of the journal, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub to: Position,
    /// The journal is another than the one that was booked, or lost its end: from this quarter on it is booked anew.
    pub anew_from: Option<u64>,
    /// The journal goes on behind it: what is booked anew is not all in with this.
    pub more: bool,
    pub slices: HashMap<Slice, Sum>,
    pub labels: HashMap<Label, Sum>,
    /// What providers bill, by quarter and provider: of every attempt, whoever's answer it was that counted.
    pub providers: HashMap<(u64, String), u64>,
    /// What was bought, by quarter (of its end) and provider: the attempts whose usage was told.
    pub bought: HashMap<(u64, String), Bought>,
    /// Nano-dollars that were charged beyond what providers billed; below nothing where the bill was found to be
    /// greater later.
    pub margins: HashMap<MarginPlace, i64>,
    /// Thresholds of budgets that were told, and when last; see [`threshold`].
    pub alerted: HashMap<String, u64>,
    /// How many of the labels there are in each quarter.
    labelled: HashMap<u64, usize>,
    /// The same of the tags of margins.
    tagged: HashMap<u64, usize>,
}

/// What a report is broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendBy {
    Tenant,
    Team,
    Client,
    Provider,
    Model,
    Tag,
    User,
    Day,
    Hour,
}

impl SpendBy {
    pub const ALL: [Self; 9] = [
        Self::Tenant,
        Self::Team,
        Self::Client,
        Self::Provider,
        Self::Model,
        Self::Tag,
        Self::User,
        Self::Day,
        Self::Hour,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Team => "team",
            Self::Client => "client",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Tag => "tag",
            Self::User => "user",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    pub fn by_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.label() == label)
    }
}

/// What is to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendQuestion {
    pub by: SpendBy,
    /// Unix seconds, the end excluded.
    pub from: u64,
    pub to: u64,
    pub tenant: Option<String>,
}

/// One line of a report; days and hours are those of UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpendLine {
    pub name: String,
    #[serde(flatten)]
    pub sum: Sum,
    /// Charged beyond the cost; `None` where that is nobody's, such as a provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin_nano: Option<i64>,
}

impl SpendLine {
    /// What who asked was charged, in nano-dollars, where that can be told.
    pub fn charged_nano(&self) -> Option<u64> {
        let margin = self.margin_nano?;
        Some(self.sum.cost_nano.saturating_add_signed(margin))
    }
}

/// What one client spent in a quarter of an hour, for the books of its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    pub quarter: u64,
    pub team: String,
    pub client: String,
    pub tag: String,
    pub cost: NanoUsd,
}

/// Keeps what was spent.
pub trait SpendStore: Send + Sync {
    fn position(&self) -> Pending<Position>;

    /// Adds a batch read from behind `from`. `false`: something else is in already, and nothing was added.
    fn book(&self, from: Position, batch: Batch) -> Pending<bool>;

    /// Tags, each with its tenant, that are never let go for want of room, because budgets rest on them.
    fn keep(&self, tags: Vec<(String, String)>) -> Pending<()>;

    /// A tenant's costs since a time (unix seconds): once by team and client, and once by tag with neither.
    fn spent(&self, tenant: &str, since: u64) -> Pending<Vec<Spent>>;

    /// What all tenants together cost at a provider since a time (unix seconds), by quarter.
    fn spent_at(&self, provider: &str, since: u64) -> Pending<Vec<(u64, NanoUsd)>>;

    /// What was bought at a provider from this quarter on (unix seconds).
    fn bought(&self, provider: &str, since: u64) -> Pending<Bought>;

    /// When each of these thresholds was told last; see [`threshold`].
    fn alerted(&self, what: Vec<String>) -> Pending<Vec<Option<u64>>>;

    fn report(&self, question: SpendQuestion) -> Pending<Vec<SpendLine>>;
}

/// The journal's name for a threshold of a budget that was told.
pub const ALERT: &str = "budget.alert";

/// What of a budget was reached, as the journal's event tells it before it says how much was spent.
pub fn threshold(percent: u8, limit: NanoUsd, period: &impl std::fmt::Display) -> String {
    format!("{percent} % of {limit} USD ({period})")
}

/// Whose threshold it is, and which.
pub fn alerted(subject: &str, detail: &str) -> String {
    let (threshold, _spent) = detail.split_once(", ").unwrap_or((detail, ""));
    format!("{subject}: {threshold}")
}

/// Tags and users that are told apart in one quarter of an hour by one batch: usually what came within seconds, but
/// also hours of it after an outage, or years.
const MOST_LABELS: usize = 4_096;
/// Records that are read in one go.
const MOST_AT_ONCE: usize = 50_000;

/// How far the journal is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The last record that is read, if it is there.
    pub(super) last: u64,
    /// Records in one go.
    pub(super) at_once: usize,
}

impl Sum {
    fn add(&mut self, outcome: &OutcomeCost<'_>, cost_nano: Option<u64>) {
        let usage = outcome.usage.unwrap_or_default();
        let more = Self {
            requests: 1,
            failed: u64::from(outcome.how != "ok"),
            unpriced: u64::from(cost_nano.is_none()),
            cost_nano: cost_nano.unwrap_or_default(),
            estimated_nano: match outcome.cost_estimated {
                true => cost_nano.unwrap_or_default(),
                false => 0,
            },
            ..Self::of(&usage)
        };
        *self = self.plus(&more);
    }

    fn of(usage: &Usage) -> Self {
        Self {
            input: usage.input.0,
            output: usage.output.0,
            cached_input: usage.cached_input.0,
            cache_write: usage.cache_write.0,
            cache_write_hour: usage.cache_write_hour.0,
            reasoning: usage.reasoning.0,
            audio_input: usage.audio_input.0,
            audio_output: usage.audio_output.0,
            ..Self::default()
        }
    }

    /// In the order of the store's columns.
    pub fn columns(&self) -> [u64; 13] {
        [
            self.requests,
            self.failed,
            self.unpriced,
            self.input,
            self.output,
            self.cached_input,
            self.cache_write,
            self.cache_write_hour,
            self.reasoning,
            self.audio_input,
            self.audio_output,
            self.cost_nano,
            self.estimated_nano,
        ]
    }

    pub fn of_columns(columns: [u64; 13]) -> Self {
        let [
            requests,
            failed,
            unpriced,
            input,
            output,
            cached_input,
            cache_write,
            cache_write_hour,
            reasoning,
            audio_input,
            audio_output,
            cost_nano,
            estimated_nano,
        ] = columns;
        Self {
            requests,
            failed,
            unpriced,
            input,
            output,
            cached_input,
            cache_write,
            cache_write_hour,
            reasoning,
            audio_input,
            audio_output,
            cost_nano,
            estimated_nano,
        }
    }

    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.columns();
        for (place, more) in sum.iter_mut().zip(other.columns()) {
            *place = place.saturating_add(more);
        }
        Self::of_columns(sum)
    }
}

/// What was spent in each quarter, by tenant, provider and model.
pub type ByQuarter = BTreeMap<u64, BTreeMap<(String, String, String), Sum>>;

impl Batch {
    /// All of it.
    pub fn by_quarter(&self) -> ByQuarter {
        let mut all = ByQuarter::new();
        for (slice, sum) in &self.slices {
            let names = (&slice.tenant, &slice.provider, &slice.model);
            let names = (names.0.clone(), names.1.clone(), names.2.clone());
            let quarter = all.entry(slice.quarter).or_default();
            let all = quarter.entry(names).or_default();
            *all = all.plus(sum);
        }
        all
    }

    fn behind(from: Position) -> Self {
        Self {
            to: from,
            ..Self::default()
        }
    }

    /// Counts an outcome at this cost.
    pub fn add(&mut self, outcome: &OutcomeCost<'_>, cost_nano: Option<u64>) {
        let quarter = booked_in(outcome);
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let tenant = outcome.tenant.unwrap_or("default");
        let slice = Slice {
            quarter,
            tenant: tenant.to_owned(),
            team: text(outcome.team),
            client: outcome.client.to_owned(),
            provider: text(outcome.provider),
            model: text(outcome.model),
        };
        self.add_margin(outcome, cost_nano, &slice);
        self.slices
            .entry(slice)
            .or_default()
            .add(outcome, cost_nano);
        let tags = outcome.tags.iter().map(|tag| (LabelKind::Tag, tag));
        let users = outcome.user.iter().map(|user| (LabelKind::User, user));
        for (kind, value) in tags.chain(users) {
            let mut label = Label {
                quarter,
                tenant: tenant.to_owned(),
                kind,
                value: (*value).to_owned(),
            };
            // Whatever clients call themselves, the books stay small (attack A23).
            if !self.labels.contains_key(&label) && !has_room(&mut self.labelled, quarter) {
                label.value = "other".to_owned();
            }
            self.labels
                .entry(label)
                .or_default()
                .add(outcome, cost_nano);
        }
    }

    fn add_attempt(&mut self, attempt: &AttemptCost<'_>) {
        self.add_purchase(attempt);
        let Some(cost) = attempt.cost_nano.filter(|cost| *cost > 0) else {
            return;
        };
        let quarter = quarter_of(attempt.at, attempt.took_ms);
        let place = (quarter, attempt.provider.to_owned());
        let sum = self.providers.entry(place).or_default();
        *sum = sum.saturating_add(cost);
    }

    fn add_purchase(&mut self, attempt: &AttemptCost<'_>) {
        let counted = attempt.usage.filter(|_| !attempt.estimated);
        let (Some(usage), Some(cost)) = (counted, attempt.cost_nano) else {
            return;
        };
        let quarter = quarter_of(attempt.at, 0.0);
        let place = (quarter, attempt.provider.to_owned());
        let bought = self.bought.entry(place).or_default();
        bought.add(NanoUsd(cost), usage.total().0);
    }

    /// Counts what was charged beyond this cost, for the client and for each tag. What was charged stays what it was,
    /// whatever the cost is found to be later.
    fn add_margin(&mut self, outcome: &OutcomeCost<'_>, cost_nano: Option<u64>, slice: &Slice) {
        let nano =
            |amount: Option<u64>| i64::try_from(amount.unwrap_or_default()).unwrap_or(i64::MAX);
        let charged = nano(outcome.charged_nano.or(outcome.cost_nano));
        let margin = charged.saturating_sub(nano(cost_nano));
        if margin == 0 {
            return;
        }
        let place = |team: &str, client: &str, tag: &str| MarginPlace {
            quarter: slice.quarter,
            tenant: slice.tenant.clone(),
            team: team.to_owned(),
            client: client.to_owned(),
            tag: tag.to_owned(),
        };
        let tags = outcome.tags.iter().filter(|tag| !tag.is_empty());
        let places = std::iter::once(place(&slice.team, &slice.client, ""))
            .chain(tags.map(|tag| place("", "", tag)));
        for mut place in places {
            // As with the labels.
            let is_new_tag = !place.tag.is_empty() && !self.margins.contains_key(&place);
            if is_new_tag && !has_room(&mut self.tagged, place.quarter) {
                place.tag = "other".to_owned();
            }
            let sum = self.margins.entry(place).or_default();
            *sum = sum.saturating_add(margin);
        }
    }

    /// Only what was spent from this quarter on.
    pub fn since(&self, from: Option<u64>) -> Cow<'_, Self> {
        let Some(from) = from else {
            return Cow::Borrowed(self);
        };
        let mut rest = self.beside(&[(0, from)]).into_owned();
        rest.providers.retain(|(quarter, _), _| *quarter >= from);
        rest.bought.retain(|(quarter, _), _| *quarter >= from);
        Cow::Owned(rest)
    }

    /// Without what was spent in these stretches (their ends excluded).
    pub fn beside(&self, stretches: &[(u64, u64)]) -> Cow<'_, Self> {
        if stretches.is_empty() {
            return Cow::Borrowed(self);
        }
        let is_in = |quarter: u64| {
            stretches
                .iter()
                .any(|(from, to)| (*from..*to).contains(&quarter))
        };
        let mut rest = self.clone();
        rest.slices.retain(|slice, _| !is_in(slice.quarter));
        rest.labels.retain(|label, _| !is_in(label.quarter));
        rest.margins.retain(|place, _| !is_in(place.quarter));
        Cow::Owned(rest)
    }

    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
            && self.providers.is_empty()
            && self.bought.is_empty()
            && self.alerted.is_empty()
    }
}

/// Whether one more name is told apart in this quarter; it is counted then.
fn has_room(names: &mut HashMap<u64, usize>, quarter: u64) -> bool {
    let names = names.entry(quarter).or_default();
    let room = *names < MOST_LABELS;
    *names += usize::from(room);
    room
}

/// The quarter of an hour that an outcome is booked in.
pub fn booked_in(outcome: &OutcomeCost<'_>) -> u64 {
    // What is paid belongs to the time at which it was let in, as in the books.
    quarter_of(outcome.at, outcome.took_ms)
}

/// The quarter of an hour in which something began that ended then and took so long.
fn quarter_of(at_ms: u64, took_ms: f64) -> u64 {
    let took = if took_ms.is_finite() {
        took_ms.max(0.0)
    } else {
        0.0
    };
    let took = std::time::Duration::from_secs_f64((took / 1_000.0).min(1e9));
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let began = at_ms.saturating_sub(took) / 1_000;
    began - began % QUARTER
}

/// What was read in one go.
struct Reading {
    batch: Batch,
    /// Where it ended.
    mark: Option<Bookmark>,
}

/// Adds up what stands in the journal behind `from`, within these bounds; `Batch::to` tells how far it came. A journal
/// in another's place is read from its beginning.
fn read_batch(
    folder: &Path,
    (from, bounds): (Position, Bounds),
    mark: Option<Bookmark>,
) -> Result<Reading, ReadError> {
    let marked = mark
        .filter(|mark| mark.record() == (from.seq, from.at_ms))
        .and_then(|mark| Some((costs_behind(folder, &mark)?, mark)));
    if let Some((lines, mark)) = marked {
        return read_lines(lines, bounds, (Batch::behind(from), Some(mark)));
    }
    if is_ours(folder, from)? {
        let lines = costs(folder, from.seq + 1);
        return read_lines(lines, bounds, (Batch::behind(from), None));
    }
    let batch = Batch {
        anew_from: Some(first_quarter(folder)?),
        ..Batch::default()
    };
    read_lines(costs(folder, 1), bounds, (batch, None))
}

fn read_lines(
    lines: Lines,
    bounds: Bounds,
    (mut batch, mark): (Batch, Option<Bookmark>),
) -> Result<Reading, ReadError> {
    let mut lines = lines.up_to(bounds.last);
    let mut read = 0;
    while read < bounds.at_once {
        let line = match lines.next_cost() {
            Some(Ok(line)) => line,
            // Told by `audit verify`; what cannot be read cannot be counted, and must not stop what can.
            Some(Err(ReadError::NoRecord { .. })) => {
                read += 1;
                continue;
            }
            Some(Err(error)) => return Err(error),
            None => break,
        };
        read += 1;
        batch.to = Position {
            seq: line.seq,
            at_ms: line.at_ms,
        };
        match &line.cost {
            Cost::Outcome(outcome) => batch.add(outcome, outcome.cost_nano),
            Cost::Attempt(attempt) => batch.add_attempt(attempt),
            Cost::Event(event) if event.name == ALERT => {
                let what = alerted(&event.subject, &event.detail);
                batch.alerted.insert(what, line.at_ms);
            }
            Cost::Event(_) | Cost::Other => {}
        }
    }
    batch.more = read == bounds.at_once;
    Ok(Reading {
        batch,
        mark: lines.bookmark().cloned().or(mark),
    })
}

/// The quarter in which the journal begins; what was booked before it stays.
fn first_quarter(folder: &Path) -> Result<u64, ReadError> {
    // What cannot be read is told by `audit verify`, and says nothing of when it was.
    let is_there =
        |line: &Result<Line, ReadError>| !matches!(line, Err(ReadError::NoRecord { .. }));
    let first = match read(folder, 0).find(is_there) {
        Some(line) => line?.at_ms / 1_000,
        None => i64::MAX as u64,
    };
    Ok(first - first % QUARTER)
}

/// Whether the record that was read last still stands there, or was let go with its segment.
fn is_ours(folder: &Path, position: Position) -> Result<bool, ReadError> {
    if position.seq == 0 {
        return Ok(true);
    }
    match read(folder, position.seq).next() {
        Some(Ok(line)) if line.seq == position.seq => Ok(line.at_ms == position.at_ms),
        // Its segment was let go: what follows is newer.
        Some(Ok(line)) => Ok(line.seq > position.seq && line.at_ms >= position.at_ms),
        Some(Err(ReadError::NoRecord { .. })) => Ok(true),
        Some(Err(error)) => Err(error),
        // Shorter than it was.
        None => Ok(false),
    }
}

/// Why nothing could be booked.
#[derive(Debug, thiserror::Error)]
pub enum BookingError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Journal(#[from] ReadError),
    #[error("the journal could not be read to its end")]
    Ended,
    #[error(
        "the journal is not written to its end, so what was spent before cannot be told to budgets that are new"
    )]
    Unwritten,
}

/// Books what stands in the journal and is not in yet. A store is made only when there is something to book.
///
/// `mark` tells where the last call ended, so that this one need not look for it; the store's position is what counts.
pub async fn catch_up(
    folder: &Path,
    store: &StoreDesk,
    mark: &mut Option<Bookmark>,
) -> Result<(), BookingError> {
    catch_up_to(u64::MAX, folder, store, mark).await
}

/// As [`catch_up`], with nothing behind this record.
pub async fn catch_up_to(
    last: u64,
    folder: &Path,
    store: &StoreDesk,
    mark: &mut Option<Bookmark>,
) -> Result<(), BookingError> {
    let at_once = MOST_AT_ONCE;
    catch_up_within(Bounds { last, at_once }, folder, store, mark).await
}

pub(super) async fn catch_up_within(
    bounds: Bounds,
    folder: &Path,
    store: &StoreDesk,
    mark: &mut Option<Bookmark>,
) -> Result<(), BookingError> {
    let mut from = Position::default();
    // What was booked said that more would follow.
    let mut is_awaited = false;
    if store.is_there().await {
        from = store.spending().await?.position().await?;
    }
    loop {
        let (place, marked) = (folder.to_owned(), mark.clone());
        let reading =
            tokio::task::spawn_blocking(move || read_batch(&place, (from, bounds), marked)).await;
        let reading = reading.map_err(|_| BookingError::Ended)??;
        let batch = reading.batch;
        let (to, more) = (batch.to, batch.more);
        // Many records of no cost are gone past all the same, or they would be read for ever; and where the journal ends
        // with a go, the next one says so.
        if batch.is_empty() && batch.anew_from.is_none() && !more && !is_awaited {
            // An attempt that cost nothing is booked with what follows it: until then the mark stays where the store is.
            if to == from {
                *mark = reading.mark;
            }
            return Ok(());
        }
        let books = store.spending().await?;
        if !books.book(from, batch).await? {
            // Booked by somebody else meanwhile, or with an answer that came too late.
            from = books.position().await?;
            continue;
        }
        (from, *mark, is_awaited) = (to, reading.mark, more);
        if !more {
            return Ok(());
        }
    }
}

/// How much of the journal is not booked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Attempts and outcomes that are not in, so far as they were counted.
    pub records: u64,
    /// From the last that is in to the last of them.
    pub seconds: u64,
}

/// What of the journal is not booked, for whoever looks at both beside a gateway; a bound ends the counting.
pub fn behind(folder: &Path, booked: Position) -> Result<Behind, ReadError> {
    let mut behind = Behind::default();
    let mut from = booked.at_ms;
    let mut lines = costs(folder, booked.seq + 1);
    for _ in 0..MOST_AT_ONCE {
        let line = match lines.next_cost() {
            Some(Ok(line)) => line,
            Some(Err(ReadError::NoRecord { .. })) => continue,
            Some(Err(error)) => return Err(error),
            None => break,
        };
        if from == 0 {
            from = line.at_ms;
        }
        if matches!(line.cost, Cost::Attempt(_) | Cost::Outcome(_)) {
            behind.records += 1;
            behind.seconds = line.at_ms.saturating_sub(from) / 1_000;
        }
    }
    Ok(behind)
}

/// What was spent at a provider since a time, by quarter; nothing where nothing was ever booked.
pub async fn spent_at(
    store: &StoreDesk,
    provider: &str,
    since: Wall,
) -> Result<Vec<(u64, NanoUsd)>, StoreError> {
    if !store.is_there().await {
        return Ok(Vec::new());
    }
    let books = store.spending().await?;
    books.spent_at(provider, since.0 / 1_000).await
}

/// What was bought at a provider since the beginning of a quarter (unix seconds).
pub async fn bought_at(
    store: &StoreDesk,
    provider: &str,
    since: u64,
) -> Result<Bought, StoreError> {
    if !store.is_there().await {
        return Ok(Bought::default());
    }
    store.spending().await?.bought(provider, since).await
}

/// When each of these was told last; see [`alerted`]. Where the store cannot say, never: rather told twice than not at
/// all.
pub async fn told_before(store: &StoreDesk, what: Vec<String>) -> Vec<Option<u64>> {
    let count = what.len();
    if count == 0 || !store.is_there().await {
        return vec![None; count];
    }
    let asked = async { store.spending().await?.alerted(what).await };
    asked.await.unwrap_or_else(|_| vec![None; count])
}

/// Says which tags have a budget, each with its tenant.
pub async fn keep(store: &StoreDesk, tags: Vec<(String, String)>) -> Result<(), StoreError> {
    if !store.is_there().await {
        return Ok(());
    }
    store.spending().await?.keep(tags).await
}

/// What a tenant spent since a time; nothing where nothing was ever booked.
pub async fn spent_since(
    store: &StoreDesk,
    tenant: &str,
    since: Wall,
) -> Result<Vec<Spent>, StoreError> {
    if !store.is_there().await {
        return Ok(Vec::new());
    }
    store.spending().await?.spent(tenant, since.0 / 1_000).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::ReadOutcome;

    fn outcome(at: u64, tag: &str) -> ReadOutcome {
        let line = format!(
            r#"{{"at":{at},"request":"sy-00000000000000000000000000000001","client":"app","tenant":"acme","tags":["{tag}"],"how":"ok","cost_nano":10,"charged_nano":12}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    fn tags(batch: &Batch, quarter: u64) -> (usize, u64) {
        let of_it = batch.labels.iter();
        let of_it = of_it.filter(|(label, _)| label.quarter == quarter);
        let other = of_it.clone().filter(|(label, _)| label.value == "other");
        (of_it.count(), other.map(|(_, sum)| sum.requests).sum())
    }

    #[test]
    fn a23_names_are_told_apart_up_to_a_bound_in_each_quarter_however_long_a_stretch_is_booked_at_once()
     {
        let mut batch = Batch::default();
        let quarters = 3;
        for quarter in 0..quarters {
            for nth in 0..3_000 {
                // Other names in each of them, and each twice.
                let tag = format!("t-{quarter}-{}", nth % 1_500);
                let outcome = outcome(quarter * QUARTER * 1_000, &tag);
                batch.add(&(&outcome).into(), Some(10));
            }
        }
        for quarter in 0..quarters {
            assert_eq!(tags(&batch, quarter * QUARTER), (1_500, 0));
        }
        let of_tags = batch.margins.keys().filter(|place| !place.tag.is_empty());
        assert_eq!(of_tags.count(), 4_500);
        for nth in 0..5_000 {
            let outcome = outcome(QUARTER * 1_000, &format!("more-{nth}"));
            batch.add(&(&outcome).into(), Some(10));
        }
        // Those that are named, and the rest together.
        assert_eq!(
            tags(&batch, QUARTER),
            (MOST_LABELS + 1, 5_000 + 1_500 - MOST_LABELS as u64)
        );
        let others = batch
            .margins
            .iter()
            .filter(|(place, _)| place.tag == "other");
        let others: i64 = others.map(|(_, margin)| margin).sum();
        assert_eq!(others, 2 * (5_000 + 1_500 - MOST_LABELS as i64));
    }
}
