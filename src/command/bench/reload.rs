//! What putting fifty thousand keys in force costs those who are served meanwhile (fault C08).

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use switchyard::config::StoreSettings;
use switchyard::keys::Pepper;
use switchyard::store::embedded;
use tokio::time::{Instant, sleep};

use super::auth::{KEYS, added};
use super::process::{Extra, Mock, Proxy};
use super::{Fault, cases, inside, progress, say};

/// Far below what it can do: what waits, waits for the reload.
const PER_SECOND: f64 = 200.0;
const ROUNDS: usize = 5;
const SPELL: Duration = Duration::from_secs(10);

/// The keys of the store, and then as many of the configuration file.
pub(super) async fn measure(folder: &Path) -> Result<(), Fault> {
    say(&format!(
        "\n{KEYS} keys put in force again {ROUNDS} times beside {PER_SECOND:.0} requests a second, wall time"
    ));
    say(&format!(
        "{:<36} {:>10} {:>10} {:>12} {:>12} {:>7}",
        "", "median ms", "worst ms", "p99 µs then", "p99 µs else", "errors"
    ));
    row("of the store", store(folder).await?);
    row("of the configuration file", file(folder).await?);
    Ok(())
}

struct Seen {
    /// Milliseconds of each reload.
    took: Vec<f64>,
    /// Microseconds.
    p99_during: f64,
    p99_else: f64,
    errors: u64,
}

fn row(name: &str, seen: Seen) {
    let worst = seen.took.iter().copied().fold(0.0, f64::max);
    say(&format!(
        "{name:<36} {:>10.0} {worst:>10.0} {:>12.0} {:>12.0} {:>7}",
        super::median(seen.took),
        seen.p99_during,
        seen.p99_else,
        seen.errors
    ));
}

/// A change of the configuration beside keys of the store: all of them are merged with it anew.
async fn store(folder: &Path) -> Result<Seen, Fault> {
    let config = inside(folder, "switchyard.toml");
    let extra = Extra {
        terms: String::new(),
        more: "[keys]\npepper = \"env:SWITCHYARD_BENCH_PEPPER\"\n[tenants.acme]\n".to_owned(),
    };
    let mock = Mock::start(&cases::UNARY[0]).await?;
    let gateway = Proxy::gateway_with(&mock, folder, &extra, None).await?;
    progress("  keys are made …");
    let text = std::fs::read_to_string(&config)?;
    let path = text.split("[store]\npath = \"").nth(1);
    let path = path.and_then(|rest| rest.split('"').next());
    let settings = StoreSettings {
        path: path.ok_or("the configuration names no store")?.into(),
        ..StoreSettings::default()
    };
    let (_, adds) = added(&Pepper::new(super::process::PEPPER.as_bytes()));
    embedded::change_many(&settings, &adds, |_| {})?;
    sleep(Duration::from_secs(5)).await;
    beside(&gateway, &config).await
}

async fn file(folder: &Path) -> Result<Seen, Fault> {
    let mut more = String::new();
    let keys = inside(folder, "keys");
    std::fs::create_dir_all(&keys)?;
    progress("  keys are written …");
    for nth in 0..KEYS {
        let file = keys.join(format!("{nth}"));
        // What others may read is refused as a secret.
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&file);
        opened?.write_all(format!("sk-bench-of-the-file-{nth:08}").as_bytes())?;
        more.push_str(&format!(
            "[[clients]]\nname = \"app-{nth}\"\nkey = \"file:{}\"\n",
            file.display()
        ));
    }
    let extra = Extra {
        terms: String::new(),
        more,
    };
    let mock = Mock::start(&cases::UNARY[0]).await?;
    let gateway = Proxy::gateway_with(&mock, folder, &extra, None).await?;
    beside(&gateway, &inside(folder, "switchyard.toml")).await
}

/// Changes the configuration a few times while requests go on.
async fn beside(gateway: &Proxy, config: &Path) -> Result<Seen, Fault> {
    let case = &cases::UNARY[0];
    let (told, mut times) = tokio::sync::mpsc::unbounded_channel();
    let mut load = gateway.load_of(case);
    load.shape = switchyard_chaos::load::Shape::Open {
        per_second: PER_SECOND,
    };
    load.duration = SPELL;
    load.connections = 32;
    load.check = Some(std::sync::Arc::new(move |answer| {
        // Nobody listens once the run is over.
        let _ = told.send((Instant::now(), answer.took));
        None
    }));
    let running = tokio::spawn(load.run());
    let mut spells = Vec::new();
    let text = std::fs::read_to_string(config)?;
    for round in 0..ROUNDS {
        sleep(SPELL / (2 * u32::try_from(ROUNDS)? + 2)).await;
        let changed = text.replace(
            "max_wait_ms = 60000",
            &format!("max_wait_ms = {}", 60_001 + round),
        );
        std::fs::write(config, changed)?;
        let begun = Instant::now();
        gateway.reload().await?;
        spells.push((begun, begun.elapsed()));
    }
    let report = running.await?;
    let (mut during, mut otherwise) = (Vec::new(), Vec::new());
    while let Ok((at, took)) = times.try_recv() {
        let began = at - took;
        let meets =
            |(begun, lasted): &(Instant, Duration)| began <= *begun + *lasted && at >= *begun;
        let list = if spells.iter().any(meets) {
            &mut during
        } else {
            &mut otherwise
        };
        list.push(took.as_secs_f64() * 1e6);
    }
    Ok(Seen {
        took: spells
            .iter()
            .map(|(_, took)| took.as_secs_f64() * 1e3)
            .collect(),
        p99_during: p99(during),
        p99_else: p99(otherwise),
        errors: report.sent.saturating_sub(report.with_status(200)),
    })
}

fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len() * 99 / 100)
        .copied()
        .unwrap_or_default()
}
