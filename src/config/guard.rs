//! What the guard looks for and what it does about it: `[guard]`, `[pools.x.guard]`, `guard` of a client.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::{Judge, base_url_mistakes};
use super::raw::RawConfig;
use super::secret::Secret;
use super::settings::{EgressSettings, ProxySettings};
use super::{egress, residency};
use crate::domain::{ClientName, PoolName};
use crate::policy::guard::{
    Action, Actions, Class, Finder, FinderError, Lists, MOST_PATTERNS, Pattern, RuleId,
};

// --- as written ---

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGuard {
    pub(super) requests: BTreeMap<String, RawAction>,
    pub(super) answers: BTreeMap<String, RawAction>,
    pub(super) structured: RawAction,
    pub(super) regions: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) names_file: String,
    pub(super) patterns: Vec<RawPattern>,
    pub(super) max_text_bytes: u64,
    pub(super) max_ms: u64,
    pub(super) webhook: RawWebhook,
}

impl Default for RawGuard {
    fn default() -> Self {
        Self {
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            structured: RawAction::Off,
            regions: Vec::new(),
            names: Vec::new(),
            names_file: String::new(),
            patterns: Vec::new(),
            max_text_bytes: 4 << 20,
            max_ms: 1_000,
            webhook: RawWebhook::default(),
        }
    }
}

/// What a pool or a client says of its own.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGuardRules {
    pub(super) requests: BTreeMap<String, RawAction>,
    pub(super) answers: BTreeMap<String, RawAction>,
    pub(super) structured: Option<RawAction>,
    pub(super) regions: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawAction {
    Off,
    Mark,
    Route,
    Redact,
    Block,
}

impl From<RawAction> for Action {
    fn from(raw: RawAction) -> Self {
        match raw {
            RawAction::Off => Self::Off,
            RawAction::Mark => Self::Mark,
            RawAction::Route => Self::Route,
            RawAction::Redact => Self::Redact,
            RawAction::Block => Self::Block,
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPattern {
    pub(super) name: String,
    pub(super) regex: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWebhook {
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) timeout_ms: u64,
    pub(super) max_answer_bytes: u64,
    pub(super) on_failure: RawOnFailure,
    pub(super) allow_private_address: bool,
    pub(super) regions: Vec<String>,
}

impl Default for RawWebhook {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret: String::new(),
            timeout_ms: 1_000,
            max_answer_bytes: 1 << 20,
            on_failure: RawOnFailure::Refuse,
            allow_private_address: false,
            regions: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawOnFailure {
    Refuse,
    Allow,
}

// --- as used ---

/// What is done about what is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardRules {
    pub requests: Actions,
    pub answers: Actions,
    /// About an answer that is not what the request's own schema says.
    pub structured: Action,
    /// Where what is routed may go: within each of these lists.
    pub regions: Vec<Vec<String>>,
}

impl GuardRules {
    pub fn is_off(&self) -> bool {
        self.requests.is_off() && self.answers.is_off() && self.structured == Action::Off
    }

    /// Both hold: of each rule the stricter, and the regions of both.
    fn join(&mut self, other: &Self) {
        if !self.requests.any(Action::Route) {
            self.regions.clear();
        }
        if other.requests.any(Action::Route) {
            for list in &other.regions {
                if !self.regions.contains(list) {
                    self.regions.push(list.clone());
                }
            }
        }
        self.requests.join(&other.requests);
        self.answers.join(&other.answers);
        self.structured = self.structured.max(other.structured);
    }
}

/// The guard of a whole gateway. There is none where no rule is.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    pub finder: Arc<Finder>,
    lists: Lists,
    base: GuardRules,
    pools: HashMap<PoolName, GuardRules>,
    clients: HashMap<ClientName, GuardRules>,
    /// More text than this is not looked at, and so not sent.
    pub max_text_bytes: usize,
    /// The search may take this long, waiting for its turn included.
    pub limit: Duration,
    pub webhook: Option<Arc<WebhookSettings>>,
}

impl PartialEq for GuardSettings {
    fn eq(&self, other: &Self) -> bool {
        // What finds follows from the lists.
        self.lists == other.lists
            && self.base == other.base
            && self.pools == other.pools
            && self.clients == other.clients
            && (self.max_text_bytes, self.limit) == (other.max_text_bytes, other.limit)
            && self.webhook == other.webhook
    }
}

/// An operator's own judge of prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSettings {
    pub url: String,
    pub secret: Secret,
    pub timeout: Duration,
    pub max_answer_bytes: usize,
    /// A prompt it did not judge goes on all the same.
    pub allows_on_failure: bool,
    /// Where it reads prompts; empty: nobody says, so none that has to stay anywhere is shown to it.
    pub regions: Vec<String>,
    pub egress: Option<Arc<ProxySettings>>,
}

impl GuardSettings {
    /// What holds for a client in all the pools that its request may come to; `None` for one that the configuration
    /// does not name.
    pub fn rules<'a>(
        &self,
        pools: impl Iterator<Item = &'a PoolName>,
        client: Option<&ClientName>,
    ) -> GuardRules {
        let mut rules = GuardRules::default();
        for pool in pools {
            rules.join(self.pools.get(pool).unwrap_or(&self.base));
        }
        if let Some(own) = client.and_then(|client| self.clients.get(client)) {
            rules.join(own);
        }
        rules
    }

