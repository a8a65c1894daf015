//! Carries out wire steps on one connection, watching the peer all the while.
//!
//! A peer that sends FIN before its answer is whole counts as gone: no gateway half-closes towards a provider,
//! and the moment of its leaving is what the log is for.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::watch;

use super::behaviour::{Part, Slice, Step};
use super::control::Performance;
use super::log::Leaving;
use super::shared::Recorder;

/// Bytes a peer may send ahead of its turn before the mock stops reading them.
const AHEAD_LIMIT: usize = 1024 * 1024;

/// How a performance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Whole: the connection may carry another request.
    Whole,
    /// The script closes.
    Fin,
    /// The script, or an order, resets.
    Reset,
    /// The peer is gone.
    Left,
}

enum Interrupt {
    Left(Leaving),
    Ordered,
}

/// One connection while it answers.
pub(super) struct Stage<'a> {
    pub(super) stream: &'a mut TcpStream,
    pub(super) inbox: &'a mut BytesMut,
    /// Changes when every connection is to be reset.
    pub(super) resets: &'a mut watch::Receiver<u64>,
    pub(super) recorder: Recorder<'a>,
}

impl Stage<'_> {
    pub(super) async fn perform(&mut self, performance: &Performance) -> Ended {
        let mut slice = performance.slice;
        for step in &performance.steps {
            let done = match step {
                Step::Send { bytes, part } => self.send(bytes, *part, slice).await,
                Step::Sleep(how_long) => self.sleep(*how_long).await,
                Step::Repeat {
                    bytes,
                    per_burst,
                    gap,
                    bursts,
                } => {
                    let burst = bytes
                        .repeat(usize::try_from(*per_burst).unwrap_or(1).max(1))
                        .into();
                    self.repeat(&burst, *gap, *bursts).await
                }
                Step::Slice(from_here) => {
                    slice = Some(*from_here);
                    Ok(())
                }
                Step::Mark => {
                    self.recorder.acted();
                    Ok(())
                }
                Step::Hold => self.hold().await,
                Step::Reset => return self.close(Ended::Reset),
                Step::Fin => return self.close(Ended::Fin),
            };
            match done {
                Ok(()) => {}
                Err(Interrupt::Ordered) => return self.close(Ended::Reset),
                Err(Interrupt::Left(how)) => {
                    self.recorder.left(how);
                    return Ended::Left;
                }
            }
        }
        self.close(Ended::Whole)
    }

    fn close(&self, ended: Ended) -> Ended {
        self.recorder.finished();
        ended
    }

    async fn send(
        &mut self,
        bytes: &Bytes,
        part: Part,
        slice: Option<Slice>,
    ) -> Result<(), Interrupt> {
        let Some(Slice { bytes: size, gap }) = slice else {
            self.write(bytes).await?;
            self.recorder.sent(bytes.len(), part);
            return Ok(());
        };
        for piece in bytes.chunks(size.max(1)) {
            self.write(piece).await?;
            self.sleep(gap).await?;
        }
        self.recorder.sent(bytes.len(), part);
        Ok(())
    }

    async fn repeat(&mut self, burst: &Bytes, gap: Duration, bursts: u64) -> Result<(), Interrupt> {
        for _ in 0..bursts {
            self.write(burst).await?;
            self.recorder.sent(burst.len(), Part::Content);
            if gap.is_zero() {
                // An endless script must not starve the others of its thread.
                tokio::task::yield_now().await;
            } else {
                self.sleep(gap).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Interrupt> {
        let (mut read, mut write) = self.stream.split();
        let mut rest = bytes;
        while !rest.is_empty() {
            // `write` is cancel safe: when the other branch wins, nothing of it was written.
            let written = tokio::select! {
                biased;
                interrupt = watch_peer(&mut read, self.inbox, self.resets) => return Err(interrupt),
                written = write.write(rest) => written,
            };
            let count = written.map_err(|error| Interrupt::Left(leaving(&error)))?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    async fn sleep(&mut self, how_long: Duration) -> Result<(), Interrupt> {
        if how_long.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let (mut read, _write) = self.stream.split();
        tokio::select! {
            biased;
            interrupt = watch_peer(&mut read, self.inbox, self.resets) => Err(interrupt),
            () = tokio::time::sleep(how_long) => Ok(()),
        }
    }

    async fn hold(&mut self) -> Result<(), Interrupt> {
        let (mut read, _write) = self.stream.split();
        Err(watch_peer(&mut read, self.inbox, self.resets).await)
    }
}

/// Returns when the peer has left or an order has come; what the peer sends meanwhile waits in the inbox.
async fn watch_peer(
    read: &mut ReadHalf<'_>,
    inbox: &mut BytesMut,
    resets: &mut watch::Receiver<u64>,
) -> Interrupt {
    loop {
        if inbox.len() >= AHEAD_LIMIT {
            ordered(resets).await;
            return Interrupt::Ordered;
        }
        tokio::select! {
            biased;
            got = read.read_buf(inbox) => match got {
                Ok(0) => return Interrupt::Left(Leaving::Fin),
                Ok(_) => {}
                Err(error) => return Interrupt::Left(leaving(&error)),
            },
            () = ordered(resets) => return Interrupt::Ordered,
        }
    }
}

pub(super) async fn ordered(orders: &mut watch::Receiver<u64>) {
    if orders.changed().await.is_err() {
        // The mock is gone, and the task that owns this connection with it.
        std::future::pending::<()>().await;
    }
}

fn leaving(error: &io::Error) -> Leaving {
    // EPIPE is the end of a peer that sent FIN first.
    if error.kind() == io::ErrorKind::ConnectionReset {
        Leaving::Reset
    } else {
        Leaving::Fin
    }
}
