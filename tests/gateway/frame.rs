//! A gateway in a temporary folder with mock providers behind it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use switchyard::app::App;
use switchyard::config::Source;
use switchyard_chaos::client::{Answer, Client, SseStream};
use switchyard_chaos::mock::{Dialect, MockOptions, MockProvider, Weather};

pub const PATH: &str = "/v1/chat/completions";
pub const KEY: &str = "sk-canary-client-key-000001";
pub const ADMIN_KEY: &str = "sk-canary-admin-key-000002";

/// A running gateway and the folder it lives in.
pub struct Gateway {
    pub app: Option<App>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: tempfile::TempDir,
}

/// A fast, small, healthy provider.
pub fn quick() -> Weather {
    Weather::default()
        .tokens(6)
        .first_content(Duration::from_millis(2))
        .gap(Duration::from_millis(1))
}

pub async fn mock(name: &str) -> MockProvider {
    mock_of(Dialect::OpenAi, name).await
}

pub async fn mock_of(dialect: Dialect, name: &str) -> MockProvider {
    let options = MockOptions {
        checks: false,
        ..MockOptions::for_dialect(dialect)
            .named(name)
            .weather(quick())
    };
    MockProvider::start(options).await.unwrap()
}

/// The text of a `[providers.…]` table for a mock.
pub fn provider(name: &str, mock: &MockProvider) -> String {
    provider_with(name, mock, &["env:none"])
}

/// What a configuration calls the dialect of a mock.
pub fn name_of(dialect: Dialect) -> &'static str {
    dialect.name()
}

pub fn provider_with(name: &str, mock: &MockProvider, keys: &[&str]) -> String {
    let dialect = name_of(mock.dialect());
    let mut text = format!(
        "[providers.{name}]\ndialect = \"{dialect}\"\nbase_url = \"{}\"\nallow_private_address = true\nmodels = [\"m-{name}\"]\n",
        mock.base_url()
    );
    // Requests are signed with an access key and its id.
    let mut kind = "";
    if mock.dialect() == Dialect::Bedrock {
        text.push_str("region = \"eu-north-1\"\n");
        kind = "-pair";
    }
    let keys: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(index, _)| {
            format!("{{ name = \"k{index}\", secret = \"file:FOLDER/{name}{kind}-k{index}\" }}")
        })
        .collect();
    let _ = writeln!(text, "keys = [{}]", keys.join(", "));
    text
}

