//! Where a provider's operations are, by its dialect.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::Uri;

use super::error::{AttemptError, BuildError};
use crate::config::{AuthSettings, ProviderSettings};
use crate::domain::{AttemptOutcome, Dialect, Mode, Operation};

/// The address of generations.
#[derive(Clone, Debug)]
pub(super) struct Address {
    dialect: Dialect,
    /// Of a provider with one path for all models, that path; else what stands before the model.
    base: Uri,
    /// What stands behind the model; `None` where the path does not name it.
    behind: Option<Behind>,
    /// What stands before the paths of other operations.
    root: String,
    /// What stands behind any path.
    query: String,
}

/// What stands behind a model's name in a path.
#[derive(Clone, Debug)]
struct Behind {
    whole: String,
    stream: String,
    /// Other operations stand behind the model as well.
    operations: bool,
}

impl Behind {
    fn chat(whole: impl Into<String>, stream: impl Into<String>) -> Option<Self> {
        Some(Self {
            whole: whole.into(),
            stream: stream.into(),
            operations: false,
        })
    }
}

impl Address {
    pub(super) fn of(provider: &ProviderSettings) -> Result<Self, BuildError> {
        let query = query(provider);
        let deployed = is_deployed(provider) && provider.dialect == Dialect::Openai;
        let at_vertex = matches!(provider.auth, AuthSettings::Vertex { .. });
        let (path, behind) = match provider.dialect {
            Dialect::Anthropic if at_vertex => {
                let behind = Behind::chat(":rawPredict", ":streamRawPredict");
                ("models".to_owned(), behind)
            }
            Dialect::Openai if deployed => {
                let chat = format!("/chat/completions{query}");
                let behind = Behind {
                    whole: chat.clone(),
                    stream: chat,
                    operations: true,
                };
                ("deployments".to_owned(), Some(behind))
            }
            Dialect::Openai => (format!("chat/completions{query}"), None),
            Dialect::Responses => (format!("responses{query}"), None),
            Dialect::Anthropic => ("messages".to_owned(), None),
            Dialect::Gemini => {
                let stream = ":streamGenerateContent?alt=sse";
                (
                    "models".to_owned(),
                    Behind::chat(":generateContent", stream),
                )
            }
            Dialect::Ollama => ("api/chat".to_owned(), None),
            Dialect::Cohere => ("v2/chat".to_owned(), None),
            Dialect::Bedrock => {
                let behind = Behind::chat("/converse", "/converse-stream");
                ("model".to_owned(), behind)
            }
        };
        let bad = |error: http::uri::InvalidUri| BuildError::Address(error.to_string());
        let base: Uri = endpoint(provider, &path).parse().map_err(bad)?;
        let root: Uri = match provider.auth {
            AuthSettings::Azure { .. } => azure_root(&provider.base_url).parse(),
            AuthSettings::Vertex { .. } => endpoint(provider, "").parse(),
            AuthSettings::Dialect | AuthSettings::Aws { .. } => provider.base_url.parse(),
        }
        .map_err(bad)?;
        let root = root.path().trim_end_matches('/').to_owned();
        Ok(Self {
            dialect: provider.dialect,
            base,
            behind,
            root,
            query,
        })
    }

    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    pub(super) fn path(
        &self,
        model: &str,
        mode: Mode,
        operation: Operation,
    ) -> Result<Cow<'_, str>, AttemptError> {
        let counts = operation == Operation::CountTokens && self.dialect == Dialect::Anthropic;
        if counts && self.behind.is_some() {
            // A model of its own at Vertex, told in the body which one is meant.
            let path = format!("{}/count-tokens:rawPredict", self.base.path());
            return Ok(Cow::Owned(path));
        }
        let path = self.base.path_and_query().map_or("/", |path| path.as_str());
        if let Some(own) = self.own_path(path, model, operation) {
            return own.map(Cow::Owned);
        }
        let chat = operation == Operation::Chat;
        match &self.behind {
            Some(behind) if chat => {
                let behind = match mode {
                    Mode::Whole => &behind.whole,
                    Mode::Stream => &behind.stream,
                };
                Ok(Cow::Owned(named(path, model, behind)?))
            }
            // Azure's responses name the model in the body, as its newer form does.
            Some(behind) if behind.operations && operation != Operation::Responses => {
                let behind = format!("/{}{}", operation.path(), self.query);
                Ok(Cow::Owned(named(path, model, &behind)?))
            }
            None if chat => Ok(Cow::Borrowed(path)),
            Some(_) | None => {
                let path = operation.path();
                Ok(Cow::Owned(format!("{}/{path}{}", self.root, self.query)))
            }
        }
    }

    /// Where a dialect has an operation under a name of its own; `None` where it is OpenAI's, or a generation.
    fn own_path(
        &self,
        chat: &str,
        model: &str,
        operation: Operation,
    ) -> Option<Result<String, AttemptError>> {
        if operation == Operation::Chat {
            return None;
        }
        let beside = |name: &str| {
            let folder = chat.rsplit_once('/').map_or("", |(folder, _)| folder);
            Some(Ok(format!("{folder}/{name}")))
        };
        match (self.dialect, operation) {
            (Dialect::Anthropic, _) => Some(Ok(format!("{chat}/count_tokens"))),
            (Dialect::Gemini, Operation::CountTokens) => Some(named(chat, model, ":countTokens")),
            (Dialect::Gemini, Operation::EmbedOne) => Some(named(chat, model, ":embedContent")),
            (Dialect::Gemini, _) => Some(named(chat, model, ":batchEmbedContents")),
            (Dialect::Cohere, Operation::Rerank) => beside("rerank"),
            (Dialect::Cohere | Dialect::Ollama, _) => beside("embed"),
            (Dialect::Bedrock, _) => Some(named(chat, model, "/invoke")),
            (Dialect::Openai | Dialect::Responses, _) => None,
        }
    }

    pub(super) fn uri(
        &self,
        model: &str,
        mode: Mode,
        operation: Operation,
    ) -> Result<Uri, AttemptError> {
        if self.behind.is_none() && operation == Operation::Chat {
            return Ok(self.base.clone());
        }
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = self.path(model, mode, operation)?.parse().ok();
        Uri::from_parts(parts).map_err(|_| AttemptError::of(AttemptOutcome::Rejected))
    }
}

