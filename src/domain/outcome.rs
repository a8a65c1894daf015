//! How an attempt ended, whose fault that was, and what follows from it.
//!
//! One table decides retry, health and metric label, so that they cannot disagree.

/// How one attempt at one target ended. The label is the metric's and the journal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    Ok,
    /// A rate limit: 429 without a quota behind it.
    Throttled,
    /// Out of money or out of a monthly or daily allowance.
    Quota,
    /// The key is refused, revoked or lacks the right.
    Auth,
    /// The request itself was refused; another endpoint would refuse it too.
    Rejected,
    /// The endpoint does not have this model (any more).
    ModelGone,
    /// The provider says it is overloaded (529, 503).
    Overloaded,
    ServerError,
    /// Success was claimed, but what came is not an answer.
    BadBody,
    /// An answer that calls a tool which was not offered, where that is none (attack A29).
    Unoffered,
    /// A sound answer that cannot be said in the form the client asked in.
    Untranslatable,
    Connect,
    Tls,
    Dns,
    /// The operator's own proxy on the way out failed; no provider was reached.
    Egress,
    /// The key is traded for a token, and there is none now; no provider was asked.
    Token,
    /// No content within the first-content limit.
    FirstContentTimeout,
    /// Content stopped for longer than the gap limit.
    GapTimeout,
    Reset,
    Truncated,
    /// The client left, or this leg lost its race.
    Cancelled,
    /// The client's own time was up before the provider had used the patience it is given.
    Deadline,
    TooLarge,
    /// This very request fails everywhere; the endpoints are fine.
    Poison,
}

/// Whose fault an ending was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    Nobody,
    /// Ours: the provider did its part.
    Gateway,
    Caller,
    Key,
    Provider,
    Network,
    /// The client went away.
    Left,
}

/// Where a failed request may go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryRule {
    /// Nowhere: the ending is the answer.
    Stop,
    /// Another key or endpoint.
    Elsewhere,
}

impl AttemptOutcome {
    pub const ALL: [Self; 24] = [
        Self::Ok,
        Self::Throttled,
        Self::Quota,
        Self::Auth,
        Self::Rejected,
        Self::ModelGone,
        Self::Overloaded,
        Self::ServerError,
        Self::BadBody,
        Self::Unoffered,
        Self::Untranslatable,
        Self::Connect,
        Self::Tls,
        Self::Dns,
        Self::Egress,
        Self::Token,
        Self::FirstContentTimeout,
        Self::GapTimeout,
        Self::Reset,
        Self::Truncated,
        Self::Cancelled,
        Self::Deadline,
        Self::TooLarge,
        Self::Poison,
    ];

    const fn row(self) -> (&'static str, Fault, RetryRule) {
        use RetryRule::{Elsewhere, Stop};
        match self {
            Self::Ok => ("ok", Fault::Nobody, Stop),
            Self::Throttled => ("throttled", Fault::Key, Elsewhere),
            Self::Quota => ("quota", Fault::Key, Elsewhere),
            Self::Auth => ("auth", Fault::Key, Elsewhere),
            // The catalogue keeps both kinds of refusal under one label; only one may go elsewhere.
            Self::Rejected => ("rejected", Fault::Caller, Stop),
            Self::ModelGone => ("rejected", Fault::Caller, Elsewhere),
            Self::Overloaded => ("overloaded", Fault::Provider, Elsewhere),
            Self::ServerError => ("server_error", Fault::Provider, Elsewhere),
            Self::BadBody | Self::Unoffered => ("bad_body", Fault::Provider, Elsewhere),
            // It would be said again by whoever speaks the same dialect; another's answer may be sayable.
            Self::Untranslatable => ("untranslatable", Fault::Gateway, Elsewhere),
            Self::Connect => ("connect", Fault::Network, Elsewhere),
            Self::Tls => ("tls", Fault::Network, Elsewhere),
            Self::Dns => ("dns", Fault::Network, Elsewhere),
            // Neither the provider's health nor the key's; whoever is reached without the proxy may serve.
            Self::Egress => ("egress", Fault::Nobody, Elsewhere),
            // Its own actor takes the key out of use; the provider has no part in it.
            Self::Token => ("token", Fault::Nobody, Elsewhere),
            Self::FirstContentTimeout => ("t_first", Fault::Provider, Elsewhere),
            Self::GapTimeout => ("t_idle", Fault::Provider, Elsewhere),
            Self::Reset => ("reset", Fault::Network, Elsewhere),
            Self::Truncated => ("truncated", Fault::Provider, Elsewhere),
            Self::Cancelled => ("cancelled", Fault::Left, Stop),
            Self::Deadline => ("cancelled", Fault::Nobody, Stop),
            Self::TooLarge => ("too_large", Fault::Provider, Elsewhere),
            Self::Poison => ("poison", Fault::Caller, Stop),
        }
    }

    pub const fn label(self) -> &'static str {
        self.row().0
    }

    pub const fn fault(self) -> Fault {
        self.row().1
    }

    pub const fn retry(self) -> RetryRule {
        self.row().2
    }

    /// Whether this ending speaks against the endpoint's health (ground rule G12).
    pub const fn counts_against_endpoint(self) -> bool {
        matches!(self.fault(), Fault::Provider | Fault::Network)
    }

    /// Whether this ending speaks against one key at one model only (ground rule G12).
    pub const fn counts_against_key(self) -> bool {
        matches!(self.fault(), Fault::Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g12_each_ending_counts_against_at_most_one_side() {
        for outcome in AttemptOutcome::ALL {
            assert!(
                !(outcome.counts_against_endpoint() && outcome.counts_against_key()),
                "{outcome:?}"
            );
        }
        assert!(AttemptOutcome::Overloaded.counts_against_endpoint());
        assert!(AttemptOutcome::Throttled.counts_against_key());
        for nobody in [
            AttemptOutcome::Rejected,
            AttemptOutcome::Cancelled,
            AttemptOutcome::Deadline,
            AttemptOutcome::Egress,
            AttemptOutcome::Token,
            AttemptOutcome::Untranslatable,
            AttemptOutcome::Poison,
        ] {
            assert!(!nobody.counts_against_endpoint() && !nobody.counts_against_key());
        }
    }
}
