//! What the system says about vsock, with a name for each case that a person can do something about (CH-14, CH-15).

use std::io;

use rustix::io::Errno;

use super::VsockAddress;

/// Why there is no vsock listener or connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VsockError {
    /// The kernel does not know the family.
    #[error("this kernel has no vsock, which {address} needs: {source}")]
    Absent {
        /// What was wanted.
        address: VsockAddress,
        /// The system's answer.
        source: Errno,
    },
    /// Somebody listens there already.
    #[error("{address} is in use")]
    InUse {
        /// Where.
        address: VsockAddress,
    },
    /// Not for this user, or not in this container.
    #[error("this process may not use {address}: {source}")]
    NotPermitted {
        /// What was wanted.
        address: VsockAddress,
        /// The system's answer.
        source: Errno,
    },
    /// The CID to listen on is another machine's.
    #[error("this machine does not have the CID of {address}")]
    NotOurs {
        /// What was wanted.
        address: VsockAddress,
    },
    /// Nobody listens at the destination.
    #[error("{address} refuses the connection: {source}")]
    Refused {
        /// The destination.
        address: VsockAddress,
        /// The system's answer.
        source: Errno,
    },
    /// Nothing came back in time.
    #[error("{address} does not answer")]
    TimedOut {
        /// The destination.
        address: VsockAddress,
    },
    /// The kernel has no device that leads there.
    #[error("nothing in this machine leads to {address}: {source}")]
    NoRoute {
        /// The destination.
        address: VsockAddress,
        /// The system's answer.
        source: Errno,
    },
    /// Anything else.
    #[error("the system refuses {address}: {source}")]
    System {
        /// What was wanted.
        address: VsockAddress,
        /// The system's answer.
        source: Errno,
    },
}

impl VsockError {
    /// The name of the system's answer to this address.
    pub(crate) fn of(address: VsockAddress, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::TimedOut { address };
        }
        // An error of the system always has a number; EIO stands for what cannot happen.
        let source = Errno::from_io_error(error).unwrap_or(Errno::IO);
        match source {
            Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT => Self::Absent { address, source },
            Errno::ADDRINUSE => Self::InUse { address },
            Errno::ACCESS | Errno::PERM => Self::NotPermitted { address, source },
            Errno::ADDRNOTAVAIL => Self::NotOurs { address },
            // A vsock peer refuses with a reset.
            Errno::CONNREFUSED | Errno::CONNRESET => Self::Refused { address, source },
            Errno::NODEV | Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NXIO => {
                Self::NoRoute { address, source }
            }
            _ => Self::System { address, source },
        }
    }

    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "vsock.absent",
            Self::InUse { .. } => "vsock.in-use",
            Self::NotPermitted { .. } => "vsock.not-permitted",
            Self::NotOurs { .. } => "vsock.not-ours",
            Self::Refused { .. } => "vsock.refused",
            Self::TimedOut { .. } => "vsock.timed-out",
            Self::NoRoute { .. } => "vsock.no-route",
            Self::System { .. } => "vsock.system",
        }
    }

    /// What the person can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Absent { .. } => {
                Some("load the module vsock and the one of your hypervisor, or give an address on a network")
            }
            Self::InUse { .. } => Some("another process listens there: choose another port"),
            Self::NotPermitted { .. } => Some(
                "ports below 1024 need CAP_NET_BIND_SERVICE; in a container its filter may forbid vsock altogether",
            ),
            Self::NotOurs { .. } => Some("leave the CID out to listen on all of this machine's: vsock:PORT"),
            Self::Refused { .. } | Self::TimedOut { .. } => Some(
                "does something there listen on vsock and lead to the broker? for example `socat VSOCK-LISTEN:PORT,fork TCP:HOST:PORT`",
            ),
            Self::NoRoute { .. } => Some(
                "is the CID right, and is this machine one that has a host? 3 is the parent of a Nitro enclave",
            ),
            Self::System { .. } => None,
        }
    }

    /// Whether the same may succeed a moment later: the peer is not up yet.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::TimedOut { .. } => true,
            Self::Absent { .. }
            | Self::InUse { .. }
            | Self::NotPermitted { .. }
            | Self::NotOurs { .. }
            | Self::NoRoute { .. }
            | Self::System { .. } => false,
        }
    }
}
