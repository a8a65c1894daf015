//! Mock providers, faults, workloads and verdicts for gateways that speak HTTP.
//!
//! This crate never imports the gateway: it sees sockets, processes and files, so that what it proves
//! holds for any gateway.
//!
//! | module | holds |
//! |---|---|
//! | [`mock`] | a provider on the loopback: healthy answers, scripted faults, a log of the wire |
//! | [`fault`] | the catalogue's rows as behaviours, by number |
//! | [`client`] | a raw HTTP/1.1 client that sees what a client sees, and when |
//! | [`load`] | many of those clients at once, open or closed loop |
//! | [`canary`] | numbered words that make losses, splices and crossings visible |
//! | [`report`] | what a run found, as data |
//! | [`http1`] | message framing by hand |

pub mod canary;
pub mod client;
pub mod fault;
pub mod http1;
pub mod load;
pub mod mock;
pub mod report;
