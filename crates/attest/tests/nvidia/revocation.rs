//! Answers about revocation (OCSP), made by a made-up vendor: no answer of NVIDIA's was recorded.

use std::sync::LazyLock;

use casemate_attest::nvidia::GpuRevocation;
use casemate_attest::{OcspNonce, OcspResponse, UnixTime};
use casemate_sim::nvidia::{Answer, Hash, Party, UNKNOWN, revoked};
use libtest_mimic::Failed;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};

use crate::Case;
use crate::made::{Machine, allow, answers, verified_until, with};
use crate::vendor::{VENDOR, good_answer, response};

const VERIFIED: &str = "pass: 6 of 40 measurements, index 35 left out: NVDEC0 is off";

/// Of the device's own path, by position in [`answers`]: identity, provisioner, device; then of the manifests' signer's.
const DEVICE: usize = 2;
const SIGNER: usize = 5;

fn asked(change: impl Fn(usize, &mut Answer<'static>)) -> impl FnOnce(&mut Machine) {
    let answers = answers(change);
    move |machine| {
        machine.device_answers = GpuRevocation::Ocsp(answers.clone());
        machine.manifest_answers = GpuRevocation::Ocsp(answers);
    }
}

/// With something else about one answer.
fn one(at: usize, change: impl Fn(&mut Answer<'static>)) -> String {
    with(asked(|position, answer| {
        if position == at {
            change(answer);
        }
    }))
}

fn edited(change: impl Fn(&mut Vec<OcspResponse>)) -> String {
    let mut answers = answers(|_, _| {});
    change(&mut answers);
    with(|machine| {
        machine.device_answers = GpuRevocation::Ocsp(answers.clone());
        machine.manifest_answers = GpuRevocation::Ocsp(answers);
    })
}

fn without(at: usize) -> String {
    edited(|answers| drop(answers.remove(at)))
}

static RESPONDER: LazyLock<Party> = LazyLock::new(|| responder(|_| {}));

/// A responder that the device's issuer appointed.
fn responder(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Party {
    let made = VENDOR.provisioner.signer("Test OCSP Responder", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        change(params);
    });
    made.expect("a responder")
}

fn delegated(responder: &'static Party) -> String {
    one(DEVICE, |answer| {
        answer.responder = responder;
        answer.sent = vec![responder];
    })
}

macro_rules! by {
    ($($make:tt)*) => {{
        static PARTY: LazyLock<Party> = LazyLock::new(|| $($make)*);
        delegated(&PARTY)
    }};
}

fn nonce(sent: Vec<u8>, carried: Option<Vec<u8>>) -> String {
    edited(|answers| {
        let answer = Answer { nonce: carried.clone(), ..good_answer(VENDOR.device, VENDOR.provisioner) };
        answers[DEVICE] =
            OcspResponse { der: answer.der().expect("an answer"), nonce: OcspNonce::Sent(sent.clone()) };
    })
}

fn extension(critical: bool) -> Vec<u8> {
    let oid = [0x06, 3, 0x2a, 3, 4];
    let critical: &[u8] = if critical { &[0x01, 1, 0xff] } else { &[] };
    let content = [&oid[..], critical, &[0x04, 0]].concat();
    [&[0x30, content.len() as u8], &content[..]].concat()
}

pub(crate) const OCSP: &[Case] = &[
    ("ocsp: an answer about every certificate", || with(asked(|_, _| {})), VERIFIED),
    ("ocsp: none", || edited(Vec::clear), "ocsp.missing"),
    ("ocsp: none about the identity authority", || without(0), "ocsp.missing"),
    ("ocsp: none about the provisioner", || without(1), "ocsp.missing"),
    ("ocsp: none about the device", || without(DEVICE), "ocsp.missing"),
    ("ocsp: none about the manifests' authority", || without(3), "ocsp.missing"),
    ("ocsp: none about the signer's issuer", || without(4), "ocsp.missing"),
    ("ocsp: none about the signer", || without(SIGNER), "ocsp.missing"),
    (
        "ocsp: manifests are asked about by themselves",
        || {
            with(|machine| {
                machine.device_answers = GpuRevocation::Ocsp(answers(|_, _| {}));
                machine.manifest_answers = GpuRevocation::Missing;
            })
        },
        "ocsp.missing",
    ),
    (
        "ocsp: manifests, waived without a reason",
        || {
            with(|machine| {
                machine.manifest_answers = GpuRevocation::DangerNotChecked { reason: String::new() };
            })
        },
        "ocsp.missing",
    ),
    ("ocsp: CertID with SHA-384", || one(DEVICE, |a| a.hash = Hash::Sha384), VERIFIED),
    ("ocsp: CertID with SHA-1", || one(DEVICE, |a| a.hash = Hash::Sha1), "ocsp.missing"),
    ("ocsp: another serial number", || one(DEVICE, |a| a.serial = Some(vec![1])), "ocsp.missing"),
    ("ocsp: another issuer's name", || one(DEVICE, |a| a.name_hash = Some(vec![1; 32])), "ocsp.missing"),
    ("ocsp: another issuer's key", || one(DEVICE, |a| a.key_hash = Some(vec![1; 32])), "ocsp.missing"),
    ("ocsp: revoked", || one(DEVICE, |a| a.status = revoked(None)), "ocsp.revoked"),
    ("ocsp: the signer is revoked", || one(SIGNER, |a| a.status = revoked(None)), "ocsp.revoked"),
    ("ocsp: key compromise", || one(0, |a| a.status = revoked(Some(1))), "ocsp.revoked"),
    (
        "ocsp: removed from a list is no reason to believe",
        || one(1, |a| a.status = revoked(Some(8))),
        "ocsp.revoked",
    ),
    ("ocsp: unknown", || one(DEVICE, |a| a.status = UNKNOWN.to_vec()), "ocsp.unknown"),
    ("hold: of the device", || one(DEVICE, |a| a.status = revoked(Some(6))), "nvidia.certificate.on-hold"),
    ("hold: of the signer", || one(SIGNER, |a| a.status = revoked(Some(6))), "nvidia.certificate.on-hold"),
    (
        "hold: allowed",
        || {
            with(|machine| {
                asked(|_, answer| answer.status = revoked(Some(6)))(machine);
                machine.policy.certificate_hold = allow();
            })
        },
        VERIFIED,
    ),
    (
        "hold: allowed without a reason",
        || {
            with(|machine| {
                asked(|_, answer| answer.status = revoked(Some(6)))(machine);
                machine.policy.certificate_hold = casemate_attest::Danger::Allow { reason: String::new() };
            })
        },
        "policy.waiver-without-reason",
    ),
    (
        "hold: allowed is not revoked allowed",
        || {
            with(|machine| {
                asked(|_, answer| answer.status = revoked(Some(4)))(machine);
                machine.policy.certificate_hold = allow();
            })
        },
        "ocsp.revoked",
    ),
    (
        "ocsp: the worst of two answers counts",
        || {
            edited(|answers| {
                let mut answer = good_answer(VENDOR.device, VENDOR.provisioner);
                answer.status = revoked(None);
                answers.push(response(&answer));
            })
        },
        "ocsp.revoked",
    ),
    ("time: the answer's first second", || one(0, |a| a.this_update = "20260101120000Z"), VERIFIED),
    ("time: before the answer", || one(0, |a| a.this_update = "20260101120001Z"), "ocsp.not-yet-valid"),
    ("time: the answer's last second", || one(0, |a| a.next_update = Some("20260101120000Z")), VERIFIED),
    ("time: after the answer", || one(0, |a| a.next_update = Some("20260101115959Z")), "ocsp.expired"),
    ("time: an answer without an end", || one(0, |a| a.next_update = None), "ocsp.no-next-update"),
    ("time: no time", || one(0, |a| a.this_update = "20261301000000Z"), "ocsp.malformed"),
    ("time: with fractions", || one(0, |a| a.this_update = "20260101000000.5Z"), "ocsp.malformed"),
    ("nonce of the answer: sent and there", || nonce(vec![3; 32], Some(vec![3; 32])), VERIFIED),
    ("nonce of the answer: sent and not there", || nonce(vec![3; 32], None), "ocsp.nonce"),
    ("nonce of the answer: another", || nonce(vec![3; 32], Some(vec![4; 32])), "ocsp.nonce"),
    ("nonce of the answer: its beginning", || nonce(vec![3; 32], Some(vec![3; 31])), "ocsp.nonce"),
    ("nonce of the answer: there and not sent", || one(0, |a| a.nonce = Some(vec![3; 32])), VERIFIED),
    ("extension: unknown", || one(0, |a| a.extension = extension(false)), VERIFIED),
    ("extension: unknown and critical", || one(0, |a| a.extension = extension(true)), "ocsp.extension"),
    ("responder: appointed", || delegated(&RESPONDER), VERIFIED),
    (
        "responder: its certificate second",
        || {
            one(DEVICE, |answer| {
                answer.responder = &RESPONDER;
                answer.sent = vec![VENDOR.provisioner, &RESPONDER];
            })
        },
        VERIFIED,
    ),
    (
        "responder: appointed, certificate not sent",
        || one(DEVICE, |answer| answer.responder = &RESPONDER),
        "ocsp.signature",
    ),
    (
        "responder: appointed by another issuer",
        || {
            one(0, |answer| {
                answer.responder = &RESPONDER;
                answer.sent = vec![&RESPONDER];
            })
        },
        "ocsp.responder",
    ),
    ("responder: not appointed", || by!(responder(|p| p.extended_key_usages.clear())), "ocsp.responder"),
    (
        "responder: for another purpose",
        || by!(responder(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
        "ocsp.responder",
    ),
    (
        "responder: for another purpose too",
        || by!(responder(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth))),
        "ocsp.responder",
    ),
    (
        "responder: an authority",
        || by!(responder(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        "ocsp.responder",
    ),
    (
        "responder: not for signatures",
        || by!(responder(|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement])),
        "ocsp.responder",
    ),
    (
        "responder: expired",
        || by!(responder(|p| p.not_after = date_time_ymd(2025, 12, 31))),
        "ocsp.responder",
    ),
    (
        "responder: not yet valid",
        || by!(responder(|p| p.not_before = date_time_ymd(2026, 1, 2))),
        "ocsp.responder",
    ),
    ("responder: the device that is asked about", || by!(copy_of_device()), "ocsp.responder"),
    ("responder: the issuer's issuer", || one(DEVICE, |a| a.responder = VENDOR.identity), "ocsp.signature"),
    (
        "responder: five certificates",
        || {
            one(DEVICE, |answer| {
                answer.responder = &RESPONDER;
                answer.sent = vec![&RESPONDER; 5];
            })
        },
        "ocsp.malformed",
    ),
    (
        "responder: try later",
        || edited(|answers| answers[0].der = vec![0x30, 3, 0x0a, 1, 3]),
        "ocsp.unsuccessful",
    ),
    ("answer: nothing", || edited(|answers| answers[0].der.clear()), "ocsp.malformed"),
    ("answer: a byte behind it", || edited(|answers| answers[0].der.push(0)), "ocsp.malformed"),
    ("answer: 64 KiB and more", || edited(|answers| answers[0].der.extend([0; 65536])), "ocsp.malformed"),
    (
        "answer: of another type",
        || edited(|answers| *answers[0].der.iter_mut().find(|octet| **octet == 0x2b).expect("an OID") = 0x2a),
        "ocsp.malformed",
    ),
    ("answers: 257", || edited(|answers| answers.resize(257, answers[0].clone())), "ocsp.too-many"),
];

/// Another key under the device's name: a device is no responder for itself.
fn copy_of_device() -> Party {
    VENDOR.provisioner.authority("GH100 A01 GSP BROM").expect("a device")
}

/// One bit after the other of two answers: by the issuer, and by an appointed responder.
pub(crate) fn every_bit() -> Result<(), Failed> {
    let mut by_responder = good_answer(VENDOR.device, VENDOR.provisioner);
    by_responder.responder = &RESPONDER;
    by_responder.sent = vec![&RESPONDER];
    for answer in [good_answer(VENDOR.device, VENDOR.provisioner), by_responder] {
        let mut machine = Machine::good();
        let mut others = answers(|_, _| {});
        let mut der = answer.der().expect("an answer");
        let mut judge = |der: &[u8]| {
            others[DEVICE].der = der.to_vec();
            machine.device_answers = GpuRevocation::Ocsp(others.clone());
            machine.is_genuine()
        };
        if !judge(&der) {
            return Err("the unchanged answer is refused".into());
        }
        for bit in (0..der.len() * 8).step_by(crate::sweeps::STEP) {
            der[bit / 8] ^= 1 << (bit % 8);
            if judge(&der) {
                return Err(format!("believed with bit {} of byte {} changed", bit % 8, bit / 8).into());
            }
            der[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..der.len() {
            if judge(&der[..length]) {
                return Err(format!("believed with {length} bytes").into());
            }
        }
    }
    Ok(())
}

/// A verdict ends with the answer that ends first.
pub(crate) fn until() -> Result<(), Failed> {
    let ends = |change: fn(usize, &mut Answer<'static>)| {
        let mut machine = Machine::good();
        asked(change)(&mut machine);
        verified_until(&machine)
    };
    assert_eq!(ends(|_, _| {}), UnixTime(1_767_312_000), "2026-01-02T00:00:00Z, all of them");
    let sooner = |position: usize, answer: &mut Answer<'static>| {
        if position == SIGNER {
            answer.next_update = Some("20260101180000Z");
        }
    };
    assert_eq!(ends(sooner), UnixTime(1_767_290_400), "of a manifest's signer");
    let plain = verified_until(&Machine::good());
    assert_eq!(plain, UnixTime(1_798_804_800), "2027-01-01T12:00:00Z: the manifests' signer");
    Ok(())
}
