//! Faults of what the gateway stands on: its clock and the disk under its journal, and what shows that it felt them.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::time::sleep;

use super::at_gateway::Harm;
use super::faults::Deeds;
use super::gateway::look;
use crate::fault::DiskFault;
use crate::http1::unix_now;
use crate::lab::{DiskState, enclosed, signal};

/// Before the time in a record.
const AT: &[u8] = b"\"at\":";
/// The journal has let go of a segment that could not be written after this.
const LET_GO: Duration = Duration::from_millis(1_200);
/// Between two looks at whether the journal can be written.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A tracer that has not begun by then will not.
const ATTACHED: Duration = Duration::from_secs(5);

/// Set, and right again at the end. Seen when the times in the gateway's own records have moved.
pub(super) async fn clock(seconds: i64, harm: &Harm, off: u64, deeds: &mut Deeds) {
    let from = harm.times.epoch.millis();
    if !set(harm, seconds).await {
        // Why there is no such clock was told when the gateway was started.
        return;
    }
    let mut seen = 0;
    while seen == 0 && harm.times.epoch.millis() < off {
        sleep(LOOK_EVERY).await;
        let skew = told(harm).await.map(|date| date.saturating_sub(unix_now()));
        seen = u64::from(skew.is_some_and(|skew| skew.abs_diff(seconds) <= 5));
    }
    harm.times.off(off).await;
    if !set(harm, 0).await {
        deeds.cannot("the gateway's clock could not be set right again".to_owned());
    }
    deeds.add(seen, from, harm.times.epoch.millis());
}

async fn set(harm: &Harm, seconds: i64) -> bool {
    let gateway = harm.gateway.lock().await;
    let clock = gateway.lodging.clock.as_ref();
    clock.is_some_and(|clock| clock.set(seconds).is_ok())
}

/// When the gateway says that it wrote its newest record.
async fn told(harm: &Harm) -> Option<i64> {
    let folder = harm.gateway.lock().await.folder().join("journal");
    let newest = std::fs::read_dir(folder).ok()?.flatten();
    let newest = newest.map(|entry| entry.path());
    let segments = newest.filter(|path| path.extension().is_some_and(|name| name == "jsonl"));
    let text = std::fs::read(segments.max()?).ok()?;
    let place = memchr::memmem::rfind(&text, AT)?.checked_add(AT.len())?;
    let digits = text
        .get(place..)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let millis = digits.fold(0_i64, |sum, digit| {
        let digit = i64::from(digit.saturating_sub(b'0'));
        sum.saturating_mul(10).saturating_add(digit)
    });
    Some(millis / 1_000)
}

pub(super) async fn disk(fault: DiskFault, harm: &Harm, off: u64, deeds: &mut Deeds) {
    let from = harm.times.epoch.millis();
    let felt = match fault {
        DiskFault::Full => state(harm, &[DiskState::Full], off, deeds).await,
        DiskFault::ReadOnly => {
            let states = [DiskState::Full, DiskState::ReadOnly];
            state(harm, &states, off, deeds).await
        }
        DiskFault::Slow(time) => {
            let what = format!("delay_enter={}", time.as_micros());
            traced(harm, &what, "DELAYED", off, deeds).await
        }
        DiskFault::Error => traced(harm, "error=EIO", "INJECTED", off, deeds).await,
    };
    deeds.add(felt, from, harm.times.epoch.millis());
}

/// One state after the other, as far as they can be made; all mended at the end. Felt as often as the gateway was seen
/// to say that it cannot write.
async fn state(harm: &Harm, states: &[DiskState], off: u64, deeds: &mut Deeds) -> u64 {
    let mut made = Vec::new();
    for (place, state) in states.iter().enumerate() {
        if place > 0 {
            sleep(LET_GO).await;
        }
        let gateway = harm.gateway.lock().await;
        // Why there is no such disk was told when the gateway was started.
        let Some(disk) = &gateway.lodging.disk else {
            return 0;
        };
        match disk.make(*state) {
            Ok(()) => made.push(*state),
            Err(why) => deeds.cannot(why),
        }
    }
    let mut felt = 0;
    while harm.times.epoch.millis() < off {
        sleep(LOOK_EVERY).await;
        let looked = look(&harm.gateway, harm.times.epoch).await;
        let writable = looked.map(|seen| seen.sum("switchyard_audit_writable", &[]));
        felt += u64::from(writable.is_some_and(|writable| writable < 0.5));
    }
    let gateway = harm.gateway.lock().await;
    if let Some(disk) = &gateway.lodging.disk {
        made.iter().rev().for_each(|state| disk.mend(*state));
    }
    if made.len() == states.len() { felt } else { 0 }
}

/// Each sync of the gateway's process meets what the tracer puts in; its log tells how often.
async fn traced(harm: &Harm, what: &str, mark: &str, off: u64, deeds: &mut Deeds) -> u64 {
    let (pid, log) = {
        let gateway = harm.gateway.lock().await;
        (gateway.pid(), gateway.folder().join("strace.log"))
    };
    let Some(pid) = pid else { return 0 };
    let mut tracer = match Tracer::start(pid, what, &log) {
        Ok(tracer) => tracer,
        Err(why) => {
            deeds.cannot(format!(
                "strace cannot be started: {why}; install it (Debian's package strace)"
            ));
            return 0;
        }
    };
    harm.times.off(off).await;
    if let Some(why) = tracer.ended() {
        deeds.cannot(format!(
            "strace cannot trace the gateway: {why}; allow it (sysctl kernel.yama.ptrace_scope=0), or run the harness as root"
        ));
        return 0;
    }
    tracer.stop().await;
    let told = std::fs::read_to_string(&log).unwrap_or_default();
    told.lines().filter(|line| line.contains(mark)).count() as u64
}

struct Tracer {
    child: Child,
    errors: PathBuf,
}

impl Tracer {
    fn start(pid: u32, what: &str, log: &Path) -> std::io::Result<Self> {
        let errors = log.with_extension("errors");
        let child = enclosed("strace", Path::new("/"))
            .args(["-f", "-q", "-p", &pid.to_string()])
            .args(["-e", "trace=fsync,fdatasync"])
            .args(["-e", &format!("inject=fsync,fdatasync:{what}")])
            .arg("-o")
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&errors)?)
            .spawn()?;
        Ok(Self { child, errors })
    }

    /// Why it ended by itself, if it did.
    fn ended(&mut self) -> Option<String> {
        let gone = self.child.try_wait().is_ok_and(|status| status.is_some());
        let told = || std::fs::read_to_string(&self.errors).unwrap_or_default();
        gone.then(|| {
            told()
                .lines()
                .next()
                .unwrap_or("it said nothing")
                .to_owned()
        })
    }

    /// Told to, it lets go of the process before it ends; killed, it might leave it stopped.
    async fn stop(&mut self) {
        signal(self.child.id(), "INT");
        for _ in 0..100 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            sleep(ATTACHED / 100).await;
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
