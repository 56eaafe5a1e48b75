//! How bytes come in and go out: TCP, or vsock where a machine has no network (spec/channel.md section 7).
//!
//! vsock takes the place of the TCP connection and of nothing else: the same TLS, names and requests are above it. Neither
//! is ever taken for the other (CH-12).

mod address;
mod dial;
mod error;
mod forward;
mod listen;
#[allow(unsafe_code)]
mod registered;
pub(crate) mod socket;

pub use address::{AddressError, BrokerPath, ListenAddress, VsockAddress};
pub(crate) use dial::Connector;
pub use error::VsockError;
pub(crate) use forward::forward;
pub(crate) use listen::Bound;
pub use listen::ListenError;

#[cfg(test)]
mod tests;
