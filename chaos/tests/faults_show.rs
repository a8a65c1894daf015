//! Every fault of the catalogue shows in the wire log of a mock that makes it, or no scenario could prove anything by it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::time::Duration;

use switchyard_chaos::client::Client;
use switchyard_chaos::fault::{rows, s08, s09, s10, variants};
use switchyard_chaos::mock::{Behaviour, Dialect, MockOptions, MockProvider};
use tokio::time::{sleep, timeout};

/// Whether a fault shows to a stream, a whole answer, or the request after one of them.
async fn shows(dialect: Dialect, behaviour: Behaviour) -> bool {
    let mock = MockProvider::start(MockOptions::for_dialect(dialect))
        .await
        .unwrap();
    mock.set(behaviour.labelled("it"));
    let fields = dialect.sample_headers("sk-test");
    for stream in [true, false] {
        let mut client = Client::connect(mock.address()).await.unwrap();
        client.patience(Duration::from_millis(250));
        for _ in 0..2 {
            let mut body = dialect.sample_request("hi [[tools]]", stream);
            if dialect == Dialect::OpenAi && stream {
                body["stream_options"] = serde_json::json!({"include_usage": true});
            }
            let sent = client.send_json(dialect.path(), &fields, &body).await;
            // Some never end.
            let answer = timeout(Duration::from_millis(600), client.read_answer()).await;
            if sent.is_err() || !matches!(answer, Ok(Ok(_))) {
                break;
            }
        }
        // One closes what is idle.
        sleep(Duration::from_millis(40)).await;
        if mock.log().iter().any(|one| one.fault.is_some()) {
            return true;
        }
    }
    false
}

/// Waits for a moment or a word in the prompt that these requests do not bring.
const CONDITIONAL: [&str; 2] = ["P12/5s", "P27/marker"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_every_row_shows_in_the_log() {
    let mut hidden = Vec::new();
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        for row in rows() {
            for variant in variants(row.number, dialect) {
                let name = format!("{}/{}", row.number, variant.name);
                let conditional = CONDITIONAL.contains(&name.as_str());
                if shows(dialect, variant.behaviour).await == conditional {
                    hidden.push(format!("{name} {dialect:?}"));
                }
            }
        }
    }
    assert_eq!(hidden, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_or_stall_behind_the_last_word_does_not_show() {
    for beyond in [s08(5_000), s09(5_000), s10(5_000)] {
        assert!(!shows(Dialect::OpenAi, beyond).await);
    }
    for within in [s08(5), s09(5), s10(5)] {
        assert!(shows(Dialect::OpenAi, within).await);
    }
}
