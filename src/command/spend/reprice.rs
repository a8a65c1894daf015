//! `switchyard prices reprice`: tokens are what was counted, money follows from prices.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;
use switchyard::config::Settings;
use switchyard::domain::{ModelName, ProviderName};
use switchyard::store::embedded::{booked_to, reprice};
use switchyard::store::journal::{ReadAttempt, Row, Selection, rows};
use switchyard::store::spending::{Batch, QUARTER};

use super::{Place, Stretch, shown};
use crate::command::audit::dollars;
use crate::command::{complain, say, time};

#[derive(clap::Args)]
pub(crate) struct Reprice {
    #[command(flatten)]
    stretch: Stretch,
    /// Show the difference and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What changes for one tenant's use of one model.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    requests: u64,
    before: u64,
    after: u64,
}

/// Ends with 0, with 1 where journal or store cannot be read or written, with 2 where the configuration cannot.
pub(super) fn run(asked: &Reprice) -> ExitCode {
    let settings = match asked.place.settings() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match counted(asked, &settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

fn counted(asked: &Reprice, settings: &Settings) -> Result<(), String> {
    let told = |error: switchyard::store::StoreError| error.to_string();
    let booked = booked_to(&settings.store).map_err(told)?;
    // Whole quarters, all of which is booked.
    let from = (asked.stretch.from / 1_000).div_ceil(QUARTER) * QUARTER;
    // What began this long before the last record that is booked has ended before it, too.
    let longest = settings.timeouts.request.as_secs() + 60;
    let end = (booked.at_ms / 1_000).saturating_sub(longest);
    let to = asked.stretch.to.map_or(u64::MAX, |to| to / 1_000).min(end) / QUARTER * QUARTER;
    if to <= from {
        return Err(
            "no quarter of an hour of this stretch is booked to its end; name an earlier one"
                .to_owned(),
        );
    }
    let selection = Selection {
        from_ms: Some(from * 1_000),
        to_ms: Some(to * 1_000),
        ..Selection::default()
    };
    let (mut batch, mut changes) = (Batch::default(), BTreeMap::<_, Change>::new());
    for row in rows(&settings.journal.path, selection) {
        let row = row.map_err(|error| error.to_string())?;
        let Some(outcome) = &row.outcome else {
            continue;
        };
        let after = cost(&row, settings);
        batch.add(outcome, after);
        let tenant = outcome.tenant.clone().unwrap_or_default();
        let name = |part: &Option<String>| part.clone().unwrap_or_default();
        let key = (tenant, name(&outcome.provider), name(&outcome.model));
        let change = changes.entry(key).or_default();
        change.requests += 1;
        change.before += outcome.cost_nano.unwrap_or_default();
        change.after += after.unwrap_or_default();
    }
    let quarters: Vec<u64> = batch.slices.keys().map(|slice| slice.quarter).collect();
    if quarters.iter().any(|quarter| !(from..to).contains(quarter)) {
        return Err(
            "the journal and its times do not agree; run `switchyard audit verify`".to_owned(),
        );
    }
    print(asked, (from, to), &changes);
    if asked.dry_run {
        return Ok(());
    }
    if batch.is_empty() {
        return Err("the journal of this stretch is gone, so nothing was changed".to_owned());
    }
    reprice(&settings.store, (from, to), &batch).map_err(told)?;
    complain(
        "the reports of this stretch say it now; budgets that are running keep what they counted",
    );
    Ok(())
}

/// All attempts at the prices of today; `None` when nobody knows one of them.
fn cost(row: &Row, settings: &Settings) -> Option<u64> {
    if row.attempts.is_empty() {
        return row.outcome.as_ref()?.cost_nano;
    }
    let charged: u64 = row
        .attempts
        .iter()
        .filter_map(|attempt| attempt.cost_nano)
        .sum();
    // What was charged beyond the attempts rests on a reservation, which no price explains.
    let beyond = row
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.cost_nano)
        .map_or(0, |all| all.saturating_sub(charged));
    row.attempts
        .iter()
        .map(|attempt| of_attempt(attempt, settings))
        .try_fold(beyond, |sum, one| Some(sum.saturating_add(one?)))
}

fn of_attempt(attempt: &ReadAttempt, settings: &Settings) -> Option<u64> {
    let Some(usage) = attempt.usage else {
        return Some(attempt.cost_nano.unwrap_or_default());
    };
    let name = ProviderName::from(attempt.provider.as_str());
    let model = ModelName::from(attempt.model.as_str());
    let mut providers = settings.providers.iter();
    let provider = providers.find(|provider| provider.name == name);
    match provider {
        Some(provider) => {
            let cost = settings.price(provider, model.as_str()).cost(&usage);
            cost.map(|cost| cost.0).or(attempt.cost_nano)
        }
        // A provider that is gone charged what it charged.
        None => attempt.cost_nano,
    }
}

fn print(
    asked: &Reprice,
    (from, to): (u64, u64),
    changes: &BTreeMap<(String, String, String), Change>,
) {
    let (mut before, mut after) = (0, 0);
    let mut lines = Vec::new();
    for ((tenant, provider, model), change) in changes {
        before += change.before;
        after += change.after;
        if asked.json {
            lines.push(json!({
                "tenant": tenant, "provider": provider, "model": model,
                "requests": change.requests,
                "before_nano": change.before, "after_nano": change.after,
            }));
        } else if change.before != change.after {
            let who = format!("{tenant}  {provider}/{model}");
            say(&format!(
                "{:<56} {:>8} requests  {} → {} USD",
                shown(&who),
                change.requests,
                dollars(change.before),
                dollars(change.after)
            ));
        }
    }
    if asked.json {
        let document = json!({
            "from": from, "to": to, "dry_run": asked.dry_run,
            "before_nano": before, "after_nano": after, "changes": lines,
        });
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        say(&format!(
            "{} to {}: {} → {} USD",
            time::rfc3339(from * 1_000),
            time::rfc3339(to * 1_000),
            dollars(before),
            dollars(after)
        ));
    }
}

#[cfg(test)]
mod tests {
    use switchyard::config::Source;
    use switchyard::store::journal::{ReadIntent, ReadOutcome};

    use super::*;

    fn row(attempts: serde_json::Value, cost_nano: u64) -> Row {
        let request = "sy-00000000000000000000000000000001";
        let intent = json!({"at": 1, "request": request, "client": "c", "asked": "m"});
        let outcome = json!({"at": 2, "request": request, "how": "ok", "cost_nano": cost_nano});
        // Read from text, as the journal's lines are: ids are borrowed from it.
        let read = |value: &serde_json::Value| value.to_string();
        Row {
            intent: serde_json::from_str::<ReadIntent>(&read(&intent)).unwrap(),
            attempts: attempts
                .as_array()
                .unwrap()
                .iter()
                .map(|attempt| {
                    let mut attempt = attempt.clone();
                    attempt["at"] = 1.into();
                    attempt["request"] = request.into();
                    attempt["number"] = 1.into();
                    attempt["outcome"] = "ok".into();
                    serde_json::from_str(&read(&attempt)).unwrap()
                })
                .collect(),
            outcome: Some(serde_json::from_str::<ReadOutcome>(&read(&outcome)).unwrap()),
        }
    }

    fn settings(price: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let prices = folder.path().join("prices.toml");
        let text = format!(
            "[acme.\"m-1\"]\ncan = [\"chat\"]\nprice = {{ input = \"{price}\", output = \"{price}\" }}\nconfirmed = \"a test\"\n"
        );
        std::fs::write(&prices, text).unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "sk-of-a-test-0001").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, private).unwrap();
        let file = folder.path().join("switchyard.toml");
        let config = format!(
            "[providers.acme]\nbase_url = \"https://acme.example/v1\"\nmodels = [\"m-1\"]\nkeys = [\"file:{}\"]\n[registry]\nfile = \"{}\"\n",
            key.display(),
            prices.display()
        );
        std::fs::write(&file, config).unwrap();
        Source { file: Some(file) }.load().unwrap()
    }

    #[test]
    fn m1_tokens_are_counted_again_at_the_prices_of_today() {
        let used = json!([{"provider": "acme", "model": "m-1", "usage": {"input": 5, "output": 6}, "cost_nano": 11}]);
        // A dollar for a million tokens is a thousand nano-dollars for one.
        assert_eq!(cost(&row(used.clone(), 11), &settings("1")), Some(11_000));
        assert_eq!(cost(&row(used, 11), &settings("2")), Some(22_000));
    }

    #[test]
    fn m1_what_no_price_explains_stays_as_it_was_charged() {
        let attempts = json!([
            // Cancelled: estimated when it was charged, and nobody counted since.
            {"provider": "acme", "model": "m-1", "cost_nano": 7},
            // A provider that is not there any more.
            {"provider": "gone", "model": "m-1", "usage": {"input": 5, "output": 6}, "cost_nano": 40},
        ]);
        // Two more were charged for what was set aside.
        assert_eq!(cost(&row(attempts, 49), &settings("1")), Some(49));
        assert_eq!(cost(&row(json!([]), 3), &settings("1")), Some(3));
    }
}
