//! One provider's client: own connections, address parsed once, request heads ready made.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::at::Address;
use super::body::{Progress, ReplyBody, Rope, Upload};
use super::connect::{Connector, ConnectorOptions, Place};
use super::error::{AttemptError, BuildError, sort};
use super::fields::Fields;
use super::line::LineError;
use super::names::resolver;
use super::pool::{PING_EVERY, Pool, Shared, StreamPlace, Way};
use super::sign::{AwsSigner, Means, Token, TokenKeeper, standing};
use crate::config::{KeySettings, KeySource, ProviderSettings, TimeoutSettings};
use crate::domain::{AttemptOutcome, KeyName, Mode, Operation};
use crate::policy::residency::Handling;

pub struct ProviderOptions<'a> {
    pub provider: &'a ProviderSettings,
    pub timeouts: &'a TimeoutSettings,
    /// The client of the settings before: its tokens stay good.
    pub before: Option<&'a ProviderClient>,
}

/// One attempt to send.
pub struct Call<'a> {
    pub key: &'a KeyName,
    /// As the provider calls it: some name it in the address.
    pub model: &'a str,
    pub mode: Mode,
    pub operation: Operation,
    /// The client's own fields that go along.
    pub fields: &'a [(HeaderName, HeaderValue)],
    /// What the body is; `None` for JSON.
    pub content_type: Option<&'a HeaderValue>,
    pub body: Rope,
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub fields: Fields,
    pub body: ReplyBody,
    /// The request was said twice, because its first saying was surely not heard.
    pub again: Option<Again>,
}

/// Why a request was sent once more at no cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// A resting connection turned out to be closed (fault N08).
    Stale,
    /// The HTTP/2 connection was told to end before this request (fault N09).
    GoAway,
    /// The stream was refused before it was looked at (fault N10).
    Refused,
    /// The token was refused before its end, and another one was to be had (fault K08).
    Token,
}

pub struct ProviderClient {
    pool: Arc<Pool>,
    address: Address,
    /// Most a provider may go without taking a byte of a request (fault N11).
    write_idle: Duration,
    /// What a request begins with, per key.
    heads: HashMap<KeyName, RequestHead>,
}

/// What most bodies are.
const JSON: &[u8] = b"application/json";

/// A request's head, ready made.
struct RequestHead {
    /// HTTP/1.1, from behind the path up to the value of its content-length.
    line: Bytes,
    /// HTTP/2.
    map: HeaderMap,
    /// For providers that want each request signed.
    signer: Option<AwsSigner>,
    /// For keys that are traded for a token.
    tokens: Option<Arc<TokenKeeper>>,
    /// What becomes of what is sent with this key, at the address that this client sends to.
    handling: Arc<Handling>,
}

/// A request that may go out, twice if need be.
struct Ready<'a> {
    head: &'a RequestHead,
    call: &'a Call<'a>,
    /// What is said of this very request: its signature.
    signature: Vec<(HeaderName, HeaderValue)>,
}

impl Ready<'_> {
    fn fields(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.call.fields.iter().chain(&self.signature)
    }
}

/// Why nothing came back.
enum Unanswered {
    /// It may be said once more.
    Unheard(Again),
    Failed(AttemptError),
}

impl From<AttemptError> for Unanswered {
    fn from(error: AttemptError) -> Self {
        Self::Failed(error)
    }
}

impl ProviderClient {
    pub fn new(options: &ProviderOptions<'_>) -> Result<Self, BuildError> {
        Self::pinging(options, PING_EVERY)
    }

