//! The few pieces of Protocol Buffers that the evidence needs: a field at a time, varints and length-delimited fields.
//!
//! Strict: minimal varints of at most 64 bits, field numbers from 1, no other wire type. Source: Protocol Buffers,
//! "Encoding".

use thiserror::Error;

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Wire type 0.
    Number(u64),
    /// Wire type 2.
    Octets(&'a [u8]),
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtobufError {
    /// It ends within a field, or a varint is too long, not minimal, or a field's number 0.
    #[error(
        "the message ends within a field, or a number in it has another form than the one form that it has"
    )]
    Malformed,
    /// Groups, and fixed-size numbers.
    #[error("field {field} has wire type {found}, which no field of the evidence has")]
    WireType {
        /// Its number.
        field: u64,
        /// What is there.
        found: u8,
    },
    /// A field that the message does not have, or that has another type.
    #[error("field {field} is unknown in this message, or of another type")]
    Field {
        /// Its number.
        field: u64,
    },
    /// A field twice, so that two readers may take two different values.
    #[error("field {field} is there twice")]
    Duplicate {
        /// Its number.
        field: u64,
    },
    /// A field that must be there.
    #[error("field {field} is not there")]
    Missing {
        /// Its number.
        field: u64,
    },
}

/// The fields of a message, in their order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let (field, wire) = (key >> 3, key.to_le_bytes().first().map_or(0, |low| low & 7));
        if field == 0 {
            return Err(ProtobufError::Malformed);
        }
        let value = match wire {
            0 => Value::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Malformed)?;
                let (octets, rest) = self.rest.split_at_checked(length).ok_or(ProtobufError::Malformed)?;
                self.rest = rest;
                Value::Octets(octets)
            }
            found => return Err(ProtobufError::WireType { field, found }),
        };
        Ok(Some((field, value)))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0_u32..64).step_by(7) {
            let (&octet, rest) = self.rest.split_first().ok_or(ProtobufError::Malformed)?;
            self.rest = rest;
            let bits = u64::from(octet & 0x7f);
            let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
            value |= shifted.ok_or(ProtobufError::Malformed)?;
            if octet < 0x80 {
                // A last octet of zero is a longer form of the same number.
                return if octet == 0 && shift > 0 { Err(ProtobufError::Malformed) } else { Ok(value) };
            }
        }
        Err(ProtobufError::Malformed)
    }
}

/// Keeps the one value of a field that may be there once.
pub(super) fn once<T>(place: &mut Option<T>, field: u64, value: T) -> Result<(), ProtobufError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ProtobufError::Duplicate { field }),
    }
}

impl ProtobufError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "gce.protobuf.malformed",
            Self::WireType { .. } => "gce.protobuf.wire-type",
            Self::Field { .. } => "gce.protobuf.field",
            Self::Duplicate { .. } => "gce.protobuf.duplicate",
            Self::Missing { .. } => "gce.protobuf.missing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(message: &[u8]) -> &'static str {
        let mut fields = Fields::of(message);
        loop {
            match fields.next() {
                Ok(Some(_)) => {}
                Ok(None) => return "message",
                Err(error) => return error.code(),
            }
        }
    }

    #[test]
    fn fields_have_one_form() {
        assert_eq!(code(&[]), "message");
        assert_eq!(code(&[0x08, 0x00]), "message");
        assert_eq!(code(&[0x08, 0x96, 0x01, 0x12, 0x01, 0xff]), "message");
        let max = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(code(&max), "message");
        for malformed in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x08, 0x80, 0x00],
            &[0x88, 0x00, 0x01],
            &[0x00, 0x00],
            &[0x12, 0x01],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x01],
        ] {
            assert_eq!(code(malformed), "gce.protobuf.malformed", "{malformed:02x?}");
        }
        for wire in [1, 3, 4, 5, 6, 7] {
            assert_eq!(code(&[0x08 | wire, 0, 0, 0, 0, 0, 0, 0, 0]), "gce.protobuf.wire-type", "{wire}");
        }
    }
}
