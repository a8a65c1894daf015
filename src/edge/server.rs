//! Accepting connections and serving them within limits: heads, fields, streams, idle time, floods.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tower_service::Service as _;

use super::aside::moved_to;
use super::connection::{CloseReason, ConnectionControl, ConnectionState, Socket, until_gone};
use super::framing::Violation;
use crate::actors::{Listener, News};
use crate::config::ListenSettings;
use crate::policy::overload::Overload;

/// Limits of one listener.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub listen: ListenSettings,
    /// Where its connections are served; `None`: on the runtime of whoever accepts.
    pub aside: Option<Handle>,
}

/// One listener. The socket is bound once and outlives the accept loop.
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    news: Arc<News>,
    open: AtomicU32,
    drain: watch::Sender<bool>,
    builder: auto::Builder<TokioExecutor>,
}

/// Bytes that wait in the kernel for one client.
const SEND_BUFFER: usize = 64 * 1024;
/// Descriptors ran out: so long nobody is accepted, instead of spinning (fault O09).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    pub async fn bind(options: ServerOptions, router: Router, news: Arc<News>) -> io::Result<Self> {
        let binding = TcpListener::bind(options.listen.address);
        let listener = match &options.aside {
            // A socket is woken by the runtime in which it was made.
            Some(place) => place.spawn(binding).await.map_err(io::Error::other)??,
            None => binding.await?,
        };
        let builder = builder(&options.listen);
        let (drain, _) = watch::channel(false);
        let inner = Inner {
            listener,
            router,
            options,
            news,
            open: AtomicU32::new(0),
            drain,
            builder,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.inner.listener.local_addr()
    }

    /// Stops accepting and waits until open connections have ended, at most until `limit`.
    pub async fn drain(&self, limit: Duration) -> u32 {
        self.inner.drain.send_replace(true);
        let ended = async {
            while self.inner.open.load(Ordering::Relaxed) > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        // What is still open is cut by the caller's exit.
        let _ = timeout(limit, ended).await;
        self.inner.open.load(Ordering::Relaxed)
    }
}

