//! Why the store gave no answer.

/// Paths stand here for the operator; what a client reads is said by the edge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{path} is broken ({why}); restore a backup, or move it aside to begin with an empty store"
    )]
    Broken { path: String, why: String },
    #[error(
        "{path} has schema {found}, and this release knows {known}; run the release that wrote it, or restore a backup"
    )]
    Newer {
        path: String,
        found: u32,
        known: u32,
    },
    #[error("{path} is no store of this gateway; name another file in store.path")]
    Foreign { path: String },
    #[error("{path} is in use by another process; give each gateway a store of its own")]
    InUse { path: String },
    #[error("{path} is not there; run the gateway first, or name the right file in store.path")]
    Missing { path: String },
    #[error(
        "{path} cannot be opened ({why}); name a file in a folder this process may write, in store.path"
    )]
    Open { path: String, why: String },
    #[error("the key of {path} {why}")]
    Key { path: String, why: String },
    #[error("the store is full; raise store.max_bytes, or shorten store.retention_days")]
    Full,
    #[error("too much waits for the store; its disk is slower than what it is asked for")]
    Busy,
    #[error("the store did not answer in time; its disk is slow, or store.patience_ms is short")]
    Late,
    #[error("the store cannot be used ({why}); look at the disk")]
    Failed { why: String },
    #[error("a record cannot be read: it was changed, or sealed with another key")]
    Unreadable,
    #[error("the store has ended; it is opened again when it is next needed")]
    Ended,
}

impl StoreError {
    pub(super) fn open(path: &std::path::Path, why: impl ToString) -> Self {
        Self::Open {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }

    /// Whether the store as a whole is at fault, and not one record or one caller.
    pub(super) fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Full | Self::Failed { .. } | Self::Broken { .. })
    }

    /// For metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "broken",
            Self::Newer { .. } => "newer",
            Self::Foreign { .. } => "foreign",
            Self::InUse { .. } => "in_use",
            Self::Missing { .. } => "missing",
            Self::Open { .. } => "cannot_open",
            Self::Key { .. } => "key",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Failed { .. } => "failed",
            Self::Unreadable => "unreadable",
            Self::Ended => "ended",
        }
    }
}
