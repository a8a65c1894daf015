//! What the journal does not keep: old segments, and people who asked to be forgotten.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::owners::Erasure;
use super::read::parse;
use super::segment::{next_line, segments};

/// How much of the journal is kept; `None` is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    pub age: Option<Duration>,
    pub bytes: Option<u64>,
    /// What nobody has booked yet stays, however old or large: what was spent would be forgotten with it.
    pub until_booked: bool,
}

/// With a limit of age a segment spans no more than this, or one quiet segment would hold years.
pub(super) const LONGEST_SEGMENT: Duration = Duration::from_secs(24 * 3_600);

/// A segment that need not be kept, and how the journal goes on behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Oldest {
    pub(super) path: PathBuf,
    /// The first record behind it.
    pub(super) next: u64,
    /// The chain value before that record.
    pub(super) chain: String,
}

/// How a segment begins.
#[derive(Deserialize)]
struct SegmentHead {
    seq: u64,
    at: u64,
    previous: String,
}

/// The oldest segment, if it need not be kept. Never the one that is being written.
///
/// One at a time: a clock that jumps by years then costs a segment a minute, and not the journal.
pub(super) fn due(folder: &Path, keep: Keep, now_ms: u64) -> io::Result<Option<Oldest>> {
    let files = segments(folder)?;
    let [oldest, second, ..] = files.as_slice() else {
        return Ok(None);
    };
    let mut line = Vec::new();
    next_line(&mut BufReader::new(File::open(second)?), &mut line)?;
    let Some(head) = parse::<SegmentHead>(&line) else {
        // Damage is for a person to look at, and not to be removed.
        return Ok(None);
    };
    // All its records are older than the next segment's first.
    let age = Duration::from_millis(now_ms.saturating_sub(head.at));
    let too_old = keep.age.is_some_and(|limit| age > limit);
    let too_large = match keep.bytes {
        Some(limit) => sizes(&files)? > limit,
        None => false,
    };
    Ok((too_old || too_large).then(|| Oldest {
        path: oldest.clone(),
        next: head.seq,
        chain: head.previous,
    }))
}

fn sizes(files: &[PathBuf]) -> io::Result<u64> {
    let mut sum = 0_u64;
    for path in files {
        sum = sum.saturating_add(fs::metadata(path)?.len());
    }
    Ok(sum)
}

/// Removes a segment, and the half record that was once cut from it.
pub(super) fn remove(oldest: &Oldest) -> io::Result<()> {
    let torn = oldest.path.with_extension("torn");
    if torn.exists() {
        fs::remove_file(torn)?;
    }
    fs::remove_file(&oldest.path)
}

fn requests_folder(journal: &Path) -> PathBuf {
    journal.join("keys").join("erase")
}

/// Asks whoever writes the journal to forget somebody: a running gateway within a second or two, else the
/// next one that opens it. Answers the file that is gone when it is done.
pub fn ask_to_erase(journal: &Path, erasure: &Erasure) -> io::Result<PathBuf> {
    let folder = requests_folder(journal);
    super::segment::make_folder(&journal.join("keys"))?;
    super::segment::make_folder(&folder)?;
    let name = format!("{:032x}", fastrand::u128(..));
    let beside = folder.join(format!("{name}.new"));
    let mut file = super::segment::create(&beside)?;
    serde_json::to_writer(&mut file, erasure)?;
    file.sync_all()?;
    let path = folder.join(format!("{name}.json"));
    fs::rename(beside, &path)?;
    Ok(path)
}

/// What was asked and is not done yet.
pub(super) fn asked(journal: &Path) -> Vec<(PathBuf, Erasure)> {
    let Ok(found) = fs::read_dir(requests_folder(journal)) else {
        return Vec::new();
    };
    found
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .filter_map(|path| {
            let erasure = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Some((path, erasure))
        })
        .collect()
}
