//! The file of owners, one JSON document a line; a later line about the same owner replaces an earlier one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Whose a text or an alias is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// The data key, wrapped; none until a text is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// The mark of the master key it is wrapped with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
}

impl Entry {
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Beside the segments, in a folder of its own: an owner's erasure must not touch the chain.
pub(super) fn folder(journal: &Path) -> PathBuf {
    journal.join("keys")
}

pub(super) fn path(journal: &Path) -> PathBuf {
    folder(journal).join("owners.jsonl")
}

/// All owners in the order they came. A line that a crash left half written is passed over.
pub(super) fn read(journal: &Path) -> io::Result<Vec<Entry>> {
    let text = match fs::read(path(journal)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
            continue;
        };
        match places
            .get(&entry.id)
            .and_then(|place| entries.get_mut(*place))
        {
            Some(before) => *before = entry,
            None => {
                places.insert(entry.id.clone(), entries.len());
                entries.push(entry);
            }
        }
    }
    Ok(entries)
}

/// Replaces the file. What is not among the entries is gone when this returns: the old file's name is taken by
/// the new one, on the disk.
pub(super) fn rewrite(journal: &Path, entries: &[Entry]) -> io::Result<()> {
    let beside = folder(journal).join("owners.new");
    let _ = fs::remove_file(&beside);
    let mut file = private(&beside)?;
    let lines: Vec<u8> = entries.iter().flat_map(Entry::line).collect();
    file.write_all(&lines)?;
    file.sync_all()?;
    fs::rename(&beside, path(journal))?;
    File::open(folder(journal))?.sync_all()
}

/// Opens the file for more lines, behind a whole one.
pub(super) fn append(journal: &Path) -> io::Result<File> {
    let path = path(journal);
    let torn = fs::read(&path).is_ok_and(|text| text.last().is_some_and(|last| *last != b'\n'));
    let mut file = if path.exists() {
        File::options().append(true).open(&path)?
    } else {
        private(&path)?
    };
    if torn {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Creates a file that only its owner reads.
pub(super) fn private(path: &Path) -> io::Result<File> {
    super::super::segment::create(path)
}
