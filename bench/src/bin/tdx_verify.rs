//! Verification of one TDX quote with Intel's collateral from their bytes: ours against the crate `dcap-qvl`.
//!
//! Ours does everything that a verdict needs: strict form of the quote, Intel's root, completeness, dates and revocation of
//! the collateral by name, the DCAP checks, and all 28 rules against a policy. A second row keeps an issuer cache:
//! collateral is read once, and signatures of Intel's certificates, lists and documents are computed once.
//!
//! The peer does the DCAP checks on `ring`, with its strict policy; a last row without any policy. Without a
//! cache both sides parse the collateral's JSON anew each time.
//!
//! Settings: `ROUNDS` (1000), `CASEMATE_VECTORS` (`../shared/vectors` beside the workspace). Without recorded evidence
//! nothing is measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_attest::{
    Binding, Endorsements, Evidence, IssuerCache, Policy, TrustAnchors, UnixTime, Verified, verify,
};
use casemate_bench::{Side, alternate, print_json, print_table, setting};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};
use serde_json::json;

const QUOTE: &str = "tdx/dcap-qvl/tdx_quote.bin";
const COLLATERAL: &str = "tdx/dcap-qvl/tdx_quote_collateral.json";
/// 2025-06-27, within the collateral's dates.
const NOW: UnixTime = UnixTime(1_751_000_000);

const POLICY: &str = r#"
[tdx]
tcb-statuses = ["UpToDate"]
minimum-evaluation = 17
minimum-module = { major = 1, minor = 5 }
mrseam = { any = "recorded" }
mrservicetd = ["000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"]
platform-may = ["dynamic-platform", "cached-keys", "smt"]
xfam-may = 0x65ae7
mrtd = { any = "recorded" }
rtmr0 = { any = "recorded" }
rtmr1 = { any = "recorded" }
rtmr2 = { any = "recorded" }
rtmr3 = { any = "recorded" }
mrconfigid = { any = "recorded" }
mrowner = { any = "recorded" }
mrownerconfig = { any = "recorded" }
"#;

fn main() {
    let rounds = setting("ROUNDS", 1000);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let vectors = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    let (Ok(quote), Ok(collateral)) =
        (std::fs::read(vectors.join(QUOTE)), std::fs::read(vectors.join(COLLATERAL)))
    else {
        println!("tdx_verify: not measured: no recorded evidence at hand");
        return;
    };
    let policy = Policy::from_toml(POLICY).expect("a policy");
    let cache = Arc::new(IssuerCache::new());

    // Both accept the quote, and both notice one changed byte of it.
    ours(&quote, &collateral, &policy).expect("ours accepts the quote");
    assert!(strict(&quote, &collateral) && plain(&quote, &collateral), "the peer accepts the quote");
    let mut changed = quote.clone();
    changed[200] ^= 1;
    assert!(ours(&changed, &collateral, &policy).is_err(), "ours accepts a changed quote");
    assert!(!strict(&changed, &collateral), "the peer accepts a changed quote");
    cache.during(|| ours(&quote, &collateral, &policy)).expect("with a cache too");
    assert!(
        cache.during(|| ours(&changed, &collateral, &policy)).is_err(),
        "a cache accepts a changed quote"
    );

    let samples = alternate(
        rounds / 10,
        rounds,
        vec![
            Side::timed("casemate: every rule", || {
                ours(&quote, &collateral, &policy).expect("verified");
            }),
            Side::timed("casemate: with an issuer cache", || {
                cache.during(|| ours(&quote, &collateral, &policy)).expect("verified");
            }),
            Side::timed("dcap-qvl: with its policy", || assert!(strict(&quote, &collateral))),
            Side::timed("dcap-qvl: without a policy", || assert!(plain(&quote, &collateral))),
        ],
    );
    println!("tdx_verify: recorded TD 1.0 quote, at {NOW}");
    print_table(&samples);
    print_json(
        "tdx_verify",
        json!({
            "input": QUOTE,
            "ours": concat!("casemate-attest ", env!("CARGO_PKG_VERSION"), ": parse, verify, appraise; aws-lc-rs"),
            "peer": "dcap-qvl 0.7.1; ring",
            "rounds": samples.rounds(),
            "ours_us": (samples.median(0) * 1e6).round(),
            "ours_cached_us": (samples.median(1) * 1e6).round(),
            "peer_us": (samples.median(2) * 1e6).round(),
            "peer_without_policy_us": (samples.median(3) * 1e6).round(),
            "median_ratio": (samples.ratio(2, 0) * 1000.0).round() / 1000.0,
            "median_ratio_cached": (samples.ratio(2, 1) * 1000.0).round() / 1000.0,
            "ratio_is": "time of peer with its policy / time of ours",
        }),
    );
}

fn ours(quote: &[u8], collateral: &[u8], policy: &Policy) -> Result<Verified, &'static str> {
    let evidence = Evidence::parse(quote).map_err(|error| error.code())?;
    let endorsements = Endorsements::tdx(collateral.to_vec());
    let authentic = verify(&evidence, &endorsements, &TrustAnchors::intel_sgx(), NOW)
        .map_err(|rejected| rejected.code())?;
    let unbound = Binding::danger_unchecked("the recorded machine bound something of its own");
    authentic.appraise(policy, &unbound).map_err(|denied| denied.code())
}

fn strict(quote: &[u8], collateral: &[u8]) -> bool {
    let Ok(collateral) = serde_json::from_slice::<QuoteCollateralV3>(collateral) else { return false };
    let policy =
        QuotePolicy::strict(NOW.0).allow_dynamic_platform(true).allow_cached_keys(true).allow_smt(true);
    QuoteVerifier::new_prod().verify_with_policy(quote, collateral, NOW.0, &policy).is_ok()
}

fn plain(quote: &[u8], collateral: &[u8]) -> bool {
    let Ok(collateral) = serde_json::from_slice::<QuoteCollateralV3>(collateral) else { return false };
    dcap_qvl::verify::verify(quote, &collateral, NOW.0).is_ok()
}
