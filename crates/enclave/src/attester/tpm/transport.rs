//! The way to a TPM, and a certificate out of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::attester::AttesterError;

/// A TPM's device, or a software TPM's socket.
pub(crate) trait Transport: Read + Write + Send + 'static {}

impl<T: Read + Write + Send + 'static> Transport for T {}

/// The resource manager's device, or the socket of a software TPM. Whose TPM it is, the evidence shows.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Transport>, AttesterError> {
    let failed = |source| AttesterError::Device { what: "open", path: path.to_owned(), source };
    let is_socket = path.metadata().map_err(failed)?.file_type().is_socket();
    if is_socket {
        return Ok(Box::new(UnixStream::connect(path).map_err(failed)?));
    }
    Ok(Box::new(File::options().read(true).write(true).open(path).map_err(failed)?))
}

/// An index that holds something else than a certificate and, behind it, zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoCertificate;

/// The certificate before the padding; `None` where there are only zeros. After it nothing but zeros may follow.
pub(crate) fn padded_certificate(padded: &[u8]) -> Result<Option<Vec<u8>>, NoCertificate> {
    if padded.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let [0x30, 0x82, high, low, ..] = padded else { return Err(NoCertificate) };
    let len = usize::from(u16::from_be_bytes([*high, *low])) + 4;
    match padded.split_at_checked(len) {
        Some((der, padding)) if padding.iter().all(|&byte| byte == 0) => Ok(Some(der.to_vec())),
        _ => Err(NoCertificate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_where_its_der_ends() {
        let der = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        let padded = [&der[..], &[0; 1000]].concat();
        assert_eq!(padded_certificate(&padded), Ok(Some(der.clone())));
        assert_eq!(padded_certificate(&der), Ok(Some(der.clone())));
        assert_eq!(padded_certificate(&[0; 1024]), Ok(None));
        assert_eq!(padded_certificate(&[]), Ok(None));
        let mut dirty = padded.clone();
        dirty[1200] = 1;
        for wrong in
            [&dirty[..], &der[..259], b"-----BEGIN CERTIFICATE-----", &[0x30], &[0x30, 0x82, 0xff, 0xff, 0]]
        {
            assert_eq!(padded_certificate(wrong), Err(NoCertificate));
        }
    }
}
