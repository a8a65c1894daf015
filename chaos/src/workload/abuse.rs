//! Clients that do not mean well, or do not know better.

use std::time::Duration;

use serde::Deserialize;

use crate::client::{Client, ClientError, ConnectOptions};
use crate::lab::Door;

/// What an abusive client does. Each ends by itself, or when the gateway has had enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abuse {
    /// A byte of the head every half second (L03).
    SlowHead,
    /// A body that is announced and never comes (L03).
    SlowBody,
    /// A megabyte of header fields (L07).
    HeaderBomb,
    /// A body that claims to be larger than is taken (L04).
    HugeBody,
    /// JSON nested ten thousand deep (L05).
    DeepJson,
    /// Broken JSON (L05).
    BadJson,
    /// Two lengths (A14).
    Smuggle,
    /// Bytes that are no HTTP at all.
    Garbage,
    /// A key that is none.
    BadKey,
}

/// So long an abusive client goes on.
const PATIENCE: Duration = Duration::from_secs(15);

/// Does its worst; how the gateway takes it shows in how the others fare.
pub(super) async fn abuse(kind: Abuse, door: &Door) -> Result<(), ClientError> {
    let options = ConnectOptions {
        patience: PATIENCE,
        ..ConnectOptions::default()
    };
    let mut client = Client::connect_with(door.address, options).await?;
    let path = format!("{}/chat/completions", door.path);
    let key = if kind == Abuse::BadKey {
        "sk-nobody"
    } else {
        &door.key
    };
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n");
    let body = "{\"model\":\"chat\",\"messages\":[]}";
    let whole = |body: &str| format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let bytes: Vec<u8> = match kind {
        Abuse::SlowHead => {
            for byte in head.as_bytes() {
                client.send(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            return Ok(());
        }
        Abuse::SlowBody => format!("{head}content-length: 5000\r\n\r\n{{").into(),
        Abuse::HeaderBomb => format!("{head}x-bomb: {}\r\n\r\n", "b".repeat(1 << 20)).into(),
        Abuse::HugeBody => format!("{head}content-length: 2000000000\r\n\r\n{{").into(),
        Abuse::DeepJson => whole(&"[".repeat(10_000)).into(),
        Abuse::BadJson | Abuse::BadKey => whole(&body[1..]).into(),
        Abuse::Smuggle => format!(
            "{head}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{}",
            body.len(),
            whole(body)
        )
        .into(),
        Abuse::Garbage => {
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n".to_vec()
        }
    };
    client.send(&bytes).await?;
    client.read_answer().await.map(drop)
}
