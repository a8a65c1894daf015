//! The world of one run: mock providers, the gateway's process, its folder, and everyone's clock.

mod clock;
pub mod config;
mod disk;
mod enclosure;
mod fleet;
mod interrupt;
mod lodging;
mod payers;
mod process;
mod receiver;

pub use clock::OwnClock;
pub use disk::{DiskState, SmallDisk};
pub use enclosure::enclosed;
pub use fleet::{CANARY_MARK, Fleet, Provider};
pub use interrupt::{interrupted, was_interrupted};
pub use lodging::Lodging;
pub use payers::{CLIENT_MARK, client_key, let_in};
pub use process::{GatewayProcess, ProcessError, is_stopped, signal};
pub use receiver::{HOOK_MARK, HOOK_SECRET, Receivers};

use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::time::Instant;

/// Where the harness's clients connect, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    pub address: SocketAddr,
    /// Without a trailing slash: `/v1`.
    pub path: String,
    pub key: String,
}

/// The door as it is now: a gateway that is started again may listen elsewhere.
#[derive(Debug)]
pub struct Doorway(watch::Sender<Door>);

impl Doorway {
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self(watch::Sender::new(door))
    }

    #[must_use]
    pub fn now(&self) -> Door {
        self.0.borrow().clone()
    }

    pub fn moved(&self, address: SocketAddr) {
        self.0.send_modify(|door| door.address = address);
    }
}

/// The clock all records of a run are told by: milliseconds from its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Epoch {
    #[must_use]
    pub fn now() -> Self {
        Self(Instant::now())
    }

    #[must_use]
    pub fn millis(self) -> u64 {
        self.of(Instant::now())
    }

    #[must_use]
    pub fn of(self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX)
    }

    #[must_use]
    pub fn at(self, millis: u64) -> Instant {
        let after = std::time::Duration::from_millis(millis);
        self.0.checked_add(after).unwrap_or(self.0)
    }
}
