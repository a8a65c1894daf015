//! Sections 7 and 8, as far as clients and tenants of a scenario make them: nothing is wrong with any provider.

use super::{Row, elsewhere};

pub(super) const ROWS: &[Row] = &[
    elsewhere(
        "L01",
        "clients leave early: while they wait, before the first token, in a stream",
        "a workload's leave_share and leave_between",
    ),
    elsewhere(
        "L12",
        "requests are sent again under the same idempotency key, or others are",
        "a workload's repeats",
    ),
    elsewhere(
        "A15",
        "what is kept for one tenant is read by another",
        "a workload's spied_on_by, with clients of two tenants",
    ),
    elsewhere(
        "A16",
        "answers cross between clients, on connections that others left",
        "workloads of two tenants with a leave_share; every word says whose it is",
    ),
    elsewhere(
        "A17",
        "a thousand at once for the last of a budget",
        "a tenant's budget and a workload with at_once",
    ),
    elsewhere(
        "A18",
        "a bill is dodged: hang up early, race, name no limit",
        "mocks with a price, and workloads with a leave_share or x-switchyard-race",
    ),
    elsewhere(
        "A19",
        "bursts on both sides of a limit's edge, on many connections",
        "a client's requests_per_minute and a workload above it for more than a minute",
    ),
    elsewhere(
        "A20",
        "what must stay in a region leaves it: by failover, hedge or fallback",
        "a tenant's regions and mocks with a region, one of them elsewhere",
    ),
];
