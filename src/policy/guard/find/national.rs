//! Numbers that states give people. Each has a form, most have a check; those that have neither are only found
//! behind a word that says what they are.
//!
//! United States (SSN), United Kingdom (NINO), Germany (tax id), France (NIR), Spain (DNI, NIE), Italy (codice
//! fiscale), Netherlands (BSN), Brazil (CPF), India (Aadhaar).

use super::super::rules::Class;
use super::numbers::{Between, Group, Window};
use super::{Hits, at, before, is_told_of, is_word};

/// Numbers of digits alone.
pub(super) fn is_number(window: &Window<'_>) -> bool {
    const PLAIN: [Between; 2] = [Between::Space, Between::Dash];
    let digits = window.digits();
    let told = |words: &[&str]| is_told_of(window.bytes, window.start(), words);
    let uniform = window.joined_by(&PLAIN);
    match (window.groups.len(), digits.len()) {
        (3, 9) if window.is_of(&[3, 2, 4]) => uniform && is_american(&digits),
        (1, 9) => {
            is_american(&digits) && told(&["ssn", "social security"])
                || is_dutch(&digits) && told(&["bsn", "burgerservice", "sofinummer"])
        }
        (3, 9) if window.is_of(&[4, 2, 3]) => is_dutch(&digits) && told(&["bsn", "burgerservice"]),
        (1, 11) => is_german(&digits) || (is_brazilian(&digits) && told(&["cpf"])),
        (4, 11) if window.is_of(&[2, 3, 3, 3]) => {
            window.joined_by(&[Between::Space]) && is_german(&digits)
        }
        (4, 11) if window.is_of(&[3, 3, 3, 2]) => {
            window.joins(&[Between::Dot, Between::Dot, Between::Dash]) && is_brazilian(&digits)
        }
        (3, 12) if window.is_of(&[4, 4, 4]) => uniform && is_indian(&digits),
        (1, 12) => is_indian(&digits) && told(&["aadhaar", "aadhar", "uidai"]),
        (1, 15) => is_french(&digits),
        (7, 15) if window.is_of(&[1, 2, 2, 2, 3, 3, 2]) => uniform && is_french(&digits),
        (6, 13 | 15) | (2, 15) => uniform && is_french(&digits),
        _ => false,
    }
}

fn number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(*digit))
}

fn part(digits: &[u8], from: usize, to: usize) -> u64 {
    number(digits.get(from..to).unwrap_or_default())
}

fn is_american(digits: &[u8]) -> bool {
    let area = part(digits, 0, 3);
    area != 0 && area != 666 && area < 900 && part(digits, 3, 5) != 0 && part(digits, 5, 9) != 0
}

/// Eleven-test: the digits times nine to two, the last times minus one.
fn is_dutch(digits: &[u8]) -> bool {
    let weights = [9, 8, 7, 6, 5, 4, 3, 2, -1_i64];
    let sum: i64 = digits
        .iter()
        .zip(weights)
        .map(|(digit, weight)| i64::from(*digit) * weight)
        .sum();
    sum > 0 && sum % 11 == 0
}

/// ISO 7064, modulus 11, 10; of the first ten digits one occurs twice or thrice, the others at most once.
fn is_german(digits: &[u8]) -> bool {
    let [body @ .., check] = digits else {
        return false;
    };
    let mut counts = [0_u8; 10];
    for digit in body {
        if let Some(count) = counts.get_mut(usize::from(*digit)) {
            *count += 1;
        }
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let most = counts.iter().max().copied().unwrap_or_default();
    let product = body.iter().fold(10, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum } * 2) % 11
    });
    let expected = (11 - product) % 10;
    body.len() == 10
        && body.first() != Some(&0)
        && repeated == 1
        && (2..=3).contains(&most)
        && u32::from(*check) == expected
}

fn is_brazilian(digits: &[u8]) -> bool {
    let check = |many: usize| {
        let sum: usize = digits
            .iter()
            .take(many)
            .enumerate()
            .map(|(place, digit)| usize::from(*digit) * (many + 1 - place))
            .sum();
        let rest = sum * 10 % 11;
        let expected = if rest == 10 { 0 } else { rest };
        digits
            .get(many)
            .is_some_and(|digit| usize::from(*digit) == expected)
    };
    let alike = digits.iter().all(|digit| Some(digit) == digits.first());
    digits.len() == 11 && !alike && check(9) && check(10)
}

/// Verhoeff's scheme: multiplication in the dihedral group of ten.
fn is_indian(digits: &[u8]) -> bool {
    const TIMES: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const MOVED: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let entry = |table: &[[u8; 10]], row: usize, column: u8| {
        let row = table.get(row)?;
        row.get(usize::from(column)).copied()
    };
    let sum = digits
        .iter()
        .rev()
        .enumerate()
        .try_fold(0, |sum, (place, digit)| {
            let moved = entry(&MOVED, place % 8, *digit)?;
            entry(&TIMES, usize::from(sum), moved)
        });
    digits.len() == 12 && digits.first().is_some_and(|first| *first > 1) && sum == Some(0)
}

