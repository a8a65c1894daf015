//! Pictures and documents by address, for a target whose provider takes data only.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use tokio::time::timeout_at;

use super::Dispatch;
use super::next::AttemptFailure;
use super::request::Request;
use super::translation::Translation;
use crate::dialects::media::{Fetched, addresses, place_of_address};
use crate::dialects::{DialectError, decode_request};
use crate::domain::chat::ChatRequest;
use crate::domain::{AttemptOutcome, Operation};
use crate::upstream::{MediaFault, MediaFetcher, Unfetched};

/// What has to be fetched, and by whom.
pub(super) struct Wanted {
    body: Bytes,
    canonical: ChatRequest,
    urls: Vec<String>,
    fetcher: Arc<MediaFetcher>,
}

impl Dispatch {
    /// What has to be fetched before this target can be asked.
    pub(super) fn wants_media(
        &self,
        request: &Request,
        translation: &Translation<'_>,
    ) -> Result<Option<Wanted>, AttemptFailure> {
        if !request.published.settings.media.fetch
            || translation.is_plain()
            || request.operation != Operation::Chat
        {
            return Ok(None);
        }
        let body = request.body();
        if memmem::find(&body, b"https:").is_none() {
            return Ok(None);
        }
        let canonical = decode_request(request.speaks, &body)?;
        let urls = addresses(translation.dialect, &canonical);
        if urls.is_empty() {
            return Ok(None);
        }
        Ok(self.upstreams.media().map(|fetcher| Wanted {
            body,
            canonical,
            urls,
            fetcher,
        }))
    }

    /// Fetches it, once for all attempts of a request.
    pub(super) async fn media(
        &self,
        request: &Request,
        wanted: Wanted,
    ) -> Result<Arc<Fetched>, AttemptFailure> {
        let Wanted {
            body,
            canonical,
            urls,
            fetcher,
        } = wanted;
        let fetch = request
            .media
            .get_or_init(|| async { fetcher.fetch(&urls).await.map(Arc::new) });
        let fetched = async {
            match fetch.await {
                // Another provider of the chain needed fewer of them.
                Ok(known) if !urls.iter().all(|url| known.contains_key(url)) => {
                    fetcher.fetch(&urls).await.map(Arc::new)
                }
                known => known.clone(),
            }
        };
        let ended = timeout_at(request.deadline, fetched).await;
        let fetched = ended.map_err(|_| AttemptFailure::plain(AttemptOutcome::Deadline))?;
        match fetched {
            Ok(fetched) => Ok(fetched),
            Err(Unfetched { url, fault }) => {
                if fault == MediaFault::Refused {
                    self.news.metrics.blocked("ssrf");
                    self.journal()
                        .event("security.block", request.caller.client.as_str(), "ssrf");
                }
                let place = place_of_address(request.speaks, &body, &canonical, &url);
                let place = place.unwrap_or_else(|| "messages".to_owned());
                let message = format!("the image or document of {place} {fault}");
                Err(AttemptFailure::from(DialectError {
                    message,
                    param: Some(place),
                }))
            }
        }
    }
}
