//! The whole gateway over real sockets against mock providers, a module per behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    clippy::too_many_lines,
    reason = "a test crate: a broken step is a failed test"
)]

mod admin_api;
mod alerts;
mod answers;
mod attacks;
mod audio;
mod audit;
mod clients;
mod config;
mod costs;
mod counting;
mod credit;
mod dialects;
mod egress;
mod embeddings;
mod failover;
mod fairness;
mod followed;
mod frame;
mod guard;
mod guard_operations;
mod h2_mock;
mod idempotency;
mod identity;
mod journal;
mod keys;
mod limits;
mod logprobs;
mod margins;
mod matrix;
mod media;
mod money;
mod operations;
mod overload;
mod padding;
mod paths;
mod process;
mod quirks;
mod races;
mod readme;
mod ready;
mod region;
mod registry;
mod secure;
mod signed;
mod signers;
mod sinks;
mod stored;
mod streams;
mod supervision;
mod tiers;
mod tls_mock;
mod tokens;
mod unoffered;
mod unsupported;
mod wishes;
