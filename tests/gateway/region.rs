//! Residency and data policy (row T3): what must stay inside stays inside, whichever way a request goes.
//!
//! `home` is in the Union, `away` is not, and whatever may go wrong at home goes wrong: not one request may reach
//! `away`. Each test first sees that the same request does reach it when nothing is demanded, so that a way that
//! leads nowhere proves nothing.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::Answer;
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::audio::{BOUNDARY, form};
use crate::frame::{Gateway, PATH, auth, chat, code_of, mock, mock_of, provider};

struct Two {
    home: MockProvider,
    away: MockProvider,
    gateway: Gateway,
}

const PINNED: &str =
    "[[clients]]\nname = \"pinned\"\nkey = \"file:FOLDER/pinned\"\ntenant = \"acme\"\n";

fn pinned() -> Vec<(String, String)> {
    vec![(
        "authorization".to_owned(),
        "Bearer sk-canary-pinned".to_owned(),
    )]
}

fn asked(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let more = headers.iter();
    let more = more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    pinned().into_iter().chain(more).collect()
}

impl Two {
    /// Pool `p` has both, `q` only `away`, `chain` falls back from one to the other.
    async fn start(demand: &str, of_pool: &str) -> Self {
        let (home, away) = (mock("home").await, mock("away").await);
        let config = format!(
            "{}regions = [\"eu\"]\n{}regions = [\"us\"]\n[pools.p]\ntargets = [\"home/m-home\", {{ target = \"away/m-away\", weight = 1000 }}]\n{of_pool}\n[pools.chain]\ntargets = [\"home/m-home\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"away/m-away\"]\n[tenants.acme]\n{demand}\n{PINNED}",
            provider("home", &home),
            provider("away", &away),
        );
        let gateway = Gateway::start(&config).await;
        Self {
            home,
            away,
            gateway,
        }
    }

    /// Pool `p` has both, which promise this.
    async fn promising((of_home, of_away): (&str, &str), demand: &str) -> Self {
        let (home, away) = (mock("home").await, mock("away").await);
        let config = format!(
            "{}{of_home}\n{}{of_away}\n[pools.p]\ntargets = [\"home/m-home\", {{ target = \"away/m-away\", weight = 1000 }}]\n[tenants.acme]\n{demand}\n{PINNED}",
            provider("home", &home),
            provider("away", &away),
        );
        let gateway = Gateway::start(&config).await;
        Self {
            home,
            away,
            gateway,
        }
    }

    async fn eu() -> Self {
        Self::start("regions = [\"eu\"]", "").await
    }

    async fn post(&self, path: &str, headers: &[(String, String)], body: &Value) -> Answer {
        let mut client = self.gateway.client().await;
        client.post_json(path, headers, body).await.unwrap()
    }

    async fn ask(&self, model: &str) -> Answer {
        self.post(PATH, &pinned(), &chat(model)).await
    }

    /// Not one byte of a request went out of the Union.
    fn nothing_left(&self) {
        assert_eq!(self.away.requests(), 0);
        assert!(self.away.log().is_empty());
    }
}

