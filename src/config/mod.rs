//! Configuration: what the operator writes, validated once into what the gateway uses.
//!
//! Defaults, then the file, then `SWITCHYARD_…` variables (`__` between levels). Secrets are references,
//! never text. Every mistake is reported at once, each with its key path and a cure. This is the only
//! folder that reads files or the environment.

mod address;
mod alerts;
mod auth;
mod clients;
mod diff;
mod egress;
mod explain;
mod forms;
mod guard;
mod idempotency;
mod identity;
mod journal;
mod judge;
mod listen;
mod load;
mod login;
mod media;
mod mistakes;
mod pools;
mod presets;
mod pricing;
mod providers;
mod raw;
mod registry;
mod registry_copy;
mod residency;
mod secret;
mod settings;
mod store;
mod streams;
mod tenants;
#[cfg(test)]
mod tests;
mod timeouts;
mod validate;
mod volume;
mod way_out;

pub use alerts::AlertSettings;
pub use diff::{changes, restart_needed};
pub use explain::{explain, explain_json};
pub use forms::{GrantForm, TeamForm, TenantForm, TermsForm, read_grant, read_name};
pub use guard::{GuardRules, GuardSettings, WebhookSettings};
pub use identity::{IdentitySettings, KeysFrom, TeamOf, TenantOf};
pub use load::{Fingerprint, Source};
pub use login::{ContainerWord, ServiceAccount, TokenRecipe, Trade, token_file};
pub use media::MediaSettings;
pub use mistakes::{ConfigError, Mistake};
pub use pricing::{PricingSettings, TellCost};
pub use raw::{BudgetForm, LimitForm};
pub use registry::{Models, is_fetchable};
pub use registry_copy::{LARGEST_REGISTRY, NotKept, RegistryCopy, RegistrySettings};
pub use secret::{Secret, read_reference};
pub use settings::{
    AdminSettings, AuthSettings, ClientSettings, EgressSettings, FailoverSettings, HedgeSettings,
    IssuedKeySettings, JournalMode, JournalOnFailure, JournalSettings, KeyLimits, KeySettings,
    KeySource, ListenSettings, LogFormat, LogSettings, PoolOrigin, PoolSettings, ProviderSettings,
    ProxySettings, RaceMode, Settings, TargetSettings, TenantSettings, TimeoutSettings,
    UnsupportedSettings, account_path,
};
pub use store::{KeepResponses, StoreMode, StoreSettings};
pub use streams::StreamShape;