/// A path that names a model.
fn named(before: &str, model: &str, behind: &str) -> Result<String, AttemptError> {
    // As a segment of its own it would lead up the tree, escaped or not.
    if model.bytes().all(|byte| byte == b'.') {
        return Err(AttemptError::of(AttemptOutcome::Rejected));
    }
    let mut named = String::with_capacity(before.len() + model.len() + behind.len() + 16);
    named.push_str(before);
    named.push('/');
    escape(model, &mut named);
    named.push_str(behind);
    Ok(named)
}

/// The version behind every path, where Azure wants one.
fn query(provider: &ProviderSettings) -> String {
    match &provider.auth {
        AuthSettings::Azure {
            api_version: Some(version),
        } => format!("?api-version={version}"),
        AuthSettings::Azure { api_version: None }
        | AuthSettings::Dialect
        | AuthSettings::Aws { .. }
        | AuthSettings::Vertex { .. } => String::new(),
    }
}

/// Azure's older form has a path for each deployment of a model.
fn is_deployed(provider: &ProviderSettings) -> bool {
    matches!(provider.auth, AuthSettings::Azure { .. }) && !provider.base_url.ends_with("/v1")
}

/// Azure's addresses are written with and without their first segment.
fn azure_root(base: &str) -> String {
    if base.ends_with("/openai") || base.ends_with("/openai/v1") {
        base.to_owned()
    } else {
        format!("{base}/openai")
    }
}

