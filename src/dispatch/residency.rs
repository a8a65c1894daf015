//! The last look before the send: whether what is demanded for a request is promised by whoever is about to read it.
//!
//! # Why once more
//! Placement left out who does not promise enough. Between a lease and its send lies a wait for the journal and the
//! books, in which a reload may lead the same provider's name to another address. So it is not the lease that is
//! asked here, but the client that holds the connection: nothing can be sent but by what was looked at (attack A20).

use super::Dispatch;
use super::next::{AttemptFailure, refused};
use super::request::Request;
use crate::actors::{Lease, Refusal, RefusalKind};
use crate::domain::{AttemptOutcome, Failure, FailureKind, RetryRule};
use crate::policy::residency::{Demand, Server, Violation};
use crate::upstream::{ProviderClient, Webhook};

impl Dispatch {
    /// Refuses a send that would break what is demanded. No other target is tried: whatever led here is a fault of
    /// ours, and not to be worked around.
    pub(super) fn last_look(
        &self,
        request: &Request,
        lease: &Lease,
        client: &ProviderClient,
    ) -> Result<(), AttemptFailure> {
        let Some(demand) = &request.demand else {
            return Ok(());
        };
        look(demand, lease, client).map_err(|violation| {
            self.news.metrics.blocked("region");
            let id = request.id.text();
            let provider = lease.target().provider.name.as_str();
            let detail = format!("{} not promised by {provider}", violation.label());
            self.journal().event("policy.block", id.as_str(), &detail);
            broken(violation)
        })
    }
}

impl Dispatch {
    /// Refuses to show a prompt to a judge outside the providers that is not where the prompt has to stay. What is
    /// done where a judge fails does not count here: a region that a client names must not be a way around its judge.
    pub(super) fn may_judge(&self, request: &Request, webhook: &Webhook) -> Result<(), Failure> {
        let demand = request.demand.as_ref();
        let regions = &webhook.settings().regions;
        demand.map_or(Ok(()), |demand| demand.allows_at(regions)).map_err(|violation| {
            self.news.metrics.blocked("region");
            let id = request.id.text();
            let detail = format!("{} not promised by the guard's webhook", violation.label());
            self.journal().event("policy.block", id.as_str(), &detail);
            Failure::new(
                FailureKind::RegionUnavailable,
                "this gateway's judge of prompts is not known to be in the regions demanded, and nothing goes on unjudged; the operator says where it is in guard.webhook.regions",
            )
        })
    }
}

fn look(demand: &Demand, lease: &Lease, client: &ProviderClient) -> Result<(), Violation> {
    let target = lease.target();
    let Some(handling) = client.handling(&target.key_name) else {
        // Without its key nothing is sent, and why is told there.
        return Ok(());
    };
    demand.allows(Server {
        provider: target.provider.name.as_str(),
        handling,
        model: lease.model().as_str(),
    })
}

/// What the client is told when whoever may be asked could not serve, and somebody on its way who might have may not
/// be asked (fault P26). `None`: its demands kept nobody out, or something else says more: its own mistake, or that
/// it only has to wait.
pub(super) fn kept_inside(
    request: &Request,
    last: Option<&AttemptFailure>,
    refusal: &Refusal,
) -> Option<Failure> {
    let says_more = match last {
        Some(failure) => {
            failure.outcome.retry() == RetryRule::Stop
                || matches!(
                    failure.kind,
                    FailureKind::RateLimited | FailureKind::ContextLengthExceeded
                )
        }
        None => refusal.why.is_about_time(),
    };
    let violation = if says_more { None } else { kept_out(request) };
    violation.map(|violation| {
        let told = Refusal {
            why: RefusalKind::OutsidePolicy(violation),
            retry_after: refusal.retry_after,
        };
        refused(&told, &request.asked)
    })
}

/// The first demand that keeps somebody out who stands on this request's way.
fn kept_out(request: &Request) -> Option<Violation> {
    let demand = request.demand.as_ref()?;
    let providers = &request.published.settings.providers;
    let bare = request.asked.split_once('/');
    let bare = bare.map_or(&*request.asked, |(_provider, model)| model);
    let chain = request.route.chain.iter();
    let mut targets = chain.flat_map(|pool| &pool.settings.targets);
    targets.find_map(|target| {
        let mut known = providers.iter();
        let provider = known.find(|provider| provider.name == target.provider)?;
        provider.meets(demand, (target.model.as_ref(), bare)).err()
    })
}

fn broken(violation: Violation) -> AttemptFailure {
    let mut failure = AttemptFailure::plain(AttemptOutcome::Rejected);
    failure.kind = FailureKind::RegionUnavailable;
    failure.message = Some(format!(
        "the provider that was chosen does not promise what is demanded by {:?} any more; nothing was sent to it",
        violation.label()
    ));
    failure
}
