//! What is wrong with a registry file, said so that it can be mended.

use std::fmt;

/// One mistake: where, what, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key path, such as `openai."gpt-5".price.input`; empty for the file as a whole.
    pub path: String,
    pub what: String,
    pub cure: String,
}

/// Every mistake of a file, one a line when printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.what, self.cure)
    }
}

impl fmt::Display for RegistryError {
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

impl std::error::Error for RegistryError {}
