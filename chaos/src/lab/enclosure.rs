//! Processes that the harness starts: with an environment of three names, in a group of their own, and none of them
//! outlives it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `binary` with nothing of the harness's environment but where programs and temporary files are.
///
/// # Why
/// A gateway reads its settings from the environment as well, and there they beat the file: an operator's
/// `SWITCHYARD_…` or key would lead prompts to a real provider and records into a real journal.
#[must_use]
pub fn enclosed(binary: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("HOME", home);
    for name in ["PATH", "TMPDIR"] {
        if let Some(value) = inherited(name) {
            command.env(name, value);
        }
    }
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "passed on to a child, never read as a setting"
)]
fn inherited(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// Kills a process when the harness is gone, however it went: its end closes the pipe that the guard reads from.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        enclosed("sh", Path::new("/"))
            .args(["-c", "read line; kill -KILL \"$0\""])
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to the harness's group must not end the guard first.
            .process_group(0)
            .spawn()
            .map(Self)
    }

    /// As the end of the harness would.
    #[cfg(test)]
    fn let_go(mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The process may be gone and its number another's: the guard ends before it can act.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn nothing_of_the_environment_reaches_a_child_but_what_it_needs() {
        let told = enclosed("env", Path::new("/nowhere")).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let names: Vec<&str> = told
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        let known = ["PATH", "TMPDIR", "HOME", "PWD", "SHLVL", "_"];
        assert!(names.iter().all(|name| known.contains(name)), "{told}");
        assert!(
            told.contains("HOME=/nowhere") && told.contains("PATH="),
            "{told}"
        );
        // Cargo sets this for every test: something was there to be kept away.
        assert!(inherited("CARGO_MANIFEST_DIR").is_some());
    }

    #[test]
    fn a_process_ends_with_the_harness_that_started_it() {
        let mut child = sleeper();
        Guard::of(child.id()).unwrap().let_go();
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_guard_that_is_dropped_harms_nobody() {
        let mut child = sleeper();
        drop(Guard::of(child.id()).unwrap());
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
