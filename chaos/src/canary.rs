//! Canary words: every word of a mock's answer says which mock, which request and which position it came from.
//!
//! `alpha17-3` is the third word of the seventeenth request the mock `alpha` saw. A loss, a repetition, a
//! splice of two answers or a crossing of two clients is then visible in the text alone, without asking the mock.

use std::fmt::Write as _;

/// Where a text came from, proven word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The mock's name.
    pub mock: String,
    /// Which of its requests.
    pub request: u64,
    /// The words run from 1 to this.
    pub words: u64,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("the text holds no canary word")]
    Empty,
    #[error("`{word}` is not a canary word")]
    Foreign { word: String },
    #[error("word {wanted} of {mock}{request} is missing or out of order: found `{word}`")]
    Order {
        mock: String,
        request: u64,
        wanted: u64,
        word: String,
    },
    #[error("`{word}` was spliced into an answer of {mock}{request}")]
    Splice {
        mock: String,
        request: u64,
        word: String,
    },
}

/// The word at `position` (counted from 1).
#[must_use]
pub fn word(mock: &str, request: u64, position: u64) -> String {
    let mut text = String::with_capacity(mock.len().saturating_add(16));
    // Writing into a String cannot fail.
    let _ = write!(text, "{mock}{request}-{position}");
    text
}

/// Proves that `text` is one answer's words, from the first on, without loss, repetition or splice.
///
/// A text that stops early is still whole here: whether it was allowed to is told by `words`.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(text: &str) -> Result<Origin, Broken> {
    let mut origin: Option<Origin> = None;
    for found in text.split_ascii_whitespace() {
        let foreign = || Broken::Foreign {
            word: found.to_owned(),
        };
        let (mock, request, position) = split(found).ok_or_else(foreign)?;
        let known = origin.get_or_insert_with(|| Origin {
            mock: mock.to_owned(),
            request,
            words: 0,
        });
        if known.mock != mock || known.request != request {
            return Err(Broken::Splice {
                mock: known.mock.clone(),
                request: known.request,
                word: found.to_owned(),
            });
        }
        let wanted = known.words.saturating_add(1);
        if position != wanted {
            return Err(Broken::Order {
                mock: known.mock.clone(),
                request,
                wanted,
                word: found.to_owned(),
            });
        }
        known.words = wanted;
    }
    origin.ok_or(Broken::Empty)
}

fn split(word: &str) -> Option<(&str, u64, u64)> {
    let (head, position) = word.rsplit_once('-')?;
    let mock = head.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let request = head.get(mock.len()..)?;
    let named = !mock.is_empty() && mock.chars().all(char::is_alphabetic);
    named.then_some(())?;
    Some((mock, request.parse().ok()?, position.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_text_tells_its_origin() {
        let origin = verify("alpha17-1 alpha17-2  alpha17-3").unwrap();
        assert_eq!(
            origin,
            Origin {
                mock: "alpha".into(),
                request: 17,
                words: 3
            }
        );
        assert_eq!(word("alpha", 17, 3), "alpha17-3");
    }

    #[test]
    fn loss_repetition_splice_and_foreign_words_are_told_apart() {
        assert!(matches!(
            verify("c1-1 c1-3"),
            Err(Broken::Order { wanted: 2, .. })
        ));
        assert!(matches!(
            verify("c1-1 c1-1"),
            Err(Broken::Order { wanted: 2, .. })
        ));
        assert!(matches!(
            verify("c1-2"),
            Err(Broken::Order { wanted: 1, .. })
        ));
        assert!(matches!(verify("c1-1 c2-2"), Err(Broken::Splice { .. })));
        assert!(matches!(verify("a1-1 b1-2"), Err(Broken::Splice { .. })));
        assert!(matches!(verify("c1-1 hello"), Err(Broken::Foreign { .. })));
        assert!(matches!(
            verify("c1-1c1-2"),
            Err(Broken::Foreign { .. } | Broken::Splice { .. })
        ));
        assert_eq!(verify("  "), Err(Broken::Empty));
    }
}
