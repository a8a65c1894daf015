//! Keys that are not sent but traded for a short-lived token: what is traded, and where.
//!
//! A key is written as a reference to a secret, or as one of the words below: then who calls is known by
//! where the gateway runs. Nothing of this is used unless it was written down.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::judge::Judge;
use super::raw::{RawAuth, RawProvider};
use super::secret::{Secret, projected};
use super::settings::{KeySource, ProxySettings};
use crate::domain::Dialect;

/// How a key becomes a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecipe {
    pub trade: Trade,
    /// Where it is traded.
    pub url: String,
    /// `None`: reached straight, as whatever stands beside the gateway is.
    pub proxy: Option<Arc<ProxySettings>>,
}

/// What is traded for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trade {
    /// An assertion signed with a service account's key (RFC 7523).
    ServiceAccount(ServiceAccount),
    /// The right of Google's machine the gateway runs on.
    GoogleMachine,
    /// A client's secret at Entra.
    EntraSecret { client: String, secret: Secret },
    /// A token that somebody else vouches with at Entra, read anew each time.
    EntraFederated { client: String, file: PathBuf },
    /// The right of Azure's machine; `None`: of its only identity.
    AzureMachine { client: Option<String> },
    /// A role at AWS for a token that somebody else vouches with, read anew each time.
    AwsRole {
        role: String,
        session: String,
        file: PathBuf,
    },
    /// The right of the task or pod at AWS.
    AwsContainer { word: ContainerWord },
    /// The right of the machine at AWS, by the second version of its metadata service.
    AwsMachine,
}

/// What AWS's container endpoint wants to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerWord {
    None,
    Word(Secret),
    /// Read anew each time.
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    pub email: String,
    pub key_id: Option<String>,
    /// PKCS #8.
    pub key: PrivateKey,
}

/// A private key's bytes: printed as `***`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Arc<Zeroizing<Vec<u8>>>);

impl PrivateKey {
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Whose tokens a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    Google,
    Entra,
    Aws,
}

impl Issuer {
    pub(super) fn of(raw: &RawProvider) -> Option<Self> {
        match (raw.auth, raw.dialect) {
            (Some(RawAuth::Vertex), _) => Some(Self::Google),
            (Some(RawAuth::Entra), _) => Some(Self::Entra),
            (None, Some(Dialect::Bedrock)) => Some(Self::Aws),
            (Some(RawAuth::Azure) | None, _) => None,
        }
    }
}

/// A key as it is used: its secret, or the word it is known by, and how it becomes what is sent.
pub(super) struct Known {
    pub(super) secret: Secret,
    pub(super) source: KeySource,
    /// Of a service account.
    pub(super) project: Option<String>,
}

/// The words for a key that is not written down anywhere.
const WORDS: [&str; 4] = ["environment:", "web-identity:", "container:", "metadata:"];

const FOR_GOOGLE: &str = "https://oauth2.googleapis.com/token";
const GOOGLE_MACHINE: &str =
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
const ENTRA: &str = "https://login.microsoftonline.com";
/// The metadata service of Azure's and AWS's machines.
const MACHINE: &str = "http://169.254.169.254";
const AZURE_MACHINE: &str = "/metadata/identity/oauth2/token";
/// Of tasks at ECS; pods at EKS are told a whole address.
const CONTAINER: &str = "http://169.254.170.2";

/// One key of a provider; `None` when it was wrong, and that was told.
pub(super) fn key(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawProvider,
    reference: &str,
) -> Option<Known> {
    let issuer = Issuer::of(raw);
    let is_word = WORDS.contains(&reference);
    let known = match issuer {
        Some(Issuer::Google) => google(judge, path, raw, reference),
        Some(Issuer::Entra) => entra(judge, path, raw, reference),
        Some(Issuer::Aws) if is_word => aws(judge, path, raw, reference),
        None if is_word => {
            unknown_word(judge, path, reference, "a provider without tokens", "");
            None
        }
        Some(Issuer::Aws) | None => judge.secret(path, reference).map(written),
    };
    if let Some(Known {
        source: KeySource::Traded(recipe),
        ..
    }) = &known
    {
        judge_url(judge, path, recipe);
    }
    known
}

fn written(secret: Secret) -> Known {
    Known {
        secret,
        source: KeySource::Written,
        project: None,
    }
}

