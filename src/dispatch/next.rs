//! What follows a failed attempt or a refusal: plain decisions, no waiting.

use std::time::Duration;

use crate::actors::{Again, Refusal, RefusalKind};
use crate::domain::{AttemptOutcome, Dialect, Failure, FailureKind, RetryRule};
use crate::policy::residency::Violation;

/// An attempt that brought no answer, as the failover loop sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptFailure {
    pub outcome: AttemptOutcome,
    /// What the client would be told if this were the end.
    pub kind: FailureKind,
    /// The request field at fault; `None` when no field is.
    pub param: Option<String>,
    /// The provider's own words, only where they are the caller's business.
    pub message: Option<String>,
    pub code: Option<String>,
    pub pushback: Option<Duration>,
    /// Nothing that goes through the egress proxy will work now (fault N14).
    pub avoid_proxy: bool,
}

impl AttemptFailure {
    pub(crate) fn plain(outcome: AttemptOutcome) -> Self {
        Self {
            outcome,
            kind: final_kind(outcome),
            param: None,
            message: None,
            code: None,
            pushback: None,
            avoid_proxy: false,
        }
    }
}

/// What the client is told when an attempt with this outcome was the last (column "none left").
pub(crate) fn final_kind(outcome: AttemptOutcome) -> FailureKind {
    match outcome {
        AttemptOutcome::Throttled => FailureKind::RateLimited,
        AttemptOutcome::Quota => FailureKind::ProviderQuota,
        AttemptOutcome::Auth | AttemptOutcome::Token => FailureKind::ProviderAuth,
        AttemptOutcome::Rejected => FailureKind::InvalidRequest,
        AttemptOutcome::ModelGone => FailureKind::ModelNotFound,
        AttemptOutcome::Overloaded => FailureKind::Overloaded,
        AttemptOutcome::FirstContentTimeout
        | AttemptOutcome::GapTimeout
        | AttemptOutcome::Deadline => FailureKind::DeadlineExceeded,
        AttemptOutcome::TooLarge => FailureKind::UpstreamTooLarge,
        AttemptOutcome::Poison => FailureKind::UpstreamRejected,
        AttemptOutcome::Egress => FailureKind::EgressProxy,
        AttemptOutcome::Untranslatable => FailureKind::AnswerUntranslatable,
        AttemptOutcome::Ok
        | AttemptOutcome::ServerError
        | AttemptOutcome::BadBody
        | AttemptOutcome::Unoffered
        | AttemptOutcome::Connect
        | AttemptOutcome::Tls
        | AttemptOutcome::Dns
        | AttemptOutcome::Reset
        | AttemptOutcome::Truncated
        | AttemptOutcome::Cancelled => FailureKind::UpstreamFailed,
    }
}

/// Whether a target of this dialect may be met again in this request.
pub(crate) fn again(outcome: AttemptOutcome, dialect: Dialect) -> Again {
    match outcome {
        AttemptOutcome::Untranslatable => Again::OtherDialect(dialect),
        // It was sound and is billed, and would be given again.
        AttemptOutcome::Unoffered
        | AttemptOutcome::Overloaded
        | AttemptOutcome::ModelGone
        | AttemptOutcome::Rejected
        | AttemptOutcome::Poison
        | AttemptOutcome::Deadline
        | AttemptOutcome::Egress
        | AttemptOutcome::TooLarge => Again::Never,
        AttemptOutcome::Throttled => Again::SameKeyLater,
        AttemptOutcome::Quota | AttemptOutcome::Auth | AttemptOutcome::Token => Again::OtherKey,
        AttemptOutcome::Ok
        | AttemptOutcome::ServerError
        | AttemptOutcome::BadBody
        | AttemptOutcome::Connect
        | AttemptOutcome::Tls
        | AttemptOutcome::Dns
        | AttemptOutcome::FirstContentTimeout
        | AttemptOutcome::GapTimeout
        | AttemptOutcome::Reset
        | AttemptOutcome::Truncated
        | AttemptOutcome::Cancelled => Again::LastResort,
    }
}

/// The circumstances of a decision after a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub attempts: u32,
    pub max_attempts: u32,
    pub left: Duration,
    /// The pool's retry budget has room.
    pub budget: bool,
    /// How many endpoints that are well otherwise answered this request with a server error.
    pub well_endpoints_failed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Try elsewhere.
    Elsewhere,
    /// Try where the context window is larger (fault P24).
    WiderContext,
    /// The request itself is what breaks them (fault P27).
    Poison,
    GiveUp,
}

/// A request whose answer would come too late to be worth a send.
const TOO_LATE: Duration = Duration::from_millis(20);

