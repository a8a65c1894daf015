//! Switchyard: a self-hosted gateway that makes many model providers look like one that never fails.
//!
//! # The map
//! A request comes in at [`edge`], becomes a story in [`dispatch`], asks the [`actors`] where it may go,
//! is sent by [`upstream`], and is read and written by [`dialects`]. Decisions are plain functions in
//! [`policy`]; what the operator wrote is in [`config`]; names of things are in [`domain`].
//!
//! # The words
//! **provider** a company or server that answers · **key** our API key there · **pool** what clients
//! call a model · **endpoint** a provider's model · **target** endpoint and key · **client** who calls ·
//! **attempt** one call to one target · **lease** the right to make it · **outcome** how it went ·
//! **dialect** a wire format · **detour** a pool reached by a name that the request itself gave · **leg** one side of a race · **seat** an actor's place in the tree ·
//! **signer** who knows its own signatures again, whichever provider carries them to it ·
//! **slot** a reference that survives a restart · **cell** numbers that outlive the actor deciding them ·
//! **grant** what a caller may use · **roster** every tenant and client key in force · **roll** those of the store ·
//! **bill** what providers ask for a request · **margin** what is added to it before it is **charged** ·
//! **notice** something that needs somebody · **receiver** who is told of it outside ·
//! **border** a place in the journal that what is handed in knows itself before or behind ·
//! **tally** what the writer of the journal adds up in passing · **stretch** what stands in the journal between two places ·
//! **tape** an answer that several read · **stake** a tenant and its weight, where there is not enough for all

pub mod actors;
pub mod app;
pub mod config;
pub mod dialects;
pub mod dispatch;
pub mod domain;
pub mod edge;
pub mod keys;
pub mod policy;
pub mod pricing;
pub mod store;
pub mod telemetry;
pub mod upstream;
