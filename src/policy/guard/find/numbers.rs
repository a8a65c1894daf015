//! Everything that begins with a digit: groups of digits with something small between them, and what they are by
//! their form, their check digits, or a word before them.

use smallvec::SmallVec;

use super::super::rules::Class;
use super::{Hits, at, before, is_word};
use super::{iban, national, phone};

/// What is found here.
pub(super) const KINDS: [Class; 5] = [
    Class::Phone,
    Class::Card,
    Class::Iban,
    Class::NationalId,
    Class::Ip,
];

/// Digits of the longest number that means something, a card's.
const MOST_DIGITS: usize = 19;

/// What stands between two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Space,
    Dash,
    Dot,
    Slash,
    /// Brackets around one of them.
    Bracket,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    /// What stands before it; `None` for the first of a sequence.
    pub(super) between: Option<Between>,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Some groups of a sequence that stand side by side.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) groups: &'a [Group],
    /// Nothing of the sequence stands behind it.
    pub(super) is_last: bool,
}

pub(super) type Digits = SmallVec<[u8; MOST_DIGITS]>;

impl Window<'_> {
    pub(super) fn start(&self) -> usize {
        self.groups.first().map_or(0, |group| group.start)
    }

    pub(super) fn end(&self) -> usize {
        self.groups.last().map_or(0, |group| group.end)
    }

    pub(super) fn digits(&self) -> Digits {
        let digits = self.groups.iter().flat_map(|group| {
            let text = self.bytes.get(group.start..group.end);
            text.unwrap_or_default().iter().map(|digit| digit - b'0')
        });
        digits.collect()
    }

    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(Group::len).sum()
    }

    /// Whether the groups have these lengths.
    pub(super) fn is_of(&self, lengths: &[usize]) -> bool {
        self.groups
            .iter()
            .map(Group::len)
            .eq(lengths.iter().copied())
    }

    /// Whether the same stands between all of them, and it is one of these.
    pub(super) fn joined_by(&self, allowed: &[Between]) -> bool {
        let mut between = self.groups.iter().skip(1).map(|group| group.between);
        let Some(first) = between.next() else {
            return true;
        };
        first.is_some_and(|first| allowed.contains(&first)) && between.all(|other| other == first)
    }

    /// What stands between them, one by one.
    pub(super) fn joins(&self, wanted: &[Between]) -> bool {
        let between = self.groups.iter().skip(1).filter_map(|group| group.between);
        between.eq(wanted.iter().copied())
    }

    /// No letter, digit or mark of a longer number stands around it.
    fn is_alone(&self) -> bool {
        !is_word(before(self.bytes, self.start())) && !is_word(at(self.bytes, self.end()))
    }
}

pub(super) fn find(bytes: &[u8], hits: &mut Hits<'_>) {
    let mut groups = Vec::new();
    let mut place = 0;
    while let Some(found) = next_digit(bytes, place) {
        groups.clear();
        place = sequence(bytes, found, &mut groups);
        for first in 0..groups.len() {
            windows(bytes, groups.get(first..).unwrap_or_default(), hits);
        }
    }
}

fn next_digit(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.iter()
        .position(u8::is_ascii_digit)
        .map(|found| from + found)
}

/// Reads the groups that follow one another, and answers where they end.
fn sequence(bytes: &[u8], start: usize, groups: &mut Vec<Group>) -> usize {
    let mut next = Some((start, None));
    let mut end = start;
    while let Some((start, between)) = next {
        end = start;
        while at(bytes, end).is_ascii_digit() {
            end += 1;
        }
        groups.push(Group {
            start,
            end,
            between,
        });
        next = follows(bytes, end);
    }
    end
}

/// Where the next group begins, and what stands between.
fn follows(bytes: &[u8], end: usize) -> Option<(usize, Option<Between>)> {
    let mut place = end;
    let mut between = None;
    if at(bytes, place) == b')' {
        (between, place) = (Some(Between::Bracket), place + 1);
    }
    let (mark, width) = match (at(bytes, place), at(bytes, place + 1)) {
        (b' ', _) => (Some(Between::Space), 1),
        (0xc2, 0xa0) => (Some(Between::Space), 2),
        (b'-', _) => (Some(Between::Dash), 1),
        (b'.', _) => (Some(Between::Dot), 1),
        (b'/', _) => (Some(Between::Slash), 1),
        _ => (None, 0),
    };
    between = between.or(mark);
    place += width;
    if at(bytes, place) == b'(' {
        (between, place) = (Some(Between::Bracket), place + 1);
    }
    (between.is_some() && at(bytes, place).is_ascii_digit()).then_some((place, between))
}

