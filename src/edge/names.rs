//! The names of headers in which clients say what they want, made once: a name that is looked for as text is read
//! anew, letter by letter, for each request.

use http::{HeaderMap, HeaderName};

const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

pub(super) static RETRIES: HeaderName = name("x-litellm-num-retries");
pub(super) static TIMEOUT_MS: HeaderName = name("x-switchyard-timeout-ms");
pub(super) static TIMEOUT_SECONDS: HeaderName = name("x-litellm-timeout");
pub(super) static LANE: HeaderName = name("x-switchyard-lane");
pub(super) static RACE: HeaderName = name("x-switchyard-race");
pub(super) static REGION: HeaderName = name("x-switchyard-region");
pub(super) static UNSUPPORTED: HeaderName = name("x-switchyard-unsupported");
pub(super) static TAGS: [HeaderName; 2] = [name("x-switchyard-tags"), name("x-litellm-tags")];
/// The first that is there counts.
pub(super) static USERS: [HeaderName; 3] = [
    name("x-switchyard-user"),
    name("x-litellm-customer-id"),
    name("x-litellm-end-user-id"),
];

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
