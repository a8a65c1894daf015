//! What a stretch of the journal adds up to.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{ALERT, alerted};
use crate::domain::{Bought, NanoUsd, Usage};
use crate::store::journal::{AttemptCost, Cost, OutcomeCost};

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

/// Tags and users that are told apart in one quarter of an hour by one batch: usually what came within seconds, but
/// also hours of it after an outage, or years.
const MOST_LABELS: usize = 4_096;
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

    pub(super) fn behind(from: Position) -> Self {
        Self {
            to: from,
            ..Self::default()
        }
    }

    /// Counts what one record tells.
    pub fn count(&mut self, cost: &Cost<'_>, at_ms: u64) {
        match cost {
            Cost::Outcome(outcome) => self.add(outcome, outcome.cost_nano),
            Cost::Attempt(attempt) => self.add_attempt(attempt),
            Cost::Event(event) if event.name == ALERT => {
                let what = alerted(event.subject, event.detail);
                self.alerted.insert(what, at_ms);
            }
            Cost::Event(_) | Cost::Other => {}
        }
    }

    /// Takes in what a later stretch adds up to.
    pub fn absorb(&mut self, later: Self) {
        self.to = later.to;
        for (slice, sum) in later.slices {
            let all = self.slices.entry(slice).or_default();
            *all = all.plus(&sum);
        }
        for (label, sum) in later.labels {
            self.label(label, &sum);
        }
        for (place, cost) in later.providers {
            let all = self.providers.entry(place).or_default();
            *all = all.saturating_add(cost);
        }
        for (place, bought) in later.bought {
            let all = self.bought.entry(place).or_default();
            all.add(bought.billed, bought.tokens);
        }
        for (place, margin) in later.margins {
            self.margin(place, margin);
        }
        self.alerted.extend(later.alerted);
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
            let label = Label {
                quarter,
                tenant: tenant.to_owned(),
                kind,
                value: (*value).to_owned(),
            };
            let mut sum = Sum::default();
            sum.add(outcome, cost_nano);
            self.label(label, &sum);
        }
    }

    fn label(&mut self, mut label: Label, more: &Sum) {
        // Whatever clients call themselves, the books stay small (attack A23).
        if !self.labels.contains_key(&label) && !has_room(&mut self.labelled, label.quarter) {
            label.value = "other".to_owned();
        }
        let sum = self.labels.entry(label).or_default();
        *sum = sum.plus(more);
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
        for place in places {
            self.margin(place, margin);
        }
    }

    fn margin(&mut self, mut place: MarginPlace, more: i64) {
        // As with the labels.
        let is_new_tag = !place.tag.is_empty() && !self.margins.contains_key(&place);
        if is_new_tag && !has_room(&mut self.tagged, place.quarter) {
            place.tag = "other".to_owned();
        }
        let sum = self.margins.entry(place).or_default();
        *sum = sum.saturating_add(more);
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
