//! The gateway's configuration for a run: the harness's own, or the user's with every provider swapped for a mock.
//!
//! The user's real keys are never read: each reference is replaced before the gateway sees the file.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::enclosure::enclosed;
use super::fleet::Fleet;
use crate::front::Front;
use crate::mock::Dialect;

/// What clients of the run say they are.
pub const CLIENT_KEY: &str = "sk-chaos-client-0123456789abcdef";
/// What the harness says to the admin listener.
pub const ADMIN_KEY: &str = "sk-chaos-admin-0123456789abcdef";

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {why}")]
    Io { path: String, why: io::Error },
    #[error("{path}: {why}")]
    Toml { path: String, why: String },
    #[error("the gateway refuses the configuration:\n{0}")]
    Refused(String),
    #[error("{0}; every provider of a run must be a mock, and nothing was asked of this one")]
    Astray(String),
    #[error("the running gateway does not tell its configuration at /admin/config: {0}")]
    Untold(String),
    #[error("{0} has no providers to swap; name a file with at least one [providers.…]")]
    Nobody(String),
}

/// What the gateway makes of a configuration, as `check --json` tells it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Facts {
    pub providers: Vec<ProviderFacts>,
    pub pools: Vec<PoolFacts>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct ProviderFacts {
    pub name: String,
    pub dialect: String,
    /// Where it would be reached, after file, presets and environment.
    #[serde(default)]
    pub base_url: String,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct PoolFacts {
    pub name: String,
    pub targets: Vec<TargetFacts>,
    /// The pool itself and what it falls back to.
    pub chain: Vec<String>,
    /// Clients ask for it.
    #[serde(default = "is_asked")]
    pub asked: bool,
}

fn is_asked() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct TargetFacts {
    pub provider: String,
}

impl Facts {
    /// Leaves out the pools nobody asks for by name; they stay what others fall back to.
    pub fn names_only(&mut self, wanted: impl Fn(&PoolFacts) -> bool) {
        for pool in &mut self.pools {
            pool.asked = wanted(pool);
        }
    }

    /// Proves that every provider the gateway knows is a mock of this run.
    ///
    /// # Errors
    /// When one would be reached anywhere else.
    pub fn only_mocks(&self, fleet: &Fleet) -> Result<(), ConfigError> {
        let is_mock = |provider: &&ProviderFacts| {
            let mock = fleet.providers.get(&provider.name);
            mock.is_some_and(|mock| {
                let rest = provider.base_url.strip_prefix(&mock.origin());
                rest.is_some_and(|path| path.is_empty() || path.starts_with('/'))
            })
        };
        match self.providers.iter().find(|provider| !is_mock(provider)) {
            None => Ok(()),
            Some(astray) => Err(ConfigError::Astray(format!(
                "the gateway would reach provider {:?} at {:?}",
                astray.name, astray.base_url
            ))),
        }
    }

    /// The providers behind a pool, its fallbacks' included, without repetition.
    #[must_use]
    pub fn behind(&self, pool: &str) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        let Some(first) = self.pools.iter().find(|known| known.name == pool) else {
            return all;
        };
        for name in &first.chain {
            let targets = self.pools.iter().find(|known| known.name == *name);
            for target in targets
                .map(|pool| pool.targets.as_slice())
                .unwrap_or_default()
            {
                if seen.insert(target.provider.clone()) {
                    all.push(target.provider.clone());
                }
            }
        }
        all
    }
}

/// Reads the user's configuration.
///
/// # Errors
/// When it cannot be read or is no TOML.
pub fn read(path: &Path) -> Result<Table, ConfigError> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|why| ConfigError::Io {
        path: shown.clone(),
        why,
    })?;
    text.parse()
        .map_err(|why: toml::de::Error| ConfigError::Toml {
            path: shown,
            why: why.to_string(),
        })
}

/// The harness's own configuration: one pool, `chat`, over all mocks.
#[must_use]
pub fn own(fleet: &Fleet) -> Table {
    let mut providers = Table::new();
    let mut targets = Vec::new();
    for (name, provider) in &fleet.providers {
        let dialect = provider.mock.dialect().name();
        let mut table = Table::new();
        table.insert("dialect".into(), dialect.into());
        if provider.mock.dialect() == Dialect::Bedrock {
            // A signature names one, even where nobody is far away.
            table.insert("region".into(), "us-east-1".into());
        }
        table.insert(
            "models".into(),
            vec![Value::from(format!("{name}-1"))].into(),
        );
        providers.insert(name.clone(), table.into());
        targets.push(Value::from(format!("{name}/{name}-1")));
    }
    let mut pool = Table::new();
    pool.insert("targets".into(), targets.into());
    let mut pools = Table::new();
    pools.insert("chat".into(), pool.into());
    let mut config = Table::new();
    config.insert("providers".into(), providers.into());
    config.insert("pools".into(), pools.into());
    config
}

