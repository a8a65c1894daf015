//! One small registry, asked everything; and the embedded one, checked.

#![allow(
    clippy::unwrap_used,
    reason = "the macro of proptest hides its functions from the exemption for tests"
)]

mod costs;
mod embedded;
mod finding;
mod guarding;
mod own_entries;
mod reading;

use super::*;

const BOOK: &str = r#"
facts = "2026-11"

[same_as]
azure = "openai"

[prefixes]
gemini = ["models/", "models/tuned/"]

[openai."gpt-a"]
can = ["chat", "tools"]
context = 400_000
output_limit = 128_000
aliases = ["gpt-a-latest"]
versions = ["gpt-a-2026-01-02"]
price = { input = "1.25", cached_input = "0.125", output = "10" }
long_context = [{ above = 272_000, input = "2.5", cached_input = "0.25", output = "15" }]
batch_factor = "0.5"
tiers = { flex = "0.5", priority = { input = "2.5", cached_input = "0.25", output = "20" } }
confirmed = "a test"

[openai."gpt-a*"]
can = ["chat"]
price = { input = "90", output = "90" }
confirmed = "a test"

[openai."ft:gpt-a*"]
can = ["chat"]
price = { input = "3", output = "12" }
confirmed = "a test"

[openai.old]
can = ["chat"]
price = { input = "30", output = "60" }
deprecated = "2026-01-01"
retired = "2026-06-01"
successor = "middle"
confirmed = "a test"

[openai.middle]
can = ["chat"]
price = { input = "30", output = "60" }
retired = "2026-09-01"
successor = "gpt-a"
confirmed = "a test"

[openai.secret]
can = ["chat"]
unconfirmed = true

[openai.painter]
can = ["image_out"]
price = { image = "0.04", request = "0.001" }
confirmed = "a test"

[gemini.pro]
can = ["chat"]
price = { input = "3", cache_write_5m = "3.75", cache_write_1h = "6", cached_input = "0.3", output = "15", reasoning = "40", audio_in = "7" }
confirmed = "a test"
"#;

fn book() -> Registry {
    Registry::parse(BOOK).unwrap()
}

fn model(provider: &str, name: &str) -> std::sync::Arc<Model> {
    book().find(provider, name).unwrap().model
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn tokens(input: u64, output: u64) -> Meter {
    Meter {
        input,
        output,
        requests: 1,
        ..Meter::default()
    }
}

fn dollars(cost: &Cost) -> String {
    cost.amount()
        .map_or_else(|| format!("{cost:?}"), |amount| amount.to_string())
}

fn mistakes(text: &str) -> Vec<String> {
    let error = Registry::parse(text).unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}
