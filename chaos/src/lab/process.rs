//! The gateway's process: started, watched, hurt and started again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::enclosure::{Guard, enclosed};
use super::lodging::Lodging;
use crate::client::{Client, ConnectOptions};

/// Why there is no gateway to test.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("{path}: {why}")]
    Io { path: String, why: io::Error },
    #[error("the gateway did not become ready within {0:?}; it said:\n{1}")]
    NotReady(Duration, String),
    #[error("the gateway ended before it was ready; it said:\n{0}")]
    Ended(String),
}

/// A gateway in a process of its own, ended when dropped.
#[derive(Debug)]
pub struct GatewayProcess {
    binary: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    guard: Option<Guard>,
    pub lodging: Lodging,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// How often it was started.
    pub starts: u32,
}

const READY: Duration = Duration::from_secs(20);

impl GatewayProcess {
    /// Starts `binary serve` on the configuration in `folder` and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends at once, or is not ready in time.
    pub async fn start(binary: &Path, folder: &Path) -> Result<Self, ProcessError> {
        Self::start_on(Lodging::default(), binary, folder).await
    }

    /// As [`GatewayProcess::start`], on ground that can be moved.
    ///
    /// # Errors
    /// As [`GatewayProcess::start`].
    pub async fn start_on(
        lodging: Lodging,
        binary: &Path,
        folder: &Path,
    ) -> Result<Self, ProcessError> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            child: None,
            guard: None,
            lodging,
            address: nowhere,
            admin: nowhere,
            starts: 0,
        };
        gateway.start_again().await?;
        Ok(gateway)
    }

    /// Starts it anew on the same folder, and so on the same addresses and journal.
    ///
    /// # Errors
    /// As [`GatewayProcess::start`].
    pub async fn start_again(&mut self) -> Result<(), ProcessError> {
        self.kill();
        let announce = self.folder.join("announce");
        // What an earlier start announced is no longer true.
        let _ = fs::remove_file(&announce);
        let log = self.folder.join("gateway.log");
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(io_error(&log))?;
        let again = out.try_clone().map_err(io_error(&log))?;
        let child = self
            .lodging
            .command(&self.binary, &self.folder)
            .arg("serve")
            .arg("--config")
            .arg(self.folder.join("switchyard.toml"))
            .arg("--announce")
            .arg(&announce)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(again)
            // What a terminal tells the harness is not meant for the gateway: that is stopped in its turn.
            .process_group(0)
            .spawn()
            .map_err(io_error(&self.binary))?;
        let pid = self.child.insert(child).id();
        self.guard = Some(Guard::of(pid).map_err(io_error(Path::new("sh")))?);
        self.starts = self.starts.saturating_add(1);
        let begun = Instant::now();
        while begun.elapsed() < READY {
            if let Some((address, admin)) = announced(&announce) {
                (self.address, self.admin) = (address, admin);
                if is_ready(address).await {
                    return Ok(());
                }
            }
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            if ended {
                return Err(ProcessError::Ended(self.last_words()));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err(ProcessError::NotReady(READY, self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.join("gateway.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(12).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        lines.join("\n")
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it lives; one that ended by itself does not.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// SIGKILL, which ends a stopped process as well, and the remains are taken away.
    pub fn kill(&mut self) {
        // First: once the remains are away, the process's number may become another's.
        self.guard = None;
        if let Some(mut child) = self.child.take() {
            // Both fail only on a process that has ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, then patience, then SIGKILL. Whether it went by itself.
    pub async fn stop(&mut self, patience: Duration) -> bool {
        let Some(pid) = self.pid() else { return true };
        signal(pid, "TERM");
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()))
            {
                self.guard = None;
                self.child = None;
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.kill();
        false
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ProcessError {
    let path = path.display().to_string();
    move |why| ProcessError::Io { path, why }
}

/// Sends a signal by name. The standard library knows only SIGKILL, and the shell is everywhere.
pub fn signal(pid: u32, name: &str) -> bool {
    enclosed("sh", Path::new("/"))
        .args(["-c", &format!("kill -{name} {pid}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a process stands still after SIGSTOP; `None` where the system does not tell.
#[must_use]
pub fn is_stopped(pid: u32) -> Option<bool> {
    let told = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold spaces and brackets; the state follows the last bracket.
    let state = told.rsplit_once(')')?.1.trim_start().chars().next()?;
    Some(state == 'T')
}

/// The addresses written by `--announce`.
fn announced(file: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = fs::read_to_string(file).ok()?;
    let named: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let address = |name: &str| {
        let url = named.get(name)?.strip_prefix("http://")?;
        url.split('/').next()?.parse().ok()
    };
    Some((address("base_url")?, address("admin_url")?))
}

async fn is_ready(address: SocketAddr) -> bool {
    let options = ConnectOptions {
        patience: Duration::from_secs(1),
        ..ConnectOptions::default()
    };
    let Ok(mut client) = Client::connect_with(address, options).await else {
        return false;
    };
    client
        .get("/ready", &[])
        .await
        .is_ok_and(|answer| answer.status() == 200)
}
