//! A vendor in a directory, as those of Intel's, AWS's and Microsoft's form are kept: a certificate and a private key (mode 0600)
//! for each authority, `roots.pem` for the verifier, and `platform`, which says what it is. AMD's is in `store.rs`.

use std::fs;
use std::path::Path;

use casemate_attest::UnixTime;
use rcgen::KeyPair;

use crate::certifier::{Certifier, KeyKind, Subject};
use crate::error::SimError;
use crate::files::{self, PRIVATE_MODE, PUBLIC_MODE, failed, replace};
use crate::platform::{PLATFORM_FILE, Platform};
use crate::store::Fields;
use crate::vendor::{AUTHORITY_SECONDS, pem, window};

/// An authority that is kept, and where.
pub(crate) struct Kept {
    pub(crate) subject: Subject,
    pub(crate) key: KeyKind,
    pub(crate) certificate: &'static str,
    pub(crate) private: &'static str,
}

impl Kept {
    /// Reads an authority. It has its name, and the certificate is of the key beside it and signed by `issuer`, or by
    /// itself.
    pub(crate) fn load(
        &self,
        directory: &Path,
        now: UnixTime,
        issuer: Option<&Certifier>,
    ) -> Result<Certifier, SimError> {
        let object = self.subject.common_name;
        let [der] = files::read_certificates::<1>(&directory.join(self.certificate))?;
        let path = directory.join(self.private);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&files::read_key(&path)?, self.key.algorithm())
            .map_err(|_| SimError::PrivateKey { path, wanted: self.key.name() })?;
        // Another certificate of the same name and key, to compare with.
        let fresh = Certifier::root(self.subject, window(now, AUTHORITY_SECONDS)?, key)?;
        let expected = Fields::read(&fresh.der, object)?;
        let found = Fields::read(&der, object)?;
        if found.subject != expected.subject {
            return Err(SimError::WrongName { object });
        }
        if found.key_info != expected.key_info {
            return Err(SimError::KeyMismatch { object });
        }
        let signer = issuer.unwrap_or(&fresh);
        if !signer.verifies(self.key, found.signed, found.signature) {
            return Err(SimError::BadSignature { object });
        }
        Ok(fresh.with_certificate(der))
    }

    pub(crate) fn save(&self, directory: &Path, authority: &Certifier) -> Result<(), SimError> {
        let key = pem("PRIVATE KEY", authority.issuer.key().serialized_der());
        replace(&directory.join(self.private), key.as_bytes(), PRIVATE_MODE)?;
        replace(&directory.join(self.certificate), authority.pem().as_bytes(), PUBLIC_MODE)
    }
}

/// Writes all of them, and what they are.
pub(crate) fn save(
    directory: &Path,
    platform: Platform,
    authorities: &[(&Kept, &Certifier)],
) -> Result<(), SimError> {
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    for (kept, authority) in authorities {
        kept.save(directory, authority)?;
    }
    replace(&directory.join(PLATFORM_FILE), format!("{platform}\n").as_bytes(), PUBLIC_MODE)
}

/// Refuses a vendor of another platform.
pub(crate) fn expect(directory: &Path, platform: Platform) -> Result<(), SimError> {
    match Platform::of(directory)? {
        found if found == platform => Ok(()),
        found => Err(SimError::OtherPlatform { found, expected: platform }),
    }
}
