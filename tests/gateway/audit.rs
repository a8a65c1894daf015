//! What an auditor does with a journal, by the commands of the binary.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, alone, mock, pair};

/// Runs `switchyard audit …` over a journal.
fn audit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .arg("audit")
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn journal(gateway: &Gateway) -> String {
    let folder = gateway.folder.path().join("journal");
    folder.to_str().unwrap().to_owned()
}

/// A gateway that answered a whole, a stream and one asked with a formula for a name.
async fn asked() -> (Gateway, String) {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    a.set(fault::p08(Dialect::OpenAi));
    gateway.ask("p").await;
    gateway.stream("p").await;
    gateway
        .post(&json!({"model": "p", "messages": [{"role": "user", "content": "the secret word is canary"}]}))
        .await;
    let folder = journal(&gateway);
    (gateway, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_every_request_is_exported_once_while_the_gateway_runs() {
    let (gateway, folder) = asked().await;
    let records = gateway.records().await;
    let intents = records.iter().filter(|record| record["kind"] == "intent");
    let lines = audit(&["export", "--journal", &folder]);
    assert!(lines.status.success(), "{lines:?}");
    let rows: Vec<Value> = said(&lines)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), intents.count());
    assert!(rows.iter().all(|row| row["outcome"]["how"] == "ok"));
    assert_eq!(rows[0]["attempts"][0]["outcome"], "overloaded");
    let out = gateway.folder.path().join("rows.csv");
    let to_file = [
        "export",
        "--journal",
        &folder,
        "--format",
        "csv",
        "--out",
        out.to_str().unwrap(),
    ];
    assert!(audit(&to_file).status.success());
    assert!(
        !audit(&to_file).status.success(),
        "a file of before is kept"
    );
    let csv = std::fs::read_to_string(&out).unwrap();
    assert_eq!(csv.lines().count(), rows.len() + 1);
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns));
    let prompt = format!("{csv}{}", said(&lines));
    assert!(
        !prompt.contains("canary"),
        "no text of a prompt in an export"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_one_request_is_found_by_its_id_and_many_by_what_they_were() {
    let (gateway, folder) = asked().await;
    let records = gateway.records().await;
    let id = records
        .iter()
        .find(|record| record["kind"] == "intent")
        .unwrap()["request"]
        .as_str()
        .unwrap()
        .to_owned();
    let story = said(&audit(&["search", "--journal", &folder, "--request", &id]));
    assert!(
        story.contains(&id) && story.contains("overloaded"),
        "{story}"
    );
    let table = said(&audit(&["search", "--journal", &folder, "--model", "p"]));
    assert_eq!(table.lines().count(), 4, "{table}");
    let none = audit(&["search", "--journal", &folder, "--outcome", "failed"]);
    assert!(!none.status.success() && none.stdout.is_empty());
    let old = audit(&["search", "--journal", &folder, "--to", "1h"]);
    assert!(!old.status.success());
    let lines = said(&audit(&[
        "search",
        "--journal",
        &folder,
        "--from",
        "1h",
        "--json",
        "--limit",
        "2",
    ]));
    assert_eq!(lines.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a27_a_kept_anchor_shows_that_the_journal_was_cut() {
    let (mut gateway, folder) = asked().await;
    gateway.stop().await;
    let kept = said(&audit(&["anchor", &folder]));
    let kept = kept.trim();
    assert!(
        audit(&["verify", &folder, "--anchor", kept])
            .status
            .success()
    );
    let segment = std::fs::read_dir(Path::new(&folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .unwrap();
    let text = std::fs::read_to_string(&segment).unwrap();
    let cut = text.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&segment, &text[..cut]).unwrap();
    assert!(
        audit(&["verify", &folder]).status.success(),
        "the chain alone is good"
    );
    let found = audit(&["verify", &folder, "--anchor", kept]);
    assert_eq!(found.status.code(), Some(1));
    assert!(said(&found).contains("MISSING"), "{}", said(&found));
    let nonsense = audit(&["verify", &folder, "--anchor", "12"]);
    assert_eq!(nonsense.status.code(), Some(2));
}

/// A gateway that keeps the texts of its one client, under a key in a file.
async fn keeping(mock: &MockProvider, more: &str) -> Gateway {
    let journal = format!(
        "[journal]\ntext_of = [\"*\"]\ntext_key = \"file:FOLDER/key-that-wraps-the-keys-of-texts\"\n{more}"
    );
    alone(mock, &journal).await
}

fn spoken(stream: bool) -> Value {
    json!({"model": "p", "stream": stream, "messages": [{"role": "user", "content": "canary-prompt"}]})
}

async fn ids(gateway: &Gateway) -> Vec<String> {
    let records = gateway.records().await;
    records
        .iter()
        .filter(|record| record["kind"] == "outcome")
        .map(|record| record["request"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_kept_text_is_sealed_on_the_disk_and_shown_to_who_has_the_key() {
    let a = mock("a").await;
    let gateway = keeping(&a, "").await;
    let answer = gateway.post(&spoken(false)).await;
    let words = crate::frame::text_of(&answer);
    assert!(gateway.stream_of(&spoken(true)).await.is_done());
    let ids = ids(&gateway).await;
    assert_eq!(ids.len(), 2);
    let config = gateway.config_path();
    let show = |id: &str| {
        said(&audit(&[
            "show",
            id,
            "--config",
            config.to_str().unwrap(),
            "--journal",
            &journal(&gateway),
        ]))
    };
    let whole = show(&ids[0]);
    assert!(
        whole.contains("canary-prompt") && whole.contains(&words),
        "{whole}"
    );
    let streamed = show(&ids[1]);
    assert!(
        streamed.contains("canary-prompt") && streamed.contains("[DONE]"),
        "{streamed}"
    );
    for record in gateway.records().await {
        assert!(!record.to_string().contains("canary-prompt"));
    }
    let exported = said(&audit(&["export", "--journal", &journal(&gateway)]));
    assert!(!exported.contains("canary-prompt") && !exported.contains("sealed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_running_gateway_forgets_a_client_and_its_journal_stays_intact() {
    let a = mock("a").await;
    let mut gateway = keeping(&a, "").await;
    gateway.post(&spoken(false)).await;
    let id = ids(&gateway).await.remove(0);
    let folder = journal(&gateway);
    let client = gateway.records().await;
    let client = client
        .iter()
        .find(|record| record["kind"] == "intent")
        .unwrap()["client"]
        .as_str()
        .unwrap()
        .to_owned();
    let nobody = audit(&["erase", "--journal", &folder, "--client", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(
        audit(&["erase", "--journal", &folder]).status.code(),
        Some(2)
    );
    let erased = audit(&["erase", "--journal", &folder, "--client", &client]);
    assert!(erased.status.success(), "{erased:?}");
    let config = gateway.config_path();
    let shown = audit(&[
        "show",
        &id,
        "--config",
        config.to_str().unwrap(),
        "--journal",
        &folder,
    ]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(said(&shown).contains("erased") && !said(&shown).contains("canary-prompt"));
    gateway.post(&spoken(false)).await;
    gateway.stop().await;
    assert!(audit(&["verify", &folder]).status.success());
    let again = audit(&["erase", "--journal", &folder, "--client", &client]);
    assert!(
        again.status.success(),
        "also while no gateway runs: {again:?}"
    );
    assert!(audit(&["verify", &folder]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_long_text_is_cut_and_says_so() {
    let a = mock("a").await;
    let gateway = keeping(&a, "text_bytes = 20\n").await;
    gateway.post(&spoken(false)).await;
    let records = gateway.records().await;
    let prompt = records
        .iter()
        .find(|record| record["part"] == "prompt")
        .unwrap();
    assert_eq!(prompt["cut"], true);
    assert_eq!(prompt["bytes"], spoken(false).to_string().len());
    let sealed = prompt["sealed"].as_str().unwrap();
    // 12 bytes of nonce, 20 of text, 16 of tag, four signs for three bytes.
    assert_eq!(sealed.len(), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_what_the_guard_takes_out_of_a_prompt_is_in_no_kept_text_and_in_no_hash() {
    const MAIL: &str = "anna@example.com";
    let a = mock("a").await;
    let gateway = keeping(
        &a,
        "[guard]\nrequests = { email = \"redact\" }\nanswers = { card = \"block\" }\n",
    )
    .await;
    let asked = |mail: &str, stream: bool| json!({"model": "p", "stream": stream, "messages": [{"role": "user", "content": mail}]});
    let chunk = |text: &str, finish: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-a",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]});
        format!("data: {chunk}\n\n")
    };
    let streams = |pieces: &[&str]| {
        let mut body: String = pieces
            .iter()
            .map(|piece| chunk(piece, Value::Null))
            .collect();
        body.push_str(&chunk("", json!("stop")));
        Behaviour::status(200).body("text/event-stream", body + "data: [DONE]\n\n")
    };
    let whole = Behaviour::status(200).json(&json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m-a",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "to <EMAIL_1>"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }));
    let card = "4111 1111 1111 1111";
    let broken = chunk("to <EMA", Value::Null)
        + &chunk(
            "IL_1> and more of it, so much that no rule waits for what may still come",
            Value::Null,
        );
    // How a provider may answer, what is asked for, and what is kept of it beside the placeholder.
    let answers = [
        (whole.clone(), false, "to <EMAIL_1>"),
        (streams(&["to <EMA", "IL_1>", " now"]), true, "[DONE]"),
        (whole, true, "[DONE]"),
        (streams(&["to <EMAIL_1> ", card]), true, "content_filter"),
        (
            Behaviour::status(200).body("text/event-stream", broken),
            true,
            "upstream_truncated",
        ),
    ];
    for (answer, stream, end) in &answers {
        a.set(answer.clone());
        let said = if *stream {
            let stream = gateway.stream_of(&asked(MAIL, true)).await;
            stream.text(Dialect::OpenAi)
        } else {
            crate::frame::text_of(&gateway.post(&asked(MAIL, false)).await)
        };
        assert!(said.starts_with(&format!("to {MAIL}")), "{end}: {said}");
    }
    gateway.post(&asked("bert@example.com", false)).await;
    let config = gateway.config_path();
    let folder = journal(&gateway);
    let ids = ids(&gateway).await;
    for (id, (_, _, end)) in ids.iter().zip(&answers) {
        let config = config.to_str().unwrap();
        let shown = said(&audit(&[
            "show",
            id,
            "--config",
            config,
            "--journal",
            &folder,
        ]));
        assert!(!shown.contains("anna"), "{end}: {shown}");
        assert!(!shown.contains("1111"), "{end}: {shown}");
        assert!(shown.contains(end), "{end}: {shown}");
        // The provider may have cut it anywhere.
        let kept = shown.matches("<EMA").count();
        assert!(kept >= 2, "{end}: in prompt and answer: {shown}");
    }
    let records = gateway.records().await;
    let hashes: Vec<&Value> = records
        .iter()
        .filter(|record| record["kind"] == "intent")
        .map(|record| &record["prompt_hash"])
        .collect();
    assert_eq!(hashes.first(), hashes.last(), "the hash is of what is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_no_text_is_kept_unless_asked_for_and_a_prompt_is_known_by_its_hash() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    gateway.post(&spoken(false)).await;
    gateway.post(&spoken(false)).await;
    gateway.post(&spoken(true)).await;
    let records = gateway.records().await;
    assert!(records.iter().all(|record| record["kind"] != "text"));
    let hashes: Vec<_> = records
        .iter()
        .filter(|record| record["kind"] == "intent")
        .map(|record| record["prompt_hash"].as_str().unwrap())
        .collect();
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
    assert_eq!(hashes[0].len(), 32);
}
