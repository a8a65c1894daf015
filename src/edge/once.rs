//! Keys by which clients ask for one execution however often they send (fault L12): the header in, the answer that
//! all of them share out.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::header::WARNING;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use ring::digest;

use super::Edge;
use super::asked::form_type;
use super::chat::{Admission, Answer, answer, told_timeout};
use super::connection::ConnectionControl;
use super::demand::demand;
use super::detours::way;
use super::inside::InFlight;
use super::reply::{self, Said};
use super::stored::{self, Outgoing};
use crate::actors::at_most;
use crate::dialects::multipart::boundary_of;
use crate::dialects::openai::{ChatPeek, ToldCost};
use crate::dispatch::once::{Execution, Head, Reader, Turn};
use crate::dispatch::{Prompt, Served, Told};
use crate::domain::{ClientDialect, Failure, FailureKind, NanoUsd, Operation};
use crate::policy::once::{Asked, Name, Terms};

const NAME: &str = "idempotency-key";
const KEY: HeaderName = HeaderName::from_static(NAME);
/// As some clients and proxies call it.
const OTHER_KEY: HeaderName = HeaderName::from_static("x-idempotency-key");
const MARK: HeaderName = HeaderName::from_static("x-switchyard-idempotent");
/// What the execution cost that a replayed answer is of; once, however often it is told.
const EXECUTED_COST: HeaderName = HeaderName::from_static("x-switchyard-executed-cost");
const LONGEST_KEY: usize = 255;
/// What they say is part of what is asked.
const MEANT: [&str; 3] = [
    "x-switchyard-unsupported",
    "anthropic-beta",
    "anthropic-version",
];
/// Nobody else is held up while so much is digested.
const DIGESTED_AT_ONCE: usize = 64 * 1024;

/// The key of a request, if it has one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let name = if headers.contains_key(KEY) {
        KEY
    } else if headers.contains_key(OTHER_KEY) {
        OTHER_KEY
    } else {
        return Ok(None);
    };
    let mut values = headers.get_all(&name).iter();
    let key = values.next().and_then(|value| value.to_str().ok());
    let key = key.filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY);
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        (_, Some(_)) | (None, _) => Err(Failure::new(
            FailureKind::InvalidRequest,
            "the key must be one value of 1 to 255 visible ASCII characters",
        )
        .at(name.as_str().to_owned())),
    }
}

/// An answer that several may be told.
pub(super) struct Shared {
    reader: Reader,
    head: Head,
    is_replayed: bool,
}

/// Executes a request, or finds the execution of the one that came before.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    admission: Admission,
    parts: &Parts,
    (key, prompt): (&str, Prompt),
) -> Result<Shared, Failure> {
    let terms = admission.published.settings.idempotency;
    let (demanded, peek) = may_have(&admission, parts, &prompt)?;
    let asked = digest(parts, &demanded, prompt.bytes()).await;
    let client = &admission.client;
    let name = Name::new(Arc::clone(&client.tenant), client.own_name(), key);
    let name = (&Arc::new(name), &asked);
    let turn = edge.once.enter(admission.id, name, terms);
    let (reader, is_replayed) = match turn {
        Turn::First(execution, reader) => {
            let edge = Arc::clone(edge);
            let headers = parts.headers.clone();
            tokio::spawn(execute(edge, admission, (headers, prompt, peek), execution));
            (reader, false)
        }
        Turn::Again(reader) => {
            // What it holds of the memory for bodies is not needed while it waits for another's answer.
            drop(prompt);
            (reader, true)
        }
        Turn::Differs => return Err(differs()),
        Turn::NotKept => return Err(not_kept(terms)),
        Turn::Full => return Err(full()),
    };
    // The first one's patience is its execution's; it may be longer than that of who joined.
    let patience = told_timeout(&parts.headers).filter(|wait| is_replayed && !wait.is_zero());
    let head = match patience {
        Some(wait) => at_most(wait, reader.head()).await.ok_or_else(late)?,
        None => reader.head().await,
    };
    Ok(Shared {
        reader,
        head,
        is_replayed,
    })
}

/// Whether the client may have what it asks for, now and not only when it was asked first; what is demanded of
/// whoever serves it, and the facts of the body. What cannot be read is refused where it is executed.
fn may_have(
    admission: &Admission,
    parts: &Parts,
    prompt: &Prompt,
) -> Result<(String, Option<ChatPeek>), Failure> {
    let Ok(peek) = admission.asked.peek(&parts.headers, prompt.bytes()) else {
        return Ok((String::new(), None));
    };
    let (client, published) = (&admission.client, &admission.published);
    way(&peek, admission.asked.operation, client, published)?;
    let demand = demand(client, &parts.headers, &peek.wishes)?;
    let demanded = demand.map_or_else(String::new, |demand| format!("{demand:?}"));
    Ok((demanded, Some(peek)))
}

