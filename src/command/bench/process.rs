//! Processes under measurement: started, loaded, charged, ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use switchyard_chaos::client::{Client, request_bytes};
use switchyard_chaos::load::{Load, Shape};
use switchyard_chaos::mock::{Dialect, Fast, MockOptions, MockProvider};

use super::cases::Case;
use super::{Fault, inside, own_binary};

const KEY: &str = "sk-bench-key-0000000001";
/// What digests of keys are keyed with.
pub(super) const PEPPER: &str = "a-pepper-for-the-bench-and-for-no-other-purpose";
pub(super) const ADMIN: &str = "sk-bench-admin-0000000002";
const PATH: &str = "/v1/chat/completions";

/// What something costs.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    pub(super) micros: f64,
    pub(super) instructions: Option<f64>,
    /// Of them, those of SHA-256.
    pub(super) digest: f64,
    pub(super) errors: u64,
}

impl Measured {
    pub(super) fn cpu(micros: f64, errors: u64) -> Self {
        Self {
            micros,
            instructions: None,
            digest: 0.0,
            errors,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            micros: self.micros - other.micros,
            instructions: self
                .instructions
                .zip(other.instructions)
                .map(|(one, other)| one - other),
            digest: self.digest - other.digest,
            errors: 0,
        }
    }

    pub(super) fn divided_by(self, parts: u64) -> Self {
        let parts = super::float(parts);
        Self {
            micros: self.micros / parts,
            instructions: self.instructions.map(|count| count / parts),
            digest: self.digest / parts,
            errors: 0,
        }
    }
}

/// The provider behind both proxies, in this process.
pub(super) struct Mock(MockProvider);

impl Mock {
    pub(super) async fn start(case: &Case) -> Result<Self, Fault> {
        Self::speaking(case, Dialect::OpenAi).await
    }

