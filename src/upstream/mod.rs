//! The call to a provider: address, connection, send, and what its headers say.
//!
//! # Why hyper-util and not reqwest
//! reqwest parses the URL again for every request; here the address is parsed once per provider, and the
//! request's head is a template. reqwest serves the control plane: probes.

mod address;
mod body;
mod client;
mod connect;
mod error;
mod headers;
mod limits;
mod probe;
mod pushback;

pub use address::is_public;
pub use body::{ReplyBody, Rope};
pub use client::{Call, ProviderClient, ProviderOptions, Reply};
pub use error::{AttemptError, BuildError};
pub use headers::passed;
pub use limits::{LimitKind, ToldLimit, told};
pub use probe::{ProbeResult, Prober};
pub use pushback::{LONGEST as LONGEST_PUSHBACK, Pushback, date_wait, pushback};

/// Chooses the TLS library for the whole process; safe to call again.
pub fn install_crypto() {
    // Fails when a provider is installed already, and then it is the one this process chose.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
