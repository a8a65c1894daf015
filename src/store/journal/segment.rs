//! Lines, chains and files: the shape of the journal on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use crate::domain::{decimal, hex_digits};

/// The chain value of a record: a SHA-256 over the one before and the record's own bytes.
pub(super) type Chain = [u8; 32];

pub(super) const FIRST_CHAIN: Chain = [0; 32];
/// `,"chain":"` + 64 hex digits + `"}`
const SUFFIX: usize = 10 + 64 + 2;
/// A longer line is no record of ours.
pub(super) const LONGEST_LINE: usize = 512 * 1024;

pub(super) fn link(before: &Chain, line: &[u8]) -> Chain {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(line);
    let mut chain = FIRST_CHAIN;
    for (to, from) in chain.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    chain
}

pub(super) fn hex(chain: &Chain) -> String {
    let mut text = Vec::with_capacity(64);
    push_hex(&mut text, chain);
    String::from_utf8(text).unwrap_or_default()
}

fn push_hex(out: &mut Vec<u8>, chain: &Chain) {
    let mut text = [[0; 2]; 32];
    hex_digits(chain, &mut text);
    out.extend_from_slice(text.as_flattened());
}

pub(super) fn unhex(text: &[u8]) -> Option<Chain> {
    // Only as it was written: a digit in capitals is a changed byte (attack A27).
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut chain = FIRST_CHAIN;
    if text.len() != 64 {
        return None;
    }
    for (to, pair) in chain.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(chain)
}

/// Appends a whole line, chained to the one before; answers the new chain.
pub(super) fn push_line(out: &mut Vec<u8>, seq: u64, members: &[u8], before: &Chain) -> Chain {
    let start = out.len();
    out.extend_from_slice(b"{\"seq\":");
    decimal(out, seq);
    out.push(b',');
    out.extend_from_slice(members);
    let chain = link(before, out.get(start..).unwrap_or_default());
    out.extend_from_slice(b",\"chain\":\"");
    push_hex(out, &chain);
    out.extend_from_slice(b"\"}\n");
    chain
}

/// A line without its chain, and the chain it claims.
pub(super) fn split_line(line: &[u8]) -> Option<(&[u8], Chain)> {
    let cut = line.len().checked_sub(SUFFIX)?;
    let (body, suffix) = line.split_at_checked(cut)?;
    let hex = suffix
        .strip_prefix(b",\"chain\":\"")?
        .strip_suffix(b"\"}")?;
    Some((body, unhex(hex)?))
}

/// A whole record with another byte where its line break was: no write that was cut off leaves that.
pub(super) fn ends_oddly(line: &[u8], before: &Chain) -> bool {
    line.split_last()
        .and_then(|(_, line)| split_line(line))
        .is_some_and(|(body, claimed)| link(before, body) == claimed)
}

pub(super) fn file_name(first_seq: u64) -> String {
    format!("journal-{first_seq:020}.jsonl")
}

/// The record a segment begins with, by its name.
pub(super) fn first_seq(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("journal-")?
        .strip_suffix(".jsonl")?
        .parse()
        .ok()
}

/// The segments of a journal in order.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("journal-") && name.ends_with(".jsonl") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Reads the next line without its line break; `None` at the end. `whole` tells whether it had one.
pub(super) fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let read = io::Read::take(&mut *reader, LONGEST_LINE as u64).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(None);
    }
    let whole = line.last() == Some(&b'\n');
    if whole {
        line.pop();
    }
    Ok(Some(whole))
}
