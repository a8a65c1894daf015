//! `switchyard prices reprice`: tokens are what was counted, money follows from prices.
//!
//! What a provider takes off for who buys much is reckoned from the beginning of the month, attempt by attempt in the
//! order in which they stand in the journal, which is that in which they were priced. Attempts before the stretch count
//! as they were billed.

use std::collections::HashMap;
use std::process::ExitCode;

use switchyard::config::Settings;
use switchyard::domain::{Bought, ModelName, NanoUsd, ProviderName, RequestId};
use switchyard::pricing::{Bounds, Volume, month_of};
use switchyard::store::embedded::{booked_in, booked_to, reprice};
use switchyard::store::journal::{
    OutcomeCost, ReadAttempt, ReadError, ReadRecord, Row, Selection, costs_since, rows,
};
use switchyard::store::spending::{self, Batch, Position, QUARTER};

use super::compared::Compared;
use super::{Place, Stretch};
use crate::command::{complain, say};

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

/// No request was under way for longer, in seconds, whatever the limit is today.
const LONGEST: u64 = 3_600;

/// Ends with 0, with 1 where journal or store cannot be read or written, with 2 where the configuration cannot.
pub(super) fn run(asked: &Reprice) -> ExitCode {
    let settings = match asked.place.settings() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match counted(asked, &settings) {
        Ok(told) => {
            say(&told.found);
            told.news.iter().for_each(|news| complain(news));
            ExitCode::SUCCESS
        }
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// What is said of one that was not refused.
struct Told {
    found: String,
    news: Option<String>,
}

fn counted(asked: &Reprice, settings: &Settings) -> Result<Told, String> {
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
    let batch = anew(settings, (from, to), booked)?;
    let booked = booked_in(&settings.store, (from, to)).map_err(told)?;
    let compared = Compared::of(booked, batch.by_quarter());
    // Before anything is said: what is gone looks like money saved.
    let lost = compared.lost(to);
    let news = match (asked.dry_run, lost) {
        (false, Some(lost)) => return Err(format!("nothing was changed: {lost}")),
        (true, Some(lost)) => Some(format!(
            "this is no difference of prices, and without --dry-run it is refused: {lost}"
        )),
        (true, None) => None,
        (false, None) if batch.slices.is_empty() => {
            Some("nobody asked for anything in this stretch: nothing was changed".to_owned())
        }
        (false, None) => {
            reprice(&settings.store, (from, to), &batch).map_err(told)?;
            Some("the reports of this stretch say it now; budgets that are running keep what they counted".to_owned())
        }
    };
    let found = match asked.json {
        true => compared.document(asked.dry_run, (from, to)),
        false => compared.table((from, to)),
    };
    Ok(Told { found, news })
}

/// Everything that is booked in these quarters (the end excluded), at the prices of today.
fn anew(settings: &Settings, (from, to): (u64, u64), booked: Position) -> Result<Batch, String> {
    // A request is booked where it arrived; its intent was written later, or by a clock that was put right since.
    let longest = settings.timeouts.request.as_secs().max(LONGEST);
    let selection = Selection {
        from_ms: Some(from.saturating_sub(longest) * 1_000),
        to_ms: Some((to + longest) * 1_000),
        ..Selection::default()
    };
    let discounted = discounted(settings, from)?;
    let mut batch = Batch::default();
    for row in rows(&settings.journal.path, selection) {
        let row = row.map_err(|error| error.to_string())?;
        let Some(outcome) = row.outcome.as_ref().map(OutcomeCost::from) else {
            continue;
        };
        // What ended since is booked when its turn comes.
        let is_booked = outcome.at <= booked.at_ms;
        if !(is_booked && (from..to).contains(&spending::booked_in(&outcome))) {
            continue;
        }
        batch.add(&outcome, cost(&row, settings, &discounted));
    }
    Ok(batch)
}

/// What attempts cost where the price falls with what was bought, by request and number.
type Discounted = HashMap<(RequestId, u32), u64>;

/// Prices anew what was bought since the beginning of the month that this time (unix seconds) is in, where it matters
/// how much that was.
fn discounted(settings: &Settings, from: u64) -> Result<Discounted, String> {
    let providers = settings.providers.iter();
    let by_volume: HashMap<&str, &Volume> = providers
        .filter_map(|provider| Some((provider.name.as_str(), provider.volume.as_deref()?)))
        .collect();
    let mut found = Discounted::new();
    if by_volume.is_empty() {
        return Ok(found);
    }
    let mut months: HashMap<(String, u64), Bought> = HashMap::new();
    let begin = month_of(from * 1_000) * 1_000;
    for line in costs_since(&settings.journal.path, begin) {
        let line = match line {
            Ok(line) => line,
            // Told by `audit verify`.
            Err(ReadError::NoRecord { .. }) => continue,
            Err(error) => return Err(error.to_string()),
        };
        let ReadRecord::Attempt(attempt) = line.record else {
            continue;
        };
        let (Some(volume), Some(usage), Some(billed)) = (
            by_volume.get(attempt.provider.as_str()),
            attempt.usage.filter(|_| !attempt.estimated),
            attempt.cost_nano,
        ) else {
            continue;
        };
        let place = (attempt.provider.clone(), month_of(attempt.at));
        let bought = months.entry(place).or_default();
        let tokens = usage.total().0;
        if attempt.at < from * 1_000 {
            bought.add(NanoUsd(billed), tokens);
            continue;
        }
        let list = listed(&attempt, settings).unwrap_or_default();
        let cost = volume.buy(NanoUsd(list), tokens, bought);
        found.insert((attempt.request, attempt.number), cost.0);
    }
    Ok(found)
}

/// All attempts at the prices of today; `None` when nobody knows one of them.
fn cost(row: &Row, settings: &Settings, discounted: &Discounted) -> Option<u64> {
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
        .map(|attempt| {
            let place = (attempt.request, attempt.number);
            let known = discounted.get(&place).copied();
            known.or_else(|| listed(attempt, settings))
        })
        .try_fold(beyond, |sum, one| Some(sum.saturating_add(one?)))
}

/// Without a discount.
fn listed(attempt: &ReadAttempt, settings: &Settings) -> Option<u64> {
    let then = attempt.list_nano.or(attempt.cost_nano);
    let Some(usage) = attempt.usage else {
        return Some(attempt.cost_nano.unwrap_or_default());
    };
    // Usage alone does not tell what was asked for, and so not what it costs.
    let Some(asked) = attempt.asked() else {
        return then;
    };
    let name = ProviderName::from(attempt.provider.as_str());
    let model = ModelName::from(attempt.model.as_str());
    let mut providers = settings.providers.iter();
    let provider = providers.find(|provider| provider.name == name);
    match provider {
        Some(provider) => {
            let bounds = Bounds {
                operation: asked.operation,
                choices: asked.choices,
                tier: asked.tier,
                ..Bounds::default()
            };
            let price = settings.price(provider, model.as_str());
            price.paid(&usage, &bounds).map(|cost| cost.0).or(then)
        }
        // A provider that is gone charged what it charged.
        None => attempt.cost_nano,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use switchyard::config::Source;
    use switchyard::store::StoreDesk;
    use switchyard::store::embedded::spend_report;
    use switchyard::store::journal::{ReadIntent, ReadOutcome};
    use switchyard::store::spending::{SpendBy, SpendQuestion, catch_up};

    use super::*;
    use crate::command::spend::compared::Change;

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
        settings_in(folder.path(), price, "")
    }

    /// `more` stands in the provider's table; the journal lies in the folder.
    fn settings_in(folder: &std::path::Path, price: &str, more: &str) -> Settings {
        let prices = folder.join("prices.toml");
        let text = format!(
            "[acme.\"m-1\"]\ncan = [\"chat\"]\nprice = {{ input = \"{price}\", output = \"{price}\" }}\nconfirmed = \"a test\"\n"
        );
        std::fs::write(&prices, text).unwrap();
        let key = folder.join("key");
        std::fs::write(&key, "sk-of-a-test-0001").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, private).unwrap();
        let file = folder.join("switchyard.toml");
        let config = format!(
            "[providers.acme]\nbase_url = \"https://acme.example/v1\"\nmodels = [\"m-1\"]\nkeys = [\"file:{}\"]\n{more}\n[registry]\nfile = \"{}\"\n[journal]\npath = \"{}\"\n",
            key.display(),
            prices.display(),
            folder.display()
        );
        std::fs::write(&file, config).unwrap();
        Source { file: Some(file) }.load().unwrap()
    }

    #[test]
    fn m1_tokens_are_counted_again_at_the_prices_of_today() {
        let used = json!([{"provider": "acme", "model": "m-1", "usage": {"input": 5, "output": 6}, "cost_nano": 11, "operation": "chat"}]);
        // A dollar for a million tokens is a thousand nano-dollars for one.
        let none = Discounted::new();
        assert_eq!(
            cost(&row(used.clone(), 11), &settings("1"), &none),
            Some(11_000)
        );
        assert_eq!(cost(&row(used, 11), &settings("2"), &none), Some(22_000));
    }

    #[test]
    fn m1_what_was_asked_for_is_priced_again_as_it_was_and_where_that_is_not_known_nothing_is() {
        // Twice as dear where it was asked for, which no usage of this provider tells.
        let folder = tempfile::tempdir().unwrap();
        settings_in(folder.path(), "1", "");
        let prices = folder.path().join("prices.toml");
        let mut text = std::fs::read_to_string(&prices).unwrap();
        text.push_str("tiers = { priority = \"2\" }\n");
        std::fs::write(&prices, text).unwrap();
        let settings = Source {
            file: Some(folder.path().join("switchyard.toml")),
        }
        .load()
        .unwrap();
        let of = |more: serde_json::Value| {
            let mut attempt = json!({"provider": "acme", "model": "m-1", "usage": {"input": 5, "output": 6}, "cost_nano": 7});
            for (name, value) in more.as_object().unwrap() {
                attempt[name] = value.clone();
            }
            cost(&row(json!([attempt]), 7), &settings, &Discounted::new())
        };
        let plain = json!({"operation": "chat"});
        let dear = json!({"operation": "chat", "asked_tier": "priority"});
        // Told as the ordinary one after all.
        let told = json!({"operation": "chat", "asked_tier": "priority", "usage": {"input": 5, "output": 6, "tier": "default"}});
        let free = json!({"operation": "moderations"});
        let found = [plain, dear, told, free, json!({})].map(of);
        assert_eq!(
            found,
            [Some(11_000), Some(22_000), Some(11_000), Some(0), Some(7)]
        );
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
        let none = Discounted::new();
        assert_eq!(cost(&row(attempts, 49), &settings("1"), &none), Some(49));
        assert_eq!(cost(&row(json!([]), 3), &settings("1"), &none), Some(3));
    }

    /// A journal of requests: when each arrived, when its intent was written and when it ended, in milliseconds.
    fn journal(folder: &std::path::Path, requests: &[(u64, u64, u64)]) {
        let mut text = String::new();
        let mut seq = 0;
        let mut record = |at: u64, kind: &str, nth: u64, members: &str| {
            seq += 1;
            text.push_str(&format!(
                "{{\"seq\":{seq},\"at\":{at},\"kind\":\"{kind}\",\"request\":\"sy-{nth:032x}\",{members}}}\n"
            ));
        };
        for (nth, (arrived, intent, end)) in (1_u64..).zip(requests) {
            record(*intent, "intent", nth, r#""client":"app","asked":"m""#);
            let attempt = r#""number":1,"provider":"acme","model":"m-1","outcome":"ok","usage":{"input":5,"output":6},"cost_nano":7,"operation":"chat""#;
            record(*end, "attempt", nth, attempt);
            let took = end - arrived;
            let outcome = format!(
                r#""client":"app","how":"ok","attempts":1,"took_ms":{took}.000,"cost_nano":7,"charged_nano":9"#
            );
            record(*end, "outcome", nth, &outcome);
        }
        std::fs::write(folder.join("journal-00000000000000000001.jsonl"), text).unwrap();
    }

    #[test]
    fn m1_what_is_booked_in_a_stretch_is_priced_again_wherever_its_intent_stands() {
        const MS: u64 = QUARTER * 1_000;
        let folder = tempfile::tempdir().unwrap();
        journal(
            folder.path(),
            &[
                // Arrived before the stretch, recorded in it.
                (2 * MS - 5, 2 * MS + 5, 2 * MS + 10),
                (2 * MS, 2 * MS + 1, 2 * MS + 20),
                // Arrived in it, recorded behind it.
                (4 * MS - 5, 4 * MS + 5, 4 * MS + 10),
                (4 * MS, 4 * MS + 1, 4 * MS + 20),
                // In it, and not booked yet: its gateway was killed, and what it came to stands there since.
                (3 * MS, 3 * MS + 1, 9 * MS),
            ],
        );
        let settings = settings_in(folder.path(), "1", "");
        let booked = Position {
            seq: 12,
            at_ms: 8 * MS,
        };
        let stretch = (2 * QUARTER, 4 * QUARTER);
        let batch = anew(&settings, stretch, booked).unwrap();
        let mut found: Vec<_> = batch
            .slices
            .iter()
            .map(|(slice, sum)| (slice.quarter / QUARTER, sum.requests, sum.cost_nano))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [(2, 1, 11_000), (3, 1, 11_000)]);
    }

    fn at_a_time(seconds: u64) -> Reprice {
        Reprice {
            stretch: Stretch {
                from: 0,
                to: Some(seconds * 1_000),
            },
            dry_run: false,
            json: false,
            place: Place { config: None },
        }
    }

    #[test]
    fn m1_what_is_put_right_is_what_comes_before_the_next_time_and_stays_when_the_journal_is_booked_anew()
     {
        const MS: u64 = QUARTER * 1_000;
        let folder = tempfile::tempdir().unwrap();
        let ends = [(2, 9), (3, 9), (40, 9), (41, 9)];
        let times = ends.map(|(quarter, took)| (quarter * MS, quarter * MS, quarter * MS + took));
        journal(folder.path(), &times);
        let store = format!("[store]\npath = \"{}/store.db\"\n", folder.path().display());
        let settings = |price: &str| settings_in(folder.path(), price, &store);
        let desk = StoreDesk::new(settings("1").store);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let book = || {
            runtime
                .block_on(catch_up(folder.path(), &desk, &mut None))
                .unwrap()
        };
        let question = SpendQuestion {
            by: SpendBy::Model,
            from: 0,
            to: u64::MAX,
            tenant: None,
        };
        let shown = || {
            let lines = spend_report(&settings("1").store, &question).unwrap();
            (lines[0].sum.requests, lines[0].sum.cost_nano)
        };
        // Of the quarters up to the tenth: two requests.
        let change = |price: &str| {
            let booked = booked_to(&desk.settings().clone()).unwrap();
            let quarters = (0, 10 * QUARTER);
            let batch = anew(&settings(price), quarters, booked).unwrap();
            let before = booked_in(desk.settings(), quarters).unwrap();
            let compared = Compared::of(before, batch.by_quarter());
            let changes: Vec<Change> = compared.changes.into_values().collect();
            assert_eq!((changes.len(), changes[0].gone), (1, 0));
            (changes[0].before, changes[0].after)
        };
        book();
        assert_eq!((shown(), change("1")), ((4, 4 * 7), (14, 22_000)));
        counted(&at_a_time(10 * QUARTER), &settings("1")).unwrap();
        assert_eq!((shown(), change("2")), ((4, 22_014), (22_000, 44_000)));
        counted(&at_a_time(10 * QUARTER), &settings("2")).unwrap();
        assert_eq!(shown(), (4, 44_014));
        // The last two are lost, and one came since.
        journal(
            folder.path(),
            &[times[0], times[1], (50 * MS, 50 * MS, 50 * MS + 1)],
        );
        book();
        assert_eq!(shown(), (3, 44_007));
        // What is gone from the journal altogether is left as it is booked.
        journal(folder.path(), &times[2..]);
        book();
        counted(&at_a_time(10 * QUARTER), &settings("1"))
            .map(drop)
            .unwrap_err();
        assert_eq!(shown(), (4, 44_014));
    }

    #[test]
    fn m1_a_stretch_that_the_journal_lost_is_refused_with_the_time_from_which_it_is_whole() {
        const MS: u64 = QUARTER * 1_000;
        let folder = tempfile::tempdir().unwrap();
        let store = format!("[store]\npath = \"{}/store.db\"\n", folder.path().display());
        let settings = settings_in(folder.path(), "1", &store);
        let desk = StoreDesk::new(settings.store.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let times = [2, 3, 40, 41].map(|quarter| (quarter * MS, quarter * MS, quarter * MS + 9));
        for lost in [0, 2] {
            journal(folder.path(), &times[lost..]);
            runtime
                .block_on(catch_up(folder.path(), &desk, &mut None))
                .unwrap();
        }
        let refused = counted(&at_a_time(10 * QUARTER), &settings);
        assert_eq!(
            refused.err().unwrap(),
            "nothing was changed: the journal of this stretch has lost 2 requests that are booked; from 1970-01-01T01:00:00.000Z on it is whole, so name that with --from"
        );
        // What it names is whole; nobody asked there before the tenth, and that is no error.
        let mut whole = at_a_time(10 * QUARTER);
        whole.stretch.from = 4 * MS;
        let told = counted(&whole, &settings).unwrap().news.unwrap();
        assert!(told.starts_with("nobody asked"), "{told}");
        // Who only looks is told as well.
        let mut look = at_a_time(10 * QUARTER);
        look.dry_run = true;
        let told = counted(&look, &settings).unwrap();
        assert!(told.found.ends_with("(2 requests gone)"), "{}", told.found);
        let news = told.news.unwrap();
        assert!(news.contains("lost 2 requests"), "{news}");
        look.json = true;
        let told = counted(&look, &settings).unwrap();
        let document: serde_json::Value = serde_json::from_str(&told.found).unwrap();
        assert_eq!(document["changes"][0]["gone"], 2);
        whole.dry_run = true;
        assert_eq!(counted(&whole, &settings).unwrap().news, None);
    }

    #[test]
    fn m1_the_steps_of_a_month_are_reckoned_again_in_the_order_of_the_journal() {
        const DAY: u64 = 86_400_000;
        let folder = tempfile::tempdir().unwrap();
        // Two of the month before, one before the stretch at an old price, then three of it.
        let times = [29 * DAY, 30 * DAY, 31 * DAY, 33 * DAY, 34 * DAY, 35 * DAY];
        let lines: String = (1_u64..)
            .zip(times)
            .map(|(seq, at)| {
                format!(
                    "{{\"seq\":{seq},\"at\":{at},\"kind\":\"attempt\",\"request\":\"sy-{seq:032x}\",\"number\":1,\"provider\":\"acme\",\"model\":\"m-1\",\"outcome\":\"ok\",\"usage\":{{\"input\":5,\"output\":6}},\"cost_nano\":4000,\"operation\":\"chat\"}}\n"
                )
            })
            .collect();
        let path = folder.path().join("journal-00000000000000000001.jsonl");
        std::fs::write(path, lines).unwrap();
        let volume = "volume = [{ from_usd = \"0.000015\", discount_percent = \"50\" }]";
        let settings = settings_in(folder.path(), "1", volume);
        let found = discounted(&settings, 32 * DAY / 1_000).unwrap();
        let mut costs: Vec<_> = found
            .iter()
            .map(|((id, _), cost)| (id.to_string(), *cost))
            .collect();
        costs.sort();
        let costs: Vec<u64> = costs.into_iter().map(|(_, cost)| cost).collect();
        // 4,000 and 11,000 come to the threshold exactly.
        assert_eq!(costs, [11_000, 5_500, 5_500]);
    }
}
