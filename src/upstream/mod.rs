//! The call to a provider: address, connection, send, and what its headers say.
//!
//! # Why not reqwest, nor hyper for HTTP/1.1
//! reqwest parses the URL again for every request; here the address is parsed once per provider, and the
//! request's head is a template. reqwest serves the control plane: probes, alerts. What is gained by reading
//! HTTP/1.1 here is told in `wire`; HTTP/2 is hyper's.

mod address;
mod alerts;
mod at;
mod body;
mod client;
mod connect;
mod egress;
mod error;
mod fields;
mod headers;
mod issuer;
mod limits;
mod line;
mod media;
mod names;
mod pool;
mod probe;
mod pushback;
mod registry;
mod sign;
#[cfg(test)]
mod vanished;
mod webhook;
mod wire;

pub use address::is_public;
pub use alerts::AlertPost;
pub use body::{ReplyBody, Rope};
pub use client::{Again, Call, ProviderClient, ProviderOptions, Reply};
pub use error::{AttemptError, BuildError};
pub use fields::Fields;
pub use headers::passed;
pub use issuer::fetch_keys;
pub use limits::{LimitKind, ToldLimit, told};
pub use media::{MediaFault, MediaFetcher, MediaPlace, Unfetched};
pub use probe::{ProbeResult, Prober};
pub use pushback::{LONGEST as LONGEST_PUSHBACK, Pushback, date_wait, pushback};
pub use registry::{NoRegistry, fetch_registry};
pub use sign::{Renewal, TokenKeeper};
pub use webhook::{Webhook, WebhookFault};

/// Chooses the TLS library for the whole process; safe to call again.
pub fn install_crypto() {
    // Fails when a provider is installed already, and then it is the one this process chose.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
