//! API keys, tokens, private keys and passwords.
//!
//! What providers give out begins with a mark of theirs. What has no mark is only believed to be a secret behind
//! a word that says so, and only if it looks as if it had been drawn.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use memchr::memmem;

use super::super::rules::Class;
use super::{Hits, LONGEST_HIT, at, before, is_word};

/// What follows a mark.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// At least so many of letters, digits, `-` and `_`.
    Key(usize),
    /// At least so many letters and digits.
    Plain(usize),
    /// Exactly so many capitals and digits.
    Capitals(usize),
    /// The rest of three parts with dots between.
    Token,
    /// A block of text up to its end line.
    Block,
    /// A user and a password, up to the host.
    Address,
}

/// Marks and what follows them. Those that begin alike stand with the longer one first.
const MARKS: &[(&str, Tail)] = &[
    ("sk-ant-", Tail::Key(20)),
    ("sk-proj-", Tail::Key(20)),
    ("sk-or-v1-", Tail::Key(20)),
    ("sk-", Tail::Key(20)),
    ("sk_live_", Tail::Plain(16)),
    ("sk_test_", Tail::Plain(16)),
    ("rk_live_", Tail::Plain(16)),
    ("rk_test_", Tail::Plain(16)),
    ("whsec_", Tail::Plain(16)),
    ("sy_", Tail::Key(24)),
    ("AIza", Tail::Key(35)),
    ("ya29.", Tail::Key(20)),
    ("GOCSPX-", Tail::Key(20)),
    ("AKIA", Tail::Capitals(16)),
    ("ASIA", Tail::Capitals(16)),
    ("ghp_", Tail::Plain(36)),
    ("gho_", Tail::Plain(36)),
    ("ghu_", Tail::Plain(36)),
    ("ghs_", Tail::Plain(36)),
    ("ghr_", Tail::Plain(36)),
    ("github_pat_", Tail::Key(22)),
    ("glpat-", Tail::Key(20)),
    ("xoxb-", Tail::Key(20)),
    ("xoxa-", Tail::Key(20)),
    ("xoxp-", Tail::Key(20)),
    ("xoxr-", Tail::Key(20)),
    ("xoxs-", Tail::Key(20)),
    ("xapp-", Tail::Key(20)),
    ("hf_", Tail::Plain(30)),
    ("gsk_", Tail::Plain(40)),
    ("xai-", Tail::Plain(40)),
    ("pplx-", Tail::Plain(40)),
    ("r8_", Tail::Plain(30)),
    ("npm_", Tail::Plain(36)),
    ("pypi-", Tail::Key(40)),
    ("dop_v1_", Tail::Plain(40)),
    ("shpat_", Tail::Plain(30)),
    ("AGE-SECRET-KEY-1", Tail::Capitals(58)),
    ("eyJ", Tail::Token),
    ("-----BEGIN ", Tail::Block),
    ("://", Tail::Address),
];

/// What stands before a secret without a mark. Looked for whatever its case.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "api_key",
    "api-key",
    "apikey",
    "api key",
    "access_key",
    "accesskey",
    "access key",
    "auth_token",
    "access_token",
    "token",
    "bearer",
    "private_key",
    "client_secret",
    "accountkey",
    "passwort",
    "kennwort",
    "contraseña",
    "mot de passe",
];
/// Something drawn is at least this long, and every character of it says at least this much.
const SHORTEST: usize = 12;
const LEAST_BITS: f64 = 3.0;
/// A private key is not longer.
const LONGEST_BLOCK: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Secrets {
    marks: AhoCorasick,
    words: AhoCorasick,
}

impl Secrets {
    pub(super) fn new() -> Result<Self, String> {
        let build = |patterns: Vec<&str>, any_case: bool| {
            AhoCorasickBuilder::new()
                .ascii_case_insensitive(any_case)
                .match_kind(MatchKind::LeftmostFirst)
                .build(patterns)
                .map_err(|error| error.to_string())
        };
        Ok(Self {
            marks: build(MARKS.iter().map(|(mark, _)| *mark).collect(), false)?,
            words: build(WORDS.to_vec(), true)?,
        })
    }

