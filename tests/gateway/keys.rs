//! Keys of the gateway's own: made, used, narrowed and ended while it runs.

use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client};
use switchyard_chaos::mock::MockProvider;
use tokio::time::Instant;

use crate::frame::{Gateway, KEY, PATH, alone, chat, code_of, mock, pair, provider};

/// A change made beside the gateway is in force after this long at most.
const SOON: Duration = Duration::from_secs(1);

fn bearer(key: &str) -> Vec<(String, String)> {
    vec![("authorization".to_owned(), format!("Bearer {key}"))]
}

/// Runs the command beside the gateway, on its store.
fn command(gateway: &Gateway, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(arguments)
        .arg("--json")
        .arg("--config")
        .arg(gateway.config_path())
        .output()
        .unwrap()
}

fn told(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Made {
    id: String,
    secret: String,
}

fn made(told: &Value) -> Made {
    Made {
        id: told["key"]["id"].as_str().unwrap().to_owned(),
        secret: told["secret"].as_str().unwrap().to_owned(),
    }
}

fn create(gateway: &Gateway, more: &[&str]) -> Made {
    let arguments: Vec<&str> = ["keys", "create"].iter().chain(more).copied().collect();
    made(&told(&command(gateway, &arguments)))
}

async fn ask(gateway: &Gateway, key: &str, model: &str) -> Answer {
    let mut client = Client::connect(gateway.address).await.unwrap();
    let body = chat(model);
    client.post_json(PATH, &bearer(key), &body).await.unwrap()
}

async fn get(gateway: &Gateway, key: &str, path: &str) -> Answer {
    let mut client = Client::connect(gateway.address).await.unwrap();
    client.get(path, &bearer(key)).await.unwrap()
}

/// Asks until the answer has this status, and says how long that took.
async fn until(gateway: &Gateway, key: &str, status: u16) -> Duration {
    let began = Instant::now();
    loop {
        let answer = ask(gateway, key, "p").await;
        if answer.status() == status {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < 10 * SOON,
            "still {} and not {status}: {}",
            answer.status(),
            answer.json()
        );
        // Seldom enough not to be taken for one who guesses.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
}

async fn models(gateway: &Gateway, key: &str) -> Vec<String> {
    let answer = get(gateway, key, "/v1/models").await;
    assert_eq!(answer.status(), 200);
    let told = answer.json();
    let list = told["data"].as_array().unwrap().iter();
    list.map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn two() -> (MockProvider, MockProvider) {
    (mock("a").await, mock("b").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_a_key_made_beside_the_gateway_works_within_a_second_and_after_a_restart() {
    let a = mock("a").await;
    let mut gateway = alone(&a, "").await;
    let key = create(&gateway, &["--name", "app"]);
    assert!(key.secret.starts_with("sy_live_"), "{}", key.secret);
    assert!(until(&gateway, &key.secret, 200).await <= SOON);
    // One that is written in another header is the same one.
    let mut client = gateway.client().await;
    let fields = vec![("x-api-key".to_owned(), key.secret.clone())];
    let answer = client.post_json(PATH, &fields, &chat("p")).await.unwrap();
    assert_eq!(answer.status(), 200);
    gateway.restart().await;
    assert_eq!(ask(&gateway, &key.secret, "p").await.status(), 200);
    assert_eq!(
        ask(&gateway, KEY, "p").await.status(),
        200,
        "the file's key stays"
    );
    // Nothing that is kept or told holds the secret.
    let secret = key.secret.rsplit('_').nth(1).unwrap();
    gateway.stop().await;
    let mut looked = Vec::new();
    let mut folders = vec![gateway.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let held = std::fs::read(&path).unwrap();
            let mut parts = held.windows(secret.len());
            assert!(
                !parts.any(|part| part == secret.as_bytes()),
                "{}",
                path.display()
            );
            looked.extend(path.extension().map(std::ffi::OsStr::to_owned));
        }
    }
    assert!(
        ["db", "jsonl"]
            .iter()
            .all(|kind| looked.iter().any(|one| one == kind))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a03_a_key_that_is_blocked_expired_or_deleted_opens_nothing_within_a_second() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let blocked = create(&gateway, &["--name", "one"]);
    let deleted = create(&gateway, &["--name", "two"]);
    let expired = create(&gateway, &["--name", "three", "--expires", "3s"]);
    for key in [&blocked, &deleted, &expired] {
        until(&gateway, &key.secret, 200).await;
    }
    told(&command(&gateway, &["keys", "block", &blocked.id]));
    assert!(until(&gateway, &blocked.secret, 401).await <= SOON);
    told(&command(&gateway, &["keys", "unblock", &blocked.id]));
    assert!(until(&gateway, &blocked.secret, 200).await <= SOON);
    told(&command(&gateway, &["keys", "delete", &deleted.id]));
    assert!(until(&gateway, &deleted.secret, 401).await <= SOON);
    assert!(until(&gateway, &expired.secret, 401).await <= Duration::from_secs(4));
    // All who are refused read the same, and so does a key that never was (attack A02).
    let mut texts = Vec::new();
    let never = switchyard::keys::form::make(
        switchyard::keys::form::KeyKind::Client,
        "live",
        None,
        &[3; switchyard::keys::form::RANDOM],
    );
    for key in [
        &deleted.secret,
        &expired.secret,
        never.text.expose(),
        "sk-nobody",
    ] {
        let answer = ask(&gateway, key, "p").await;
        assert_eq!(answer.status(), 401);
        let mut text = answer.json();
        text["error"]["request_id"] = Value::Null;
        texts.push(text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    let metrics = gateway.metrics().await;
    for why in ["blocked", "expired", "unknown"] {
        let line = format!("switchyard_auth_fail_total{{why=\"{why}\"}}");
        assert!(metrics.contains(&line), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_a_rotated_key_has_two_secrets_for_as_long_as_was_said() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let first = create(&gateway, &["--name", "app"]);
    until(&gateway, &first.secret, 200).await;
    let rotate = ["keys", "rotate", &first.id, "--overlap", "3s"];
    let second = made(&told(&command(&gateway, &rotate)));
    assert_eq!(second.id, first.id);
    assert_ne!(second.secret, first.secret);
    until(&gateway, &second.secret, 200).await;
    assert_eq!(
        ask(&gateway, &first.secret, "p").await.status(),
        200,
        "both are good"
    );
    assert!(until(&gateway, &first.secret, 401).await <= Duration::from_secs(4));
    assert_eq!(ask(&gateway, &second.secret, "p").await.status(), 200);
    // Without an overlap the old one ends at once.
    let third = made(&told(&command(&gateway, &["keys", "rotate", &first.id])));
    assert!(until(&gateway, &second.secret, 401).await <= SOON);
    assert_eq!(ask(&gateway, &third.secret, "p").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_a_key_has_limits_and_budgets_of_its_own_and_its_tenants() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    told(&command(
        &gateway,
        &["tenants", "create", "acme", "--requests-per-minute", "3"],
    ));
    told(&command(
        &gateway,
        &["tenants", "create", "acme", "--team", "search"],
    ));
    let of = ["--tenant", "acme", "--team", "search"];
    let narrow = create(
        &gateway,
        &[&of[..], &["--name", "one", "--requests-per-minute", "1"]].concat(),
    );
    let wide = create(&gateway, &[&of[..], &["--name", "two"]].concat());
    until(&gateway, &wide.secret, 200).await;
    assert_eq!(ask(&gateway, &narrow.secret, "p").await.status(), 200);
    let second = ask(&gateway, &narrow.secret, "p").await;
    assert_eq!(
        (second.status(), code_of(&second).as_str()),
        (429, "rate_limit_exceeded")
    );
    // Three of the tenant's minute are used up.
    assert_eq!(ask(&gateway, &wide.secret, "p").await.status(), 200);
    assert_eq!(ask(&gateway, &wide.secret, "p").await.status(), 429);
    assert_eq!(
        ask(&gateway, KEY, "p").await.status(),
        200,
        "another tenant's minute"
    );
    // A budget of nothing, set while it runs: no price is known of the mock's model.
    let poor = create(&gateway, &["--name", "poor"]);
    until(&gateway, &poor.secret, 200).await;
    told(&command(
        &gateway,
        &["keys", "set", &poor.id, "--budget", "0/day"],
    ));
    let shown = told(&command(&gateway, &["keys", "show", &poor.id]));
    assert_eq!(shown["key"]["terms"]["budgets"][0]["usd"], "0");
    assert!(until(&gateway, &poor.secret, 402).await <= SOON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_key_sees_and_reaches_what_it_was_granted_and_nothing_else() {
    let (a, b) = two().await;
    let config = format!(
        "{}{}[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 100000 }}, {{ target = \"b/m-b\", weight = 0.001 }}]\n[pools.q]\ntargets = [\"a/m-a\"]\n[pools.r]\ntargets = [\"b/m-b\"]\n",
        provider("a", &a),
        provider("b", &b),
    );
    let gateway = Gateway::start(&config).await;
    let only_q = create(&gateway, &["--name", "q", "--pools", "q"]);
    let only_b = create(&gateway, &["--name", "b", "--providers", "b"]);
    let embeds = create(&gateway, &["--name", "e", "--operations", "embeddings"]);
    let nowhere = create(&gateway, &["--name", "n", "--regions", "eu-*"]);
    until(&gateway, &only_b.secret, 200).await;
    assert_eq!(models(&gateway, &only_q.secret).await, ["q"]);
    let missing = ask(&gateway, "sk-nobody", "p").await;
    assert_eq!(missing.status(), 401);
    let absent = ask(&gateway, &only_q.secret, "no-such").await;
    let foreign = ask(&gateway, &only_q.secret, "p").await;
    assert_eq!(
        (foreign.status(), code_of(&foreign)),
        (absent.status(), code_of(&absent))
    );
    assert_eq!(foreign.status(), 404);
    assert_eq!(
        get(&gateway, &only_q.secret, "/v1/models/p").await.status(),
        404
    );
    // The pool prefers a a hundred million times, and the key is served by b.
    let before = a.log().len();
    for _ in 0..20 {
        let answer = ask(&gateway, &only_b.secret, "p").await;
        assert_eq!(answer.header("x-switchyard-provider"), Some("b"));
    }
    assert_eq!(a.log().len(), before);
    let seen = models(&gateway, &only_b.secret).await;
    assert!(seen.contains(&"p".to_owned()) && seen.contains(&"r".to_owned()));
    assert!(!seen.contains(&"q".to_owned()), "{seen:?}");
    let kept_in = ask(&gateway, &only_b.secret, "q").await;
    assert_eq!(
        (kept_in.status(), &*code_of(&kept_in)),
        (503, "region_unavailable")
    );
    let told = get(&gateway, &only_b.secret, "/v1/models/p").await.json();
    assert_eq!(told["targets"], json!(["b/m-b"]));
    assert_eq!(ask(&gateway, &embeds.secret, "p").await.status(), 404);
    // Nobody says where these providers are.
    assert_eq!(ask(&gateway, &nowhere.secret, "p").await.status(), 503);
    assert_eq!(models(&gateway, &nowhere.secret).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_no_failover_leads_to_who_was_not_granted() {
    let (a, b) = two().await;
    let gateway = pair(&a, &b, "").await;
    let only_a = create(&gateway, &["--name", "a", "--providers", "a"]);
    until(&gateway, &only_a.secret, 200).await;
    a.set(switchyard_chaos::mock::Behaviour::status(500));
    let before = b.log().len();
    for _ in 0..8 {
        let answer = ask(&gateway, &only_a.secret, "p").await;
        assert!(answer.status() >= 500, "{}", answer.status());
    }
    assert_eq!(b.log().len(), before, "nothing went to b");
    assert_eq!(
        ask(&gateway, KEY, "p").await.status(),
        200,
        "whom b may serve is served"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a06_a_key_is_never_wider_than_its_tenant_and_team() {
    let a = mock("a").await;
    let file = "[tenants.acme]\npools = [\"p\", \"q*\"]\nrequests_per_minute = 100\nbudgets = [{ usd = \"10\", period = \"day\" }]\n[tenants.acme.teams.search]\npools = [\"p\"]\noperations = [\"chat\"]\nlane = \"batch\"\n";
    let gateway = alone(&a, file).await;
    let of = ["keys", "create", "--name", "x", "--tenant", "acme"];
    for (more, part) in [
        (vec!["--pools", "other"], "pools"),
        (vec!["--pools", "*"], "pools"),
        (vec!["--team", "search", "--pools", "q1"], "pools"),
        (
            vec!["--team", "search", "--operations", "embeddings"],
            "operations",
        ),
        (vec!["--team", "search", "--lane", "interactive"], "lane"),
        (vec!["--requests-per-minute", "101"], "requests_per_minute"),
        (vec!["--budget", "11/day"], "budgets"),
    ] {
        let asked: Vec<&str> = of.iter().chain(&more).copied().collect();
        let text = refused(&command(&gateway, &asked));
        assert!(
            text.contains(part) && text.contains("beyond"),
            "{more:?}: {text}"
        );
    }
    // What it leaves out it has as far as its team has it.
    let key = create(
        &gateway,
        &["--name", "x", "--tenant", "acme", "--team", "search"],
    );
    told(&command(&gateway, &["keys", "list", "--tenant", "acme"]));
    // A tenant with a budget needs prices; let it have none.
    crate::frame::write_config(
        &gateway.folder,
        &format!(
            "{}[pools.p]\ntargets = [\"a/m-a\"]\n[pools.q1]\ntargets = [\"a/m-a\"]\n{}",
            provider("a", &a),
            file.replace("budgets = [{ usd = \"10\", period = \"day\" }]\n", "")
        ),
    );
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    until(&gateway, &key.secret, 200).await;
    assert_eq!(models(&gateway, &key.secret).await, ["p"]);
    assert_eq!(ask(&gateway, &key.secret, "q1").await.status(), 404);
    let set = refused(&command(
        &gateway,
        &["keys", "set", &key.id, "--pools", "p,q1"],
    ));
    assert!(set.contains("pools"), "{set}");
    // The team is narrowed in the file, and the key with it.
    crate::frame::write_config(
        &gateway.folder,
        &format!(
            "{}[pools.p]\ntargets = [\"a/m-a\"]\n[tenants.acme.teams.search]\npools = [\"z\"]\n",
            provider("a", &a)
        ),
    );
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    assert_eq!(ask(&gateway, &key.secret, "p").await.status(), 404);
    // The team is gone: the key has no home and opens nothing.
    crate::frame::write_config(
        &gateway.folder,
        &format!(
            "{}[pools.p]\ntargets = [\"a/m-a\"]\n[tenants.acme]\n",
            provider("a", &a)
        ),
    );
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    assert_eq!(ask(&gateway, &key.secret, "p").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x12_known_keys_are_good_while_the_store_is_away_and_new_ones_when_it_is_back() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    // Of the form, and of another house.
    let stranger = create(&alone(&a, "").await, &["--name", "app"]).secret;
    let key = create(&gateway, &["--name", "app"]);
    until(&gateway, &key.secret, 200).await;
    let (there, away) = (gateway.store_path(), gateway.folder.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    // Whether it was made meanwhile nobody can tell.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    until(&gateway, &stranger, 503).await;
    assert_eq!(ask(&gateway, &key.secret, "p").await.status(), 200);
    assert_eq!(ask(&gateway, "anything", "p").await.status(), 401);
    assert_eq!(gateway.actor("root/keys").await["health"], "behind");
    std::fs::rename(&away, &there).unwrap();
    let other = create(&gateway, &["--name", "other"]);
    assert!(until(&gateway, &other.secret, 200).await <= SOON);
    until(&gateway, &stranger, 401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_keys_is_open_until_the_first_one_is_made_and_never_again() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let whole = std::fs::read_to_string(gateway.config_path()).unwrap();
    let start = whole.find("[[clients]]").unwrap();
    let end = whole.find("[providers").unwrap();
    let without = format!("{}{}", &whole[..start], &whole[end..]);
    std::fs::write(gateway.config_path(), without).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    assert_eq!(ask(&gateway, "anything", "p").await.status(), 200);
    let key = create(&gateway, &["--name", "app"]);
    assert!(until(&gateway, "anything", 401).await <= SOON);
    assert_eq!(ask(&gateway, &key.secret, "p").await.status(), 200);
    told(&command(&gateway, &["keys", "delete", &key.id]));
    until(&gateway, &key.secret, 401).await;
    assert_eq!(ask(&gateway, "anything", "p").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a08_odd_names_and_ids_are_refused_and_change_nothing() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let key = create(&gateway, &["--name", "app"]);
    for odd in ["' OR 1=1 --", "%%%%", "a/b", "", "a b", &"x".repeat(200)] {
        refused(&command(&gateway, &["keys", "create", "--name", odd]));
        refused(&command(&gateway, &["keys", "show", "--", odd]));
        refused(&command(&gateway, &["keys", "delete", "--", odd]));
        refused(&command(
            &gateway,
            &["keys", "create", "--name", "y", "--tenant", odd],
        ));
        refused(&command(&gateway, &["tenants", "create", "--", odd]));
    }
    refused(&command(&gateway, &["keys", "create", "--name", "app"]));
    refused(&command(&gateway, &["keys", "create", "--name", "test"]));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let listed = told(&command(&gateway, &["keys", "list"]));
    let listed = listed["keys"].as_array().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], key.id.as_str());
    assert!(listed[0]["created"].as_u64().unwrap() <= now);
    assert!(listed[0].get("digest").is_none() && listed[0].get("secret").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_what_is_changed_beside_the_gateway_is_in_its_journal_with_who_and_what() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let key = create(&gateway, &["--name", "app"]);
    until(&gateway, &key.secret, 200).await;
    told(&command(&gateway, &["keys", "block", &key.id]));
    until(&gateway, &key.secret, 401).await;
    told(&command(&gateway, &["tenants", "create", "acme"]));
    told(&command(&gateway, &["keys", "delete", &key.id]));
    let mut events = Vec::new();
    for _ in 0..20 {
        let records = gateway.records().await;
        let told = records.iter().filter(|record| record["kind"] == "event");
        events = told.map(ToString::to_string).collect();
        if events.iter().any(|event| event.contains("key.removed")) {
            break;
        }
    }
    for what in ["key.issued", "key.changed", "key.removed"] {
        let event = events.iter().find(|event| event.contains(what));
        assert!(event.is_some_and(|event| event.contains(&key.id)), "{what}");
    }
    assert!(events.iter().any(|event| event.contains("by command line")));
    assert!(events.iter().any(|event| event.contains("tenant.changed")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g11_another_pepper_than_the_keys_were_made_with_is_told_and_opens_nothing() {
    let a = mock("a").await;
    let mut gateway = alone(&a, "").await;
    let key = create(&gateway, &["--name", "app"]);
    until(&gateway, &key.secret, 200).await;
    let pepper = gateway.folder.path().join("switchyard.db.pepper");
    let good = std::fs::read_to_string(&pepper).unwrap();
    std::fs::write(&pepper, "0".repeat(64)).unwrap();
    let text = refused(&command(&gateway, &["keys", "create", "--name", "b"]));
    assert!(text.contains("keys.pepper"), "{text}");
    gateway.restart().await;
    let answer = ask(&gateway, &key.secret, "p").await;
    assert_eq!(answer.status(), 503, "not a word that the key were wrong");
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert_eq!(
        ask(&gateway, KEY, "p").await.status(),
        200,
        "the file's key is good"
    );
    std::fs::write(&pepper, good).unwrap();
    assert!(until(&gateway, &key.secret, 200).await <= SOON);
    // The same where a reload brings it: not known is not wrong, and nobody is taken for one who guesses.
    let path = gateway.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    // As readable as the one that was made: by nobody else.
    let other = gateway.folder.path().join("other-pepper");
    std::fs::copy(&pepper, &other).unwrap();
    std::fs::write(&other, "1".repeat(64)).unwrap();
    let with_other = format!("{text}\n[keys]\npepper = \"file:{}\"\n", other.display());
    std::fs::write(&path, with_other).unwrap();
    let reloaded = gateway.admin_post("/admin/reload").await;
    assert_eq!(reloaded.status(), 200, "{}", reloaded.json());
    assert_eq!(ask(&gateway, &key.secret, "p").await.status(), 503);
    std::fs::write(&path, text).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    assert!(until(&gateway, &key.secret, 200).await <= SOON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_people_read_tables_and_see_a_secret_once() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let plain = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(arguments)
            .arg("--config")
            .arg(gateway.config_path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let made = plain(&["keys", "create", "--name", "app", "--expires", "2099-01-01"]);
    let secret = made.lines().find(|line| line.starts_with("sy_live_"));
    let secret = secret.unwrap().to_owned();
    let listed = plain(&["keys", "list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].starts_with("ID") && lines[0].contains("STATE"));
    for word in ["app", "default", "active", "2099-01-01T00:00:00Z"] {
        assert!(lines[1].contains(word), "{word}: {listed}");
    }
    let id = secret.split('_').nth(2).unwrap();
    assert!(lines[1].starts_with(id));
    let shown = plain(&["keys", "show", id]);
    assert!(shown.contains("state") && shown.contains("command line"));
    assert!(!shown.contains(&secret) && !listed.contains(&secret));
    plain(&["keys", "block", id]);
    assert!(plain(&["keys", "list"]).contains("blocked"));
    assert!(plain(&["tenants", "list"]).contains("default"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a04_a_key_of_the_same_name_in_another_tenant_finds_nothing_of_what_was_kept() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    told(&command(&gateway, &["tenants", "create", "acme"]));
    // The file's client has this name as well, in the default tenant.
    let other = create(&gateway, &["--tenant", "acme", "--name", "test"]);
    until(&gateway, &other.secret, 200).await;
    let mut client = gateway.client().await;
    let body = json!({"model": "p", "input": "a canary"});
    let kept = client
        .post_json("/v1/responses", &bearer(KEY), &body)
        .await
        .unwrap();
    assert_eq!(kept.status(), 200, "{}", kept.json());
    let path = format!("/v1/responses/{}", kept.json()["id"].as_str().unwrap());
    assert_eq!(get(&gateway, KEY, &path).await.status(), 200);
    assert_eq!(get(&gateway, &other.secret, &path).await.status(), 404);
}

/// Rules of the guard and the texts that are kept go by a client's name, and a tenant may call its key as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a04_what_the_file_says_of_a_client_is_not_said_of_another_tenants_key_of_its_name() {
    let a = mock("a").await;
    let own = "[[clients]]\nname = \"app\"\nkey = \"file:FOLDER/app\"\nguard = { requests = { email = \"block\" } }\n[journal]\ntext_of = [\"app\", \"acme#kept\"]\ntext_key = \"file:FOLDER/key-that-wraps-the-keys-of-texts\"\n";
    let gateway = alone(&a, own).await;
    told(&command(&gateway, &["tenants", "create", "acme"]));
    let namesake = create(&gateway, &["--tenant", "acme", "--name", "app"]);
    let kept = create(&gateway, &["--tenant", "acme", "--name", "kept"]);
    until(&gateway, &kept.secret, 200).await;
    let body =
        json!({"model": "p", "messages": [{"role": "user", "content": "to anna@example.com"}]});
    let ask = async |key: &str| {
        let mut client = gateway.client().await;
        let answer = client.post_json(PATH, &bearer(key), &body).await.unwrap();
        answer.status()
    };
    let texts = async || {
        let records = gateway.records().await;
        records
            .iter()
            .filter(|record| record["kind"] == "text")
            .count()
    };
    let before = texts().await;
    assert_eq!(before, 2, "of the one that is kept, a prompt and an answer");
    assert_eq!(
        ask("sk-canary-app").await,
        400,
        "the file's own client is guarded"
    );
    assert_eq!(ask(&namesake.secret).await, 200);
    assert_eq!(texts().await, before, "nothing of its namesake is kept");
    assert_eq!(ask(&kept.secret).await, 200);
    assert_eq!(texts().await, before + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_tenant_made_while_it_runs_binds_its_keys_to_what_providers_promise() {
    let (a, b) = two().await;
    let config = format!(
        "{}{}zero_retention = true\n[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 1000 }}, \"b/m-b\"]\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    told(&command(
        &gateway,
        &["tenants", "create", "acme", "--zero-retention"],
    ));
    let key = create(
        &gateway,
        &[
            "--tenant",
            "acme",
            "--name",
            "app",
            "--zero-retention",
            "false",
        ],
    );
    until(&gateway, &key.secret, 200).await;
    for _ in 0..10 {
        assert_eq!(ask(&gateway, &key.secret, "p").await.status(), 200);
    }
    assert_eq!(a.requests(), 0);
    // And it is seen by who asks why.
    let path = format!("/admin/explain?model=p&client={}", key.id);
    let why = gateway.admin_get(&path).await.to_string();
    assert!(why.contains("no promise of zero retention"), "{why}");
    told(&command(
        &gateway,
        &["keys", "set", &key.id, "--not-providers", "b"],
    ));
    until(&gateway, &key.secret, 503).await;
    assert_eq!(a.requests(), 0);
    let free = create(&gateway, &["--name", "free"]);
    until(&gateway, &free.secret, 200).await;
    assert!(a.requests() > 0, "the way was open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_every_tenant_is_listed_however_many_there_are() {
    use switchyard::store::embedded::change_many;
    use switchyard::store::keys::{KeyChange, StoredTenant};
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let settings = switchyard::config::StoreSettings {
        path: gateway.store_path(),
        ..Default::default()
    };
    create(&gateway, &["--name", "app"]);
    let tenants: Vec<KeyChange> = (0..1_100)
        .map(|number| {
            KeyChange::PutTenant(Box::new(StoredTenant {
                name: format!("t-{number}"),
                form: Default::default(),
                version: 0,
            }))
        })
        .collect();
    change_many(&settings, &tenants, |_| {}).unwrap();
    let listed = told(&command(&gateway, &["tenants", "list"]));
    // And the default one, of the first key.
    assert_eq!(listed["tenants"].as_array().unwrap().len(), 1_101);
}

/// Five thousand keys of the store's, among them the one whose text comes back.
fn many_keys(gateway: &Gateway) -> String {
    use switchyard::config::StoreSettings;
    use switchyard::keys::Pepper;
    use switchyard::keys::form::{KeyKind, RANDOM, make};
    use switchyard::store::embedded::{change_many, pepper};
    use switchyard::store::keys::{KeyChange, KeyUse, StoredKey};

    let settings = StoreSettings {
        path: gateway.folder.path().join("switchyard.db"),
        ..StoreSettings::default()
    };
    let pepper = Pepper::new(&pepper(&settings, None, true).unwrap());
    let mut text = String::new();
    let adds: Vec<KeyChange> = (0_u32..5_000)
        .map(|nth| {
            let mut bytes = [7; RANDOM];
            for (to, from) in bytes.iter_mut().zip(nth.to_be_bytes()) {
                *to = from;
            }
            let made = make(KeyKind::Client, "live", None, &bytes);
            text = made.text.expose().to_owned();
            let key = StoredKey {
                id: made.id,
                r#use: KeyUse::Client,
                env: "live".to_owned(),
                name: format!("app-{nth}"),
                tenant: Some("default".to_owned()),
                team: None,
                grant: Default::default(),
                terms: Default::default(),
                scopes: Vec::new(),
                expires: None,
                blocked: false,
                created: 1,
                created_by: "test".to_owned(),
                changed_by: "test".to_owned(),
                pepper: String::new(),
                digest: pepper.digest(made.text.expose().as_bytes()),
                before: None,
                version: 0,
            };
            KeyChange::Add {
                key: Box::new(key),
                once: None,
            }
        })
        .collect();
    change_many(&settings, &adds, |_| {}).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c08_thousands_of_keys_are_put_in_force_again_and_again_and_no_request_notices() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let first = create(&gateway, &["--name", "first"]);
    until(&gateway, &first.secret, 200).await;
    let last = many_keys(&gateway);
    assert!(until(&gateway, &last, 200).await < 10 * SOON);
    let over = std::sync::atomic::AtomicBool::new(false);
    let asked = std::sync::atomic::AtomicU64::new(0);
    let all_asked = || asked.load(std::sync::atomic::Ordering::Relaxed);
    let asking = async {
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            for key in [KEY, &first.secret, &last] {
                let answer = ask(&gateway, key, "p").await;
                assert_eq!(answer.status(), 200, "{}", answer.json());
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    };
    let reloading = async {
        let good = std::fs::read_to_string(gateway.config_path()).unwrap();
        let mut longest = Duration::ZERO;
        for round in 0..5 {
            let changed = format!("{good}\n[tenants.of-round-{round}]\nweight = 2\n");
            std::fs::write(gateway.config_path(), changed).unwrap();
            let began = Instant::now();
            let reloaded = gateway.admin_post("/admin/reload").await;
            assert_eq!(reloaded.json()["result"], "applied", "{}", reloaded.json());
            longest = longest.max(began.elapsed());
            // However slow the machine is: under each configuration all of them are asked with.
            let before = all_asked();
            while all_asked() < before + 4 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        longest
    };
    let ((), longest) = tokio::join!(asking, reloading);
    assert!(all_asked() > 15, "{}", all_asked());
    // A tenth of the keys that are promised in a second, unoptimised and beside others.
    assert!(longest < 3 * SOON, "{longest:?}");
    let metrics = gateway.metrics().await;
    let seconds = |what: &str| format!("switchyard_reload_seconds_count{{what=\"{what}\"}} ");
    for (what, least) in [("configuration", 5), ("keys", 2)] {
        let told = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&seconds(what)))
            .unwrap_or_else(|| panic!("{what} is not in\n{metrics}"));
        assert!(
            told.trim().parse::<u64>().unwrap() >= least,
            "{what}: {told}"
        );
    }
}