    /// `ping_every`: how often an HTTP/2 peer has to show that it is there.
    pub(super) fn pinging(
        options: &ProviderOptions<'_>,
        ping_every: Duration,
    ) -> Result<Self, BuildError> {
        let provider = options.provider;
        let address = Address::of(provider)?;
        let place = Place::of(address.base())
            .ok_or_else(|| BuildError::Address("it names no host".to_owned()))?;
        let heads = provider
            .keys
            .iter()
            .map(|key| {
                let map = head(provider, key)?;
                let line = line_head(address.base(), &map);
                let signer = AwsSigner::of(provider, key, address.base());
                let tokens = keeper(options, key)?;
                let head = RequestHead {
                    line,
                    map,
                    signer,
                    tokens,
                    handling: Arc::clone(&key.handling),
                };
                Ok((key.name.clone(), head))
            })
            .collect::<Result<_, BuildError>>()?;
        let connector = Connector::new(ConnectorOptions {
            place,
            connect: options.timeouts.connect,
            tls: options.timeouts.tls,
            dns: options.timeouts.dns,
            allow_private_address: provider.allow_private_address,
            resolver: resolver(&provider.resolvers),
            judged: None,
            proxy: provider.egress.clone(),
            tls_config: Arc::new(tls_config(provider)?),
        });
        Ok(Self {
            pool: Pool::new(connector, ping_every),
            address,
            write_idle: options.timeouts.write_idle,
            heads,
        })
    }

    /// Who keeps this key's token, if it is traded for one.
    pub fn keeper(&self, key: &KeyName) -> Option<&Arc<TokenKeeper>> {
        self.heads.get(key)?.tokens.as_ref()
    }

    /// What becomes of what is sent with this key; `None`: there is no such key, and nothing can be sent.
    pub fn handling(&self, key: &KeyName) -> Option<&Handling> {
        self.heads.get(key).map(|head| &*head.handling)
    }

    /// Sends a request and waits for the head of the answer. Dropping the future cancels the attempt.
    pub async fn send(&self, call: Call<'_>) -> Result<Reply, AttemptError> {
        let head = self
            .heads
            .get(call.key)
            .ok_or(AttemptError::of(AttemptOutcome::Auth))?;
        match &head.tokens {
            None => {
                let signature = self.signature(head, &call, None)?;
                self.send_signed(head, &call, signature).await
            }
            // On the heap: not every provider's requests are to grow by it.
            Some(keeper) => Box::pin(self.send_with_token(head, &call, keeper)).await,
        }
    }

    /// A token may end before its time; a refusal for that says that nothing else was looked at.
    async fn send_with_token(
        &self,
        head: &RequestHead,
        call: &Call<'_>,
        keeper: &TokenKeeper,
    ) -> Result<Reply, AttemptError> {
        let token = keeper.current().await?;
        let signature = self.signature(head, call, Some(&token))?;
        let reply = self.send_signed(head, call, signature).await?;
        let refused = match (reply.status, &token.means) {
            (StatusCode::UNAUTHORIZED, _) => true,
            // AWS says it so, of a right that is missing as well.
            (StatusCode::FORBIDDEN, Means::Aws(_)) => true,
            _ => false,
        };
        if !refused {
            return Ok(reply);
        }
        let Some(other) = keeper.instead_of(&token).await else {
            return Ok(reply);
        };
        drop(reply);
        let signature = self.signature(head, call, Some(&other))?;
        let reply = self.send_signed(head, call, signature).await?;
        Ok(Reply {
            again: Some(Again::Token),
            ..reply
        })
    }

