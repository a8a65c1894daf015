//! What an error of a provider means, in OpenAI's form and those that resemble it.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use crate::dialects::UpstreamError;
use crate::domain::{AttemptOutcome, FailureKind};

/// Reads an error answer. A body that is no JSON is not looked at further and never relayed.
pub fn decode_error(status: u16, body: &[u8]) -> UpstreamError {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    // Some put it into a list.
    let whole = value.get(0).unwrap_or(&value);
    let error = whole.get("error").unwrap_or(whole);
    UpstreamError::read(status, error, whole)
}

/// What an error object inside a 200 or a stream means, by its own status, type and code.
pub(crate) fn outcome_of(error: &Value) -> UpstreamError {
    let numeric = |name: &str| {
        let value = error.get(name)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
        u16::try_from(number)
            .ok()
            .filter(|status| (400..600).contains(status))
    };
    let status = numeric("code").or_else(|| numeric("status")).unwrap_or(0);
    UpstreamError::read(status, error, &Value::Null)
}

impl UpstreamError {
    /// `whole` is the answer around the error, for hints that stand beside it.
    pub(crate) fn read(status: u16, error: &Value, whole: &Value) -> Self {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let said = words_of(error);
        let message: &str = &said;
        let code = error
            .get("code")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let words = Words {
            kind: text("type"),
            code,
            message: &message.to_ascii_lowercase(),
        };
        let (outcome, kind) = words.judge(status);
        let caller = outcome == AttemptOutcome::Rejected;
        Self {
            outcome,
            kind,
            // Only what is the caller's own business is told in the provider's words.
            message: (caller && !message.is_empty()).then(|| message.chars().take(2_000).collect()),
            code: (caller && !code.is_empty()).then(|| code.chars().take(100).collect()),
            retry_in: retry_info(error)
                .or_else(|| retry_info(whole))
                .or_else(|| retry_text(words.message)),
            until_date: date_in(message),
            model_only: words.about_one_model(status),
        }
    }
}

/// The text of an error, plain or in the lists of a validation: beside the others, or where the text should be.
fn words_of(error: &Value) -> Cow<'_, str> {
    let message = error.get("message");
    let plain = error.as_str().or_else(|| message?.as_str());
    if let Some(plain) = plain {
        return plain.into();
    }
    let within = |name: &str| message.and_then(|message| message.get(name));
    let places = [within("message"), within("detail"), error.get("detail")];
    let mut said = places.into_iter().flatten().map(detail);
    said.find(|said| !said.is_empty()).unwrap_or_default()
}

/// What a validation found, place by place. What stood there is not repeated: it is the prompt.
fn detail(value: &Value) -> Cow<'_, str> {
    /// More than anyone reads.
    const MOST: usize = 8;
    if let Some(text) = value.as_str() {
        return text.into();
    }
    let found = value.as_array().into_iter().flatten().take(MOST);
    let found: Vec<String> = found.filter_map(mistake).collect();
    found.join("; ").into()
}

fn mistake(found: &Value) -> Option<String> {
    let what = found.get("msg")?.as_str()?;
    let place = found.get("loc").and_then(Value::as_array);
    let steps = place.into_iter().flatten();
    let steps: Vec<String> = steps
        .map(|step| {
            step.as_str()
                .map_or_else(|| step.to_string(), str::to_owned)
        })
        .filter(|step| step != "body")
        .collect();
    Some(if steps.is_empty() {
        what.to_owned()
    } else {
        format!("{}: {what}", steps.join("."))
    })
}

struct Words<'a> {
    kind: &'a str,
    code: &'a str,
    /// In lower case.
    message: &'a str,
}

