//! The scenarios that ship with the harness.

use super::{BadScenario, Scenario, parse};

/// Scenarios that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Pack {
    pub name: &'static str,
    pub about: &'static str,
    /// Name of the scenario and its text.
    pub scenarios: &'static [(&'static str, &'static str)],
}

macro_rules! pack {
    ($name:literal, $about:literal, [$($scenario:literal),* $(,)?]) => {
        Pack {
            name: $name,
            about: $about,
            scenarios: &[$((
                $scenario,
                include_str!(concat!("../../scenarios/", $name, "/", $scenario, ".toml")),
            )),*],
        }
    };
}

const PACKS: &[Pack] = &[
    pack!(
        "smoke",
        "a minute: the promises in short",
        ["one_down", "streams_cut", "clients_leave", "gateway_killed"]
    ),
    pack!(
        "provider",
        "providers that fail, hang, crawl, throttle and disappear, under full traffic",
        [
            "provider_down",
            "provider_hangs",
            "brown_out",
            "partly_failing",
            "all_half",
            "all_down",
            "flapping",
            "throttled",
            "key_revoked",
            "connections",
            "handshakes",
            "frames",
            "unanswered_pings",
            "names",
            "one_returns",
            "long_tail",
            "every_dialect"
        ]
    ),
    pack!(
        "stream",
        "streams that break at every kind of place, odd ones that are whole, and slow readers",
        [
            "cut_everywhere",
            "odd_but_whole",
            "disordered",
            "slow_readers"
        ]
    ),
    pack!(
        "overload",
        "more than can be served",
        ["ten_times", "lanes"]
    ),
    pack!(
        "crash",
        "the gateway's own process and actors die, stop and are configured anew",
        [
            "killed_often",
            "actors_panic",
            "paused",
            "config_storm",
            "clock_jumps",
            "disk_full",
            "disk_slow"
        ]
    ),
    pack!(
        "attack",
        "clients that do not mean well",
        ["abuse", "impatient_crowd"]
    ),
    pack!(
        "money",
        "budgets, limits, bills, keys and alerts while everybody asks at once, leaves, and the gateway is killed",
        [
            "budget_race",
            "rate_limit",
            "cancelled_streams",
            "money_under_kills",
            "budget_under_kills",
            "same_key",
            "prepaid",
            "alerts"
        ]
    ),
    pack!(
        "tenant",
        "tenants side by side: nothing of one reaches another",
        ["two_tenants", "noisy_tenant"]
    ),
    pack!(
        "region",
        "what must stay in a region stays there, whatever fails",
        ["stays_in_region"]
    ),
    pack!(
        "soak",
        "half an hour of everything at once, at random",
        ["everything"]
    ),
];

/// All packs, in the order a reader wants them.
#[must_use]
pub fn packs() -> &'static [Pack] {
    PACKS
}

/// The scenarios of a pack, or the one of that name.
///
/// # Errors
/// When a scenario that ships with the harness is wrong, which a test forbids.
pub fn find(name: &str) -> Option<Result<Vec<Scenario>, BadScenario>> {
    let read = |all: &[(&str, &str)]| {
        all.iter()
            .map(|(name, text)| parse(name, text))
            .collect::<Result<Vec<_>, _>>()
    };
    if let Some(pack) = PACKS.iter().find(|pack| pack.name == name) {
        return Some(read(pack.scenarios));
    }
    PACKS
        .iter()
        .flat_map(|pack| pack.scenarios)
        .find(|(scenario, _)| *scenario == name)
        .map(|found| read(&[*found]))
}