impl Listener for Server {
    fn accept(&self) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        let aside = inner.options.aside.clone();
        let accepting: BoxFuture<'static, ()> = Box::pin(async move {
            let mut drain = inner.drain.subscribe();
            loop {
                let accepted = tokio::select! {
                    accepted = inner.listener.accept() => accepted,
                    () = told_to_drain(&mut drain) => return std::future::pending().await,
                };
                match accepted {
                    Ok((stream, peer)) => inner.take(stream, peer).await,
                    Err(error) if is_about_one_connection(&error) => {}
                    Err(_) => {
                        inner.news.metrics.accept_paused();
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
        match aside {
            Some(place) => moved_to(&place, accepting),
            None => accepting,
        }
    }
}

async fn told_to_drain(drain: &mut watch::Receiver<bool>) {
    // An error means that the listener is gone, which is as good as draining.
    let _ = drain.wait_for(|draining| *draining).await;
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn builder(listen: &ListenSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Slow heads and idle connections are watched by the connection itself, without a timer a request.
        .header_read_timeout(None)
        .max_buf_size(listen.max_header_bytes)
        .max_headers(listen.max_headers)
        // Without `pipeline_flush`: with it an answer stays in hyper's buffer while unread bytes follow the
        // request, and is lost when the connection is closed behind it.
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(listen.h2_max_streams)
        .max_header_list_size(u32::try_from(listen.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(Some(64))
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

impl Inner {
    async fn take(self: &Arc<Self>, stream: TcpStream, peer: std::net::SocketAddr) {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        self.news.metrics.conns.increment(1.0);
        let counted = CountedConnection(Arc::clone(self));
        if open >= self.options.listen.max_connections {
            self.news.metrics.conn_closed("too_many");
            // Dropping it is the cheapest answer there is.
            drop(counted);
            return;
        }
        // Small writes must not wait for each other, and what a slow client has not taken must not pile up
        // where nobody sees it (fault L02); a socket that refuses the options still works.
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            inner.serve(stream, peer).await;
            drop(counted);
        });
    }

    async fn serve(self: &Arc<Self>, stream: TcpStream, peer: std::net::SocketAddr) {
        let pressure = Arc::clone(&self.news.pressure);
        let state = ConnectionState::new(peer, self.options.listen.write_stall, pressure);
        let most = self.options.listen.max_header_bytes;
        let (socket, stream) = Socket::new(stream, Arc::clone(&state), most);
        let watcher = Arc::clone(self).watch(Arc::clone(&stream), Arc::clone(&state));
        let beside = Beside(tokio::spawn(watcher));
        let ended = self.serve_socket(socket, &stream, &state).await;
        drop(beside);
        if ended == Ended::ByUs {
            linger(&stream).await;
        }
    }

    async fn serve_socket(
        &self,
        socket: Socket,
        stream: &TcpStream,
        state: &Arc<ConnectionState>,
    ) -> Ended {
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let (router, state) = (self.router.clone(), Arc::clone(state));
            serve_request(router, state, request)
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(socket), service));
        let mut closing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    let violation = state.violation();
                    let unheard = violation.is_some_and(|violation| violation.in_head);
                    if unheard || state.owes_an_answer() {
                        let words = last_words(ended.err().as_deref(), violation);
                        let _ = stream.try_write(words.as_bytes());
                        self.news.metrics.conn_closed("framing");
                    } else if violation.is_some() {
                        self.news.metrics.conn_closed("framing");
                    }
                    return Ended::ByUs;
                }
                () = state.close.notified() => {
                    if let Some(reason) = state.verdict() {
                        return self.cut(stream, reason);
                    }
                    if !std::mem::replace(&mut closing, true) {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    /// Ends a connection that has used up somebody's patience, or has nobody at its other end.
    fn cut(&self, stream: &TcpStream, reason: CloseReason) -> Ended {
        self.news.metrics.conn_closed(reason.label());
        match reason {
            CloseReason::SlowHead => {
                // Whoever still listens reads why.
                let why = "the request's head did not arrive in time; send it at once, or raise listen.head_timeout_ms";
                let _ =
                    stream.try_write(refusal("408 Request Timeout", "slow_head", why).as_bytes());
                Ended::ByUs
            }
            CloseReason::Idle => Ended::ByUs,
            CloseReason::SlowReader | CloseReason::Gone => Ended::ByThem,
        }
    }

    /// How long a connection may rest. Memory that is short is not kept for those who ask nothing.
    fn idle_limit(&self) -> Duration {
        let idle = self.options.listen.idle_timeout;
        if self.news.pressure.level() > Overload::Calm {
            idle / 10
        } else {
            idle
        }
    }

    /// Looks after one connection from beside it.
    ///
    /// # Why a task of its own
    /// Everything in the connection's own task is polled for every chunk that goes through it; this has
    /// something to do a few times a second.
    async fn watch(self: Arc<Self>, stream: Arc<TcpStream>, state: Arc<ConnectionState>) {
        let listen = &self.options.listen;
        let mut drain = self.drain.subscribe();
        let mut draining = pin!(told_to_drain(&mut drain));
        let mut gone = pin!(until_gone(&stream, &state));
        let mut tick = interval(watch_every(listen));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_draining = false;
        loop {
            tokio::select! {
                () = gone.as_mut() => return state.decide(CloseReason::Gone),
                () = draining.as_mut(), if !is_draining => {
                    is_draining = true;
                    state.close.notify_one();
                }
                _ = tick.tick() => {
                    let idle = self.idle_limit();
                    if let Some(reason) = state.overdue(listen, idle) {
                        return state.decide(reason);
                    }
                }
            }
        }
    }
}

/// A task that ends with its owner.
struct Beside(tokio::task::JoinHandle<()>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByUs,
    /// Nobody listens any more.
    ByThem,
}

/// What a client reads whose request could not be taken apart.
fn last_words(
    error: Option<&(dyn std::error::Error + Send + Sync + 'static)>,
    violation: Option<Violation>,
) -> String {
    let too_large = error
        .and_then(|error| error.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_parse_too_large);
    match violation {
        Some(violation) => refusal(
            "400 Bad Request",
            "bad_framing",
            &format!(
                "the request's framing is ambiguous: {}; send one content-length or one chunked transfer-encoding, and lines that end in CRLF",
                violation.why
            ),
        ),
        None if too_large => refusal(
            "431 Request Header Fields Too Large",
            "headers_too_large",
            "the request's header fields are too large; send fewer or shorter ones, or raise listen.max_header_bytes",
        ),
        None => refusal(
            "400 Bad Request",
            "bad_framing",
            "the request is not HTTP as RFC 9112 has it",
        ),
    }
}

/// An answer written past hyper, to a request that hyper never had. `message` holds nothing from outside.
fn refusal(status: &str, code: &str, message: &str) -> String {
    let body = format!(
        "{{\"error\":{{\"message\":\"{message}\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"{code}\"}}}}"
    );
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-should-retry: false\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Closes so that the last answer arrives: a socket closed with unread bytes in it takes back what it sent.
async fn linger(stream: &TcpStream) {
    const LIMIT: Duration = Duration::from_secs(1);
    const MOST_BYTES: usize = 1 << 20;
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let until_they_close = async {
        let mut unread = [0; 4_096];
        let mut read = 0;
        while read < MOST_BYTES && stream.readable().await.is_ok() {
            match stream.try_read(&mut unread) {
                Ok(0) => return,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(LIMIT, until_they_close).await;
}

/// Often enough to keep the limits, seldom enough to cost nothing with ten thousand idle connections.
fn watch_every(listen: &ListenSettings) -> Duration {
    (listen.head_timeout.min(listen.write_stall) / 4)
        .clamp(Duration::from_millis(20), Duration::from_secs(5))
}

struct CountedConnection(Arc<Inner>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.news.metrics.conns.decrement(1.0);
    }
}

/// Ends with the last byte of the answer, not with its head.
struct Serving {
    state: Arc<ConnectionState>,
    /// Counted among the answers that wait for the client to take more.
    waits: bool,
}

impl Serving {
    fn begins(state: Arc<ConnectionState>) -> Self {
        state.request_begins();
        Self {
            state,
            waits: false,
        }
    }

    fn waits(&mut self, waits: bool) {
        if self.state.is_http2() && std::mem::replace(&mut self.waits, waits) != waits {
            if waits {
                self.state.speaker_waits();
            } else {
                self.state.speaker_goes_on();
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.waits(false);
        self.state.request_ends();
    }
}

async fn serve_request(
    mut router: Router,
    state: Arc<ConnectionState>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut serving = Serving::begins(Arc::clone(&state));
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectionControl { state });
    let mut response = router.call(request).await?;
    if serving.state.overload() > Overload::Calm {
        end_behind(&mut response, &serving.state);
    }
    Ok(response.map(|body| {
        serving.waits(true);
        Body::new(Counted { body, serving })
    }))
}

/// Memory is short: no connection is kept behind its answer (fault O08).
fn end_behind(response: &mut Response, state: &ConnectionState) {
    if state.is_http2() {
        state.close.notify_one();
    } else {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// An answer's body that tells the connection when it is over.
struct Counted {
    body: Body,
    serving: Serving,
}

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, axum::Error>>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        // Asked for more, it waits for us; with something in its hand it waits for the client.
        self.serving.waits(false);
        self.serving
            .waits(matches!(polled, std::task::Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
