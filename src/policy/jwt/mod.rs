//! Tokens of others: whether a JWT (RFC 7519) is what its issuer signed, for us, and good now (attack A26).
//!
//! # Why by hand
//! What is needed is one signature over bytes that are there, and ring, which TLS brings along, checks those. The
//! usual crate would add a second library of cryptography, takes the last of two equal names in JSON, and asks the
//! token which key to use in ways that have to be turned off again. Here a token says two things that count before it
//! is proven: its issuer and its key's id, and both are only compared.
//!
//! | module | is |
//! |---|---|
//! | [`Unproven`] | a token that was read and not believed |
//! | [`KeySet`] | what an issuer signs with |
//! | [`Claims`] | what a proven token says |

mod algorithm;
mod claims;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "for tests only")]
pub(crate) mod forge;
mod json;
mod keys;
#[cfg(test)]
mod tests;
mod token;

pub use algorithm::Algorithm;
pub use claims::{ClaimName, Claims};
pub use keys::{KeySet, LARGEST_SET, NoKeys};
pub use token::{Unproven, looks_like_one, may_become_one};

/// What a token must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// To the letter.
    pub issuer: String,
    /// It must be for one of them.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be from ours, in seconds.
    pub leeway: u64,
    /// In bytes; what is longer is not looked at.
    pub longest: usize,
}

/// The first check that a token did not stand. For the operator: the client is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    TooLong,
    /// It is no token, or says something twice.
    Malformed,
    /// Its header demands what nobody here does.
    Header,
    Algorithm,
    Issuer,
    /// No key of the issuer's has its id and fits.
    Key,
    Signature,
    Audience,
    Expired,
    NotYet,
    /// A claim that is needed is missing or says something else.
    Claim,
    /// The tenant or team it names is not there.
    Tenant,
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::TooLong,
        Self::Malformed,
        Self::Header,
        Self::Algorithm,
        Self::Issuer,
        Self::Key,
        Self::Signature,
        Self::Audience,
        Self::Expired,
        Self::NotYet,
        Self::Claim,
        Self::Tenant,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Claim => "claim",
            Self::Tenant => "tenant",
        }
    }

    /// Whether anyone could have made it. What the issuer did sign is no guess, though it be of yesterday.
    pub fn is_guess(self) -> bool {
        match self {
            Self::TooLong
            | Self::Malformed
            | Self::Header
            | Self::Algorithm
            | Self::Issuer
            | Self::Key
            | Self::Signature => true,
            Self::Audience | Self::Expired | Self::NotYet | Self::Claim | Self::Tenant => false,
        }
    }
}
