//! The admin API of a running gateway, asked the same questions as the store.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard::config::{Secret, read_reference};
use switchyard::keys::{KeyCommand, Page};

use super::way::Refused;

pub(super) struct Remote {
    base: String,
    key: Secret,
}

/// A gateway that does not answer in this time is not asked any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is sent: a method, a path below `/admin/v1`, a body.
type Call = (reqwest::Method, String, Option<Value>);

impl Remote {
    pub(super) fn new(url: &str, key: &str) -> Result<Self, String> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("--admin is an address such as http://127.0.0.1:8081".to_owned());
        }
        let key = read_reference(key).map_err(|why| format!("--key: {why}"))?;
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { base, key })
    }

    pub(super) fn ask(&self, command: KeyCommand) -> Result<Value, Refused> {
        let (method, path, body) = call(command);
        let asked = async {
            switchyard::upstream::install_crypto();
            let client = reqwest::Client::builder()
                .timeout(PATIENCE)
                .redirect(reqwest::redirect::Policy::none())
                .build()?;
            let mut request = client
                .request(method, format!("{}/admin/v1/{path}", self.base))
                .header("authorization", format!("Bearer {}", self.key.expose()));
            if let Some(body) = body {
                let request_body = body.to_string();
                request = request
                    .header("content-type", "application/json")
                    .body(request_body);
            }
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.text().await?))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Refused::Told(error.to_string()))?;
        let (status, text) = runtime.block_on(asked).map_err(|error| {
            Refused::Told(format!(
                "{} does not answer ({}); is it the admin listener of a gateway that runs",
                self.base,
                error.without_url()
            ))
        })?;
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            200 | 201 => Ok(told),
            404 if told["error"]["code"] == "not_found" => Err(Refused::NotFound),
            _ => Err(Refused::Told(
                told["error"]["message"]
                    .as_str()
                    .map_or_else(|| format!("the gateway answers {status}"), str::to_owned),
            )),
        }
    }
}

fn list(of: &str, page: Page) -> String {
    let tenant = page.tenant.map(|tenant| format!("&tenant={tenant}"));
    let after = page.after.map(|after| format!("&after={after}"));
    let (tenant, after) = (tenant.unwrap_or_default(), after.unwrap_or_default());
    format!("{of}?limit=1000{tenant}{after}")
}

fn call(command: KeyCommand) -> Call {
    use reqwest::Method;
    match command {
        KeyCommand::Issue { wanted, .. } => (Method::POST, "keys".to_owned(), Some(json!(wanted))),
        KeyCommand::IssueAdmin { wanted, .. } => {
            (Method::POST, "admin-keys".to_owned(), Some(json!(wanted)))
        }
        KeyCommand::Keys(page) => (Method::GET, list("keys", page), None),
        KeyCommand::Key { id } => (Method::GET, format!("keys/{id}"), None),
        KeyCommand::Amend { id, patch } => {
            (Method::PATCH, format!("keys/{id}"), Some(json!(patch)))
        }
        KeyCommand::Rotate { id, overlap } => (
            Method::POST,
            format!("keys/{id}/rotate"),
            Some(json!({"overlap_seconds": overlap})),
        ),
        KeyCommand::Remove { id } => (Method::DELETE, format!("keys/{id}"), None),
        KeyCommand::Tenants(page) => (Method::GET, list("tenants", page), None),
        KeyCommand::Tenant { name } => (Method::GET, format!("tenants/{name}"), None),
        KeyCommand::PutTenant { name, form } => {
            (Method::PUT, format!("tenants/{name}"), Some(json!(form)))
        }
        KeyCommand::RemoveTenant { name } => (Method::DELETE, format!("tenants/{name}"), None),
    }
}
