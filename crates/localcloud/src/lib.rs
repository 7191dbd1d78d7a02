//! A simulated cloud on loopback for tests and the demo: Entra tokens, Graph hunting, Azure Data Explorer.
//! It evaluates the KQL that it is sent and keeps the ground truth; it knows nothing of its client.

pub mod adx;
mod blocking;
pub mod clock;
pub mod cloud;
pub mod entra;
pub mod faults;
pub mod hunting;
pub mod kql;
pub mod source;
