//! Providers known by name, and what is served when nothing was written.

use std::collections::BTreeMap;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use serde::Deserialize;

use super::raw::{RawAuth, RawConfig, RawKeyForm, RawProvider, RawQuirks};
use super::secret::Environment;
use crate::domain::Dialect;

const TEXT: &str = include_str!("../../config/providers.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    dialect: Dialect,
    /// `None`: it follows from the region.
    base_url: Option<String>,
    auth: Option<RawAuth>,
    /// Variables that may hold a key, the usual one first.
    #[serde(default)]
    env: Vec<String>,
    /// Variables that may name the file of a key.
    #[serde(default)]
    env_file: Vec<String>,
    /// A word for keys that need no variable.
    word: Option<String>,
    /// Variables that may hold the address, where each operator has one of his own.
    #[serde(default)]
    env_base_url: Vec<String>,
    #[serde(default)]
    env_region: Vec<String>,
    quirks: Option<RawQuirks>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    reasoning_models: Vec<String>,
    #[serde(default)]
    responses: bool,
    #[serde(default)]
    allow_private_address: bool,
    /// A server of one's own: nobody bills for it.
    #[serde(default)]
    free: bool,
}

fn presets() -> BTreeMap<String, Preset> {
    // The text is part of the program; a test reads it, so the empty fallback is never seen.
    Figment::from(Toml::string(TEXT))
        .extract()
        .unwrap_or_default()
}

/// Fills in what is known of a provider by its name; with nothing written, finds the providers whose
/// keys are in the environment.
pub(super) fn complete(
    mut raw: RawConfig,
    nothing_written: bool,
    env: &dyn Environment,
) -> RawConfig {
    let presets = presets();
    if nothing_written && raw.providers.is_empty() {
        for (name, preset) in &presets {
            let found = preset.env.iter().find(|variable| is_set(env, variable));
            if let Some(variable) = found.filter(|_| preset.is_placed(env)) {
                let keys = vec![RawKeyForm::Reference(format!("env:{variable}"))];
                raw.providers.insert(
                    name.clone(),
                    RawProvider {
                        keys,
                        ..RawProvider::default()
                    },
                );
            }
        }
    }
    for (name, provider) in &mut raw.providers {
        let Some(preset) = presets.get(name) else {
            continue;
        };
        // Somebody else's address speaks for itself: only the dialect is taken over then. What speaks another
        // dialect than is known of this name stands elsewhere.
        let dialect = *provider.dialect.get_or_insert(preset.dialect);
        let beside =
            dialect == preset.dialect || matches!(dialect, Dialect::Ollama | Dialect::Cohere);
        let elsewhere = provider.auth.is_some() && provider.auth != preset.auth;
        let own_address = provider.base_url.is_some() || !beside || elsewhere;
        provider
            .reasoning_models
            .get_or_insert_with(|| preset.reasoning_models.clone());
        if own_address {
            continue;
        }
        let told = preset.env_base_url.iter().find_map(|name| env.get(name));
        provider.base_url = preset.base_url.clone().or(told);
        let region = preset.env_region.iter().find_map(|name| env.get(name));
        provider.region = provider.region.take().or(region);
        if provider.quirks.is_none() {
            provider.quirks.clone_from(&preset.quirks);
        }
        provider.auth = provider.auth.or(preset.auth);
        provider.models.get_or_insert_with(|| preset.models.clone());
        provider.responses.get_or_insert(preset.responses);
        provider.free.get_or_insert(preset.free);
        provider
            .allow_private_address
            .get_or_insert(preset.allow_private_address);
        if provider.keys.is_empty() {
            let key = usual_key(preset, env).map(RawKeyForm::Reference);
            provider.keys.extend(key);
        }
    }
    raw
}

impl Preset {
    /// Whether it is known where it is, for who wrote nothing down.
    fn is_placed(&self, env: &dyn Environment) -> bool {
        let by = |names: &[String]| names.iter().any(|name| is_set(env, name));
        self.base_url.is_some() || by(&self.env_base_url) || by(&self.env_region)
    }
}

fn is_set(env: &dyn Environment, variable: &str) -> bool {
    env.get(variable)
        .is_some_and(|value| !value.trim().is_empty())
}

/// The key of a provider for which none was written.
fn usual_key(preset: &Preset, env: &dyn Environment) -> Option<String> {
    let mut files = preset.env_file.iter().filter_map(|name| env.get(name));
    if let Some(path) = files.find(|path| !path.trim().is_empty()) {
        return Some(format!("file:{}", path.trim()));
    }
    let set = preset.env.iter().find(|variable| is_set(env, variable));
    // The usual one is named where none is set: that is the mistake to tell.
    let variable = set.or(preset.env.first());
    variable
        .map(|variable| format!("env:{variable}"))
        .or_else(|| preset.word.clone())
}

/// The variables that are looked for, for the text that says none was found.
pub(super) fn variables() -> Vec<String> {
    presets()
        .into_values()
        .flat_map(|preset| preset.env)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_the_embedded_registry_is_whole() {
        let presets = presets();
        for name in [
            "openai",
            "anthropic",
            "gemini",
            "vertex",
            "azure",
            "bedrock",
            "cohere",
            "mistral",
            "deepseek",
            "dashscope",
            "groq",
            "xai",
            "together",
            "fireworks",
            "openrouter",
            "perplexity",
            "cerebras",
            "sambanova",
            "nvidia",
            "moonshot",
            "zhipu",
            "minimax",
            "ollama",
            "vllm",
        ] {
            assert!(presets.contains_key(name), "{name} is known");
        }
        for (name, preset) in &presets {
            if let Some(base) = &preset.base_url {
                assert!(base.starts_with("http") && !base.ends_with('/'), "{name}");
            }
            let known = !preset.env.is_empty() || preset.word.is_some();
            assert!(known, "{name} has a usual key");
        }
        assert!(variables().contains(&"OPENAI_API_KEY".to_owned()));
    }
}
