//! Every client's dialect at every provider's, whole and streamed, over real sockets. What the test sees is the matrix
//! in the README: `SWITCHYARD_WRITE_MATRIX=1` writes it there.

#![allow(
    clippy::wildcard_enum_match_arm,
    unreachable_patterns,
    reason = "mocks speak more dialects than clients do"
)]

mod cell;
mod heard;
mod question;
pub mod speaker;
mod table;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use switchyard_chaos::mock::{Behaviour, Dialect, MockOptions, MockProvider};

use crate::frame::{Gateway, provider, quick};
use cell::{Outcome, Pair, Row};
use speaker::{CLIENTS, PROVIDERS};
use table::Table;

/// A provider's dialect, or Azure's way to speak `OpenAI`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    Plain(Dialect),
    Azure,
}

impl Spoken {
    fn all() -> Vec<Self> {
        let mut all: Vec<Self> = PROVIDERS.into_iter().map(Self::Plain).collect();
        all.insert(1, Self::Azure);
        all
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Plain(dialect) => dialect,
            Self::Azure => Dialect::OpenAi,
        }
    }

    /// The configuration of a gateway with this one provider.
    fn config(self, mock: &MockProvider) -> String {
        let mut config = provider("a", mock);
        if self == Self::Azure {
            let auth = format!(
                "base_url = \"{}\"\nauth = \"azure\"\napi_version = \"2024-10-21\"",
                mock.origin()
            );
            config = config.replace(&format!("base_url = \"{}\"", mock.base_url()), &auth);
        }
        config + "[pools.p]\ntargets = [\"a/m-a\"]\n"
    }
}

/// The column of one provider: its rows, and of each what came of it with every client.
async fn column(spoken: Spoken) -> Vec<Vec<Outcome>> {
    let options = MockOptions::for_dialect(spoken.dialect())
        .named("a")
        .weather(quick());
    let mock = MockProvider::start(options).await.unwrap();
    let config = spoken.config(&mock);
    let steady = Gateway::start(&config).await;
    let mut rows = Vec::new();
    for row in Row::ALL {
        let mut outcomes = Vec::new();
        for client in CLIENTS {
            let fresh = if row.breaks() {
                Some(Gateway::start(&config).await)
            } else {
                None
            };
            mock.set(Behaviour::healthy());
            let gateway = fresh.as_ref().unwrap_or(&steady);
            let pair = Pair {
                client,
                mock: &mock,
                gateway,
            };
            // One that fails must not hide the others.
            let tried = AssertUnwindSafe(pair.try_out(row)).catch_unwind().await;
            outcomes.push(tried.unwrap_or(Outcome::Wrong));
        }
        rows.push(outcomes);
    }
    if spoken == Spoken::Azure {
        let path = mock.last().unwrap().asked.path.clone();
        assert!(
            path.starts_with("/openai/deployments/m-a/chat/completions?"),
            "{path}"
        );
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_every_client_at_every_provider_is_as_the_readme_says() {
    let all = Spoken::all();
    let tasks: Vec<_> = all
        .iter()
        .map(|spoken| tokio::spawn(column(*spoken)))
        .collect();
    let mut table = Table::new(&all);
    for task in tasks {
        // A column that failed has told why.
        table.push(task.await.unwrap());
    }
    table.hold_against_readme();
}
