//! One connection of the raw client.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::sse::SseReader;
use super::{Answer, AnswerHead, BodyEnd, ClientError};
use crate::http1::{self, BodyDecoder, Framing, HEAD_FIELDS, HEAD_LIMIT, WireError};

/// How the client connects and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectOptions {
    /// No read waits longer.
    pub patience: Duration,
    /// `SO_RCVBUF`; a small one makes a slow reader felt at once. `None`: the system's.
    pub receive_buffer: Option<u32>,
    /// `None`: as fast as it comes.
    pub pace: Option<ReadPace>,
}

/// Reads at most `bytes`, then rests for `gap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPace {
    pub bytes: usize,
    pub gap: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(20),
            receive_buffer: None,
            pace: None,
        }
    }
}

/// A connection that speaks HTTP/1.1 as told, right or wrong.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    inbox: BytesMut,
    options: ConnectOptions,
    sent_at: Instant,
}

/// What one read brought.
pub(super) enum Got {
    Bytes,
    Fin,
    Reset,
    Nothing,
}

impl Client {
    /// # Errors
    /// When nobody listens, or not within the patience.
    pub async fn connect(peer: SocketAddr) -> Result<Self, ClientError> {
        Self::connect_with(peer, ConnectOptions::default()).await
    }

    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(
        peer: SocketAddr,
        options: ConnectOptions,
    ) -> Result<Self, ClientError> {
        let dial = async {
            let socket = if peer.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(size) = options.receive_buffer {
                socket.set_recv_buffer_size(size)?;
            }
            let stream = socket.connect(peer).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let dialled = timeout(options.patience, dial).await;
        let stream = dialled
            .map_err(|_| ClientError::Silent(options.patience))?
            .map_err(ClientError::Connect)?;
        Ok(Self {
            stream,
            peer,
            inbox: BytesMut::with_capacity(16 * 1024),
            options,
            sent_at: Instant::now(),
        })
    }

    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Changes how fast the rest is read; `None` is as fast as it comes.
    pub fn pace(&mut self, pace: Option<ReadPace>) {
        self.options.pace = pace;
    }

    /// No read from now on waits longer.
    pub fn patience(&mut self, patience: Duration) {
        self.options.patience = patience;
    }

    /// Any bytes, HTTP or not.
    ///
    /// # Errors
    /// When the connection broke, or the peer did not take the bytes within the patience.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let sent = timeout(self.options.patience, self.stream.write_all(bytes)).await;
        self.sent_at = Instant::now();
        sent.map_err(|_| ClientError::Silent(self.options.patience))?
            .map_err(ClientError::Send)
    }

