//! How long a prompt is when no provider says so, or none in time: an estimate, said to be one (fault O12).
//!
//! # Why no tokenizer of our own
//! Each provider has several, and none of them is public for all of its models. One of another model is as far off
//! as four bytes a token, and costs time in the length of the text.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::Dispatch;
use super::account::{Account, Ending};
use super::bill::Used;
use super::request::Request;
use super::story::{Served, Told, estimate, told};
use crate::dialects::count_answer;
use crate::domain::{Failure, FailureKind, Operation};

impl Dispatch {
    /// The answer where no provider counts.
    pub fn estimated_count(&self, request: &Request) -> Served {
        self.news.metrics.count_estimated("nobody");
        Served::Whole {
            body: answer(request),
            told: Told {
                headers: vec![mark()],
                ..Told::default()
            },
        }
    }

    /// The answer where the providers that count have failed; `None` where that is not the reason.
    pub(super) fn count_instead(
        &self,
        account: &mut Account,
        failure: &Failure,
    ) -> Option<(Bytes, Told)> {
        let request = &account.request;
        // What refused it before anybody was asked is no failure to count.
        if request.operation != Operation::CountTokens || !account.has_begun() {
            return None;
        }
        let why = reason(failure.kind)?;
        let body = answer(request);
        let usage = estimate(request, body.len() as u64);
        self.news.metrics.count_estimated(why);
        account.used(Used {
            usage,
            estimated: true,
        });
        account.answered(&body);
        account.close(Ending::Answered);
        Some((body, told(account, Vec::new(), vec![mark()])))
    }
}

fn answer(request: &Request) -> Bytes {
    count_answer(request.speaks, request.estimate.input).into()
}

fn mark() -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static("x-switchyard-estimated"),
        HeaderValue::from_static("input_tokens"),
    )
}

/// Why an estimate serves as well; `None` where the failure itself is what the client has to know.
fn reason(kind: FailureKind) -> Option<&'static str> {
    match kind {
        FailureKind::DeadlineExceeded => Some("late"),
        FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::NoTarget
        | FailureKind::ProviderAuth
        | FailureKind::ProviderQuota
        | FailureKind::UpstreamFailed
        | FailureKind::UpstreamRejected
        | FailureKind::UpstreamTooLarge
        | FailureKind::AnswerUntranslatable
        | FailureKind::EgressProxy
        | FailureKind::UpstreamStalled
        | FailureKind::UpstreamReset
        | FailureKind::UpstreamTruncated
        | FailureKind::UpstreamMalformed
        | FailureKind::UpstreamError
        | FailureKind::StreamLimit => Some("failed"),
        FailureKind::InvalidRequest
        | FailureKind::ContextLengthExceeded
        | FailureKind::Unauthenticated
        | FailureKind::Forbidden
        | FailureKind::NotFound
        | FailureKind::ModelNotFound
        | FailureKind::MethodNotAllowed
        | FailureKind::RequestTimeout
        | FailureKind::Conflict
        | FailureKind::RequestTooLarge
        | FailureKind::UnsupportedMediaType
        | FailureKind::ContentFiltered
        | FailureKind::ContentBlocked
        | FailureKind::BudgetExceeded
        | FailureKind::PriceUnknown
        | FailureKind::ShuttingDown
        | FailureKind::AuditUnavailable
        | FailureKind::StoreUnavailable
        | FailureKind::PolicyUnavailable
        | FailureKind::RegionUnavailable
        | FailureKind::Internal => None,
    }
}