/// Lays `over` on `under`: tables are joined, everything else is replaced.
pub fn lay(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay(below, above),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Replaces everything that reaches beyond the run: addresses, keys, journal, logs, certificates, the way out.
pub fn enclose(config: &mut Table, folder: &Path) -> Result<(), ConfigError> {
    // The operator's proxy and name servers stand outside, whoever is told what needs somebody, and issuers of tokens,
    // whose keys would be fetched.
    for outside in ["egress", "alerts", "identities"] {
        config.remove(outside);
    }
    let file = |name: &str, text: &str| secret(folder, name, text);
    let mut listen = config
        .get("listen")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    listen.insert("address".into(), "127.0.0.1:0".into());
    config.insert("listen".into(), listen.into());
    let mut admin = Table::new();
    admin.insert("enabled".into(), true.into());
    admin.insert("address".into(), "127.0.0.1:0".into());
    admin.insert("key".into(), file("admin-key", ADMIN_KEY)?.into());
    admin.insert("allow_fault_injection".into(), true.into());
    config.insert("admin".into(), admin.into());
    let mut client = Table::new();
    client.insert("name".into(), "chaos".into());
    // A request may go back from here, never forward.
    client.insert("lane".into(), "interactive".into());
    client.insert("key".into(), file("client-key", CLIENT_KEY)?.into());
    config.insert("clients".into(), vec![Value::from(client)].into());
    let mut journal = config
        .get("journal")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    journal.insert(
        "path".into(),
        folder.join("journal").display().to_string().into(),
    );
    // Without a journal nothing could be proven of what it must hold.
    if journal.get("mode").and_then(Value::as_str) == Some("off") {
        journal.insert("mode".into(), "fast".into());
    }
    // Sealed texts are for the operator alone, and so is what they are sealed with.
    for own in ["text_of", "text_key", "text_key_before"] {
        journal.remove(own);
    }
    config.insert("journal".into(), journal.into());
    // What the user's own clients keep is neither read nor added to.
    let mut store = config
        .get("store")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let path = folder.join("store.db").display().to_string();
    store.insert("path".into(), path.into());
    store.remove("key");
    config.insert("store".into(), store.into());
    if let Some(Value::Table(registry)) = config.get_mut("registry") {
        registry.remove("url");
    }
    config.remove("media");
    // A judge of prompts stands outside, and what digests of keys are made with is the operator's secret.
    for (table, own) in [("guard", "webhook"), ("keys", "pepper")] {
        if let Some(Value::Table(table)) = config.get_mut(table) {
            table.remove(own);
        }
    }
    enclose_providers(config, folder)
}

fn enclose_providers(config: &mut Table, folder: &Path) -> Result<(), ConfigError> {
    let Some(Value::Table(providers)) = config.get_mut("providers") else {
        return Ok(());
    };
    for (name, provider) in providers.iter_mut() {
        let Value::Table(provider) = provider else {
            continue;
        };
        provider.remove("ca_file");
        // What may be spent there is the operator's own money; a run spends none.
        provider.remove("budgets");
        provider.remove("credit");
        without_tokens(name, provider);
        let swapped = swapped(folder, name, provider.get("keys"))?;
        provider.insert("keys".into(), swapped.into());
    }
    Ok(())
}

/// A key that is traded for a token would be traded at a cloud, and a mock takes any word: the provider is told
/// who calls as its dialect says.
fn without_tokens(name: &str, provider: &mut Table) {
    for option in ["project", "tenant", "client_id", "token_url"] {
        provider.remove(option);
    }
    let auth = provider.get("auth").and_then(Value::as_str);
    if auth == Some("entra") {
        provider.insert("auth".into(), "azure".into());
    } else if auth == Some("vertex") || (name == "vertex" && auth.is_none()) {
        provider.remove("auth");
        // It is where its requests were signed for, also when they are not signed any more.
        let signed_for = provider.remove("region");
        if let Some(region) = signed_for.filter(|region| region.as_str() != Some("global")) {
            provider.entry("regions").or_insert(vec![region].into());
        }
        provider.entry("dialect").or_insert("gemini".into());
        // Until it is pointed at its mock; without one it would be found by its name.
        let nowhere = Value::from("http://127.0.0.1:9/v1beta");
        provider.entry("base_url").or_insert(nowhere);
    }
}

/// A provider's keys with the same terms and secrets of the harness's own.
fn swapped(folder: &Path, name: &str, keys: Option<&Value>) -> Result<Vec<Value>, ConfigError> {
    let keys = keys
        .and_then(Value::as_array)
        .filter(|keys| !keys.is_empty())
        .cloned()
        .unwrap_or_else(|| vec![Value::from("")]);
    let mut swapped = Vec::new();
    for (place, key) in keys.into_iter().enumerate() {
        // Each a key of its own: two names of one secret would share one window.
        let text = match place {
            0 => key_of(name),
            place => format!("{}-{place}", key_of(name)),
        };
        let reference = Value::from(secret(folder, &format!("{name}-key-{place}"), &text)?);
        swapped.push(match key {
            Value::Table(mut terms) => {
                terms.insert("secret".into(), reference);
                Value::from(terms)
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => reference,
        });
    }
    Ok(swapped)
}

/// The key every mock of that name expects.
#[must_use]
pub fn key_of(name: &str) -> String {
    format!("sk-chaos-provider-{name}-0123456789")
}

/// Points each provider at its mock, or at what stands before it.
///
/// # Errors
/// When the folder cannot be written.
pub fn point(config: &mut Table, fleet: &Fleet, folder: &Path) -> Result<(), ConfigError> {
    if let Some(names) = &fleet.names {
        let mut egress = Table::new();
        let server = Value::from(names.address().to_string());
        egress.insert("resolvers".into(), vec![server].into());
        config.insert("egress".into(), egress.into());
    }
    let trusted = folder.join("authority.pem");
    if let Some(authority) = &fleet.authority {
        write(&trusted, &authority.pem())?;
    }
    let Some(Value::Table(providers)) = config.get_mut("providers") else {
        return Ok(());
    };
    for (name, mock) in &fleet.providers {
        if let Some(Value::Table(provider)) = providers.get_mut(name) {
            provider.insert("base_url".into(), mock.base_url().into());
            provider.insert("allow_private_address".into(), true.into());
            if mock.front.as_ref().is_some_and(Front::is_secure) {
                let trusted = trusted.display().to_string();
                provider.insert("ca_file".into(), trusted.into());
            }
        }
    }
    Ok(())
}

pub(super) fn secret(folder: &Path, name: &str, text: &str) -> Result<String, ConfigError> {
    let path = folder.join(name);
    write(&path, text)?;
    Ok(format!("file:{}", path.display()))
}

/// Writes beside and moves, so that the gateway's file watch never sees half a file.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), ConfigError> {
    let beside = path.with_extension("new");
    let written = || {
        // It may hold a key: nobody else needs to read it.
        let mut file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&beside, path)
    };
    written().map_err(|why| ConfigError::Io {
        path: path.display().to_string(),
        why,
    })
}

