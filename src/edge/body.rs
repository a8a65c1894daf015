//! Reading a request's body within its limits: size, speed, and memory shared by all.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::memory::BodyMemory;
use crate::actors::until;
use crate::dispatch::Prompt;
use crate::domain::{Failure, FailureKind, Stake};

/// A body may be slow for this long before its speed counts (fault L03).
const GRACE: Duration = Duration::from_secs(5);
/// Bytes a second that are no longer slow.
const LEAST_RATE: u64 = 1_024;
/// Memory for a body whose length is not told.
const FIRST_GRANT: usize = 64 * 1024;
/// While memory is scarce larger bodies are refused (fault O08).
pub(super) const SMALL: usize = 256 * 1024;

/// How large a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    /// What the operator raises for more.
    pub(super) option: &'static str,
}

/// Refuses what can be refused from the head alone.
pub(super) fn check_head(headers: &HeaderMap, most: Limit) -> Result<Option<usize>, Failure> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        // Nothing is unpacked, so nothing can explode (fault L09).
        return Err(Failure::new(
            FailureKind::UnsupportedMediaType,
            "compressed request bodies are not accepted; send the body without content-encoding",
        ));
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most.bytes) {
        return Err(too_large(most));
    }
    Ok(length)
}

pub(super) async fn read(
    body: Body,
    length: Option<usize>,
    most: Limit,
    (memory, stake): (&BodyMemory, &Stake),
) -> Result<Prompt, Failure> {
    let mut grant = Grant::begun((memory, stake), length, most).await?;
    let mut started = Instant::now();
    let mut body = pin!(body);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let so_far = first.as_ref().map_or(rest.len(), Bytes::len);
        // Every further KiB buys another second.
        let due = started + GRACE + Duration::from_secs(so_far as u64 / LEAST_RATE);
        let frame = match until(due, body.frame()).await {
            Some(None) => break,
            Some(Some(Ok(frame))) => frame,
            Some(Some(Err(_))) => {
                return Err(Failure::new(
                    FailureKind::InvalidRequest,
                    "the request body ended before it was whole",
                ));
            }
            None => return Err(too_slow()),
        };
        // Trailers are dropped.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if so_far + piece.len() > most.bytes {
            return Err(too_large(most));
        }
        let is_last = body.is_end_stream();
        let came = Instant::now();
        grant.covers(so_far + piece.len(), is_last).await?;
        // Waiting for memory is not the client's slowness.
        started += came.elapsed();
        match first.take() {
            None if rest.is_empty() && is_last => first = Some(piece),
            None if rest.is_empty() => {
                rest.reserve(length.unwrap_or(piece.len()).min(most.bytes));
                rest.extend_from_slice(&piece);
            }
            None => rest.extend_from_slice(&piece),
            Some(before) => {
                rest.extend_from_slice(&before);
                rest.extend_from_slice(&piece);
            }
        }
    }
    let bytes = first.unwrap_or_else(|| rest.freeze());
    let permit = grant.ended(bytes.len()).await?;
    Ok(Prompt::new(bytes, permit))
}

/// The memory of a body that is being read.
struct Grant<'m> {
    memory: &'m BodyMemory,
    stake: &'m Stake,
    length: Option<usize>,
    most: Limit,
    /// `None` before the first piece of one whose length is not told.
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl<'m> Grant<'m> {
    /// A length that is told is granted at once; an untold one when its first piece tells whether it is all.
    async fn begun(
        (memory, stake): (&'m BodyMemory, &'m Stake),
        length: Option<usize>,
        most: Limit,
    ) -> Result<Self, Failure> {
        let permit = match length {
            Some(length) => Some(granted(memory, stake, length).await?),
            None => None,
        };
        Ok(Self {
            memory,
            stake,
            length,
            most,
            permit,
            bytes: length.unwrap_or_default(),
        })
    }

    /// So many bytes have come.
    async fn covers(&mut self, bytes: usize, is_last: bool) -> Result<(), Failure> {
        let Some(permit) = &mut self.permit else {
            self.bytes = if is_last {
                bytes
            } else {
                bytes.max(FIRST_GRANT)
            };
            self.permit = Some(granted(self.memory, self.stake, self.bytes).await?);
            return Ok(());
        };
        if bytes <= self.bytes {
            return Ok(());
        }
        if self.length.is_some() {
            return Err(Failure::new(
                FailureKind::InvalidRequest,
                "the request body is longer than its content-length",
            ));
        }
        // All it may need, in one step: bodies that grew little by little would wait for one another.
        let more = self.most.bytes.saturating_sub(self.bytes);
        self.memory.more(self.stake, permit, kib(more)).await?;
        self.bytes += more;
        Ok(())
    }

    /// What it needs now that all of it is there.
    async fn ended(self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let Some(mut permit) = self.permit else {
            return granted(self.memory, self.stake, bytes).await;
        };
        let surplus = permit.num_permits().saturating_sub(kib(bytes) as usize);
        drop(permit.split(surplus));
        Ok(permit)
    }
}

/// The semaphore counts KiB.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1_024))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Memory for a body of so many bytes.
pub(super) async fn granted(
    memory: &BodyMemory,
    stake: &Stake,
    bytes: usize,
) -> Result<OwnedSemaphorePermit, Failure> {
    memory.granted(stake, kib(bytes)).await
}

fn too_large(Limit { bytes, option }: Limit) -> Failure {
    Failure::new(
        FailureKind::RequestTooLarge,
        format!("the request body is larger than {bytes} bytes; send less, or raise {option}"),
    )
}

fn too_slow() -> Failure {
    Failure::new(
        FailureKind::RequestTimeout,
        "the request body came slower than 1 KiB a second",
    )
}
