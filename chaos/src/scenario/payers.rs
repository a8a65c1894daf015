//! Who pays in a run: clients with keys of their own, tenants with budgets, providers with prices.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Scenario, Workload};

/// A client of the gateway, with a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub name: String,
    /// Who pays for it.
    pub tenant: Option<String>,
    /// The limit the gateway is to keep, in any rolling minute.
    pub requests_per_minute: Option<u64>,
}

/// An organisation that pays.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub name: String,
    /// A hard cap in dollars for all the time of the run, as a decimal.
    pub budget: Option<String>,
    /// A second one, which stops nobody.
    pub soft_budget: Option<String>,
    /// The shares of both that receivers are told of when they are spent, in percent; the gateway's own when nothing
    /// is said, and then nobody judges what is told.
    #[serde(default)]
    pub tell_at: Vec<u8>,
    /// Where what it sends may be processed; anywhere when nothing is said.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// The harness itself, told by webhooks what needs somebody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    pub name: String,
    /// So many deliveries of each alert are not taken: one is answered with a 500, the next not at all, and so on.
    #[serde(default)]
    pub refuses: u32,
}

/// One budget of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    pub nanos: u64,
    pub hard: bool,
}

/// What a mock bills: dollars for a million tokens, as decimals.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub input: String,
    pub output: String,
}

/// What a token costs, in nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerToken {
    pub input: u64,
    pub output: u64,
}

/// Pays for whoever names nobody.
pub const NOBODYS_TENANT: &str = "default";

/// The gateway waits twice as long before each further try.
const MOST_REFUSED: u32 = 3;
/// Decimals of a price: with so many a token costs whole nano-dollars, and sums are exact.
const PRICE_DIGITS: u32 = 3;
/// Decimals of a dollar down to the nano-dollar.
const DOLLAR_DIGITS: u32 = 9;

impl Price {
    /// `None` where a token would not cost whole nano-dollars.
    #[must_use]
    pub fn per_token(&self) -> Option<PerToken> {
        Some(PerToken {
            input: decimal(&self.input, PRICE_DIGITS)?,
            output: decimal(&self.output, PRICE_DIGITS)?,
        })
    }
}

impl Tenant {
    /// Its budget in nano-dollars.
    #[must_use]
    pub fn cap(&self) -> Option<u64> {
        nanos(self.budget.as_deref()?)
    }

    /// All its budgets.
    #[must_use]
    pub fn caps(&self) -> Vec<Cap> {
        let both = [(&self.budget, true), (&self.soft_budget, false)];
        let both = both.into_iter();
        both.filter_map(|(usd, hard)| {
            let nanos = nanos(usd.as_deref()?)?;
            Some(Cap { nanos, hard })
        })
        .collect()
    }
}

/// Dollars as a decimal, in nano-dollars.
#[must_use]
pub fn nanos(dollars: &str) -> Option<u64> {
    decimal(dollars, DOLLAR_DIGITS)
}

/// A decimal with at most so many digits behind its point, without the point.
fn decimal(text: &str, digits: u32) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let only_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !only_digits(whole) || !only_digits(part) {
        return None;
    }
    let missing = digits.checked_sub(u32::try_from(part.len()).ok()?)?;
    let part: u64 = if part.is_empty() {
        0
    } else {
        part.parse().ok()?
    };
    let whole: u64 = whole.parse().ok()?;
    whole
        .checked_mul(10_u64.checked_pow(digits)?)?
        .checked_add(part.checked_mul(10_u64.checked_pow(missing)?)?)
}

impl Scenario {
    /// Whether anybody's money is at stake.
    #[must_use]
    pub fn has_prices(&self) -> bool {
        self.mocks.iter().any(|mock| mock.price.is_some())
    }

    /// What each mock bills.
    #[must_use]
    pub fn prices(&self) -> BTreeMap<&str, PerToken> {
        let mocks = self.mocks.iter();
        mocks
            .filter_map(|mock| Some((mock.name.as_str(), mock.price.as_ref()?.per_token()?)))
            .collect()
    }

    /// What was paid for in advance at each mock, in nano-dollars.
    #[must_use]
    pub fn credits(&self) -> BTreeMap<&str, u64> {
        let mocks = self.mocks.iter();
        mocks
            .filter_map(|mock| Some((mock.name.as_str(), nanos(mock.credit.as_deref()?)?)))
            .collect()
    }

    #[must_use]
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// Whether anybody has to stay anywhere.
    #[must_use]
    pub fn has_regions(&self) -> bool {
        self.tenants.iter().any(|tenant| !tenant.regions.is_empty())
    }

    /// Whether a tenant's requests may go to this mock.
    #[must_use]
    pub fn may_reach(&self, tenant: &str, mock: &str) -> bool {
        let tenant = self.tenants.iter().find(|known| known.name == tenant);
        let regions = tenant.map(|tenant| tenant.regions.as_slice());
        let regions = regions.filter(|regions| !regions.is_empty());
        let region = self.mocks.iter().find(|known| known.name == mock);
        let region = region.and_then(|mock| mock.region.as_ref());
        regions.is_none_or(|regions| region.is_some_and(|region| regions.contains(region)))
    }

    /// Who pays for a workload.
    #[must_use]
    pub fn tenant_of(&self, workload: &Workload) -> &str {
        let client = workload
            .client
            .as_deref()
            .and_then(|name| self.client(name));
        client
            .and_then(|client| client.tenant.as_deref())
            .unwrap_or(NOBODYS_TENANT)
    }

    /// What only the other tenants may ever read: their names, which their prompts hold as well.
    #[must_use]
    pub fn strangers_to(&self, workload: &Workload) -> Vec<String> {
        let own = self.tenant_of(workload);
        let others = self.tenants.iter().filter(|tenant| tenant.name != own);
        others.map(|tenant| tenant.name.clone()).collect()
    }
}

