//! The files of a vendor's directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::error::SimError;

/// What a verifier is given.
pub(crate) const ROOTS_FILE: &str = "roots.pem";
pub(crate) const PRIVATE_MODE: u32 = 0o600;
pub(crate) const PUBLIC_MODE: u32 = 0o644;

/// Exactly so many certificates, in PEM.
pub(crate) fn read_certificates<const N: usize>(path: &Path) -> Result<[Vec<u8>; N], SimError> {
    let text = fs::read(path).map_err(failed("read", path))?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        match certificate {
            Ok(certificate) => found.push(certificate.as_ref().to_vec()),
            Err(_) => return Err(SimError::Pem { path: path.into(), wanted: N, found: found.len() }),
        }
    }
    let count = found.len();
    found.try_into().map_err(|_| SimError::Pem { path: path.into(), wanted: N, found: count })
}

/// A private key, from a file that only its owner can read.
pub(crate) fn read_key(path: &Path) -> Result<PrivatePkcs8KeyDer<'static>, SimError> {
    let mut file = File::open(path).map_err(failed("read", path))?;
    let mode = file.metadata().map_err(failed("read", path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SimError::KeyFileMode { path: path.into(), mode });
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed("read", path))?;
    PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| SimError::Pem {
        path: path.into(),
        wanted: 1,
        found: 0,
    })
}

/// Writes a new file beside `path` and renames it, so that a reader sees the old or the new one.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), SimError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // Left over from an interrupted save; its mode is not to be trusted.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace", &partial)(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&partial)
        .map_err(failed("create", &partial))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", &partial))?;
    fs::rename(&partial, path).map_err(failed("replace", path))
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> SimError {
    move |error| SimError::File { action, path: path.into(), kind: error.kind() }
}
