//! What one provider does otherwise than the dialect it speaks.

/// Data of a provider, acted upon for every request to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Fields by the dialect's name, and what the provider calls them.
    pub rename: Vec<(String, String)>,
    /// Fields it refuses although nothing hangs on them.
    pub leave_out: Vec<String>,
    /// It refuses to be asked for a stream's usage, and tells it anyway.
    pub tells_usage_unasked: bool,
    /// It knows no role of the developer, which is the system's elsewhere.
    pub no_developer: bool,
    /// It tells its thoughts in `reasoning_details`, and wants them back.
    pub reasoning_details: bool,
}

impl Quirks {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
