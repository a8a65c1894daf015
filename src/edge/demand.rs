//! What a request demands of whoever serves it: what its tenant, its team and its client are bound to, and what it
//! says itself, which can only be more.

use std::sync::Arc;

use http::HeaderMap;

use super::names::REGION;
use crate::dialects::openai::Wishes;
use crate::domain::{Failure, FailureKind};
use crate::keys::Client;
use crate::policy::residency::{Demand, Demands, is_place};

/// Regions one header may name, and headers a request may have.
const MOST: usize = 16;

pub(super) fn demand(
    client: &Client,
    headers: &HeaderMap,
    wishes: &Wishes,
) -> Result<Option<Arc<Demand>>, Failure> {
    let bound = client.demand.as_ref();
    let own = Demands {
        zero_retention: wishes.zero_retention,
        no_training: wishes.no_training,
        ..Demands::default()
    };
    let said = headers.get_all(&REGION);
    if own == Demands::default() && said.iter().next().is_none() {
        return Ok(bound.cloned());
    }
    if said.iter().count() > MOST {
        return Err(unreadable());
    }
    let mut demand = bound.map_or_else(Demand::default, |bound| Demand::clone(bound));
    demand = demand.and(&own);
    // Each header is one more demand: what was added on the way cannot widen what the client said.
    for value in said {
        let regions = value.to_str().map_err(|_| unreadable())?;
        let regions = regions.split(',').map(str::trim).map(str::to_owned);
        let regions: Vec<String> = regions.take(MOST + 1).collect();
        // What cannot be read must not be forgotten: somebody meant to keep something in.
        if regions.len() > MOST || !regions.iter().all(|region| is_place(region)) {
            return Err(unreadable());
        }
        demand = demand.and(&Demands {
            regions: Some(&regions),
            ..Demands::default()
        });
    }
    Ok(Some(Arc::new(demand)))
}

fn unreadable() -> Failure {
    Failure::new(
        FailureKind::InvalidRequest,
        "x-switchyard-region holds no region; write up to 16 names, in up to 16 headers, of small letters, digits and -, such as \"eu\" or \"eu-central-1, eu-north-1\"",
    )
    .at(REGION.as_str())
}