    pub(super) async fn speaking(case: &Case, dialect: Dialect) -> Result<Self, Fault> {
        let fast = Fast {
            text_bytes: 400,
            chunks: usize::try_from(case.chunks)?,
            delay: Duration::ZERO,
            gap: case.gap,
            // A silent stream has begun: its role and its first words are out.
            together: if case.requests == 0 { 2 } else { 0 },
        };
        let options = MockOptions {
            fast: Some(fast),
            ..MockOptions::for_dialect(dialect)
        };
        Ok(Self(MockProvider::start(options).await?))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// What a gateway is configured with besides.
#[derive(Default)]
pub(super) struct Extra {
    /// Of its client.
    pub(super) terms: String,
    /// Further tables.
    pub(super) more: String,
}

impl Extra {
    /// Limits and budgets of the client, its team, its tenant and a tag: each wide enough never to be met, and all of
    /// them kept.
    pub(super) fn paid(folder: &Path) -> Result<Self, Fault> {
        const TERMS: &str = "requests_per_minute = 100000000\ntokens_per_minute = 1000000000000\nconcurrency = 100000\nbudgets = [{ usd = \"1000000\", period = \"day\" }, { usd = \"10000000\", period = \"month\" }]\n";
        let prices = inside(folder, "prices.toml");
        std::fs::write(
            &prices,
            "[mock.\"mock-model\"]\ncan = [\"chat\"]\ncontext = 1000000\noutput_limit = 10000\nprice = { input = \"3\", output = \"15\" }\nconfirmed = \"a bench\"\n",
        )?;
        Ok(Self {
            terms: format!("tenant = \"acme\"\nteam = \"search\"\n{TERMS}"),
            more: format!(
                "[tenants.acme]\n{TERMS}[tenants.acme.teams.search]\n{TERMS}[registry]\nfile = \"{}\"\n",
                prices.display()
            ),
        })
    }
}

/// A proxy; ended when dropped.
pub(super) struct Proxy {
    child: Child,
    address: SocketAddr,
    /// `None` of the bare proxy.
    admin: Option<SocketAddr>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    pub(super) async fn bare(
        mock: &Mock,
        folder: &Path,
        valgrind: Option<(&Valgrind, &str)>,
    ) -> Result<Self, Fault> {
        let announce = inside(folder, "bare");
        let mut command = command(folder, valgrind)?;
        command
            .args(["bench", "--bare", &mock.0.base_url(), "--announce"])
            .arg(&announce);
        Self::start(command, &announce).await
    }

    pub(super) async fn gateway(
        mock: &Mock,
        folder: &Path,
        valgrind: Option<(&Valgrind, &str)>,
    ) -> Result<Self, Fault> {
        Self::gateway_with(mock, folder, &Extra::default(), valgrind).await
    }

    pub(super) async fn gateway_with(
        mock: &Mock,
        folder: &Path,
        extra: &Extra,
        valgrind: Option<(&Valgrind, &str)>,
    ) -> Result<Self, Fault> {
        // A journal of its own each time: a start reads what an earlier one left behind.
        let journal = tempfolder(folder)?;
        let config = inside(folder, "switchyard.toml");
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\nkey = \"env:SWITCHYARD_BENCH_ADMIN\"\n\
             [journal]\npath = \"{place}\"\nshed_after_ms = 10000\n\
             [logs]\nlevel = \"error\"\n\
             [timeouts]\ngap_ms = 600000\ngap_floor_ms = 600000\n\
             [store]\npath = \"{place}/switchyard.db\"\n\
             [[clients]]\nname = \"bench\"\nkey = \"env:SWITCHYARD_BENCH_KEY\"\n{terms}\
             [providers.mock]\ndialect = \"{dialect}\"\nbase_url = \"{base_url}\"\nmax_in_flight = 20000\nallow_private_address = true\n\
             keys = [{{ name = \"main\", secret = \"env:SWITCHYARD_BENCH_KEY\", requests_per_minute = 100000000, tokens_per_minute = 4000000000 }}]\n\
             [pools.fast]\ntargets = [\"mock/mock-model\"]\nqueue_length = 20000\nmax_wait_ms = 60000\n{more}",
            terms = extra.terms,
            more = extra.more,
            place = journal.display(),
            base_url = mock.0.base_url(),
            dialect = mock.0.dialect().name(),
        );
        std::fs::write(&config, text)?;
        let announce = inside(folder, "gateway");
        let mut command = command(folder, valgrind)?;
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--announce")
            .arg(&announce);
        let proxy = Self::start(command, &announce).await?;
        proxy.until_ready().await?;
        Ok(proxy)
    }

    /// The gateway listens before its journal is open.
    async fn until_ready(&self) -> Result<(), Fault> {
        for _ in 0..1_000 {
            if let Ok(mut client) = Client::connect(self.address).await
                && let Ok(answer) = client.get("/ready", &[]).await
                && answer.status() == 200
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the gateway never became ready".into())
    }

    async fn start(mut command: Command, announce: &Path) -> Result<Self, Fault> {
        let _ = std::fs::remove_file(announce);
        let mut child = command.spawn()?;
        // Valgrind needs seconds to begin.
        for _ in 0..3_000 {
            let told = std::fs::read_to_string(announce).unwrap_or_default();
            let address = |name: &str| {
                told.lines().find_map(|line| {
                    let rest = line.strip_prefix(name)?.strip_prefix("=http://")?;
                    rest.split('/').next()?.parse().ok()
                })
            };
            let admin = address("admin_url");
            if let Some(address) = address("base_url") {
                return Ok(Self {
                    child,
                    address,
                    admin,
                });
            }
            if let Some(status) = child.try_wait()? {
                return Err(format!("a process under measurement ended at once ({status})").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
        Err("a process under measurement did not start within 30 s".into())
    }

    /// Asks for a reload and waits until it is in force.
    pub(super) async fn reload(&self) -> Result<(), Fault> {
        let admin = self.admin.ok_or("it has no admin listener")?;
        let mut client = Client::connect(admin).await?;
        let fields = [("authorization".to_owned(), format!("Bearer {ADMIN}"))];
        let nothing = serde_json::json!({});
        let answer = client.post_json("/admin/reload", &fields, &nothing).await?;
        // Unchanged is what it is when the gateway saw the file first: in force as well.
        if answer.status() == 200 {
            Ok(())
        } else {
            Err(format!("the reload was not applied: {}", answer.json()).into())
        }
    }

    /// Ends it the way an operator would, so that what it counted is written.
    pub(super) fn end(mut self) -> Result<(), Fault> {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        if !status.success() {
            return Err("a process under measurement could not be told to end".into());
        }
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn load_of(&self, case: &Case) -> Load {
        load_at(self.address, case)
    }

    /// Runs so many requests and answers how many went wrong.
    pub(super) async fn load(&self, case: &Case, requests: u64) -> u64 {
        let mut load = self.load_of(case);
        load.requests = requests;
        requests.saturating_sub(load.run().await.with_status(200))
    }

    /// Microseconds of CPU per request, and how many went wrong.
    pub(super) async fn cost(&self, case: &Case) -> Result<(f64, u64), Fault> {
        let before = cpu_micros(self.child.id())?;
        let wrong = self.load(case, case.requests).await;
        let used = cpu_micros(self.child.id())? - before;
        Ok((
            used / super::float(case.requests - wrong.min(case.requests - 1)),
            wrong,
        ))
    }

    pub(super) fn memory(&self) -> Result<f64, Fault> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| {
            let number = line.strip_prefix("VmRSS:")?.split_whitespace().next()?;
            number.parse::<f64>().ok()
        });
        Ok(kib.unwrap_or_default() / 1_024.0)
    }

    /// Opens connections that have been answered once and then rest.
    pub(super) async fn rest_connections(&self, count: usize) -> Result<Vec<Client>, Fault> {
        let mut resting = Vec::with_capacity(count);
        for _ in 0..count {
            let mut client = Client::connect(self.address).await?;
            client.get("/live", &[]).await?;
            resting.push(client);
        }
        Ok(resting)
    }

    /// Opens streams that have begun and stay open as long as the answer is kept.
    pub(super) async fn open_streams(&self, count: usize) -> Result<Vec<Client>, Fault> {
        let body = body(&super::cases::OPEN);
        let fields = [("authorization".to_owned(), format!("Bearer {KEY}"))];
        let wire = request_bytes(self.address, "POST", PATH, &fields, body.as_bytes());
        let mut streams = Vec::with_capacity(count);
        // In small crowds: a listener's backlog is not what is measured.
        while streams.len() < count {
            let crowd = (count - streams.len()).min(64);
            let opening = (0..crowd).map(|_| open_one(self.address, &wire));
            for stream in futures_util::future::join_all(opening).await {
                streams.push(stream?);
            }
        }
        Ok(streams)
    }
}

/// A folder that nobody used before.
fn tempfolder(folder: &Path) -> Result<PathBuf, Fault> {
    let fresh = folder.join(format!("journal-{:016x}", fastrand::u64(..)));
    std::fs::create_dir_all(&fresh)?;
    Ok(fresh)
}

async fn open_one(address: SocketAddr, wire: &[u8]) -> Result<Client, Fault> {
    let mut client = Client::connect(address).await?;
    client.send(wire).await?;
    let (head, _) = client.read_head().await?;
    if head.status == 200 {
        Ok(client)
    } else {
        Err(format!("a stream was refused with {}", head.status).into())
    }
}

fn body(case: &Case) -> String {
    let prompt = "lorem ipsum ".repeat(case.prompt_bytes / 12);
    format!(
        "{{\"model\":\"fast\",\"stream\":{},\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}",
        case.chunks > 0
    )
}

pub(super) fn load_at(address: SocketAddr, case: &Case) -> Load {
    let mut load = Load::new(address, PATH, body(case));
    load.fields
        .push(("authorization".to_owned(), format!("Bearer {KEY}")));
    load.connections = case.connections;
    load.shape = Shape::Closed;
    load.requests = u64::MAX;
    load.duration = Duration::from_secs(120);
    load
}

fn command(folder: &Path, valgrind: Option<(&Valgrind, &str)>) -> Result<Command, Fault> {
    let mut command = match valgrind {
        Some((valgrind, name)) => valgrind.around(folder, name)?,
        None => Command::new(own_binary()?),
    };
    // One worker each: what one pinned core would do, without the right to pin.
    command
        .env("TOKIO_WORKER_THREADS", "1")
        .env("SWITCHYARD_BENCH_KEY", KEY)
        .env("SWITCHYARD_BENCH_ADMIN", ADMIN)
        .env("SWITCHYARD_BENCH_PEPPER", PEPPER)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command)
}

pub(super) fn cpu_micros(process: u32) -> Result<f64, Fault> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let first = text
            .split(' ')
            .next()
            .and_then(|first| first.parse::<u64>().ok());
        nanos += first.unwrap_or_default();
    }
    Ok(super::float(nanos) / 1_000.0)
}

/// How many streams the descriptors of a process allow: each takes two, and something else needs some.
pub(super) fn most_streams() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| {
        let numbers = line.strip_prefix("Max open files")?;
        numbers.split_whitespace().next()?.parse::<usize>().ok()
    });
    soft.map_or(usize::MAX, |soft| soft.saturating_sub(400) / 2)
}

