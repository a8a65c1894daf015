//! What is kept beyond the life of a process.

pub mod journal;
