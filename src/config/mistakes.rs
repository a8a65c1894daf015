//! What is wrong with a configuration, said so that it can be mended.

use std::fmt;

/// One mistake: where, what, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// The key path, such as `pools.fast.targets[1]`; empty for the file as a whole.
    pub path: String,
    pub what: String,
    pub cure: String,
}

impl Mistake {
    pub fn new(path: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
            cure: cure.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        if !self.cure.is_empty() {
            write!(f, "; {}", self.cure)?;
        }
        Ok(())
    }
}

/// Every mistake that was found, one a line when printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub mistakes: Vec<Mistake>,
}

impl ConfigError {
    pub fn one(mistake: Mistake) -> Self {
        Self {
            mistakes: vec![mistake],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