fn unavailable(answer: &Answer) -> String {
    let told = (answer.status(), code_of(answer));
    assert_eq!(
        told,
        (503, "region_unavailable".to_owned()),
        "{}",
        answer.json()
    );
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p26_a_region_that_is_down_is_a_503_and_never_another_region() {
    let two = Two::eu().await;
    for _ in 0..8 {
        let answer = two.ask("p").await;
        assert_eq!(answer.header("x-switchyard-provider"), Some("home"));
    }
    two.nothing_left();
    for fault in [
        fault::p08(Dialect::OpenAi),
        fault::p10(Dialect::OpenAi),
        Behaviour::status(401),
    ] {
        let two = Two::eu().await;
        two.home.set(fault);
        // Breakers open on the way, and the pool panics.
        for _ in 0..30 {
            for model in ["p", "chain"] {
                let told = unavailable(&two.ask(model).await);
                assert!(told.contains("\"regions\""), "{told}");
            }
        }
        two.nothing_left();
        // Whoever demands nothing is served from there: the way was open.
        let free = two.gateway.ask("p").await;
        assert_eq!(free.header("x-switchyard-provider"), Some("away"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p26_who_only_has_to_wait_is_told_how_long() {
    let two = Two::eu().await;
    two.home
        .set(Behaviour::status(429).header("retry-after", "30"));
    let answer = two.ask("p").await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (429, "rate_limit_exceeded")
    );
    assert!(answer.header("retry-after").is_some());
    two.nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_no_second_leg_leaves_the_region() {
    let two = Two::start("regions = [\"eu\"]", "race = \"always\"").await;
    two.home
        .set(Behaviour::healthy().delayed(Duration::from_millis(80)));
    let dual = asked(&[("x-switchyard-race", "dual")]);
    for stream in [false, true] {
        let mut body = chat("p");
        body["stream"] = stream.into();
        let answer = two.post(PATH, &dual, &body).await;
        assert_eq!(answer.status(), 200, "{stream}");
    }
    two.nothing_left();
    assert_eq!(two.gateway.ask("p").await.status(), 200);
    assert_eq!(two.away.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_no_hedge_leaves_the_region() {
    let more = "hedge = true\nhedge_budget_share = 1.0";
    let two = Two::start("regions = [\"eu\"]", more).await;
    for _ in 0..60 {
        two.ask("p").await;
    }
    // The strategy learns once a second.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    two.home
        .set(Behaviour::healthy().delayed(Duration::from_millis(600)));
    for _ in 0..2 {
        assert_eq!(two.ask("p").await.status(), 200);
    }
    two.nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_no_detour_that_a_request_names_leaves_the_region() {
    let two = Two::eu().await;
    two.home.set(fault::p10(Dialect::OpenAi));
    for more in [
        json!({"models": ["q"]}),
        json!({"fallbacks": ["away/m-away"]}),
        json!({"fallbacks": [{"model": "away/any-other"}]}),
        json!({"provider": {"only": ["away"]}}),
        json!({"provider": {"order": ["away"], "allow_fallbacks": false}}),
    ] {
        let mut body = chat("p");
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        unavailable(&two.post(PATH, &pinned(), &body).await);
    }
    for model in ["q", "m-away", "away/m-away", "away/any-other"] {
        unavailable(&two.ask(model).await);
    }
    two.nothing_left();
    assert_eq!(two.gateway.ask("away/any-other").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_nothing_beside_conversations_leaves_the_region() {
    let two = Two::eu().await;
    two.home.set(fault::p10(Dialect::OpenAi));
    for (path, body) in [
        ("/v1/embeddings", json!({"model": "p", "input": "hello"})),
        ("/v1/completions", json!({"model": "p", "prompt": "hello"})),
        ("/v1/moderations", json!({"model": "p", "input": "hello"})),
        (
            "/v1/rerank",
            json!({"model": "p", "query": "x", "documents": ["y"]}),
        ),
        (
            "/v1/images/generations",
            json!({"model": "p", "prompt": "hello"}),
        ),
        (
            "/v1/audio/speech",
            json!({"model": "p", "input": "hello", "voice": "v"}),
        ),
        ("/v1/responses", json!({"model": "p", "input": "hello"})),
        (
            "/v1/messages",
            json!({"model": "p", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
        ),
        (
            "/v1beta/models/p:generateContent",
            json!({"contents": [{"parts": [{"text": "x"}]}]}),
        ),
        (
            "/v1beta/models/p:embedContent",
            json!({"content": {"parts": [{"text": "x"}]}}),
        ),
    ] {
        let before = two.away.requests();
        let answer = two.post(path, &pinned(), &body).await;
        assert_eq!(answer.status(), 503, "{path}: {}", answer.json());
        assert_eq!(two.away.requests(), before, "{path}");
        let free = two.post(path, &auth(), &body).await;
        assert!(two.away.requests() > before, "{path}: {}", free.status());
    }
}

/// Speech and pictures come in a form of several parts, whose model is found in another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_no_file_leaves_the_region() {
    let two = Two::eu().await;
    two.home.set(fault::p10(Dialect::OpenAi));
    let post = async |path: &str, mut headers: Vec<(String, String)>| {
        let body = form(&[
            ("file", b"ID3"),
            ("image", b"PNG"),
            ("prompt", b"x"),
            ("model", b"p"),
        ]);
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        headers.push(("content-type".to_owned(), kind));
        let mut client = two.gateway.client().await;
        let request = client.request("POST", path, &headers, &body);
        client.send(&request).await.unwrap();
        client.read_answer().await.unwrap()
    };
    for path in [
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/images/edits",
        "/v1/images/variations",
    ] {
        let before = two.away.requests();
        unavailable(&post(path, pinned()).await);
        assert_eq!(two.away.requests(), before, "{path}");
        let free = post(path, auth()).await;
        assert!(two.away.requests() > before, "{path}: {}", free.status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_who_may_not_read_a_prompt_may_not_count_it() {
    let (home, away) = (
        mock("home").await,
        mock_of(Dialect::Anthropic, "away").await,
    );
    let gateway = Gateway::start(&format!(
        "{}regions = [\"eu\"]\n{}regions = [\"us\"]\n[pools.p]\ntargets = [\"home/m-home\", \"away/m-away\"]\n[tenants.acme]\nregions = [\"eu\"]\n{PINNED}",
        provider("home", &home),
        provider("away", &away),
    ))
    .await;
    let body = json!({"model": "p", "messages": [{"role": "user", "content": "x"}]});
    let path = "/v1/messages/count_tokens";
    let mut client = gateway.client().await;
    let answer = client.post_json(path, &pinned(), &body).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(
        answer.header("x-switchyard-estimated"),
        Some("input_tokens")
    );
    assert_eq!(away.requests(), 0);
    let mut client = gateway.client().await;
    client.post_json(path, &auth(), &body).await.unwrap();
    assert_eq!(away.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_conversation_goes_on_inside_or_not_at_all() {
    let two = Two::eu().await;
    let path = "/v1/responses";
    let first = two
        .post(path, &pinned(), &json!({"model": "p", "input": "hello"}))
        .await;
    assert_eq!(first.status(), 200, "{}", first.json());
    let id = first.json()["id"].as_str().unwrap().to_owned();
    two.home.set(fault::p10(Dialect::OpenAi));
    for model in ["p", "q"] {
        let next = json!({"model": model, "input": "and?", "previous_response_id": id});
        unavailable(&two.post(path, &pinned(), &next).await);
    }
    let aside = json!({"model": "q", "input": "x", "background": true});
    let begun = two.post(path, &pinned(), &aside).await;
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    let mut ended = Value::Null;
    for _ in 0..100 {
        let mut client = two.gateway.client().await;
        let answer = client
            .get(&format!("{path}/{id}"), &pinned())
            .await
            .unwrap();
        ended = answer.json();
        if ended["status"] == "failed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ended["status"], "failed", "{ended}");
    two.nothing_left();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_each_demand_keeps_out_who_does_not_promise_it() {
    for (demand, promise, word) in [
        (
            "zero_retention = true",
            "zero_retention = true",
            "zero_retention",
        ),
        ("no_training = true", "trains = false", "no_training"),
        ("providers = [\"home\"]", "", "providers"),
        ("not_providers = [\"away\"]", "", "providers"),
    ] {
        let two = Two::promising((promise, ""), demand).await;
        assert_eq!(two.ask("p").await.status(), 200, "{demand}");
        two.home.set(Behaviour::status(500));
        let told = unavailable(&two.ask("p").await);
        assert!(told.contains(&format!("{word:?}")), "{told}");
        two.nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_request_narrows_for_itself_and_never_widens() {
    let home = "regions = [\"eu-central-1\"]\nzero_retention = true";
    let away = "regions = [\"us\"]\ntrains = true";
    let two = Two::promising((home, away), "regions = [\"eu\"]").await;
    let with = |headers: &[(&str, &str)]| {
        let more = headers.iter();
        let more = more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        auth().into_iter().chain(more).collect::<Vec<_>>()
    };
    for header in ["eu", "eu-central-1, eu-north-1"] {
        let answer = two
            .post(PATH, &with(&[("x-switchyard-region", header)]), &chat("p"))
            .await;
        assert_eq!(answer.header("x-switchyard-provider"), Some("home"));
    }
    for wish in [json!({"zdr": true}), json!({"data_collection": "deny"})] {
        let mut body = chat("p");
        body["provider"] = wish;
        let answer = two.gateway.post(&body).await;
        assert_eq!(answer.header("x-switchyard-provider"), Some("home"));
    }
    // Two headers are two demands, and no header takes back what the tenant is bound to.
    let twice = with(&[("x-switchyard-region", "eu"), ("x-switchyard-region", "us")]);
    unavailable(&two.post(PATH, &twice, &chat("p")).await);
    unavailable(
        &two.post(PATH, &asked(&[("x-switchyard-region", "us")]), &chat("p"))
            .await,
    );
    two.nothing_left();
    for odd in ["", "eu,", "E U", "eu;us"] {
        let answer = two
            .post(PATH, &with(&[("x-switchyard-region", odd)]), &chat("p"))
            .await;
        assert_eq!(answer.status(), 400, "{odd:?}");
    }
    // What the journal has to keep of one request is bounded.
    let many = vec![("x-switchyard-region", "eu"); 17];
    let answer = two.post(PATH, &with(&many), &chat("p")).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(
        two.post(PATH, &with(&many[1..]), &chat("p")).await.status(),
        200
    );
    two.nothing_left();
    let us = two
        .post(PATH, &with(&[("x-switchyard-region", "us")]), &chat("p"))
        .await;
    assert_eq!(us.header("x-switchyard-provider"), Some("away"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_provider_may_sell_both_and_the_right_key_is_taken() {
    let home = mock("home").await;
    let table = provider("home", &home);
    let (table, _) = table.split_once("keys = ").unwrap();
    let keys = "keys = [{ name = \"cheap\", secret = \"file:FOLDER/cheap\" }, { name = \"strict\", secret = \"file:FOLDER/strict\", zero_retention = true, regions = [\"eu\"] }]\n";
    let gateway = Gateway::start(&format!(
        "{table}{keys}[tenants.acme]\nregions = [\"eu\"]\nzero_retention = true\n{PINNED}"
    ))
    .await;
    for _ in 0..12 {
        let mut client = gateway.client().await;
        let answer = client
            .post_json(PATH, &pinned(), &chat("m-home"))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    let records = gateway.records().await;
    let attempts = records.iter().filter(|record| record["kind"] == "attempt");
    let keys: Vec<&Value> = attempts.map(|attempt| &attempt["key"]).collect();
    assert!(
        keys.len() == 12 && keys.iter().all(|key| **key == "strict"),
        "{keys:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_reload_binds_and_frees_who_is_not_under_way() {
    let two = Two::start("", "").await;
    let free = two.ask("q").await;
    assert_eq!(free.header("x-switchyard-provider"), Some("away"));
    let path = two.gateway.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    let bound = text.replace("[tenants.acme]\n", "[tenants.acme]\nregions = [\"eu\"]\n");
    std::fs::write(&path, bound).unwrap();
    assert_eq!(two.gateway.admin_post("/admin/reload").await.status(), 200);
    unavailable(&two.ask("q").await);
    assert_eq!(two.away.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_the_journal_says_what_was_demanded_and_where_it_went() {
    let two = Two::start("regions = [\"eu\"]\nno_training = true", "").await;
    let refused = two.ask("p").await;
    unavailable(&refused);
    two.gateway.ask("q").await;
    let records = two.gateway.records().await;
    let of = |kind: &str| {
        let records = records.iter().filter(|record| record["kind"] == kind);
        records.cloned().collect::<Vec<Value>>()
    };
    let intents = of("intent");
    assert_eq!(intents[0]["region"], "eu");
    assert_eq!(intents[0]["policy"], json!(["no_training"]));
    assert_eq!(intents[1].get("region"), None);
    let attempts = of("attempt");
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["region"], "us");
    assert_eq!(
        of("outcome")[0]["reason"],
        "region_unavailable",
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_explain_says_which_demand_removed_a_target() {
    let two = Two::eu().await;
    let removed = async |query: &str| {
        let path = format!("/admin/explain?model=p{query}");
        let told = two.gateway.admin_get(&path).await;
        let targets = told["chain"][0]["targets"].as_array().unwrap().clone();
        let away = targets.iter().find(|target| target["provider"] == "away");
        away.unwrap()["removed"].clone()
    };
    assert_eq!(
        removed("&client=pinned").await,
        "outside the regions demanded"
    );
    assert_eq!(removed("").await, Value::Null);
    let unknown = two
        .gateway
        .admin_get("/admin/explain?model=p&client=x")
        .await;
    assert!(unknown.to_string().contains("no such client"), "{unknown}");
}

/// A reload swaps the connections of a provider before the pools that hand out its targets, so a request may be
/// placed by one configuration and sent by the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_provider_that_moves_away_under_load_takes_nobody_with_it() {
    let two = Two::eu().await;
    let path = two.gateway.config_path();
    let here = std::fs::read_to_string(&path).unwrap();
    // The same name, at another address, elsewhere.
    let (mut there, at_home) = (here.clone(), two.home.base_url());
    there = there.replacen("regions = [\"eu\"]", "regions = [\"us\"]", 1);
    there = there.replacen(&at_home, &two.away.base_url(), 1);
    let over = std::sync::atomic::AtomicBool::new(false);
    let moving = async {
        for text in std::iter::repeat_n([&there, &here], 8).flatten() {
            std::fs::write(&path, text).unwrap();
            let answer = two.gateway.admin_post("/admin/reload").await;
            assert_eq!(answer.status(), 200);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let asking = async || {
        let (mut client, mut served) = (two.gateway.client().await, 0);
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            let answer = client.post_json(PATH, &pinned(), &chat("m-home")).await;
            let answer = answer.unwrap();
            match answer.status() {
                200 => served += 1,
                status => assert_eq!(status, 503, "{}", answer.json()),
            }
        }
        served
    };
    let (_, served, ..) =
        futures_util::join!(moving, asking(), asking(), asking(), asking(), asking());
    assert!(served > 0, "nobody was served between the moves");
    two.nothing_left();
    let left = std::fs::write(&path, &there);
    left.unwrap();
    two.gateway.admin_post("/admin/reload").await;
    assert_eq!(two.gateway.ask("m-home").await.status(), 200);
    assert_eq!(two.away.requests(), 1);
}
