//! What can go wrong with an attempt on the wire, sorted by whose fault it is.

use std::error::Error;
use std::io;

use crate::domain::AttemptOutcome;

/// An attempt that failed on the wire. The text never holds a host, a key or a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", outcome.label())]
pub struct AttemptError {
    pub outcome: AttemptOutcome,
    /// A rule of safety ended it: a private address, a redirect, ambiguous framing.
    pub blocked: Option<&'static str>,
    /// The egress proxy is ill: whatever else goes through it would fail as well (fault N14).
    pub avoid_proxy: bool,
}

impl AttemptError {
    pub fn of(outcome: AttemptOutcome) -> Self {
        Self {
            outcome,
            blocked: None,
            avoid_proxy: false,
        }
    }

    pub fn blocked(outcome: AttemptOutcome, rule: &'static str) -> Self {
        Self {
            outcome,
            blocked: Some(rule),
            avoid_proxy: false,
        }
    }
}

/// Why a provider's client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the address is not usable ({0})")]
    Address(String),
    #[error("the certificate authority file holds no usable certificate")]
    Authority,
    #[error("the key holds characters that no header may carry")]
    Key,
    #[error("TLS could not be set up ({0})")]
    Tls(String),
}

/// What the connector failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectFault {
    #[error("name lookup failed")]
    Dns,
    #[error("the name leads to an address inside")]
    PrivateAddress,
    #[error("connection failed")]
    Connect,
    #[error("TLS handshake failed")]
    Tls,
    #[error("TLS certificate refused")]
    Certificate,
    #[error("TLS below 1.2")]
    TlsVersion,
    #[error("the egress proxy failed")]
    Egress(EgressFault),
}

/// How the egress proxy failed; the label is the metric's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EgressFault {
    /// Its name or its address.
    Unreachable,
    /// It wants a password, or another one.
    Auth,
    /// What it said is no answer to CONNECT.
    Answer,
    /// It said nothing within the connect limit. That may be the provider's silence.
    Late,
}

impl EgressFault {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Auth => "auth",
            Self::Answer => "answer",
            Self::Late => "late",
        }
    }
}

impl From<ConnectFault> for AttemptError {
    fn from(fault: ConnectFault) -> Self {
        match fault {
            ConnectFault::Dns => Self::of(AttemptOutcome::Dns),
            ConnectFault::PrivateAddress => Self::blocked(AttemptOutcome::Dns, "private_address"),
            ConnectFault::Connect => Self::of(AttemptOutcome::Connect),
            ConnectFault::Tls => Self::of(AttemptOutcome::Tls),
            ConnectFault::Certificate => Self::blocked(AttemptOutcome::Tls, "certificate"),
            ConnectFault::TlsVersion => Self::blocked(AttemptOutcome::Tls, "tls_version"),
            ConnectFault::Egress(fault) => Self {
                avoid_proxy: fault != EgressFault::Late,
                ..Self::of(AttemptOutcome::Egress)
            },
        }
    }
}

/// Sorts an error of an HTTP/2 exchange by its source chain.
pub(super) fn sort(error: &(dyn Error + 'static)) -> AttemptError {
    let mut here: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = here {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            // No ping was answered (fault N13); whether the request was heard is not known.
            if error.is_timeout() {
                return AttemptError::of(AttemptOutcome::GapTimeout);
            }
            if error.is_parse_too_large() {
                return AttemptError::of(AttemptOutcome::TooLarge);
            }
            if error.is_parse() {
                return AttemptError::blocked(AttemptOutcome::BadBody, "framing");
            }
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            return AttemptError::of(AttemptOutcome::Truncated);
        }
        here = error.source();
    }
    AttemptError::of(AttemptOutcome::Reset)
}
