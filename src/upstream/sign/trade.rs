//! One trade of a key for a token: what is said to whom, and what comes back.
//!
//! Every answer is read up to a limit, no redirect is followed, and no text of an answer is passed on: there
//! may be a secret in it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::keeper::{Fetched, Means};
use crate::config::{
    ContainerWord, ProviderSettings, ServiceAccount, TokenRecipe, Trade, token_file,
};
use crate::upstream::error::BuildError;
use crate::upstream::probe::control_client;
use crate::upstream::pushback::rfc3339;

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// The one who gives them gives none for this key.
    Refused,
    /// Nobody answered, or with an error that passes.
    Unavailable,
    Late,
    /// What came is no token.
    Malformed,
    /// What is to be traded cannot be read.
    Unreadable,
}

impl NoToken {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Late => "late",
            Self::Malformed => "malformed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Trades one key.
pub(crate) struct Trader {
    client: reqwest::Client,
    recipe: Arc<TokenRecipe>,
}

/// An answer is read this far.
const LARGEST: usize = 64 * 1024;
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ENTRA_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion holds; Google takes no more than an hour.
const ASSERTED_FOR: u64 = 3_600;
/// Where a token's life is not told.
const SHORT_LIFE: Duration = Duration::from_secs(300);
/// Where AWS's second version of the metadata service gives the word that it wants to hear.
const MACHINE_WORD: &str = "/latest/api/token";
const MACHINE_ROLES: &str = "/latest/meta-data/iam/security-credentials/";

type Form<'a> = [(&'a str, &'a str)];

impl Trader {
    pub(crate) fn new(
        provider: &ProviderSettings,
        recipe: &Arc<TokenRecipe>,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            client: control_client(provider, recipe.proxy.as_deref())?,
            recipe: Arc::clone(recipe),
        })
    }

    pub(crate) fn recipe(&self) -> &TokenRecipe {
        &self.recipe
    }

    pub(crate) async fn fetch(&self) -> Result<Fetched, NoToken> {
        let url = &self.recipe.url;
        match &self.recipe.trade {
            Trade::ServiceAccount(account) => {
                let assertion = assertion(account, url).await.ok_or(NoToken::Unreadable)?;
                let form = [("grant_type", JWT_BEARER), ("assertion", &assertion)];
                bearer(&self.ask(self.form(&form)).await?.1)
            }
            Trade::GoogleMachine => {
                let flavor = ("metadata-flavor", "Google");
                let (told, body) = self
                    .ask(self.client.get(url).header(flavor.0, flavor.1))
                    .await?;
                // Whoever else answers under this name does not say so.
                match told.get(flavor.0) {
                    Some(value) if value == flavor.1 => bearer(&body),
                    Some(_) | None => Err(NoToken::Malformed),
                }
            }
            Trade::EntraSecret { client, secret } => {
                let proof = [("client_secret", secret.expose())];
                self.entra(client, &proof).await
            }
            Trade::EntraFederated { client, file } => {
                let word = token_file(file).ok_or(NoToken::Unreadable)?;
                let proof = [
                    ("client_assertion_type", JWT_ASSERTION),
                    ("client_assertion", word.expose()),
                ];
                self.entra(client, &proof).await
            }
            Trade::AzureMachine { client } => self.azure_machine(client.as_deref()).await,
            Trade::AwsRole {
                role,
                session,
                file,
            } => {
                let word = token_file(file).ok_or(NoToken::Unreadable)?;
                let form = [
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", role),
                    ("RoleSessionName", session),
                    ("WebIdentityToken", word.expose()),
                ];
                assumed(&self.ask(self.form(&form)).await?.1)
            }
            Trade::AwsContainer { word } => self.aws_container(word).await,
            Trade::AwsMachine => self.aws_machine().await,
        }
    }

    fn form(&self, fields: &Form<'_>) -> reqwest::RequestBuilder {
        self.client
            .post(&self.recipe.url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json, text/xml")
            .body(encoded(fields))
    }

    async fn entra(&self, client: &str, proof: &Form<'_>) -> Result<Fetched, NoToken> {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("scope", ENTRA_SCOPE),
        ];
        form.extend_from_slice(proof);
        bearer(&self.ask(self.form(&form)).await?.1)
    }

    async fn azure_machine(&self, client: Option<&str>) -> Result<Fetched, NoToken> {
        let mut query = vec![
            ("api-version", "2018-02-01"),
            ("resource", "https://cognitiveservices.azure.com"),
        ];
        query.extend(client.map(|client| ("client_id", client)));
        let url = format!("{}?{}", self.recipe.url, encoded(&query));
        bearer(
            &self
                .ask(self.client.get(url).header("metadata", "true"))
                .await?
                .1,
        )
    }

    async fn aws_container(&self, word: &ContainerWord) -> Result<Fetched, NoToken> {
        let mut request = self.client.get(&self.recipe.url);
        let said = match word {
            ContainerWord::None => None,
            ContainerWord::Word(word) => Some(word.clone()),
            ContainerWord::File(file) => Some(token_file(file).ok_or(NoToken::Unreadable)?),
        };
        if let Some(said) = said {
            let value = secret_value(said.expose()).ok_or(NoToken::Unreadable)?;
            request = request.header(AUTHORIZATION, value);
        }
        credentials(&self.ask(request).await?.1)
    }

    /// A word of the machine's own first: whoever can only make others ask for an address does not get it.
    async fn aws_machine(&self) -> Result<Fetched, NoToken> {
        let base = self.recipe.url.trim_end_matches('/');
        let word = self.client.put(format!("{base}{MACHINE_WORD}"));
        let word = word.header("x-aws-ec2-metadata-token-ttl-seconds", "300");
        let word = text(&self.ask(word).await?.1)?;
        let word = secret_value(&word).ok_or(NoToken::Malformed)?;
        let get = |path: String| {
            let request = self.client.get(format!("{base}{path}"));
            request.header("x-aws-ec2-metadata-token", word.clone())
        };
        let role = text(&self.ask(get(MACHINE_ROLES.to_owned())).await?.1)?;
        let role = role.lines().next().unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        if role.is_empty() || !role.bytes().all(fits) {
            return Err(NoToken::Malformed);
        }
        credentials(&self.ask(get(format!("{MACHINE_ROLES}{role}"))).await?.1)
    }

    async fn ask(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(http::HeaderMap, Zeroizing<Vec<u8>>), NoToken> {
        let mut answer = request.send().await.map_err(|_| NoToken::Unavailable)?;
        let status = answer.status();
        let mut body = Zeroizing::new(Vec::with_capacity(LARGEST));
        while let Some(piece) = answer.chunk().await.map_err(|_| NoToken::Unavailable)? {
            if body.len() + piece.len() > LARGEST {
                return Err(NoToken::Malformed);
            }
            body.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok((answer.headers().clone(), body));
        }
        let passes =
            status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if status.is_client_error() && !passes {
            NoToken::Refused
        } else {
            NoToken::Unavailable
        })
    }
}

