//! The `[store]` section.

use std::path::PathBuf;
use std::time::Duration;

use super::judge::Judge;
use super::raw::{RawKeepResponses, RawStore, RawStoreMode};
use super::secret::Secret;

/// What outlives the process beside the journal, and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub path: PathBuf,
    pub mode: StoreMode,
    pub max_bytes: u64,
    pub retention: Duration,
    pub responses: KeepResponses,
    /// `None`: a random key in a file beside the store.
    pub key: Option<Secret>,
    /// Most a request waits for an answer.
    pub patience: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Survives a killed process.
    Fast,
    /// Survives a lost machine.
    Durable,
}

/// Which responses are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepResponses {
    /// As at OpenAI: all, but those with `store: false`.
    Usual,
    /// Those with `store: true`.
    Asked,
    Never,
}

/// A shorter key can be guessed.
const SHORTEST_KEY: usize = 32;
/// Less does not hold one conversation.
const LEAST_BYTES: u64 = 1 << 20;
const TEN_YEARS: u64 = 3_650;

pub(super) fn settings(judge: &mut Judge<'_>, raw: &RawStore) -> StoreSettings {
    if raw.path.is_empty() {
        judge.wrong(
            "store.path",
            "is empty",
            "name a file; with responses = \"never\" none is made",
        );
    }
    if raw.max_bytes < LEAST_BYTES {
        judge.wrong(
            "store.max_bytes",
            "is less than 1 MiB",
            "leave it out for the default",
        );
    }
    if !(1..=TEN_YEARS).contains(&raw.retention_days) {
        judge.wrong(
            "store.retention_days",
            "is not between 1 and 3650",
            "30 is the default; responses = \"never\" keeps nothing",
        );
    }
    let key = raw
        .key
        .as_ref()
        .and_then(|reference| judge.secret("store.key", reference));
    if key
        .as_ref()
        .is_some_and(|key| key.expose().len() < SHORTEST_KEY)
    {
        judge.wrong(
            "store.key",
            "the key is shorter than 32 characters",
            "make one with: openssl rand -hex 32",
        );
    }
    StoreSettings {
        path: PathBuf::from(&raw.path),
        mode: match raw.mode {
            RawStoreMode::Fast => StoreMode::Fast,
            RawStoreMode::Durable => StoreMode::Durable,
        },
        max_bytes: raw.max_bytes,
        retention: Duration::from_secs(raw.retention_days.min(TEN_YEARS) * 86_400),
        responses: match raw.responses {
            RawKeepResponses::Usual => KeepResponses::Usual,
            RawKeepResponses::Asked => KeepResponses::Asked,
            RawKeepResponses::Never => KeepResponses::Never,
        },
        key,
        patience: judge.millis("store.patience_ms", raw.patience_ms),
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        settings(&mut Judge::of_defaults(), &RawStore::default())
    }
}
