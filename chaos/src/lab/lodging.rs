//! What a gateway stands on, where a scenario needs it to give way: a disk and a clock of its own.

use std::path::Path;
use std::process::Command;

use super::clock::OwnClock;
use super::disk::SmallDisk;
use super::enclosed;

/// The usual ground, or one that can be moved.
#[derive(Debug, Default)]
pub struct Lodging {
    pub disk: Option<SmallDisk>,
    pub clock: Option<OwnClock>,
}

impl Lodging {
    /// A command that starts `program` on it.
    pub(super) fn command(&self, program: &Path, home: &Path) -> Command {
        let mut command = match &self.disk {
            Some(disk) => disk.command(program, home),
            None => enclosed(program, home),
        };
        if let Some(clock) = &self.clock {
            clock.lay_on(&mut command);
        }
        command
    }
}
