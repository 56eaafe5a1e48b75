//! The same evidence before this crate and before its peers: `sev`, `nitro_attest`, `dcap-qvl`.
//!
//! Every recording is given to both as it is, and then with one bit of a byte changed: of every byte of the evidence, of some in
//! the endorsements. What this crate holds genuine, the peer must hold genuine too. Where the peer accepts and this crate
//! refuses, the refusal's code stands in the table of that peer, with the reason; a code that never occurs has no place
//! in a table.

mod recorded;

use std::collections::BTreeSet;

use casemate_attest::{Endorsements, Evidence, Revocation, TrustAnchors, UnixTime, verify};
use libtest_mimic::{Arguments, Failed, Trial};
use nitro_attest::UnparsedAttestationDoc;
use recorded::{Recording, certificate, file, genoa, not_checked, turin, vlek};
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use time::OffsetDateTime;

/// Codes of refusals that the peer does not share, and why.
type Table = &'static [(&'static str, &'static str)];

const SEV: Table = &[
    ("snp.format.padding", "bytes after the signature are not looked at, and are signed by nobody"),
    ("snp.format.signature-tail", "so are the bytes of R and S above the low 48"),
    (
        "snp.tcb.reserved",
        "the report is written anew before it is hashed, with zeros in the reserved bytes of TCB versions",
    ),
    ("x509.algorithm", "the certificate's outer algorithm identifier, which is not signed, is not compared"),
    ("x509.malformed", "certificates are read less strictly"),
];

const NITRO_ATTEST: Table = &[];

const DCAP_QVL: Table = &[
    (
        "tdx.collateral.malformed",
        "text around certificates, and certificates that no path needs, are read less strictly",
    ),
    ("tdx.collateral.not-yet-valid", "the root that a chain brings is not looked at, and its dates are not"),
    ("tdx.format.certification", "the outer certification type, which is not signed, is not compared"),
    ("tdx.format.nesting", "nor are lengths that follow from other lengths"),
    ("tdx.format.trailing", "bytes after the quote are not looked at"),
];

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let trials = [
        (
            "sev: recorded reports of Milan, Genoa and Turin, VCEK and VLEK",
            sev_recordings as fn() -> Result<(), Failed>,
        ),
        ("nitro_attest: recorded documents", nitro_recordings),
        ("dcap-qvl: recorded TDX quotes with their collateral", tdx_recordings),
    ];
    let trials = trials.map(|(name, run)| Trial::test(name, run).with_ignored_flag(absent));
    libtest_mimic::run(&arguments, trials.into()).exit();
}

/// What was compared so far.
struct Comparison {
    peer: &'static str,
    /// Ours refuses with this code, and the peer accepts.
    stricter: BTreeSet<&'static str>,
    both_accept: usize,
    both_refuse: usize,
}

impl Comparison {
    fn new(peer: &'static str) -> Self {
        Self { peer, stricter: BTreeSet::new(), both_accept: 0, both_refuse: 0 }
    }

    fn add(&mut self, what: &str, ours: Result<(), &'static str>, peer: bool) -> Result<(), Failed> {
        match (ours, peer) {
            (Ok(()), true) => self.both_accept += 1,
            (Err(_), false) => self.both_refuse += 1,
            (Err(code), true) => drop(self.stricter.insert(code)),
            (Ok(()), false) => {
                return Err(format!("{} refuses what is genuine here: {what}", self.peer).into());
            }
        }
        Ok(())
    }

    /// Both accepted at least this many, and what differed is what the table says.
    fn finish(self, accepted: usize, table: Table) -> Result<(), Failed> {
        let known: BTreeSet<_> = table.iter().map(|(code, _)| *code).collect();
        if self.stricter != known {
            let unknown: Vec<_> = self.stricter.difference(&known).collect();
            let idle: Vec<_> = known.difference(&self.stricter).collect();
            return Err(format!(
                "{} accepts what is refused here as {unknown:?}; nothing is refused as {idle:?}",
                self.peer
            )
            .into());
        }
        if self.both_accept < accepted || self.both_refuse == 0 {
            return Err(
                format!("both accept {} and both refuse {}", self.both_accept, self.both_refuse).into()
            );
        }
        Ok(())
    }
}

/// Each byte with one of its bits changed: another bit from byte to byte.
fn changes(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    (0..bytes.len()).map(|index| {
        let mut changed = bytes.to_vec();
        changed[index] ^= 1 << (index % 8);
        (index, changed)
    })
}

fn sev_recordings() -> Result<(), Failed> {
    let mut comparison = Comparison::new("sev");
    for (name, bundle, case) in [
        ("Genoa", "genoa_vcek_ask", Recording { revocation: not_checked(), ..genoa() }),
        ("Turin", "turin_vcek_ask", turin()),
        ("Milan, VLEK", "milan_vlek_asvk", Recording { revocation: not_checked(), ..vlek() }),
    ] {
        let bundle = format!("roots/amd/{bundle}_ark.pem");
        let roots = ca::Chain::from_der(&certificate(&bundle, 1), &certificate(&bundle, 0))?;
        let mut compare = |what: &str, report: &[u8], vek: &[u8]| {
            comparison.add(what, snp(report, vek, &case), sev(report, vek, roots.clone()))
        };
        compare(name, &case.report, &case.vek)?;
        for (index, report) in changes(&case.report) {
            compare(&format!("{name}: byte {index:#x} of the report"), &report, &case.vek)?;
        }
        for (index, vek) in changes(&case.vek).step_by(3) {
            compare(&format!("{name}: byte {index:#x} of the certificate"), &case.report, &vek)?;
        }
    }
    comparison.finish(3, SEV)
}

