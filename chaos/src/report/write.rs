//! A report on disk: three files, each whole or not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Report;
use super::html::html;
use super::junit::junit;

/// Where a report was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub json: PathBuf,
    pub junit: PathBuf,
    pub html: PathBuf,
}

/// Writes `report.json`, `junit.xml` and `report.html` into a folder.
///
/// # Errors
/// When the folder cannot be made or written.
pub fn write(report: &Report, folder: &Path) -> io::Result<Written> {
    fs::create_dir_all(folder)?;
    let written = Written {
        json: folder.join("report.json"),
        junit: folder.join("junit.xml"),
        html: folder.join("report.html"),
    };
    let json = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
    put(&written.json, &json)?;
    put(&written.junit, &junit(report))?;
    put(&written.html, &html(report))?;
    Ok(written)
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
