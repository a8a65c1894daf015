//! Names and ids. Each is a type of its own, so that a key is never passed where a pool is meant.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hex_digits;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        // So that maps keyed by a name answer to a plain `&str` without a copy.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

names! {
    /// A company or server that answers, as the config calls it.
    ProviderName,
    /// One of our API keys at a provider; its name, never its secret.
    KeyName,
    /// What clients call a model.
    PoolName,
    /// What a provider calls a model.
    ModelName,
    /// Who called: the name of a client key.
    ClientName,
    /// Who pays: an organisation.
    TenantName,
    /// Who knows its own signatures again: a provider's account, or a maker whose platforms share theirs.
    SignerName,
}

impl From<&ProviderName> for SignerName {
    fn from(provider: &ProviderName) -> Self {
        Self(Arc::clone(&provider.0))
    }
}

/// A wire format that providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI's chat completions, and everyone who copies them.
    Openai,
    /// Anthropic's messages.
    Anthropic,
    /// OpenAI's responses.
    #[serde(rename = "openai-responses", alias = "responses")]
    Responses,
    /// Google's generateContent.
    Gemini,
    /// Ollama's own chat.
    Ollama,
    /// Cohere's chat, second version.
    Cohere,
    /// AWS Bedrock's Converse.
    Bedrock,
}

/// A wire format that clients speak: providers speak all of these too, and others besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientDialect {
    Openai,
    Anthropic,
    Responses,
    Gemini,
}

impl ClientDialect {
    pub const ALL: [Self; 4] = [Self::Openai, Self::Anthropic, Self::Responses, Self::Gemini];

    /// The same form as a provider speaks it.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Openai => Dialect::Openai,
            Self::Anthropic => Dialect::Anthropic,
            Self::Responses => Dialect::Responses,
            Self::Gemini => Dialect::Gemini,
        }
    }
}

impl Dialect {
    pub const ALL: [Self; 7] = [
        Self::Openai,
        Self::Anthropic,
        Self::Responses,
        Self::Gemini,
        Self::Ollama,
        Self::Cohere,
        Self::Bedrock,
    ];

    pub fn by_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.label() == label)
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Responses => "openai-responses",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock",
        }
    }
}

/// One request of one client, the same in headers, journal and logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u128);

impl RequestId {
    pub const fn from_draw(draw: u128) -> Self {
        Self(draw)
    }

    /// Writes the id as it appears everywhere: `sy-` and 32 hex digits.
    pub fn text(self) -> RequestIdText {
        let mut text = *b"sy-00000000000000000000000000000000";
        let (pairs, _) = text[3..].as_chunks_mut();
        hex_digits(&self.0.to_be_bytes(), pairs);
        RequestIdText(text)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The printed form of a [`RequestId`], on the stack.
#[derive(Clone, Copy)]
pub struct RequestIdText([u8; 35]);

impl RequestIdText {
    pub fn as_str(&self) -> &str {
        // Only hex digits are ever written, so the empty fallback is unreachable.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_prints_all_its_digits() {
        assert_eq!(
            RequestId::from_draw(0x0123_4567_89ab_cdef_0011_2233_4455_66ff).to_string(),
            "sy-0123456789abcdef00112233445566ff"
        );
        assert_eq!(
            RequestId::from_draw(1).to_string(),
            "sy-00000000000000000000000000000001"
        );
    }
}
