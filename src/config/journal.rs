//! What is recorded of requests, and what is logged.

use std::path::PathBuf;
use std::time::Duration;

use super::judge::Judge;
use super::raw::{RawConfig, RawJournal, RawJournalMode, RawLogFormat, RawOnFailure};
use super::secret::Secret;
use super::settings::{JournalMode, JournalOnFailure, JournalSettings, LogFormat, LogSettings};

pub(super) fn journal(judge: &mut Judge<'_>, raw: &RawConfig) -> JournalSettings {
    let raw = &raw.journal;
    if raw.path.is_empty() {
        judge.wrong(
            "journal.path",
            "is empty",
            "name a folder, or set mode = \"off\"",
        );
    }
    judge_keeping(judge, raw);
    JournalSettings {
        path: PathBuf::from(&raw.path),
        mode: match raw.mode {
            RawJournalMode::Fast => JournalMode::Fast,
            RawJournalMode::Durable => JournalMode::Durable,
            RawJournalMode::Off => JournalMode::Off,
        },
        on_failure: match raw.on_failure {
            RawOnFailure::Refuse => JournalOnFailure::Refuse,
            RawOnFailure::BestEffort => JournalOnFailure::BestEffort,
        },
        segment_bytes: raw.segment_bytes.max(1 << 20),
        shed_after: judge.millis("journal.shed_after_ms", raw.shed_after_ms),
        keep_age: (raw.keep_days > 0)
            .then(|| Duration::from_secs(u64::from(raw.keep_days) * 86_400)),
        keep_bytes: (raw.keep_bytes > 0).then_some(raw.keep_bytes),
        prompt_hash: raw.prompt_hash,
        max_users: raw.max_users as usize,
        text_of: raw.text_of.clone(),
        text_key: text_key(judge, "journal.text_key", &raw.text_key),
        text_key_before: text_key(judge, "journal.text_key_before", &raw.text_key_before),
        text_bytes: raw.text_bytes as usize,
    }
}

/// The largest text a record holds.
pub(super) const MOST_TEXT_BYTES: u32 = 256 * 1024;

pub(super) fn judge_keeping(judge: &mut Judge<'_>, raw: &RawJournal) {
    // What is under way may reach back into the segment before.
    if raw.keep_bytes > 0 && raw.keep_bytes < raw.segment_bytes.saturating_mul(4) {
        judge.wrong(
            "journal.keep_bytes",
            format!(
                "{} is less than four segments of {} bytes",
                raw.keep_bytes, raw.segment_bytes
            ),
            "raise it, lower journal.segment_bytes, or write 0 to keep all",
        );
    }
    if !raw.text_of.is_empty() && raw.text_key.is_empty() {
        judge.wrong(
            "journal.text_key",
            "is missing, and texts are only kept sealed",
            "name a secret of at least 32 characters, as \"env:JOURNAL_TEXT_KEY\", or empty journal.text_of",
        );
    }
    if raw.text_bytes == 0 || raw.text_bytes > MOST_TEXT_BYTES {
        judge.wrong(
            "journal.text_bytes",
            format!("{} is not within 1 and {MOST_TEXT_BYTES}", raw.text_bytes),
            "longer texts are cut to this and marked as cut",
        );
    }
}

pub(super) fn text_key(judge: &mut Judge<'_>, path: &str, reference: &str) -> Option<Secret> {
    if reference.is_empty() {
        return None;
    }
    let key = judge.secret(path, reference)?;
    if key.expose().len() < 32 {
        judge.wrong(
            path,
            "the key is shorter than 32 characters",
            "draw one: openssl rand -hex 32",
        );
    }
    Some(key)
}

pub(super) fn logs(raw: &RawConfig) -> LogSettings {
    LogSettings {
        format: match raw.logs.format {
            RawLogFormat::Text => LogFormat::Text,
            RawLogFormat::Json => LogFormat::Json,
        },
        level: raw.logs.level.clone(),
    }
}

impl Default for JournalSettings {
    fn default() -> Self {
        journal(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        logs(&RawConfig::default())
    }
}