/// Asks the gateway what it makes of the configuration in `folder`.
///
/// # Errors
/// When it refuses it, in its own words.
pub fn facts(binary: &Path, folder: &Path) -> Result<Facts, ConfigError> {
    let file: PathBuf = folder.join("switchyard.toml");
    let told = enclosed(binary, folder)
        .args(["check", "--json", "--config"])
        .arg(&file)
        .output()
        .map_err(|why| ConfigError::Io {
            path: binary.display().to_string(),
            why,
        })?;
    if !told.status.success() {
        return Err(ConfigError::Refused(
            String::from_utf8_lossy(&told.stderr).trim_end().to_owned(),
        ));
    }
    serde_json::from_slice(&told.stdout).map_err(|why| ConfigError::Refused(why.to_string()))
}

/// The mock's dialect for a provider of this one; those without a mock of their own speak OpenAI's.
#[must_use]
pub fn dialect(label: &str) -> Dialect {
    Dialect::by_name(label).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Mock;

    #[tokio::test]
    async fn a_provider_that_is_no_mock_of_the_run_is_found() {
        let mut fleet = Fleet::default();
        let mock = Mock::plain("alpha", "openai");
        fleet.add(&mock, Dialect::OpenAi, 1, 0).await.unwrap();
        let port = fleet.providers["alpha"].mock.port();
        let facts = |name: &str, base_url: String| Facts {
            providers: vec![ProviderFacts {
                name: name.to_owned(),
                dialect: "openai".to_owned(),
                base_url,
            }],
            pools: Vec::new(),
        };
        let is_mock = |name, url| facts(name, url).only_mocks(&fleet).is_ok();
        assert!(is_mock("alpha", format!("http://127.0.0.1:{port}/v1")));
        assert!(is_mock("alpha", format!("http://127.0.0.1:{port}")));
        for astray in [
            "https://api.openai.com/v1".to_owned(),
            format!("http://127.0.0.1:{port}0/v1"),
            format!("http://127.0.0.1:{port}.example.com/v1"),
            format!("https://127.0.0.1:{port}/v1"),
            String::new(),
        ] {
            assert!(!is_mock("alpha", astray.clone()), "{astray}");
        }
        assert!(!is_mock("beta", format!("http://127.0.0.1:{port}/v1")));
        assert!(Facts::default().only_mocks(&fleet).is_ok());
    }

    #[test]
    fn the_users_store_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "[store]\npath = \"/var/lib/theirs.db\"\nkey = \"env:THEIRS\"\nresponses = \"asked\"";
        for text in ["", text] {
            let mut config: Table = text.parse().unwrap();
            enclose(&mut config, folder.path()).unwrap();
            let store = config["store"].as_table().unwrap();
            let path = folder.path().join("store.db");
            assert_eq!(store["path"].as_str(), path.to_str());
            assert_eq!(store.get("key"), None);
            assert_eq!(store.contains_key("responses"), !text.is_empty());
        }
    }

    #[test]
    fn no_key_is_traded_for_a_token_and_nothing_is_fetched_in_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[registry]\nurl = \"https://prices.example/\"\nfile = \"own.toml\"\n\
            [media]\nfetch = true\nhosts = [\"a.example\"]\n\
            [keys]\nrequired = true\npepper = \"env:PEPPER\"\n\
            [guard.webhook]\nurl = \"https://judge.example/\"\nsecret = \"env:JUDGE\"\n\
            [providers.vertex]\nproject = \"p\"\ncredit = \"100\"\nkeys = [\"metadata:\"]\n\
            [providers.claude]\nauth = \"vertex\"\ndialect = \"anthropic\"\nregion = \"us-east5\"\nkeys = [\"file:/sa.json\"]\n\
            [providers.az]\nauth = \"entra\"\ntenant = \"t\"\nclient_id = \"c\"\ntoken_url = \"https://t.example/\"\nkeys = [\"web-identity:\"]\n\
            [providers.aws]\ndialect = \"bedrock\"\nregion = \"eu-west-1\"\nkeys = [\"metadata:\"]\n";
        let mut config: Table = text.parse().unwrap();
        enclose(&mut config, folder.path()).unwrap();
        let whole = config.to_string();
        for gone in [
            "metadata:",
            "web-identity:",
            "token_url",
            "tenant",
            "sa.json",
            "prices.example",
            "vertex\"",
            "[media]",
            "PEPPER",
            "judge",
            "credit",
        ] {
            assert!(!whole.contains(gone), "{gone}: {whole}");
        }
        assert_eq!(config["registry"]["file"].as_str(), Some("own.toml"));
        assert_eq!(
            config["providers"]["vertex"]["dialect"].as_str(),
            Some("gemini")
        );
        assert_eq!(
            config["providers"]["claude"]["dialect"].as_str(),
            Some("anthropic")
        );
        assert_eq!(
            config["providers"]["claude"]["regions"].as_array(),
            Some(&vec!["us-east5".into()])
        );
        assert_eq!(config["providers"]["az"]["auth"].as_str(), Some("azure"));
        assert_eq!(
            config["providers"]["aws"]["region"].as_str(),
            Some("eu-west-1")
        );
    }

    #[test]
    fn nobody_outside_is_told_of_a_run_or_asked_who_comes() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[[alerts]]\nname = \"pager\"\nurl = \"https://pager.example/\"\nsecret = \"env:PAGER\"\n\
            [identities.corp]\nissuer = \"https://login.example\"\naudiences = [\"a\"]\n\
            [journal]\ntext_of = [\"*\"]\ntext_key = \"env:TEXT_KEY\"\ntext_key_before = \"env:BEFORE\"\n";
        let mut config: Table = text.parse().unwrap();
        enclose(&mut config, folder.path()).unwrap();
        let whole = config.to_string();
        for gone in [
            "alerts",
            "pager",
            "identities",
            "login.example",
            "text_",
            "env:",
        ] {
            assert!(!whole.contains(gone), "{gone}: {whole}");
        }
    }

    #[test]
    fn nothing_leaves_a_run_through_the_operators_proxy() {
        let folder = tempfile::tempdir().unwrap();
        let mut config: Table = "[egress]\nproxy = \"http://proxy.example:3128\""
            .parse()
            .unwrap();
        enclose(&mut config, folder.path()).unwrap();
        assert!(!config.contains_key("egress"), "{config}");
    }

    #[test]
    fn a_user_who_keeps_no_journal_is_judged_by_one_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |text: &str| {
            let mut config: Table = text.parse().unwrap();
            enclose(&mut config, folder.path()).unwrap();
            let mode = config["journal"].get("mode").and_then(Value::as_str);
            mode.map(str::to_owned)
        };
        assert_eq!(mode("[journal]\nmode = \"off\"").as_deref(), Some("fast"));
        assert_eq!(
            mode("[journal]\nmode = \"durable\"").as_deref(),
            Some("durable")
        );
        assert_eq!(mode(""), None);
    }
}
