//! Texts inside JSON, changed where they stand: every other byte stays the client's or the provider's own.

use std::ops::Range;

use crate::dialects::texts::{TextKind, TextSpan, Unreadable, every_text, read_text, write_text};

/// What stands in some places instead, in order.
pub(super) type Edits = Vec<(Range<usize>, Vec<u8>)>;

/// What becomes of a text; `None` leaves it as it is. Told with what kind it is and where it begins.
pub(super) type Change<'a> = dyn FnMut(&str, TextKind, usize) -> Option<String> + 'a;

/// Shows every text to `change`, the texts inside a text of JSON one by one.
pub(super) fn rewrite(
    body: &[u8],
    spans: &[TextSpan],
    change: &mut Change<'_>,
) -> Result<Edits, Unreadable> {
    let mut edits = Vec::new();
    for span in spans {
        let written = body.get(span.range.clone()).ok_or(Unreadable)?;
        let text = read_text(written).ok_or(Unreadable)?;
        let inside = match span.kind {
            TextKind::Json => every_text(text.as_bytes()).ok(),
            TextKind::Plain | TextKind::Label => None,
        };
        let changed = match inside {
            Some(inside) => {
                let mut at_outer = |text: &str, kind, _| change(text, kind, span.range.start);
                // What calls itself JSON and is none is a text.
                match rewrite_flat(text.as_bytes(), &inside, &mut at_outer) {
                    Ok(edits) if edits.is_empty() => None,
                    Ok(edits) => String::from_utf8(applied(text.as_bytes(), &edits)).ok(),
                    Err(Unreadable) => change(&text, span.kind, span.range.start),
                }
            }
            None => change(&text, span.kind, span.range.start),
        };
        if let Some(changed) = changed {
            edits.push((span.range.clone(), write_text(&changed)));
        }
    }
    Ok(edits)
}

/// As [`rewrite`], without looking inside.
fn rewrite_flat(
    body: &[u8],
    spans: &[TextSpan],
    change: &mut Change<'_>,
) -> Result<Edits, Unreadable> {
    let mut edits = Vec::new();
    for span in spans {
        let written = body.get(span.range.clone()).ok_or(Unreadable)?;
        let text = read_text(written).ok_or(Unreadable)?;
        if let Some(changed) = change(&text, TextKind::Plain, span.range.start) {
            edits.push((span.range.clone(), write_text(&changed)));
        }
    }
    Ok(edits)
}

pub(super) fn applied(body: &[u8], edits: &Edits) -> Vec<u8> {
    let more: usize = edits.iter().map(|(_, with)| with.len()).sum();
    let mut out = Vec::with_capacity(body.len() + more);
    let mut place = 0;
    for (range, with) in edits {
        out.extend_from_slice(body.get(place..range.start).unwrap_or_default());
        out.extend_from_slice(with);
        place = range.end;
    }
    out.extend_from_slice(body.get(place..).unwrap_or_default());
    out
}