    /// FIN: nothing more will be sent; answers are still read.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn half_close(&mut self) -> Result<(), ClientError> {
        self.stream.shutdown().await.map_err(ClientError::Send)
    }

    /// RST at once.
    pub fn reset(self) {
        // Fails only on a socket that is gone already.
        let _ = self.stream.set_zero_linger();
    }

    /// Bytes received and not yet consumed.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.inbox
    }

    /// A request as bytes; `content-length` and `host` are added.
    #[must_use]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        fields: &[(String, String)],
        body: &[u8],
    ) -> Bytes {
        request_bytes(self.peer, method, path, fields, body)
    }

    /// # Errors
    /// When no head came; a body that was cut is no error but told in the answer.
    pub async fn get(
        &mut self,
        path: &str,
        fields: &[(String, String)],
    ) -> Result<Answer, ClientError> {
        let request = self.request("GET", path, fields, b"");
        self.send(&request).await?;
        self.read_answer().await
    }

    /// # Errors
    /// As [`Client::get`].
    pub async fn post_json(
        &mut self,
        path: &str,
        fields: &[(String, String)],
        body: &Value,
    ) -> Result<Answer, ClientError> {
        self.send_json(path, fields, body).await?;
        self.read_answer().await
    }

    /// Posts and reads the head; the events are then read one by one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn stream(
        &mut self,
        path: &str,
        fields: &[(String, String)],
        body: &Value,
    ) -> Result<SseReader<'_>, ClientError> {
        self.send_json(path, fields, body).await?;
        let (head, decoder) = self.read_head().await?;
        Ok(SseReader::new(self, head, decoder))
    }

    /// Posts and reads nothing.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn send_json(
        &mut self,
        path: &str,
        fields: &[(String, String)],
        body: &Value,
    ) -> Result<(), ClientError> {
        let mut all = vec![("content-type".to_owned(), "application/json".to_owned())];
        all.extend_from_slice(fields);
        let request = self.request("POST", path, &all, body.to_string().as_bytes());
        self.send(&request).await
    }

    /// Reads one answer to its end, however it ends.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn read_answer(&mut self) -> Result<Answer, ClientError> {
        let (head, mut decoder) = self.read_head().await?;
        let mut body = BytesMut::new();
        let end = loop {
            match self.read_piece(&mut decoder).await? {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(end) => break end,
            }
        };
        Ok(Answer {
            head,
            body: body.freeze(),
            end,
            took: self.since_sent(),
            chunks: decoder.chunks(),
        })
    }

    /// The answer's head and the reader of its body.
    ///
    /// # Errors
    /// When no head came, or none that is HTTP.
    pub async fn read_head(&mut self) -> Result<(AnswerHead, BodyDecoder), ClientError> {
        let mut informational = Vec::new();
        loop {
            let Some((mut head, framing)) = parse_head(&mut self.inbox)? else {
                match self.fill().await {
                    Got::Bytes => {}
                    Got::Fin if self.inbox.is_empty() => return Err(ClientError::ClosedBeforeHead),
                    Got::Fin => return Err(ClientError::CutInHead),
                    Got::Reset => return Err(ClientError::ResetBeforeHead),
                    Got::Nothing => return Err(ClientError::Silent(self.options.patience)),
                }
                continue;
            };
            // 101 ends HTTP on this connection, so it is the answer.
            if (100..200).contains(&head.status) && head.status != 101 {
                informational.push(head.status);
                continue;
            }
            head.informational = informational;
            head.at = self.since_sent();
            return Ok((head, BodyDecoder::new(framing)));
        }
    }

    /// The next piece of a body, or how the body ended.
    ///
    /// # Errors
    /// When the framing is malformed.
    pub async fn read_piece(
        &mut self,
        decoder: &mut BodyDecoder,
    ) -> Result<Result<Bytes, BodyEnd>, ClientError> {
        loop {
            if let Some(piece) = decoder.decode(&mut self.inbox)? {
                return Ok(Ok(piece));
            }
            if decoder.is_done() {
                return Ok(Err(BodyEnd::Whole));
            }
            match self.fill().await {
                Got::Bytes => {}
                Got::Fin if decoder.ends_with_connection() => return Ok(Err(BodyEnd::Whole)),
                Got::Fin => return Ok(Err(BodyEnd::Cut)),
                Got::Reset => return Ok(Err(BodyEnd::Reset)),
                Got::Nothing => return Ok(Err(BodyEnd::Silent)),
            }
        }
    }

    /// Whether the peer closes within `patience` without sending another byte.
    pub async fn closes_within(&mut self, patience: Duration) -> bool {
        if !self.inbox.is_empty() {
            return false;
        }
        let before = std::mem::replace(&mut self.options.patience, patience);
        let got = self.fill().await;
        self.options.patience = before;
        matches!(got, Got::Fin | Got::Reset)
    }

    pub(super) fn since_sent(&self) -> Duration {
        self.sent_at.elapsed()
    }

    async fn fill(&mut self) -> Got {
        let most = if let Some(pace) = self.options.pace {
            tokio::time::sleep(pace.gap).await;
            pace.bytes.max(1)
        } else {
            64 * 1024
        };
        self.inbox.reserve(most.min(64 * 1024));
        let mut limited = (&mut self.stream).take(most as u64);
        match timeout(self.options.patience, limited.read_buf(&mut self.inbox)).await {
            Err(_) => Got::Nothing,
            Ok(Ok(0)) => Got::Fin,
            Ok(Ok(_)) => Got::Bytes,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Got::Reset,
            Ok(Err(_)) => Got::Fin,
        }
    }
}

/// A request as bytes; `host` and `content-length` are added, the latter only with a body or a POST.
#[must_use]
pub fn request_bytes(
    host: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(String, String)],
    body: &[u8],
) -> Bytes {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in fields {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = BytesMut::from(text.as_bytes());
    bytes.extend_from_slice(body);
    bytes.freeze()
}

/// Takes the head of an answer off the wire, once it is whole.
pub(crate) fn parse_head(inbox: &mut BytesMut) -> Result<Option<(AnswerHead, Framing)>, WireError> {
    let mut few = [httparse::EMPTY_HEADER; 64];
    let mut many = Vec::new();
    let mut parsed = httparse::Response::new(&mut few);
    let mut status = parsed.parse(inbox);
    if status == Err(httparse::Error::TooManyHeaders) {
        many.resize(HEAD_FIELDS, httparse::EMPTY_HEADER);
        parsed = httparse::Response::new(&mut many);
        status = parsed.parse(inbox);
    }
    let httparse::Status::Complete(length) =
        status.map_err(|error| WireError::Head(error.to_string()))?
    else {
        return if inbox.len() > HEAD_LIMIT {
            Err(WireError::HeadTooLarge)
        } else {
            Ok(None)
        };
    };
    let fields = http1::own_fields(parsed.headers);
    let code = parsed.code.unwrap_or_default();
    let framing = framing(code, &fields)?;
    drop(inbox.split_to(length));
    Ok(Some((
        AnswerHead {
            status: code,
            fields,
            informational: Vec::new(),
            at: Duration::ZERO,
        },
        framing,
    )))
}

/// RFC 9112, 6.3, for answers to anything but HEAD and CONNECT.
fn framing(status: u16, fields: &http1::Fields) -> Result<Framing, WireError> {
    if (100..200).contains(&status) || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    if http1::field(fields, "transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        return Ok(Framing::Chunked);
    }
    match http1::field(fields, "content-length") {
        None => Ok(Framing::UntilClose),
        Some(text) => text
            .trim()
            .parse()
            .map(Framing::Length)
            .map_err(|_| WireError::Head("content-length".to_owned())),
    }
}
