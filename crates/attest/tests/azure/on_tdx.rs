//! Recorded Azure machines on TDX. No collateral was recorded with them, and none of another recording is for their kind of
//! machine; their TD attributes are 0 besides. They are refused, each by the first rule that does not hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::{Endorsements, Evidence, Platform, TrustAnchors, UnixTime, verify};
use serde_json::{Value, json};

use crate::recorded::{file, not_checked};
use crate::{Case, Machine, octets};

const COLLATERAL: &str = "tdx/dcap-qvl/tdx_quote_collateral.json";
const JUNE_2025: UnixTime = UnixTime(1_751_000_000); // 2025-06-27

/// Each with the rule at which it ends.
pub(crate) const ON_TDX: &[Case] = &[
    ("tdx v0: no collateral", || answer(&document("v0"), &[]), "TDX-03 tdx.collateral.missing"),
    ("tdx v1: no collateral", || answer(&document("v1"), &[]), "TDX-03 tdx.collateral.missing"),
    ("tdx v0: another machine's collateral", || answer(&document("v0"), &file(COLLATERAL)), PLATFORM),
    ("tdx v1: another machine's collateral", || answer(&document("v1"), &file(COLLATERAL)), PLATFORM),
    ("tdx v0: no recorded collateral is for its FMSPC", collaterals, "3 are for others"),
    ("tdx v0: endorsements of SEV-SNP", || of_snp(&document("v0")), "endorsements.platform"),
    ("tdx v0: without its TD quote", || changed(|d| drop(remove(d, "td_quote"))), "azure.document.td-quote"),
    ("tdx v0: TD quote in bits", || changed(|d| d["td_quote"] = json!("!")), "azure.document.base64"),
    ("tdx v0: TD quote empty", || changed(|d| d["td_quote"] = json!("")), "tdx.format.truncated"),
    ("tdx v0: the HCL report of another machine", other_hcl, "AZ-01 azure.hardware.td-quote"),
    ("tdx v0: a byte of the TDREPORT's REPORTDATA", || hcl(0x20 + 128), "AZ-01 azure.hardware.td-quote"),
    ("tdx v0: a TD quote beside a SEV-SNP report", beside_snp, "azure.document.td-quote"),
];

const PLATFORM: &str = "TDX-03 tdx.tcb-info.platform";

fn recording(version: &str) -> Value {
    serde_json::from_slice(&file(&format!("azure/trustee_tdx/evidence-{version}.json"))).expect("JSON")
}

fn document(version: &str) -> Value {
    let path = format!("azure/trustee_tdx/evidence-{version}.json");
    let mut document = Machine::new(&path, not_checked()).document();
    document["td_quote"] = json!(STANDARD.encode(octets(&recording(version)["td_quote"])));
    document
}

fn remove(document: &mut Value, member: &str) -> Option<Value> {
    document.as_object_mut().expect("an object").remove(member)
}

/// The rule and the code of the rejection, or the code of the mistake in its form.
fn answer(document: &Value, collateral: &[u8]) -> String {
    let evidence = match Evidence::parse(document.to_string().as_bytes()) {
        Ok(evidence) => evidence,
        Err(error) => return error.code().to_owned(),
    };
    assert_eq!(evidence.platform(), Platform::AzureVtpmTdx);
    let endorsements = Endorsements::tdx(collateral.to_vec());
    match verify(&evidence, &endorsements, &TrustAnchors::vendors(), JUNE_2025) {
        Ok(_) => "authentic".to_owned(),
        Err(rejected) => {
            let failed = rejected.checks.iter().find(|check| check.outcome == casemate_attest::Outcome::Fail);
            format!("{} {}", failed.expect("a rule").rule.id, rejected.code())
        }
    }
}

/// Of every recorded collateral, only the FMSPC is looked at here: TDX-03 compares it.
fn collaterals() -> String {
    let mut others = 0;
    for path in [
        COLLATERAL,
        "tdx/dcap-qvl/tdx_quote_td15ex_collateral.json",
        "tdx/dcap-qvl/tdx_quote_outdated_collateral.json",
    ] {
        let collateral: Value = serde_json::from_slice(&file(path)).expect("JSON");
        let info: Value = serde_json::from_str(collateral["tcb_info"].as_str().expect("text")).expect("JSON");
        assert_ne!(info["fmspc"].as_str().expect("text").to_lowercase(), "00806f050000");
        others += 1;
    }
    format!("{others} are for others")
}

fn of_snp(document: &Value) -> String {
    let evidence = Evidence::parse(document.to_string().as_bytes()).expect("the form is right");
    let endorsements = Endorsements::snp(Vec::new(), not_checked());
    let rejected =
        verify(&evidence, &endorsements, &TrustAnchors::vendors(), JUNE_2025).expect_err("refused");
    rejected.code().to_owned()
}

fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut document = document("v0");
    change(&mut document);
    answer(&document, &[])
}

fn other_hcl() -> String {
    changed(|d| d["hcl_report"] = json!(STANDARD.encode(file("azure/kinvolk/hcl-report-tdx.bin"))))
}

fn hcl(at: usize) -> String {
    changed(|d| {
        let mut report = STANDARD.decode(d["hcl_report"].as_str().expect("text")).expect("base64");
        report[at] ^= 1;
        d["hcl_report"] = json!(STANDARD.encode(report));
    })
}

fn beside_snp() -> String {
    let mut snp = crate::genoa().document();
    snp["td_quote"] = document("v0")["td_quote"].clone();
    answer(&snp, &[])
}
