//! A simulated Intel: a root, the PCK Platform CA and the signer of documents below it, collateral, and TDs on platforms that
//! it endorses.

mod collateral;
mod issue;
mod machine;
mod mistakes;
mod quote;

use std::fmt;
use std::path::Path;

use casemate_attest::UnixTime;

use crate::certifier::{Certifier, KeyKind, authority, leaf};
use crate::error::SimError;
use crate::folder::{self, Kept};
use crate::platform::Platform;
use crate::vendor::{AUTHORITY_SECONDS, window};
use issue::{PLATFORM_CA, ROOT, SIGNER};

pub use machine::{TdxConfig, TdxMachine};
pub use mistakes::{CollateralMistake, CollateralPart, PckMistake, QuoteMistake};
pub use quote::QuoteFormat;
pub(crate) use quote::td_report;

static KEPT_ROOT: Kept =
    Kept { subject: ROOT, key: KeyKind::P256, certificate: "roots.pem", private: "root.key.pem" };
static KEPT_PLATFORM_CA: Kept = Kept {
    subject: PLATFORM_CA,
    key: KeyKind::P256,
    certificate: "platform-ca.pem",
    private: "platform-ca.key.pem",
};
static KEPT_SIGNER: Kept =
    Kept { subject: SIGNER, key: KeyKind::P256, certificate: "signer.pem", private: "signer.key.pem" };

/// A simulated vendor of TDX.
pub struct TdxVendor {
    issued: UnixTime,
    root: Certifier,
    platform_ca: Certifier,
    signer: Certifier,
}

impl TdxVendor {
    /// Makes a vendor. Everything is valid from one day before `now`: authorities for 25 years, PCK certificates for
    /// seven, collateral for a month.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn create(now: UnixTime) -> Result<Self, SimError> {
        let window = window(now, AUTHORITY_SECONDS)?;
        let root = Certifier::root(ROOT, window, KeyKind::P256.generate()?)?;
        let platform_ca = root.subordinate(authority(PLATFORM_CA, window)?, KeyKind::P256.generate()?)?;
        let signer = root.subordinate(leaf(SIGNER, window)?, KeyKind::P256.generate()?)?;
        Ok(Self { issued: now, root, platform_ca, signer })
    }

    /// When the vendor last issued: collateral and machines' certificates count from here.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// The root certificate in PEM. A verifier that should accept this vendor's machines must be given this text.
    pub fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// Counts collateral and new machines' certificates from `now`. The authorities stay, so a verifier that trusts the
    /// vendor does so after this as well, and new collateral is for old machines too.
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

    /// Writes the vendor into `directory`, which is made if it is missing. Each file is replaced as a whole.
    ///
    /// # Errors
    /// [`SimError::File`].
    pub fn save(&self, directory: &Path) -> Result<(), SimError> {
        folder::save(
            directory,
            Platform::Tdx,
            &[(&KEPT_ROOT, &self.root), (&KEPT_PLATFORM_CA, &self.platform_ca), (&KEPT_SIGNER, &self.signer)],
        )
    }

    /// Reads a vendor that [`TdxVendor::save`] wrote, and checks that it is one. It issues from `now`.
    ///
    /// # Errors
    /// Any of the `sim.load.*` errors, or [`SimError::File`].
    pub fn load(directory: &Path, now: UnixTime) -> Result<Self, SimError> {
        folder::expect(directory, Platform::Tdx)?;
        let root = KEPT_ROOT.load(directory, now, None)?;
        Ok(Self {
            issued: now,
            platform_ca: KEPT_PLATFORM_CA.load(directory, now, Some(&root))?,
            signer: KEPT_SIGNER.load(directory, now, Some(&root))?,
            root,
        })
    }
}

impl fmt::Debug for TdxVendor {
    /// Says which vendor this is; never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TdxVendor").field("issued", &self.issued).finish_non_exhaustive()
    }
}
