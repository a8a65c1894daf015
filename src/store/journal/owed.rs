//! Putting right what a failing disk left undone.

use std::collections::HashSet;

use super::handle::MOST_PENDING;

/// What a failing disk has left to be put right.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Records whose intent stands on the disk; they follow as soon as something can be written again.
    pub(super) records: Vec<Vec<u8>>,
    bytes: usize,
    /// Requests whose intent was lost: none of their further records may be written, or an outcome would
    /// stand there without an intent.
    orphans: HashSet<String>,
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.orphans.is_empty()
    }

    /// Takes over a record that could not be written; whether it is lost.
    pub(super) fn take(&mut self, members: &[u8]) -> bool {
        match read_members(members) {
            Some(("intent", request)) => {
                if self.bytes < MOST_PENDING {
                    self.bytes += request.len();
                    self.orphans.insert(request);
                }
                true
            }
            Some(("outcome", request)) if self.orphans.remove(&request) => true,
            Some((_, request)) if self.orphans.contains(&request) => true,
            _ if self.bytes >= MOST_PENDING => true,
            _ => {
                self.bytes += members.len();
                self.records.push(members.to_vec());
                false
            }
        }
    }

    /// Whether this record belongs to a request whose intent was lost.
    pub(super) fn is_orphan(&mut self, members: &[u8]) -> bool {
        match read_members(members) {
            Some(("outcome", request)) => self.orphans.remove(&request),
            Some((_, request)) => self.orphans.contains(&request),
            None => false,
        }
    }

    /// Everything kept has been written.
    pub(super) fn paid(&mut self) {
        self.records.clear();
        self.bytes = self.orphans.iter().map(String::len).sum();
    }
}

/// Kind and request of an encoded record; only looked at while the disk fails.
fn read_members(members: &[u8]) -> Option<(&'static str, String)> {
    #[derive(serde::Deserialize)]
    struct Members<'a> {
        kind: &'a str,
        request: Option<&'a str>,
    }
    let whole = [b"{", members, b"}"].concat();
    let read: Members<'_> = serde_json::from_slice(&whole).ok()?;
    let kind = match read.kind {
        "intent" => "intent",
        "outcome" => "outcome",
        _ => "other",
    };
    Some((kind, read.request?.to_owned()))
}
