//! A simulated AWS: a root of Nitro Enclaves, and Nitro Security Modules that sign attestation documents below it.
//!
//! Source: AWS Nitro Enclaves NSM API, `docs/attestation_process.md`. As there, four certificates stand between the root and
//! the document's signature, and the last of them lives for three hours.

mod cbor;
mod document;

use std::fmt;
use std::path::Path;

use casemate_attest::UnixTime;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::certificate::Window;
use crate::certifier::{Certifier, KeyKind, Subject, authority, leaf};
use crate::error::SimError;
use crate::folder::{self, Kept};
use crate::platform::Platform;
use crate::vendor::{AUTHORITY_SECONDS, DAY, window};

pub use document::{NitroConfig, NitroModule, NitroPathMistake};

/// How long a module's certificate lives: from an hour before the vendor's issue until three hours after.
const LEAF_BEFORE: u64 = 3600;
const LEAF_AFTER: u64 = 3 * 3600;
/// How long the authorities between live.
const INTERMEDIATE_SECONDS: u64 = 21 * DAY;

const ROOT: Subject = subject("aws.nitro-enclaves");
const INTERMEDIATES: [Subject; 3] = [
    subject("simulated.region.aws.nitro-enclaves"),
    subject("simulated.zone"),
    subject("simulated.instance"),
];
const LEAF: Subject = subject("simulated.module");

static KEPT_ROOT: Kept =
    Kept { subject: ROOT, key: KeyKind::P384, certificate: "roots.pem", private: "root.key.pem" };

const fn subject(common_name: &'static str) -> Subject {
    Subject { common_name, organization: "SIMULATED - not AWS" }
}

/// A simulated vendor of Nitro Enclaves.
pub struct NitroVendor {
    issued: UnixTime,
    root: Certifier,
}

/// What goes into a document, from the root to the key that signs.
pub(crate) struct Chain {
    pub(crate) cabundle: Vec<Vec<u8>>,
    pub(crate) leaf: Vec<u8>,
    pub(crate) key: KeyPair,
}

impl NitroVendor {
    /// Makes a vendor: a P-384 root that is valid from one day before `now` for 25 years.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn create(now: UnixTime) -> Result<Self, SimError> {
        let root = Certifier::root(ROOT, window(now, AUTHORITY_SECONDS)?, KeyKind::P384.generate()?)?;
        Ok(Self { issued: now, root })
    }

    /// When the vendor last issued: modules' certificates count from here, and documents say that they were made then.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// The root certificate in PEM. A verifier that should accept this vendor's documents must be given this text.
    pub fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// Counts new modules' certificates and documents from `now`; the root stays.
    ///
    /// # Errors
    /// [`SimError::RenewalInThePast`].
    pub fn renew(&mut self, now: UnixTime) -> Result<(), SimError> {
        if now < self.issued {
            return Err(SimError::RenewalInThePast { now, issued: self.issued });
        }
        self.issued = now;
        Ok(())
    }

    /// Makes a module: a new P-384 key at the end of a new path of certificates.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn module(&self, config: &NitroConfig) -> Result<NitroModule, SimError> {
        let path = self.path(&config.path)?;
        Ok(NitroModule::new(config.clone(), self.issued, path))
    }

    fn path(&self, mistake: &NitroPathMistake) -> Result<Chain, SimError> {
        let stranger;
        let mut issuer = &self.root;
        if *mistake == NitroPathMistake::OtherRoot {
            stranger = Self::create(self.issued)?.root;
            issuer = &stranger;
        }
        let mut below: Vec<Certifier> = Vec::new();
        let mut cabundle = vec![self.root.der.clone()];
        for subject in INTERMEDIATES {
            let params = self.intermediate(subject, mistake)?;
            let above = below.last().unwrap_or(issuer);
            let next = above.subordinate(params, KeyKind::P384.generate()?)?;
            cabundle.push(next.der.clone());
            below.push(next);
        }
        if *mistake == NitroPathMistake::TooLong {
            let last = cabundle.last().cloned().unwrap_or_default();
            cabundle.extend(vec![last; 6]);
        }
        let kind = if *mistake == NitroPathMistake::LeafP256 { KeyKind::P256 } else { KeyKind::P384 };
        let certified = kind.generate()?;
        let above = below.last().unwrap_or(issuer);
        let leaf = above.certify(&self.leaf(mistake)?, &certified)?.der().to_vec();
        let key = if kind == KeyKind::P384 { certified } else { KeyKind::P384.generate()? };
        Ok(Chain { cabundle, leaf, key })
    }

    /// A mistake of the intermediates is the zone's.
    fn intermediate(
        &self,
        subject: Subject,
        mistake: &NitroPathMistake,
    ) -> Result<CertificateParams, SimError> {
        let usual = window(self.issued, INTERMEDIATE_SECONDS)?;
        let [_, zone, _] = INTERMEDIATES;
        if subject != zone {
            return authority(subject, usual);
        }
        let window = match mistake {
            NitroPathMistake::IntermediateValidity { not_before, not_after } => {
                Window { not_before: *not_before, not_after: *not_after }
            }
            _ => usual,
        };
        let mut params = authority(subject, window)?;
        match mistake {
            NitroPathMistake::IntermediateIsNoAuthority => params.is_ca = IsCa::ExplicitNoCa,
            NitroPathMistake::IntermediateWithoutKeyUsage => params.key_usages.clear(),
            NitroPathMistake::IntermediateMayNotCertify => params.key_usages = vec![KeyUsagePurpose::CrlSign],
            _ => {}
        }
        Ok(params)
    }

    fn leaf(&self, mistake: &NitroPathMistake) -> Result<CertificateParams, SimError> {
        let out_of_range = SimError::TimeOutOfRange { at: self.issued };
        let window = match mistake {
            NitroPathMistake::LeafValidity { not_before, not_after } => {
                Window { not_before: *not_before, not_after: *not_after }
            }
            _ => Window {
                not_before: UnixTime(self.issued.0.checked_sub(LEAF_BEFORE).ok_or(out_of_range.clone())?),
                not_after: UnixTime(self.issued.0.checked_add(LEAF_AFTER).ok_or(out_of_range)?),
            },
        };
        let mut params = leaf(LEAF, window)?;
        match mistake {
            NitroPathMistake::LeafIsAuthority => params.is_ca = authority(LEAF, window)?.is_ca,
            NitroPathMistake::LeafMayNotSign => params.key_usages = vec![KeyUsagePurpose::KeyAgreement],
            NitroPathMistake::LeafForTls => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            _ => {}
        }
        Ok(params)
    }

    /// Writes the vendor into `directory`, which is made if it is missing. Each file is replaced as a whole.
    ///
    /// # Errors
    /// [`SimError::File`].
    pub fn save(&self, directory: &Path) -> Result<(), SimError> {
        folder::save(directory, Platform::Nitro, &[(&KEPT_ROOT, &self.root)])
    }

    /// Reads a vendor that [`NitroVendor::save`] wrote, and checks that it is one. It issues from `now`.
    ///
    /// # Errors
    /// Any of the `sim.load.*` errors, or [`SimError::File`].
    pub fn load(directory: &Path, now: UnixTime) -> Result<Self, SimError> {
        folder::expect(directory, Platform::Nitro)?;
        Ok(Self { issued: now, root: KEPT_ROOT.load(directory, now, None)? })
    }
}

impl fmt::Debug for NitroVendor {
    /// Says which vendor this is; never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NitroVendor").field("issued", &self.issued).finish_non_exhaustive()
    }
}
