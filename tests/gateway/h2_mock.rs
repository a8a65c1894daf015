//! A provider that speaks HTTP/2 in frames written by hand, because no library sends a GOAWAY that denies a
//! stream it has read, or keeps a window shut.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio_rustls::server::TlsStream;

use crate::tls_mock::{Authority, Certificate, SecureMock, Seen, Speaks, completion, events};

/// Whether a mock opens its windows again as a request's body comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Opens,
    StaysShut,
}

const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const OUR_PING: [u8; 8] = *b"settled?";

pub const INTERNAL_ERROR: u32 = 2;
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

impl SecureMock {
    /// An HTTP/2 provider whose streams do what `script` says. `window` tells whether it ever opens one.
    pub async fn h2<F, S>(authority: &Authority, window: Window, script: F) -> Self
    where
        F: Fn(Asked) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let acceptor = authority.acceptor(Certificate::Good, Speaks::Http2);
        Self::raw(move |stream, seen| {
            let (acceptor, script) = (acceptor.clone(), script.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    seen.handshakes.fetch_add(1, Ordering::SeqCst);
                    // A connection that the gateway closes ends its loop.
                    let _ = frames(stream, seen, window, script).await;
                }
            }
        })
        .await
    }
}

type Wire = Arc<Mutex<WriteHalf<TlsStream<TcpStream>>>>;

/// A request that was read to its end, and the ways to treat it.
pub struct Asked {
    /// Counted from 1 over all connections.
    pub number: u64,
    stream: u32,
    wire: Wire,
    pong: Arc<Notify>,
}

async fn send(wire: &Wire, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    let mut wire = wire.lock().await;
    // The gateway may have left; what it does then is what the test looks at.
    let _ = wire.write_all(&frame).await;
    let _ = wire.flush().await;
}

impl Asked {
    /// The whole answer in one piece.
    pub async fn answer(&self) {
        self.head("application/json").await;
        self.data(&completion(self.number), END_STREAM).await;
    }

    /// The head of a streamed answer and its first event.
    pub async fn begin(&self) {
        self.head("text/event-stream").await;
        self.data(&events(self.number)[0], 0).await;
    }

    /// What `begin` left.
    pub async fn end(&self) {
        self.data(&events(self.number)[1..].concat(), END_STREAM)
            .await;
    }

    async fn head(&self, content_type: &str) {
        // `:status 200` from the static table, and a literal field with the indexed name `content-type`.
        let mut block = vec![0x88, 0x0f, 0x10, u8::try_from(content_type.len()).unwrap()];
        block.extend_from_slice(content_type.as_bytes());
        send(&self.wire, HEADERS, END_HEADERS, self.stream, &block).await;
    }

    async fn data(&self, text: &str, flags: u8) {
        send(&self.wire, DATA, flags, self.stream, text.as_bytes()).await;
    }

    pub async fn reset(&self, reason: u32) {
        send(
            &self.wire,
            RST_STREAM,
            0,
            self.stream,
            &reason.to_be_bytes(),
        )
        .await;
    }

    /// Ends the connection before this stream: it was not looked at.
    pub async fn go_away_before(&self) {
        self.go_away(self.stream - 1).await;
    }

    /// Ends the connection after this stream: it will be answered.
    pub async fn go_away_after(&self) {
        self.go_away(self.stream).await;
    }

    async fn go_away(&self, last: u32) {
        let payload = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        send(&self.wire, GOAWAY, 0, 0, &payload).await;
    }

    /// Waits until the gateway has read all that was sent on this connection.
    pub async fn settled(&self) {
        send(&self.wire, PING, 0, 0, &OUR_PING).await;
        self.pong.notified().await;
    }

    /// From now on this many streams at once on this connection.
    pub async fn allow_streams(&self, most: u32) {
        let payload = [&3_u16.to_be_bytes()[..], &most.to_be_bytes()].concat();
        send(&self.wire, SETTINGS, 0, 0, &payload).await;
    }
}

async fn frames<F, S>(
    stream: TlsStream<TcpStream>,
    seen: Arc<Seen>,
    window: Window,
    script: F,
) -> std::io::Result<()>
where
    F: Fn(Asked) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let (mut reader, writer) = tokio::io::split(stream);
    let wire: Wire = Arc::new(Mutex::new(writer));
    let pong = Arc::new(Notify::new());
    reader.read_exact(&mut [0; PREFACE]).await?;
    send(&wire, SETTINGS, 0, 0, &[]).await;
    loop {
        let frame = Frame::read(&mut reader).await?;
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => send(&wire, SETTINGS, ACK, 0, &[]).await,
            PING if frame.flags & ACK == 0 => send(&wire, PING, ACK, 0, &frame.payload).await,
            PING if frame.payload == OUR_PING => pong.notify_one(),
            HEADERS => {
                seen.requests.fetch_add(1, Ordering::SeqCst);
                seen.over_h2.fetch_add(1, Ordering::SeqCst);
            }
            RST_STREAM => {
                seen.given_up.fetch_add(1, Ordering::SeqCst);
            }
            DATA => {
                let length = frame.payload.len();
                seen.body_bytes.fetch_add(length, Ordering::SeqCst);
                if window == Window::Opens && length > 0 {
                    let more = u32::try_from(length).unwrap().to_be_bytes();
                    send(&wire, WINDOW_UPDATE, 0, 0, &more).await;
                    send(&wire, WINDOW_UPDATE, 0, frame.stream, &more).await;
                }
            }
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
            tokio::spawn(script(Asked {
                number: seen.read.fetch_add(1, Ordering::SeqCst) as u64 + 1,
                stream: frame.stream,
                wire: Arc::clone(&wire),
                pong: Arc::clone(&pong),
            }));
        }
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    async fn read(reader: &mut ReadHalf<TlsStream<TcpStream>>) -> std::io::Result<Self> {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        reader.read_exact(&mut payload).await?;
        Ok(Self {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }
}
