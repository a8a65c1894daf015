//! Text of strangers made fit to be shown: what is dropped, how wide it is, where it is cut.
//!
//! # Why
//! A claim comes from a scenario, a `why` may quote a gateway's answer, a wire line holds what a provider sent. None of
//! them may move a cursor, colour a terminal, turn the reading direction or end a tag.

/// Whether a character may be shown at all: no control characters but line ends and tabs, none that turn the reading
/// direction, none that XML 1.0 forbids.
pub(super) fn shown(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => false,
        '\u{fffe}' | '\u{ffff}' => false,
        other => !other.is_control(),
    }
}

/// For the text and the quoted attributes of HTML and XML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars().filter(|c| shown(*c)) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// On one line; line ends and tabs become spaces.
pub(super) fn one_line(text: &str) -> String {
    let spaced = |c| if matches!(c, '\n' | '\t') { ' ' } else { c };
    text.chars().filter(|c| shown(*c)).map(spaced).collect()
}

/// The columns a terminal gives a character. Blocks, not the full Unicode table: enough to keep lines aligned for
/// East Asian text and emoji.
fn columns_of(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

pub(super) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// On one line of at most `width` columns; what is cut ends with an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    let line = one_line(text);
    if columns(&line) <= width {
        return line;
    }
    let Some(room) = width.checked_sub(1) else {
        return String::new();
    };
    let mut used = 0;
    let mut out = String::new();
    for c in line.chars() {
        used += columns_of(c);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// Filled with spaces behind to `width` columns.
pub(super) fn left(text: &str, width: usize) -> String {
    format!("{text}{}", gap(text, width))
}

/// Filled with spaces before to `width` columns.
pub(super) fn right(text: &str, width: usize) -> String {
    format!("{}{text}", gap(text, width))
}

fn gap(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_tag_or_an_attribute() {
        assert_eq!(
            escape("<script a=\"b\" c='d'>&"),
            "&lt;script a=&quot;b&quot; c=&#39;d&#39;&gt;&amp;"
        );
    }

    #[test]
    fn a_terminal_gets_no_escape_codes_and_no_turned_text() {
        let hostile = "a\u{1b}[31mb\u{7}\u{202e}c\r\nd\u{9b}2J\u{0}";
        assert_eq!(one_line(hostile), "a[31mbc d2J");
        assert_eq!(escape(hostile), "a[31mbc\nd2J");
    }

    #[test]
    fn a_cut_line_never_passes_its_width_whatever_it_holds() {
        for text in [
            "",
            "short",
            "words and words and words",
            "模型模型模型模型",
            "e\u{301}te\u{301} 🚂🚂🚂🚂",
        ] {
            for width in 0..30 {
                let line = cut(text, width);
                assert!(columns(&line) <= width, "{line:?} in {width}");
                assert_eq!(line == text, columns(text) <= width, "{line:?} in {width}");
            }
        }
    }

    #[test]
    fn wide_letters_keep_the_columns_aligned() {
        assert_eq!(left("模型", 6), "模型  ");
        assert_eq!(right("模型", 6), "  模型");
        assert_eq!(left("longer", 3), "longer");
    }
}