    async fn send_signed(
        &self,
        head: &RequestHead,
        call: &Call<'_>,
        signature: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Reply, AttemptError> {
        let ready = Ready {
            head,
            call,
            signature,
        };
        let way = match self.pool.kept() {
            Some(way) => way,
            // On the heap: rare, and large.
            None => Box::pin(self.pool.open()).await?,
        };
        let again = match self.send_on(way, &ready).await {
            Ok(reply) => return Ok(reply),
            Err(Unanswered::Failed(error)) => return Err(error),
            Err(Unanswered::Unheard(again)) => again,
        };
        // Once, for free, on a connection that was not resting.
        let way = Box::pin(self.pool.open()).await?;
        match self.send_on(way, &ready).await {
            Ok(reply) => Ok(Reply {
                again: Some(again),
                ..reply
            }),
            Err(Unanswered::Failed(error)) => Err(error),
            Err(Unanswered::Unheard(_)) => Err(AttemptError::of(AttemptOutcome::Reset)),
        }
    }

    fn signature(
        &self,
        head: &RequestHead,
        call: &Call<'_>,
        token: Option<&Arc<Token>>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, AttemptError> {
        let credentials = match token.map(|token| &token.means) {
            Some(Means::Bearer(value)) => return Ok(vec![(AUTHORIZATION, value.clone())]),
            Some(Means::Aws(credentials)) => Some(credentials),
            None => None,
        };
        let Some(signer) = &head.signer else {
            return Ok(Vec::new());
        };
        let path = self.address.path(call.model, call.mode, call.operation)?;
        signer.sign(&path, &call.body, (SystemTime::now(), credentials))
    }

    async fn send_on(&self, way: Way, ready: &Ready<'_>) -> Result<Reply, Unanswered> {
        let call = ready.call;
        match way {
            Way::Line(line) => {
                let path = self.address.path(call.model, call.mode, call.operation)?;
                let head = ready.written(&path);
                match line
                    .exchange(head, &call.body, self.write_idle, &self.pool)
                    .await
                {
                    Ok((head, body)) => Ok(judged(
                        head.status,
                        head.fields,
                        ReplyBody::from_line(body),
                    )?),
                    Err(LineError::Stale) => Err(Unanswered::Unheard(Again::Stale)),
                    Err(LineError::Failed(error)) => Err(error.into()),
                }
            }
            Way::Shared(shared, place) => {
                Box::pin(self.exchange_on_stream(shared, place, ready)).await
            }
        }
    }

    async fn exchange_on_stream(
        &self,
        mut shared: Shared,
        place: StreamPlace,
        ready: &Ready<'_>,
    ) -> Result<Reply, Unanswered> {
        let (request, progress) = self.request(ready)?;
        let response = tokio::select! {
            response = shared.sender.send_request(request) => response,
            () = progress.stalled(self.write_idle) => {
                // The window that stays shut may be the connection's.
                shared.retire();
                return Err(AttemptError::of(AttemptOutcome::GapTimeout).into());
            }
        };
        let response = response.map_err(|error| {
            let why = unanswered(&error);
            // The connection itself is at its end: it may not know yet, and must not get the free retry.
            if let Unanswered::Unheard(Again::GoAway) = why {
                shared.retire();
            }
            why
        })?;
        let (parts, incoming) = response.into_parts();
        let fields = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let body = ReplyBody::from_stream(incoming, place);
        Ok(judged(parts.status, fields, body)?)
    }

    fn request(&self, ready: &Ready<'_>) -> Result<(Request<Upload>, Progress), AttemptError> {
        let call = ready.call;
        let length = call.body.len();
        let (upload, progress) = Upload::of(call.body.clone());
        let mut request = Request::new(upload);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.address.uri(call.model, call.mode, call.operation)?;
        *request.headers_mut() = ready.head.map.clone();
        let fields = request.headers_mut();
        for (name, value) in ready.fields() {
            fields.append(name.clone(), value.clone());
        }
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(kind) = call.content_type {
            fields.insert(CONTENT_TYPE, kind.clone());
        }
        Ok((request, progress))
    }
}

impl Ready<'_> {
    /// The HTTP/1.1 form of the head.
    fn written(&self, path: &str) -> Bytes {
        let (line, length) = (&self.head.line, self.call.body.len());
        let kind = self.call.content_type.map_or(JSON, HeaderValue::as_bytes);
        let mut whole = BytesMut::with_capacity(line.len() + path.len() + kind.len() + 48);
        whole.extend_from_slice(b"POST ");
        whole.extend_from_slice(path.as_bytes());
        whole.extend_from_slice(line);
        // Writing to memory cannot fail.
        let _ = write!(whole, "{length}\r\ncontent-type: ");
        whole.extend_from_slice(kind);
        whole.extend_from_slice(b"\r\n");
        for (name, value) in self.fields() {
            whole.extend_from_slice(name.as_str().as_bytes());
            whole.extend_from_slice(b": ");
            whole.extend_from_slice(value.as_bytes());
            whole.extend_from_slice(b"\r\n");
        }
        whole.extend_from_slice(b"\r\n");
        whole.freeze()
    }
}

/// The HTTP/1.1 form of a head, from behind the path up to where the length goes.
fn line_head(uri: &Uri, fields: &HeaderMap) -> Bytes {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut line = BytesMut::with_capacity(512);
    line.extend_from_slice(format!(" HTTP/1.1\r\nhost: {host}\r\n").as_bytes());
    // What a body is differs from request to request.
    for (name, value) in fields.iter().filter(|(name, _)| *name != CONTENT_TYPE) {
        line.extend_from_slice(name.as_str().as_bytes());
        line.extend_from_slice(b": ");
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b"\r\n");
    }
    line.extend_from_slice(b"content-length: ");
    line.freeze()
}

