//! Numbers of telephones: international ones, and the national forms that are hardly anything else.

use super::numbers::{Between, Window};
use super::{at, before, is_told_of, is_word};

/// What stands before a number that says nothing by its form.
const WORDS: &[&str] = &[
    "phone",
    "mobile",
    "cell",
    "tel.",
    "tel:",
    "tel ",
    "telefon",
    "handy",
    "fax",
    "whatsapp",
    "sms",
    "call me",
    "rufnummer",
    "teléfono",
    "téléphone",
    "móvil",
    "cellulare",
    "celular",
];

/// Where the number begins, brackets and plus included, if these groups are one.
pub(super) fn start_of(window: &Window<'_>) -> Option<usize> {
    let bytes = window.bytes;
    let mut start = window.start();
    let bracketed = window
        .groups
        .get(1)
        .is_some_and(|next| next.between == Some(Between::Bracket));
    if bracketed && before(bytes, start) == b'(' {
        start -= 1;
    }
    if before(bytes, start) == b'+' && !is_word(before(bytes, start - 1)) {
        return is_international(window, 0).then_some(start - 1);
    }
    let is_first = window
        .groups
        .first()
        .is_some_and(|group| group.between.is_none());
    let is_one = is_american(window)
        || is_french(window)
        || is_brazilian(window)
        || (is_first && is_dialled_abroad(window))
        || is_trunk(window)
        || (is_first && is_named(window));
    is_one.then_some(start)
}

/// The codes that countries have begin with these; what follows a plus and is no code is no number.
fn has_country(digits: &[u8]) -> bool {
    matches!(
        digits,
        [1..=7, ..] | [8, 0..=2 | 4..=8, ..] | [9, 0..=6 | 8 | 9, ..]
    )
}

/// As many groups as a number can have; `skip` digits stand before the country's code.
fn is_international(window: &Window<'_>, skip: usize) -> bool {
    let digits = window.digits();
    let number = digits.get(skip..).unwrap_or_default();
    (8..=15).contains(&number.len()) && has_country(number)
}

/// `0049 …`: only in groups, or any long number that begins with zeros would be one.
fn is_dialled_abroad(window: &Window<'_>) -> bool {
    window.groups.len() > 1
        && window
            .bytes
            .get(window.start()..)
            .is_some_and(|rest| rest.starts_with(b"00"))
        && window.is_last
        && is_international(window, 2)
}

/// `(212) 555-0123`, `212-555-0123`, with or without a 1 before it.
fn is_american(window: &Window<'_>) -> bool {
    const ALIKE: [Between; 3] = [Between::Dash, Between::Dot, Between::Space];
    let three = match window.groups {
        [one, rest @ ..] if one.len() == 1 => {
            if at(window.bytes, one.start) != b'1' {
                return false;
            }
            rest
        }
        all => all,
    };
    let [area, exchange, line] = three else {
        return false;
    };
    if (area.len(), exchange.len(), line.len()) != (3, 3, 4) {
        return false;
    }
    let bracketed = exchange.between == Some(Between::Bracket)
        && matches!(
            line.between,
            Some(Between::Dash | Between::Space | Between::Dot)
        );
    let alike = exchange.between == line.between
        && exchange
            .between
            .is_some_and(|between| ALIKE.contains(&between));
    let two_to_nine = |place| (b'2'..=b'9').contains(&at(window.bytes, place));
    (bracketed || alike) && two_to_nine(area.start) && two_to_nine(exchange.start)
}

/// `01 23 45 67 89`
fn is_french(window: &Window<'_>) -> bool {
    window.is_of(&[2, 2, 2, 2, 2])
        && window.joined_by(&[Between::Space, Between::Dot, Between::Dash])
        && at(window.bytes, window.start()) == b'0'
        && at(window.bytes, window.start() + 1) != b'0'
}

/// `(11) 91234-5678`
fn is_brazilian(window: &Window<'_>) -> bool {
    (window.is_of(&[2, 5, 4]) || window.is_of(&[2, 4, 4]))
        && window.joins(&[Between::Bracket, Between::Dash])
}

/// `030 123456`, `07700 900123`, `0171/1234567`: a zero to leave the town, then groups to the end.
fn is_trunk(window: &Window<'_>) -> bool {
    let [first, rest @ ..] = window.groups else {
        return false;
    };
    let zero = at(window.bytes, first.start) == b'0' && at(window.bytes, first.start + 1) != b'0';
    let joined = rest.iter().all(|group| {
        matches!(
            group.between,
            Some(Between::Space | Between::Dash | Between::Slash | Between::Bracket)
        )
    });
    zero && joined
        && window.is_last
        && (3..=5).contains(&first.len())
        && (1..=3).contains(&rest.len())
        && (9..=12).contains(&window.count())
        && rest.iter().all(|group| group.len() >= 2)
}

/// Any number of this length behind a word that says what it is.
fn is_named(window: &Window<'_>) -> bool {
    window.is_last
        && (7..=15).contains(&window.count())
        && is_told_of(window.bytes, window.start(), WORDS)
}
