//! What is kept beyond the life of a process.
//!
//! Each concern has a trait here and its records; [`embedded`] implements them over one SQLite file, and another
//! database would beside it. Whoever asks gets an answer with a deadline, and is never made to wait for the disk
//! longer than that.

mod desk;
pub mod embedded;
mod error;
pub mod journal;
pub mod keys;
mod responses;
pub mod spending;

use futures_util::future::BoxFuture;

pub use desk::StoreDesk;
pub use error::StoreError;
pub use responses::{Conversation, Link, ResponseKey, ResponseStore, Standing, StoredResponse};

/// An answer of the store: resolves within `store.patience_ms`.
pub type Pending<T> = BoxFuture<'static, Result<T, StoreError>>;
