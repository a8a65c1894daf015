//! The front's socket: accepts, and resets when told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::{Shared, handshake};

const BACKLOG: u32 = 1024;

/// Where it listens, and the task that does.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    /// Ends its connections with it.
    pub(super) task: AbortHandle,
    /// Told so, it accepts nobody more and lets those end who are there.
    pub(super) leave: watch::Sender<bool>,
}

pub(super) fn start(shared: &Arc<Shared>, place: SocketAddr) -> io::Result<Place> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(place)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    let (leave, leaves) = watch::channel(false);
    let task = tokio::spawn(accept(Arc::clone(shared), listener, leaves)).abort_handle();
    Ok(Place {
        address,
        task,
        leave,
    })
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, mut leaves: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // It changes once, and a front that is gone has taken this task with it.
            _ = leaves.changed() => break,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, most likely: wait for some to come back.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                // Small frames must not wait for each other.
                let _ = stream.set_nodelay(true);
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let resets = shared.resets.subscribe();
                connections.spawn(serve(Arc::clone(&shared), stream, resets));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, mut resets: watch::Receiver<u64>) {
    // Whatever becomes of the connection, a socket that is dropped without having been closed is reset.
    let _ = stream.set_zero_linger();
    tokio::select! {
        biased;
        _ = resets.changed() => {}
        () = handshake::serve(&shared, stream) => {}
    }
}
