//! Reading and writing files so that errors name the file and nothing is half-written.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use casemate_attest::TrustAnchors;
use casemate_attest::nvidia::NvidiaAnchors;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::args::{AnchorArgs, GpuAnchorArgs};
use crate::error::CliError;

/// The whole file, up to [`MAX_FILE`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CliError::FileTooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// The whole file as text.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(read(path)?).map_err(|_| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text");
        CliError::Read { path: path.to_owned(), source }
    })
}

/// Creates `path` with `bytes`; refuses to overwrite. `mode` is the file's permission bits.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|source| {
        let _ = fs::remove_file(path);
        failed(source)
    })
}

/// Puts `bytes` in the place of what `path` held, whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CliError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    create(new, bytes, mode)?;
    fs::rename(new, path).map_err(|source| {
        let _ = fs::remove_file(new);
        CliError::Write { path: path.to_owned(), source }
    })
}

/// Creates the directory `path`; refuses one that exists.
pub(crate) fn create_dir(path: &Path) -> Result<(), CliError> {
    fs::create_dir(path).map_err(|source| CliError::Write { path: path.to_owned(), source })
}

/// AMD's roots, or those of the one simulated vendor that the person named.
pub(crate) fn anchors(args: &AnchorArgs) -> Result<TrustAnchors, CliError> {
    match &args.danger_simulated_root {
        None => Ok(TrustAnchors::vendors()),
        Some(path) => {
            let pem = read_text(path)?;
            Ok(TrustAnchors::danger_only_pem(&pem)?)
        }
    }
}

/// NVIDIA's roots, or those of the one simulated vendor of GPUs that the person named.
pub(crate) fn device_anchors(args: &GpuAnchorArgs) -> Result<NvidiaAnchors, CliError> {
    match &args.danger_simulated_gpu_root {
        None => Ok(NvidiaAnchors::nvidia()),
        Some(path) => Ok(NvidiaAnchors::danger_only_pem(&read_text(path)?)?),
    }
}

/// A certificate in DER; of a PEM file the first one.
pub(crate) fn certificate(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = read(path)?;
    if !bytes.starts_with(b"-----BEGIN") {
        return Ok(bytes);
    }
    match CertificateDer::from_pem_slice(&bytes) {
        Ok(first) => Ok(first.as_ref().to_vec()),
        Err(e) => Err(CliError::ConfigFile { path: path.to_owned(), reason: e.to_string() }),
    }
}

/// Hex text of exactly `N` bytes.
pub(crate) fn hex_bytes<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], CliError> {
    let mut bytes = [0u8; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| CliError::Hex { what, bytes: N })?;
    Ok(bytes)
}

/// Owner may read and write, nobody else.
pub(crate) const PRIVATE: u32 = 0o600;
/// Everyone may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// Evidence, policies and manifests are far smaller; a larger file is not one of them.
pub(crate) const MAX_FILE: u64 = 64 << 20;
