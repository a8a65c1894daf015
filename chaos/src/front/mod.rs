//! What stands between a gateway and a mock: TLS, HTTP/2, and the name that leads there.
//!
//! # Why in front
//! A mock writes its bytes by hand on a bare socket. A [`Front`] takes the gateway's connection, speaks TLS and HTTP/2 with
//! it, and asks the mock behind it in plain HTTP/1.1: every fault of the catalogue can be met through it, the mock's log
//! tells of every request, and what goes wrong in the handshake or the frames is the front's own affair.

mod authority;
mod filter;
mod handshake;
mod listener;
mod names;
mod relay;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use tokio::sync::watch;

pub use authority::{Authority, Certificate};
pub use names::{NameServer, Says};

use handshake::Identity;
use listener::Place;

/// What a front speaks with the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// What the mock speaks, byte for byte.
    Plain,
    /// TLS around what the mock speaks.
    Tls,
    /// TLS with HTTP/2, and HTTP/1.1 for who does not want that.
    H2,
}

/// What goes wrong in every handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    Expired,
    OtherName,
    UnknownAuthority,
    /// Nothing later than TLS 1.1.
    Old,
    /// Silence after the client's hello.
    Silent,
    Alert,
    /// FIN after the client's hello.
    Close,
}

/// What goes wrong in HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum H2Fault {
    /// GOAWAY below the request's stream, which is not looked at; what else is under way is finished.
    GoAway,
    /// GOAWAY with the request's stream, which is answered.
    GoAwayAfter,
    /// RST_STREAM: the request was not looked at.
    Refused,
    /// RST_STREAM: too much is asked.
    Calm,
    /// RST_STREAM: something broke.
    Internal,
    /// One stream at a time.
    OneStream,
    /// The request's body is given no window.
    ShutWindow,
    /// Pings are not answered.
    NoPong,
    /// ALPN chooses HTTP/1.1.
    NotSpoken,
}

impl H2Fault {
    /// Whether it is made when a connection begins, so that those that are open know nothing of it.
    fn needs_fresh(self) -> bool {
        match self {
            Self::OneStream | Self::ShutWindow | Self::NoPong | Self::NotSpoken => true,
            Self::GoAway | Self::GoAwayAfter | Self::Refused | Self::Calm | Self::Internal => false,
        }
    }
}

/// What goes wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesFault {
    Trouble,
    NoSuchName,
    Silent,
    /// No address, and no error.
    Empty,
    /// Another address, and nobody at the old one any more.
    Moved,
    /// Several addresses, and nobody at the first.
    DeadFirst,
}

/// What a front does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FrontFault {
    Tls(TlsFault),
    /// With the share of requests, or connections, that meet it.
    H2(H2Fault, f64),
}

impl FrontFault {
    fn needs_fresh(self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::H2(fault, _) => fault.needs_fresh(),
        }
    }

    /// What a front has to speak for it to be possible.
    #[must_use]
    pub fn is_possible(self, speaks: Speaks) -> bool {
        match self {
            Self::Tls(_) => speaks != Speaks::Plain,
            Self::H2(..) => speaks == Speaks::H2,
        }
    }
}

/// What the handle and the connections both see.
#[derive(Debug)]
struct Shared {
    behind: SocketAddr,
    identity: Option<Identity>,
    fault: watch::Sender<Option<FrontFault>>,
    resets: watch::Sender<u64>,
    /// Changes when connections in HTTP/2 are to end after what is under way.
    retires: watch::Sender<u64>,
    /// Handshakes, streams or pings that met the fault of their time.
    met: AtomicU64,
    accepted: AtomicU64,
    /// Draws who meets a fault that only a share meets.
    drawn: AtomicU64,
}

impl Shared {
    fn fault(&self) -> Option<FrontFault> {
        *self.fault.borrow()
    }

