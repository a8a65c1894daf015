//! What is looked for, and what is done about each.

/// What the guard knows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Email,
    Phone,
    Card,
    Iban,
    NationalId,
    Ip,
    /// From a list of the operator's.
    Name,
    /// API keys, tokens, private keys, passwords.
    Secret,
}

impl Class {
    pub const ALL: [Self; 8] = [
        Self::Email,
        Self::Phone,
        Self::Card,
        Self::Iban,
        Self::NationalId,
        Self::Ip,
        Self::Name,
        Self::Secret,
    ];

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Email => ("email", "EMAIL"),
            Self::Phone => ("phone", "PHONE"),
            Self::Card => ("card", "CARD"),
            Self::Iban => ("iban", "IBAN"),
            Self::NationalId => ("national_id", "NATIONAL_ID"),
            Self::Ip => ("ip", "IP"),
            Self::Name => ("name", "PERSON"),
            Self::Secret => ("secret", "SECRET"),
        }
    }

    /// The name in the configuration, in metrics and in the journal.
    pub const fn label(self) -> &'static str {
        self.row().0
    }

    /// The word in a placeholder.
    pub const fn word(self) -> &'static str {
        self.row().1
    }

    pub const fn rule(self) -> RuleId {
        RuleId(self as u8)
    }
}

/// Patterns of the operator's come behind the classes.
pub(super) const CLASSES: usize = Class::ALL.len();
/// Rules there can be: the classes, and patterns.
pub(super) const MOST_RULES: usize = 40;

/// One thing that is looked for: a class, or a pattern of the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub(super) u8);

impl RuleId {
    /// The rule of the pattern with this place in the list.
    pub fn of_pattern(place: usize) -> Option<Self> {
        let id = place.checked_add(CLASSES).filter(|id| *id < MOST_RULES)?;
        u8::try_from(id).ok().map(Self)
    }

    /// Every rule there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).map(Self).take(MOST_RULES)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What is done about a hit, from nothing to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    #[default]
    Off,
    /// It stays, and header, journal and metric say so.
    Mark,
    /// It stays, and the request goes to providers of allowed regions only.
    Route,
    /// A placeholder takes its place; in a request until the answer comes back.
    Redact,
    /// The request is refused; an answer ends there.
    Block,
}

impl Action {
    pub const ALL: [Self; 5] = [
        Self::Off,
        Self::Mark,
        Self::Route,
        Self::Redact,
        Self::Block,
    ];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mark => "mark",
            Self::Route => "route",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }
}

/// An action for each rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions([Action; MOST_RULES]);

impl Default for Actions {
    fn default() -> Self {
        Self([Action::Off; MOST_RULES])
    }
}

impl Actions {
    pub fn of(&self, rule: RuleId) -> Action {
        self.0.get(rule.index()).copied().unwrap_or_default()
    }

    pub fn set(&mut self, rule: RuleId, action: Action) {
        if let Some(place) = self.0.get_mut(rule.index()) {
            *place = action;
        }
    }

    /// Of each rule the stricter: who is asked by two asks for both.
    pub fn join(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = theirs.max(*mine);
        }
    }

    pub fn is_off(&self) -> bool {
        self.0.iter().all(|action| *action == Action::Off)
    }

    pub fn any(&self, wanted: Action) -> bool {
        self.0.contains(&wanted)
    }

    pub fn wants(&self, rule: RuleId) -> bool {
        self.of(rule) != Action::Off
    }
}

/// How often each rule was met: all that may be told about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally([u32; MOST_RULES]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; MOST_RULES])
    }
}

impl Tally {
    pub fn count(&mut self, rule: RuleId) {
        if let Some(count) = self.0.get_mut(rule.index()) {
            *count = count.saturating_add(1);
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// The rules that were met, with their counts.
    pub fn met(&self) -> impl Iterator<Item = (RuleId, u32)> + '_ {
        (0..)
            .map(RuleId)
            .zip(self.0.iter().copied())
            .filter(|(_, count)| *count > 0)
    }
}
