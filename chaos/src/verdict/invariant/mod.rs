//! What must hold whatever happens.

mod accounts;
mod alerts;
mod attack;
mod credit;
mod keeps;
mod ledger;
mod limits;
mod money;
mod numbers;
mod privacy;
mod repeats;
mod tenants;
mod texts;

use super::case::tell;
use super::index::Index;
use crate::conduct::OwnRecords;
use crate::history::Told;
use crate::report::{Finding, Verdict};

pub(super) struct Invariant {
    pub(super) name: &'static str,
    /// `None` where the gateway does not show what would be needed to know.
    pub(super) judge: fn(&Index<'_>) -> Option<Finding>,
}

const fn row(name: &'static str, judge: fn(&Index<'_>) -> Option<Finding>) -> Invariant {
    Invariant { name, judge }
}

pub(super) const ALL: &[Invariant] = &[
    row("no_splice", texts::no_splice),
    row("no_crossing", texts::no_crossing),
    row("honest_whole", texts::honest_whole),
    row("honest_break", texts::honest_break),
    row("accounted_once", accounts::accounted_once),
    row("journal_complete", accounts::journal_complete),
    row("bill", accounts::bill),
    row("bill_matches", money::bill_matches),
    row("budget_kept", money::budget_kept),
    row("credit_kept", credit::credit_kept),
    row("alerts_told", alerts::alerts_told),
    row("window", limits::window),
    row("ledger_balances", ledger::ledger_balances),
    row("tenant_kept", tenants::tenant_kept),
    row("region_kept", tenants::region_kept),
    row("repeats", repeats::repeats),
    row("no_secret", privacy::no_secret),
    row("only_clients", attack::only_clients),
    row("metrics_agree", numbers::metrics_agree),
    row("told_right", numbers::told_right),
    row("bounded", keeps::bounded),
    row("comes_to_rest", keeps::comes_to_rest),
];

fn finding(name: &str, claim: &str, samples: usize) -> Finding {
    Finding {
        name: name.to_owned(),
        claim: claim.to_owned(),
        verdict: if samples == 0 {
            Verdict::Unknown
        } else {
            Verdict::Pass
        },
        why: if samples == 0 {
            "there was nothing to judge".to_owned()
        } else {
            String::new()
        },
        unit: "count".to_owned(),
        samples: samples as u64,
        ..Finding::default()
    }
}

/// A claim about requests.
struct About<'c> {
    name: &'c str,
    claim: &'c str,
    /// What those are that break it.
    why: &'c str,
}

fn about(about: &About<'_>, samples: usize, wrong: &[&Told], index: &Index<'_>) -> Finding {
    let mut found = finding(about.name, about.claim, samples);
    found.value = Some(wrong.len() as f64);
    found.limit = Some(0.0);
    if !wrong.is_empty() {
        found.verdict = Verdict::Fail;
        found.why = format!("{} of {samples}: {}", wrong.len(), about.why);
        tell(&mut found, index, wrong);
    }
    found
}

fn own<'a>(index: &Index<'a>) -> Option<&'a OwnRecords> {
    index.evidence.own.as_ref()
}
