//! The supervision tree: who decides what, who restarts whom.
//!
//! ```text
//! root (rest_for_one)
//! ├─ settings    the configuration in force
//! ├─ telemetry   upkeep of metrics, watchdog
//! ├─ journal     keeper of the audit journal
//! ├─ keys        the store's keys and tenants, followed
//! ├─ books       what was spent, added up from the journal
//! ├─ tenants     (one_for_one)  who pays: limits and budgets
//! ├─ providers   (one_for_one)  a provider: breakers; parent of its keys
//! ├─ pools       (one_for_one)  a pool: who takes a request; a race strategy beside it
//! ├─ router      names to pools
//! ├─ edge        listeners
//! ├─ alerts      tells receivers outside what happened
//! └─ issuers     asks those whose tokens let people in for their keys
//! ```
//!
//! An actor is a [`Member`]: plain state and a synchronous `handle`. What must outlive it lies in the
//! [`Tables`]. References are [`Slot`]s, which stay good over a restart.

mod alerts;
mod books;
mod cells;
mod clock;
mod edge;
mod issuers;
mod journal;
mod keeper;
mod key;
mod lease;
mod member;
mod news;
mod pool;
mod provider;
mod race;
mod router;
mod seller;
mod settings;
mod slot;
mod supervisor;
mod system;
mod tables;
mod telemetry;
mod tenant;
#[cfg(test)]
mod tests;
mod till;
mod wish;

pub use alerts::{AlertSender, AlertsDesk, AlertsMessage};
pub use books::BooksMessage;
pub use cells::{EndpointCell, KeyCell, PoolCell, WindowCell};
pub use clock::{Clock, at_most, until, until_quiet};
pub use edge::Listener;
pub use issuers::{IssuerDoor, IssuersMessage};
pub use journal::JournalDesk;
pub use keeper::KeeperMessage;
pub use key::{KeyMessage, KeyProbe, KeyVerdict, TokenNews};
pub use lease::{Estimate, FailedAttempt, Lease, Target, WindowLimits};
pub use member::{Crash, InjectedFault, Member, Stage};
pub use news::News;
pub use pool::{ExplainedTarget, Explanation, PoolMessage};
pub use provider::ProviderMessage;
pub use race::RaceMessage;
pub use router::{PoolEntry, Route, RouterMessage, Routes};
pub use seller::{Seller, Turn};
pub use settings::{Refreshed, ReloadReason, Reloaded, SettingsDoor, SettingsMessage, Turns};
pub use slot::{ActorKind, AskError, Seat, SeatState, Slot};
pub use system::{Published, RootHandle, System, SystemParts};
pub use tables::Tables;
pub use tenant::{TenantCell, TenantEntry, TenantMessage, Tenants, wall};
pub use till::Till;
pub use wish::{Again, Patience, Purpose, Refusal, RefusalKind, Tried, Wish};
