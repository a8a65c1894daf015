//! One accepted connection: request, answer, request, …

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::asked::Asked;
use super::behaviour::After;
use super::intake::{self, Head, NoRequest};
use super::shared::{Counted, Door, Recorder, Shared};
use super::stage::{Ended, Stage, ordered};

/// How long a closed connection listens on, so that late bytes of the peer do not turn our FIN into a reset.
const CLOSING: Duration = Duration::from_secs(1);

/// What the next event on an idle connection was.
enum Idle {
    Request(Head),
    Over,
    Broken,
    Reset,
    Close,
}

pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    number: u64,
    resets: watch::Receiver<u64>,
    idle_closes: watch::Receiver<u64>,
    /// The exchange whose fault shows only when the connection is used again or has been idle.
    owes: Option<(u64, Arc<str>)>,
}

impl Connection {
    /// Subscribes to orders here, so that one given before the connection's task first runs is still obeyed.
    pub(super) fn new(shared: &Arc<Shared>, stream: TcpStream, number: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            stream,
            number,
            resets: shared.resets.subscribe(),
            idle_closes: shared.idle_closes.subscribe(),
            owes: None,
        }
    }

    fn afterwards(&mut self) {
        if let Some((number, label)) = self.owes.take() {
            Recorder::again(&self.shared, number, label).acted();
        }
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _counted = Counted::new(&shared.open);
        if *shared.door.borrow() == Door::Silent {
            shared.held.fetch_add(1, Ordering::Relaxed);
            return self.ignore().await;
        }
        if let Some(fast) = &shared.fast {
            tokio::select! {
                () = fast.serve(&mut self.stream, &shared) => {}
                () = ordered(&mut self.resets) => self.reset(),
            }
            return;
        }
        let mut inbox = BytesMut::with_capacity(16 * 1024);
        let mut after = After::KeepAlive;
        for reuse in 0_u64.. {
            let head = match self.next_head(&mut inbox, after, reuse > 0).await {
                Idle::Request(head) => head,
                Idle::Over => return,
                Idle::Reset => return self.reset(),
                Idle::Broken => {
                    shared.bad_requests.fetch_add(1, Ordering::Relaxed);
                    return self.complain().await;
                }
                Idle::Close => return self.close().await,
            };
            match self.exchange(&head, &mut inbox, reuse, &mut after).await {
                Ended::Whole if !head.last => {}
                Ended::Whole | Ended::Fin => return self.close().await,
                Ended::Reset => return self.reset(),
                Ended::Left => return,
            }
        }
    }

    /// Waits for the next head, as long as the last answer's `After` lets it. Only one that has served can be idle: a
    /// fresh one is about to be asked, be it after a handshake in front of the mock.
    async fn next_head(&mut self, inbox: &mut BytesMut, after: After, has_served: bool) -> Idle {
        // Orders that were given while the connection was busy were not meant for it.
        self.idle_closes.mark_unchanged();
        let patience = async {
            match after {
                After::CloseIdle(idle) => tokio::time::sleep(idle).await,
                After::KeepAlive | After::FinOnReuse | After::ResetOnReuse => {
                    std::future::pending().await
                }
            }
        };
        tokio::select! {
            biased;
            () = ordered(&mut self.resets) => Idle::Reset,
            () = ordered(&mut self.idle_closes), if has_served => {
                self.shared.idle_closed.fetch_add(1, Ordering::Relaxed);
                Idle::Close
            }
            head = intake::read_head(&mut self.stream, inbox) => match head {
                Ok(head) => Idle::Request(head),
                Err(NoRequest::Closed | NoRequest::Io(_)) => Idle::Over,
                Err(NoRequest::Cut | NoRequest::Malformed(_)) => Idle::Broken,
            },
            () = patience => {
                self.afterwards();
                Idle::Close
            }
        }
    }

    async fn exchange(
        &mut self,
        head: &Head,
        inbox: &mut BytesMut,
        reuse: u64,
        after: &mut After,
    ) -> Ended {
        let shared = Arc::clone(&self.shared);
        if *shared.door.borrow() == Door::HeadOnly {
            shared.held.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = ordered(&mut self.resets) => return Ended::Reset,
                () = hung_up(&self.stream) => return Ended::Left,
            }
        }
        let body = tokio::select! {
            body = intake::read_body(&mut self.stream, inbox, head) => body,
            () = ordered(&mut self.resets) => return Ended::Reset,
        };
        let Ok(body) = body else {
            shared.bad_requests.fetch_add(1, Ordering::Relaxed);
            return Ended::Left;
        };
        if let Some(ended) = self.done_for(*after) {
            return ended;
        }
        let asked = Arc::new(Asked {
            dialect: shared.dialect,
            number: shared.next_request(),
            connection: self.number,
            reuse,
            at: shared.now(),
            method: head.method.clone(),
            path: head.path.clone(),
            fields: head.fields.clone(),
            json: intake::parse_json(&body),
            body,
        });
        let Some(performance) = shared.consult(|control| control.decide(&asked)) else {
            return Ended::Reset;
        };
        // Seen only now: whoever waits for it changes the script next, and must not change it for this one.
        let _counted = Counted::new(&shared.in_flight);
        let mut recorder = Recorder::begin(&shared, &asked);
        recorder.performs(&performance);
        *after = performance.after;
        self.owes = performance
            .label
            .clone()
            .filter(|_| *after != After::KeepAlive)
            .map(|label| (asked.number, label));
        Stage {
            stream: &mut self.stream,
            inbox,
            resets: &mut self.resets,
            recorder,
        }
        .perform(&performance)
        .await
    }

    /// How the connection ends that an earlier answer left dead.
    fn done_for(&mut self, after: After) -> Option<Ended> {
        let ended = match after {
            After::KeepAlive | After::CloseIdle(_) => return None,
            After::FinOnReuse => Ended::Fin,
            After::ResetOnReuse => Ended::Reset,
        };
        self.shared.stale.fetch_add(1, Ordering::Relaxed);
        self.afterwards();
        Some(ended)
    }

    async fn ignore(mut self) {
        tokio::select! {
            () = ordered(&mut self.resets) => self.reset(),
            () = hung_up(&self.stream) => {}
        }
    }

    async fn complain(mut self) {
        // The peer may be gone; then nobody needs the complaint.
        let _ = self
            .stream
            .write_all(
                b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            )
            .await;
        self.close().await;
    }

    fn reset(self) {
        // Fails only on a socket that is already gone, which is what was wanted.
        let _ = self.stream.set_zero_linger();
    }

    async fn close(mut self) {
        // As above: a peer that left first has closed for us.
        let _ = self.stream.shutdown().await;
        let mut sink = vec![0_u8; 4096];
        let drained =
            async { while matches!(self.stream.read(&mut sink).await, Ok(count) if count > 0) {} };
        // A peer that never closes loses the connection anyway.
        let _ = tokio::time::timeout(CLOSING, drained).await;
    }
}

/// Returns when the peer has closed, without reading a byte of what it sent.
async fn hung_up(stream: &TcpStream) {
    // With unread bytes the socket is always ready, so this looks again every so often instead of being woken.
    while stream
        .ready(Interest::READABLE)
        .await
        .is_ok_and(|ready| !ready.is_read_closed())
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