/// All that has to be the same: where it was sent, and what, and what else changes the answer; of a form, whatever boundary its parts have, because
/// SDKs make up another one each time they send.
async fn digest(parts: &Parts, demanded: &str, body: &[u8]) -> Asked {
    /// What a part takes beside its bytes.
    const PART: usize = 64;
    let mut context = digest::Context::new(&digest::SHA256);
    let path = parts.uri.path().as_bytes();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let boundary = form_type(&parts.headers).and_then(|kind| boundary_of(kind).ok());
    let mut since_pause = 0;
    let headers = MEANT
        .into_iter()
        .flat_map(|name| parts.headers.get_all(name))
        .map(HeaderValue::as_bytes);
    let about = [path, query, demanded.as_bytes()]
        .into_iter()
        .chain(headers);
    for part in about.chain(around(body, boundary)) {
        for piece in part.chunks(DIGESTED_AT_ONCE) {
            if since_pause >= DIGESTED_AT_ONCE {
                tokio::task::yield_now().await;
                since_pause = 0;
            }
            context.update(piece);
            since_pause += piece.len();
        }
        // Behind each its length, so that no two ways to divide them are one.
        context.update(&(part.len() as u64).to_be_bytes());
        since_pause += PART;
    }
    let mut asked = Asked::default();
    for (to, from) in asked.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    asked
}

/// What stands around a boundary; the whole body where there is none.
fn around<'a>(body: &'a [u8], boundary: Option<&'a str>) -> impl Iterator<Item = &'a [u8]> + Send {
    let boundary = boundary.map(memmem::Finder::new);
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let body = rest.take()?;
        let found = boundary.as_ref().and_then(|boundary| {
            let (before, behind) = body.split_at_checked(boundary.find(body)?)?;
            Some((before, behind.get(boundary.needle().len()..)?))
        });
        let Some((before, behind)) = found else {
            return Some(body);
        };
        rest = Some(behind);
        Some(before)
    })
}

/// Serves a request for all who ask it, for as long as anybody does; what is made in the background, to its end.
async fn execute(
    edge: Arc<Edge>,
    admission: Admission,
    (headers, prompt, peek): (HeaderMap, Prompt, Option<ChatPeek>),
    execution: Execution,
) {
    // Begun again for who sends it again, it would be bought twice.
    if stored::goes_on(&admission, &prompt) && !execution.make_anyway() {
        return;
    }
    let served = answer(&edge, admission, &headers, (prompt, peek));
    let Some(answered) = execution.wanted(served).await else {
        return;
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(failure) => {
            edge.news.metrics.rejected(failure.kind.code());
            let told = Told::default();
            return execution.tell(Head::Failed { failure, told });
        }
    };
    let Answer {
        served,
        notice,
        kept,
    } = answer;
    let noted = |mut told: Told| {
        told.headers.extend(notice.map(|notice| (WARNING, notice)));
        told
    };
    match served {
        Served::Whole { body, told } => execution.tell(Head::Whole {
            body,
            told: noted(told),
        }),
        Served::Failed { failure, told } => execution.tell(Head::Failed {
            failure,
            told: noted(told),
        }),
        Served::Followed { reader, told } => {
            let head = Head::Stream { told: noted(told) };
            execution
                .tell_stream(head, move |cx| reader.poll_piece(cx))
                .await;
        }
        Served::Stream { stream, told } => {
            let mut outgoing = Outgoing { stream, kept };
            let head = Head::Stream { told: noted(told) };
            execution
                .tell_stream(head, move |cx| outgoing.poll_piece(cx))
                .await;
        }
    }
}

/// The answer as one of those who asked gets it.
pub(super) fn told(
    shared: Shared,
    (speaks, operation): (ClientDialect, Operation),
    (control, guard): (Option<ConnectionControl>, InFlight),
) -> Response {
    let Shared {
        reader,
        head,
        is_replayed,
    } = shared;
    let id = reader.id();
    let own = |told: Told| if is_replayed { of_another(told) } else { told };
    let mut response = match head {
        Head::Whole { body, told } => reply::whole(speaks, body, id, &own(told)),
        Head::Failed { failure, told } => reply::failure(speaks, &failure, id, &own(told)),
        Head::Stream { told } => {
            let speaker = reply::Speaker {
                id,
                speaks,
                mute: !operation.writes(),
                control,
            };
            reply::stream(Said::Shared(reader), speaker, &own(told), Some(guard))
        }
    };
    if is_replayed {
        let replayed = HeaderValue::from_static("replayed");
        response.headers_mut().insert(MARK, replayed);
    }
    response
}