// --- what is said ---

/// The assertion of a service account (RFC 7523), signed off the event loop: that takes a millisecond.
async fn assertion(account: &ServiceAccount, audience: &str) -> Option<Zeroizing<String>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let said = claims(account, audience, now);
    let key = account.key.clone();
    let signed = tokio::task::spawn_blocking(move || signed(&said, key.expose()));
    signed.await.ok()?.map(Zeroizing::new)
}

fn claims(account: &ServiceAccount, audience: &str, now: u64) -> String {
    let mut head = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.key_id {
        head["kid"] = id.as_str().into();
    }
    let claims = json!({
        "iss": account.email,
        "scope": GOOGLE_SCOPE,
        "aud": audience,
        "iat": now,
        "exp": now.saturating_add(ASSERTED_FOR),
    });
    let part = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", part(&head), part(&claims))
}

fn signed(said: &str, key: &[u8]) -> Option<String> {
    let key = RsaKeyPair::from_pkcs8(key).ok()?;
    let mut signature = vec![0; key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, said.as_bytes(), &mut signature)
        .ok()?;
    Some(format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// As a form has it, and a query.
fn encoded(fields: &Form<'_>) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing to memory cannot fail.
                let _ = std::fmt::Write::write_fmt(&mut out, format_args!("%{byte:02X}"));
            }
        }
    }
    out
}

fn secret_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

// --- what comes back ---

fn text(body: &[u8]) -> Result<String, NoToken> {
    let text = std::str::from_utf8(body).map_err(|_| NoToken::Malformed)?;
    Ok(text.trim().to_owned())
}

#[derive(Deserialize)]
struct Bearer {
    access_token: Zeroizing<String>,
    expires_in: Option<serde_json::Value>,
}

