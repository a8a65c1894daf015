//! Google's errors: a number, a name, a text, and details.

use std::time::Duration;

use serde_json::{Value, json};

/// `kind` is a status of Google's, or what another dialect calls the same trouble.
pub(in super::super) fn error_body(kind: &str, message: &str) -> Value {
    let (code, status) = match kind {
        "UNAUTHENTICATED" | "authentication_error" => (401, "UNAUTHENTICATED"),
        "PERMISSION_DENIED" | "permission_error" => (403, "PERMISSION_DENIED"),
        "NOT_FOUND" | "not_found_error" => (404, "NOT_FOUND"),
        "RESOURCE_EXHAUSTED" | "rate_limit_error" | "rate_limit_exceeded" => {
            (429, "RESOURCE_EXHAUSTED")
        }
        "CANCELLED" => (499, "CANCELLED"),
        "INTERNAL" | "server_error" | "api_error" => (500, "INTERNAL"),
        "UNAVAILABLE" | "overloaded_error" => (503, "UNAVAILABLE"),
        "DEADLINE_EXCEEDED" | "timeout_error" => (504, "DEADLINE_EXCEEDED"),
        _ => (400, "INVALID_ARGUMENT"),
    };
    json!({"error": {"code": code, "message": message, "status": status}})
}

pub(in super::super) fn error_kind(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 403 => "PERMISSION_DENIED",
        404 | 410 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=498 => "INVALID_ARGUMENT",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

fn with_details(mut body: Value, details: &Value) -> Value {
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.insert("details".to_owned(), json!([details]));
    }
    body
}

/// The limit's answer: the wait is in the body, in no field.
pub(in super::super) fn retry_info(message: &str, wait: Duration) -> Value {
    let body = error_body("RESOURCE_EXHAUSTED", message);
    let delay = format!("{:.3}s", wait.as_secs_f64());
    with_details(
        body,
        &json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}),
    )
}

/// A bad key is a bad argument here: 400, with the reason in the details.
pub(in super::super) fn wrong_key(message: &str) -> Value {
    with_details(
        error_body("INVALID_ARGUMENT", message),
        &json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}}),
    )
}