/// A key known by a word: the word is its secret as far as telling keys apart goes.
fn traded(word: &str, secret: Option<Secret>, trade: Trade, url: String) -> Known {
    Known {
        secret: secret.unwrap_or_else(|| Secret::new(word.to_owned())),
        source: KeySource::Traded(Arc::new(TokenRecipe {
            trade,
            url,
            proxy: None,
        })),
        project: None,
    }
}

fn unknown_word(judge: &mut Judge<'_>, path: &str, word: &str, whose: &str, known: &str) {
    let cure = if known.is_empty() {
        "use \"env:NAME\" or \"file:/path/to/secret\"".to_owned()
    } else {
        format!("use \"env:NAME\", \"file:/path/to/secret\" or one of: {known}")
    };
    judge.wrong(path, format!("{word:?} means nothing to {whose}"), cure);
}

/// A variable that has to be there.
fn variable(judge: &mut Judge<'_>, path: &str, name: &str) -> Option<String> {
    let value = judge.variable(name);
    if value.is_none() {
        judge.wrong(
            path,
            format!("environment variable {name} is not set"),
            "is the gateway running where this word means something",
        );
    }
    value
}

fn or_written(raw: &RawProvider, usual: impl FnOnce() -> String) -> String {
    raw.token_url.clone().unwrap_or_else(usual)
}

// --- Google ---

#[derive(Deserialize)]
struct AccountFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    project_id: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<Zeroizing<String>>,
    client_email: Option<String>,
    token_uri: Option<String>,
}

/// What a PKCS #8 key holds in its armour (RFC 7468).
fn der_of(pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (inside, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let mut letters = Zeroizing::new(String::with_capacity(inside.len()));
    letters.extend(inside.split_ascii_whitespace());
    STANDARD.decode(letters.as_bytes()).ok().map(Zeroizing::new)
}

fn google(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, reference: &str) -> Option<Known> {
    if reference == "metadata:" {
        let url = or_written(raw, || GOOGLE_MACHINE.to_owned());
        return Some(traded(reference, None, Trade::GoogleMachine, url));
    }
    if WORDS.contains(&reference) {
        unknown_word(judge, path, reference, "Google", "metadata:");
        return None;
    }
    let text = judge.text(path, reference)?;
    let account = serde_json::from_str::<AccountFile>(text.expose()).ok();
    let account = account.filter(|account| account.kind.as_deref() == Some("service_account"));
    let whole = account.and_then(|account| {
        let pem = account.private_key.as_ref()?;
        let key = PrivateKey(Arc::new(der_of(pem)?));
        ring::signature::RsaKeyPair::from_pkcs8(key.expose()).ok()?;
        let email = account.client_email.filter(|email| !email.is_empty())?;
        let account_key = ServiceAccount {
            email,
            key_id: account.private_key_id,
            key,
        };
        Some((account_key, account.token_uri, account.project_id))
    });
    let Some((account, token_uri, project)) = whole else {
        judge.wrong(
            path,
            "is no key of a service account",
            "refer to the JSON file that Google gave for it (\"type\": \"service_account\"), or write \"metadata:\" on Google's machines",
        );
        return None;
    };
    let url = or_written(raw, || token_uri.unwrap_or_else(|| FOR_GOOGLE.to_owned()));
    let trade = Trade::ServiceAccount(account);
    Some(Known {
        project,
        ..traded(reference, Some(text), trade, url)
    })
}

// --- Entra ---

fn entra(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, reference: &str) -> Option<Known> {
    let client = raw.client_id.clone();
    let client = client.or_else(|| judge.variable("AZURE_CLIENT_ID"));
    let tenant = raw.tenant.clone();
    let tenant = tenant.or_else(|| judge.variable("AZURE_TENANT_ID"));
    if reference == "metadata:" {
        let url = or_written(raw, || format!("{MACHINE}{AZURE_MACHINE}"));
        return Some(traded(reference, None, Trade::AzureMachine { client }, url));
    }
    let is_plain = |id: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !id.is_empty() && id.bytes().all(plain)
    };
    let (Some(client), Some(tenant)) = (client.filter(is_plain), tenant.filter(is_plain)) else {
        judge.wrong(
            path,
            "is a key at Entra, which wants to know whose",
            "add tenant = \"…\" and client_id = \"…\" to the provider, or set AZURE_TENANT_ID and AZURE_CLIENT_ID",
        );
        return None;
    };
    let federated = reference == "web-identity:";
    // Told to pods beside the file; a sovereign cloud has another one.
    let host = judge.variable("AZURE_AUTHORITY_HOST").filter(|_| federated);
    let host = host.unwrap_or_else(|| ENTRA.to_owned());
    let host = host.trim_end_matches('/');
    let url = or_written(raw, || format!("{host}/{tenant}/oauth2/v2.0/token"));
    if federated {
        let file = PathBuf::from(variable(judge, path, "AZURE_FEDERATED_TOKEN_FILE")?);
        let trade = Trade::EntraFederated { client, file };
        return Some(traded(reference, None, trade, url));
    }
    if WORDS.contains(&reference) {
        unknown_word(judge, path, reference, "Entra", "web-identity: metadata:");
        return None;
    }
    let secret = judge.secret(path, reference)?;
    let trade = Trade::EntraSecret {
        client,
        secret: secret.clone(),
    };
    Some(traded(reference, Some(secret), trade, url))
}