impl Words<'_> {
    fn any(&self, needles: &[&str]) -> bool {
        needles.iter().any(|needle| {
            self.kind == *needle || self.code == *needle || self.message.contains(needle)
        })
    }

    fn judge(&self, status: u16) -> (AttemptOutcome, FailureKind) {
        use AttemptOutcome as O;
        use FailureKind as K;
        if self.any(&[
            "insufficient_quota",
            "billing_error",
            "specified api usage limits",
            "perday",
            "credit balance is too low",
        ]) || status == 402
        {
            return (O::Quota, K::ProviderQuota);
        }
        if self.any(&[
            "context_length_exceeded",
            "prompt is too long",
            "maximum context length",
            "input is too long",
        ]) {
            return (O::Rejected, K::ContextLengthExceeded);
        }
        if self.any(&["content_filter", "content_policy_violation"]) {
            return (O::Rejected, K::ContentFiltered);
        }
        if self.any(&["overloaded_error", "overloaded"]) && status != 400 {
            return (O::Overloaded, K::Overloaded);
        }
        match status {
            429 => (O::Throttled, K::RateLimited),
            401 | 403 => (O::Auth, K::ProviderAuth),
            404 | 410 if self.gone() || status == 410 => (O::ModelGone, K::ModelNotFound),
            400 if self.message.contains("deprecated") && self.message.contains("model") => {
                (O::ModelGone, K::ModelNotFound)
            }
            503 | 529 => (O::Overloaded, K::Overloaded),
            408 | 409 | 425 | 500..=599 => (O::ServerError, K::UpstreamFailed),
            413 => (O::Rejected, K::RequestTooLarge),
            400..=499 => (O::Rejected, K::InvalidRequest),
            // No status to go by: the words decide.
            0 => self.judge_words(),
            _ => (O::BadBody, K::UpstreamFailed),
        }
    }

    fn judge_words(&self) -> (AttemptOutcome, FailureKind) {
        use AttemptOutcome as O;
        use FailureKind as K;
        if self.any(&[
            "rate_limit_error",
            "rate_limit_exceeded",
            "throttlingexception",
            "rate_limited",
        ]) {
            (O::Throttled, K::RateLimited)
        } else if self.any(&[
            "authentication_error",
            "permission_error",
            "invalid_api_key",
        ]) {
            (O::Auth, K::ProviderAuth)
        } else if self.any(&["invalid_request_error"]) {
            (O::Rejected, K::InvalidRequest)
        } else {
            (O::ServerError, K::UpstreamFailed)
        }
    }

    fn gone(&self) -> bool {
        self.any(&["model_not_found", "not_found_error", "notfounderror"])
            || self.message.contains("model")
            || self.message.contains("deployment")
    }

    /// A refusal that names the model speaks about the model, not about the key (fault K02).
    fn about_one_model(&self, status: u16) -> bool {
        status == 403 && self.message.contains("model") && !self.message.contains("deactivated")
    }
}

/// `details:[{"@type":"…RetryInfo","retryDelay":"45.8s"}]` and `quotaResetDelay:"373.8ms"`.
fn retry_info(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    details.iter().find_map(|detail| {
        let delay = detail
            .get("retryDelay")
            .or_else(|| detail.get("metadata")?.get("quotaResetDelay"))?;
        unit_text(delay.as_str()?)
    })
}

/// "… try again in 1.5s …", the last thing that is believed.
fn retry_text(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("try again in ")?;
    let word: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect();
    unit_text(word.trim_end_matches('.'))
}

fn unit_text(text: &str) -> Option<Duration> {
    let (number, scale) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let number: f64 = number.parse().ok().filter(|number: &f64| *number >= 0.0)?;
    Duration::try_from_secs_f64(number * scale).ok()
}

