//! How a provider is told who calls.

use super::judge::Judge;
use super::raw::{RawAuth, RawProvider};
use super::settings::{AuthSettings, KeySettings, KeySource};
use crate::domain::Dialect;

/// The newest version of Azure's deployments that is no preview.
const AZURE_CHAT: &str = "2024-10-21";
/// The least that knows responses.
const AZURE_RESPONSES: &str = "2025-03-01-preview";
/// Vertex where it is in no region.
const GLOBAL: &str = "global";

pub(super) fn settings(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawProvider,
    (keys, project): (&[KeySettings], Option<String>),
) -> AuthSettings {
    let dialect = raw.dialect.unwrap_or(Dialect::Openai);
    out_of_place(judge, path, raw, dialect);
    match (dialect, raw.auth) {
        (Dialect::Bedrock, None) => aws(judge, path, raw, keys),
        (Dialect::Openai | Dialect::Responses, Some(RawAuth::Azure | RawAuth::Entra)) => {
            azure(judge, path, raw)
        }
        (Dialect::Gemini | Dialect::Anthropic | Dialect::Openai, Some(RawAuth::Vertex)) => {
            vertex(judge, path, raw, project)
        }
        (_, Some(RawAuth::Vertex)) => {
            judge.wrong(
                format!("{path}.auth"),
                format!("Vertex does not speak the dialect {:?}", dialect.label()),
                "set dialect to \"gemini\", \"anthropic\" or \"openai\", or leave auth out",
            );
            AuthSettings::Dialect
        }
        (_, Some(RawAuth::Azure | RawAuth::Entra)) => {
            judge.wrong(
                format!("{path}.auth"),
                format!("Azure does not speak the dialect {:?}", dialect.label()),
                "set dialect to \"openai\" or \"openai-responses\", or leave auth out",
            );
            AuthSettings::Dialect
        }
        (_, None) => AuthSettings::Dialect,
    }
}

/// Options that mean nothing beside the others.
fn out_of_place(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, dialect: Dialect) {
    let (azure, entra) = match raw.auth {
        Some(RawAuth::Azure) => (true, false),
        Some(RawAuth::Entra) => (true, true),
        Some(RawAuth::Vertex) | None => (false, false),
    };
    let vertex = raw.auth == Some(RawAuth::Vertex);
    let aws = dialect == Dialect::Bedrock;
    if raw.region.is_some() && !aws && !vertex {
        judge.wrong(
            format!("{path}.region"),
            format!("means nothing to the dialect {:?}", dialect.label()),
            "leave it out, or set dialect = \"bedrock\" or auth = \"vertex\"",
        );
    }
    let mut needs = |name: &str, written: bool, fits: bool, what: &str| {
        if written && !fits {
            judge.wrong(
                format!("{path}.{name}"),
                format!("means nothing without {what}"),
                format!("add {what}, or leave it out"),
            );
        }
    };
    let at_azure = "auth = \"azure\"";
    needs("api_version", raw.api_version.is_some(), azure, at_azure);
    let at_entra = "auth = \"entra\"";
    needs("tenant", raw.tenant.is_some(), entra, at_entra);
    needs("client_id", raw.client_id.is_some(), entra, at_entra);
    let at_vertex = "auth = \"vertex\"";
    needs("project", raw.project.is_some(), vertex, at_vertex);
    let trades = entra || vertex || aws;
    let tokens = "auth = \"entra\" or \"vertex\", or dialect = \"bedrock\"";
    needs("token_url", raw.token_url.is_some(), trades, tokens);
}

/// Where Vertex is, for a region or for none.
pub(super) fn vertex_home(raw: &RawProvider) -> String {
    match raw.region.as_deref().unwrap_or(GLOBAL) {
        GLOBAL => "https://aiplatform.googleapis.com".to_owned(),
        region => format!("https://{region}-aiplatform.googleapis.com"),
    }
}

fn vertex(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawProvider,
    project: Option<String>,
) -> AuthSettings {
    let region = raw.region.as_deref().unwrap_or(GLOBAL);
    let fits = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        !text.is_empty() && text.bytes().all(plain)
    };
    if !is_region(region) {
        judge.wrong(
            format!("{path}.region"),
            "names no region of Google's",
            "write it as \"europe-west4\", or leave it out for \"global\"",
        );
    }
    let project = raw.project.clone().or(project).unwrap_or_default();
    if !fits(&project) {
        judge.wrong(
            format!("{path}.project"),
            "names no project of Google's, and addresses at Vertex begin with it",
            "add project = \"my-project\"; a service account's file has it as \"project_id\"",
        );
    }
    AuthSettings::Vertex {
        project,
        region: region.to_owned(),
    }
}

fn is_region(region: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !region.is_empty() && region.bytes().all(fits)
}

fn aws(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, keys: &[KeySettings]) -> AuthSettings {
    let region = raw.region.clone().unwrap_or_default();
    if !is_region(&region) {
        judge.wrong(
            format!("{path}.region"),
            "names no region of AWS, and requests are signed for one",
            "add region = \"us-east-1\"",
        );
    }
    for key in keys {
        if key.source != KeySource::Written {
            continue;
        }
        let parts: Vec<&str> = key.secret.expose().split(':').collect();
        // Alone it is one of Bedrock's own keys, which is sent as it is.
        if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
            judge.wrong(
                format!("{path}.keys ({})", key.name),
                "is no key of AWS",
                "write the secret as ACCESS_KEY_ID:SECRET or ACCESS_KEY_ID:SECRET:SESSION_TOKEN, or as one of Bedrock's API keys",
            );
        }
    }
    AuthSettings::Aws { region }
}

fn azure(judge: &mut Judge<'_>, path: &str, raw: &RawProvider) -> AuthSettings {
    let fits = |version: &&String| {
        version
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let written = raw.api_version.as_ref();
    if written.is_some_and(|version| version.is_empty() || !fits(&version)) {
        judge.wrong(
            format!("{path}.api_version"),
            "is no version of Azure's",
            format!("write it as {AZURE_CHAT:?}, or leave it out"),
        );
    }
    let base = raw.base_url.as_deref().unwrap_or_default();
    let for_all = base.trim_end_matches('/').ends_with("/v1");
    let usual = match raw.dialect {
        Some(Dialect::Responses) => AZURE_RESPONSES,
        _ => AZURE_CHAT,
    };
    let api_version = match written {
        Some(version) => Some(version.clone()),
        None => (!for_all).then(|| usual.to_owned()),
    };
    AuthSettings::Azure { api_version }
}
