//! AMD: the certificate of the key that signed a SEV-SNP report, and the line's revocation list (AMD 57230 §4; END-02,
//! END-03).

use casemate_attest::endorse::{AmdNeeds, EndorsementBundle, certificate_dates, revocation_list};
use casemate_attest::snp::{ProductLine, RejectionKind, Signer};
use casemate_attest::{Endorsements, Evidence, Rejected, Revocation, TrustAnchors, verify};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::error::EndorseError;
use super::settings::base;
use super::{Answer, Collector, Fault, Item, Known, Origin, Question, Request};

/// Azure's answer, as far as it is read.
#[derive(Deserialize)]
struct Thim {
    #[serde(rename = "vcekCert")]
    vcek: String,
}

/// How the VCEK's certificate is taken out of an answer.
type ReadVek = fn(&Answer) -> Option<Vec<u8>>;

pub(super) async fn collect(
    collector: &mut Collector<'_>,
    evidence: &Evidence,
    needs: &AmdNeeds,
    known: &Known,
    anchors: &TrustAnchors,
) -> Result<EndorsementBundle, EndorseError> {
    let now = collector.now;
    let judge = |vek: Vec<u8>, revocation: Revocation| -> Result<(), Fault> {
        verify(evidence, &Endorsements::snp(vek, revocation), anchors, now).map(drop).map_err(fault)
    };
    // The list comes next, and is asked about this certificate then.
    let unlisted = || Revocation::DangerNotChecked { reason: "the list is fetched next".to_owned() };

    let vek = match &known.vek {
        Some(vek) => {
            judge(vek.clone(), unlisted()).map_err(Fault::into_error)?;
            collector
                .items
                .push(Item { name: format!("amd/{}", needs.signer.as_str()), origin: Origin::Given });
            vek.clone()
        }
        None if needs.signer == Signer::Vlek => return Err(EndorseError::VlekNotServed),
        None => {
            let (request, read): (_, ReadVek) = match &collector.settings.thim {
                Some(thim) => (metadata(thim, needs)?, from_metadata),
                None => (vcek(&collector.settings.kds, needs)?, |answer| Some(answer.body.clone())),
            };
            let check = |answer: &Answer| {
                let vek = read(answer).ok_or_else(|| malformed(&request, "Azure's certification"))?;
                judge(vek.clone(), unlisted())?;
                let dated = certificate_dates(&vek).map_err(|_| malformed(&request, "a certificate"))?;
                Ok((vek, dated))
            };
            let (vek, answer, new) = collector.get_dated(&request, check).await?;
            if new {
                collector.keep(&request.name, &answer)?;
            }
            vek
        }
    };

    let request = list(&collector.settings.kds, needs.signer, needs.line)?;
    let check = |answer: &Answer| {
        let form = |reason| {
            Fault::Wrong(EndorseError::Answer {
                name: request.name.clone(),
                service: request.url.clone(),
                reason,
            })
        };
        let (crl, dated) = revocation_list(&answer.body).map_err(form)?;
        if !dated.holds(now) {
            return Err(Fault::Stale(EndorseError::OutOfDate {
                name: request.name.clone(),
                service: request.url.clone(),
                now,
            }));
        }
        // All but the list is known to be good by now.
        match judge(vek.clone(), Revocation::Crl(crl.clone())) {
            Err(Fault::Wrong(error)) if OF_ANOTHER_AUTHORITY.contains(&error.code()) => {
                Err(Fault::Stale(error))
            }
            judged => judged.map(|()| (crl, dated)),
        }
    };
    let (crl, answer, new) = collector.get_dated(&request, check).await?;
    if new {
        collector.keep(&request.name, &answer)?;
    }
    Ok(EndorsementBundle::default().with_amd(vek, crl))
}

/// A list of these faults says nothing of the certificate; one that names it as revoked does.
const OF_ANOTHER_AUTHORITY: [&str; 2] = ["crl.issuer", "crl.signature"];

/// `/vcek/v1/{line}/{hwID}?…`: every SPL of the line in two digits.
fn vcek(kds: &str, needs: &AmdNeeds) -> Result<Request, EndorseError> {
    let (line, hardware_id, tcb) = (needs.line, hex::encode(&needs.hardware_id), needs.tcb);
    let fmc = match line {
        ProductLine::Turin => format!("fmcSPL={:02}&", tcb.fmc),
        _ => String::new(),
    };
    let query = format!(
        "{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
    );
    Ok(Request {
        name: vcek_name("vcek", needs),
        url: format!("{}/vcek/v1/{line}/{hardware_id}?{query}", base(kds)?),
        header: None,
        question: Question::Get,
    })
}

/// The list of the authority that issued the key: the ARK signs one beside each kind of key.
fn list(kds: &str, signer: Signer, line: ProductLine) -> Result<Request, EndorseError> {
    let kind = signer.as_str();
    Ok(Request {
        name: format!("amd/crl/{kind}/{line}"),
        url: format!("{}/{kind}/v1/{line}/crl", base(kds)?),
        header: None,
        question: Question::Get,
    })
}

fn metadata(thim: &str, needs: &AmdNeeds) -> Result<Request, EndorseError> {
    Ok(Request {
        name: vcek_name("thim", needs),
        url: format!("{}/metadata/THIM/amd/certification", base(thim)?),
        header: None,
        question: Question::Metadata,
    })
}

fn vcek_name(source: &str, needs: &AmdNeeds) -> String {
    format!(
        "amd/{source}/{}/{}/{}",
        needs.line,
        hex::encode(&needs.hardware_id),
        hex::encode(needs.raw_tcb.0)
    )
}

fn from_metadata(answer: &Answer) -> Option<Vec<u8>> {
    let thim: Thim = serde_json::from_slice(&answer.body).ok()?;
    Some(CertificateDer::from_pem_slice(thim.vcek.as_bytes()).ok()?.to_vec())
}

fn malformed(request: &Request, what: &'static str) -> Fault {
    let reason = casemate_attest::endorse::AnswerError::Form { what };
    Fault::Wrong(EndorseError::Answer { name: request.name.clone(), service: request.url.clone(), reason })
}

fn fault(rejected: Rejected) -> Fault {
    match rejected.reason.kind() {
        RejectionKind::Stale => Fault::Stale(rejected.into()),
        RejectionKind::NotGenuine | RejectionKind::Missing => Fault::Wrong(rejected.into()),
    }
}

impl Fault {
    fn into_error(self) -> EndorseError {
        match self {
            Self::Stale(error) | Self::Wrong(error) => error,
        }
    }
}
