//! Placement alone: the actor tree without listeners, asked over and over.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use smallvec::SmallVec;
use switchyard::actors::{
    Clock, Estimate, IssuerDoor, KeyProbe, KeyVerdict, News, Patience, Purpose, RouterMessage,
    SettingsDoor, System, SystemParts, Wish,
};
use switchyard::config::{ConfigError, Fingerprint, Settings, Source};
use switchyard::domain::{
    KeyName, Lane, Mode, Operation, PromptClass, ProviderName, RequestId, Shape, Stake, Tokens,
    Weight,
};
use switchyard::telemetry::Telemetry;
use tokio::time::Instant;

use super::{Fault, float};

/// Nothing is reloaded here.
struct NoDoor;

impl IssuerDoor for NoDoor {}

impl SettingsDoor for NoDoor {
    fn load(&self) -> BoxFuture<'static, Result<Settings, ConfigError>> {
        Box::pin(std::future::pending())
    }

    fn settled(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn fingerprint(&self, _: Fingerprint) -> BoxFuture<'static, Fingerprint> {
        Box::pin(std::future::pending())
    }

    fn publish(
        &self,
        _: Box<Settings>,
    ) -> BoxFuture<'static, Result<Option<Vec<String>>, ConfigError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// No key is ever asked about.
struct NoProbe;

impl KeyProbe for NoProbe {
    fn probe(&self, _: &ProviderName, _: &KeyName) -> BoxFuture<'static, KeyVerdict> {
        Box::pin(std::future::pending())
    }
}

/// Places and releases, and tells the CPU nanoseconds of one round.
pub(crate) async fn place(placements: u64, targets: u32) -> ExitCode {
    // On the one worker, where the actors are: from outside every answer would cross threads.
    let placed = tokio::spawn(run(placements, targets)).await;
    match placed.unwrap_or_else(|error| Err(error.into())) {
        Ok(nanos) => {
            let _ = writeln!(std::io::stdout(), "{nanos:.0}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `targets` endpoints in one pool, each with a window that has room.
fn settings(targets: u32) -> Result<Settings, Fault> {
    let folder = std::env::temp_dir().join(format!("switchyard-place-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut text = String::from("[journal]\nmode = \"off\"\n");
    let mut names = Vec::new();
    for number in 0..targets {
        text.push_str(&format!(
            "[providers.p{number}]\nbase_url = \"http://127.0.0.1:1/v1\"\nallow_private_address = true\nkeys = [{{ name = \"k\", secret = \"env:SWITCHYARD_BENCH_KEY\", requests_per_minute = 100000000, tokens_per_minute = 4000000000 }}]\n"
        ));
        names.push(format!("\"p{number}/m\""));
    }
    text.push_str(&format!("[pools.p]\ntargets = [{}]\n", names.join(", ")));
    let file = folder.join("switchyard.toml");
    std::fs::write(&file, text)?;
    let settings = Source { file: Some(file) }.load();
    // Left behind only when the folder is in use.
    let _ = std::fs::remove_dir_all(&folder);
    settings.map_err(|error| format!("{error}").into())
}

/// A small request with all the time in the world.
fn wish(system: &System) -> Wish {
    Wish {
        request: RequestId::from_draw(1),
        routes: Arc::clone(&system.published().routes),
        asked: Arc::from("p"),
        step: 0,
        operation: Operation::Chat,
        preference: None,
        shape: Shape {
            class: PromptClass::Small,
            mode: Mode::Whole,
        },
        lane: Lane::Default,
        stake: Stake {
            tenant: Arc::from("default"),
            weight: Weight::ONE,
        },
        estimate: Estimate {
            input: Tokens(10),
            output: Tokens(10),
        },
        deadline: system.clock.now().after(Duration::from_secs(3_600)),
        patience: Patience::None,
        purpose: Purpose::Attempt,
        tried: SmallVec::new(),
        meet_again: true,
        wider_than: None,
        direct_only: false,
        demand: None,
        bounds: Default::default(),
    }
}

async fn run(placements: u64, targets: u32) -> Result<f64, Fault> {
    let settings = settings(targets)?;
    let parts = SystemParts {
        clock: Clock::start(),
        telemetry: Telemetry::install(),
        news: Arc::new(News::unheard(settings.journal.clone())),
        door: Arc::new(NoDoor),
        probe: Arc::new(NoProbe),
        issuers: Arc::new(NoDoor),
        seed: 7,
    };
    let system = System::build(settings, parts);
    let root = system
        .start(Vec::new())
        .await
        .map_err(|error| error.to_string())?;
    let wish = Arc::new(wish(&system));
    let limit = Instant::now() + Duration::from_secs(600);
    let before = own_cpu_nanos();
    for _ in 0..placements {
        let placed = system
            .router
            .ask(limit, |reply| RouterMessage::Place {
                wish: Arc::clone(&wish),
                reply,
            })
            .await
            .map_err(|_| "the router did not answer")?;
        let mut lease = placed.map_err(|refusal| format!("refused: {}", refusal.why.label()))?;
        lease.sent();
        lease.first_content(Duration::from_millis(1));
        lease.succeeded(None);
    }
    let used = own_cpu_nanos() - before;
    root.stop(Duration::from_secs(5)).await;
    Ok(used / float(placements))
}

pub(super) fn own_cpu_nanos() -> f64 {
    let tasks: Vec<u64> = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse().ok())
        .collect();
    float(tasks.into_iter().sum())
}
