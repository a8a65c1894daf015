//! Clients that do not mean well, or do not know better.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::client::{Answer, Client, ClientError, ConnectOptions};
use crate::history::Ended;
use crate::lab::Door;

/// What an abusive client does, and how each must end: see [`Abuse::judge`].
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

/// A gateway that holds an abuser longer than this holds it too long.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two bytes of a slow head.
const DRIP: Duration = Duration::from_millis(500);

/// What an abusive client met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    Answer(u16),
    /// A second answer where only one request was sent.
    Another(u16),
    /// Closed or reset without an answer.
    Closed,
    /// Held for longer than anybody may be.
    Kept,
    /// There was nobody to abuse.
    Nobody,
}

impl Abuse {
    /// The statuses that refuse it, and whether a closed connection does as well: who is no client, or sends more
    /// than is read, need not be told why.
    fn refusals(self) -> (&'static [u16], bool) {
        match self {
            Self::SlowHead | Self::SlowBody => (&[408], true),
            Self::HeaderBomb => (&[400, 431], true),
            Self::HugeBody => (&[413], true),
            Self::DeepJson => (&[400, 413], false),
            Self::BadJson => (&[400], false),
            Self::Smuggle | Self::Garbage => (&[400], true),
            Self::BadKey => (&[401, 403], false),
        }
    }

    /// Refused as it must be, or not.
    pub(super) fn judge(self, met: Met) -> Ended {
        let (statuses, may_close) = self.refusals();
        match met {
            // Whoever is too busy turns everybody away.
            Met::Answer(status) if statuses.contains(&status) || matches!(status, 429 | 503) => {
                Ended::Repelled(status.to_string())
            }
            Met::Closed if may_close => Ended::Repelled("closed".to_owned()),
            Met::Answer(status) => Ended::Indulged(format!("abuse_met_{status}")),
            Met::Another(status) => Ended::Indulged(format!("abuse_met_another_{status}")),
            Met::Closed => Ended::Unanswered("closed_before_head"),
            Met::Kept => Ended::Indulged("abuse_kept".to_owned()),
            Met::Nobody => Ended::Left,
        }
    }
}

/// Does its worst, and tells what came of it, with whatever could be read.
pub(super) async fn abuse(kind: Abuse, door: &Door, model: &str) -> (Met, Option<Answer>) {
    let options = ConnectOptions {
        patience: PATIENCE,
        ..ConnectOptions::default()
    };
    let Ok(mut client) = Client::connect_with(door.address, options).await else {
        return (Met::Nobody, None);
    };
    let worst = async {
        if kind == Abuse::SlowHead {
            if let Some(met) = drip(&mut client, &Message::of(kind, door, model).head).await {
                return (met, None);
            }
        } else {
            // One that is closed on while it sends may have been answered before.
            let _ = client
                .send(&Message::of(kind, door, model).bytes(kind))
                .await;
        }
        let answer = match client.read_answer().await {
            Ok(answer) => answer,
            Err(error) => return (unanswered(&error), None),
        };
        let met = match another(&mut client)
            .await
            .filter(|_| kind == Abuse::Smuggle)
        {
            Some(status) => Met::Another(status),
            None => Met::Answer(answer.status()),
        };
        (met, Some(answer))
    };
    // Each step has its own patience; together they have one.
    let ended = timeout(PATIENCE.saturating_mul(2), worst).await;
    ended.unwrap_or((Met::Kept, None))
}

/// An answer to what was hidden behind the first request.
async fn another(client: &mut Client) -> Option<u16> {
    client.patience(Duration::from_secs(2));
    let answer = client.read_answer().await.ok()?;
    Some(answer.status())
}