pub(crate) fn after_failure(failure: &AttemptFailure, now: &Circumstances) -> AfterFailure {
    let may_try = now.attempts < now.max_attempts && now.left > TOO_LATE;
    if failure.kind == FailureKind::ContextLengthExceeded {
        return if may_try {
            AfterFailure::WiderContext
        } else {
            AfterFailure::GiveUp
        };
    }
    if failure.outcome == AttemptOutcome::ServerError && now.well_endpoints_failed >= 2 {
        return AfterFailure::Poison;
    }
    match failure.outcome.retry() {
        RetryRule::Stop => AfterFailure::GiveUp,
        RetryRule::Elsewhere if may_try && now.budget => AfterFailure::Elsewhere,
        RetryRule::Elsewhere => AfterFailure::GiveUp,
    }
}

/// What a client reads after a refusal that ends its request.
pub fn refused(refusal: &Refusal, asked: &str) -> Failure {
    let failure = plain_refusal(refusal.why, asked);
    match refusal.retry_after.filter(|_| failure.status() >= 429) {
        Some(wait) => failure.retry_after(wait),
        None => failure,
    }
}

const OUT_OF_BUDGET: &str =
    "what the gateway may spend at the providers of this model does not reach for this request";
const UNPRICED: &str = "the providers of this model have budgets to keep, and nobody knows what this request costs there; the operator can add a price to the registry";

fn plain_refusal(why: RefusalKind, asked: &str) -> Failure {
    match why {
        RefusalKind::UnknownModel => Failure::new(
            FailureKind::ModelNotFound,
            format!("there is no model {asked:?} here; GET /v1/models lists what there is"),
        )
        .at("model"),
        RefusalKind::Limited => Failure::new(
            FailureKind::RateLimited,
            "every provider key of this model is at its rate limit; come back after the time in retry-after",
        ),
        RefusalKind::Busy | RefusalKind::QueueFull | RefusalKind::Shed => Failure::new(
            FailureKind::Overloaded,
            "the gateway has more requests for this model than it can place; come back shortly",
        ),
        RefusalKind::Deadline => Failure::new(
            FailureKind::DeadlineExceeded,
            "the deadline passed while the request waited for a free target",
        ),
        RefusalKind::Unhealthy
        | RefusalKind::Exhausted
        | RefusalKind::ChainEnded
        | RefusalKind::NoRace => Failure::new(
            FailureKind::NoTarget,
            "no provider of this model is healthy now; come back after the time in retry-after",
        ),
        RefusalKind::KeysRefused => Failure::new(
            FailureKind::ProviderAuth,
            "the provider refuses the gateway's keys for this model; your own key is fine",
        ),
        RefusalKind::QuotaSpent => Failure::new(
            FailureKind::ProviderQuota,
            "the gateway's quota at the provider of this model is spent",
        ),
        RefusalKind::OutOfBudget => Failure::new(FailureKind::ProviderQuota, OUT_OF_BUDGET),
        RefusalKind::Unpriced => Failure::new(FailureKind::PriceUnknown, UNPRICED),
        RefusalKind::ModelDisabled => Failure::new(
            FailureKind::ModelNotFound,
            format!("the provider does not have the model behind {asked:?} any more"),
        )
        .at("model"),
        RefusalKind::CannotServe => Failure::new(
            FailureKind::InvalidRequest,
            "no provider of this model can be asked for this by the gateway; choose another model",
        )
        .at("model"),
        RefusalKind::Unwanted => Failure::new(
            FailureKind::ModelNotFound,
            format!(
                "\"provider\" leaves no provider of {asked:?}: its \"only\", \"ignore\", \"order\" or \"max_price\" removed all of them"
            ),
        )
        .at("provider"),
        RefusalKind::OutsidePolicy(violation) => outside(violation, asked),
        RefusalKind::ContextTooSmall => Failure::new(
            FailureKind::ContextLengthExceeded,
            "the prompt is longer than the context window of every target of this model",
        )
        .at("messages"),
    }
}

fn outside(violation: Violation, asked: &str) -> Failure {
    Failure::new(
        FailureKind::RegionUnavailable,
        format!(
            "nobody who may serve {asked:?} under the demand {:?} can serve it now; what is demanded of providers is never given up, so it goes nowhere else",
            violation.label()
        ),
    )
}

/// What a client reads when the last attempt failed.
pub(crate) fn gave_up(failure: &AttemptFailure, attempts: u32) -> Failure {
    let message = failure.message.clone().unwrap_or_else(|| {
        let times = if attempts == 1 {
            "1 attempt".to_owned()
        } else {
            format!("{attempts} attempts")
        };
        format!("{} ({times})", plain_words(failure.outcome))
    });
    let mut told = Failure::new(failure.kind, message);
    told.code = failure.code.clone().map(Into::into);
    told.param = failure.param.clone().map(Into::into);
    if matches!(
        failure.kind,
        FailureKind::RateLimited | FailureKind::Overloaded
    ) {
        told.retry_after = Some(failure.pushback.unwrap_or(Duration::from_secs(1)));
    }
    told
}

