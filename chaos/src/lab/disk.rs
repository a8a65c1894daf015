//! A small disk under the gateway's journal, which can be filled and made read-only without harming anybody else's.
//!
//! # How, without being root
//! A process of ours in namespaces of its own mounts a file system in memory at the journal's folder; the gateway is
//! started in the same namespaces, and sees a real disk with a real end: `ENOSPC` and `EROFS` come from the kernel.
//! Where a system forbids such namespaces there is no such disk, and a scenario that needs it is `unknown`.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::enclosure::enclosed;

/// Enough for the journal of a scenario, little enough to be filled in a moment.
const SIZE: &str = "24m";
/// What fills it; no name of a segment.
const FILLER: &str = ".filler";

/// What holds the namespaces, and so the disk; both end with it.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    folder: PathBuf,
    /// Of a user's own, or only mounts of our own (as root).
    own_users: bool,
}

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    Full,
    ReadOnly,
}

impl SmallDisk {
    /// Mounts one at that folder.
    ///
    /// # Errors
    /// Where the system does not allow it, with the reason.
    pub fn new(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        Self::mounted(folder, true).or_else(|refused| {
            Self::mounted(folder, false).map_err(|_| {
                format!(
                    "no disk of its own can be put under the journal: {refused}; the system must allow unprivileged \
                     user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run the harness as root"
                )
            })
        })
    }

    fn mounted(folder: &Path, own_users: bool) -> Result<Self, String> {
        // Ends when the harness lets go of its standard input, however it ended.
        let script = format!(
            "mount -t tmpfs -o size={SIZE},mode=700 journal \"$0\" && echo mounted && read line"
        );
        let mut command = enclosed("unshare", Path::new("/"));
        if own_users {
            command.args(["--user", "--map-root-user"]);
        }
        let mut holder = command
            .args(["--mount", "sh", "-c", &script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        if let Some(out) = holder.stdout.take() {
            // Ends with the script at the latest.
            let _ = BufReader::new(out).read_line(&mut said);
        }
        if said.trim() == "mounted" {
            return Ok(Self {
                holder,
                folder: folder.to_owned(),
                own_users,
            });
        }
        drop(holder.stdin.take());
        let told = holder
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        Err(last_line(&told.stderr))
    }

    /// A command that sees the disk.
    pub(super) fn command(&self, program: &Path, home: &Path) -> Command {
        let mut command = enclosed("nsenter", home);
        command.arg("--target").arg(self.holder.id().to_string());
        if self.own_users {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--mount", "--"]).arg(program);
        command
    }

    fn run(&self, script: &str) -> io::Result<Output> {
        self.command(Path::new("sh"), Path::new("/"))
            .args(["-c", script])
            .arg(&self.folder)
            .output()
    }

    /// Makes it so.
    ///
    /// # Errors
    /// When a byte can be written all the same.
    pub fn make(&self, state: DiskState) -> Result<(), String> {
        let script = match state {
            DiskState::Full => format!("cat /dev/zero > \"$0/{FILLER}\""),
            // What is open for writing stays so: a disk that fails while it is in use is first of all full, see above.
            DiskState::ReadOnly => {
                "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"".to_owned()
            }
        };
        // A full disk ends the filling with an error, as it should.
        self.run(&script).map_err(|error| error.to_string())?;
        let probe = self.run("printf x | cat > \"$0/.probe\"");
        let told = probe.map_err(|error| error.to_string())?;
        let wanted = match state {
            DiskState::Full => "No space left",
            DiskState::ReadOnly => "Read-only",
        };
        let said = String::from_utf8_lossy(&told.stderr);
        if told.status.success() || !said.contains(wanted) {
            return Err(format!("the disk could not be made {state:?}: {said}"));
        }
        Ok(())
    }

    /// As it was at first.
    pub fn mend(&self, state: DiskState) {
        let script = match state {
            DiskState::Full => format!("rm -f \"$0/{FILLER}\" \"$0/.probe\""),
            DiskState::ReadOnly => "umount \"$0\"".to_owned(),
        };
        // One that stays broken shows: the journal never recovers.
        let _ = self.run(&script);
    }

    /// Puts what is on the disk where it can be read without it.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn keep(&self) -> io::Result<()> {
        let told = self.run("cd \"$0\" && tar cf - --exclude=.* -- *")?;
        let mut unpack = enclosed("tar", Path::new("/"))
            .args(["xf", "-", "-C"])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut into) = unpack.stdin.take() {
            io::Write::write_all(&mut into, &told.stdout)?;
        }
        if unpack.wait()?.success() && told.status.success() {
            Ok(())
        } else {
            Err(io::Error::other(last_line(&told.stderr)))
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &SmallDisk, name: &str) -> String {
        let told = disk
            .run(&format!("echo kept | cat > \"$0/{name}\""))
            .unwrap();
        String::from_utf8_lossy(&told.stderr).into_owned()
    }

    #[test]
    fn x11_a_disk_fills_up_becomes_read_only_and_is_well_again() {
        let folder = tempfile::tempdir().unwrap();
        let disk = match SmallDisk::new(folder.path()) {
            Ok(disk) => disk,
            // The reason is what a run would tell; there is nothing to see here.
            Err(why) => return assert!(why.contains("user namespaces"), "{why}"),
        };
        assert_eq!(write(&disk, "before"), "");
        disk.make(DiskState::Full).unwrap();
        assert!(write(&disk, "full").contains("No space left"));
        disk.make(DiskState::ReadOnly).unwrap();
        assert!(write(&disk, "read-only").contains("Read-only"));
        disk.mend(DiskState::ReadOnly);
        assert!(write(&disk, "full again").contains("No space left"));
        disk.mend(DiskState::Full);
        assert_eq!(write(&disk, "after"), "");
        assert!(!folder.path().join("before").exists(), "another disk");
        disk.keep().unwrap();
        let kept = std::fs::read_to_string(folder.path().join("before"));
        assert_eq!(kept.unwrap(), "kept\n");
        assert!(folder.path().join("after").exists());
        assert!(!folder.path().join(FILLER).exists());
    }
}