/// OAuth's answer (RFC 6749, section 5.1); Azure's machines write the number as text.
fn bearer(body: &[u8]) -> Result<Fetched, NoToken> {
    let answer: Bearer = serde_json::from_slice(body).map_err(|_| NoToken::Malformed)?;
    let token = answer.access_token;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NoToken::Malformed);
    }
    let life = match answer.expires_in {
        None => SHORT_LIFE,
        Some(told) => {
            let written = told.as_str().and_then(|text| text.parse().ok());
            let number = told.as_u64().or(written).filter(|secs| *secs > 0);
            Duration::from_secs(number.ok_or(NoToken::Malformed)?)
        }
    };
    let value = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let value = secret_value(&value).ok_or(NoToken::Malformed)?;
    Ok(Fetched {
        means: Means::Bearer(value),
        life,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AwsAnswer {
    access_key_id: Option<String>,
    secret_access_key: Option<Zeroizing<String>>,
    token: Option<Zeroizing<String>>,
    expiration: Option<String>,
}

/// What AWS's containers and machines are given.
fn credentials(body: &[u8]) -> Result<Fetched, NoToken> {
    let answer: AwsAnswer = serde_json::from_slice(body).map_err(|_| NoToken::Malformed)?;
    let AwsAnswer {
        access_key_id: Some(id),
        secret_access_key: Some(secret),
        token,
        expiration,
    } = answer
    else {
        // An answer without keys is a machine without a role.
        return Err(NoToken::Refused);
    };
    aws(
        &id,
        &secret,
        token.as_ref().map(|token| token.as_str()),
        expiration.as_deref(),
    )
}

/// What STS answers, which is XML; none of these values holds anything that XML would escape.
fn assumed(body: &[u8]) -> Result<Fetched, NoToken> {
    let body = std::str::from_utf8(body).map_err(|_| NoToken::Malformed)?;
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(value.trim())
    };
    let (Some(id), Some(secret)) = (element("AccessKeyId"), element("SecretAccessKey")) else {
        return Err(NoToken::Malformed);
    };
    aws(id, secret, element("SessionToken"), element("Expiration"))
}

fn aws(
    id: &str,
    secret: &str,
    token: Option<&str>,
    expiration: Option<&str>,
) -> Result<Fetched, NoToken> {
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits(id) || !fits(secret) || !token.is_none_or(fits) {
        return Err(NoToken::Malformed);
    }
    let life = match expiration {
        None => SHORT_LIFE,
        Some(text) => {
            let ends = rfc3339(text).ok_or(NoToken::Malformed)?;
            ends.duration_since(SystemTime::now())
                .map_err(|_| NoToken::Malformed)?
        }
    };
    let token = token.map(str::to_owned);
    Ok(Fetched {
        means: Means::Aws(Credentials::new(id, secret, token, None, "switchyard")),
        life,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_says_what_it_means_whatever_the_values_hold() {
        let form = [("a", "x y&z=1"), ("b", "ü/+~")];
        assert_eq!(encoded(&form), "a=x%20y%26z%3D1&b=%C3%BC%2F%2B~");
    }

    #[test]
    fn k08_what_comes_back_is_a_token_with_an_end_or_nothing() {
        let good = bearer(br#"{"access_token":"t0k","expires_in":"3599","token_type":"Bearer"}"#);
        let good = good.ok().unwrap();
        assert_eq!(good.life, Duration::from_secs(3_599));
        assert!(
            matches!(good.means, Means::Bearer(value) if value == "Bearer t0k" && value.is_sensitive())
        );
        for bad in [
            "",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b","expires_in":1}"#,
            r#"{"access_token":"a","expires_in":0}"#,
            r#"{"access_token":"a","expires_in":-5}"#,
            r#"{"access_token":"a","expires_in":"soon"}"#,
        ] {
            assert_eq!(
                bearer(bad.as_bytes()).err(),
                Some(NoToken::Malformed),
                "{bad}"
            );
        }
        let role = b"<R><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s/+=</SecretAccessKey>\
            <SessionToken>tok</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></R>";
        let role = assumed(role).ok().unwrap();
        assert!(matches!(role.means, Means::Aws(keys) if keys.session_token() == Some("tok")));
        let over =
            br#"{"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"2001-01-01T00:00:00Z"}"#;
        assert_eq!(credentials(over).err(), Some(NoToken::Malformed));
        assert_eq!(
            credentials(br#"{"Code":"Failed"}"#).err(),
            Some(NoToken::Refused)
        );
    }

    proptest! {
        #[test]
        fn no_answer_panics(body: Vec<u8>) {
            let _ = (bearer(&body), credentials(&body), assumed(&body), text(&body));
        }
    }
}
