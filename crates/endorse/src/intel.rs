//! Intel: TCB info, QE identity and two revocation lists (Intel SGX and TDX services, API version 4; END-04). The chains of
//! their issuers come in headers.

use casemate_attest::endorse::{
    AnswerError, Collateral, Dated, EndorsementBundle, IntelNeeds, qe_identity, revocation_list, tcb_info,
};

use super::error::EndorseError;
use super::settings::{IntelService, base};
use super::{Answer, Collector, Fault, Question, Request};

/// The bundle, and the answers that are kept once the evidence verified with it.
pub(super) async fn collect(
    collector: &mut Collector<'_>,
    needs: &IntelNeeds,
) -> Result<(EndorsementBundle, Vec<(String, Answer)>), EndorseError> {
    let requests = Requests::of(&collector.settings.intel, needs)?;
    let now = collector.now;
    let mut unkept = Vec::new();

    let request = requests.tcb_info;
    let check = |answer: &Answer| {
        checked(&request, now, tcb_info(&answer.body, &needs.fmspc).map(|info| (info.dated, info)))
    };
    let (info, answer, new) = collector.get_dated(&request, check).await?;
    let tcb_info_issuer_chain = answer.header.clone();
    keep(&mut unkept, &request, answer, new);

    let request = requests.qe_identity;
    let check = |answer: &Answer| {
        checked(&request, now, qe_identity(&answer.body).map(|identity| (identity.dated, identity)))
    };
    let (identity, answer, new) = collector.get_dated(&request, check).await?;
    let qe_identity_issuer_chain = answer.header.clone();
    keep(&mut unkept, &request, answer, new);

    let list = |request: &Request, answer: &Answer| {
        checked(request, now, revocation_list(&answer.body).map(|(der, dated)| (dated, hex::encode(der))))
    };
    let request = requests.pck_crl;
    let (pck_crl, answer, new) = collector.get_dated(&request, |answer| list(&request, answer)).await?;
    let pck_crl_issuer_chain = answer.header.clone();
    keep(&mut unkept, &request, answer, new);

    let request = requests.root_ca_crl;
    let (root_ca_crl, answer, new) = collector.get_dated(&request, |answer| list(&request, answer)).await?;
    keep(&mut unkept, &request, answer, new);

    let collateral = Collateral {
        pck_crl,
        pck_crl_issuer_chain,
        qe_identity: identity.text,
        qe_identity_issuer_chain,
        qe_identity_signature: identity.signature,
        root_ca_crl,
        tcb_info: info.text,
        tcb_info_issuer_chain,
        tcb_info_signature: info.signature,
    };
    Ok((EndorsementBundle::default().with_intel(collateral), unkept))
}

struct Requests {
    tcb_info: Request,
    qe_identity: Request,
    pck_crl: Request,
    root_ca_crl: Request,
}

impl Requests {
    fn of(service: &IntelService, needs: &IntelNeeds) -> Result<Self, EndorseError> {
        let (api, root_ca_crl) = match service {
            IntelService::Pcs { service, certificates } => {
                (base(service)?, format!("{}/IntelSGXRootCA.der", base(certificates)?))
            }
            IntelService::Pccs(service) => {
                let api = base(service)?;
                let list = format!("{api}/sgx/certification/v4/rootcacrl");
                (api, list)
            }
        };
        // A PCCS compares names in capitals, Intel in either.
        let (fmspc, authority) = (hex::encode_upper(needs.fmspc), needs.authority.as_str());
        let request =
            |name: String, url: String, header| Request { name, url, header, question: Question::Get };
        Ok(Self {
            tcb_info: request(
                format!("intel/tcb-info/{fmspc}"),
                format!("{api}/tdx/certification/v4/tcb?fmspc={fmspc}"),
                Some("TCB-Info-Issuer-Chain"),
            ),
            qe_identity: request(
                "intel/qe-identity".to_owned(),
                format!("{api}/tdx/certification/v4/qe/identity"),
                Some("SGX-Enclave-Identity-Issuer-Chain"),
            ),
            pck_crl: request(
                format!("intel/crl/{authority}"),
                format!("{api}/sgx/certification/v4/pckcrl?ca={authority}&encoding=der"),
                Some("SGX-PCK-CRL-Issuer-Chain"),
            ),
            root_ca_crl: request("intel/crl/root".to_owned(), root_ca_crl, None),
        })
    }
}

fn checked<T>(
    request: &Request,
    now: casemate_attest::UnixTime,
    read: Result<(Dated, T), AnswerError>,
) -> Result<(T, Dated), Fault> {
    let (name, service) = (request.name.clone(), request.url.clone());
    match read {
        Ok((dated, good)) if dated.holds(now) => Ok((good, dated)),
        Ok(_) => Err(Fault::Stale(EndorseError::OutOfDate { name, service, now })),
        Err(reason) => Err(Fault::Wrong(EndorseError::Answer { name, service, reason })),
    }
}

fn keep(unkept: &mut Vec<(String, Answer)>, request: &Request, answer: Answer, new: bool) {
    if new {
        unkept.push((request.name.clone(), answer));
    }
}
