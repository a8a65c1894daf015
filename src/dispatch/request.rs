//! What dispatch knows of a request: facts decided at the edge, never changed afterwards.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::bill::{Bill, Payer};
use super::guard::Guarded;
use super::tools::Tools;
use crate::actors::{Estimate, JournalDesk, Published, Route, Target};
use crate::dialects::media::Fetched;
use crate::dialects::openai::ChatPeek;
use crate::dialects::with_limit;
use crate::domain::{
    ClientDialect, ClientName, Lane, Operation, Preference, RequestId, Shape, Tokens, Unoffered,
    Unsupported,
};
use crate::policy::residency::Demand;
use crate::pricing::Bounds;
use crate::upstream::Unfetched;

/// How a client wants two legs, beyond what the pool's settings say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RaceMark {
    #[default]
    None,
    /// `x-switchyard-race: dual`.
    Dual,
    /// `x-switchyard-race: off`.
    Off,
}

#[expect(
    clippy::disallowed_types,
    reason = "asked by one task at a time and held for a clone only; a swap that waits for readers costs more than the whole placement"
)]
pub(super) type Lock<T> = std::sync::Mutex<T>;

/// What the client sent, and the share of the memory for bodies that it was granted.
pub struct Prompt {
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl Prompt {
    pub fn new(bytes: Bytes, memory: OwnedSemaphorePermit) -> Self {
        Self {
            bytes,
            _memory: memory,
        }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The prompt until it is let go.
pub struct HeldPrompt(Lock<Option<Prompt>>);

impl From<Prompt> for HeldPrompt {
    fn from(prompt: Prompt) -> Self {
        Self(Lock::new(Some(prompt)))
    }
}

/// Who asks, and who pays.
#[derive(Clone, Debug)]
pub struct Caller {
    pub client: ClientName,
    /// Whether the configuration names it. A key of the store has its name within its tenant only, so nothing that
    /// the configuration says of a bare name is meant for it (attack A04).
    pub of_file: bool,
    pub payer: Payer,
    /// Short words of the client's, to tell what it spent on what.
    pub tags: Vec<Arc<str>>,
    /// The client's own end user.
    pub user: Option<Arc<str>>,
}

impl Caller {
    /// As the configuration calls it; `None` for a key of the store.
    pub fn name_in_file(&self) -> Option<&ClientName> {
        self.of_file.then_some(&self.client)
    }

    /// How much of each of its texts the journal keeps; `None` when none is.
    pub(super) fn text_limit(&self, journal: &JournalDesk) -> Option<usize> {
        let named = self.name_in_file().map(ClientName::as_str);
        journal.text_limit(&self.payer.tenant, (self.client.as_str(), named))
    }
}

/// How placement finds a pool of a chain that a request put together.
#[derive(Clone, Debug)]
pub struct Detour {
    /// The name that leads to it.
    pub name: Arc<str>,
    /// How far along that name's own chain.
    pub step: usize,
}

pub struct Request {
    pub id: RequestId,
    pub arrived: Instant,
    pub deadline: Instant,
    pub caller: Caller,
    pub bill: Arc<Bill>,
    pub operation: Operation,
    /// The client's dialect.
    pub speaks: ClientDialect,
    /// The client's header fields that a provider of the same dialect gets to see.
    pub passed: Vec<(http::HeaderName, http::HeaderValue)>,
    /// What the body is, with a form's boundary; `None` for JSON.
    pub content_type: Option<http::HeaderValue>,
    pub lane: Lane,
    pub race: RaceMark,
    /// The model as the client wrote it.
    pub asked: Arc<str>,
    /// Kept until content shows, because until then another provider may have to read it.
    pub prompt: HeldPrompt,
    /// Of the body, in bytes.
    pub length: u64,
    pub peek: ChatPeek,
    pub shape: Shape,
    pub estimate: Estimate,
    /// The configuration this request sees to its end (fault C04).
    pub published: Arc<Published>,
    pub route: Arc<Route>,
    /// How each pool of the route is found, when the request itself named some of them. `None` when the route is
    /// that of the model asked for.
    pub detours: Option<Arc<[Detour]>>,
    /// Which providers the client would rather have; `None` when it does not say.
    pub preference: Option<Arc<Preference>>,
    /// What whoever serves it has to promise; `None`: nothing.
    pub demand: Option<Arc<Demand>>,
    /// Attempts this request may have, never more than the configuration allows.
    pub max_attempts: u32,
    /// What the client asked to be done with what a provider cannot be told.
    pub unsupported: Option<Unsupported>,
    /// What its addresses led to, once somebody had to know.
    pub media: OnceCell<Result<Arc<Fetched>, Unfetched>>,
    /// What its answers may call.
    pub tools: Arc<Tools>,
    /// What the guard keeps for the answer; `None` when it has nothing to do with it.
    pub guarded: Option<Arc<Guarded>>,
    /// Told when its first attempt is placed, for one who waits for that.
    pub placed: Arc<Notify>,
}

impl Request {
    /// What bounds its cost.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            operation: self.operation,
            bytes: self.length,
            max_output: self.peek.max_output,
            choices: self.peek.choices,
            pictures: self.peek.media.pictures,
            files: self
                .peek
                .media
                .files
                .saturating_add(self.peek.media.sources),
            aloud: self.peek.aloud,
            tier: self.peek.tier,
            unasked: self.route.unasked(),
        }
    }

    /// The name and the step by which placement finds a pool of this request's chain.
    pub(super) fn at(&self, step: usize) -> (Arc<str>, usize) {
        let detour = self.detours.as_ref().map(|detours| detours.get(step));
        match detour {
            None => (Arc::clone(&self.asked), step),
            Some(Some(detour)) => (Arc::clone(&detour.name), detour.step),
            // Behind the last pool there is none, by whichever name.
            Some(None) => (Arc::clone(&self.asked), usize::MAX),
        }
    }

    /// Gives a request that names no limit on its answer that of the narrowest account it counts in.
    ///
    /// # Why the provider is told
    /// What is set aside for an answer is bounded by what the provider may write; a bound that only we know of would
    /// be kept by nobody.
    pub fn bounded(mut self) -> Self {
        let Some(limit) = self.default_limit() else {
            return self;
        };
        let body = self.body();
        if let Some((body, moved)) = with_limit(&body, self.speaks, self.operation, limit) {
            self.rewrite(body, &[moved]);
            self.peek.max_output = Some(limit);
            let choices = u64::from(self.peek.choices.max(1));
            self.estimate.output = Tokens(limit.saturating_mul(choices));
        }
        self
    }

    fn default_limit(&self) -> Option<u64> {
        let payer = &self.caller.payer;
        let accounts = &payer.entry.as_ref()?.settings.accounts;
        if self.peek.max_output.is_some() {
            return None;
        }
        let narrowest_first = payer.path.iter().rev();
        narrowest_first
            .filter_map(|name| accounts.get(name))
            .find_map(|terms| terms.default_max_output)
    }

    /// Puts another body in the place of the client's; `edits` tells what became longer or shorter. Its cost is
    /// bounded by what is sent.
    pub(super) fn rewrite(&mut self, body: Bytes, edits: &[(Range<usize>, usize)]) {
        if let Ok(held) = self.prompt.0.get_mut()
            && let Some(prompt) = held
        {
            self.length = body.len() as u64;
            prompt.bytes = body;
            self.peek.moved(edits);
        }
    }

    /// The body; empty once it was let go.
    pub fn body(&self) -> Bytes {
        let held = self.prompt.0.lock();
        let prompt = held.as_ref().ok().and_then(|held| held.as_ref());
        prompt.map_or_else(Bytes::new, |prompt| prompt.bytes.clone())
    }

    /// What is to be done with what this target's provider cannot be told.
    pub(super) fn unsupported(&self, target: &Target) -> Unsupported {
        let own = || {
            let mut pools = self.route.chain.iter();
            let pool = pools.find(|pool| Arc::ptr_eq(&pool.cell, &target.pool))?;
            pool.settings.unsupported
        };
        let usual = self.published.settings.unsupported.usual;
        self.unsupported.or_else(own).unwrap_or(usual)
    }

    /// What becomes of an answer of this target's that calls what was not offered.
    pub(super) fn unoffered(&self, target: &Target) -> Unoffered {
        let mut pools = self.route.chain.iter();
        let pool = pools.find(|pool| Arc::ptr_eq(&pool.cell, &target.pool));
        pool.map_or(Unoffered::Flag, |pool| pool.settings.unoffered_tools)
    }

    /// No further attempt can follow: a stream may go on for minutes, and its prompt need not stay.
    pub(super) fn let_go_of_the_prompt(&self) {
        Tools::settle(&self.tools, self.speaks);
        if let Ok(mut held) = self.prompt.0.lock() {
            *held = None;
        }
    }

    /// A hash of the body, for requests that fail everywhere (fault P27). Only computed when it matters.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.body().hash(&mut hasher);
        // Zero marks an empty place in the list.
        hasher.finish().max(1)
    }
}
