//! Mock providers, faults, workloads and verdicts for gateways that speak HTTP.
//!
//! This crate never imports the gateway: it sees sockets, processes and files, so that what it proves
//! holds for any gateway.
