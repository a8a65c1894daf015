//! Which behaviour a request gets: rules first, then the script, then the default.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::asked::Asked;
use super::behaviour::{Act, After, Behaviour, Slice, Step};
use super::dialect::Dialect;
use super::edit;
use super::log::Reported;
use super::plan::Plan;
use super::rate_limit::{RateLimit, Windows};
use super::weather::Weather;

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
        if self.checks
            && matches!(behaviour.act, Act::Healthy(_))
            && let Some(refusal) = self.dialect.refuse(asked)
        {
            behaviour = refusal;
        }
        if matches!(behaviour.act, Act::Healthy(_)) {
            behaviour = limit_fields
                .into_iter()
                .fold(behaviour, |plain, (name, value)| plain.header(&name, value));
        }
        self.perform(asked, behaviour)
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

    fn key_is_good(&self, asked: &Asked) -> bool {
        let Some(keys) = &self.keys else { return true };
        asked
            .key()
            .and_then(|key| keys.get(key))
            .copied()
            .unwrap_or(false)
    }

    fn perform(&self, asked: &Asked, behaviour: Behaviour) -> Performance {
        let Behaviour {
            label,
            act,
            delay,
            slice,
            after,
        } = behaviour;
        let mut reported = None;
        let mut steps = Vec::new();
        if !delay.is_zero() {
            steps.push(Step::Sleep(delay));
        }
        match act {
            Act::Healthy(healthy) => {
                let weather = healthy.weather.unwrap_or(self.weather);
                let plan = Plan::new(&self.name, asked, &healthy, &weather, self.seed);
                let (mut draft, usage) = if self.dialect.is_embedding(asked.bare_path()) {
                    self.dialect.embeddings(asked, &plan)
                } else {
                    (self.dialect.draft(&plan), plan.usage)
                };
                reported = Some(usage);
                healthy
                    .edits
                    .iter()
                    .for_each(|edit: &edit::Edit| edit.apply(&mut draft));
                steps.extend(draft.steps());
            }
            Act::Canned(canned) => steps.extend(canned.steps()),
            Act::Steps(bare) => steps.extend(bare),
            // A choice that never settles: answered as a provider that is broken.
            Act::Choose(_) => steps.push(Step::Reset),
        }
        Performance {
            label,
            steps,
            slice,
            after,
            reported,
        }
    }
}
