//! `switchyard demo`: the gateway and three mock providers, traffic going through, and a key to break things.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{complain, say};
use crate::history::Told;
use crate::lab::config;
use crate::lab::{Door, Doorway, Epoch, Fleet, GatewayProcess, interrupted};
use crate::mock::{Behaviour, Dialect};
use crate::scenario::{Mock, Phases, Span, Workload};
use crate::workload::{self, Traffic};

#[derive(Debug, Clone, Args)]
pub struct DemoOptions {
    /// Where the gateway listens; another free port is taken when this one is in use.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Ends by itself after so long: "60s".
    #[arg(long = "for")]
    pub lasts: Option<String>,
    /// Requests a second that go through all the while.
    #[arg(long, default_value_t = 5.0)]
    pub rate: f64,
}

/// Three providers and how they are: one quick, one with a long tail, one slow.
const WEATHER: [(&str, &str, u64, u64); 3] = [
    ("swift", "quick and steady", 120, 200),
    ("moody", "usually quick, sometimes very slow", 180, 2_000),
    ("slow", "slow and steady", 450, 700),
];

/// Runs until it is told to stop.
pub async fn demo(options: DemoOptions, binary: &Path) -> u8 {
    let lasts = match options.lasts.as_deref().map(Span::parse) {
        None => Span(Duration::from_secs(86_400)),
        Some(Some(span)) => span,
        Some(None) => {
            complain("--for takes a length: \"60s\", \"5m\"");
            return 2;
        }
    };
    let folder = std::env::temp_dir().join(format!("switchyard-demo-{}", std::process::id()));
    let shown = async {
        tokio::select! {
            shown = shown(&options, lasts, binary, &folder) => shown,
            // Leaving is how a demo ends; what it started ends with it.
            _ = interrupted() => Ok(()),
        }
    };
    let code = match shown.await {
        Ok(()) => 0,
        Err(why) => {
            complain(&why);
            2
        }
    };
    // Nothing in it is of use to anybody.
    let _ = std::fs::remove_dir_all(&folder);
    code
}

async fn shown(
    options: &DemoOptions,
    lasts: Span,
    binary: &Path,
    folder: &PathBuf,
) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let fleet = providers().await?;
    write_config(options, &fleet, folder)?;
    let gateway = GatewayProcess::start(binary, folder)
        .await
        .map_err(|error| error.to_string())?;
    introduce(&gateway);
    let (tell, told) = mpsc::unbounded_channel();
    let steady = Workload {
        per_second: Some(options.rate.clamp(0.1, 1_000.0)),
        stream: true,
        model: Some("demo".to_owned()),
        ..Workload::named("steady")
    };
    let traffic = Traffic {
        door: Arc::new(Doorway::new(Door {
            address: gateway.address,
            path: "/v1".to_owned(),
            key: "none".to_owned(),
        })),
        epoch: Epoch::now(),
        seed: 1,
        phases: Phases {
            control: lasts,
            faults: Span::default(),
            heal: Span::default(),
            quiesce: Span::default(),
        },
        model: "demo".to_owned(),
        parties: Arc::default(),
    };
    let driving = tokio::spawn(workload::run(0, Arc::new(steady), traffic, tell));
    let _raw = RawTerminal::enter();
    watch(&fleet, told, lasts.0).await;
    driving.abort();
    Ok(())
}

async fn providers() -> Result<Fleet, String> {
    let mut fleet = Fleet::default();
    for (name, _, median, p99) in WEATHER {
        let mock = Mock {
            first_content: Some(Span(Duration::from_millis(median))),
            first_content_p99: Some(Span(Duration::from_millis(p99))),
            gap: Some(Span(Duration::from_millis(25))),
            tokens: Some(40),
            ..Mock::plain(name, "openai")
        };
        fleet
            .add(&mock, Dialect::OpenAi, 1, 0)
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(fleet)
}

fn write_config(options: &DemoOptions, fleet: &Fleet, folder: &Path) -> Result<(), String> {
    let mut own = config::own(fleet);
    let told = |error: config::ConfigError| error.to_string();
    config::enclose(&mut own, folder).map_err(told)?;
    // Anybody on this machine may try it, without a key.
    own.remove("clients");
    let wanted: SocketAddr = options.listen.parse().map_err(|_| {
        format!(
            "--listen {}: an address and a port are wanted, as in 127.0.0.1:8080",
            options.listen
        )
    })?;
    let listen = match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            complain(&format!("{wanted} is in use, another free port is taken"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        }
        Err(error) => return Err(format!("--listen {wanted}: {error}")),
    };
    let text = format!("[listen]\naddress = \"{listen}\"\n[admin]\naddress = \"127.0.0.1:0\"\n");
    let over: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    config::lay(&mut own, &over);
    if let Some(toml::Value::Table(admin)) = own.get_mut("admin") {
        admin.remove("key");
        admin.remove("allow_fault_injection");
    }
    if let Some(toml::Value::Table(pools)) = own.get_mut("pools")
        && let Some(pool) = pools.remove("chat")
    {
        pools.insert("demo".to_owned(), pool);
    }
    config::point(&mut own, fleet, folder).map_err(told)?;
    config::write(&folder.join("switchyard.toml"), &own.to_string()).map_err(told)
}

fn introduce(gateway: &GatewayProcess) {
    say(&format!(
        "switchyard demo: one gateway, three mock providers, nothing leaves this machine\n\n\
         base URL   http://{address}/v1   (any key, model \"demo\")\n\
         metrics    http://{admin}/metrics\n\
         the tree   http://{admin}/admin/tree\n\n\
         a stream:\n\n\
         curl -N http://{address}/v1/chat/completions -H 'content-type: application/json' \\\n  \
         -d '{{\"model\":\"demo\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n",
        address = gateway.address,
        admin = gateway.admin,
    ));
    for (place, (name, how, ..)) in WEATHER.iter().enumerate() {
        say(&format!("  {}  {name:<6} {how}", place + 1));
    }
    say("\npress 1, 2 or 3 to take that provider down, again to bring it back; q ends it\n");
}

/// One line a second: who answers how much, and what the clients felt.
async fn watch(fleet: &Fleet, mut told: mpsc::UnboundedReceiver<Told>, lasts: Duration) {
    let mut keys = keys();
    let begun = Instant::now();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut second = Second::default();
    let mut down = [false; 3];
    let mut requests: BTreeMap<String, u64> = BTreeMap::new();
    while begun.elapsed() < lasts {
        tokio::select! {
            Some(one) = told.recv() => second.take(&one),
            key = keys.recv() => match key {
                Some(b'q' | 3) => return,
                Some(digit @ b'1'..=b'3') => toggle(fleet, &mut down, usize::from(digit - b'1')),
                Some(_) => {}
                // No keyboard: it goes on until its time is over.
                None => keys = mpsc::unbounded_channel().1,
            },
            _ = tick.tick() => {
                second.print(fleet, &down, &mut requests);
                second = Second::default();
            }
        }
    }
}

/// Keys as they are pressed, or lines where there is no terminal.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (press, keys) = mpsc::unbounded_channel();
    // Reading the keyboard blocks for ever; the thread ends with the process.
    std::thread::spawn(move || {
        let mut key = [0];
        while std::io::stdin().read_exact(&mut key).is_ok() {
            if press.send(key[0]).is_err() {
                return;
            }
        }
        // Held open: an end of input is no wish to end.
        std::thread::park();
    });
    keys
}

