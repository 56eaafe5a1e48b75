//! How requests reach the attested key.

use casemate_protocol::sealed::cells::Shape;

/// How requests reach the attested key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// TLS 1.3 to the attested key: nothing may end TLS in between (spec/channel.md).
    Tls,
    /// Sealed to the attested key, whatever the connection ends at (spec/sealed-channel.md).
    Sealed(Shape),
}
