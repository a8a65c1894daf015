//! HTTP/2 towards the gateway, one plain HTTP/1.1 request at the mock for each stream.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::filter::{self, Swallows};
use super::{H2Fault, Shared};
use crate::client::answer_head;
use crate::http1::{self, BodyDecoder, Framing};

/// Between the library and the filter.
const PIPE: usize = 256 * 1024;
const BODY_LIMIT: usize = 256 * 1024 * 1024;
/// What was written to the mock has been read by then.
const UNTIL_READ: Duration = Duration::from_millis(5);
/// For a client that does not close.
const CLOSING: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) async fn frames(shared: &Shared, stream: TlsStream<TcpStream>) {
    let of_connection = shared.h2_fault();
    let swallows = if of_connection == Some(H2Fault::NoPong) {
        Swallows::Pongs
    } else {
        Swallows::Nothing
    };
    let (library, pipe) = tokio::io::duplex(PIPE);
    let (mut from_client, to_client) = tokio::io::split(stream);
    let (from_library, mut to_library) = tokio::io::split(pipe);
    let (put, put_in) = mpsc::unbounded_channel();
    let outwards = filter::carry(from_library, to_client, put_in, swallows, || shared.meet());
    let inwards = async {
        // A client that leaves ends the connection, and so do we.
        let _ = tokio::io::copy(&mut from_client, &mut to_library).await;
        let _ = to_library.shutdown().await;
    };
    let served = async { tokio::join!(streams(shared, library, of_connection, put), outwards) };
    tokio::pin!(inwards, served);
    let left = tokio::select! {
        () = &mut inwards => true,
        _ = &mut served => false,
    };
    if left {
        let _ = served.await;
    } else {
        // What was sent last must not be lost to a reset: the client closes when it has read it.
        let _ = timeout(CLOSING, inwards).await;
    }
}

/// What becomes of one stream.
enum Fate {
    /// Never looked at, says a GOAWAY.
    Disowned,
    Reset {
        reason: Reason,
        /// Once the mock has been asked: a provider that breaks may have worked on it.
        asked: bool,
    },
    Served {
        /// And the connection ends after it.
        last: bool,
    },
}

/// A connection that ends already gets no second GOAWAY.
fn fate(fault: Option<H2Fault>, retired: bool) -> Fate {
    let reset = |reason, asked| Fate::Reset { reason, asked };
    match fault {
        Some(H2Fault::GoAway | H2Fault::GoAwayAfter) if retired => Fate::Served { last: false },
        Some(H2Fault::GoAway) => Fate::Disowned,
        Some(H2Fault::Refused) => reset(Reason::REFUSED_STREAM, false),
        Some(H2Fault::Calm) => reset(Reason::ENHANCE_YOUR_CALM, true),
        Some(H2Fault::Internal) => reset(Reason::INTERNAL_ERROR, true),
        Some(H2Fault::GoAwayAfter) => Fate::Served { last: true },
        Some(H2Fault::OneStream | H2Fault::ShutWindow | H2Fault::NoPong | H2Fault::NotSpoken)
        | None => Fate::Served { last: false },
    }
}

fn settings(fault: Option<H2Fault>) -> Builder {
    let mut builder = Builder::new();
    builder.initial_window_size(1024 * 1024);
    // One stream that is not read must not starve the others.
    builder.initial_connection_window_size(64 * 1024 * 1024);
    match fault {
        Some(H2Fault::OneStream) => {
            builder.max_concurrent_streams(1);
        }
        Some(H2Fault::ShutWindow) => {
            builder.initial_window_size(0);
        }
        Some(
            H2Fault::GoAway
            | H2Fault::GoAwayAfter
            | H2Fault::Refused
            | H2Fault::Calm
            | H2Fault::Internal
            | H2Fault::NoPong
            | H2Fault::NotSpoken,
        )
        | None => {}
    }
    builder
}