impl Gateway {
    /// Starts with this configuration; listeners, journal and keys are added.
    pub async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchyard.toml");
        write_config(&folder, config);
        let source = Source { file: Some(path) };
        let settings = source.load().unwrap_or_else(|error| panic!("{error}"));
        let app = App::start(settings, source).await.unwrap();
        let (address, admin) = (app.address().unwrap(), app.admin_address().unwrap());
        let gateway = Self {
            app: Some(app),
            address,
            admin,
            folder,
        };
        gateway.until_ready().await;
        gateway
    }

    async fn until_ready(&self) {
        for _ in 0..500 {
            if let Ok(mut client) = Client::connect(self.address).await
                && client
                    .get("/ready", &[])
                    .await
                    .is_ok_and(|answer| answer.status() == 200)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the gateway never became ready");
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("switchyard.toml")
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await.unwrap()
    }

    pub async fn ask(&self, model: &str) -> Answer {
        self.post(&chat(model)).await
    }

    pub async fn post(&self, body: &Value) -> Answer {
        self.client()
            .await
            .post_json(PATH, &auth(), body)
            .await
            .unwrap()
    }

    pub async fn stream(&self, model: &str) -> SseStream {
        let mut body = chat(model);
        body["stream"] = true.into();
        self.stream_of(&body).await
    }

    pub async fn stream_of(&self, body: &Value) -> SseStream {
        let mut client = self.client().await;
        client
            .stream(PATH, &auth(), body)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
    }

    pub async fn admin_get(&self, path: &str) -> Value {
        let mut client = Client::connect(self.admin).await.unwrap();
        client.get(path, &admin_auth()).await.unwrap().json()
    }

    pub async fn admin_post(&self, path: &str) -> Answer {
        let mut client = Client::connect(self.admin).await.unwrap();
        client
            .post_json(path, &admin_auth(), &json!({}))
            .await
            .unwrap()
    }

    pub async fn metrics(&self) -> String {
        let mut client = Client::connect(self.admin).await.unwrap();
        let answer = client.get("/metrics", &[]).await.unwrap();
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// One actor of the tree, by its path.
    pub async fn actor(&self, path: &str) -> Value {
        let tree = self.admin_get("/admin/tree").await;
        let actors = tree["actors"].as_array().unwrap();
        actors
            .iter()
            .find(|actor| actor["path"] == path)
            .cloned()
            .unwrap_or_default()
    }

    /// Every record of the journal so far.
    pub async fn records(&self) -> Vec<Value> {
        tokio::time::sleep(Duration::from_millis(80)).await;
        let mut files: Vec<_> = std::fs::read_dir(self.folder.path().join("journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "jsonl")
            })
            .collect();
        files.sort();
        files
            .iter()
            .flat_map(|path| {
                std::fs::read_to_string(path)
                    .unwrap()
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .filter_map(|line| serde_json::from_str(&line).ok())
            .collect()
    }

    /// Stops it and starts it again in the same folder.
    pub async fn restart(&mut self) {
        self.stop().await;
        let source = Source {
            file: Some(self.config_path()),
        };
        let settings = source.load().unwrap_or_else(|error| panic!("{error}"));
        let app = App::start(settings, source).await.unwrap();
        (self.address, self.admin) = (app.address().unwrap(), app.admin_address().unwrap());
        self.app = Some(app);
        self.until_ready().await;
    }

    pub fn store_path(&self) -> PathBuf {
        self.folder.path().join("switchyard.db")
    }

    /// Waits until so many requests are booked.
    pub async fn booked(&self, requests: u64) {
        for _ in 0..500 {
            let report = self.admin_get("/admin/spend?by=tenant").await;
            let lines = report["lines"].as_array().unwrap();
            let booked: u64 = lines
                .iter()
                .map(|line| line["requests"].as_u64().unwrap())
                .sum();
            if booked >= requests {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("what was spent was never booked");
    }

    pub async fn stop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop().await;
        }
    }
}

pub fn write_config(folder: &tempfile::TempDir, config: &str) {
    let place = folder.path().display().to_string();
    for name in ["client", "admin"] {
        let text = if name == "client" { KEY } else { ADMIN_KEY };
        secret(folder, name, text);
    }
    let config = config.replace("FOLDER", &place);
    for reference in config.split("file:").skip(1) {
        let path = reference.split('"').next().unwrap();
        let name = path.rsplit('/').next().unwrap();
        if !["client", "admin"].contains(&name) {
            let id = if name.contains("-pair") { "AKID:" } else { "" };
            secret(folder, name, &format!("{id}sk-canary-{name}"));
        }
    }
    let journal = format!("[journal]\npath = \"{place}/journal\"\n");
    let (mut whole, config) = if config.contains("[journal]\n") {
        (String::new(), config.replace("[journal]\n", &journal))
    } else {
        (journal, config)
    };
    if !config.contains("[store]") {
        let _ = write!(whole, "[store]\npath = \"{place}/switchyard.db\"\n");
    }
    if !config.contains("[listen]") {
        whole.push_str("[listen]\naddress = \"127.0.0.1:0\"\ndrain_ms = 2000\n");
    }
    let _ = write!(
        whole,
        "[admin]\naddress = \"127.0.0.1:0\"\nkey = \"file:{place}/admin\"\nallow_fault_injection = true\n[[clients]]\nname = \"test\"\nkey = \"file:{place}/client\"\n{config}"
    );
    std::fs::write(folder.path().join("switchyard.toml"), whole).unwrap();
}

fn secret(folder: &tempfile::TempDir, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn auth() -> Vec<(String, String)> {
    vec![("authorization".to_owned(), format!("Bearer {KEY}"))]
}

pub fn admin_auth() -> Vec<(String, String)> {
    vec![("authorization".to_owned(), format!("Bearer {ADMIN_KEY}"))]
}

pub fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]})
}

pub fn text_of(answer: &Answer) -> String {
    answer.json()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The code of an error answer.
pub fn code_of(answer: &Answer) -> String {
    answer.json()["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The weather of those who are to count as equally fast: so long that what a busy machine adds is a small part of it.
pub fn steady() -> Weather {
    quick().first_content(Duration::from_millis(40))
}

/// The weather of who is to be asked second. A weight alone would not do: who was measured half as slow again, on a busy
/// machine by chance, is not asked first, whatever its weight.
pub fn behind() -> Weather {
    quick().first_content(Duration::from_millis(100))
}

/// A gateway whose pool `p` asks `a` first and `b`, whose weather is [`behind`] from here on, when `a` fails.
pub async fn pair(a: &MockProvider, b: &MockProvider, more: &str) -> Gateway {
    b.weather(behind());
    let config = format!(
        "{}{}[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 100000 }}, {{ target = \"b/m-b\", weight = 0.001 }}]\n{more}",
        provider("a", a),
        provider("b", b),
    );
    Gateway::start(&config).await
}

/// A gateway whose pool `p` has one provider and whose listener has `listen` among its settings.
pub async fn alone_with(a: &MockProvider, listen: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{listen}{}[pools.p]\ntargets = [\"a/m-a\"]\n{more}",
        provider("a", a)
    ))
    .await
}

/// A gateway whose pool `p` has one provider.
pub async fn alone(a: &MockProvider, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{}[pools.p]\ntargets = [\"a/m-a\"]\n{more}",
        provider("a", a)
    ))
    .await
}
