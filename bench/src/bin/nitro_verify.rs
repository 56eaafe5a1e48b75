//! Verification of one Nitro Enclaves document from its bytes: ours against the crate `nitro_attest`.
//!
//! Ours does everything that a verdict needs: strict COSE and CBOR, the certificate path to the pinned root (signatures,
//! validity, authority flags, key usage, key types), the signature, the document's time, and all 16 rules against a policy
//! with six PCRs.
//!
//! The peer verifies the certificate chain's signatures and dates, the root's fingerprint and the signature. It looks at
//! no authority flag and no key usage, and accepts documents of enclaves in debug mode.
//!
//! Settings: `ROUNDS` (500), `CASEMATE_VECTORS` (`../shared/vectors` beside the workspace). Without recorded evidence
//! there is nothing that the peer would accept, and nothing is measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_attest::nitro::NitroPolicy;
use casemate_attest::{
    Binding, Endorsements, Evidence, Expected, IssuerCache, Policy, Revocation, TrustAnchors, UnixTime,
    Verified, verify,
};
use casemate_bench::{Side, alternate, print_json, print_table, setting};
use nitro_attest::UnparsedAttestationDoc;
use serde_json::json;
use time::OffsetDateTime;

const RECORDED: &str = "nitro/cose/nitro_attest_attestation.cbor";
/// The document's own time: its certificate lives three hours.
const NOW: UnixTime = UnixTime(1_736_179_625);

fn main() {
    let rounds = setting("ROUNDS", 500);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let vectors = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    let Ok(document) = std::fs::read(vectors.join(RECORDED)) else {
        println!("nitro_verify: not measured: no recorded evidence at hand");
        return;
    };
    let (policy, binding) = policy(&document);

    // Both accept the document, and both notice one changed byte of it.
    ours(&document, &policy, &binding).expect("ours accepts the document");
    assert!(peer(&document), "the peer accepts the document");
    let mut changed = document.clone();
    changed[40] ^= 1;
    assert!(ours(&changed, &policy, &binding).is_err(), "ours accepts a changed document");
    assert!(!peer(&changed), "the peer accepts a changed document");

    let cache = Arc::new(IssuerCache::new());
    let samples = alternate(
        rounds / 10,
        rounds,
        vec![
            Side::timed("casemate: every rule", || {
                ours(&document, &policy, &binding).expect("verified");
            }),
            Side::timed("casemate: with an issuer cache", || {
                cache.during(|| ours(&document, &policy, &binding)).expect("verified");
            }),
            Side::timed("nitro_attest: chain and signature", || assert!(peer(&document))),
        ],
    );
    println!("nitro_verify: recorded document of a real enclave, at {NOW}");
    print_table(&samples);
    print_json(
        "nitro_verify",
        json!({
            "input": RECORDED,
            "ours": concat!("casemate-attest ", env!("CARGO_PKG_VERSION"), ": parse, verify, appraise; aws-lc-rs"),
            "peer": "nitro_attest 0.2.0: parse_and_verify; ring",
            "rounds": samples.rounds(),
            "ours_us": (samples.median(0) * 1e6).round(),
            "ours_cached_us": (samples.median(1) * 1e6).round(),
            "peer_us": (samples.median(2) * 1e6).round(),
            "median_ratio_cached": (samples.ratio(2, 1) * 1000.0).round() / 1000.0,
            "median_ratio": (samples.ratio(2, 0) * 1000.0).round() / 1000.0,
            "ratio_is": "time of peer / time of ours",
        }),
    );
}

fn ours(document: &[u8], policy: &Policy, binding: &Binding) -> Result<Verified, &'static str> {
    let evidence = Evidence::parse(document).map_err(|error| error.code())?;
    let revocation = Revocation::DangerNotChecked { reason: "the peer reads no list either".to_owned() };
    let authentic = verify(&evidence, &Endorsements::nitro(revocation), &TrustAnchors::aws(), NOW)
        .map_err(|rejected| rejected.code())?;
    authentic.appraise(policy, binding).map_err(|denied| denied.code())
}

fn peer(document: &[u8]) -> bool {
    let now = OffsetDateTime::from_unix_timestamp(NOW.0 as i64).expect("a time");
    UnparsedAttestationDoc::from(document).parse_and_verify(now).is_ok()
}

/// What this enclave is, demanded of it: the comparisons are made, and they hold.
fn policy(document: &[u8]) -> (Policy, Binding) {
    let evidence = Evidence::parse(document).expect("a document");
    let document = evidence.nitro().expect("of Nitro Enclaves");
    let pcr = |index| Expected::OneOf(vec![*document.pcr(index).expect("in the document")]);
    let terms = NitroPolicy {
        pcr1: pcr(1),
        pcr2: pcr(2),
        pcr3: pcr(3),
        pcr4: pcr(4),
        pcr8: pcr(8),
        ..NitroPolicy::strict(pcr(0))
    };
    (Policy::for_nitro(terms), Binding::danger_unchecked("the recorded enclave bound something of its own"))
}
