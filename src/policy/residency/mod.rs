//! Where a request may be processed, and by whom: what providers promise, what requests demand, and whether one
//! meets the other.
//!
//! # Why lists that all hold, and no merged list
//! Organisation, team, client, guard and request each say what they demand. None of them may widen what another said,
//! so a demand is all of these lists at once: adding one can only take providers away. What nobody promises is not
//! assumed: a provider without regions is nowhere, one that says nothing of training may train (attack A20).

mod places;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use places::is_place;
pub(super) use places::is_within as lies_in;

/// What a provider (or one key of it) promises about what it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// It is processed in one of these and nowhere else; empty: nobody says where.
    regions: Vec<String>,
    /// `regions` as the journal says it.
    said: String,
    /// Nothing is kept once the answer is out.
    zero_retention: bool,
    /// `None`: nobody says whether models learn from it.
    trains: Option<bool>,
    /// A model's name may lead to other regions than the address it is asked at (Bedrock's inference profiles).
    by_model: bool,
}

impl Handling {
    pub fn new(regions: Vec<String>, zero_retention: bool, trains: Option<bool>) -> Self {
        Self {
            said: regions.join(","),
            regions,
            zero_retention,
            trains,
            by_model: false,
        }
    }

    /// For a provider whose models' names may lead to other regions.
    #[must_use]
    pub fn by_model(mut self) -> Self {
        self.by_model = true;
        self
    }

    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    pub fn keeps_nothing(&self) -> bool {
        self.zero_retention
    }

    pub fn trains(&self) -> Option<bool> {
        self.trains
    }

    /// Where a request for this model is processed, for the journal; `None` when nobody says.
    pub fn place_of(&self, model: &str) -> Option<&str> {
        match self.profile(model) {
            Some(profile) => Some(profile),
            None => Some(self.said.as_str()).filter(|said| !said.is_empty()),
        }
    }

    fn profile(&self, model: &str) -> Option<&'static str> {
        self.by_model.then(|| places::profile(model)).flatten()
    }

    fn is_within(&self, model: &str, wanted: &[Arc<str>]) -> bool {
        let inside = |place: &str| wanted.iter().any(|wanted| places::is_within(place, wanted));
        match self.profile(model) {
            Some(profile) => inside(profile),
            // It may be any of them.
            None => !self.regions.is_empty() && self.regions.iter().all(|place| inside(place)),
        }
    }

    /// What keeps nothing has nothing to learn from.
    fn never_trains(&self) -> bool {
        match self.trains {
            Some(trains) => !trains,
            None => self.zero_retention,
        }
    }
}

/// Who would serve a request.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    pub provider: &'a str,
    pub handling: &'a Handling,
    /// As the provider calls it.
    pub model: &'a str,
}

/// Which demand a provider does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    Region,
    Retention,
    Training,
    Provider,
}

impl Violation {
    /// The option it is about: for metrics, the journal and clients.
    pub fn label(self) -> &'static str {
        match self {
            Self::Region => "regions",
            Self::Retention => "zero_retention",
            Self::Training => "no_training",
            Self::Provider => "providers",
        }
    }

    /// The filter in `/admin/explain`.
    pub fn removed(self) -> &'static str {
        match self {
            Self::Region => "outside the regions demanded",
            Self::Retention => "no promise of zero retention",
            Self::Training => "no promise not to train",
            Self::Provider => "not among the providers demanded",
        }
    }
}

/// What one table of the configuration, or one request, demands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands<'a> {
    /// `None`: anywhere.
    pub regions: Option<&'a [String]>,
    pub zero_retention: bool,
    pub no_training: bool,
    /// `None`: anyone. A `*` at the end of a name stands for anything.
    pub providers: Option<&'a [String]>,
    pub not_providers: &'a [String],
}