/// Byte by byte until the gateway has had enough; `None` when it answers.
async fn drip(client: &mut Client, head: &str) -> Option<Met> {
    let begun = Instant::now();
    for byte in head.as_bytes().iter().cycle() {
        if client.send(&[*byte]).await.is_err() || client.closes_within(DRIP).await {
            return Some(Met::Closed);
        }
        if !client.unread().is_empty() {
            return None;
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    Some(Met::Kept)
}

fn unanswered(error: &ClientError) -> Met {
    match error {
        ClientError::Connect(_) => Met::Nobody,
        ClientError::Silent(_) => Met::Kept,
        // Bytes that are no answer tell as little as none.
        ClientError::Send(_)
        | ClientError::ResetBeforeHead
        | ClientError::ClosedBeforeHead
        | ClientError::CutInHead
        | ClientError::Wire(_) => Met::Closed,
    }
}

/// A request that would be served if it were honest: should any of it reach a provider, that is seen there by the
/// missing mark.
struct Message {
    /// Without its last line.
    head: String,
    body: String,
}

impl Message {
    fn of(kind: Abuse, door: &Door, model: &str) -> Self {
        let key = if kind == Abuse::BadKey {
            "sk-nobody"
        } else {
            &door.key
        };
        let path = &door.path;
        let message = json!({"role": "user", "content": "let me in"});
        Self {
            head: format!(
                "POST {path}/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n"
            ),
            body: json!({"model": model, "messages": [message]}).to_string(),
        }
    }

    fn bytes(&self, kind: Abuse) -> Vec<u8> {
        let Self { head, body } = self;
        let whole = |body: &str| format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        match kind {
            Abuse::SlowHead => head.clone().into(),
            Abuse::SlowBody => format!("{head}content-length: 5000\r\n\r\n{{").into(),
            Abuse::HeaderBomb => format!("{head}x-bomb: {}\r\n\r\n", "b".repeat(1 << 20)).into(),
            Abuse::HugeBody => format!("{head}content-length: 2000000000\r\n\r\n{{").into(),
            Abuse::DeepJson => whole(&"[".repeat(10_000)).into(),
            Abuse::BadJson => whole(body.get(1..).unwrap_or_default()).into(),
            Abuse::BadKey => whole(body).into(),
            Abuse::Smuggle => format!(
                "{head}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{}",
                body.len(),
                whole(body)
            )
            .into(),
            Abuse::Garbage => {
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n".to_vec()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Abuse; 9] = [
        Abuse::SlowHead,
        Abuse::SlowBody,
        Abuse::HeaderBomb,
        Abuse::HugeBody,
        Abuse::DeepJson,
        Abuse::BadJson,
        Abuse::Smuggle,
        Abuse::Garbage,
        Abuse::BadKey,
    ];

    #[test]
    fn no_abuse_may_be_served_kept_or_met_with_a_crash() {
        for kind in ALL {
            for met in [
                Met::Answer(200),
                Met::Answer(500),
                Met::Answer(502),
                Met::Another(200),
                Met::Another(400),
                Met::Kept,
            ] {
                assert!(kind.judge(met).is_failure(), "{kind:?} {met:?}");
            }
        }
    }

    #[test]
    fn a_clean_refusal_is_evidence_and_an_absent_gateway_is_none() {
        for kind in ALL {
            let (statuses, _) = kind.refusals();
            for status in statuses {
                let ended = kind.judge(Met::Answer(*status));
                assert_eq!(ended, Ended::Repelled(status.to_string()), "{kind:?}");
                assert!(!ended.is_failure());
            }
            assert_eq!(kind.judge(Met::Nobody), Ended::Left);
        }
    }

    #[test]
    fn l05_whoever_speaks_http_is_told_why_and_not_just_dropped() {
        for kind in [Abuse::DeepJson, Abuse::BadJson, Abuse::BadKey] {
            assert!(kind.judge(Met::Closed).is_failure(), "{kind:?}");
        }
        assert!(!Abuse::SlowHead.judge(Met::Closed).is_failure());
    }

    #[test]
    fn a14_what_is_smuggled_is_a_request_that_would_be_served() {
        let door = Door {
            address: ([127, 0, 0, 1], 1).into(),
            path: "/v1".to_owned(),
            key: "sk".to_owned(),
        };
        let message = Message::of(Abuse::Smuggle, &door, "chat");
        let bytes = String::from_utf8(message.bytes(Abuse::Smuggle)).unwrap();
        assert_eq!(bytes.matches("POST ").count(), 2);
        let (_, hidden) = bytes.split_once("0\r\n\r\n").unwrap();
        let (_, body) = hidden.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["model"], "chat");
    }
}
