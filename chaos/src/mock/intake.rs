//! Reads requests off a connection.

use std::io;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http1::{self, BodyDecoder, Fields, Framing, HEAD_FIELDS, HEAD_LIMIT, WireError};

/// A request body beyond this ends the connection: the mock is not the one that is tested.
const BODY_LIMIT: usize = 256 * 1024 * 1024;

/// A request's head, taken off the wire.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) fields: Fields,
    framing: Framing,
    /// HTTP/1.0 or `connection: close`.
    pub(super) last: bool,
}

/// Why no request came.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRequest {
    /// The peer closed between requests.
    #[error("the peer closed")]
    Closed,
    /// The peer closed in the middle of one.
    #[error("the peer closed inside a request")]
    Cut,
    #[error(transparent)]
    Malformed(#[from] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(super) async fn read_head(
    stream: &mut TcpStream,
    inbox: &mut BytesMut,
) -> Result<Head, NoRequest> {
    loop {
        if let Some(head) = parse_head(inbox)? {
            return Ok(head);
        }
        if inbox.len() > HEAD_LIMIT {
            return Err(WireError::HeadTooLarge.into());
        }
        if stream.read_buf(inbox).await? == 0 {
            return Err(if inbox.is_empty() {
                NoRequest::Closed
            } else {
                NoRequest::Cut
            });
        }
    }
}

fn parse_head(inbox: &mut BytesMut) -> Result<Option<Head>, WireError> {
    let mut slots = vec![httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut parsed = httparse::Request::new(&mut slots);
    let status = parsed
        .parse(inbox)
        .map_err(|error| WireError::Head(error.to_string()))?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let fields = http1::own_fields(parsed.headers);
    let chunked = http1::field(&fields, "transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length_field = http1::field(&fields, "content-length");
    let framing = match length_field {
        _ if chunked => Framing::Chunked,
        Some(text) => Framing::Length(
            text.trim()
                .parse()
                .map_err(|_| WireError::Head("content-length".to_owned()))?,
        ),
        None => Framing::None,
    };
    let closes = http1::field(&fields, "connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let head = Head {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        framing,
        last: closes || parsed.version == Some(0),
        fields,
    };
    drop(inbox.split_to(length));
    Ok(Some(head))
}

pub(super) async fn read_body(
    stream: &mut TcpStream,
    inbox: &mut BytesMut,
    head: &Head,
) -> Result<Bytes, NoRequest> {
    if http1::field(&head.fields, "expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut decoder = BodyDecoder::new(head.framing);
    let mut body = BytesMut::new();
    loop {
        while let Some(piece) = decoder.decode(inbox)? {
            body.extend_from_slice(&piece);
        }
        if decoder.is_done() {
            return Ok(body.freeze());
        }
        if body.len() > BODY_LIMIT {
            return Err(WireError::Head("request body is too large for a mock".to_owned()).into());
        }
        if stream.read_buf(inbox).await? == 0 {
            return Err(NoRequest::Cut);
        }
    }
}

pub(super) fn parse_json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}
