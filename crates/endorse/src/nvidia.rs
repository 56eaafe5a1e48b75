//! NVIDIA: the reference manifests of a device's driver and VBIOS, and an answer about every certificate that NVIDIA
//! vouches for, of the devices' and of the manifests' signers' (END-15 to END-19).
//!
//! Whatever is asked about is NVIDIA's already: the devices and the manifests verify before their certificates are asked
//! about, with revocation left open, and once more with the answers.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use casemate_attest::endorse::{Dated, EndorsementBundle, ManifestNeed};
use casemate_attest::nvidia::{
    GpuEvidence, GpuRevocation, Manifest, ManifestRejected, NvidiaAnchors, NvidiaEndorsements, OcspQuestion,
    manifest_questions, verify_gpu,
};
use casemate_attest::{OcspError, OcspNonce, OcspResponse, RejectionKind, UnixTime};

use super::error::EndorseError;
use super::settings::base;
use super::{Answer, Collector, Fault, Found, Question, Request};

/// Octets of a nonce (RFC 9654 §2.1: 32 where the client chooses).
const NONCE: usize = 32;

/// An answer is asked for anew in the last quarter of its time, so that a bundle does not end while it is carried.
const LAST_PART: u64 = 4;

/// What verified, and until when it does.
pub(super) struct Collected {
    pub(super) bundle: EndorsementBundle,
    pub(super) valid_until: UnixTime,
}

pub(super) async fn collect(
    collector: &mut Collector<'_>,
    devices: &[GpuEvidence],
    anchors: &NvidiaAnchors,
) -> Result<Collected, EndorseError> {
    let now = collector.now;
    let needs = ManifestNeed::of(devices)?;
    let mut questions = BTreeMap::new();

    // Nobody is asked about a device that is not genuine.
    let open = || GpuRevocation::DangerNotChecked { reason: "the answers are fetched next".to_owned() };
    for device in devices {
        genuine(device, open(), anchors, now)?;
        questions.extend(device.questions().into_iter().map(|question| (question.id(), question)));
    }
    let mut documents = Vec::with_capacity(needs.len());
    for need in &needs {
        let document = manifest(collector, need, &open(), anchors).await?;
        let asked = manifest_questions(&document);
        let asked = asked.map_err(|error| EndorseError::ManifestForm {
            name: name_of(need),
            service: collector.settings.nvidia.rim.clone(),
            error: Box::new(error),
        })?;
        questions.extend(asked.into_iter().map(|question| (question.id(), question)));
        documents.push((need, document));
    }
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions.values() {
        answers.push(answer(collector, question).await?);
    }

    // As a verifier will see it who has the bundle and nothing else.
    let rim = documents.iter().map(|(_, document)| document.clone()).collect();
    let bundle = EndorsementBundle::default().with_nvidia(answers, rim);
    let revocation = bundle.devices()?.revocation();
    let mut valid_until = UnixTime(u64::MAX);
    for (need, document) in &documents {
        let manifest = Manifest::verify(document, &revocation, anchors, now).map_err(|rejected| {
            EndorseError::Manifest {
                name: name_of(need),
                service: collector.settings.nvidia.rim.clone(),
                rejected: Box::new(rejected),
            }
        })?;
        valid_until = valid_until.min(manifest.valid_until());
    }
    for device in devices {
        valid_until = valid_until.min(genuine(device, revocation.clone(), anchors, now)?);
    }
    Ok(Collected { bundle, valid_until })
}

/// Last second at which the device is genuine with this.
fn genuine(
    device: &GpuEvidence,
    revocation: GpuRevocation,
    anchors: &NvidiaAnchors,
    now: UnixTime,
) -> Result<UnixTime, EndorseError> {
    let genuine = verify_gpu(device, &NvidiaEndorsements { revocation }, anchors, now);
    let genuine = genuine.map_err(|rejected| EndorseError::Device(Box::new(rejected)))?;
    Ok(genuine.valid_until())
}

