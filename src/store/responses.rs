//! Stored responses: what a client asked to be kept, for itself alone.

use bytes::Bytes;

use super::Pending;
use crate::domain::ClientName;

/// A response and whose it is. There is no way to name one without its owner, so a foreign one is as good as
/// absent (ground rule G10, attack A04).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResponseKey {
    /// With its tenant: names of clients are unique within one only.
    pub owner: ClientName,
    pub id: String,
}

/// Where a response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    UnderWay,
    Ended,
    /// The process ended while it was under way.
    Interrupted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub key: ResponseKey,
    /// The response it goes on from.
    pub previous: Option<String>,
    /// Unix seconds.
    pub created: u64,
    pub standing: Standing,
    /// The response object as JSON, as far as it has come.
    pub answer: Bytes,
    /// What this request added to the conversation: a JSON list of items, each with an id.
    pub input: Bytes,
    /// The events as they were sent, for who comes back to a stream; empty where there was none.
    pub events: Bytes,
    /// Ids of the items in `answer`, by which a client may refer to them.
    pub items: Vec<String>,
}

/// One response of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: String,
    pub standing: Standing,
    pub answer: Bytes,
    pub input: Bytes,
}

/// How a conversation was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conversation {
    /// Oldest first.
    Whole(Vec<Link>),
    /// There is no such response.
    Absent,
    /// The response is there, but one it goes on from was deleted.
    Torn,
    /// It holds more text than was asked for at most.
    TooLong,
}

/// Keeps responses, sealed, until their time is over.
pub trait ResponseStore: Send + Sync {
    /// Keeps a new one.
    fn begin(&self, response: StoredResponse) -> Pending<()>;

    /// Tells how far one that is under way has come, and nothing else of it: it weighs what its answer does. `false`
    /// as of [`Self::finish`].
    fn goes_on(&self, key: &ResponseKey, answer: Bytes) -> Pending<bool>;

    /// Tells how one that is under way ended. `false`: it has ended before, or was deleted; then nothing changes.
    fn finish(&self, response: StoredResponse) -> Pending<bool>;

    fn get(&self, key: &ResponseKey) -> Pending<Option<StoredResponse>>;

    /// Whether there was one.
    fn delete(&self, key: &ResponseKey) -> Pending<bool>;

    /// The conversation that ends with this response, if it holds at most so many bytes.
    fn conversation(&self, key: &ResponseKey, most_bytes: usize) -> Pending<Conversation>;

    /// The responses in which these items stand, as far as they are there.
    fn holding(&self, owner: &ClientName, items: Vec<String>) -> Pending<Vec<Link>>;
}
