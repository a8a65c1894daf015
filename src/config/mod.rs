//! Configuration: what the operator writes, validated once into what the gateway uses.
//!
//! Defaults, then the file, then `SWITCHYARD_…` variables (`__` between levels). Secrets are references,
//! never text. Every mistake is reported at once, each with its key path and a cure. This is the only
//! folder that reads files or the environment.

mod auth;
mod diff;
mod egress;
mod explain;
mod load;
mod mistakes;
mod presets;
mod raw;
mod registry;
mod residency;
mod secret;
mod settings;
mod store;
mod tenants;
#[cfg(test)]
mod tests;
mod validate;

pub use diff::{changes, restart_needed};
pub use explain::{explain, explain_json};
pub use load::{Fingerprint, Source};
pub use mistakes::{ConfigError, Mistake};
pub use registry::Models;
pub use secret::Secret;
pub use settings::{
    AdminSettings, AuthSettings, ClientSettings, EgressSettings, FailoverSettings, HedgeSettings,
    JournalMode, JournalOnFailure, JournalSettings, KeyLimits, KeySettings, ListenSettings,
    LogFormat, LogSettings, PoolOrigin, PoolSettings, ProviderSettings, ProxySettings, RaceMode,
    Settings, TargetSettings, TenantSettings, TimeoutSettings,
};
pub use store::{KeepResponses, StoreMode, StoreSettings};