// --- instructions ---

/// callgrind, where it is installed.
pub(super) struct Valgrind {
    keep: Option<PathBuf>,
}

impl Valgrind {
    pub(super) fn find(keep: Option<PathBuf>) -> Option<Self> {
        let mut command = Command::new("valgrind");
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().ok()?.success().then_some(Self { keep })
    }

    fn profile(&self, folder: &Path, name: &str) -> PathBuf {
        let folder = self.keep.as_deref().unwrap_or(folder);
        folder.join(format!("callgrind.{name}"))
    }

    fn around(&self, folder: &Path, name: &str) -> Result<Command, Fault> {
        let profile = self.profile(folder, name);
        if let Some(folder) = profile.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut command = Command::new("valgrind");
        command
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(own_binary()?);
        Ok(command)
    }

    /// The instructions of a run that has ended.
    pub(super) fn total(&self, folder: &Path, name: &str) -> Result<Counted, Fault> {
        let text = std::fs::read_to_string(self.profile(folder, name))?;
        let all = text.lines().find_map(|line| {
            let rest = line
                .strip_prefix("summary:")
                .or(line.strip_prefix("totals:"))?;
            rest.trim().parse::<f64>().ok()
        });
        Ok(Counted {
            all: all.ok_or("callgrind's profile has no total")?,
            digest: self_cost(&text, "sha256_block_data_order"),
        })
    }

