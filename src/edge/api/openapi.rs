//! What there is, for programs.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::{fleet, insight, keys, records, tenants};
use crate::edge::admin::told;

#[derive(OpenApi)]
#[openapi(
    info(title = "Switchyard admin API", description = "Keys, tenants, spend, providers and the journal of one gateway."),
    paths(
        keys::list, keys::create, keys::one, keys::amend, keys::remove, keys::rotate,
        keys::block, keys::unblock, keys::create_admin,
        tenants::list, tenants::one, tenants::put, tenants::remove, tenants::accounts,
        records::spend, records::journal,
        fleet::providers, fleet::set_provider, fleet::set_key, fleet::pools,
        insight::tree, insight::explain, insight::config, insight::reload,
    ),
    modifiers(&ByKey),
    security(("admin_key" = [])),
)]
struct Document;

struct ByKey;

impl utoipa::Modify for ByKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "an admin key: sya_…, or admin.key of the configuration",
            ))
            .build();
        document
            .components
            .get_or_insert_with(Default::default)
            .add_security_scheme("admin_key", SecurityScheme::Http(scheme));
    }
}

/// `GET /admin/openapi.json`: holds nothing of this gateway's, so whoever reaches the listener may read it.
pub(super) async fn document() -> Response {
    match Document::openapi().to_json() {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, &serde_json::Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn o4_the_document_names_every_route_and_no_other() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let mut told = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                told.insert((method.clone(), path.clone()));
            }
        }
        let routed: BTreeSet<(String, String)> = super::super::ROUTES
            .iter()
            .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        assert_eq!(told, routed);
        // Every one says what it answers to who has no key.
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, told) in methods.as_object().unwrap() {
                assert!(told["responses"]["401"].is_object(), "{method} {path}");
            }
        }
    }
}
