//! The listening socket: accepts, refuses, comes back on the same port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::shared::{Door, Shared};

const BACKLOG: u32 = 1024;

/// The port, listened on or only kept.
enum Gate {
    Listening(TcpListener),
    /// Bound without listening, so that no other process takes the port meanwhile.
    Kept(TcpSocket),
    /// Bound by nobody; tried again soon.
    Lost,
}

impl Gate {
    async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Listening(listener) => listener.accept().await.map(|(stream, _)| stream),
            Self::Kept(_) | Self::Lost => std::future::pending().await,
        }
    }
}

pub(super) struct Listener {
    shared: Arc<Shared>,
    address: SocketAddr,
    gate: Gate,
    /// Subscribed at birth: a door changed before this task first runs is still seen.
    door: watch::Receiver<Door>,
    /// Which door is really in force, for those who wait for it.
    in_force: watch::Sender<Door>,
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Listener {
    /// Binds `port` on the loopback; 0 takes a free one.
    pub(super) fn bind(
        shared: Arc<Shared>,
        port: u16,
        in_force: watch::Sender<Door>,
    ) -> io::Result<Self> {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let door = shared.door.subscribe();
        Ok(Self {
            door,
            shared,
            address,
            gate: Gate::Listening(listener),
            in_force,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until aborted; the connections end with it.
    pub(super) async fn run(mut self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                changed = self.door.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = *self.door.borrow_and_update();
                    self.turn(wanted).await;
                }
                accepted = self.gate.accept() => {
                    let Ok(stream) = accepted else {
                        // Out of descriptors, most likely: wait for some to come back.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        continue;
                    };
                    // Every write is a segment of its own; without it Nagle would join slices again.
                    let _ = stream.set_nodelay(true);
                    let number = self.shared.accepted.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                    connections.spawn(Connection::new(&self.shared, stream, number).run());
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Brings the gate into the wanted state; on trouble tries for a second, for a port is soon free again.
    async fn turn(&mut self, wanted: Door) {
        for _ in 0..100 {
            if self.try_turn(wanted).is_ok() {
                self.in_force.send_replace(wanted);
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!(
            port = self.address.port(),
            "mock could not get its port back"
        );
    }

    fn try_turn(&mut self, wanted: Door) -> io::Result<()> {
        let gate = std::mem::replace(&mut self.gate, Gate::Lost);
        let refuse = wanted == Door::Refusing;
        self.gate = match gate {
            Gate::Listening(listener) if refuse => {
                drop(listener);
                Gate::Kept(bind(self.address)?)
            }
            Gate::Kept(socket) if !refuse => Gate::Listening(socket.listen(BACKLOG)?),
            Gate::Lost if refuse => Gate::Kept(bind(self.address)?),
            Gate::Lost => Gate::Listening(bind(self.address)?.listen(BACKLOG)?),
            settled @ (Gate::Listening(_) | Gate::Kept(_)) => settled,
        };
        Ok(())
    }
}