/// What is wrong with who pays.
pub(super) fn mistakes(scenario: &Scenario, found: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    for tenant in &scenario.tenants {
        let name = &tenant.name;
        if !names.insert(name) {
            found.push(format!("tenant {name:?} is named twice"));
        }
        if !plain(name) {
            found.push(format!("tenant {name:?}: use lower-case letters"));
        }
        let budgets = [&tenant.budget, &tenant.soft_budget].into_iter().flatten();
        if budgets.count() > tenant.caps().len() {
            found.push(format!(
                "tenant {name:?}: budget, or soft_budget, is an amount of dollars like \"0.25\", with at most nine decimals"
            ));
        }
    }
    receivers(scenario, found);
    let mut clients = BTreeSet::new();
    for client in &scenario.clients {
        let name = &client.name;
        if !clients.insert(name) {
            found.push(format!("client {name:?} is named twice"));
        }
        if !plain(name) || name == "chaos" {
            found.push(format!(
                "client {name:?}: use lower-case letters, and not the name of the harness's own client, chaos"
            ));
        }
        let tenant = client.tenant.as_ref();
        if let Some(tenant) = tenant.filter(|tenant| !names.contains(tenant)) {
            found.push(format!("client {name:?}: there is no tenant {tenant:?}"));
        }
    }
    for workload in &scenario.workloads {
        let named = [&workload.client, &workload.spied_on_by];
        for client in named.into_iter().flatten() {
            if !clients.contains(client) {
                let name = &workload.name;
                found.push(format!("workload {name:?}: there is no client {client:?}"));
            }
        }
    }
    prices(scenario, found);
    for tenant in &scenario.tenants {
        let is_there = |mock: &super::Mock| scenario.may_reach(&tenant.name, &mock.name);
        if !scenario.mocks.iter().any(is_there) && !tenant.regions.is_empty() {
            let (name, regions) = (&tenant.name, tenant.regions.join(", "));
            found.push(format!(
                "tenant {name:?}: no mock is in {regions}; give one region = \"…\""
            ));
        }
    }
}

/// What is wrong with who is told, and of what.
fn receivers(scenario: &Scenario, found: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for receiver in &scenario.receivers {
        let name = &receiver.name;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
            found.push(format!("receiver {name:?}: use lower-case letters"));
        }
        if !names.insert(name) {
            found.push(format!("receiver {name:?} is named twice"));
        }
        if receiver.refuses > MOST_REFUSED {
            found.push(format!(
                "receiver {name:?}: refuses is at most {MOST_REFUSED}; later tries come after the run"
            ));
        }
    }
    let tells = |tenant: &&Tenant| !tenant.tell_at.is_empty();
    for tenant in scenario.tenants.iter().filter(tells) {
        let name = &tenant.name;
        if tenant.tell_at.contains(&0) || tenant.caps().is_empty() || !scenario.has_prices() {
            found.push(format!(
                "tenant {name:?}: tell_at is percents from 1 on of a budget or soft_budget, which mocks with prices use up"
            ));
        }
        if let [one, other] = tenant.caps()[..]
            && one.nanos == other.nanos
        {
            found.push(format!(
                "tenant {name:?}: budget and soft_budget are the same amount; what is told of them could not be told apart"
            ));
        }
        if scenario.receivers.is_empty() {
            found.push(format!(
                "tenant {name:?}: tell_at tells nobody; name a [[receiver]]"
            ));
        }
    }
    if let Some(mock) = scenario.mocks.iter().find(|mock| mock.credit.is_some())
        && !scenario.receivers.is_empty()
    {
        found.push(format!(
            "mock {:?}: credit is told to every [[receiver]] as well, which nobody judges; use one or the other",
            mock.name
        ));
    }
    if !scenario.receivers.is_empty() && !scenario.tenants.iter().any(|one| tells(&one)) {
        found.push(
            "a [[receiver]] is told of tenants' budgets; give one tell_at = [50, 100]".to_owned(),
        );
    }
}

fn prices(scenario: &Scenario, found: &mut Vec<String>) {
    for mock in &scenario.mocks {
        let name = &mock.name;
        if mock
            .price
            .as_ref()
            .is_some_and(|price| price.per_token().is_none())
        {
            found.push(format!(
                "mock {name:?}: price = {{ input = \"3\", output = \"15\" }} is dollars for a million tokens, with at most three decimals"
            ));
        }
        let credit = mock.credit.as_deref();
        if credit.is_some_and(|credit| nanos(credit).is_none()) {
            found.push(format!(
                "mock {name:?}: credit is an amount of dollars like \"0.25\", with at most nine decimals"
            ));
        }
        if credit.is_some() && !scenario.has_prices() {
            found.push(format!(
                "mock {name:?}: credit is used up by what is billed; give every mock a price"
            ));
        }
        if mock.price.is_none() && scenario.has_prices() {
            found.push(format!(
                "mock {name:?} has no price and others have: what it bills nobody would know"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_to_the_nano_dollar_or_not_at_all() {
        assert_eq!(nanos("0.25"), Some(250_000_000));
        assert_eq!(nanos("12"), Some(12_000_000_000));
        assert_eq!(nanos("0.000000001"), Some(1));
        for odd in [
            "",
            ".5",
            "1e3",
            "-1",
            "0.0000000001",
            "1.2.3",
            "99999999999",
        ] {
            assert_eq!(nanos(odd), None, "{odd}");
        }
        let price = |input: &str| Price {
            input: input.to_owned(),
            output: "15".to_owned(),
        };
        let token = price("0.125").per_token().unwrap();
        assert_eq!((token.input, token.output), (125, 15_000));
        assert_eq!(price("0.0001").per_token(), None);
    }
}
