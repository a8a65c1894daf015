//! AWS's Signature Version 4, by AWS's own crate.

use std::fmt::Write as _;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};

use crate::config::{AuthSettings, KeySettings, KeySource, ProviderSettings};
use crate::domain::AttemptOutcome;
use crate::upstream::body::Rope;
use crate::upstream::error::AttemptError;

/// The service as signatures name it, whatever its host is called.
const SERVICE: &str = "bedrock";

/// Whether a secret is an access key with its id; one of Bedrock's own keys is a word.
pub(super) fn is_pair(secret: &str) -> bool {
    secret.contains(':')
}

/// Signs with one key for one host.
pub(crate) struct AwsSigner {
    /// `None`: they are a token, and come with each request.
    credentials: Option<Credentials>,
    region: String,
    scheme: String,
    /// As it is sent in `host`, which is signed.
    authority: String,
    service: &'static str,
}

impl AwsSigner {
    /// `None` for a key that is sent as it is.
    pub(crate) fn of(provider: &ProviderSettings, key: &KeySettings, at: &Uri) -> Option<Self> {
        let AuthSettings::Aws { region } = &provider.auth else {
            return None;
        };
        let credentials = match key.source {
            KeySource::Traded(_) => None,
            KeySource::Written => {
                let mut parts = key.secret.expose().splitn(3, ':');
                let (id, secret) = (parts.next()?, parts.next()?);
                let token = parts.next().map(str::to_owned);
                Some(Credentials::new(id, secret, token, None, "configuration"))
            }
        };
        Some(Self {
            credentials,
            region: region.clone(),
            scheme: at.scheme_str().unwrap_or("https").to_owned(),
            authority: at.authority()?.to_string(),
            service: SERVICE,
        })
    }

    /// What goes along with a request of JSON, said at this time. Nothing that is signed may change behind this.
    pub(crate) fn sign(
        &self,
        path: &str,
        body: &Rope,
        (now, token): (SystemTime, Option<&Credentials>),
    ) -> Result<Vec<(HeaderName, HeaderValue)>, AttemptError> {
        let json = [("content-type", "application/json")];
        let identity = token.or(self.credentials.as_ref());
        let identity = identity.ok_or(AttemptError::of(AttemptOutcome::Token))?;
        let said = (hash(body.pieces()), now);
        self.fields(("POST", path), &json, identity, said)
            // Only a path or a header that no request can carry is not signed.
            .ok_or(AttemptError::of(AttemptOutcome::Rejected))
    }

    fn fields(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        identity: &Credentials,
        (body_hash, now): (String, SystemTime),
    ) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let identity = identity.clone().into();
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .ok()?
            .into();
        let host = ("host", self.authority.as_str());
        let signable = SignableRequest::new(
            method,
            format!("{}://{}{path}", self.scheme, self.authority),
            headers.iter().copied().chain([host]),
            SignableBody::Precomputed(body_hash),
        );
        let (instructions, _) = sign(signable.ok()?, &params).ok()?.into_parts();
        let fields = instructions.headers().map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        fields.collect()
    }
}

/// The body's SHA-256 in hex.
fn hash(pieces: impl Iterator<Item = Bytes>) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for piece in pieces {
        context.update(&piece);
    }
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        // Writing to memory cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The moment of AWS's examples: 30 August 2015, 12:36:00 UTC.
    fn then() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    fn signer(service: &'static str, token: Option<&str>) -> AwsSigner {
        AwsSigner {
            credentials: Some(Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                token.map(str::to_owned),
                None,
                "test",
            )),
            region: "us-east-1".to_owned(),
            scheme: "https".to_owned(),
            authority: "example.amazonaws.com".to_owned(),
            service,
        }
    }

    fn text(fields: &[(HeaderName, HeaderValue)], name: &str) -> String {
        let field = fields.iter().find(|(known, _)| known == name).unwrap();
        field.1.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_published_vectors_of_aws_are_met() {
        // post-vanilla and post-x-www-form-urlencoded of AWS's signature version 4 test suite.
        for (headers, body, expected) in [
            (
                &[][..],
                "",
                "SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                &[("content-type", "application/x-www-form-urlencoded")],
                "Param1=value1",
                "SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let hash = hash([Bytes::from_static(body.as_bytes())].into_iter());
            let signer = signer("service", None);
            let identity = signer.credentials.clone().unwrap();
            let fields = signer.fields(("POST", "/"), headers, &identity, (hash, then()));
            let fields = fields.unwrap();
            assert_eq!(
                text(&fields, "authorization"),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, {expected}"
                )
            );
            assert_eq!(text(&fields, "x-amz-date"), "20150830T123600Z");
        }
    }

    /// The signature as AWS's documents describe it, step by step.
    fn by_the_book(canonical: &str) -> String {
        let hmac = |key: &[u8], text: &str| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
            ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        let canonical = hash([Bytes::copy_from_slice(canonical.as_bytes())].into_iter());
        let scope = "20150830/us-east-1/bedrock/aws4_request";
        let to_sign = format!("AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{canonical}");
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        for step in ["20150830", "us-east-1", "bedrock", "aws4_request"] {
            key = hmac(&key, step);
        }
        let signature = hmac(&key, &to_sign);
        signature.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_escaped_model_is_escaped_once_more_and_the_session_is_signed() {
        let body: Rope = [Bytes::from_static(b"{\"a\":"), Bytes::from_static(b"1}")]
            .into_iter()
            .collect();
        let path = "/model/anthropic.claude-v1%3A0/converse";
        let fields = signer("bedrock", Some("tok"))
            .sign(path, &body, (then(), None))
            .unwrap();
        let hash = hash([Bytes::from_static(b"{\"a\":1}")].into_iter());
        let names = "content-type;host;x-amz-date;x-amz-security-token";
        let canonical = format!(
            "POST\n/model/anthropic.claude-v1%253A0/converse\n\ncontent-type:application/json\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\nx-amz-security-token:tok\n\n{names}\n{hash}"
        );
        let expected = by_the_book(&canonical);
        let authorization = text(&fields, "authorization");
        assert!(
            authorization.ends_with(&format!("SignedHeaders={names}, Signature={expected}")),
            "{authorization}"
        );
        assert_eq!(text(&fields, "x-amz-security-token"), "tok");
        assert!(fields.iter().all(|(_, value)| value.is_sensitive()));
    }
}
