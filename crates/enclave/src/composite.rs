//! The machine as it asks a broker for a key: a composite attester (RFC 9334 §3.3) of its processor, its GPUs, and the virtual TPM
//! beside it (spec/release.md §2.7).

use std::sync::Arc;

use casemate_attest::{Platform, UnixTime};
use casemate_protocol::additional::{AdditionalEvidence, device_nonce, part_data};
use casemate_protocol::kbs::{self, CompositeEvidence, PrimaryEvidence, RuntimeData};
use casemate_protocol::statement::Stated;

use crate::attester::Attester;
use crate::gpu::Gpus;
use crate::release::ReleaseError;
use crate::staple::Staples;
use crate::vtpm::Vtpm;

/// A machine with everything that it has to show.
#[derive(Clone)]
pub struct CompositeAttester {
    attester: Arc<dyn Attester>,
    staples: Staples,
    gpus: Option<Arc<Gpus>>,
    vtpm: Option<Arc<Vtpm>>,
    upstream: Option<[u8; 32]>,
}

impl CompositeAttester {
    /// A machine whose processor is all there is.
    pub fn new(attester: Arc<dyn Attester>, staples: Staples) -> Self {
        Self { attester, staples, gpus: None, vtpm: None, upstream: None }
    }

    /// With its GPUs.
    #[must_use]
    pub fn with_gpus(self, gpus: Option<Arc<Gpus>>) -> Self {
        Self { gpus, ..self }
    }

    /// With the virtual TPM beside its hardware.
    #[must_use]
    pub fn with_vtpm(self, vtpm: Option<Arc<Vtpm>>) -> Self {
        Self { vtpm, ..self }
    }

    /// With the digest of the program that will answer in the place of the embedded engine, where one will.
    #[must_use]
    pub fn with_upstream(self, upstream: Option<[u8; 32]>) -> Self {
        Self { upstream, ..self }
    }

    /// Of the processor's evidence.
    pub fn platform(&self) -> Platform {
        self.attester.platform()
    }

    /// Evidence for one exchange with a broker. Every part answers the exchange, and the processor, which is asked last, binds
    /// what they answered.
    ///
    /// # Errors
    /// A part that makes no evidence, or whose endorsements have run out: without it the machine is another.
    pub fn evidence(&self, runtime: &RuntimeData, now: UnixTime) -> Result<CompositeEvidence, ReleaseError> {
        let asked = part_data(runtime)?;
        let nonce = device_nonce(&asked);
        let devices = self.gpus.as_ref().map(|gpus| gpus.evidence(&nonce, now)).transpose()?;
        let vtpm = self.vtpm.as_ref().map(|vtpm| {
            vtpm.in_date(now)?;
            vtpm.evidence(&asked)
        });
        let beside = AdditionalEvidence {
            devices: devices.map(|(_, shown)| shown),
            vtpm: vtpm.transpose()?,
            upstream: self.upstream.map(Stated::Is),
        };
        let additional_evidence = beside.to_text()?;
        let raw = self.attester.evidence(&kbs::report_data(runtime, &additional_evidence)?)?;
        let primary = PrimaryEvidence::new(&raw.evidence, self.staples.complete(&raw)?);
        let primary_evidence = serde_json::to_value(primary).map_err(|_| kbs::KbsError::NotCanonical)?;
        Ok(CompositeEvidence { primary_evidence, additional_evidence })
    }
}
