//! Mock providers, faults, workloads and verdicts for gateways that speak HTTP.
//!
//! This crate never imports the gateway: it sees sockets, processes and files, so that what it proves
//! holds for any gateway.
//!
//! | module | holds |
//! |---|---|
//! | [`mock`] | a provider on the loopback: healthy answers, scripted faults, a log of the wire |
//! | [`front`] | what stands between a gateway and a mock: TLS, HTTP/2, names, and what goes wrong there |
//! | [`fault`] | the catalogue's rows as behaviours, by number |
//! | [`client`] | a raw HTTP/1.1 client that sees what a client sees, and when |
//! | [`load`] | many of those clients at once, open or closed loop |
//! | [`canary`] | numbered words that make losses, splices and crossings visible |
//! | [`scenario`] | what is to happen in a run and what must then be true |
//! | [`lab`] | the world of a run: mocks, the gateway's process, configuration, clock |
//! | [`workload`], [`history`] | requests as clients make them, and what the clients saw |
//! | [`conduct`] | carries a scenario out and brings back the evidence |
//! | [`records`] | the gateway's own records, read from outside: journal, metrics, process |
//! | [`verdict`] | what the records prove |
//! | [`report`] | what a run found, as data |
//! | [`http1`] | message framing by hand |

pub mod canary;
pub mod client;
pub mod command;
pub mod conduct;
pub mod fault;
pub mod front;
pub mod history;
pub mod http1;
pub mod lab;
pub mod load;
pub mod mock;
pub mod records;
pub mod report;
pub mod scenario;
pub mod verdict;
pub mod workload;
