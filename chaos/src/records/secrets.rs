//! Looking for what must not be there.

use std::fs;
use std::io;
use std::path::Path;

use super::journal::files;

/// What the words of an answer are called when they are found.
const COMPLETION: &str = "text of an answer";

/// The secrets that a file, or any file of a folder, holds, by their names; words of answers are always looked for.
///
/// # Errors
/// When something cannot be read.
pub fn secrets_in(path: &Path, secrets: &[(&'static str, &str)]) -> io::Result<Vec<&'static str>> {
    let mut found = Vec::new();
    let files = if path.is_dir() {
        files(path)?
    } else {
        vec![path.to_owned()]
    };
    for file in files {
        for name in secrets_of(&fs::read(file)?, secrets) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

/// The secrets in these bytes, by their names; words of answers are always looked for.
#[must_use]
pub fn secrets_of(bytes: &[u8], secrets: &[(&'static str, &str)]) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = secrets
        .iter()
        .filter(|(_, secret)| memchr::memmem::find(bytes, secret.as_bytes()).is_some())
        .map(|(name, _)| *name)
        .collect();
    if bytes.split(|byte| !is_of_a_word(*byte)).any(is_canary) {
        found.push(COMPLETION);
    }
    found
}

/// Ids are letters, digits and hyphens as well: a canary word is only one that stands alone.
fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// `ab17-3`: two letters, of which the first is `a` (a fleet has fewer than 27 mocks), and two numbers.
fn is_canary(word: &[u8]) -> bool {
    let [b'a', b'a'..=b'z', numbers @ ..] = word else {
        return false;
    };
    let mut numbers = numbers.split(|byte| *byte == b'-');
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    numbers.next().is_some_and(is_number)
        && numbers.next().is_some_and(is_number)
        && numbers.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary;

    #[test]
    fn words_of_answers_are_found_and_ids_are_not_taken_for_them() {
        let word = canary::word("ac", 17, 3);
        let told = |text: &str| secrets_of(text.as_bytes(), &[]);
        assert_eq!(told(&format!("answer=\"{word} \"")), [COMPLETION]);
        assert_eq!(told(&format!("{word}\n")), [COMPLETION]);
        for innocent in [
            "sy-aa17-3",
            "aa17-31-4",
            "018faa17-7123",
            "aa17",
            "ax-3",
            "h2-4",
            "aa17-",
        ] {
            assert!(told(innocent).is_empty(), "{innocent}");
        }
    }

    #[test]
    fn every_secret_is_told_by_its_name() {
        let secrets = [("a key", "sk-x"), ("a prompt", "mark")];
        assert_eq!(
            secrets_of(b"a sk-x and a mark", &secrets),
            ["a key", "a prompt"]
        );
        assert!(secrets_of(b"nothing", &secrets).is_empty());
    }

    #[test]
    fn every_file_of_a_folder_is_looked_into_and_none_is_passed_over_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("1"), "{\"kind\":\"intent\"}").unwrap();
        assert_eq!(secrets_in(folder.path(), &[]).unwrap(), [""; 0]);
        let told = format!("{{\"text\":\"{}\"}}", canary::word("aa", 3, 1));
        fs::write(folder.path().join("2"), told).unwrap();
        assert_eq!(secrets_in(folder.path(), &[]).unwrap(), [COMPLETION]);
        assert!(secrets_in(&folder.path().join("3"), &[]).is_err());
    }
}
