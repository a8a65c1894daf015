//! What dispatch knows of a request: facts decided at the edge, never changed afterwards.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use tokio::time::Instant;

use crate::actors::{Estimate, Published, Route, Target};
use crate::dialects::media::Fetched;
use crate::dialects::openai::ChatPeek;
use crate::domain::{ClientDialect, ClientName, Lane, Operation, RequestId, Shape, Unsupported};
use crate::upstream::MediaFault;

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
type Lock<T> = std::sync::Mutex<T>;

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

pub struct Request {
    pub id: RequestId,
    pub arrived: Instant,
    pub deadline: Instant,
    pub client: ClientName,
    pub operation: Operation,
    /// The client's dialect.
    pub speaks: ClientDialect,
    /// The client's header fields that a provider of the same dialect gets to see.
    pub passed: Vec<(http::HeaderName, http::HeaderValue)>,
    pub lane: Lane,
    pub race: RaceMark,
    /// The model as the client wrote it.
    pub asked: Arc<str>,
    /// Kept until content shows, because until then another provider may have to read it.
    pub prompt: HeldPrompt,
    pub peek: ChatPeek,
    pub shape: Shape,
    pub estimate: Estimate,
    /// The configuration this request sees to its end (fault C04).
    pub published: Arc<Published>,
    pub route: Arc<Route>,
    /// What the client asked to be done with what a provider cannot be told.
    pub unsupported: Option<Unsupported>,
    /// What its addresses led to, once somebody had to know.
    pub media: OnceCell<Result<Arc<Fetched>, MediaFault>>,
}

impl Request {
    /// The body; empty once it was let go.
    pub(super) fn body(&self) -> Bytes {
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

    /// No further attempt can follow: a stream may go on for minutes, and its prompt need not stay.
    pub(super) fn let_go_of_the_prompt(&self) {
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