/// What a request demands of whoever serves it: everything that anyone demanded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// A provider has to be within each of these lists.
    regions: Vec<Arc<[Arc<str>]>>,
    zero_retention: bool,
    no_training: bool,
    /// A provider has to be on each of these lists.
    providers: Vec<Arc<[Arc<str>]>>,
    not_providers: Vec<Arc<str>>,
    /// The regions as the journal says them.
    said: String,
    /// The rest of it as the journal says it.
    words: Vec<&'static str>,
}

impl Demand {
    /// The same and this: never less.
    #[must_use]
    pub fn and(&self, more: &Demands<'_>) -> Self {
        let mut both = self.clone();
        both.regions.extend(more.regions.map(list));
        both.zero_retention |= more.zero_retention;
        both.no_training |= more.no_training;
        both.providers.extend(more.providers.map(list));
        let not = more.not_providers.iter();
        both.not_providers
            .extend(not.map(|name| Arc::from(name.as_str())));
        both.say();
        both
    }

    fn say(&mut self) {
        let lists = self.regions.iter().map(|list| list.join(","));
        self.said = lists.collect::<Vec<_>>().join(" & ");
        let words = [
            (self.zero_retention, Violation::Retention.label()),
            (self.no_training, Violation::Training.label()),
            (!self.providers.is_empty(), Violation::Provider.label()),
            (!self.not_providers.is_empty(), "not_providers"),
        ];
        let words = words.into_iter().filter(|(demanded, _)| *demanded);
        self.words = words.map(|(_, word)| word).collect();
    }

    /// Whether anyone may serve it.
    pub fn is_none(&self) -> bool {
        self.regions.is_empty() && self.words.is_empty()
    }

    /// Where it may be processed, for the journal: of lists joined by `&` each has to hold.
    pub fn region(&self) -> Option<&str> {
        (!self.regions.is_empty()).then_some(&*self.said)
    }

    /// What else is demanded, a word each.
    pub fn words(&self) -> &[&'static str] {
        &self.words
    }

    /// Whether this provider may serve it.
    pub fn allows(&self, server: Server<'_>) -> Result<(), Violation> {
        let named = |list: &[Arc<str>]| list.iter().any(|name| is_meant(name, server.provider));
        if !self.providers.iter().all(|list| named(list)) || named(&self.not_providers) {
            return Err(Violation::Provider);
        }
        let within = |wanted: &Arc<[Arc<str>]>| server.handling.is_within(server.model, wanted);
        if !self.regions.iter().all(within) {
            return Err(Violation::Region);
        }
        if self.zero_retention && !server.handling.keeps_nothing() {
            return Err(Violation::Retention);
        }
        if self.no_training && !server.handling.never_trains() {
            return Err(Violation::Training);
        }
        Ok(())
    }

    /// Whether somewhere outside the providers, such as a webhook that reads prompts, may see it. Regions are asked
    /// about and nothing else: what it keeps is the operator's own affair.
    pub fn allows_at(&self, regions: &[String]) -> Result<(), Violation> {
        let there = Handling::new(regions.to_vec(), true, Some(false));
        let within = |wanted: &Arc<[Arc<str>]>| there.is_within("", wanted);
        match self.regions.iter().all(within) {
            true => Ok(()),
            false => Err(Violation::Region),
        }
    }

    /// The first of these regions in which nothing that is demanded so far could be processed.
    pub fn beyond<'a>(&self, regions: &'a [String]) -> Option<&'a String> {
        let meets = |wanted: &Arc<[Arc<str>]>, one: &str| {
            wanted
                .iter()
                .any(|wanted| places::is_within(one, wanted) || places::is_within(wanted, one))
        };
        let inside = |one: &&String| self.regions.iter().all(|wanted| meets(wanted, one));
        regions.iter().find(|one| !inside(one))
    }
}

fn list(names: &[String]) -> Arc<[Arc<str>]> {
    names.iter().map(|name| Arc::from(name.as_str())).collect()
}

fn is_meant(written: &str, provider: &str) -> bool {
    match written.strip_suffix('*') {
        Some(beginning) => provider.starts_with(beginning),
        None => written == provider,
    }
}