/// Sex, year, month, place, number, and a key of modulus 97.
fn is_french(digits: &[u8]) -> bool {
    let month = part(digits, 3, 5);
    let months = matches!(month, 1..=12 | 20..=42 | 50..=99);
    digits.len() == 15
        && matches!(digits.first(), Some(1..=4 | 7 | 8))
        && months
        && part(digits, 13, 15) == 97 - part(digits, 0, 13) % 97
}

// --- with letters ---

/// Numbers that have letters beside this group of digits.
pub(super) fn with_letters(bytes: &[u8], group: &Group, hits: &mut Hits<'_>) {
    let found = spanish(bytes, group)
        .or_else(|| british(bytes, group))
        .or_else(|| italian(bytes, group))
        .or_else(|| corsican(bytes, group));
    if let Some((start, end)) = found
        && !is_word(before(bytes, start))
        && !is_word(at(bytes, end))
    {
        hits.class(Class::NationalId, start..end);
    }
}

type Place = Option<(usize, usize)>;

/// Eight digits and a letter, or a letter, seven digits and a letter.
fn spanish(bytes: &[u8], group: &Group) -> Place {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let (start, lead) = match (group.len(), before(bytes, group.start).to_ascii_uppercase()) {
        (8, _) => (group.start, 0),
        (7, lead @ b'X'..=b'Z') => (group.start - 1, u64::from(lead - b'X')),
        _ => return None,
    };
    let gap = usize::from(matches!(at(bytes, group.end), b'-'));
    let letter = at(bytes, group.end + gap).to_ascii_uppercase();
    let digits = bytes.get(group.start..group.end)?.iter();
    let number = digits.fold(lead, |number, digit| number * 10 + u64::from(digit - b'0'));
    let expected = LETTERS.get(usize::try_from(number % 23).ok()?)?;
    (letter == *expected).then_some((start, group.end + gap + 1))
}

/// Two letters, six digits in pairs or at once, a letter from A to D.
fn british(bytes: &[u8], group: &Group) -> Place {
    let spaced = group.len() == 2;
    if !spaced && group.len() != 6 {
        return None;
    }
    let letters_end = group.start - usize::from(before(bytes, group.start) == b' ');
    let start = letters_end.checked_sub(2)?;
    let [first, second] = [at(bytes, start), at(bytes, start + 1)];
    let banned = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];
    let fits = first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && !b"DFIQUV".contains(&first)
        && !b"DFIOQUV".contains(&second)
        && !banned.contains(&&[first, second]);
    if !fits {
        return None;
    }
    let mut end = group.end;
    if spaced {
        for _ in 0..2 {
            let pair = bytes.get(end..end + 3)?;
            let [b' ', one, other] = pair else {
                return None;
            };
            if !(one.is_ascii_digit() && other.is_ascii_digit()) {
                return None;
            }
            end += 3;
        }
    }
    end += usize::from(at(bytes, end) == b' ');
    matches!(at(bytes, end), b'A'..=b'D').then_some((start, end + 1))
}

/// Six letters, year, month, day, place, and a letter to check. Digits may be letters where two people would
/// have the same.
fn italian(bytes: &[u8], group: &Group) -> Place {
    const ODD: [u32; 36] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, // digits
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let start = group.start.checked_sub(6)?;
    let code = bytes.get(start..start + 16)?;
    let fits = code.iter().enumerate().all(|(place, byte)| match place {
        0..=5 | 8 | 11 | 15 => byte.is_ascii_alphabetic(),
        _ => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(&byte.to_ascii_uppercase()),
    });
    if !fits {
        return None;
    }
    let mut sum = 0;
    for (place, byte) in code.iter().take(15).enumerate() {
        let value = match byte.to_ascii_uppercase() {
            digit @ b'0'..=b'9' => usize::from(digit - b'0'),
            letter => usize::from(letter.saturating_sub(b'A')) + 10,
        };
        sum += if place % 2 == 0 {
            ODD.get(value).copied()?
        } else {
            u32::try_from(if value < 10 { value } else { value - 10 }).ok()?
        };
    }
    let check = code.last()?.to_ascii_uppercase();
    (u32::from(check.saturating_sub(b'A')) == sum % 26).then_some((start, start + 16))
}

/// The French number of those born in Corsica has a letter in the place.
fn corsican(bytes: &[u8], group: &Group) -> Place {
    let code = bytes.get(group.start..group.start + 15)?;
    let letter = code.get(6)?.to_ascii_uppercase();
    let (as_digit, less) = match (group.len(), letter) {
        (6, b'A') => (b'9', 0),
        (6, b'B') => (b'8', 0),
        _ => return None,
    };
    // 2A counts as 19, 2B as 18.
    let mut digits = [0_u8; 15];
    for (place, (digit, byte)) in digits.iter_mut().zip(code).enumerate() {
        let byte = match place {
            5 if *byte == b'2' => b'1',
            6 => as_digit - less,
            _ => *byte,
        };
        *digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
    }
    is_french(&digits).then_some((group.start, group.start + 15))
}
