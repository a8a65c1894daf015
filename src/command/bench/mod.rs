//! `switchyard bench`: the gateway against a bare proxy, in one run.
//!
//! # Why CPU time and instructions of processes
//! Machines are shared and noisy; wall time measures the neighbours. The gateway and the bare proxy run
//! as processes of their own, get the same load in turn, and are charged what the kernel says they used;
//! instructions are counted by callgrind where valgrind is installed. What has to be wall time (added
//! latency, requests a second) says so and is quoted beside the bare proxy's.

mod auth;
mod bare;
mod cases;
mod guard;
mod placement;
mod process;
mod reload;
mod reports;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use switchyard_chaos::load::{Load, Shape};
use switchyard_chaos::mock::Dialect;

pub(crate) use bare::bare;
pub(crate) use placement::place;
use process::{Counted, Extra, Measured, Mock, Proxy, Valgrind};

/// What to measure.
#[derive(clap::Args, Default)]
pub(crate) struct BenchOptions {
    /// Only the parts whose name holds this text: cpu, dialects, memory, latency, placement, auth, flat, guard,
    /// reports, reload.
    #[arg(long)]
    only: Option<String>,
    /// Leave out what takes minutes: instructions and ten thousand streams.
    #[arg(long)]
    quick: bool,
    /// Keep callgrind's profiles in this folder.
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// Be the bare proxy in front of this address instead.
    #[arg(long, hide = true)]
    pub(crate) bare: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) announce: Option<PathBuf>,
    /// Place and release so many requests instead, among so many targets.
    #[arg(long, hide = true)]
    pub(crate) placements: Option<u64>,
    #[arg(long, hide = true, default_value_t = 3)]
    pub(crate) targets: u32,
}

type Fault = Box<dyn std::error::Error + Send + Sync>;
type Part = Result<(), Fault>;

/// Where results go: a table on standard output, progress on standard error.
struct Bench {
    options: BenchOptions,
    folder: PathBuf,
    valgrind: Option<Valgrind>,
}