async fn streams(
    shared: &Shared,
    library: tokio::io::DuplexStream,
    of_connection: Option<H2Fault>,
    put: mpsc::UnboundedSender<Vec<u8>>,
) {
    let handshake = settings(of_connection).handshake::<_, Bytes>(library);
    let Ok(mut connection) = handshake.await else {
        return;
    };
    let mut retires = shared.retires.subscribe();
    let mut course = Course {
        shared,
        put,
        lasting: of_connection.filter(|fault| fault.needs_fresh()),
        under_way: JoinSet::new(),
        disowned: Vec::new(),
        gone: false,
        retired: false,
    };
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            Ok(()) = retires.changed() => {
                // A GOAWAY may follow another only with a lower stream, and the library knows nothing of ours.
                if !course.gone {
                    connection.graceful_shutdown();
                    course.retired = true;
                }
                continue;
            }
            Some(_) = course.under_way.join_next() => continue,
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        course.take(request, respond);
    }
}

/// One connection and its streams.
struct Course<'a> {
    shared: &'a Shared,
    put: mpsc::UnboundedSender<Vec<u8>>,
    /// What was wrong when it began, and stays so.
    lasting: Option<H2Fault>,
    under_way: JoinSet<()>,
    /// Held without an answer: dropped, they would be reset, and a GOAWAY said that nobody will look at them.
    disowned: Vec<(Request<RecvStream>, SendResponse<Bytes>)>,
    /// A GOAWAY of ours was put in: later streams are none.
    gone: bool,
    /// The library ends it after what is under way.
    retired: bool,
}

impl Course<'_> {
    fn take(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.gone {
            self.disowned.push((request, respond));
            return;
        }
        let stream = respond.stream_id().as_u32();
        let shut = self.lasting == Some(H2Fault::ShutWindow);
        let fault = self.lasting.or_else(|| self.shared.h2_fault());
        match fate(fault, self.retired) {
            Fate::Disowned => {
                self.shared.meet();
                self.go_away(stream.saturating_sub(2));
                self.disowned.push((request, respond));
                return;
            }
            Fate::Reset {
                reason,
                asked: false,
            } => {
                self.shared.meet();
                respond.send_reset(reason);
                return;
            }
            Fate::Reset {
                reason,
                asked: true,
            } => {
                self.shared.meet();
                let behind = self.shared.behind;
                self.under_way
                    .spawn(broken(request, respond, behind, reason));
                return;
            }
            Fate::Served { last } => {
                let waits_for_a_window = shut && !request.body().is_end_stream();
                if last || waits_for_a_window || fault == Some(H2Fault::OneStream) {
                    self.shared.meet();
                }
                if last {
                    self.go_away(stream);
                }
            }
        }
        let behind = self.shared.behind;
        self.under_way
            .spawn(relayed(request, respond, behind, shut));
    }

    fn go_away(&mut self, last: u32) {
        self.gone = true;
        // A channel that is closed belongs to a connection that has ended.
        let _ = self.put.send(filter::go_away(last));
    }
}

