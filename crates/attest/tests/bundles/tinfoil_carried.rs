//! Endorsements that documents of Tinfoil carry, with one change each, under a made-up vendor.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Case;
use crate::machine::vendor;
use crate::tinfoil::{made, push, remove};

/// Intel's answers, as they are captured.
fn intel() -> Value {
    let collateral: Value = serde_json::from_slice(&vendor().collateral).expect("JSON");
    let field = |name: &str| collateral[name].as_str().expect("text").to_owned();
    let encoded = |name: &str| field(name).replace('%', "%25").replace('\n', "%0A").replace(' ', "%20");
    let answer = |url: &str, header: Option<(&str, String)>, body: Vec<u8>| {
        let headers: serde_json::Map<_, _> =
            header.into_iter().map(|(name, value)| (name.to_owned(), json!([value]))).collect();
        json!({ "url": url, "headers": headers, "body_base64": STANDARD.encode(body) })
    };
    let signed = |name: &str, document: &str| {
        let text = format!(
            r#"{{"{name}":{},"signature":"{}"}}"#,
            field(document),
            field(&format!("{document}_signature"))
        );
        text.into_bytes()
    };
    let base = "https://api.trustedservices.intel.com";
    json!({ "responses": [
        answer(
            &format!("{base}/tdx/certification/v4/tcb?fmspc=90C06F000000"),
            Some(("Tcb-Info-Issuer-Chain", encoded("tcb_info_issuer_chain"))),
            signed("tcbInfo", "tcb_info"),
        ),
        answer(
            &format!("{base}/tdx/certification/v4/qe/identity"),
            Some(("Sgx-Enclave-Identity-Issuer-Chain", encoded("qe_identity_issuer_chain"))),
            signed("enclaveIdentity", "qe_identity"),
        ),
        answer(
            &format!("{base}/sgx/certification/v4/pckcrl?ca=platform&encoding=der"),
            Some(("Sgx-Pck-Crl-Issuer-Chain", encoded("pck_crl_issuer_chain"))),
            hex::decode(field("pck_crl")).expect("hexadecimal"),
        ),
        answer(
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
            None,
            hex::decode(field("root_ca_crl")).expect("hexadecimal"),
        ),
    ] })
}

const PCS: &str = "https://tinfoil.sh/collateral/intel-pcs/v1";

fn entry(id: &str, role: &str, format: &str, subjects: Value, data: Value) -> Value {
    json!({ "id": id, "role": role, "format": format, "subjects": subjects, "data": data })
}

/// With the endorsements that the document carries, after a change to its entries.
fn carried(change: impl FnOnce(&mut Value)) -> String {
    let mut entries = json!([entry("pcs", "endorsement", PCS, json!(["cpu"]), intel())]);
    change(&mut entries);
    made(|m| m.collateral = entries, |_| {}, |a| a.endorsed = false)
}

fn responses(entries: &mut Value) -> &mut Value {
    &mut entries[0]["data"]["responses"]
}

pub(crate) const CASES: &[Case] = &[
    // BUN-02: endorsements.
    (
        "tinfoil: no endorsements at all",
        || made(|_| {}, |_| {}, |a| a.endorsed = false),
        "BUN-02 bundle.endorsements.missing",
    ),
    ("tinfoil: with those that it carries", || carried(|_| {}), "verified"),
    (
        "tinfoil: those of another subject",
        || carried(|c| c[0]["subjects"] = json!(["gpu0"])),
        "BUN-02 bundle.endorsements.missing",
    ),
    (
        "tinfoil: those of no subject",
        || carried(|c| remove(&mut c[0], "subjects")),
        "BUN-02 bundle.endorsements.missing",
    ),
    (
        "tinfoil: those as reference values",
        || carried(|c| c[0]["role"] = "reference-values".into()),
        "BUN-02 bundle.endorsements.missing",
    ),
    ("tinfoil: of another role", || carried(|c| c[0]["role"] = "x".into()), "bundle.version"),
    (
        "tinfoil: the name of an entry twice",
        || {
            carried(|c| {
                let again = c[0].clone();
                push(c, again)
            })
        },
        "bundle.item.duplicate",
    ),
    (
        "tinfoil: a format twice",
        || {
            carried(|c| {
                let mut again = c[0].clone();
                again["id"] = "pcs2".into();
                push(c, again)
            })
        },
        "bundle.item.duplicate",
    ),
    (
        "tinfoil: an entry with an unknown member",
        || carried(|c| c[0]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    (
        "tinfoil: without Intel's root CRL",
        || carried(|c| drop(responses(c).as_array_mut().expect("a list").pop())),
        "bundle.member.missing",
    ),
    (
        "tinfoil: TCB info twice",
        || {
            carried(|c| {
                let again = responses(c)[0].clone();
                push(responses(c), again)
            })
        },
        "bundle.member.missing",
    ),
    (
        "tinfoil: without an issuer's chain",
        || carried(|c| responses(c)[0]["headers"] = json!({})),
        "bundle.member.missing",
    ),
    (
        "tinfoil: with an issuer's chain twice",
        || carried(|c| responses(c)[1]["headers"] = json!({ "sgx-enclave-identity-issuer-chain": ["", ""] })),
        "bundle.member.type",
    ),
    (
        "tinfoil: a chain half encoded",
        || carried(|c| responses(c)[1]["headers"] = json!({ "sgx-enclave-identity-issuer-chain": ["%0"] })),
        "bundle.member.encoding",
    ),
    ("tinfoil: TCB info of another platform", || carried(other_fmspc), "bundle.member.type"),
    ("tinfoil: TCB info with another signature", || carried(forged), "TDX-06 tdx.collateral.signature"),
    (
        "tinfoil: 17 answers",
        || carried(|c| *responses(c) = vec![responses(c)[0].clone(); 17].into()),
        "bundle.item.too-many",
    ),
];

fn body(response: &mut Value, change: impl FnOnce(String) -> String) {
    let text = STANDARD.decode(response["body_base64"].as_str().expect("text")).expect("base64");
    response["body_base64"] = STANDARD.encode(change(String::from_utf8(text).expect("UTF-8"))).into();
}

fn other_fmspc(entries: &mut Value) {
    body(&mut responses(entries)[0], |text| text.replace("90C06F000000", "90C06F000001"));
}

fn forged(entries: &mut Value) {
    body(&mut responses(entries)[0], |text| text.replace(r#""pcesvn":11"#, r#""pcesvn":10"#));
}
