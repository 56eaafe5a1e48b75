//! What a person may write where an address is wanted: `IP:PORT`, `vsock:PORT`, `vsock:CID:PORT` (CH-13).

use std::fmt;
use std::net::SocketAddr;

/// An end of a vsock connection (Linux `include/uapi/linux/vm_sockets.h`, `struct sockaddr_vm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VsockAddress {
    /// Which machine: 1 is this one, 2 its host, 3 the parent of a Nitro enclave; [`VsockAddress::ANY_CID`] all of this one's.
    pub cid: u32,
    /// Which port of it.
    pub port: u32,
}

/// Where the API listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddress {
    /// On a network.
    Tcp(SocketAddr),
    /// On vsock.
    Vsock(VsockAddress),
}

/// How the broker is reached. Its address says who it is either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerPath {
    /// By TCP, at its address.
    Tcp,
    /// By vsock, at this one.
    Vsock(VsockAddress),
}

/// Why what was written is no address (CH-13).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither of the forms.
    #[error("`{found}` is not of the form {form}")]
    Form {
        /// What was written.
        found: String,
        /// The forms that are.
        form: &'static str,
    },
    /// A part is not made of digits.
    #[error("the {part} in `{found}` is not a number")]
    Number {
        /// Which part.
        part: &'static str,
        /// What was written.
        found: String,
    },
    /// A number that cannot be one.
    #[error("the {part} in `{found}` is not {low} to {high}")]
    Range {
        /// Which part.
        part: &'static str,
        /// What was written.
        found: String,
        /// The smallest.
        low: u32,
        /// The largest.
        high: u32,
    },
    /// A destination that names no machine.
    #[error("`{found}` names no machine to connect to")]
    AnyCid {
        /// What was written.
        found: String,
    },
}

// === impl VsockAddress ===

impl VsockAddress {
    /// `VMADDR_CID_ANY`: every CID of this machine, to listen on.
    pub const ANY_CID: u32 = u32::MAX;

    /// `vsock:PORT`, on every CID of this machine, or `vsock:CID:PORT`.
    ///
    /// # Errors
    /// [`AddressError`]; see CH-13.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form { found: text.to_owned(), form: "vsock:PORT or vsock:CID:PORT" };
        let rest = text.strip_prefix(SCHEME).ok_or_else(form)?;
        let (cid, port) = match rest.split_once(':') {
            None => (Self::ANY_CID, rest),
            Some((cid, port)) => (number(text, "CID", cid, 0, u32::MAX)?, port),
        };
        // All ones is the kernel's "any port" (VMADDR_PORT_ANY); 0 means that to TCP, and is refused as well.
        Ok(Self { cid, port: number(text, "port", port, 1, u32::MAX - 1)? })
    }

    /// `vsock:CID:PORT` of one machine.
    ///
    /// # Errors
    /// [`AddressError`]; see CH-13.
    pub fn parse_destination(text: &str) -> Result<Self, AddressError> {
        let address = Self::parse(text)?;
        if address.cid == Self::ANY_CID {
            return Err(AddressError::AnyCid { found: text.to_owned() });
        }
        Ok(address)
    }
}

impl fmt::Display for VsockAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cid {
            Self::ANY_CID => write!(f, "{SCHEME}{}", self.port),
            cid => write!(f, "{SCHEME}{cid}:{}", self.port),
        }
    }
}

// === impl ListenAddress ===

impl ListenAddress {
    /// `IP:PORT`, `vsock:PORT` or `vsock:CID:PORT`.
    ///
    /// # Errors
    /// [`AddressError`]; see CH-13.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.starts_with(SCHEME) {
            return VsockAddress::parse(text).map(Self::Vsock);
        }
        let form =
            AddressError::Form { found: text.to_owned(), form: "IP:PORT, vsock:PORT or vsock:CID:PORT" };
        text.parse().map(Self::Tcp).map_err(|_| form)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Vsock(address) => address.fmt(f),
        }
    }
}

// === impl AddressError ===

impl AddressError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Form { .. } => "address.form",
            Self::Number { .. } => "address.number",
            Self::Range { .. } => "address.range",
            Self::AnyCid { .. } => "address.any-cid",
        }
    }

    /// What the person can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::AnyCid { .. } => {
                Some("write whose: vsock:3:PORT is the parent of a Nitro enclave, vsock:2:PORT the host")
            }
            Self::Form { .. } => Some("a vsock address has decimal numbers: vsock:8443, vsock:16:8443"),
            Self::Number { .. } | Self::Range { .. } => None,
        }
    }
}

/// Digits only: no sign, no space, no hexadecimal.
fn number(text: &str, part: &'static str, digits: &str, low: u32, high: u32) -> Result<u32, AddressError> {
    let found = || text.to_owned();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::Number { part, found: found() });
    }
    let number = digits.parse().ok().filter(|number| (low..=high).contains(number));
    number.ok_or_else(|| AddressError::Range { part, found: found(), low, high })
}

const SCHEME: &str = "vsock:";
