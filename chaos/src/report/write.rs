//! All forms of a report, as files of one folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Report, html, junit};

/// Where the forms of a report are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub json: PathBuf,
    pub junit: PathBuf,
    pub html: PathBuf,
}

/// Writes `report.json`, `junit.xml` and `report.html`; the folder is made if it is missing. Whoever reads one of them
/// meanwhile sees the old file or the new one, never a part.
pub fn write(report: &Report, folder: &Path) -> io::Result<Written> {
    // All are made before the first is replaced: a report that cannot be told leaves the old one whole.
    let json = serde_json::to_vec_pretty(report)?;
    let xml = junit::junit(report);
    let page = html::html(report);
    fs::create_dir_all(folder)?;
    Ok(Written {
        json: replace(folder, "report.json", &json)?,
        junit: replace(folder, "junit.xml", xml.as_bytes())?,
        html: replace(folder, "report.html", page.as_bytes())?,
    })
}

/// Makes the folder, and proves that a report can be written to it.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    let told = |error: io::Error| {
        let told = format!("cannot write to {}: {error}", folder.display());
        io::Error::new(error.kind(), told)
    };
    fs::create_dir_all(folder).map_err(told)?;
    for name in ["report.json", "junit.xml", "report.html"] {
        if folder.join(name).is_dir() {
            let why = format!("{name} in it is a folder");
            return Err(told(io::Error::new(io::ErrorKind::IsADirectory, why)));
        }
    }
    let probe = folder.join(format!(".probe.{}", process::id()));
    fill(&probe, b"")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(told)
}

fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    /// Two reports written at once by one process must not share a file.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let partial = folder.join(format!(".{name}.{}.{number}.partial", process::id()));
    let whole = folder.join(name);
    let done = fill(&partial, content).and_then(|()| fs::rename(&partial, &whole));
    if let Err(error) = done {
        // What matters is the first error; a partial file left behind is only untidy.
        let _ = fs::remove_file(&partial);
        let told = format!("cannot write {}: {error}", whole.display());
        return Err(io::Error::new(error.kind(), told));
    }
    Ok(whole)
}

fn fill(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    // Before the rename, or a power cut can leave the new name on an empty file.
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::fixture;

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_json_is_the_report_and_nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        for report in [fixture::report(), fixture::hostile()] {
            let written = write(&report, &deep).unwrap();
            let back: Report = serde_json::from_slice(&fs::read(&written.json).unwrap()).unwrap();
            assert_eq!(back, report);
            assert_eq!(
                fs::read_to_string(&written.junit).unwrap(),
                junit::junit(&report)
            );
            assert_eq!(
                fs::read_to_string(&written.html).unwrap(),
                html::html(&report)
            );
        }
        let wanted = ["junit.xml", "report.html", "report.json"].map(str::to_owned);
        assert_eq!(names(&deep), BTreeSet::from(wanted));
    }

    #[test]
    fn a_write_that_fails_names_the_file_and_leaves_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        // A folder of that name cannot be replaced by a file.
        fs::create_dir_all(folder.path().join("junit.xml/inside")).unwrap();
        let error = write(&fixture::report(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("junit.xml"), "{error}");
        assert!(
            names(folder.path())
                .iter()
                .all(|name| !name.ends_with(".partial"))
        );
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        check_folder(&deep).unwrap();
        assert!(names(&deep).is_empty(), "the probe is gone");
        fs::write(folder.path().join("file"), "").unwrap();
        let error = check_folder(&folder.path().join("file/below")).unwrap_err();
        assert!(error.to_string().contains("cannot write to"), "{error}");
        fs::create_dir_all(deep.join("junit.xml")).unwrap();
        let error = check_folder(&deep).unwrap_err();
        assert!(error.to_string().contains("junit.xml"), "{error}");
    }

    #[test]
    fn a_reader_of_the_old_file_keeps_the_old_file() {
        use std::io::Read;

        let folder = tempfile::tempdir().unwrap();
        let written = write(&fixture::report(), folder.path()).unwrap();
        let mut open = File::open(&written.json).unwrap();
        write(&fixture::many(3), folder.path()).unwrap();
        let mut old = String::new();
        open.read_to_string(&mut old).unwrap();
        let old: Report = serde_json::from_str(&old).unwrap();
        assert_eq!(old, fixture::report());
    }

    #[test]
    #[ignore = "makes the pages for eyes to look at; run it by name"]
    fn pages_to_look_at() {
        let folder = std::env::temp_dir().join("switchyard-report");
        for (name, report) in [
            ("two", fixture::report()),
            ("many", fixture::many(40)),
            ("hostile", fixture::hostile()),
            ("sparse", fixture::sparse()),
        ] {
            let written = write(&report, &folder.join(name)).unwrap();
            println!("{}", written.html.display());
            println!("{}", crate::report::summary(&report, 80, true));
            println!("{}", crate::report::summary(&report, 140, false));
        }
    }
}