    /// The HTTP/2 fault of this moment, if this request or connection is one of those that meet it.
    fn h2_fault(&self) -> Option<H2Fault> {
        let Some(FrontFault::H2(fault, share)) = self.fault() else {
            return None;
        };
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let draw = fastrand::Rng::with_seed(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).f64();
        (draw < share).then_some(fault)
    }

    fn meet(&self) {
        self.met.fetch_add(1, Ordering::Relaxed);
    }
}

/// A running front; it ends when dropped.
#[derive(Debug)]
pub struct Front {
    shared: Arc<Shared>,
    speaks: Speaks,
    place: watch::Sender<Place>,
}

impl Front {
    /// Listens on a free port of the loopback. `host` is the name or address the gateway will call it by.
    ///
    /// # Errors
    /// When nothing can be bound, or no certificate be made.
    pub async fn start(
        speaks: Speaks,
        authority: &Authority,
        host: &str,
        behind: SocketAddr,
    ) -> io::Result<Self> {
        let identity = match speaks {
            Speaks::Plain => None,
            Speaks::Tls => Some(Identity::new(authority, host, false)?),
            Speaks::H2 => Some(Identity::new(authority, host, true)?),
        };
        let shared = Arc::new(Shared {
            behind,
            identity,
            fault: watch::Sender::new(None),
            resets: watch::Sender::new(0),
            retires: watch::Sender::new(0),
            met: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            drawn: AtomicU64::new(0),
        });
        let place = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let place = watch::Sender::new(listener::start(&shared, place)?);
        Ok(Self {
            shared,
            speaks,
            place,
        })
    }

    #[must_use]
    pub fn speaks(&self) -> Speaks {
        self.speaks
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.place.borrow().address
    }

    /// Whether a client needs TLS here.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.speaks != Speaks::Plain
    }

    /// From now on it does this wrong, or nothing. Connections in HTTP/2 that would know nothing of it end after what is
    /// under way; those in HTTP/1.1 end when the mock behind closes them idle.
    pub fn fault(&self, fault: Option<FrontFault>) {
        let before = self.shared.fault.send_replace(fault);
        let needs_fresh = |fault: Option<FrontFault>| fault.is_some_and(FrontFault::needs_fresh);
        if needs_fresh(fault) || needs_fresh(before) {
            self.retire_connections();
        }
    }

    /// This fault is over, unless another has taken its place.
    pub fn end(&self, fault: FrontFault) {
        if *self.shared.fault.borrow() == Some(fault) {
            self.fault(None);
        }
    }

    /// GOAWAY to every connection in HTTP/2, which harms no request.
    pub fn retire_connections(&self) {
        let next = |count: &mut u64| *count = count.wrapping_add(1);
        self.shared.retires.send_modify(next);
    }

    /// How often a fault was met since the start.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.shared.met.load(Ordering::Relaxed)
    }

    /// Connections since the start.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// RST to every open connection.
    pub fn reset_connections(&self) {
        let next = |count: &mut u64| *count = count.wrapping_add(1);
        self.shared.resets.send_modify(next);
    }

    /// Leaves its address, where nobody listens any more, for the same port of another; open connections are reset.
    ///
    /// # Errors
    /// When the new place cannot be bound; then the front is nowhere.
    pub fn move_to(&self, address: IpAddr) -> io::Result<()> {
        self.place.borrow().task.abort();
        self.reset_connections();
        let place = SocketAddr::new(address, self.address().port());
        self.place
            .send_replace(listener::start(&self.shared, place)?);
        Ok(())
    }

    /// As [`Front::move_to`], but whoever is connected is served on.
    ///
    /// # Errors
    /// As [`Front::move_to`]; then the front stays where it is.
    pub fn move_gently(&self, address: IpAddr) -> io::Result<()> {
        let place = SocketAddr::new(address, self.address().port());
        let new = listener::start(&self.shared, place)?;
        // A task that has ended has nobody to let go.
        let _ = self.place.send_replace(new).leave.send(true);
        Ok(())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.place.borrow().task.abort();
    }
}
