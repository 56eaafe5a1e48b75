//! A vendor in a directory: `roots.pem`, `crl.der`, and one `.key.pem` for each authority with mode 0600.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use der::asn1::{BitStringRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag};

use crate::certificate::name;
use crate::error::SimError;
use crate::files::{self, PRIVATE_MODE, PUBLIC_MODE, ROOTS_FILE, failed, replace};
use crate::folder;
use crate::keys::RsaKey;
use crate::line::SUPPORTED;
use crate::platform::Platform;
use crate::vendor::{Authority, BACKDATE_SECONDS, Role, Vendor, pem};

const CRL_FILE: &str = "crl.der";

impl Vendor {
    /// Writes the vendor into `directory`, which is made if it is missing. Each file is replaced as a whole.
    ///
    /// # Errors
    /// [`SimError::File`], or [`SimError::Signing`] where a key cannot be exported.
    pub fn save(&self, directory: &Path) -> Result<(), SimError> {
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        for (role, authority) in self.authorities() {
            let key = authority.key.to_pkcs8()?;
            let path = directory.join(role.key_file());
            replace(&path, pem("PRIVATE KEY", key.as_ref()).as_bytes(), PRIVATE_MODE)?;
        }
        replace(&directory.join(ROOTS_FILE), self.root_pem().as_bytes(), PUBLIC_MODE)?;
        replace(&directory.join(CRL_FILE), self.crl_der(), PUBLIC_MODE)
    }

    /// Reads a vendor that [`Vendor::save`] wrote, and checks that it is one: three simulated names of one
    /// line, keys that belong to the certificates, signatures of the ARK. Whether it is still valid is the
    /// verifier's question; see [`Vendor::renew`].
    ///
    /// # Errors
    /// Any of the `sim.load.*` errors, or [`SimError::File`].
    pub fn load(directory: &Path) -> Result<Self, SimError> {
        folder::expect(directory, Platform::SevSnp)?;
        let roots = directory.join(ROOTS_FILE);
        let [ark, ask, asvk] = files::read_certificates::<3>(&roots)?;
        let line = line_of(&Fields::read(&ark, Role::Ark.certificate())?)?;

        let ark_key = Arc::new(read_key(directory, Role::Ark)?);
        let authorities = [
            check_authority(line, Role::Ark, ark, Arc::clone(&ark_key), &ark_key)?,
            check_authority(line, Role::Ask, ask, Arc::new(read_key(directory, Role::Ask)?), &ark_key)?,
            check_authority(line, Role::Asvk, asvk, Arc::new(read_key(directory, Role::Asvk)?), &ark_key)?,
        ];
        let crl_path = directory.join(CRL_FILE);
        let crl = fs::read(&crl_path).map_err(failed("read", &crl_path))?;
        let issued = check_crl(line, &crl, &ark_key)?;
        Ok(Self::from_parts(line, issued, authorities, crl))
    }
}

impl Role {
    fn key_file(self) -> &'static str {
        match self {
            Self::Ark => "ark.key.pem",
            Self::Ask => "ask.key.pem",
            Self::Asvk => "asvk.key.pem",
        }
    }

    fn certificate(self) -> &'static str {
        match self {
            Self::Ark => "ARK certificate",
            Self::Ask => "ASK certificate",
            Self::Asvk => "ASVK certificate",
        }
    }
}

/// The parts of a certificate that loading compares, each with its tag and length.
pub(crate) struct Fields<'a> {
    pub(crate) signed: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) subject: &'a [u8],
    pub(crate) key_info: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn read(certificate: &'a [u8], object: &'static str) -> Result<Self, SimError> {
        let malformed = |_| SimError::Malformed { object };
        let (signed, signature) = open_signed(certificate).map_err(malformed)?;
        let fields = elements(signed).map_err(malformed)?;
        match fields.as_slice() {
            [_version, _serial, _algorithm, issuer, _validity, subject, key_info, ..] => {
                Ok(Self { signed, issuer, subject, key_info, signature })
            }
            _ => Err(SimError::Malformed { object }),
        }
    }
}

