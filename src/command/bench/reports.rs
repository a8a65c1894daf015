//! What reports of spend take over five million outcomes, in a store that was booked as the gateway books.

use std::path::Path;
use std::time::Duration;

use switchyard::config::StoreSettings;
use switchyard::store::embedded::{open, spend_report};
use switchyard::store::spending::{
    Batch, Label, LabelKind, MarginPlace, Position, QUARTER, Slice, SpendBy, SpendQuestion,
    SpendStore as _, Sum,
};
use tokio::time::Instant;

use super::{Fault, float, progress, say};

const OUTCOMES: u64 = 5_000_000;
/// Of a batch, as the gateway reads its journal.
const AT_ONCE: u64 = 50_000;
const DAYS: u64 = 30;
const TENANTS: usize = 20;
const CLIENTS: usize = 10;
const MODELS: usize = 12;
const TAGS: usize = 8;
const ROUNDS: usize = 5;
/// A day that began long ago: days are whole, and the last of them is over.
const BEGIN: u64 = 1_793_491_200;

/// Measures in this process; nothing else runs in it. So many tenants, clients and models are there that nearly every
/// outcome has a row of its own: the dearest case there is.
pub(super) async fn measure(folder: &Path) -> Result<(), Fault> {
    let settings = StoreSettings {
        path: folder.join("reports.db"),
        max_bytes: 1 << 34,
        ..StoreSettings::default()
    };
    let (store, _) = open(&settings, true)?;
    let mut random = fastrand::Rng::with_seed(7);
    let (mut booked, mut from) = (Duration::ZERO, Position::default());
    while from.seq < OUTCOMES {
        let batch = batch(&mut random, from);
        let to = batch.to;
        let begun = Instant::now();
        if !store.book(from, batch).await? {
            return Err("somebody else booked".into());
        }
        booked += begun.elapsed();
        from = to;
        if from.seq.is_multiple_of(1_000_000) {
            progress(&format!("  {} outcomes booked …", from.seq));
        }
    }
    let rows = std::fs::metadata(&settings.path)?.len() >> 20;
    say(&format!(
        "\n{OUTCOMES} outcomes of {DAYS} days booked in {:.1} s ({:.1} µs each), {rows} MiB; reports of them, ms",
        booked.as_secs_f64(),
        booked.as_secs_f64() * 1e6 / float(OUTCOMES)
    ));
    say(&format!(
        "{:<12} {:>8} {:>10} {:>10} {:>12} {:>14}",
        "by", "lines", "median", "worst", "of 29.4 days", "of one tenant"
    ));
    for by in SpendBy::ALL {
        let whole = timed(&settings, &question(by, 0, None))?;
        let cut = timed(&settings, &question(by, 40_000, None))?;
        let one = timed(&settings, &question(by, 0, Some("tenant-03".to_owned())))?;
        say(&format!(
            "{:<12} {:>8} {:>10.1} {:>10.1} {:>12.1} {:>14.1}",
            by.label(),
            whole.lines,
            whole.median,
            whole.worst.max(cut.worst).max(one.worst),
            cut.median,
            one.median
        ));
    }
    Ok(())
}

/// `cut`: so many seconds are missing at each end.
fn question(by: SpendBy, cut: u64, tenant: Option<String>) -> SpendQuestion {
    SpendQuestion {
        by,
        from: BEGIN + cut,
        to: BEGIN + DAYS * 86_400 - cut,
        tenant,
    }
}

struct Took {
    lines: usize,
    median: f64,
    worst: f64,
}

fn timed(settings: &StoreSettings, question: &SpendQuestion) -> Result<Took, Fault> {
    let (mut times, mut lines) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        lines = spend_report(settings, question)?.len();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    if lines == 0 {
        return Err(format!("nothing was spent by {}", question.by.label()).into());
    }
    Ok(Took {
        lines,
        worst: times.iter().copied().fold(0.0, f64::max),
        median: super::median(times),
    })
}

/// The next outcomes, in the order of their time.
fn batch(random: &mut fastrand::Rng, from: Position) -> Batch {
    let mut batch = Batch::default();
    for seq in from.seq..(from.seq + AT_ONCE).min(OUTCOMES) {
        let second = BEGIN + DAYS * 86_400 * seq / OUTCOMES;
        let quarter = second - second % QUARTER;
        add(random, &mut batch, quarter);
        batch.to = Position {
            seq: seq + 1,
            at_ms: second * 1_000,
        };
    }
    batch
}

fn add(random: &mut fastrand::Rng, batch: &mut Batch, quarter: u64) {
    let (client, model) = (random.usize(..CLIENTS), random.usize(..MODELS));
    let tenant = format!("tenant-{:02}", random.usize(..TENANTS));
    let cost_nano = random.u64(100_000..90_000_000);
    let sum = Sum {
        requests: 1,
        failed: u64::from(random.u8(..) < 4),
        input: random.u64(100..4_000),
        output: random.u64(10..1_000),
        cost_nano,
        ..Sum::default()
    };
    let slice = Slice {
        quarter,
        tenant: tenant.clone(),
        team: format!("team-{}", client % 3),
        client: format!("client-{client}"),
        provider: format!("provider-{}", model % 3),
        model: format!("model-{model:02}"),
    };
    let place = MarginPlace {
        quarter,
        tenant: tenant.clone(),
        team: slice.team.clone(),
        client: slice.client.clone(),
        tag: String::new(),
    };
    *batch.margins.entry(place).or_default() += cost_nano.cast_signed() / 5;
    *batch
        .providers
        .entry((quarter, slice.provider.clone()))
        .or_default() += cost_nano;
    for (kind, value) in [
        (LabelKind::Tag, format!("tag-{}", random.usize(..TAGS))),
        (LabelKind::User, format!("user-{}", random.usize(..50))),
    ] {
        let label = Label {
            quarter,
            tenant: tenant.clone(),
            kind,
            value,
        };
        let all = batch.labels.entry(label).or_default();
        *all = all.plus(&sum);
    }
    let all = batch.slices.entry(slice).or_default();
    *all = all.plus(&sum);
}