/// What an HTTP/2 failure before the answer's head means.
fn unanswered(error: &hyper::Error) -> Unanswered {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return match error.reason() {
                Some(h2::Reason::ENHANCE_YOUR_CALM) => {
                    AttemptError::of(AttemptOutcome::Throttled).into()
                }
                Some(h2::Reason::REFUSED_STREAM) => Unanswered::Unheard(Again::Refused),
                _ if error.is_go_away() && error.is_remote() => Unanswered::Unheard(Again::GoAway),
                _ => sort(error).into(),
            };
        }
        source = error.source();
    }
    // Never put on the connection, because that had been told to end: hyper keeps the reason to itself.
    if error.is_canceled() || error.is_closed() {
        return Unanswered::Unheard(Again::GoAway);
    }
    sort(error).into()
}

/// The one who kept this key's token under the settings before, or a new one.
fn keeper(
    options: &ProviderOptions<'_>,
    key: &KeySettings,
) -> Result<Option<Arc<TokenKeeper>>, BuildError> {
    let KeySource::Traded(recipe) = &key.source else {
        return Ok(None);
    };
    let before = options.before.and_then(|client| client.keeper(&key.name));
    match before.filter(|keeper| keeper.follows(recipe)) {
        Some(keeper) => Ok(Some(Arc::clone(keeper))),
        None => TokenKeeper::new(options.provider, recipe).map(|keeper| Some(Arc::new(keeper))),
    }
}

fn head(provider: &ProviderSettings, key: &KeySettings) -> Result<HeaderMap, BuildError> {
    let mut head = standing(provider, key)?;
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    head.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION"))),
    );
    Ok(head)
}

/// For what is reached over the open net and is no provider.
pub(super) fn web_roots() -> Result<rustls::ClientConfig, BuildError> {
    tls_with(None, true)
}

pub(super) fn tls_config(provider: &ProviderSettings) -> Result<rustls::ClientConfig, BuildError> {
    tls_with(provider.ca_pem.as_deref(), provider.h2)
}

/// Trusts the public authorities, and the one given.
pub(super) fn tls_with(
    ca_pem: Option<&[u8]>,
    h2: bool,
) -> Result<rustls::ClientConfig, BuildError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(pem) = ca_pem {
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
    config.alpn_protocols = if h2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    Ok(config)
}

/// Judges the head of an answer before anyone reads its body.
fn judged(status: StatusCode, fields: Fields, body: ReplyBody) -> Result<Reply, AttemptError> {
    if status.is_redirection() {
        // Following it would carry our key to another host (fault P30).
        return Err(AttemptError::blocked(AttemptOutcome::BadBody, "redirect"));
    }
    if status.is_informational() {
        return Err(AttemptError::of(AttemptOutcome::BadBody));
    }
    let encoded = fields
        .all("content-encoding")
        .any(|encoding| encoding.is_none_or(|encoding| !encoding.eq_ignore_ascii_case("identity")));
    // An error's status says enough, whatever its body is packed in.
    if encoded && status.is_success() {
        // Never asked for (fault P33): nothing is unpacked, so nothing can explode.
        return Err(AttemptError::blocked(AttemptOutcome::TooLarge, "encoding"));
    }
    Ok(Reply {
        status,
        fields,
        body,
        again: None,
    })
}