fn plain_words(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Throttled => "the provider limits our rate",
        AttemptOutcome::Quota => "our quota at the provider is spent",
        AttemptOutcome::Auth => "the provider refuses the gateway's key; your own key is fine",
        AttemptOutcome::Rejected => "the provider refused the request",
        AttemptOutcome::ModelGone => "the provider does not have this model",
        AttemptOutcome::Overloaded => "the provider is overloaded",
        AttemptOutcome::ServerError => "the provider failed",
        AttemptOutcome::BadBody => "the provider answered with something that is no answer",
        AttemptOutcome::Unoffered => "the answer calls a tool that the request did not offer",
        AttemptOutcome::Untranslatable => {
            "the answer holds what cannot be said in the form you ask in; ask in the provider's own"
        }
        AttemptOutcome::Connect => "the provider could not be reached",
        AttemptOutcome::Tls => "no secure connection to the provider was possible",
        AttemptOutcome::Dns => "the provider's name leads to no address that the gateway may use",
        AttemptOutcome::Token => {
            "the gateway has no token for the provider now; your own key is fine"
        }
        AttemptOutcome::Egress => {
            "the gateway's own proxy on the way to the provider failed; ask its operator"
        }
        AttemptOutcome::FirstContentTimeout => "the provider did not begin to answer in time",
        AttemptOutcome::GapTimeout => "the provider stopped answering",
        AttemptOutcome::Reset => "the provider cut the connection",
        AttemptOutcome::Truncated => "the provider's answer ended before it was whole",
        AttemptOutcome::TooLarge => "the provider's answer is larger than the gateway accepts",
        AttemptOutcome::Poison => {
            "this request makes every provider fail; it is refused for a minute"
        }
        AttemptOutcome::Deadline => {
            "the time allowed for this request was over before the provider answered"
        }
        AttemptOutcome::Ok | AttemptOutcome::Cancelled => "the request ended early",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circumstances() -> Circumstances {
        Circumstances {
            attempts: 1,
            max_attempts: 3,
            left: Duration::from_secs(10),
            budget: true,
            well_endpoints_failed: 1,
        }
    }

    #[test]
    fn g4_attempts_deadline_and_budget_each_end_the_failover() {
        let failure = AttemptFailure::plain(AttemptOutcome::Connect);
        assert_eq!(
            after_failure(&failure, &circumstances()),
            AfterFailure::Elsewhere
        );
        for ended in [
            Circumstances {
                attempts: 3,
                ..circumstances()
            },
            Circumstances {
                left: Duration::from_millis(1),
                ..circumstances()
            },
            Circumstances {
                budget: false,
                ..circumstances()
            },
        ] {
            assert_eq!(
                after_failure(&failure, &ended),
                AfterFailure::GiveUp,
                "{ended:?}"
            );
        }
    }

    #[test]
    fn p24_a_too_long_prompt_goes_only_where_there_is_more_room() {
        let failure = AttemptFailure {
            kind: FailureKind::ContextLengthExceeded,
            ..AttemptFailure::plain(AttemptOutcome::Rejected)
        };
        assert_eq!(
            after_failure(&failure, &circumstances()),
            AfterFailure::WiderContext
        );
    }

    #[test]
    fn p27_two_endpoints_broken_by_one_request_make_it_poison() {
        let failure = AttemptFailure::plain(AttemptOutcome::ServerError);
        assert_eq!(
            after_failure(&failure, &circumstances()),
            AfterFailure::Elsewhere
        );
        let twice = Circumstances {
            attempts: 2,
            well_endpoints_failed: 2,
            ..circumstances()
        };
        assert_eq!(after_failure(&failure, &twice), AfterFailure::Poison);
    }

    #[test]
    fn a_refused_request_is_the_answer() {
        let failure = AttemptFailure::plain(AttemptOutcome::Rejected);
        assert_eq!(
            after_failure(&failure, &circumstances()),
            AfterFailure::GiveUp
        );
    }

    #[test]
    fn p08_an_overloaded_endpoint_is_not_met_again() {
        assert_eq!(
            again(AttemptOutcome::Overloaded, Dialect::Openai),
            Again::Never
        );
        assert_eq!(
            again(AttemptOutcome::Unoffered, Dialect::Openai),
            Again::Never
        );
        assert_eq!(
            again(AttemptOutcome::Throttled, Dialect::Openai),
            Again::SameKeyLater
        );
        assert_eq!(
            again(AttemptOutcome::Auth, Dialect::Openai),
            Again::OtherKey
        );
        assert_eq!(
            again(AttemptOutcome::Connect, Dialect::Openai),
            Again::LastResort
        );
        assert_eq!(
            again(AttemptOutcome::Untranslatable, Dialect::Gemini),
            Again::OtherDialect(Dialect::Gemini)
        );
    }

    #[test]
    fn k01_a_refused_provider_key_is_never_a_401_to_the_client() {
        let told = gave_up(&AttemptFailure::plain(AttemptOutcome::Auth), 2);
        assert_eq!((told.status(), told.code()), (503, "provider_auth"));
    }
}