    /// Instructions of one placement with its release.
    pub(super) fn placement(&self, folder: &Path, targets: u32) -> Result<f64, Fault> {
        const FEW: u64 = 1_000;
        const MANY: u64 = 5_000;
        let mut counts = [Counted::default(); 2];
        for (count, placements) in counts.iter_mut().zip([FEW, MANY]) {
            let name = format!("placement-{targets}-{placements}");
            let mut command = self.around(folder, &name)?;
            placing(&mut command, placements, targets)?;
            *count = self.total(folder, &name)?;
        }
        let [few, many] = counts;
        Ok((many.all - few.all) / super::float(MANY - FEW))
    }
}

/// Instructions, and how many of them went into SHA-256: valgrind's processor has none of the
/// instructions that real ones have for it.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) all: f64,
    pub(super) digest: f64,
}

/// What the functions with this in their name cost by themselves, in callgrind's format.
fn self_cost(profile: &str, name: &str) -> f64 {
    let mut ours = Vec::new();
    let (mut inside, mut skip, mut sum) = (false, false, 0.0);
    for line in profile.lines() {
        // `(12) name` where a function is first named, `(12)` from then on.
        let named = line.strip_prefix("fn=").or(line.strip_prefix("cfn="));
        if let Some(function) = named {
            let (id, named) = function.split_once(' ').unwrap_or((function, ""));
            if named.contains(name) {
                ours.push(id.to_owned());
            }
            if line.starts_with("fn=") {
                inside = ours.iter().any(|known| known == id);
            }
        } else if line.starts_with("calls=") {
            skip = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
            let cost = line
                .split(' ')
                .nth(1)
                .and_then(|cost| cost.parse::<f64>().ok());
            if inside && !std::mem::take(&mut skip) {
                sum += cost.unwrap_or_default();
            }
            skip = false;
        }
    }
    sum
}

fn placing(command: &mut Command, placements: u64, targets: u32) -> Result<String, Fault> {
    let output = command
        .args([
            "bench",
            "--placements",
            &placements.to_string(),
            "--targets",
        ])
        .arg(targets.to_string())
        .env("TOKIO_WORKER_THREADS", "1")
        .env("SWITCHYARD_BENCH_KEY", KEY)
        .stderr(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(format!("placing among {targets} targets failed").into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// CPU nanoseconds of one placement with its release.
pub(super) fn placement_nanos(targets: u32) -> Result<f64, Fault> {
    let mut command = Command::new(own_binary()?);
    let told = placing(&mut command, 20_000, targets)?;
    told.trim()
        .parse()
        .map_err(|_| "placing told no number".into())
}
