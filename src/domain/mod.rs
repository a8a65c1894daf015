//! The words of the gateway: ids, units, the canonical chat, and how things end.
//!
//! Nothing here knows a clock, a socket or another folder. Everything else speaks in these types.

pub mod chat;
mod digits;
mod embedding;
mod failure;
mod ids;
pub mod money;
mod outcome;
mod quirks;
mod signature;
mod stake;
mod stream;
mod units;
mod unsupported;
mod wish;

pub use digits::{decimal, hex_digits, thousandths};
pub use embedding::{Embedded, EmbeddingRequest, EmbeddingTask, Input, VectorForm};
pub use failure::{Advice, Failure, FailureKind};
pub use ids::{
    ClientDialect, ClientName, Dialect, KeyName, ModelName, PoolName, ProviderName, RequestId,
    SignerName, TenantName,
};
pub use money::{Bought, NanoUsd};
pub use outcome::{AttemptOutcome, Fault, RetryRule};
pub use quirks::{Quirks, ThinkingField};
pub use signature::{Signers, Stamp};
pub use stake::{ShareClass, Stake, Weight};
pub use stream::{StreamEnd, StreamFacts, StreamFault};
pub use units::{Border, Moment, Score, ServiceTier, Tokens, Usage, Wall};
pub use unsupported::{Unoffered, Unsupported};
pub use wish::{Lane, MaxPrice, Mode, Operation, Preference, PromptClass, Shape};