/// Everything that begins with the first of these groups.
fn windows(bytes: &[u8], groups: &[Group], hits: &mut Hits<'_>) {
    let Some(first) = groups.first() else {
        return;
    };
    if hits.wants(Class::Iban) {
        iban::find(bytes, first, hits);
    }
    let wants_ids = hits.wants(Class::NationalId);
    if wants_ids {
        national::with_letters(bytes, first, hits);
    }
    let mut digits = 0;
    for (place, group) in groups.iter().enumerate() {
        digits += group.len();
        if digits > MOST_DIGITS {
            return;
        }
        let window = Window {
            bytes,
            groups: groups.get(..=place).unwrap_or_default(),
            is_last: place + 1 == groups.len(),
        };
        if !window.is_alone() {
            continue;
        }
        let range = window.start()..window.end();
        if hits.wants(Class::Card) && is_card(&window) {
            hits.class(Class::Card, range.clone());
        }
        if wants_ids && national::is_number(&window) {
            hits.class(Class::NationalId, range.clone());
        }
        if hits.wants(Class::Ip) && is_address(&window) {
            hits.class(Class::Ip, range.clone());
        }
        if hits.wants(Class::Phone)
            && let Some(start) = phone::start_of(&window)
        {
            hits.class(Class::Phone, start..range.end);
        }
    }
}

/// Four numbers up to 255; addresses that are everyone's are nobody's.
fn is_address(window: &Window<'_>) -> bool {
    if window.groups.len() != 4 || !window.joined_by(&[Between::Dot]) {
        return false;
    }
    // A fifth number makes it a version, or a place in a document.
    let more = at(window.bytes, window.end()) == b'.' && !window.is_last;
    if more || matches!(before(window.bytes, window.start()), b'.' | b'-') {
        return false;
    }
    let mut numbers: SmallVec<[u16; 4]> = SmallVec::new();
    for group in window.groups {
        let text = window.bytes.get(group.start..group.end).unwrap_or_default();
        if text.len() > 3 || (text.len() > 1 && text.starts_with(b"0")) {
            return false;
        }
        numbers.push(
            text.iter()
                .fold(0, |number, digit| number * 10 + u16::from(digit - b'0')),
        );
    }
    let special = matches!(*numbers, [0 | 127, ..] | [255, 255, 255, _]);
    numbers.iter().all(|number| *number <= 255) && !special
}

/// A number of a payment card: its issuer, its length and its last digit fit.
fn is_card(window: &Window<'_>) -> bool {
    let count = window.count();
    if !(13..=MOST_DIGITS).contains(&count) || !window.joined_by(&[Between::Space, Between::Dash]) {
        return false;
    }
    let shape_fits = match window.groups {
        [_] => true,
        [first, middle, last] if first.len() == 4 && middle.len() == 6 => {
            matches!(last.len(), 4 | 5)
        }
        [fours @ .., last] => fours.iter().all(|group| group.len() == 4) && last.len() <= 4,
        [] => false,
    };
    shape_fits && {
        let digits = window.digits();
        is_issued(&digits) && luhn(&digits)
    }
}

fn is_issued(digits: &[u8]) -> bool {
    let leading = |many: usize| {
        digits
            .iter()
            .take(many)
            .fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let length = digits.len();
    match leading(2) {
        40..=49 => matches!(length, 13 | 16 | 19),
        34 | 37 => length == 15,
        30 => leading(3) <= 305 && (14..=19).contains(&length),
        36 | 38 | 39 => (14..=19).contains(&length),
        35 => (3528..=3589).contains(&leading(4)) && (16..=19).contains(&length),
        51..=55 => length == 16,
        22..=27 => {
            let issuer = leading(4);
            (2221..=2720).contains(&issuer) && length == 16
                || (2200..=2204).contains(&issuer) && (16..=19).contains(&length)
        }
        // Discover, UnionPay, RuPay, Maestro.
        50 | 56..=69 | 81 | 82 => length >= 13,
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match (place % 2, digit) {
                (0, digit) => digit,
                (_, digit) => (digit * 2) % 10 + digit / 5,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}
