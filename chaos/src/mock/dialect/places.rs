//! Where faults find the parts of an answer, in each dialect.

use serde_json::Value;

use super::super::draft::Kind;

/// A way to leave an answer without its content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blank {
    pub(crate) name: &'static str,
    pub(crate) pointer: &'static str,
    /// What stands there instead, as JSON.
    instead: &'static str,
}

/// JSON pointers into documents; one that leads nowhere in a document leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// Parents, and the member of each that tells usage.
    pub(crate) usage: &'static [(&'static str, &'static str)],
    /// The numbers of input and output.
    pub(crate) tokens: &'static [&'static str],
    /// Their sum, where the dialect tells it.
    pub(crate) total: &'static [&'static str],
    /// The event that tells usage.
    pub(crate) usage_in: Kind,
    /// Which choice, block or item a content event belongs to.
    pub(crate) index: Option<&'static str>,
    /// Where the answer names its model.
    pub(crate) model: &'static [&'static str],
    pub(crate) blanks: &'static [Blank],
}

impl Blank {
    pub(super) const fn new(
        name: &'static str,
        pointer: &'static str,
        instead: &'static str,
    ) -> Self {
        Self {
            name,
            pointer,
            instead,
        }
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(self.instead).unwrap_or_default()
    }
}