/// The date after which access comes back, as the provider wrote it (fault K03).
fn date_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("regain access on ")?;
    Some(
        rest.chars()
            .take_while(|c| c.is_ascii_digit() || "-:TZ+".contains(*c))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> AttemptOutcome {
        decode_error(status, body.as_bytes()).outcome
    }

    #[test]
    fn p24_what_a_validation_found_is_told_and_not_what_stood_there() {
        let found = r#"[{"type":"missing","loc":["body","messages",0,"content"],"msg":"Field required","input":"secret"},{"msg":"odd"}]"#;
        let told = Some("messages.0.content: Field required; odd".to_owned());
        for body in [
            format!(r#"{{"detail":{found}}}"#),
            format!(r#"{{"object":"error","message":{{"detail":{found}}},"code":null}}"#),
            format!(r#"[{{"error":{{"message":{{"detail":{found}}}}}}}]"#),
        ] {
            let error = decode_error(422, body.as_bytes());
            assert_eq!(
                (error.outcome, error.message),
                (AttemptOutcome::Rejected, told.clone()),
                "{body}"
            );
        }
        for (body, told) in [
            (r#"[{"error":{"code":400,"message":"no"}}]"#, Some("no")),
            (r#"{"detail":"no"}"#, Some("no")),
            (r#"{"message":{"message":"no"}}"#, Some("no")),
            (r#"{"detail":[{"input":"secret"}]}"#, None),
            (r#"{"message":{"detail":[5,null]}}"#, None),
            ("[]", None),
        ] {
            let error = decode_error(400, body.as_bytes());
            assert_eq!(error.message.as_deref(), told, "{body}");
        }
    }

    #[test]
    fn statuses_and_words_are_sorted_by_whose_fault_they_are() {
        use AttemptOutcome as O;
        for (status, body, expected) in [
            (
                429,
                r#"{"error":{"type":"rate_limit_exceeded"}}"#,
                O::Throttled,
            ),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, O::Quota),
            (402, "", O::Quota),
            (
                400,
                r#"{"error":{"message":"You have reached your specified API usage limits. You will regain access on 2026-12-01."}}"#,
                O::Quota,
            ),
            (401, r#"{"error":{"code":"invalid_api_key"}}"#, O::Auth),
            (403, r#"{"error":{"code":"account_deactivated"}}"#, O::Auth),
            (404, r#"{"error":{"code":"model_not_found"}}"#, O::ModelGone),
            (410, "", O::ModelGone),
            (404, "<html>", O::Rejected),
            (
                400,
                r#"{"error":{"code":"context_length_exceeded","message":"too long"}}"#,
                O::Rejected,
            ),
            (422, "{}", O::Rejected),
            (500, "", O::ServerError),
            (502, "<html>x</html>", O::ServerError),
            (409, "", O::ServerError),
            (503, "", O::Overloaded),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
                O::Overloaded,
            ),
        ] {
            assert_eq!(outcome(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn p07_the_limit_in_the_body_is_read() {
        let body = br#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"45.837906927s"}]}}"#;
        assert_eq!(
            decode_error(429, body).retry_in,
            Some(Duration::from_secs_f64(45.837_906_927))
        );
        let text = br#"{"error":{"message":"Please try again in 1.5s."}}"#;
        assert_eq!(
            decode_error(429, text).retry_in,
            Some(Duration::from_millis(1_500))
        );
    }

    #[test]
    fn k02_a_refusal_that_names_the_model_is_about_the_model() {
        assert!(
            decode_error(403, br#"{"error":{"message":"no access to model gpt-5"}}"#).model_only
        );
        assert!(!decode_error(403, br#"{"error":{"message":"forbidden"}}"#).model_only);
    }

    #[test]
    fn k03_the_date_is_kept() {
        let body = br#"{"error":{"message":"You have reached your specified API usage limits. You will regain access on 2026-12-01."}}"#;
        assert_eq!(
            decode_error(400, body).until_date.as_deref(),
            Some("2026-12-01")
        );
    }

    #[test]
    fn p09_a_page_is_never_relayed() {
        let error = decode_error(502, b"<html>bad gateway sk-canary</html>");
        assert_eq!((error.message, error.code), (None, None));
    }

    #[test]
    fn p13_an_error_inside_a_success_is_sorted_by_its_own_code() {
        let inner = serde_json::json!({"code":502,"message":"Provider returned error"});
        assert_eq!(outcome_of(&inner).outcome, AttemptOutcome::ServerError);
        let typed = serde_json::json!({"type":"overloaded_error"});
        assert_eq!(outcome_of(&typed).outcome, AttemptOutcome::Overloaded);
    }
}
