//! How a token may be signed: with a key of which only one half is known here.

use std::str::FromStr;

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, VerificationAlgorithm,
};

/// Of RFC 7518 and RFC 8037. There is no `none` and no HS* to choose: who can check those can make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// The keys that an algorithm takes, and how it checks with them.
pub(super) enum Kind {
    Rsa(&'static RsaParameters),
    /// By its curve's name in a JWK.
    Curve(&'static str, &'static dyn VerificationAlgorithm),
}

/// What is not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAlgorithm;

impl Algorithm {
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Rs256 => Kind::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Kind::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Kind::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Kind::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Kind::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Kind::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Kind::Curve("P-256", &ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Kind::Curve("P-384", &ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Kind::Curve("Ed25519", &ED25519),
        }
    }
}

impl FromStr for Algorithm {
    type Err = NoAlgorithm;

    /// To the letter, as RFC 7515 has it.
    fn from_str(text: &str) -> Result<Self, NoAlgorithm> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or(NoAlgorithm)
    }
}
