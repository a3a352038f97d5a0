//! The MQTT shell: what the cores decide, on a real socket.
//!
//! [`Broker`] is what a vehicle needs of a broker: a notice board that keeps the newest under each topic.
//! [`Link`] is one over MQTT 5 or 3.1.1. It reconnects, asks again for what it was asked for, publishes again
//! what was not acknowledged, counts every byte of MQTT that crosses the socket and stops at the limit.
//!
//! A link is a thread, and its doors are ordinary calls: the agent is threads too, and a socket that hangs
//! holds up none of them.

mod backoff;
mod broker;
mod dial;
mod fetch;
mod link;
mod meter;
mod outbox;
mod packet;
mod session;
mod settings;
mod subscriptions;
mod unwired;

pub use backoff::Backoff;
pub use broker::{
    Broker, Event, Message, NotPublished, PublishError, RefuseChunk, SHAKEN, Sealed, SealedChunk,
    Subscription, Ticket, Why, filter,
};
pub use fetch::{Fetch, Fetched, RejectFetched, Store, StoreFailed};
pub use link::{Link, LinkError};
pub use meter::Meter;
pub use settings::{Address, Addresses, CertificatesError, RejectAddress, Settings, Tls, Version};
pub use unwired::Unwired;
