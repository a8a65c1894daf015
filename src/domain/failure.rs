//! What a client is told when it gets no answer: one type, whatever the dialect it is told in.

use std::borrow::Cow;
use std::time::Duration;

/// Why a client gets no (whole) answer. Status, code and the advice to retry follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    // The request is at fault.
    InvalidRequest,
    ContextLengthExceeded,
    Unauthenticated,
    Forbidden,
    /// No such path, or no such model for this client.
    NotFound,
    ModelNotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    RequestTooLarge,
    UnsupportedMediaType,
    /// The provider refused the content by policy.
    ContentFiltered,
    /// A rule of the operator's forbids what the request or the answer holds.
    ContentBlocked,
    // Limits.
    RateLimited,
    /// What may be spent is spent.
    BudgetExceeded,
    /// A budget is to be kept, and nobody knows what this costs.
    PriceUnknown,
    // The gateway cannot serve now.
    Overloaded,
    NoTarget,
    /// Nobody whom the policy of the tenant or the request allows can serve.
    RegionUnavailable,
    ProviderAuth,
    ProviderQuota,
    ShuttingDown,
    AuditUnavailable,
    StoreUnavailable,
    /// The guard could not look at what it has to look at.
    PolicyUnavailable,
    Internal,
    // Providers failed.
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTooLarge,
    /// A provider answered what cannot be said in the client's form.
    AnswerUntranslatable,
    /// The gateway's own proxy on the way to the providers failed.
    EgressProxy,
    DeadlineExceeded,
    // After the first content: only ever seen as an event inside a stream.
    UpstreamStalled,
    UpstreamReset,
    UpstreamTruncated,
    UpstreamMalformed,
    UpstreamError,
    StreamLimit,
}

/// Who a failure's row says should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Trying again may help: we shed load or keep a limit.
    Retry,
    /// Trying again repeats what we already did, or the caller's own mistake.
    GiveUp,
}

impl FailureKind {
    const fn row(self) -> (u16, &'static str, Advice) {
        use Advice::{GiveUp, Retry};
        match self {
            Self::InvalidRequest => (400, "invalid_request", GiveUp),
            Self::ContextLengthExceeded => (400, "context_length_exceeded", GiveUp),
            Self::ContentFiltered => (400, "content_filter", GiveUp),
            Self::ContentBlocked => (400, "content_blocked", GiveUp),
            Self::Unauthenticated => (401, "invalid_api_key", GiveUp),
            Self::BudgetExceeded => (402, "budget_exceeded", GiveUp),
            Self::PriceUnknown => (402, "price_unknown", GiveUp),
            Self::Forbidden => (403, "forbidden", GiveUp),
            Self::NotFound => (404, "not_found", GiveUp),
            Self::ModelNotFound => (404, "model_not_found", GiveUp),
            Self::MethodNotAllowed => (405, "method_not_allowed", GiveUp),
            Self::RequestTimeout => (408, "request_timeout", GiveUp),
            Self::Conflict => (409, "conflict", GiveUp),
            Self::RequestTooLarge => (413, "request_too_large", GiveUp),
            Self::UnsupportedMediaType => (415, "unsupported_media_type", GiveUp),
            Self::RateLimited => (429, "rate_limit_exceeded", Retry),
            Self::Internal => (500, "internal", GiveUp),
            Self::UpstreamFailed => (502, "upstream_failed", GiveUp),
            Self::UpstreamRejected => (502, "upstream_rejected", GiveUp),
            Self::UpstreamTooLarge => (502, "upstream_too_large", GiveUp),
            Self::AnswerUntranslatable => (502, "answer_untranslatable", GiveUp),
            Self::EgressProxy => (502, "egress_proxy", GiveUp),
            Self::Overloaded => (503, "overloaded", Retry),
            Self::NoTarget => (503, "no_target", Retry),
            Self::RegionUnavailable => (503, "region_unavailable", GiveUp),
            Self::ProviderAuth => (503, "provider_auth", GiveUp),
            Self::ProviderQuota => (503, "provider_quota", GiveUp),
            Self::ShuttingDown => (503, "shutting_down", Retry),
            Self::AuditUnavailable => (503, "audit_unavailable", Retry),
            Self::StoreUnavailable => (503, "store_unavailable", Retry),
            Self::PolicyUnavailable => (503, "policy_unavailable", GiveUp),
            Self::DeadlineExceeded => (504, "deadline", GiveUp),
            Self::UpstreamStalled => (504, "upstream_stalled", GiveUp),
            Self::UpstreamReset => (502, "upstream_reset", GiveUp),
            Self::UpstreamTruncated => (502, "upstream_truncated", GiveUp),
            Self::UpstreamMalformed => (502, "upstream_malformed", GiveUp),
            Self::UpstreamError => (502, "upstream_error", GiveUp),
            Self::StreamLimit => (502, "stream_limit", GiveUp),
        }
    }

    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The stable word for this failure: error code towards clients, label in metrics.
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    pub const fn advice(self) -> Advice {
        self.row().2
    }
}

/// What a client is told. The text never holds a prompt, a secret or a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: Cow<'static, str>,
    /// The request field at fault, as a JSON path; `None` when no field is.
    pub param: Option<Cow<'static, str>>,
    /// When trying again makes sense; `None` when nobody knows.
    pub retry_after: Option<Duration>,
    /// The provider's own error code where it says more than ours; `None` uses ours.
    pub code: Option<Cow<'static, str>>,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            retry_after: None,
            code: None,
        }
    }

    pub fn at(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The text, at a length that anyone reads.
    pub fn shown_message(&self) -> String {
        const LONGEST: usize = 4_096;
        self.message.chars().take(LONGEST).collect()
    }

    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or(self.kind.code())
    }

    pub fn status(&self) -> u16 {
        self.kind.status()
    }
}