/// What is told of an execution that is paid for already: that this request costs nothing, what that one did (as the
/// body may say, which is its own to the byte), and not what it left of the limits then.
fn of_another(mut told: Told) -> Told {
    if let Some(executed) = told.cost.filter(|_| told.attempts > 0)
        && let Ok(cost) = HeaderValue::from_str(&executed.cost.to_string())
    {
        told.headers.push((EXECUTED_COST, cost));
    }
    let nothing = ToldCost {
        cost: NanoUsd::ZERO,
        estimated: false,
    };
    Told {
        cost: Some(nothing),
        limits: Default::default(),
        ..told
    }
}

fn differs() -> Failure {
    Failure::new(
        FailureKind::Conflict,
        "this idempotency key came with another request before; send that one again, or this one with a key of its own",
    )
    .at(NAME)
}

fn not_kept(terms: Terms) -> Failure {
    let most = terms.answer_bytes;
    let message = format!(
        "the request of this idempotency key was executed, and its answer was not kept: it is larger than {most} bytes, or there was no room; to execute it again, send it with a new key"
    );
    Failure::new(FailureKind::Conflict, message).at(NAME)
}

fn late() -> Failure {
    Failure::new(
        FailureKind::DeadlineExceeded,
        "the time allowed for this request was over before the one that came first with its key was answered",
    )
}

fn full() -> Failure {
    Failure::new(
        FailureKind::Overloaded,
        "the gateway executes as many requests with an idempotency key as it has memory for; come back shortly",
    )
    .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn l12_a_key_is_one_value_that_can_be_told_apart() {
        assert_eq!(key(&headers(&[])), Ok(None));
        for name in ["idempotency-key", "x-idempotency-key"] {
            let longest = "k".repeat(LONGEST_KEY);
            for good in ["k", "stainless-node-retry-0b1c", longest.as_str()] {
                assert_eq!(key(&headers(&[(name, good)])), Ok(Some(good)));
            }
            let too_long = "k".repeat(LONGEST_KEY + 1);
            for bad in ["", "k\u{e9}", &too_long] {
                let failure = key(&headers(&[(name, bad)])).unwrap_err();
                assert_eq!(failure.status(), 400, "{bad}");
                assert_eq!(failure.param.as_deref(), Some(name));
            }
            assert!(key(&headers(&[(name, "k"), (name, "k")])).is_err());
        }
        let both = headers(&[("x-idempotency-key", "b"), ("idempotency-key", "a")]);
        assert_eq!(key(&both), Ok(Some("a")));
    }

    async fn asked(uri: &str, kind: &str, body: &[u8]) -> Asked {
        let request = http::Request::post(uri).header("content-type", kind);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        digest(&parts, "", body).await
    }

    #[tokio::test]
    async fn l12_what_is_asked_is_the_path_and_every_byte_of_the_body() {
        let json = "application/json";
        let long = vec![b'a'; DIGESTED_AT_ONCE * 2 + 1];
        let same = asked("/a?b", json, &long).await;
        assert_eq!(
            same,
            asked("/a?b", "application/json; charset=utf-8", &long).await
        );
        let mut other = long.clone();
        *other.last_mut().unwrap() = b'b';
        for (uri, body) in [
            ("/a?c", &long),
            ("/b?b", &long),
            ("/a", &long),
            ("/a?b", &other),
        ] {
            assert_ne!(same, asked(uri, json, body).await, "{uri}");
        }
    }

    #[tokio::test]
    async fn l12_a_form_that_is_sent_again_has_another_boundary_and_is_the_same() {
        let form = |boundary: &str, value: &str| {
            let kind = format!("multipart/form-data; boundary={boundary}");
            let body = format!("--{boundary}\r\nx: y\r\n\r\n{value}\r\n--{boundary}--\r\n");
            (kind, body)
        };
        let digest =
            async |(kind, body): (String, String)| asked("/a", &kind, body.as_bytes()).await;
        let same = digest(form("one", "v")).await;
        assert_eq!(same, digest(form("another", "v")).await);
        assert_ne!(same, digest(form("one", "w")).await);
        // A part more is no part of the one before.
        assert_ne!(same, digest(form("one", "v\r\n--one\r\n")).await);
    }
}
