//! How a mock starts.

use super::dialect::Dialect;
use super::fast::Fast;
use super::weather::Weather;

/// How a mock starts; all but the dialect can be left alone.
#[derive(Debug, Clone)]
pub struct MockOptions {
    pub dialect: Dialect,
    /// Begins every canary word, so that answers of different mocks can be told apart.
    /// Only its letters count; `c` if it has none.
    pub name: String,
    /// On the loopback; 0 takes a free one.
    pub port: u16,
    pub weather: Weather,
    pub seed: u64,
    /// What `GET …/models` lists. Any model is answered.
    pub models: Vec<String>,
    /// Refuse with 400 what the real provider would refuse.
    pub checks: bool,
    /// How many exchanges the log keeps.
    pub log_limit: usize,
    /// Prebuilt answers for load: no log, no script, only counts.
    pub fast: Option<Fast>,
}

impl Default for MockOptions {
    fn default() -> Self {
        Self {
            dialect: Dialect::OpenAi,
            name: "c".to_owned(),
            port: 0,
            weather: Weather::default(),
            seed: 1,
            models: vec!["mock-model".to_owned(), "mock-small".to_owned()],
            checks: true,
            log_limit: 20_000,
            fast: None,
        }
    }
}

impl MockOptions {
    #[must_use]
    pub fn for_dialect(dialect: Dialect) -> Self {
        Self {
            dialect,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    #[must_use]
    pub fn weather(self, weather: Weather) -> Self {
        Self { weather, ..self }
    }
}