    /// What a rule is called in the configuration, in metrics and in the journal.
    pub fn name_of(&self, rule: RuleId) -> &str {
        let class = Class::ALL.iter().find(|class| class.rule() == rule);
        let pattern = || {
            let mut patterns = self.lists.patterns.iter().enumerate();
            patterns.find(|(place, _)| RuleId::of_pattern(*place) == Some(rule))
        };
        match class {
            Some(class) => class.label(),
            None => pattern().map_or("pattern", |(_, pattern)| &pattern.name),
        }
    }

    /// For the version of the settings: what was read from elsewhere.
    pub(super) fn names(&self) -> &[String] {
        &self.lists.names
    }
}

// --- from one to the other ---

/// A list of names larger than this is a mistake.
const LARGEST_FILE: u64 = 8 << 20;

/// `None` where nothing is looked for.
pub(super) fn settings(
    judge: &mut Judge<'_>,
    raw: &RawConfig,
    egress: &EgressSettings,
) -> Option<Arc<GuardSettings>> {
    let guard = &raw.guard;
    let lists = lists(judge, raw);
    let reader = Reader {
        patterns: lists
            .patterns
            .iter()
            .map(|pattern| pattern.name.clone())
            .collect(),
        has_names: !lists.names.is_empty(),
    };
    let own = RawGuardRules {
        requests: guard.requests.clone(),
        answers: guard.answers.clone(),
        structured: Some(guard.structured),
        regions: Some(guard.regions.clone()),
    };
    let base = reader.rules(judge, "guard", &own, &GuardRules::default());
    let mut pools = HashMap::new();
    for (name, pool) in &raw.pools {
        if let Some(own) = &pool.guard {
            let rules = reader.rules(judge, &format!("pools.{name}.guard"), own, &base);
            pools.insert(PoolName::from(name.as_str()), rules);
        }
    }
    let mut clients = HashMap::new();
    for (index, client) in raw.clients.iter().enumerate() {
        if let Some(own) = &client.guard {
            let path = format!("clients[{index}].guard");
            let rules = reader.rules(judge, &path, own, &GuardRules::default());
            clients.insert(ClientName::from(client.name.as_str()), rules);
        }
    }
    let finder = finder(judge, &lists)?;
    let webhook = webhook(judge, &guard.webhook, egress);
    let mut all = std::iter::once(&base)
        .chain(pools.values())
        .chain(clients.values());
    if all.all(GuardRules::is_off) && webhook.is_none() {
        return None;
    }
    let size = judge.positive("guard.max_text_bytes", guard.max_text_bytes);
    Some(Arc::new(GuardSettings {
        finder: Arc::new(finder),
        lists,
        base,
        pools,
        clients,
        max_text_bytes: usize::try_from(size).unwrap_or(usize::MAX),
        limit: judge.millis("guard.max_ms", guard.max_ms),
        webhook,
    }))
}