/// A model's name comes from outside: in an address it is a name and nothing else.
fn escape(name: &str, out: &mut String) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@') {
            out.push(char::from(byte));
        } else {
            // Writing to memory cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The address of an operation. Some SDKs write the base without its version, others with it.
fn endpoint(provider: &ProviderSettings, path: &str) -> String {
    let base = &provider.base_url;
    if let AuthSettings::Vertex { project, region } = &provider.auth {
        return at_vertex(
            base,
            (project.as_str(), region.as_str()),
            provider.dialect,
            path,
        );
    }
    let versioned = |version: &str| {
        if base.contains("/v1") {
            format!("{base}/{path}")
        } else {
            format!("{base}/{version}/{path}")
        }
    };
    match provider.dialect {
        Dialect::Openai | Dialect::Responses => match provider.auth {
            AuthSettings::Azure { .. } => format!("{}/{path}", azure_root(base)),
            AuthSettings::Dialect | AuthSettings::Aws { .. } | AuthSettings::Vertex { .. } => {
                format!("{base}/{path}")
            }
        },
        Dialect::Anthropic if base.ends_with("/v1") => format!("{base}/{path}"),
        Dialect::Anthropic => format!("{base}/v1/{path}"),
        Dialect::Gemini => versioned("v1beta"),
        // Their OpenAI-like forms, which most know them by, lie beside their own.
        Dialect::Ollama => {
            let root = base.trim_end_matches("/v1").trim_end_matches("/api");
            format!("{root}/{path}")
        }
        Dialect::Cohere => {
            let root = base.trim_end_matches("/compatibility/v1");
            let root = root.trim_end_matches("/v1").trim_end_matches("/v2");
            format!("{root}/{path}")
        }
        Dialect::Bedrock => format!("{base}/{path}"),
    }
}

/// Vertex has a place for each publisher of models, and one that speaks OpenAI's form.
fn at_vertex(base: &str, place: (&str, &str), dialect: Dialect, path: &str) -> String {
    let (project, region) = place;
    let home = format!("{base}/v1/projects/{project}/locations/{region}");
    match dialect {
        Dialect::Openai => format!("{home}/endpoints/openapi/{path}"),
        Dialect::Anthropic => format!("{home}/publishers/anthropic/{path}"),
        // No other dialect is spoken there, and none gets here.
        Dialect::Gemini
        | Dialect::Responses
        | Dialect::Ollama
        | Dialect::Cohere
        | Dialect::Bedrock => format!("{home}/publishers/google/{path}"),
    }
}

/// Whether a key is asked about by a question without words: refused, after the key was looked at.
pub(super) fn asks_nothing(provider: &ProviderSettings) -> bool {
    let at_vertex = matches!(provider.auth, AuthSettings::Vertex { .. });
    provider.dialect == Dialect::Bedrock || at_vertex
}

/// Where a provider lists its models, which costs nothing and needs a good key.
pub(super) fn models(provider: &ProviderSettings) -> String {
    if matches!(provider.auth, AuthSettings::Vertex { .. }) {
        let model = provider.models.first();
        let model = model.map_or("gemini-2.5-flash", |model| model.as_str());
        let path = Address::of(provider)
            .ok()
            .and_then(|at| at.uri(model, Mode::Whole, Operation::Chat).ok());
        return path.map(|at| at.to_string()).unwrap_or_default();
    }
    let path = match provider.dialect {
        Dialect::Openai | Dialect::Responses | Dialect::Anthropic | Dialect::Gemini => {
            format!("models{}", query(provider))
        }
        Dialect::Ollama => "api/tags".to_owned(),
        Dialect::Cohere => "v1/models".to_owned(),
        // It lists them at another host. Here a question without words is refused, after the key was looked at.
        Dialect::Bedrock => {
            let model = provider.models.first();
            let model = model.map_or("amazon.nova-micro-v1:0", |model| model.as_str());
            named("model", model, "/converse").unwrap_or_default()
        }
    };
    endpoint(provider, &path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::Tokens;

    fn provider(dialect: Dialect, base: &str, auth: AuthSettings) -> ProviderSettings {
        ProviderSettings {
            name: "p".into(),
            dialect,
            base_url: base.to_owned(),
            keys: Vec::new(),
            models: Vec::new(),
            reasoning_models: Vec::new(),
            allow_private_address: false,
            ca_pem: None::<Arc<[u8]>>,
            egress: None,
            resolvers: Default::default(),
            h2: true,
            max_in_flight: 1,
            quirks: Default::default(),
            caps: Vec::new(),
            signs_as: None,
            service_tier: None,
            volume: None,
            default_max_output: Tokens(1),
            auth,
            free: false,
            responses: false,
        }
    }

    fn chat(provider: &ProviderSettings, model: &str, mode: Mode) -> String {
        let at = Address::of(provider).unwrap();
        let uri = at.uri(model, mode, Operation::Chat).unwrap();
        let path = at.path(model, mode, Operation::Chat).unwrap();
        assert_eq!(uri.path_and_query().unwrap().as_str(), path);
        uri.to_string()
    }

    fn plain(dialect: Dialect, base: &str, model: &str, mode: Mode) -> String {
        chat(&provider(dialect, base, AuthSettings::Dialect), model, mode)
    }

    #[test]
    fn d1_vertex_has_a_place_for_each_publisher_in_each_region() {
        let at = |dialect, region: &str, model: &str, mode| {
            let auth = AuthSettings::Vertex {
                project: "p-1".to_owned(),
                region: region.to_owned(),
            };
            chat(&provider(dialect, "https://host", auth), model, mode)
        };
        let home = "https://host/v1/projects/p-1/locations";
        assert_eq!(
            at(Dialect::Gemini, "global", "gemini-x", Mode::Stream),
            format!(
                "{home}/global/publishers/google/models/gemini-x:streamGenerateContent?alt=sse"
            )
        );
        let claude = format!("{home}/us-east5/publishers/anthropic/models/claude-x@20251001");
        for (mode, verb) in [
            (Mode::Whole, "rawPredict"),
            (Mode::Stream, "streamRawPredict"),
        ] {
            let seen = at(Dialect::Anthropic, "us-east5", "claude-x@20251001", mode);
            assert_eq!(seen, format!("{claude}:{verb}"));
        }
        assert_eq!(
            at(Dialect::Openai, "us-east5", "meta/llama-x", Mode::Whole),
            format!("{home}/us-east5/endpoints/openapi/chat/completions")
        );
    }

    #[test]
    fn a_model_in_an_address_is_a_name_and_nothing_else() {
        let google = |model: &str, mode| plain(Dialect::Gemini, "https://host", model, mode);
        assert_eq!(
            google("gemini-2.5-pro", Mode::Whole),
            "https://host/v1beta/models/gemini-2.5-pro:generateContent"
        );
        assert_eq!(
            google("../../x?y=1#z", Mode::Stream),
            "https://host/v1beta/models/..%2F..%2Fx%3Fy%3D1%23z:streamGenerateContent?alt=sse"
        );
        assert_eq!(
            google("a b", Mode::Whole),
            "https://host/v1beta/models/a%20b:generateContent"
        );
        let bedrock = provider(Dialect::Bedrock, "https://host", AuthSettings::Dialect);
        let at = Address::of(&bedrock).unwrap();
        for up in ["", ".", ".."] {
            let chat = Operation::Chat;
            assert!(at.path(up, Mode::Whole, chat).is_err(), "{up:?}");
            assert!(at.uri(up, Mode::Stream, chat).is_err(), "{up:?}");
        }
    }

    #[test]
    fn e5_each_dialect_has_its_operations_where_it_has_them() {
        let at = |dialect, base: &str, model: &str, operation| {
            let provider = provider(dialect, base, AuthSettings::Dialect);
            let at = Address::of(&provider).unwrap();
            let path = at.path(model, Mode::Whole, operation).unwrap().into_owned();
            let uri = at.uri(model, Mode::Whole, operation).unwrap();
            assert_eq!(uri.path_and_query().unwrap().as_str(), path);
            path
        };
        use Dialect as D;
        use Operation as O;
        for (dialect, base, operation, path) in [
            (
                D::Gemini,
                "https://h",
                O::CountTokens,
                "/v1beta/models/m:countTokens",
            ),
            (
                D::Gemini,
                "https://h",
                O::EmbedOne,
                "/v1beta/models/m:embedContent",
            ),
            (
                D::Gemini,
                "https://h",
                O::Embeddings,
                "/v1beta/models/m:batchEmbedContents",
            ),
            (D::Cohere, "https://h/v2", O::Embeddings, "/v2/embed"),
            (D::Cohere, "https://h", O::EmbedOne, "/v2/embed"),
            (D::Cohere, "https://h", O::Rerank, "/v2/rerank"),
            (D::Ollama, "https://h/v1", O::Embeddings, "/api/embed"),
            (D::Bedrock, "https://h", O::EmbedOne, "/model/m/invoke"),
            (
                D::Anthropic,
                "https://h",
                O::CountTokens,
                "/v1/messages/count_tokens",
            ),
            (D::Openai, "https://h/v1", O::EmbedOne, "/v1/embeddings"),
            (D::Openai, "https://h/v1", O::Speech, "/v1/audio/speech"),
            (
                D::Responses,
                "https://h/v1",
                O::ImageEdits,
                "/v1/images/edits",
            ),
        ] {
            assert_eq!(at(dialect, base, "m", operation), path);
        }
    }

    #[test]
    fn a_native_form_is_found_beside_the_compatible_one() {
        for base in ["http://h:1", "http://h:1/v1", "http://h:1/api"] {
            let at = plain(Dialect::Ollama, base, "m", Mode::Stream);
            assert_eq!(at, "http://h:1/api/chat");
        }
        for base in ["https://h", "https://h/v2", "https://h/compatibility/v1"] {
            let at = plain(Dialect::Cohere, base, "m", Mode::Whole);
            assert_eq!(at, "https://h/v2/chat");
        }
    }

    #[test]
    fn bedrock_names_the_whole_model_in_one_segment() {
        let at = |model: &str, mode| plain(Dialect::Bedrock, "https://h", model, mode);
        assert_eq!(
            at("anthropic.claude-v1:0", Mode::Whole),
            "https://h/model/anthropic.claude-v1%3A0/converse"
        );
        assert_eq!(
            at("arn:aws:bedrock:us-east-1::x/y", Mode::Stream),
            "https://h/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Ax%2Fy/converse-stream"
        );
    }

    #[test]
    fn azure_has_a_path_for_each_deployment_and_one_for_all() {
        let azure = |dialect, base: &str, version: Option<&str>| {
            let api_version = version.map(str::to_owned);
            provider(dialect, base, AuthSettings::Azure { api_version })
        };
        for base in ["https://h", "https://h/openai"] {
            let old = azure(Dialect::Openai, base, Some("2024-10-21"));
            assert_eq!(
                chat(&old, "my chat", Mode::Stream),
                "https://h/openai/deployments/my%20chat/chat/completions?api-version=2024-10-21"
            );
            let at = Address::of(&old).unwrap();
            assert_eq!(
                at.path("e", Mode::Whole, Operation::Embeddings).unwrap(),
                "/openai/deployments/e/embeddings?api-version=2024-10-21"
            );
            assert_eq!(
                at.path("e", Mode::Whole, Operation::Responses).unwrap(),
                "/openai/responses?api-version=2024-10-21"
            );
            assert_eq!(
                models(&old),
                "https://h/openai/models?api-version=2024-10-21"
            );
            let responses = azure(Dialect::Responses, base, Some("2025-03-01-preview"));
            assert_eq!(
                chat(&responses, "m", Mode::Whole),
                "https://h/openai/responses?api-version=2025-03-01-preview"
            );
        }
        let new = azure(Dialect::Openai, "https://h/openai/v1", None);
        assert_eq!(
            chat(&new, "m", Mode::Whole),
            "https://h/openai/v1/chat/completions"
        );
        let at = Address::of(&new).unwrap();
        assert_eq!(
            at.path("e", Mode::Whole, Operation::Embeddings).unwrap(),
            "/openai/v1/embeddings"
        );
        let preview = azure(Dialect::Responses, "https://h/openai/v1", Some("preview"));
        assert_eq!(
            chat(&preview, "m", Mode::Whole),
            "https://h/openai/v1/responses?api-version=preview"
        );
    }
}