fn check_authority(
    line: ProductLine,
    role: Role,
    certificate: Vec<u8>,
    key: Arc<RsaKey>,
    ark: &RsaKey,
) -> Result<Authority, SimError> {
    let object = role.certificate();
    let fields = Fields::read(&certificate, object)?;
    let ark_name = name(&Role::Ark.common_name(line));
    if fields.subject != name(&role.common_name(line)) || fields.issuer != ark_name {
        return Err(SimError::WrongName { object });
    }
    if fields.key_info != key.public_key_info()? {
        return Err(SimError::KeyMismatch { object });
    }
    if !ark.verifies(fields.signed, fields.signature) {
        return Err(SimError::BadSignature { object });
    }
    Ok(Authority { key, certificate })
}

/// Checks name and signature, and returns when the vendor issued the list.
fn check_crl(line: ProductLine, crl: &[u8], ark: &RsaKey) -> Result<UnixTime, SimError> {
    let object = "revocation list";
    let malformed = || SimError::Malformed { object };
    let (signed, signature) = open_signed(crl).map_err(|_| malformed())?;
    let fields = elements(signed).map_err(|_| malformed())?;
    let [_version, _algorithm, issuer, this_update, ..] = fields.as_slice() else {
        return Err(malformed());
    };
    if *issuer != name(&Role::Ark.common_name(line)) {
        return Err(SimError::WrongName { object });
    }
    if !ark.verifies(signed, signature) {
        return Err(SimError::BadSignature { object });
    }
    let this_update = read_time(this_update).map_err(|_| malformed())?;
    this_update.checked_add(BACKDATE_SECONDS).map(UnixTime).ok_or_else(malformed)
}

/// The line whose ARK name the certificate has as its subject.
fn line_of(ark: &Fields<'_>) -> Result<ProductLine, SimError> {
    SUPPORTED
        .into_iter()
        .find(|line| ark.subject == name(&Role::Ark.common_name(*line)))
        .ok_or(SimError::WrongName { object: Role::Ark.certificate() })
}

/// Splits SEQUENCE { signed, algorithm, BIT STRING } into the signed element and the signature.
fn open_signed(object: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let parts = elements(object)?;
    let [signed, _algorithm, signature] = parts.as_slice() else {
        return Err(Tag::Sequence.value_error().into());
    };
    let signature = BitStringRef::from_der(signature)?;
    let signature = signature.as_bytes().ok_or(Tag::BitString.value_error())?;
    Ok((signed, signature))
}

/// The elements of a SEQUENCE that nothing follows, each with its tag and length.
pub(crate) fn elements(sequence: &[u8]) -> der::Result<Vec<&[u8]>> {
    let mut reader = SliceReader::new(sequence)?;
    let parts = reader.sequence(|content| {
        let mut parts = Vec::new();
        while !content.is_finished() {
            parts.push(content.tlv_bytes()?);
        }
        Ok::<_, der::Error>(parts)
    })?;
    reader.finish()?;
    Ok(parts)
}

/// A UTCTime or GeneralizedTime as seconds since 1970.
fn read_time(element: &[u8]) -> der::Result<u64> {
    let since = match UtcTime::from_der(element) {
        Ok(time) => time.to_unix_duration(),
        Err(_) => GeneralizedTime::from_der(element)?.to_unix_duration(),
    };
    Ok(since.as_secs())
}

/// An authority's private key, from a file that only its owner can read.
fn read_key(directory: &Path, role: Role) -> Result<RsaKey, SimError> {
    let path = directory.join(role.key_file());
    let key = files::read_key(&path)?;
    RsaKey::from_pkcs8(key.secret_pkcs8_der()).ok_or(SimError::PrivateKey { path, wanted: "RSA-4096" })
}
