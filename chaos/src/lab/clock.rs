//! A wall clock of the gateway's own, which can be set while it runs.
//!
//! # How, without being root
//! `libfaketime`, loaded before the C library, reads how far to move the wall clock from a file; the monotonic clock stays
//! as it is, as on a machine whose time is set. A time namespace would not do: it moves every clock but this one.
//! Where the library is not installed there is no such clock, and a scenario that needs it is `unknown`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// For programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";
/// Where distributions put it, below these or in a folder of theirs.
const PLACES: [&str; 4] = ["/usr/lib", "/usr/local/lib", "/usr/lib64", "/lib"];

/// The gateway's clock, as far as the harness can move it.
#[derive(Debug)]
pub struct OwnClock {
    library: PathBuf,
    file: PathBuf,
}

impl OwnClock {
    /// A clock that tells the right time until it is set.
    ///
    /// # Errors
    /// Where there is no library for it, with the cure.
    pub fn new(folder: &Path) -> Result<Self, String> {
        let library = found().ok_or_else(|| {
            format!(
                "the gateway's clock cannot be set: {LIBRARY} is not installed (Debian's package libfaketime)"
            )
        })?;
        let clock = Self {
            library,
            file: folder.join("clock"),
        };
        clock.set(0).map_err(|error| error.to_string())?;
        Ok(clock)
    }

    /// So many seconds before or behind the right time from now on; read within a second.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) -> io::Result<()> {
        let beside = self.file.with_extension("new");
        fs::write(&beside, format!("{seconds:+}\n"))?;
        fs::rename(&beside, &self.file)
    }

    pub(super) fn lay_on(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}

fn found() -> Option<PathBuf> {
    let roots = PLACES.iter().map(PathBuf::from);
    let below = roots.flat_map(|root| {
        let listed = fs::read_dir(&root).into_iter().flatten().flatten();
        let own = listed.map(|entry| entry.path().join("faketime").join(LIBRARY));
        let here = [root.join(LIBRARY), root.join("faketime").join(LIBRARY)];
        own.chain(here).collect::<Vec<_>>()
    });
    below.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::unix_now;

    #[test]
    fn x15_the_clock_of_one_process_is_set_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let clock = match OwnClock::new(folder.path()) {
            Ok(clock) => clock,
            // The reason is what a run would tell; there is nothing to see here.
            Err(why) => return assert!(why.contains("libfaketime"), "{why}"),
        };
        let told = |clock: &OwnClock| -> i64 {
            let mut command = super::super::enclosed("date", folder.path());
            clock.lay_on(command.arg("+%s"));
            let told = command.output().unwrap().stdout;
            let told: i64 = String::from_utf8(told).unwrap().trim().parse().unwrap();
            told - unix_now()
        };
        for wanted in [0, 3_600, -3_600] {
            clock.set(wanted).unwrap();
            assert!(
                (wanted - 2..=wanted + 2).contains(&told(&clock)),
                "{wanted}"
            );
        }
    }
}
