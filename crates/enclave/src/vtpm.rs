//! The virtual TPM beside the machine's hardware (spec/attesters.md §10): on Google Cloud it says what was booted, which the
//! launch measurement there does not.
//!
//! [`Vtpm`] exists only after its own evidence was found genuine, as every client will look at it. A server that was told to
//! show its virtual TPM and cannot does not start, and hands out no document without it.

use std::sync::Arc;

use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::{Evidence, Platform, TrustAnchors, UnixTime};
use casemate_protocol::document::DocumentVtpm;
use casemate_protocol::statement::Stated;
use casemate_protocol::vtpm;

use crate::attester::{Attester, AttesterError, GceError, RawEvidence, Roots, gce, google_vtpm};
use crate::boot::BootError;
use crate::config::VtpmSource;
use crate::staple::{EndorsementHealth, RefreshError, Source, StapleError, Stapler, Staples, read_bundle};

/// A virtual TPM with what its provider says of its key. Only [`Vtpm::start`] makes one.
pub struct Vtpm {
    attester: Arc<dyn Attester>,
    staples: Staples,
    key_sha256: [u8; 32],
}

/// A virtual TPM that was found, and what is in the file of its endorsements. Nothing of it is verified.
pub(crate) struct Found {
    attester: Arc<dyn Attester>,
    bundle: EndorsementBundle,
}

/// The virtual TPM that the operator wrote down; `None` where nobody wrote that there is one. As root: the device is not for
/// the user that the server becomes.
pub(crate) fn find(source: &VtpmSource, hardware: Platform) -> Result<Option<Found>, BootError> {
    let VtpmSource::Google { endorsements } = source else { return Ok(None) };
    gce::beside(hardware).map_err(AttesterError::from)?;
    let bundle = read_bundle(endorsements)?;
    Ok(Some(Found { attester: google_vtpm(&Roots::system())?, bundle }))
}

impl Found {
    /// Checks it as every client will.
    pub(crate) async fn start(self, now: UnixTime) -> Result<Vtpm, RefreshError> {
        let vtpm = Vtpm::start(self.attester, self.bundle, TrustAnchors::vendors(), now).await?;
        let valid_until = vtpm.health(now).valid_until.0;
        tracing::info!(key = hex::encode(vtpm.key_sha256), valid_until, "virtual TPM verified");
        Ok(vtpm)
    }
}

/// Evidence of this machine's virtual TPM of Google's, for `casemate endorse fetch`. It binds nothing.
///
/// # Errors
/// Where there is none, or it is none of Google's.
pub fn vtpm_evidence() -> Result<Vec<u8>, AttesterError> {
    Ok(google_vtpm(&Roots::system())?.evidence(&UNBOUND)?.evidence)
}

impl Vtpm {
    /// Verifies the evidence of this virtual TPM with these endorsements under `anchors`, as every client will.
    ///
    /// # Errors
    /// No evidence, a missing endorsement, or evidence that is not genuine with them.
    pub async fn start(
        attester: Arc<dyn Attester>,
        bundle: EndorsementBundle,
        anchors: TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, RefreshError> {
        let stapler = Stapler::start(attester.clone(), Source::Given(Box::new(bundle)), anchors, now).await?;
        let key_sha256 = key(&attester.evidence(&UNBOUND)?)?;
        Ok(Self { attester, staples: stapler.staples(), key_sha256 })
    }

    /// What the statement names of it.
    pub fn stated(&self) -> Stated {
        Stated::Is(self.key_sha256)
    }

    /// Fresh evidence that binds this report data, with its endorsements.
    ///
    /// # Errors
    /// A TPM that quotes no more, or with another key.
    pub fn evidence(&self, report_data: &[u8; 64]) -> Result<DocumentVtpm, VtpmError> {
        let raw = self.attester.evidence(report_data)?;
        if key(&raw)? != self.key_sha256 {
            return Err(AttesterError::from(GceError::KeyChanged).into());
        }
        Ok(DocumentVtpm::new(&raw.evidence, self.staples.complete(&raw)?))
    }

    /// That its endorsements have not run out (ATT-86).
    ///
    /// # Errors
    /// [`StapleError::Expired`].
    pub fn in_date(&self, now: UnixTime) -> Result<(), StapleError> {
        self.staples.in_date(now)
    }

    /// How its endorsements stand. They are not renewed.
    pub fn health(&self, now: UnixTime) -> EndorsementHealth {
        self.staples.health(now)
    }
}

/// Why there is no evidence of the virtual TPM.
#[derive(Debug, thiserror::Error)]
pub enum VtpmError {
    /// The TPM.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// Its endorsements.
    #[error(transparent)]
    Staple(#[from] StapleError),
}

/// What a statement names of the key that signed.
fn key(raw: &RawEvidence) -> Result<[u8; 32], AttesterError> {
    let evidence = Evidence::parse(&raw.evidence).map_err(AttesterError::Evidence)?;
    let found = evidence.platform();
    vtpm::key_sha256(&evidence).ok_or(AttesterError::Platform { expected: Platform::GceVtpm, found })
}

/// No statement's.
const UNBOUND: [u8; 64] = [0; 64];