fn finder(judge: &mut Judge<'_>, lists: &Lists) -> Option<Finder> {
    match Finder::new(lists) {
        Ok(finder) => Some(finder),
        Err(FinderError::Names(what)) => {
            judge.wrong("guard.names", what, "mend the list");
            None
        }
        Err(FinderError::Pattern { place, what }) => {
            judge.wrong(
                format!("guard.patterns[{place}].regex"),
                what,
                "see https://docs.rs/regex for what can be written",
            );
            None
        }
    }
}

fn lists(judge: &mut Judge<'_>, raw: &RawConfig) -> Lists {
    let guard = &raw.guard;
    let mut names = guard.names.clone();
    if !guard.names_file.is_empty() {
        names.extend(names_in(judge, &guard.names_file));
    }
    if guard.patterns.len() > MOST_PATTERNS {
        judge.wrong(
            "guard.patterns",
            format!("there are more than {MOST_PATTERNS}"),
            "join some with |",
        );
    }
    let answers = |name: &String| {
        let of_pools = raw.pools.values().filter_map(|pool| pool.guard.as_ref());
        let of_clients = raw
            .clients
            .iter()
            .filter_map(|client| client.guard.as_ref());
        let others = of_pools.chain(of_clients).map(|own| &own.answers);
        let mut all = std::iter::once(&guard.answers).chain(others);
        all.any(|rules| {
            rules
                .get(name)
                .is_some_and(|action| *action != RawAction::Off)
        })
    };
    let mut patterns: Vec<Pattern> = Vec::new();
    for (index, pattern) in guard.patterns.iter().take(MOST_PATTERNS).enumerate() {
        let path = format!("guard.patterns[{index}].name");
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let name = &pattern.name;
        if name.is_empty() || name.len() > 32 || !name.chars().all(fits) {
            judge.wrong(
                path.clone(),
                format!("{name:?} is no name of a rule"),
                "use up to 32 small letters, digits and _",
            );
        }
        let is_class = Class::ALL.iter().any(|class| class.label() == name);
        if is_class || patterns.iter().any(|other| other.name == *name) {
            judge.wrong(
                path,
                format!("{name:?} is there already"),
                "choose another name",
            );
        }
        patterns.push(Pattern {
            name: name.clone(),
            regex: pattern.regex.clone(),
            in_answers: answers(name),
        });
    }
    Lists { names, patterns }
}

fn names_in(judge: &mut Judge<'_>, file: &str) -> Vec<String> {
    const PATH: &str = "guard.names_file";
    let length = std::fs::metadata(file).map(|meta| meta.len());
    if length.as_ref().is_ok_and(|length| *length > LARGEST_FILE) {
        judge.wrong(PATH, "is larger than 8 MiB", "is it the right file");
        return Vec::new();
    }
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        }
        Err(error) => {
            judge.wrong(
                PATH,
                format!("{file} cannot be read ({})", error.kind()),
                "name a file with one name a line, or leave it out",
            );
            Vec::new()
        }
    }
}

/// Reads rules by the names there are.
struct Reader {
    patterns: Vec<String>,
    has_names: bool,
}

impl Reader {
    fn rule(&self, name: &str) -> Option<RuleId> {
        let class = Class::ALL.iter().find(|class| class.label() == name);
        let pattern = || self.patterns.iter().position(|pattern| pattern == name);
        match class {
            Some(class) => Some(class.rule()),
            None => pattern().and_then(RuleId::of_pattern),
        }
    }

