//! One provider's client: own connections, address parsed once, request heads ready made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connected;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::body::{ReplyBody, Rope};
use super::connect::{Connector, ConnectorOptions, Served};
use super::error::{AttemptError, BuildError, sort};
use crate::config::{KeySettings, ProviderSettings, TimeoutSettings};
use crate::domain::{AttemptOutcome, Dialect, KeyName};

pub struct ProviderOptions<'a> {
    pub provider: &'a ProviderSettings,
    pub timeouts: &'a TimeoutSettings,
}

/// One attempt to send.
pub struct Call<'a> {
    pub key: &'a KeyName,
    pub body: Rope,
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ReplyBody,
    /// An idle connection turned out to be closed, and a fresh one was used (fault N08).
    pub retried_stale: bool,
}

pub struct ProviderClient {
    client: Client<Connector, Rope>,
    chat: Uri,
    /// The head of a request, per key.
    heads: HashMap<KeyName, HeaderMap>,
}

/// A head of an answer larger than this is an attack or a mistake (fault P32).
const LARGEST_HEAD: usize = 64 * 1024;
const MOST_HEADERS: usize = 500;
const IDLE: Duration = Duration::from_secs(60);
const PING_EVERY: Duration = Duration::from_secs(20);

impl ProviderClient {
    pub fn new(options: &ProviderOptions<'_>) -> Result<Self, BuildError> {
        let provider = options.provider;
        let chat: Uri = endpoint(provider, "chat/completions", "messages")
            .parse()
            .map_err(|error: http::uri::InvalidUri| BuildError::Address(error.to_string()))?;
        let heads = provider
            .keys
            .iter()
            .map(|key| Ok((key.name.clone(), head(provider, key)?)))
            .collect::<Result<_, BuildError>>()?;
        let connector = Connector::new(ConnectorOptions {
            connect: options.timeouts.connect,
            tls: options.timeouts.tls,
            dns: options.timeouts.dns,
            allow_private_address: provider.allow_private_address,
            tls_config: Arc::new(tls_config(provider)?),
        });
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http1_max_headers(MOST_HEADERS)
            .http1_max_buf_size(LARGEST_HEAD)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY)
            .http2_adaptive_window(true)
            .http2_max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX))
            .build(connector);
        Ok(Self {
            client,
            chat,
            heads,
        })
    }

    /// Sends a request and waits for the head of the answer. Dropping the future cancels the attempt.
    pub async fn send(&self, call: Call<'_>) -> Result<Reply, AttemptError> {
        let head = self
            .heads
            .get(call.key)
            .ok_or(AttemptError::of(AttemptOutcome::Auth))?;
        match self
            .client
            .request(self.request(head, call.body.clone()))
            .await
        {
            Ok(response) => reply(response, false),
            // Nothing was read and the connection had served before: it died while idle. Once, for free.
            Err(error) if is_stale(&error) => {
                let again = self.client.request(self.request(head, call.body)).await;
                again
                    .map_err(|error| sort(&error))
                    .and_then(|response| reply(response, true))
            }
            Err(error) => Err(sort(&error)),
        }
    }

    fn request(&self, head: &HeaderMap, body: Rope) -> Request<Rope> {
        let length = body.len();
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.chat.clone();
        *request.headers_mut() = head.clone();
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
        request
    }
}

/// The address of an operation. Anthropic's own SDKs write the base without its version, others with it.
pub(super) fn endpoint(provider: &ProviderSettings, openai: &str, anthropic: &str) -> String {
    let base = &provider.base_url;
    match provider.dialect {
        Dialect::Openai => format!("{base}/{openai}"),
        Dialect::Anthropic if base.ends_with("/v1") => format!("{base}/{anthropic}"),
        Dialect::Anthropic => format!("{base}/v1/{anthropic}"),
    }
}

/// Whether the request met a kept connection that was already closed by the other side.
fn is_stale(error: &hyper_util::client::legacy::Error) -> bool {
    if error.is_connect() || !error.connect_info().is_some_and(was_used) {
        return false;
    }
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        }
        source = error.source();
    }
    false
}

fn was_used(connected: &Connected) -> bool {
    let mut extras = http::Extensions::new();
    connected.get_extras(&mut extras);
    extras.get::<Served>().is_some_and(Served::any)
}

fn head(provider: &ProviderSettings, key: &KeySettings) -> Result<HeaderMap, BuildError> {
    let mut head = HeaderMap::with_capacity(8);
    let secret = |text: String| {
        let mut value = HeaderValue::try_from(text).map_err(|_| BuildError::Key)?;
        value.set_sensitive(true);
        Ok(value)
    };
    match provider.dialect {
        Dialect::Openai => {
            head.insert(
                AUTHORIZATION,
                secret(format!("Bearer {}", key.secret.expose()))?,
            );
        }
        Dialect::Anthropic => {
            head.insert(
                HeaderName::from_static("x-api-key"),
                secret(key.secret.expose().to_owned())?,
            );
            head.insert(
                HeaderName::from_static("anthropic-version"),
                HeaderValue::from_static("2023-06-01"),
            );
        }
    }
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    head.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION"))),
    );
    Ok(head)
}

pub(super) fn tls_config(provider: &ProviderSettings) -> Result<rustls::ClientConfig, BuildError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(pem) = &provider.ca_pem {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| BuildError::Authority)?;
            roots.add(certificate).map_err(|_| BuildError::Authority)?;
            added += 1;
        }
        if added == 0 {
            return Err(BuildError::Authority);
        }
    }
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = if provider.h2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    Ok(config)
}

/// Judges the head of an answer before anyone reads its body.
fn reply(response: Response<Incoming>, retried_stale: bool) -> Result<Reply, AttemptError> {
    let (parts, body) = response.into_parts();
    if let Some(served) = parts.extensions.get::<Served>() {
        served.count();
    }
    let headers = parts.headers;
    // Two ways to say where the body ends are one too many (fault P19).
    let framings = headers.get_all(CONTENT_LENGTH).iter().count();
    if framings > 1 || (framings == 1 && headers.contains_key(TRANSFER_ENCODING)) {
        return Err(AttemptError::blocked(AttemptOutcome::BadBody, "framing"));
    }
    if parts.status.is_redirection() {
        // Following it would carry our key to another host (fault P30).
        return Err(AttemptError::blocked(AttemptOutcome::BadBody, "redirect"));
    }
    if parts.status.is_informational() {
        return Err(AttemptError::of(AttemptOutcome::BadBody));
    }
    let encoded = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if encoded {
        // Never asked for (fault P33): nothing is unpacked, so nothing can explode.
        return Err(AttemptError::blocked(AttemptOutcome::TooLarge, "encoding"));
    }
    Ok(Reply {
        status: parts.status,
        headers,
        body: ReplyBody::new(body),
        retried_stale,
    })
}
