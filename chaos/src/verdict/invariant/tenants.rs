//! What belongs to one tenant reaches no other, and no region it may not.

use super::{About, about, own};
use crate::history::Told;
use crate::report::{Finding, Verdict};
use crate::scenario::NOBODYS_TENANT;
use crate::verdict::index::Index;

pub(super) fn tenant_kept(index: &Index<'_>) -> Option<Finding> {
    let scenario = index.scenario;
    if scenario.tenants.len() < 2 {
        return None;
    }
    let tenant = |workload: usize| {
        let workload = scenario.workloads.get(workload);
        workload.map_or(NOBODYS_TENANT, |workload| scenario.tenant_of(workload))
    };
    let crossed = |told: &&Told| {
        let anothers_words = index.origin(told).is_some_and(|seen| {
            seen.of
                .is_none_or(|(workload, _)| tenant(workload) != tenant(told.workload))
        });
        anothers_words
            || told.foreign.is_some()
            || books_another(index, told, tenant(told.workload))
    };
    let wrong: Vec<&Told> = index.read().filter(crossed).collect();
    let mut found = about(
        &About {
            name: "tenant_kept",
            claim: "no answer, header, error, kept response or record of one tenant reaches another",
            why: "requests that read, or were written down as, another tenant's",
        },
        index.read().count(),
        &wrong,
        index,
    );
    let history = &index.evidence.history;
    let spies = scenario.workloads.iter().zip(0..);
    let spied = spies.filter(|(workload, _)| workload.spied_on_by.is_some());
    for (workload, place) in spied {
        let kept = history.iter().filter(|told| told.workload == place);
        let let_in = kept.filter(|told| told.ended.label().starts_with("spy_"));
        let let_in = let_in.count();
        if let_in > 0 {
            found.verdict = Verdict::Fail;
            found.why = format!(
                "{let_in} kept responses of {} were there for another tenant",
                workload.name
            );
        }
    }
    Some(found)
}

/// Whether the journal writes a request down for somebody else.
fn books_another(index: &Index<'_>, told: &Told, tenant: &str) -> bool {
    let Some((own, id)) = own(index).zip(told.id.as_ref()) else {
        return false;
    };
    let intents = own.journal.intents.get(id).into_iter().flatten();
    let outcomes = own.journal.outcomes.get(id).into_iter().flatten();
    let mut names = intents
        .map(|intent| &intent.tenant)
        .chain(outcomes.map(|outcome| &outcome.tenant));
    names.any(|name| name.as_deref().unwrap_or(NOBODYS_TENANT) != tenant)
}

pub(super) fn region_kept(index: &Index<'_>) -> Option<Finding> {
    let scenario = index.scenario;
    if !scenario.has_regions() {
        return None;
    }
    let bound = |(workload, _): (usize, u64)| {
        let tenant = scenario.tenant_of(scenario.workloads.get(workload)?);
        let known = scenario.tenants.iter().find(|known| known.name == tenant)?;
        (!known.regions.is_empty()).then_some(tenant)
    };
    let sent = index.seen.iter();
    let sent: Vec<_> = sent
        .filter_map(|seen| Some((seen, bound(seen.of?)?)))
        .collect();
    let abroad = sent
        .iter()
        .filter(|(seen, tenant)| !scenario.may_reach(tenant, seen.mock));
    let wrong: Vec<&Told> = abroad
        .filter_map(|(seen, _)| index.told(seen.of?))
        .collect();
    Some(about(
        &About {
            name: "region_kept",
            claim: "no provider outside a tenant's regions receives anything of it",
            why: "requests that reached a provider where they may not be",
        },
        sent.len(),
        &wrong,
        index,
    ))
}
