//! Every decision of the gateway as a plain function: state and time in, answer out.
//!
//! What one actor owns is plain state behind `&mut`; what tasks share is made of atomics behind `&`.
//! Nothing here knows a clock, a socket or an actor, so each rule is proven without any.

pub mod alerts;
pub mod breaker;
pub mod chain;
pub mod concurrency;
pub mod grant;
pub mod guard;
pub mod headroom;
pub mod health;
pub mod hedge;
pub mod jwt;
pub mod latency;
pub mod ledger;
pub mod once;
pub mod overload;
pub mod panic;
pub mod poison;
pub mod quarantine;
pub mod queue;
pub mod residency;
pub mod restart;
pub mod retry;
pub mod score;
pub mod served;
pub mod shares;
pub mod timers;
pub mod token;
pub mod window;