// --- AWS ---

fn aws(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, word: &str) -> Option<Known> {
    match word {
        "environment:" => {
            let id = variable(judge, path, "AWS_ACCESS_KEY_ID")?;
            let secret = Zeroizing::new(variable(judge, path, "AWS_SECRET_ACCESS_KEY")?);
            let token = judge.variable("AWS_SESSION_TOKEN").map(Zeroizing::new);
            let mut pair = format!("{id}:{}", secret.as_str());
            if let Some(token) = token {
                pair.push(':');
                pair.push_str(&token);
            }
            Some(written(Secret::new(pair)))
        }
        "web-identity:" => {
            let role = variable(judge, path, "AWS_ROLE_ARN")?;
            let file = PathBuf::from(variable(judge, path, "AWS_WEB_IDENTITY_TOKEN_FILE")?);
            let session = judge.variable("AWS_ROLE_SESSION_NAME");
            let session = session.unwrap_or_else(|| "switchyard".to_owned());
            let trade = Trade::AwsRole {
                role,
                session,
                file,
            };
            let region = raw.region.as_deref().unwrap_or_default();
            let end = if region.starts_with("cn-") { ".cn" } else { "" };
            let url = or_written(raw, || format!("https://sts.{region}.amazonaws.com{end}/"));
            Some(traded(word, None, trade, url))
        }
        "container:" => container(judge, path, raw, word),
        _ => {
            let url = or_written(raw, || MACHINE.to_owned());
            Some(traded(word, None, Trade::AwsMachine, url))
        }
    }
}

fn container(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, word: &str) -> Option<Known> {
    let relative = judge.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let told = relative
        .map(|path| format!("{CONTAINER}{path}"))
        .or_else(|| judge.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
    let Some(url) = raw.token_url.clone().or(told) else {
        judge.wrong(
            path,
            "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
            "is the gateway running in a task of ECS or a pod of EKS with an identity",
        );
        return None;
    };
    let file = judge.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let said = judge.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let word_said = match (file, said) {
        (Some(file), _) => ContainerWord::File(PathBuf::from(file)),
        (None, Some(said)) => ContainerWord::Word(Secret::new(said)),
        (None, None) => ContainerWord::None,
    };
    let trade = Trade::AwsContainer { word: word_said };
    Some(traded(word, None, trade, url))
}

// --- the address ---

/// Hosts beside the gateway, where nobody listens in on what is said in the clear.
const BESIDE: [&str; 7] = [
    "127.0.0.1",
    "localhost",
    "[::1]",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::23]",
];

/// Whether a token's address is on this machine or one of its cloud's own services: no proxy stands between.
pub(super) fn is_beside(url: &str) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    BESIDE.contains(&host) || host == "metadata.google.internal"
}

/// A key is worth more than a token: it travels in secret, and where the operator wrote (attack A09).
fn judge_url(judge: &mut Judge<'_>, path: &str, recipe: &TokenRecipe) {
    let url = &recipe.url;
    let host = url.strip_prefix("https://").unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['#', '\\', '@']);
    if !plain || (host.is_empty() && !is_beside(url)) {
        judge.wrong(
            path,
            "is traded for a token at an address that is no plain https one",
            "write token_url = \"https://…\"; http is for this machine and its cloud's metadata only",
        );
    }
}

/// What stands in a file that somebody else keeps fresh: a projected token, which others may read.
pub fn token_file(path: &std::path::Path) -> Option<Secret> {
    projected(path)
}