/// Asks the mock, and carries its answer back; a client that gives the stream up is gone for the mock, too.
async fn relayed(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    behind: SocketAddr,
    shut: bool,
) {
    let (parts, body) = request.into_parts();
    let asked = async {
        let body = read(body, shut).await?;
        let mut mock = TcpStream::connect(behind).await?;
        mock.set_nodelay(true)?;
        mock.write_all(&written(&parts, &body)).await?;
        let mut inbox = BytesMut::with_capacity(16 * 1024);
        let (head, framing) = head(&mut mock, &mut inbox).await?;
        Ok::<_, io::Error>((mock, inbox, head, framing))
    };
    let answered = tokio::select! {
        answered = asked => answered,
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
    };
    let Ok((mut mock, mut inbox, head, framing)) = answered else {
        // What ends a connection in HTTP/1.1 ends a stream here.
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let Ok(mut sending) = respond.send_response(head, false) else {
        return;
    };
    let mut decoder = BodyDecoder::new(framing);
    loop {
        match decoder.decode(&mut inbox) {
            Ok(Some(piece)) => {
                if !sent(&mut sending, piece).await {
                    return;
                }
                continue;
            }
            Ok(None) if decoder.is_done() => break,
            Ok(None) => {}
            Err(_) => return sending.send_reset(Reason::INTERNAL_ERROR),
        }
        let read = tokio::select! {
            read = mock.read_buf(&mut inbox) => read,
            _ = poll_fn(|context| sending.poll_reset(context)) => return,
        };
        match read {
            Ok(0) if decoder.ends_with_connection() => break,
            Ok(1..) => {}
            Ok(0) | Err(_) => return sending.send_reset(Reason::INTERNAL_ERROR),
        }
    }
    // Fails only on a stream that the client has given up.
    let _ = sending.send_data(Bytes::new(), true);
}

/// Asks the mock, which logs it, leaves without an answer, and says so.
async fn broken(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    behind: SocketAddr,
    reason: Reason,
) {
    let (parts, body) = request.into_parts();
    let asked = async {
        let body = read(body, false).await?;
        let mut mock = TcpStream::connect(behind).await?;
        mock.write_all(&written(&parts, &body)).await?;
        sleep(UNTIL_READ).await;
        Ok::<_, io::Error>(())
    };
    // A mock that refuses connections has nothing to log.
    let _ = asked.await;
    respond.send_reset(reason);
}

/// A body that gets no window is never read: what has not come will not.
async fn read(mut body: RecvStream, shut: bool) -> io::Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(io::Error::other)?;
        whole.extend_from_slice(&piece);
        if whole.len() > BODY_LIMIT {
            return Err(io::Error::other("request body is too large for a mock"));
        }
        if !shut {
            let released = body.flow_control().release_capacity(piece.len());
            released.map_err(io::Error::other)?;
        }
    }
    Ok(whole.freeze())
}

fn written(parts: &http::request::Parts, body: &[u8]) -> Vec<u8> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut bytes = format!("{} {path} HTTP/1.1\r\n", parts.method).into_bytes();
    let host = parts.uri.authority().map(http::uri::Authority::as_str);
    bytes.extend_from_slice(format!("host: {}\r\n", host.unwrap_or("mock")).as_bytes());
    for (name, value) in &parts.headers {
        if ["host", "content-length"].contains(&name.as_str()) {
            continue;
        }
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The head of the mock's answer; informational ones are left out.
async fn head(mock: &mut TcpStream, inbox: &mut BytesMut) -> io::Result<(Response<()>, Framing)> {
    loop {
        let parsed = answer_head(inbox).map_err(io::Error::other)?;
        if let Some((head, framing)) = parsed {
            if (100..200).contains(&head.status) {
                continue;
            }
            let mut response = Response::new(());
            *response.status_mut() =
                http::StatusCode::from_u16(head.status).map_err(io::Error::other)?;
            *response.headers_mut() = fields(&head.fields);
            return Ok((response, framing));
        }
        if mock.read_buf(inbox).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Without those that belong to a connection of HTTP/1.1, and those that no library would send.
fn fields(all: &http1::Fields) -> HeaderMap {
    const OF_CONNECTION: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let mut kept = HeaderMap::new();
    for (name, value) in all {
        let name = name.to_ascii_lowercase();
        if OF_CONNECTION.contains(&name.as_str()) {
            continue;
        }
        let pair = http::HeaderName::try_from(name)
            .ok()
            .zip(http::HeaderValue::try_from(value.as_str()).ok());
        if let Some((name, value)) = pair {
            kept.append(name, value);
        }
    }
    kept
}

/// Waits for the client's window; false when it is gone.
async fn sent(sending: &mut SendStream<Bytes>, mut piece: Bytes) -> bool {
    while !piece.is_empty() {
        sending.reserve_capacity(piece.len());
        match poll_fn(|context| sending.poll_capacity(context)).await {
            Some(Ok(room)) => {
                let now = piece.split_to(room.min(piece.len()));
                if sending.send_data(now, false).is_err() {
                    return false;
                }
            }
            Some(Err(_)) | None => return false,
        }
    }
    true
}
