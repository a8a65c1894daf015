//! One table of a registry file, read key by key; what nobody asked for is a mistake.

use std::str::FromStr;

use toml::{Table, Value};

use super::mistake::Mistake;

/// A longer key is cut where a mistake quotes it.
const QUOTED_BYTES: usize = 80;

/// A table whose keys are taken one after the other. [`Section::done`] refuses the ones left.
pub(super) struct Section<'m> {
    path: String,
    left: Table,
    asked: Vec<&'static str>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'m> Section<'m> {
    pub(super) fn new(path: String, table: Table, mistakes: &'m mut Vec<Mistake>) -> Self {
        Self {
            path,
            left: table,
            asked: Vec::new(),
            mistakes,
        }
    }

    pub(super) fn mistake(&mut self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.mistakes.push(Mistake {
            path: joined(&self.path, key),
            what: what.into(),
            cure: cure.into(),
        });
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.left.remove(key)
    }

    fn wrong_kind(&mut self, key: &str, value: &Value, wanted: &str) {
        self.mistake(
            key,
            format!("is {}", kind(value)),
            format!("write {wanted}"),
        );
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.wrong_kind(key, &value, "a text in quotes that is not empty");
        }
        text.map(str::to_owned)
    }

    /// A text that means something: an amount, a day.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &'static str,
        wanted: &str,
    ) -> Option<T> {
        let value = self.take(key)?;
        let Some(text) = value.as_str() else {
            self.wrong_kind(key, &value, wanted);
            return None;
        };
        self.parse_text(key, text, wanted)
    }

    pub(super) fn parse_text<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        text: &str,
        wanted: &str,
    ) -> Option<T> {
        let read = text.parse();
        if let Err(error) = &read {
            let what = format!("\"{}\" is {error}", quoted(text));
            self.mistake(key, what, format!("write {wanted}"));
        }
        read.ok()
    }

    /// A count of tokens: a whole number above zero.
    pub(super) fn count(&mut self, key: &'static str) -> Option<u64> {
        let value = self.take(key)?;
        let count = value
            .as_integer()
            .and_then(|whole| u64::try_from(whole).ok());
        if count.is_none_or(|count| count == 0) {
            self.wrong_kind(key, &value, "a count of tokens above zero, such as 128_000");
            return None;
        }
        count
    }

    /// `true`, or the key is left out.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        match self.take(key) {
            None => false,
            Some(Value::Boolean(true)) => true,
            Some(other) => {
                self.wrong_kind(key, &other, "true, or leave the key out");
                false
            }
        }
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for (index, value) in self.list(key).into_iter().enumerate() {
            match value.as_str().filter(|text| !text.trim().is_empty()) {
                Some(text) => texts.push(text.to_owned()),
                None => self.wrong_kind(&format!("{key}[{index}]"), &value, "a text in quotes"),
            }
        }
        texts
    }

    pub(super) fn list(&mut self, key: &'static str) -> Vec<Value> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => {
                self.wrong_kind(key, &other, "a list in [ ]");
                Vec::new()
            }
        }
    }

    /// The table under `key`; empty if there is none.
    pub(super) fn table(&mut self, key: &'static str) -> Table {
        let value = self.take(key);
        value.map_or_else(Table::new, |value| {
            self.as_table(key, value).unwrap_or_default()
        })
    }

    pub(super) fn as_table(&mut self, key: &str, value: Value) -> Option<Table> {
        if let Value::Table(table) = value {
            return Some(table);
        }
        self.wrong_kind(key, &value, "a table, such as { input = \"2.5\" }");
        None
    }

    /// Everything that was not asked for yet.
    pub(super) fn rest(&mut self) -> Table {
        std::mem::take(&mut self.left)
    }

    pub(super) fn inner(&mut self, key: &str, table: Table) -> Section<'_> {
        Section::new(joined(&self.path, key), table, self.mistakes)
    }

    pub(super) fn done(mut self) {
        let known = self.asked.join(", ");
        for (key, _) in self.rest() {
            self.mistake(
                &key,
                "is not a key known here",
                format!("use one of: {known}"),
            );
        }
    }
}

/// `a` and `b` as a key path; a key that TOML would quote is quoted.
pub(super) fn joined(path: &str, key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'[' | b']');
    let key = quoted(key);
    let key = if key.bytes().all(bare) {
        key
    } else {
        format!("\"{key}\"")
    };
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key,
        (false, true) => path.to_owned(),
        (false, false) => format!("{path}.{key}"),
    }
}

/// Foreign text that fits on a line of a log.
pub(super) fn quoted(text: &str) -> String {
    let end = text.floor_char_boundary(QUOTED_BYTES);
    let (shown, cut) = text.split_at(end);
    let shown: String = shown
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if cut.is_empty() {
        shown
    } else {
        format!("{shown}…")
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(text) if text.trim().is_empty() => "an empty text",
        Value::String(_) => "a text",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a number with a point, which is not exact",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date without quotes",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
