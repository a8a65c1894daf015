//! How a provider is told who calls.

use super::raw::{RawAuth, RawProvider};
use super::settings::{AuthSettings, KeySettings};
use super::validate::Judge;
use crate::domain::Dialect;

/// The newest version of Azure's deployments that is no preview.
const AZURE_CHAT: &str = "2024-10-21";
/// The least that knows responses.
const AZURE_RESPONSES: &str = "2025-03-01-preview";

pub(super) fn settings(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawProvider,
    keys: &[KeySettings],
) -> AuthSettings {
    let dialect = raw.dialect.unwrap_or(Dialect::Openai);
    if dialect != Dialect::Bedrock && raw.region.is_some() {
        judge.wrong(
            format!("{path}.region"),
            format!("means nothing to the dialect {:?}", dialect.label()),
            "leave it out, or set dialect = \"bedrock\"",
        );
    }
    if raw.api_version.is_some() && raw.auth != Some(RawAuth::Azure) {
        judge.wrong(
            format!("{path}.api_version"),
            "means nothing without auth = \"azure\"",
            "add auth = \"azure\", or leave it out",
        );
    }
    match (dialect, raw.auth) {
        (Dialect::Bedrock, None) => aws(judge, path, raw, keys),
        (Dialect::Openai | Dialect::Responses, Some(RawAuth::Azure)) => azure(judge, path, raw),
        (_, Some(RawAuth::Azure)) => {
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

fn aws(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, keys: &[KeySettings]) -> AuthSettings {
    let region = raw.region.clone().unwrap_or_default();
    let is_region = region
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if region.is_empty() || !is_region {
        judge.wrong(
            format!("{path}.region"),
            "names no region of AWS, and requests are signed for one",
            "add region = \"us-east-1\"",
        );
    }
    for key in keys {
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