    fn rules(
        &self,
        judge: &mut Judge<'_>,
        path: &str,
        own: &RawGuardRules,
        base: &GuardRules,
    ) -> GuardRules {
        let mut rules = base.clone();
        for (side, written, actions) in [
            ("requests", &own.requests, &mut rules.requests),
            ("answers", &own.answers, &mut rules.answers),
        ] {
            for (name, action) in written {
                let path = format!("{path}.{side}.{name}");
                match self.rule(name) {
                    Some(rule) => actions.set(rule, Action::from(*action)),
                    None => judge.wrong(path.clone(), "is no rule", self.cure()),
                }
                if name == Class::Name.label() && !self.has_names && *action != RawAction::Off {
                    judge.wrong(
                        path.clone(),
                        "there are no names",
                        "add guard.names or guard.names_file",
                    );
                }
                if side == "answers" && *action == RawAction::Route {
                    judge.wrong(
                        path,
                        "an answer cannot be routed",
                        "use mark, redact or block",
                    );
                }
            }
        }
        if let Some(structured) = own.structured {
            rules.structured = Action::from(structured);
            if matches!(structured, RawAction::Route | RawAction::Redact) {
                judge.wrong(
                    format!("{path}.structured"),
                    "is neither off, mark nor block",
                    "an answer that does not fit can only be marked or refused",
                );
            }
        }
        if let Some(regions) = &own.regions {
            let at = format!("{path}.regions");
            rules.regions = regions_of(judge, &at, regions).into_iter().collect();
        }
        if rules.requests.any(Action::Route) && rules.regions.is_empty() {
            judge.wrong(
                format!("{path}.regions"),
                "something is routed, but no region is allowed",
                "add regions = [\"eu-central-1\"]",
            );
        }
        rules
    }

    fn cure(&self) -> String {
        let classes = Class::ALL.iter().map(|class| class.label());
        let names: Vec<&str> = classes
            .chain(self.patterns.iter().map(String::as_str))
            .collect();
        format!("use one of: {}", names.join(", "))
    }
}

/// The regions of a list, if it names any.
fn regions_of(judge: &mut Judge<'_>, path: &str, regions: &[String]) -> Option<Vec<String>> {
    residency::places(judge, path, (!regions.is_empty()).then_some(regions));
    (!regions.is_empty()).then(|| regions.to_vec())
}

fn webhook(
    judge: &mut Judge<'_>,
    raw: &RawWebhook,
    egress: &EgressSettings,
) -> Option<Arc<WebhookSettings>> {
    const PATH: &str = "guard.webhook";
    if raw.url.is_empty() {
        return None;
    }
    base_url_mistakes(judge, &format!("{PATH}.url"), &raw.url);
    if raw.url.starts_with("http://") && !raw.allow_private_address {
        judge.wrong(
            format!("{PATH}.url"),
            "prompts would cross the open net unencrypted",
            "use https, or set allow_private_address = true for one inside your network",
        );
    }
    if raw.secret.is_empty() {
        judge.wrong(
            format!("{PATH}.secret"),
            "there is none, and nobody could tell whose prompts these are",
            "add secret = \"env:GUARD_SECRET\"",
        );
        return None;
    }
    let secret = judge.secret(&format!("{PATH}.secret"), &raw.secret)?;
    let most = judge.positive(&format!("{PATH}.max_answer_bytes"), raw.max_answer_bytes);
    let proxy = egress.proxy.clone();
    Some(Arc::new(WebhookSettings {
        url: raw.url.clone(),
        secret,
        timeout: judge.millis(&format!("{PATH}.timeout_ms"), raw.timeout_ms),
        max_answer_bytes: usize::try_from(most).unwrap_or(usize::MAX),
        allows_on_failure: raw.on_failure == RawOnFailure::Allow,
        regions: regions_of(judge, &format!("{PATH}.regions"), &raw.regions).unwrap_or_default(),
        egress: proxy.filter(|_| !egress::is_direct(&raw.url, &egress.no_proxy)),
    }))
}