pub(crate) async fn run(options: BenchOptions) -> ExitCode {
    let folder = std::env::temp_dir().join(format!("switchyard-bench-{}", std::process::id()));
    let valgrind = Valgrind::find(options.profiles.clone()).filter(|_| !options.quick);
    let bench = Bench {
        options,
        folder,
        valgrind,
    };
    let done = bench.measure().await;
    // Left behind only when the folder is in use.
    let _ = std::fs::remove_dir_all(&bench.folder);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Bench {
    async fn measure(&self) -> Part {
        std::fs::create_dir_all(&self.folder)?;
        if self.valgrind.is_none() {
            progress("without instructions: --quick, or valgrind is not installed");
        }
        if self.wants("cpu") {
            self.cpu().await?;
        }
        if self.wants("dialects") {
            self.dialects().await?;
        }
        if self.wants("memory") {
            self.memory().await?;
        }
        if self.wants("latency") {
            self.latency().await?;
        }
        if self.wants("placement") {
            self.placement()?;
        }
        if self.wants("auth") {
            auth::auth(&self.folder)?;
        }
        if self.wants("flat") {
            self.flat().await?;
        }
        if self.wants("guard") {
            guard::measure(&self.folder)?;
        }
        if self.wants("reload") {
            reload::measure(&self.folder).await?;
        }
        if self.wants("reports") {
            reports::measure(&self.folder).await?;
        }
        Ok(())
    }

    fn wants(&self, part: &str) -> bool {
        let only = self.options.only.as_deref();
        only.is_none_or(|only| part.contains(only))
    }

    // --- CPU and instructions per request ---

    async fn cpu(&self) -> Part {
        say(
            "CPU time and instructions, one worker thread each, both in one run; CPU: median of 5 rounds",
        );
        say(&format!(
            "{:<36} {:>9} {:>9} {:>6}   {:>9} {:>9} {:>6} {:>9} {:>7}",
            "", "bare µs", "ours µs", "ratio", "bare ins", "ours ins", "ratio", "SHA-256", "errors"
        ));
        for case in &cases::UNARY {
            let (plain, ours) = self.pair(case, &Extra::default()).await?;
            report(case.name, plain, ours);
        }
        // The journal and the client's key are in all of them; this is what paying costs besides.
        let paid = Extra::paid(&self.folder)?;
        let (plain, ours) = self.pair(&cases::UNARY[0], &paid).await?;
        report("  with limits and budgets kept", plain, ours);
        for (name, short, long) in &cases::STREAMS {
            let (few_plain, few_ours) = self.pair(short, &Extra::default()).await?;
            let (many_plain, many_ours) = self.pair(long, &Extra::default()).await?;
            report(long.name, many_plain, many_ours);
            let chunks = long.chunks - short.chunks;
            let per_chunk = |many: Measured, few: Measured| many.minus(few).divided_by(chunks);
            report(
                name,
                per_chunk(many_plain, few_plain),
                per_chunk(many_ours, few_ours),
            );
        }
        Ok(())
    }

    /// What one case costs the bare proxy and the gateway.
    async fn pair(&self, case: &cases::Case, extra: &Extra) -> Result<(Measured, Measured), Fault> {
        progress(&format!("  {} …", case.name));
        let mock = Mock::start(case).await?;
        let bare = Proxy::bare(&mock, &self.folder, None).await?;
        let gateway = Proxy::gateway_with(&mock, &self.folder, extra, None).await?;
        let mut costs = (Vec::new(), Vec::new());
        let mut errors = (0, 0);
        for round in 0..=cases::ROUNDS {
            let one = bare.cost(case).await?;
            let other = gateway.cost(case).await?;
            errors = (errors.0 + one.1, errors.1 + other.1);
            // The first round warms both up.
            if round > 0 {
                costs.0.push(one.0);
                costs.1.push(other.0);
            }
        }
        drop((bare, gateway));
        let mut plain = Measured::cpu(median(costs.0), errors.0);
        let mut ours = Measured::cpu(median(costs.1), errors.1);
        if let Some(valgrind) = &self.valgrind {
            for (measured, which) in [(&mut plain, None), (&mut ours, Some(extra))] {
                let counted = self.instructions((valgrind, &mock), which, case).await?;
                measured.instructions = Some(counted.all);
                measured.digest = counted.digest;
            }
        }
        Ok((plain, ours))
    }

    /// Instructions per request: the difference of a long and a short run, so that starting and ending
    /// do not count.
    async fn instructions(
        &self,
        (valgrind, mock): (&Valgrind, &Mock),
        ours: Option<&Extra>,
        case: &cases::Case,
    ) -> Result<Counted, Fault> {
        let few = case.counted / 4;
        let mut counts = [Counted::default(); 2];
        for (count, requests) in counts.iter_mut().zip([few, case.counted]) {
            let which = match ours {
                None => "bare",
                Some(extra) if extra.terms.is_empty() => "gateway",
                Some(_) => "paid",
            };
            let name = format!("{which}-{}-{requests}", case.slug());
            let around = Some((valgrind, name.as_str()));
            let proxy = match ours {
                None => Proxy::bare(mock, &self.folder, around).await?,
                Some(extra) => Proxy::gateway_with(mock, &self.folder, extra, around).await?,
            };
            let wrong = proxy.load(case, requests).await;
            if wrong > 0 {
                return Err(format!("{wrong} requests failed under valgrind ({name})").into());
            }
            proxy.end()?;
            *count = valgrind.total(&self.folder, &name)?;
        }
        let [short, long] = counts;
        let each = |long: f64, short: f64| (long - short) / float(case.counted - few);
        Ok(Counted {
            all: each(long.all, short.all),
            digest: each(long.digest, short.digest),
        })
    }

    // --- another dialect behind than in front ---

    async fn dialects(&self) -> Part {
        say(
            "\nCPU time of the gateway, an OpenAI client; behind it its own dialect, or Anthropic's",
        );
        say(&format!(
            "{:<36} {:>9} {:>9} {:>6}   {:>7}",
            "", "same µs", "other µs", "ratio", "errors"
        ));
        for case in &cases::UNARY {
            let (same, other) = self.across(case).await?;
            row_across(case.name, same, other);
        }
        for (name, short, long) in &cases::STREAMS {
            let (few_same, few_other) = self.across(short).await?;
            let (many_same, many_other) = self.across(long).await?;
            row_across(long.name, many_same, many_other);
            let chunks = long.chunks - short.chunks;
            let per_chunk = |many: Measured, few: Measured| many.minus(few).divided_by(chunks);
            row_across(
                name,
                per_chunk(many_same, few_same),
                per_chunk(many_other, few_other),
            );
        }
        Ok(())
    }

    /// What one case costs the gateway with each of the two providers.
    async fn across(&self, case: &cases::Case) -> Result<(Measured, Measured), Fault> {
        progress(&format!("  {}, two dialects …", case.name));
        let mocks = [
            Mock::start(case).await?,
            Mock::speaking(case, Dialect::Anthropic).await?,
        ];
        let mut measured = Vec::new();
        let proxies = [
            Proxy::gateway(&mocks[0], &self.folder, None).await?,
            Proxy::gateway(&mocks[1], &self.folder, None).await?,
        ];
        let mut costs = [Vec::new(), Vec::new()];
        let mut errors = [0, 0];
        for round in 0..=cases::ROUNDS {
            for ((proxy, costs), errors) in proxies.iter().zip(&mut costs).zip(&mut errors) {
                let (cost, wrong) = proxy.cost(case).await?;
                *errors += wrong;
                // The first round warms both up.
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
        for (costs, errors) in costs.into_iter().zip(errors) {
            measured.push(Measured::cpu(median(costs), errors));
        }
        match measured.as_slice() {
            [same, other] => Ok((*same, *other)),
            _ => Err("two were measured".into()),
        }
    }

    // --- memory ---

    async fn memory(&self) -> Part {
        say("\nmemory (resident), MB");
        say(&format!("{:<36} {:>9} {:>9}", "", "bare", "ours"));
        let case = &cases::UNARY[0];
        let mock = Mock::start(case).await?;
        let bare = Proxy::bare(&mock, &self.folder, None).await?;
        let gateway = Proxy::gateway(&mock, &self.folder, None).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let row = |name: &str, plain: f64, ours: f64| {
            say(&format!("{name:<36} {plain:>9.1} {ours:>9.1}"));
        };
        row("idle", bare.memory()?, gateway.memory()?);
        for proxy in [&bare, &gateway] {
            proxy.load(case, 20_000).await;
        }
        row("after 20,000 requests", bare.memory()?, gateway.memory()?);
        let resting = [
            bare.rest_connections(1_000).await?,
            gateway.rest_connections(1_000).await?,
        ];
        row(
            "with 1,000 resting connections",
            bare.memory()?,
            gateway.memory()?,
        );
        drop(resting);
        drop((bare, gateway));
        let mock = Mock::start(&cases::OPEN).await?;
        let mut held = [0.0; 2];
        for (held, ours) in held.iter_mut().zip([false, true]) {
            let proxy = if ours {
                Proxy::gateway(&mock, &self.folder, None).await?
            } else {
                Proxy::bare(&mock, &self.folder, None).await?
            };
            let streams = proxy.open_streams(1_000).await?;
            *held = proxy.memory()?;
            drop(streams);
        }
        let [plain, ours] = held;
        row("with 1,000 open streams", plain, ours);
        Ok(())
    }

    // --- wall time ---

    async fn latency(&self) -> Part {
        say("\nwall time, 1 KB unary, one worker thread each; the load shares the machine");
        let case = &cases::UNARY[0];
        let mock = Mock::start(case).await?;
        let bare = Proxy::bare(&mock, &self.folder, None).await?;
        let gateway = Proxy::gateway(&mock, &self.folder, None).await?;
        let direct = process::load_at(mock.address(), case);
        let loads = [direct, bare.load_of(case), gateway.load_of(case)];
        let mut p50 = [(); 3].map(|()| Vec::new());
        let mut rates = [(); 3].map(|()| Vec::new());
        for _ in 0..cases::ROUNDS {
            for ((load, p50), rates) in loads.iter().zip(&mut p50).zip(&mut rates) {
                p50.push(at_rate(load.clone(), 500.0).await);
                rates.push(flat_out(load.clone()).await);
            }
        }
        let [none, plain, ours] = p50.map(median);
        say(&format!(
            "added latency p50 at 500/s, µs: bare {:.0}, ours {:.0}",
            plain - none,
            ours - none
        ));
        let [_, plain, ours] = rates.map(median);
        say(&format!(
            "requests/s, 32 connections: bare {plain:.0}, ours {ours:.0} ({:.2})",
            ours / plain
        ));
        Ok(())
    }

    // --- placement ---

    fn placement(&self) -> Part {
        say("\nplacement with release, through router and pool actors");
        say(&format!(
            "{:<36} {:>9} {:>13}",
            "targets", "ns CPU", "instructions"
        ));
        for targets in [1, 3, 10, 100, 1_000] {
            progress(&format!("  placement among {targets} …"));
            let nanos = process::placement_nanos(targets)?;
            let counted = match &self.valgrind {
                Some(valgrind) => format!("{:.0}", valgrind.placement(&self.folder, targets)?),
                None => "-".to_owned(),
            };
            say(&format!("{targets:<36} {nanos:>9.0} {counted:>13}"));
        }
        Ok(())
    }

    // --- flatness ---

    async fn flat(&self) -> Part {
        say("\nCPU per unary 1 KB request beside open streams, µs");
        let most = if self.options.quick { 1_000 } else { 10_000 };
        let most = most.min(process::most_streams());
        let case = &cases::UNARY[0];
        let mock = Mock::start(&cases::OPEN).await?;
        let gateway = Proxy::gateway(&mock, &self.folder, None).await?;
        let mut streams = Vec::new();
        let mut open = 0;
        for wanted in [0, 1, 100, 1_000, most] {
            if wanted > open {
                progress(&format!("  {wanted} streams …"));
                streams.push(gateway.open_streams(wanted - open).await?);
                open = wanted;
            }
            let mut costs = Vec::new();
            let mut wrong = 0;
            for _ in 0..cases::ROUNDS {
                let (cost, errors) = gateway.cost(case).await?;
                costs.push(cost);
                wrong += errors;
            }
            say(&format!(
                "{open:<10} {:>9.1}   memory {:>7.1} MB   errors {wrong}",
                median(costs),
                gateway.memory()?
            ));
        }
        if most < 10_000 && !self.options.quick {
            say(&format!(
                "(descriptors here allow {most} streams, not 10,000)"
            ));
        }
        Ok(())
    }
}

fn row_across(name: &str, same: Measured, other: Measured) {
    say(&format!(
        "{name:<36} {:>9.2} {:>9.2} {:>6.2}   {:>7}",
        same.micros,
        other.micros,
        other.micros / same.micros,
        same.errors + other.errors
    ));
}

/// One row. A part that was not counted is a dash.
fn report(name: &str, plain: Measured, ours: Measured) {
    let ratio = |one: f64, other: f64| format!("{:.2}", other / one);
    let (mut bare_count, mut our_count, mut count_ratio) =
        ("-".to_owned(), "-".to_owned(), "-".to_owned());
    if let (Some(one), Some(other)) = (plain.instructions, ours.instructions) {
        bare_count = format!("{one:.0}");
        our_count = format!("{other:.0}");
        count_ratio = ratio(one, other);
    }
    say(&format!(
        "{name:<36} {:>9.2} {:>9.2} {:>6}   {bare_count:>9} {our_count:>9} {count_ratio:>6} {:>9.0} {:>7}",
        plain.micros,
        ours.micros,
        ratio(plain.micros, ours.micros),
        ours.digest,
        plain.errors + ours.errors
    ));
}

/// p50 in microseconds at a fixed rate, from the send to the last byte: at a fraction of what any of them
/// can do nobody waits to be sent, and a schedule's timer is coarser than what is measured.
async fn at_rate(mut load: Load, per_second: f64) -> f64 {
    let (told, mut times) = tokio::sync::mpsc::unbounded_channel();
    load.shape = Shape::Open { per_second };
    load.duration = Duration::from_secs(1);
    load.connections = 4;
    load.check = Some(std::sync::Arc::new(move |answer| {
        // Nobody listens once the run is over.
        let _ = told.send(answer.took);
        None
    }));
    drop(load.run().await);
    let mut all = Vec::new();
    while let Ok(took) = times.try_recv() {
        all.push(took.as_secs_f64() * 1e6);
    }
    median(all)
}

async fn flat_out(mut load: Load) -> f64 {
    load.shape = Shape::Closed;
    load.duration = Duration::from_secs(2);
    load.connections = 32;
    load.run().await.per_second()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The command line this process was started with, for its own copies.
fn own_binary() -> Result<PathBuf, Fault> {
    Ok(std::env::current_exe()?)
}

fn inside(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
