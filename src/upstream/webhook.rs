//! Asking an operator's own judge of prompts: one signed POST, a time limit, a bounded answer.

use std::time::Duration;

use ring::hmac;

use super::client::web_roots;
use super::error::BuildError;
use super::probe::proxy;
use crate::config::WebhookSettings;

/// Holds the time of sending, and a digest over it and the body that only who knows the secret can make.
const SIGNATURE: &str = "x-switchyard-signature";

/// The client for one webhook.
pub struct Webhook {
    client: reqwest::Client,
    settings: WebhookSettings,
    key: hmac::Key,
}

/// Why there is no verdict. Says nothing of what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookFault {
    #[error("the webhook did not answer in time")]
    Late,
    #[error("the webhook could not be reached")]
    Unreachable,
    #[error("the webhook answered with status {0}")]
    Status(u16),
    #[error("the webhook answered with more than is read")]
    TooLarge,
}

impl Webhook {
    pub fn new(settings: &WebhookSettings) -> Result<Self, BuildError> {
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(egress) = &settings.egress {
            builder = builder.proxy(proxy(egress)?);
        }
        let client = builder
            .tls_backend_preconfigured(web_roots()?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.timeout)
            .build()
            .map_err(|error| BuildError::Tls(error.to_string()))?;
        Ok(Self {
            client,
            key: hmac::Key::new(hmac::HMAC_SHA256, settings.secret.expose().as_bytes()),
            settings: settings.clone(),
        })
    }

    pub fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// Asks; `now` is the time since 1970 that the signature is of.
    pub async fn ask(&self, body: Vec<u8>, now: Duration) -> Result<Vec<u8>, WebhookFault> {
        let request = self
            .client
            .post(&self.settings.url)
            .header("content-type", "application/json")
            .header(SIGNATURE, self.signature(&body, now))
            .body(body);
        let mut answer = request.send().await.map_err(fault)?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(WebhookFault::Status(status));
        }
        let mut read = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(fault)? {
            if read.len() + piece.len() > self.settings.max_answer_bytes {
                return Err(WebhookFault::TooLarge);
            }
            read.extend_from_slice(&piece);
        }
        Ok(read)
    }

    /// `t=<seconds>,v1=<hex of HMAC-SHA-256 over "<seconds>.<body>">`
    fn signature(&self, body: &[u8], now: Duration) -> String {
        let seconds = now.as_secs().to_string();
        let mut context = hmac::Context::with_key(&self.key);
        context.update(seconds.as_bytes());
        context.update(b".");
        context.update(body);
        let tag = context.sign();
        let hex: String = tag
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("t={seconds},v1={hex}")
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands on")]
fn fault(error: reqwest::Error) -> WebhookFault {
    if error.is_timeout() {
        WebhookFault::Late
    } else {
        WebhookFault::Unreachable
    }
}