/// The document of a manifest that verifies, of this firmware.
async fn manifest(
    collector: &mut Collector<'_>,
    need: &ManifestNeed,
    open: &GpuRevocation,
    anchors: &NvidiaAnchors,
) -> Result<Vec<u8>, EndorseError> {
    let service = base(&collector.settings.nvidia.rim)?;
    let url = format!("{service}/v1/rim/{}", need.id);
    let request = Request { name: name_of(need), url, header: None, question: Question::Get };
    let now = collector.now;
    let check = |answer: &Answer| {
        let of = |reason| {
            Fault::Wrong(EndorseError::Answer {
                name: request.name.clone(),
                service: request.url.clone(),
                reason,
            })
        };
        let document = need.document(&answer.body).map_err(of)?;
        let manifest = Manifest::verify(&document, open, anchors, now)
            .map_err(|rejected| manifest_fault(&request, rejected))?;
        need.check(&manifest).map_err(of)?;
        Ok(document)
    };
    let (document, answer, new) = collector.get(&request, check).await?;
    if new {
        collector.keep(&request.name, &answer)?;
    }
    Ok(document)
}

/// The answer about one certificate, DER.
async fn answer(collector: &mut Collector<'_>, question: &OcspQuestion) -> Result<Vec<u8>, EndorseError> {
    let nonce = collector.settings.nvidia.nonce.then(nonce).transpose()?;
    let request = Request {
        name: format!("nvidia/ocsp/{}", hex::encode(question.id())),
        url: base(&collector.settings.nvidia.ocsp)?,
        header: None,
        question: Question::Ocsp(question.request(nonce.as_deref())),
    };
    let sent = nonce.map_or(OcspNonce::NotSent, OcspNonce::Sent);
    let now = collector.now;
    let check = |answer: &Answer, found: Found| {
        // Whose nonce a kept answer repeats is not known any more: its dates alone say how old it may be.
        let nonce = match found {
            Found::Now => sent.clone(),
            Found::Kept => OcspNonce::NotSent,
        };
        let response = OcspResponse { der: answer.body.clone(), nonce };
        question.check(&response, now).map_err(|error| ocsp_fault(&request, question, error))
    };
    let ageing = |dated: &Dated| {
        let whole = dated.until.0.saturating_sub(dated.from.0);
        dated.until.0.saturating_sub(now.0) < whole / LAST_PART
    };
    let (_, answer, new) = collector.renew(&request, check, ageing).await?;
    if new {
        collector.keep(&request.name, &answer)?;
    }
    Ok(answer.body)
}

fn nonce() -> Result<Vec<u8>, EndorseError> {
    let mut nonce = vec![0; NONCE];
    rand::fill(&mut nonce)
        .map_err(|_| EndorseError::Client { reason: "the system gives no random bytes".to_owned() })?;
    Ok(nonce)
}

fn name_of(need: &ManifestNeed) -> String {
    format!("nvidia/rim/{}", need.id)
}

fn manifest_fault(request: &Request, rejected: ManifestRejected) -> Fault {
    let kind = rejected.kind();
    fault(
        kind,
        EndorseError::Manifest {
            name: request.name.clone(),
            service: request.url.clone(),
            rejected: Box::new(rejected),
        },
    )
}

fn ocsp_fault(request: &Request, question: &OcspQuestion, error: OcspError) -> Fault {
    let kind = error.kind();
    let certificate = question.certificate().to_owned();
    fault(
        kind,
        EndorseError::Ocsp {
            name: request.name.clone(),
            service: request.url.clone(),
            certificate,
            error: Box::new(error),
        },
    )
}

fn fault(kind: RejectionKind, error: EndorseError) -> Fault {
    match kind {
        RejectionKind::Stale => Fault::Stale(error),
        RejectionKind::NotGenuine | RejectionKind::Missing => Fault::Wrong(error),
    }
}
