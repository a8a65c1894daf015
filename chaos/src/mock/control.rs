//! Which behaviour a request gets: rules first, then the script, then the default.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::asked::Asked;
use super::behaviour::{Act, After, Behaviour, Healthy, Slice, Step};
use super::dialect::Dialect;
use super::draft::Draft;
use super::edit;
use super::log::Reported;
use super::mark::marked;
use super::plan::Plan;
use super::rate_limit::{RateLimit, Windows};
use super::weather::Weather;
use crate::http1;

type Predicate = Box<dyn Fn(&Asked) -> bool + Send + Sync>;

/// What can be changed while the mock runs.
pub(super) struct Control {
    pub(super) dialect: Dialect,
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) models: Vec<String>,
    pub(super) checks: bool,
    pub(super) weather: Weather,
    pub(super) default: Behaviour,
    pub(super) script: VecDeque<Behaviour>,
    pub(super) rules: Vec<(Predicate, Behaviour)>,
    /// `None`: every key is good. Otherwise a key is good when it is listed as `true`.
    pub(super) keys: Option<HashMap<String, bool>>,
    /// Refused whatever `keys` says, and nobody else with them.
    pub(super) refused: HashSet<String>,
    /// How often a refused key was told so.
    pub(super) refusals: u64,
    pub(super) limit: Option<RateLimit>,
    pub(super) windows: Windows,
}

impl fmt::Debug for Control {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Control")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A behaviour made ready for the wire.
#[derive(Debug)]
pub(super) struct Performance {
    pub(super) label: Option<Arc<str>>,
    pub(super) steps: Vec<Step>,
    pub(super) slice: Option<Slice>,
    pub(super) after: After,
    pub(super) reported: Option<Reported>,
}

/// A choice may choose a choice, but not for ever.
const MOST_CHOICES: usize = 8;

/// What a choice comes to for this request, and what it does not say itself taken from who chose.
fn chosen(mut behaviour: Behaviour, asked: &Asked) -> Behaviour {
    for _ in 0..MOST_CHOICES {
        let Act::Choose(choose) = &behaviour.act else {
            break;
        };
        let mut chosen = (choose.0)(asked);
        chosen.delay = chosen.delay.saturating_add(behaviour.delay);
        chosen.slice = chosen.slice.or(behaviour.slice);
        chosen.label = chosen.label.or(behaviour.label);
        if chosen.after == After::KeepAlive {
            chosen.after = behaviour.after;
        }
        behaviour = chosen;
    }
    behaviour
}

impl Control {
    pub(super) fn decide(&mut self, asked: &Asked) -> Performance {
        let mut limit_fields = Vec::new();
        let mut behaviour = if let Some(scripted) = self.rule(asked) {
            scripted
        } else if !self.key_is_good(asked) {
            self.dialect.wrong_key("incorrect API key provided")
        } else if asked.method == "GET" && self.dialect.is_models(asked.bare_path()) {
            Behaviour::status(200).json(&self.dialect.models(&self.models))
        } else if !(asked.method == "POST" && self.is_work(asked.bare_path())) {
            self.dialect.error(
                404,
                &format!("unknown request: {} {}", asked.method, asked.bare_path()),
            )
        } else {
            let verdict = self.limit.map(|limit| {
                self.windows
                    .take(limit, asked.key().unwrap_or_default(), asked.at)
            });
            limit_fields = verdict
                .map(|verdict| verdict.fields(self.dialect))
                .unwrap_or_default();
            match verdict.filter(|verdict| !verdict.allowed) {
                Some(refused) => refused.refusal(self.dialect),
                None => self
                    .script
                    .pop_front()
                    .unwrap_or_else(|| self.default.clone()),
            }
        };
        behaviour = chosen(behaviour, asked);
        if matches!(behaviour.act, Act::Healthy(_))
            && let Some(counted) = self.dialect.counted(asked)
        {
            behaviour = counted;
        }
        if self.checks
            && matches!(behaviour.act, Act::Healthy(_))
            && let Some(refusal) = self.dialect.refuse(asked)
        {
            behaviour = refusal;
        }
        let healthy = Healthy {
            edits: limit_fields
                .iter()
                .map(|(name, value)| edit::header(name, value.as_str()))
                .collect(),
            ..Healthy::default()
        };
        if matches!(behaviour.act, Act::Healthy(_)) {
            behaviour = limit_fields
                .into_iter()
                .fold(behaviour, |plain, (name, value)| plain.header(&name, value));
        }
        self.perform(asked, behaviour, &healthy)
    }

    /// Whether limits, scripts and faults are meant for this path.
    fn is_work(&self, path: &str) -> bool {
        self.dialect.is_generation(path)
            || self.dialect.is_embedding(path)
            || self.dialect.is_passed(path)
    }

    fn rule(&self, asked: &Asked) -> Option<Behaviour> {
        self.rules
            .iter()
            .rev()
            .find(|(applies, _)| applies(asked))
            .map(|(_, behaviour)| behaviour.clone())
    }

    fn key_is_good(&mut self, asked: &Asked) -> bool {
        if asked.key().is_some_and(|key| self.refused.contains(key)) {
            self.refusals = self.refusals.saturating_add(1);
            return false;
        }
        let Some(keys) = &self.keys else { return true };
        asked
            .key()
            .and_then(|key| keys.get(key))
            .copied()
            .unwrap_or(false)
    }

    /// `healthy` is what the request would have been answered without a fault: beside it a fault shows.
    fn perform(&self, asked: &Asked, behaviour: Behaviour, healthy: &Healthy) -> Performance {
        let Behaviour {
            label,
            act,
            delay,
            slice,
            after,
        } = behaviour;
        let mut reported = None;
        let mut steps = Vec::new();
        let mut unspoilt = healthy.clone();
        // One moment for both answers, or a second that passes would show as a fault.
        let now = http1::unix_now();
        if !delay.is_zero() {
            steps.push(Step::Sleep(delay));
        }
        match act {
            Act::Healthy(spoilt) => {
                let (draft, usage) = self.drafted(asked, &spoilt, now);
                reported = Some(usage);
                steps.extend(draft.steps());
                // What is spoilt by edits shows where they do: a fault may bring a longer or quicker answer of its
                // own, only so that there is something to spoil.
                if spoilt.edits.len() > healthy.edits.len() {
                    unspoilt = Healthy {
                        edits: healthy.edits.clone(),
                        ..*spoilt
                    };
                }
            }
            Act::Canned(canned) => steps.extend(canned.steps()),
            Act::Steps(bare) => steps.extend(bare),
            // A choice that never settles: answered as a provider that is broken.
            Act::Choose(_) => steps.push(Step::Reset),
        }
        if label.is_some() {
            let unspoilt = self.drafted(asked, &unspoilt, now).0.steps();
            steps = marked(steps, &unspoilt, slice.is_some());
        }
        Performance {
            label,
            steps,
            slice,
            after,
            reported,
        }
    }

    fn drafted(&self, asked: &Asked, healthy: &Healthy, now: i64) -> (Draft, Reported) {
        let weather = healthy.weather.unwrap_or(self.weather);
        let mut plan = Plan::new(&self.name, asked, healthy, &weather, self.seed);
        plan.created = now;
        let (mut draft, usage) = if self.dialect.is_embedding(asked.bare_path()) {
            self.dialect.embeddings(asked, &plan)
        } else if let Some(answer) = self.dialect.passed(asked, &plan) {
            answer
        } else {
            (self.dialect.draft(&plan), plan.usage)
        };
        healthy.edits.iter().for_each(|edit| edit.apply(&mut draft));
        (draft, usage)
    }
}