fn toggle(fleet: &Fleet, down: &mut [bool; 3], place: usize) {
    let Some((name, ..)) = WEATHER.get(place) else {
        return;
    };
    let (Some(provider), Some(is_down)) = (fleet.providers.get(*name), down.get_mut(place)) else {
        return;
    };
    *is_down = !*is_down;
    if *is_down {
        provider.mock.set(Behaviour::status(500));
        provider.mock.reset_connections();
        say(&format!(
            "        {name} is down: 500 to everybody, its streams are cut"
        ));
    } else {
        provider.mock.set(Behaviour::healthy());
        say(&format!("        {name} is back"));
    }
}

#[derive(Default)]
struct Second {
    ok: u32,
    failed: BTreeMap<String, u32>,
    waits: Vec<u64>,
}

impl Second {
    fn take(&mut self, told: &Told) {
        if told.ended.is_failure() {
            *self.failed.entry(told.ended.label()).or_default() += 1;
        } else {
            self.ok += 1;
        }
        self.waits.extend(told.waited());
    }

    fn print(&mut self, fleet: &Fleet, down: &[bool; 3], before: &mut BTreeMap<String, u64>) {
        self.waits.sort_unstable();
        let median = self.waits.get(self.waits.len() / 2);
        let median = median.map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms"));
        let mut shares = String::new();
        for (place, (name, ..)) in WEATHER.iter().enumerate() {
            let now = fleet
                .providers
                .get(*name)
                .map_or(0, |provider| provider.mock.requests());
            let new = now.saturating_sub(before.insert((*name).to_owned(), now).unwrap_or(now));
            let mark = if down.get(place).copied().unwrap_or(false) {
                " DOWN"
            } else {
                ""
            };
            shares.push_str(&format!("  {name} {new:>3}{mark}"));
        }
        let failed: u32 = self.failed.values().sum();
        let kinds: Vec<&str> = self.failed.keys().map(String::as_str).collect();
        let kinds = if kinds.is_empty() {
            String::new()
        } else {
            format!(" ({})", kinds.join(", "))
        };
        say(&format!(
            "{:>3} answered  {failed} failed{kinds}  first words after {median:<8} asked:{shares}",
            self.ok
        ));
    }
}

/// Single keys instead of lines, until it is dropped.
struct RawTerminal(bool);

impl RawTerminal {
    fn enter() -> Self {
        let is_one = std::io::stdin().is_terminal();
        Self(is_one && stty(&["-icanon", "-echo", "min", "1"]))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if self.0 {
            stty(&["icanon", "echo"]);
            let _ = writeln!(std::io::stdout());
        }
    }
}

fn stty(arguments: &[&str]) -> bool {
    Command::new("stty")
        .args(arguments)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::config::key_of;

    #[tokio::test]
    async fn the_demo_configuration_needs_no_key_and_names_the_mocks() {
        let folder = std::env::temp_dir().join(format!("switchyard-demo-{}", fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        let options = DemoOptions {
            listen: "127.0.0.1:0".to_owned(),
            lasts: None,
            rate: 5.0,
        };
        let fleet = providers().await.unwrap();
        write_config(&options, &fleet, &folder).unwrap();
        let text = std::fs::read_to_string(folder.join("switchyard.toml")).unwrap();
        let read: toml::Table = text.parse().unwrap();
        assert!(!read.contains_key("clients"));
        assert!(read["pools"].as_table().unwrap().contains_key("demo"));
        assert_eq!(read["providers"].as_table().unwrap().len(), 3);
        assert!(!text.contains(&key_of("swift")), "secrets are references");
        for garbage in [
            "garbage",
            "localhost",
            "127.0.0.1:99999",
            "203.0.113.1:8080",
        ] {
            let options = DemoOptions {
                listen: garbage.to_owned(),
                ..options.clone()
            };
            let told = write_config(&options, &fleet, &folder).unwrap_err();
            assert!(told.starts_with(&format!("--listen {garbage}")), "{told}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