fn snp(report: &[u8], vek: &[u8], case: &Recording) -> Result<(), &'static str> {
    let evidence = Evidence::parse(report).map_err(|error| error.code())?;
    let endorsements = Endorsements::snp(vek.to_vec(), case.revocation.clone());
    verify(&evidence, &endorsements, &TrustAnchors::amd(), case.now)
        .map(drop)
        .map_err(|rejected| rejected.code())
}

fn sev(report: &[u8], vek: &[u8], ca: ca::Chain) -> bool {
    let Ok(vek) = Certificate::from_der(vek) else { return false };
    let Ok(report) = AttestationReport::from_bytes(report) else { return false };
    (&Chain { ca, vek }, &report).verify().is_ok()
}

fn nitro_recordings() -> Result<(), Failed> {
    let mut comparison = Comparison::new("nitro_attest");
    for (path, now) in [
        ("nitro/cose/nitro_attest_attestation.cbor", 1_736_179_625),
        ("nitro/cose/remote-attestation-verifier_example_attestation.cbor", 1_725_911_352),
        ("nitro/cose/remote-attestation-verifier_invalid_attestation.cbor", 1_721_770_180),
    ] {
        let document = file(path);
        comparison.add(path, nitro(&document, now), nitro_attest(&document, now))?;
        for (index, changed) in changes(&document) {
            let what = format!("{path}: byte {index:#x}");
            comparison.add(&what, nitro(&changed, now), nitro_attest(&changed, now))?;
        }
    }
    comparison.finish(2, NITRO_ATTEST)
}

fn nitro(document: &[u8], now: u64) -> Result<(), &'static str> {
    let evidence = Evidence::parse(document).map_err(|error| error.code())?;
    let revocation = Revocation::DangerNotChecked { reason: "the peer reads no list".to_owned() };
    verify(&evidence, &Endorsements::nitro(revocation), &TrustAnchors::aws(), UnixTime(now))
        .map(drop)
        .map_err(|rejected| rejected.code())
}

fn nitro_attest(document: &[u8], now: u64) -> bool {
    let Ok(now) = OffsetDateTime::from_unix_timestamp(now.try_into().expect("a time")) else { return false };
    UnparsedAttestationDoc::from(document).parse_and_verify(now).is_ok()
}

fn tdx_recordings() -> Result<(), Failed> {
    let mut comparison = Comparison::new("dcap-qvl");
    for (quote, collateral, now) in [
        ("tdx/dcap-qvl/tdx_quote.bin", "tdx/dcap-qvl/tdx_quote_collateral.json", 1_751_000_000),
        ("tdx/dcap-qvl/tdx_quote_td15ex.bin", "tdx/dcap-qvl/tdx_quote_td15ex_collateral.json", 1_792_000_000),
        (
            "tdx/go-tdx-guest/quote_v5_sample.dat",
            "tdx/dcap-qvl/tdx_quote_outdated_collateral.json",
            1_772_400_000,
        ),
        (
            "tdx/dcap-qvl/tdx_quote_outdated.bin",
            "tdx/dcap-qvl/tdx_quote_outdated_collateral.json",
            1_772_400_000,
        ),
    ] {
        let (name, quote, collateral) = (quote, file(quote), file(collateral));
        let mut compare = |what: &str, quote: &[u8], collateral: &[u8]| {
            comparison.add(what, tdx(quote, collateral, now), dcap_qvl(quote, collateral, now))
        };
        compare(name, &quote, &collateral)?;
        for (index, changed) in changes(&quote) {
            compare(&format!("{name}: byte {index:#x} of the quote"), &changed, &collateral)?;
        }
        for (index, changed) in changes(&collateral).step_by(7) {
            compare(&format!("{name}: byte {index:#x} of the collateral"), &quote, &changed)?;
        }
    }
    comparison.finish(3, DCAP_QVL)
}

fn tdx(quote: &[u8], collateral: &[u8], now: u64) -> Result<(), &'static str> {
    let evidence = Evidence::parse(quote).map_err(|error| error.code())?;
    let endorsements = Endorsements::tdx(collateral.to_vec());
    verify(&evidence, &endorsements, &TrustAnchors::intel_sgx(), UnixTime(now))
        .map(drop)
        .map_err(|rejected| rejected.code())
}

/// How a PCK chain begins, in a quote.
const CHAIN_START: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// On its own cryptography. A PCK chain that collateral brings takes the place of the quote's own there, and here only where
/// the quote has none (TDX-03): it is taken away where both have one. Both let debug TDs and service TDs through here: whether they are wanted is a policy's question.
fn dcap_qvl(quote: &[u8], collateral: &[u8], now: u64) -> bool {
    let Ok(mut collateral) = serde_json::from_slice::<dcap_qvl::QuoteCollateralV3>(collateral) else {
        return false;
    };
    if quote.windows(CHAIN_START.len()).any(|text| text == CHAIN_START) {
        collateral.pck_certificate_chain = None;
    }
    let verifier = dcap_qvl::verify::QuoteVerifier::new_prod().allow_debug(true).allow_service_td(true);
    verifier.verify(quote, &collateral, now).is_ok()
}
