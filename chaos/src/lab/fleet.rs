//! The mock providers of a run, by the names the scenario and the configuration give them.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::Epoch;
use super::config::key_of;
use crate::front::{Authority, Front, NameServer, Says, Speaks};
use crate::mock::{Dialect, Exchange, MockOptions, MockProvider, RateLimit, Spread, Weather};
use crate::scenario::Mock;

/// One mock and what is known of it.
#[derive(Debug)]
pub struct Provider {
    pub mock: MockProvider,
    pub weather: Weather,
    /// How its canary words begin.
    pub canary: String,
    /// The key it was told to expect.
    pub key: String,
    /// What the gateway connects to, where that is not the mock itself.
    pub front: Option<Front>,
    /// The name it is called by, where it has one.
    pub host: Option<String>,
    /// The mock's own clock at the run's beginning.
    offset: Duration,
}

/// All mocks of a run, and what leads to them.
#[derive(Debug, Default)]
pub struct Fleet {
    pub providers: BTreeMap<String, Provider>,
    /// Who signs for the fronts, once there is one.
    pub authority: Option<Authority>,
    /// Who tells where they are, once one has a name.
    pub names: Option<NameServer>,
}

/// Below what no real name ever is (RFC 6761).
const DOMAIN: &str = "mock.test";

impl Provider {
    /// When something of the mock's log happened, in milliseconds of the run.
    #[must_use]
    pub fn millis(&self, at: Duration) -> u64 {
        u64::try_from(at.saturating_sub(self.offset).as_millis()).unwrap_or(u64::MAX)
    }

    /// Where the gateway finds it, without a path.
    #[must_use]
    pub fn origin(&self) -> String {
        let Some(front) = &self.front else {
            return self.mock.origin();
        };
        let scheme = if front.is_secure() { "https" } else { "http" };
        let address = front.address();
        let host = self
            .host
            .clone()
            .unwrap_or_else(|| address.ip().to_string());
        format!("{scheme}://{host}:{}", address.port())
    }

    /// As an SDK would call it.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), self.mock.dialect().base_path())
    }

    /// The run's beginning on the mock's clock.
    #[must_use]
    pub fn offset(&self) -> Duration {
        self.offset
    }
}

impl Fleet {
    /// Starts one more mock.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn add(
        &mut self,
        wanted: &Mock,
        dialect: Dialect,
        seed: u64,
        port: u16,
    ) -> io::Result<()> {
        let weather = weather(wanted, self.providers.len());
        let canary = canary(self.providers.len());
        let options = MockOptions {
            dialect,
            name: canary.clone(),
            port,
            weather,
            seed: seed.wrapping_add(self.providers.len() as u64),
            log_limit: 400_000,
            ..MockOptions::default()
        };
        let mock = MockProvider::start(options).await?;
        if let Some(requests) = wanted.requests_per_minute {
            mock.limit(Some(RateLimit {
                requests,
                window: Duration::from_secs(60),
            }));
        }
        let host = wanted.named.then(|| format!("{}.{DOMAIN}", wanted.name));
        let speaks = wanted.front.or(wanted.named.then_some(Speaks::Plain));
        let front = match speaks {
            Some(speaks) => Some(self.front(speaks, host.as_deref(), &mock).await?),
            None => None,
        };
        let provider = Provider {
            front,
            host,
            mock,
            weather,
            canary,
            key: key_of(&wanted.name),
            offset: Duration::ZERO,
        };
        self.providers.insert(wanted.name.clone(), provider);
        Ok(())
    }

    async fn front(
        &mut self,
        speaks: Speaks,
        host: Option<&str>,
        mock: &MockProvider,
    ) -> io::Result<Front> {
        if let Some(host) = host {
            let names = match self.names.take() {
                Some(names) => names,
                None => NameServer::start().await?,
            };
            names.say(host, Says::Addresses(vec![Ipv4Addr::LOCALHOST]));
            self.names = Some(names);
        }
        let authority = match self.authority.take() {
            Some(authority) => authority,
            None => Authority::new()?,
        };
        let host = host.unwrap_or("127.0.0.1");
        let front = Front::start(speaks, &authority, host, mock.address()).await;
        self.authority = Some(authority);
        front
    }

    /// The run begins: from here on the clocks of all mocks are told from `epoch`.
    pub fn begin(&mut self, epoch: Epoch) {
        for provider in self.providers.values_mut() {
            let since = Duration::from_millis(epoch.millis());
            provider.offset = provider.mock.now().saturating_sub(since);
        }
    }

    /// The name of the mock whose canary words begin like this.
    #[must_use]
    pub fn by_canary(&self, canary: &str) -> Option<(&str, &Provider)> {
        self.providers
            .iter()
            .find(|(_, provider)| provider.canary == canary)
            .map(|(name, provider)| (name.as_str(), provider))
    }

    /// Every exchange of every mock since the run's beginning.
    #[must_use]
    pub fn wire(&self) -> Vec<(String, Exchange)> {
        let mut all: Vec<(String, Exchange)> = Vec::new();
        for (name, provider) in &self.providers {
            let log = provider.mock.log().into_iter();
            all.extend(log.map(|exchange| (name.clone(), exchange)));
        }
        all
    }

    /// What the mocks' logs have forgotten, mock by mock.
    #[must_use]
    pub fn forgotten(&self) -> Vec<(String, u64)> {
        let all = self.providers.iter();
        all.map(|(name, provider)| (name.clone(), provider.mock.log_lost()))
            .filter(|(_, lost)| *lost > 0)
            .collect()
    }

    #[must_use]
    pub fn requests(&self) -> u64 {
        self.providers
            .values()
            .fold(0, |sum, one| sum.saturating_add(one.mock.requests()))
    }

    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.providers
            .values()
            .fold(0, |sum, one| sum.saturating_add(one.mock.in_flight()))
    }
}

/// Mocks differ a little unless told otherwise, as providers do.
fn weather(wanted: &Mock, place: usize) -> Weather {
    let usual = Duration::from_millis(60 + 20 * (place as u64 % 5));
    let median = wanted.first_content.map_or(usual, |span| span.0);
    let first_content = match wanted.first_content_p99 {
        Some(p99) => Spread::LogNormal { median, p99: p99.0 },
        None => Spread::Between(median.mul_f64(0.8), median.mul_f64(1.2)),
    };
    Weather {
        first_content,
        gap: Spread::Exactly(wanted.gap.map_or(Duration::from_millis(10), |span| span.0)),
        tokens: wanted.tokens.unwrap_or(12),
        ..Weather::default()
    }
}

/// Begins every word that a mock of a run says; found in a log or a record, it proves a leak.
pub const CANARY_MARK: &str = "canarywordof";

/// Letters only, because a canary word's digits are its numbers.
fn canary(place: usize) -> String {
    let letter = |index: usize| char::from(b'a'.saturating_add((index % 26) as u8));
    let letters: String = [letter(place / 26), letter(place)].iter().collect();
    format!("{CANARY_MARK}{letters}")
}
