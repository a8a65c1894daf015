//! A key's token: kept where attempts find it, fetched anew by whoever is told to, out of their way.
//!
//! # Why here
//! The key's actor decides when a token is fetched; the token itself outlives that actor, because a crash
//! must not cost a working token. So the actor holds no secret, and this holds no schedule.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::trade::{NoToken, Trader};
use crate::config::{ProviderSettings, TokenRecipe};
use crate::domain::AttemptOutcome;
use crate::policy::token::{LONGEST, renew_after};
use crate::telemetry::metrics::token_refreshed;
use crate::upstream::error::{AttemptError, BuildError};

/// Most that fetching a token may take, all steps together.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// A token that a provider refuses is traded in, but not again within this: then it is not the token's fault.
const DOUBT_EVERY: Duration = Duration::from_secs(60);
/// A token that ends this soon is not sent any more.
const MARGIN: Duration = Duration::from_secs(1);

/// What is sent for a key.
#[derive(Clone)]
pub(crate) enum Means {
    /// The value of `authorization`.
    Bearer(HeaderValue),
    /// What requests are signed with.
    Aws(Credentials),
}

/// A token as it came.
pub(crate) struct Fetched {
    pub(crate) means: Means,
    pub(crate) life: Duration,
}

/// A token in use.
pub(crate) struct Token {
    pub(crate) means: Means,
    renew_at: Instant,
    ends_at: Instant,
}

/// How fetching a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    Fresh,
    Failed {
        /// Whoever gives tokens gives none for this key.
        refused: bool,
        /// How long the last token still serves; `None`: there is none.
        left: Option<Duration>,
    },
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// The last attempt to fetch one brought none.
    in_vain: bool,
    /// How often one was asked for, in vain or not.
    asked: u64,
    /// A provider refused the token, and whoever fetches one has not come to it yet.
    doubted: bool,
    /// When that was last so.
    doubted_at: Option<Instant>,
}

/// Keeps one key's token.
pub struct TokenKeeper {
    provider: String,
    trader: Trader,
    state: watch::Sender<State>,
}

impl std::fmt::Debug for TokenKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKeeper({})", self.provider)
    }
}

impl TokenKeeper {
    pub(crate) fn new(
        provider: &ProviderSettings,
        recipe: &Arc<TokenRecipe>,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            provider: provider.name.to_string(),
            trader: Trader::new(provider, recipe)?,
            state: watch::Sender::default(),
        })
    }

    /// Whether it trades what this recipe says: then its token stays good under new settings.
    pub(crate) fn follows(&self, recipe: &TokenRecipe) -> bool {
        self.trader.recipe() == recipe
    }

    /// What to send now. Waits only for the very first token, and after the last one's end.
    pub(crate) async fn current(&self) -> Result<Arc<Token>, AttemptError> {
        let none = AttemptError::of(AttemptOutcome::Token);
        let mut news = self.state.subscribe();
        let until = Instant::now() + FETCH_LIMIT;
        loop {
            {
                let state = news.borrow_and_update();
                if let Some(token) = state.standing() {
                    return Ok(token);
                }
                if state.in_vain {
                    return Err(none);
                }
            }
            let changed = timeout_at(until, news.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(none);
            }
        }
    }

    /// A provider refused this token before its end: another one, if there is a good chance that it helps.
    pub(crate) async fn instead_of(&self, refused: &Arc<Token>) -> Option<Arc<Token>> {
        let mut news = self.state.subscribe();
        let mut seen = None;
        self.state.send_if_modified(|state| {
            let (told, doubts_now) = state.doubt(refused, Instant::now());
            seen = told;
            doubts_now
        });
        let seen = seen?;
        let changed = timeout(FETCH_LIMIT, news.wait_for(|state| state.asked != seen)).await;
        let token = changed.ok()?.ok()?.standing()?;
        (!Arc::ptr_eq(&token, refused)).then_some(token)
    }

    /// Waits until a token is due, but at least this long, and fetches it; `draw` in 0..1 spreads the moment.
    pub async fn renew(&self, wait: Duration, draw: f64) -> Renewal {
        tokio::time::sleep(wait).await;
        self.until_due().await;
        let fetched = match timeout(FETCH_LIMIT, self.trader.fetch()).await {
            Ok(fetched) => fetched,
            Err(_elapsed) => Err(NoToken::Late),
        };
        let now = Instant::now();
        let (result, renewal) = match fetched {
            Ok(Fetched { means, life }) => {
                let life = life.min(LONGEST);
                let token = Token {
                    means,
                    renew_at: now + renew_after(life, draw),
                    ends_at: now + life,
                };
                self.state.send_modify(|state| {
                    state.token = Some(Arc::new(token));
                    state.in_vain = false;
                    state.doubted = false;
                    state.asked += 1;
                });
                ("ok", Renewal::Fresh)
            }
            Err(why) => {
                let mut left = None;
                self.state.send_modify(|state| {
                    state.in_vain = true;
                    state.asked += 1;
                    left = state.left(now);
                });
                let refused = why == NoToken::Refused;
                (why.label(), Renewal::Failed { refused, left })
            }
        };
        token_refreshed(&self.provider, result);
        renewal
    }

    async fn until_due(&self) {
        let mut news = self.state.subscribe();
        let due = news.borrow().token.as_ref().map(|token| token.renew_at);
        if let Some(due) = due {
            // The sender is here: it does not go away.
            let doubted = news.wait_for(|state| state.doubted);
            let _ = timeout_at(due, doubted).await;
        }
    }
}

impl State {
    fn standing(&self) -> Option<Arc<Token>> {
        self.left(Instant::now())?;
        self.token.clone()
    }

    /// What number of attempts to fetch a token to wait beyond, if waiting helps; and whether one has to be
    /// fetched for that.
    fn doubt(&mut self, refused: &Arc<Token>, now: Instant) -> (Option<u64>, bool) {
        let current = self.token.as_ref();
        if current.is_none_or(|token| !Arc::ptr_eq(token, refused)) {
            // Another one came in the meantime: nothing to wait for.
            return (Some(self.asked.wrapping_sub(1)), false);
        }
        if self.doubted {
            return (Some(self.asked).filter(|_| !self.in_vain), false);
        }
        let lately = |at| now.duration_since(at) < DOUBT_EVERY;
        if self.doubted_at.is_some_and(lately) {
            return (None, false);
        }
        (self.doubted, self.doubted_at) = (true, Some(now));
        (Some(self.asked), true)
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        let ends_at = self.token.as_ref()?.ends_at;
        let left = ends_at.checked_duration_since(now)?;
        left.checked_sub(MARGIN).filter(|left| !left.is_zero())
    }
}
