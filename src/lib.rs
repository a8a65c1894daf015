//! Switchyard: a self-hosted gateway that makes many model providers look like one that never fails.

pub mod config;
pub mod dialects;
pub mod domain;
pub mod policy;
pub mod store;
pub mod telemetry;
pub mod upstream;