    pub(super) fn find(&self, bytes: &[u8], hits: &mut Hits<'_>) {
        for mark in self.marks.find_iter(bytes) {
            let Some((_, tail)) = MARKS.get(mark.pattern().as_usize()) else {
                continue;
            };
            if let Some((start, end)) = marked(bytes, mark.start(), mark.end(), *tail) {
                hits.class(Class::Secret, start..end);
            }
        }
        for word in self.words.find_iter(bytes) {
            if let Some((start, end)) = drawn(bytes, word.end()) {
                hits.class(Class::Secret, start..end);
            }
        }
    }
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Where a run of such bytes ends.
fn run(bytes: &[u8], start: usize, fits: impl Fn(u8) -> bool) -> usize {
    let mut end = start;
    while end - start < LONGEST_HIT && end < bytes.len() && fits(at(bytes, end)) {
        end += 1;
    }
    end
}

fn marked(bytes: &[u8], start: usize, end: usize, tail: Tail) -> Option<(usize, usize)> {
    let alone = !is_word(before(bytes, start)) && before(bytes, start) != b'-';
    match tail {
        Tail::Key(least) => {
            let key = run(bytes, end, is_key);
            let text = bytes.get(end..key)?;
            // Words with dashes between them have no digits.
            let drawn = text.iter().any(u8::is_ascii_digit);
            (alone && drawn && text.len() >= least).then_some((start, key))
        }
        Tail::Plain(least) => {
            let key = run(bytes, end, |byte| byte.is_ascii_alphanumeric());
            (alone && key - end >= least).then_some((start, key))
        }
        Tail::Capitals(exactly) => {
            let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            let key = run(bytes, end, fits);
            (alone && key - end == exactly && !is_word(at(bytes, key))).then_some((start, key))
        }
        Tail::Token if alone => token(bytes, start, end),
        Tail::Block => Some((start, block(bytes, start)?)),
        Tail::Address => address(bytes, end),
        Tail::Token => None,
    }
}

/// A signed token: header and claims are objects, and what follows is their signature.
fn token(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let header = run(bytes, end, is_key);
    let claims_begin = bytes.get(header..)?.starts_with(b".eyJ");
    if !claims_begin || header - start < 12 {
        return None;
    }
    let claims = run(bytes, header + 1, is_key);
    let end = match at(bytes, claims) {
        b'.' => run(bytes, claims + 1, is_key),
        _ => claims,
    };
    Some((start, end.min(start + LONGEST_HIT)))
}

/// A private key in its armour, or what there is of one.
fn block(bytes: &[u8], start: usize) -> Option<usize> {
    let most = bytes.get(start..bytes.len().min(start + LONGEST_BLOCK))?;
    let head = most.get(..most.len().min(64))?;
    memmem::find(head, b"PRIVATE KEY")?;
    let end = memmem::find(most, b"-----END ").and_then(|found| {
        let line = most.get(found + 9..)?;
        memmem::find(line, b"-----").map(|dashes| found + 9 + dashes + 5)
    });
    Some(start + end.unwrap_or(most.len()))
}

/// The password of `scheme://user:password@host`.
fn address(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\"'<>".contains(&byte);
    let end = run(bytes, start, fits);
    if at(bytes, end) != b'@' {
        return None;
    }
    let inside = bytes.get(start..end)?;
    let colon = inside.iter().position(|byte| *byte == b':')?;
    (colon + 1 < inside.len()).then_some((start + colon + 1, end))
}

/// Something that was drawn, behind a word and a few marks.
fn drawn(bytes: &[u8], word_end: usize) -> Option<(usize, usize)> {
    const MARKS: &[u8] = b" :=\"'`>";
    let start = run(bytes, word_end, |byte| MARKS.contains(&byte));
    if !(1..=6).contains(&(start - word_end)) {
        return None;
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/=~!@#$%^&*".contains(&byte);
    let mut end = run(bytes, start, fits);
    while end > start && matches!(before(bytes, end), b'.' | b'!') {
        end -= 1;
    }
    let text = bytes.get(start..end)?;
    let mixed = text.iter().any(u8::is_ascii_digit) && text.iter().any(u8::is_ascii_alphabetic);
    (text.len() >= SHORTEST && mixed && bits(text) >= LEAST_BITS).then_some((start, end))
}

/// Shannon's entropy, bits a character.
fn bits(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of a few thousand")]
    let all = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / all;
            -share * share.log2()
        })
        .sum()
}

/// Where a private key begins whose end is not seen yet; the text's end if there is none.
pub(super) fn open_block(text: &str) -> usize {
    let bytes = text.as_bytes();
    let from = bytes.len().saturating_sub(LONGEST_BLOCK);
    let Some(found) = memmem::rfind(bytes.get(from..).unwrap_or_default(), b"-----BEGIN ") else {
        return bytes.len();
    };
    let start = from + found;
    let rest = bytes.get(start..).unwrap_or_default();
    let over = memmem::find(rest, b"-----END ")
        .and_then(|end| rest.get(end + 9..))
        .is_some_and(|line| memmem::find(line, b"-----").is_some());
    let head = rest.get(..rest.len().min(64)).unwrap_or_default();
    let is_key = rest.len() < 64 || memmem::find(head, b"PRIVATE KEY").is_some();
    if over || !is_key { bytes.len() } else { start }
}
