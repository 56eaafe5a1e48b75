//! One mistake each in what a token says, or in whose key signed it, under the test's own issuers.

use std::sync::LazyLock;

use casemate_attest::UnixTime;
use casemate_attest::token::TokenAnchors;
use serde_json::{Value, json};

use crate::issuer::{Issuer, NOON, Path, Pki};
use crate::{Case, answer, any, nonce};

pub(crate) static ISSUER: LazyLock<Issuer> = LazyLock::new(Issuer::new);
pub(crate) const PROVIDER: &str = "https://test.attest.azure.net";
const GOOGLE: &str = "https://confidentialcomputing.googleapis.com";
const MEASUREMENT: &str =
    "6a063be9dd79f6371c842e480f8dc3b5c725961344e57130e88c5adf49e8f7f6c79b75a5eb77fc769959f4aeb2f9401e";

pub(crate) const POLICY: &str = r#"
[maa]
issuers = ["https://test.attest.azure.net"]
tee = ["sevsnpvm", "tdxvm"]
measurement = ["6a063be9dd79f6371c842e480f8dc3b5c725961344e57130e88c5adf49e8f7f6c79b75a5eb77fc769959f4aeb2f9401e"]
host-data = ["0101010101010101010101010101010101010101010101010101010101010101"]
id-key-digest = ["1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d"]
author-key-digest = ["000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"]
minimum-svn = { bootloader = 4, tee = 0, snp = 24, microcode = 219, tdx-module = 5 }
policy-hash = ["hash"]
vm-id = ["machine"]

[confidential-space]
audience = ["us"]
hardware = ["GCP_INTEL_TDX"]
tcb-status = ["UpToDate"]
minimum-version = 250800
image-digest = ["sha256:aa"]
project = ["ours"]
zone = ["us-west1-b"]
service-accounts = ["a@ours", "b@ours"]
"#;

/// A confidential VM's token, as Azure writes it.
pub(crate) fn vm() -> Value {
    json!({
        "iss": PROVIDER, "iat": NOON.0, "nbf": NOON.0, "exp": NOON.0 + 28_800,
        "secureboot": true,
        "x-ms-attestation-type": "azurevm",
        "x-ms-policy-hash": "hash",
        "x-ms-azurevm-vmid": "machine",
        "x-ms-azurevm-bootdebug-enabled": false,
        "x-ms-azurevm-kerneldebug-enabled": false,
        "x-ms-azurevm-hypervisordebug-enabled": false,
        "x-ms-azurevm-testsigning-enabled": false,
        "x-ms-azurevm-flightsigning-enabled": false,
        "x-ms-azurevm-debuggersdisabled": true,
        "x-ms-runtime": {"client-payload": {"nonce": "b3Vycw=="}},
        "x-ms-isolation-tee": {
            "x-ms-attestation-type": "sevsnpvm",
            "x-ms-compliance-status": "azure-compliant-cvm",
            "x-ms-sevsnpvm-is-debuggable": false,
            "x-ms-sevsnpvm-migration-allowed": false,
            "x-ms-sevsnpvm-vmpl": 0,
            "x-ms-sevsnpvm-launchmeasurement": MEASUREMENT,
            "x-ms-sevsnpvm-hostdata": "01".repeat(32),
            "x-ms-sevsnpvm-idkeydigest": "1d".repeat(48),
            "x-ms-sevsnpvm-authorkeydigest": "00".repeat(48),
            "x-ms-sevsnpvm-bootloader-svn": 4,
            "x-ms-sevsnpvm-tee-svn": 0,
            "x-ms-sevsnpvm-snpfw-svn": 24,
            "x-ms-sevsnpvm-microcode-svn": 219,
        },
    })
}

/// Under a policy for VMs.
fn maa(change: impl Fn(&mut Value)) -> String {
    maa_under(POLICY, change)
}

fn maa_under(policy: &str, change: impl Fn(&mut Value)) -> String {
    let mut claims = vm();
    change(&mut claims);
    let token = ISSUER.sign(&json!({"alg": "RS256", "kid": "test", "typ": "JWT"}), &claims);
    answer(token.as_bytes(), &ISSUER.anchors(PROVIDER), NOON, policy, &nonce("ours"))
}

fn tee(change: impl Fn(&mut Value)) -> String {
    maa(|claims| change(&mut claims["x-ms-isolation-tee"]))
}

/// The same hardware claims at the top, as container groups have them.
fn container(change: impl Fn(&mut Value)) -> String {
    let policy = POLICY.replace(
        "vm-id = [\"machine\"]",
        "vm-id = { any = \"groups have none\" }\nno-secure-boot = { danger-allow = \"groups do not say\" }",
    );
    maa_under(&policy, |claims| {
        let hardware = claims["x-ms-isolation-tee"].take();
        for (name, value) in hardware.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        for name in ["x-ms-isolation-tee", "secureboot", "x-ms-azurevm-vmid"] {
            claims.as_object_mut().expect("an object").remove(name);
        }
        claims["x-ms-compliance-status"] = json!("azure-compliant-uvm");
        change(claims);
    })
}

/// What TDX tokens cannot have, waived; and what they have, by the byte that it is made of.
fn tdx_policy() -> String {
    let mut policy = String::new();
    for line in POLICY.lines() {
        match line.split(" = ").next().unwrap_or_default() {
            key @ ("host-data" | "id-key-digest" | "author-key-digest") => {
                policy += &format!("{key} = {{ any = \"TDX has none\" }}\n");
            }
            _ => policy += &format!("{line}\n"),
        }
    }
    policy += "[maa.tdx]\n";
    for (key, byte, length) in [
        ("mr-seam", "5e", 48),
        ("mr-signer-seam", "00", 48),
        ("xfam", "e7", 8),
        ("rtmr0", "a0", 48),
        ("rtmr1", "a1", 48),
        ("rtmr2", "a2", 48),
        ("rtmr3", "a3", 48),
    ] {
        policy += &format!("{key} = [\"{}\"]\n", byte.repeat(length));
    }
    policy
}

/// The documented names of TDX claims; no real token was seen.
fn tdx(change: impl Fn(&mut Value)) -> String {
    tdx_under(&tdx_policy(), change)
}

fn tdx_under(policy: &str, change: impl Fn(&mut Value)) -> String {
    maa_under(policy, |claims| {
        claims["x-ms-isolation-tee"] = json!({
            "x-ms-attestation-type": "tdxvm",
            "x-ms-compliance-status": "azure-compliant-cvm",
            "tdx_td_attributes_debug": false,
            "tdx_td_attributes_migratable": false,
            "tdx_td_attributes_septve_disable": true,
            "tdx_mrtd": MEASUREMENT,
            "tdx_mrseam": "5e".repeat(48),
            "tdx_mrsignerseam": "00".repeat(48),
            "tdx_xfam": "e7".repeat(8),
            "tdx_rtmr0": "a0".repeat(48),
            "tdx_rtmr1": "a1".repeat(48),
            "tdx_rtmr2": "a2".repeat(48),
            "tdx_rtmr3": "a3".repeat(48),
            "tdx_seamsvn": 5,
        });
        change(&mut claims["x-ms-isolation-tee"]);
    })
}

pub(crate) const MAA: &[Case] = &[
    ("MAA: nothing wrong", || maa(|_| ()), "verified"),
    ("MAA-04: expired", || maa(|c| c["exp"] = json!(NOON.0 - 1)), "token.expired"),
    ("MAA-04: the second of its end", || maa(|c| c["exp"] = json!(NOON.0)), "token.expired"),
    ("MAA-04: last second", || maa(|c| c["exp"] = json!(NOON.0 + 1)), "verified"),
    ("MAA-04: an end at the beginning of time", || maa(|c| c["exp"] = json!(0)), "token.expired"),
    ("MAA-04: a minute ahead", || maa(|c| c["nbf"] = json!(NOON.0 + 60)), "verified"),
    ("MAA-04: more than a minute ahead", || maa(|c| c["nbf"] = json!(NOON.0 + 61)), "token.not-yet-valid"),
    ("MAA-04: made in the future", || maa(|c| c["iat"] = json!(NOON.0 + 61)), "token.not-yet-valid"),
    ("MAA-04: without an end", || maa(|c| without(c, "exp")), "token.time-missing"),
    ("MAA-04: without a beginning", || maa(|c| without(c, "nbf")), "token.time-missing"),
    ("MAA-04: an end as text", || maa(|c| c["exp"] = json!("1798761600")), "token.time-missing"),
    ("MAA-04: an end below zero", || maa(|c| c["exp"] = json!(-1)), "token.time-missing"),
    ("MAA-04: an end with a fraction", || maa(|c| c["exp"] = json!(1_798_761_600.5)), "token.time-missing"),
    ("MAA-07: SGX", || tee(|t| t["x-ms-attestation-type"] = json!("sgx")), "maa.tee.not-accepted"),
    ("MAA-07: a VM without isolation", || maa(|c| without(c, "x-ms-isolation-tee")), "maa.tee.not-accepted"),
    ("MAA-07: no type", || maa(|c| without(c, "x-ms-attestation-type")), "maa.tee.not-accepted"),
    (
        "MAA-07: TDX where SEV-SNP is wanted",
        || maa_under(&POLICY.replace(r#"["sevsnpvm", "tdxvm"]"#, r#"["tdxvm"]"#), |_| ()),
        "maa.tee.not-accepted",
    ),
    (
        "MAA-07: any kind is still one of the two",
        || {
            maa_under(&POLICY.replace(r#"["sevsnpvm", "tdxvm"]"#, "{ any = \"any\" }"), |c| {
                c["x-ms-isolation-tee"]["x-ms-attestation-type"] = json!("trustedlaunch")
            })
        },
        "maa.tee.not-accepted",
    ),
    ("MAA-08: not compliant", || tee(|t| t["x-ms-compliance-status"] = json!("none")), "maa.compliance"),
    ("MAA-08: silent", || tee(|t| without(t, "x-ms-compliance-status")), "maa.compliance"),
    (
        "MAA-08: a container's word for a VM",
        || tee(|t| t["x-ms-compliance-status"] = json!("azure-compliant-uvm")),
        "maa.compliance",
    ),
    ("MAA-09: debuggable", || tee(|t| t["x-ms-sevsnpvm-is-debuggable"] = json!(true)), "maa.debug"),
    (
        "MAA-09: debuggable as text",
        || tee(|t| t["x-ms-sevsnpvm-is-debuggable"] = json!("false")),
        "maa.debug",
    ),
    ("MAA-09: silent", || tee(|t| without(t, "x-ms-sevsnpvm-is-debuggable")), "maa.debug"),
    ("MAA-09: VMPL 2", || tee(|t| t["x-ms-sevsnpvm-vmpl"] = json!(2)), "maa.vmpl"),
    ("MAA-09: boot debugging", || maa(|c| c["x-ms-azurevm-bootdebug-enabled"] = json!(true)), "maa.debug"),
    (
        "MAA-09: kernel debugging",
        || maa(|c| c["x-ms-azurevm-kerneldebug-enabled"] = json!(true)),
        "maa.debug",
    ),
    (
        "MAA-09: hypervisor debugging",
        || maa(|c| c["x-ms-azurevm-hypervisordebug-enabled"] = json!(true)),
        "maa.debug",
    ),
    ("MAA-09: test signing", || maa(|c| c["x-ms-azurevm-testsigning-enabled"] = json!(true)), "maa.debug"),
    (
        "MAA-09: flight signing",
        || maa(|c| c["x-ms-azurevm-flightsigning-enabled"] = json!(true)),
        "maa.debug",
    ),
    ("MAA-09: debuggers", || maa(|c| c["x-ms-azurevm-debuggersdisabled"] = json!(false)), "maa.debug"),
    (
        "MAA-09: allowed in writing",
        || {
            let policy = POLICY.replace("tee = [", "debug = { danger-allow = \"a test machine\" }\ntee = [");
            maa_under(&policy, |c| c["x-ms-azurevm-kerneldebug-enabled"] = json!(true))
        },
        "verified, waived: MAA-09",
    ),
    ("MAA-10: migration", || tee(|t| t["x-ms-sevsnpvm-migration-allowed"] = json!(true)), "maa.migration"),
    (
        "MAA-11: another measurement",
        || tee(|t| t["x-ms-sevsnpvm-launchmeasurement"] = json!("00".repeat(48))),
        "maa.measurement.not-accepted",
    ),
    (
        "MAA-11: silent",
        || tee(|t| without(t, "x-ms-sevsnpvm-launchmeasurement")),
        "maa.measurement.not-accepted",
    ),
    (
        "MAA-12: other host data",
        || tee(|t| t["x-ms-sevsnpvm-hostdata"] = json!("02".repeat(32))),
        "maa.host-data.not-accepted",
    ),
    (
        "MAA-12: shorter host data",
        || tee(|t| t["x-ms-sevsnpvm-hostdata"] = json!("01".repeat(31))),
        "maa.host-data.not-accepted",
    ),
    ("MAA-13: bootloader", || tee(|t| t["x-ms-sevsnpvm-bootloader-svn"] = json!(3)), "maa.svn.below-minimum"),
    ("MAA-13: SNP firmware", || tee(|t| t["x-ms-sevsnpvm-snpfw-svn"] = json!(23)), "maa.svn.below-minimum"),
    ("MAA-13: microcode", || tee(|t| t["x-ms-sevsnpvm-microcode-svn"] = json!(218)), "maa.svn.below-minimum"),
    ("MAA-13: TEE, silent", || tee(|t| without(t, "x-ms-sevsnpvm-tee-svn")), "maa.svn.below-minimum"),
    ("MAA-14: secure boot off", || maa(|c| c["secureboot"] = json!(false)), "maa.secure-boot"),
    ("MAA-14: silent", || maa(|c| without(c, "secureboot")), "maa.secure-boot"),
    (
        "MAA-15: another policy",
        || maa(|c| c["x-ms-policy-hash"] = json!("other")),
        "maa.policy-hash.not-accepted",
    ),
    (
        "MAA-16: another machine",
        || maa(|c| c["x-ms-azurevm-vmid"] = json!("other")),
        "maa.vm-id.not-accepted",
    ),
    (
        "MAA-19: another nonce",
        || maa(|c| c["x-ms-runtime"]["client-payload"]["nonce"] = json!("b3VycyE=")),
        "token.nonce",
    ),
    ("MAA-19: no nonce", || maa(|c| without(c, "x-ms-runtime")), "token.nonce"),
    (
        "MAA-19: the nonce's text instead of its base64",
        || maa(|c| c["x-ms-runtime"]["client-payload"]["nonce"] = json!("ours")),
        "token.nonce",
    ),
    ("a container group", || container(|_| ()), "verified, waived: MAA-14, MAA-16"),
    (
        "a container group, with a VM's compliance",
        || container(|c| c["x-ms-compliance-status"] = json!("azure-compliant-cvm")),
        "maa.compliance",
    ),
    (
        "a container group, debuggable",
        || container(|c| c["x-ms-sevsnpvm-is-debuggable"] = json!(true)),
        "maa.debug",
    ),
    ("TDX", || tdx(|_| ()), "verified, waived: MAA-12, MAA-17"),
    ("TDX, debug", || tdx(|t| t["tdx_td_attributes_debug"] = json!(true)), "maa.debug"),
    ("TDX, migratable", || tdx(|t| t["tdx_td_attributes_migratable"] = json!(true)), "maa.migration"),
    ("TDX, another MRTD", || tdx(|t| t["tdx_mrtd"] = json!("00".repeat(48))), "maa.measurement.not-accepted"),
    ("TDX, an older module", || tdx(|t| t["tdx_seamsvn"] = json!(4)), "maa.svn.below-minimum"),
    (
        "MAA-17: another identity key",
        || tee(|t| t["x-ms-sevsnpvm-idkeydigest"] = json!("1e".repeat(48))),
        "maa.id-key.not-accepted",
    ),
    (
        "MAA-17: an author key",
        || tee(|t| t["x-ms-sevsnpvm-authorkeydigest"] = json!("1e".repeat(48))),
        "maa.id-key.not-accepted",
    ),
    (
        "MAA-17: no identity key",
        || tee(|t| without(t, "x-ms-sevsnpvm-idkeydigest")),
        "maa.id-key.not-accepted",
    ),
    (
        "MAA-18: TDX without a table for it",
        || tdx_under(tdx_policy().split("[maa.tdx]").next().unwrap_or_default(), |_| ()),
        "maa.td.not-accepted",
    ),
    (
        "MAA-18: pages without an owner may fault",
        || tdx(|t| t["tdx_td_attributes_septve_disable"] = json!(false)),
        "maa.td.not-accepted",
    ),
    ("MAA-18: another module", || tdx(|t| t["tdx_mrseam"] = json!("5f".repeat(48))), "maa.td.not-accepted"),
    (
        "MAA-18: another signer of the module",
        || tdx(|t| t["tdx_mrsignerseam"] = json!("01".repeat(48))),
        "maa.td.not-accepted",
    ),
    ("MAA-18: another XFAM", || tdx(|t| t["tdx_xfam"] = json!("e6".repeat(8))), "maa.td.not-accepted"),
    ("MAA-18: another RTMR0", || tdx(|t| t["tdx_rtmr0"] = json!("a1".repeat(48))), "maa.td.not-accepted"),
    ("MAA-18: another RTMR1", || tdx(|t| t["tdx_rtmr1"] = json!("a2".repeat(48))), "maa.td.not-accepted"),
    ("MAA-18: another RTMR2", || tdx(|t| t["tdx_rtmr2"] = json!("a3".repeat(48))), "maa.td.not-accepted"),
    ("MAA-18: another RTMR3", || tdx(|t| t["tdx_rtmr3"] = json!("a0".repeat(48))), "maa.td.not-accepted"),
    ("MAA-18: no RTMR3", || tdx(|t| without(t, "tdx_rtmr3")), "maa.td.not-accepted"),
];

/// A workload's token, as Google writes it.
fn workload() -> Value {
    json!({
        "iss": GOOGLE, "iat": NOON.0, "nbf": NOON.0, "exp": NOON.0 + 3600, "aud": "us",
        "eat_nonce": ["another", "ours"],
        "secboot": true, "hwmodel": "GCP_INTEL_TDX", "swname": "CONFIDENTIAL_SPACE", "swversion": ["250800"],
        "dbgstat": "disabled-since-boot",
        "tdx": {"gcp_attester_tcb_status": "UpToDate"},
        "google_service_accounts": ["a@ours"],
        "submods": {
            "confidential_space": {"support_attributes": ["LATEST", "STABLE", "USABLE"]},
            "container": {"image_digest": "sha256:aa", "env": {"PATH": "/bin"}, "args": ["/run"]},
            "gce": {"zone": "us-west1-b", "project_id": "ours"},
        },
    })
}

fn space(change: impl Fn(&mut Value)) -> String {
    space_under(POLICY, change)
}

fn space_under(policy: &str, change: impl Fn(&mut Value)) -> String {
    let mut claims = workload();
    change(&mut claims);
    let token = ISSUER.sign(&json!({"alg": "RS256", "kid": "test", "typ": "JWT"}), &claims);
    answer(token.as_bytes(), &ISSUER.anchors(GOOGLE), NOON, policy, &nonce("ours"))
}

pub(crate) const CONFIDENTIAL_SPACE: &[Case] = &[
    ("CS: nothing wrong", || space(|_| ()), "verified"),
    ("CS: one nonce as text", || space(|c| c["eat_nonce"] = json!("ours")), "verified"),
    ("CS-04: expired", || space(|c| c["exp"] = json!(NOON.0 - 1)), "token.expired"),
    (
        "CS-06: another audience",
        || space(|c| c["aud"] = json!("them")),
        "confidential-space.audience.not-accepted",
    ),
    (
        "CS-06: ours among several",
        || space(|c| c["aud"] = json!(["us", "them"])),
        "confidential-space.audience.not-accepted",
    ),
    ("CS-07: an ordinary machine", || space(|c| c["swname"] = json!("GCE")), "confidential-space.software"),
    ("CS-07: silent", || space(|c| without(c, "swname")), "confidential-space.software"),
    (
        "CS-08: a model without a hardware report",
        || space(|c| c["hwmodel"] = json!("GCP_AMD_SEV")),
        "confidential-space.hardware.not-accepted",
    ),
    (
        "CS-09: an outdated TCB",
        || space(|c| c["tdx"]["gcp_attester_tcb_status"] = json!("OutOfDate")),
        "confidential-space.tcb.not-accepted",
    ),
    ("CS-09: silent", || space(|c| without(c, "tdx")), "confidential-space.tcb.not-accepted"),
    ("CS-10: debug image", || space(|c| c["dbgstat"] = json!("enabled")), "confidential-space.debug"),
    (
        "CS-10: disabled, but not since boot",
        || space(|c| c["dbgstat"] = json!("disabled")),
        "confidential-space.debug",
    ),
    ("CS-10: silent", || space(|c| without(c, "dbgstat")), "confidential-space.debug"),
    (
        "CS-10: allowed in writing",
        || {
            let policy =
                POLICY.replace("hardware = [", "debug = { danger-allow = \"a test\" }\nhardware = [");
            space_under(&policy, |c| c["dbgstat"] = json!("enabled"))
        },
        "verified, waived: CS-10",
    ),
    (
        "CS-11: usable, no longer stable",
        || space(|c| c["submods"]["confidential_space"]["support_attributes"] = json!(["USABLE"])),
        "confidential-space.support",
    ),
    (
        "CS-11: silent",
        || space(|c| without(&mut c["submods"]["confidential_space"], "support_attributes")),
        "confidential-space.support",
    ),
    ("CS-12: secure boot off", || space(|c| c["secboot"] = json!(false)), "confidential-space.secure-boot"),
    (
        "CS-13: an older image",
        || space(|c| c["swversion"] = json!(["250799"])),
        "confidential-space.version.below-minimum",
    ),
    (
        "CS-13: two versions",
        || space(|c| c["swversion"] = json!(["250800", "1"])),
        "confidential-space.version.below-minimum",
    ),
    (
        "CS-13: a version that is no number",
        || space(|c| c["swversion"] = json!(["latest"])),
        "confidential-space.version.below-minimum",
    ),
    (
        "CS-14: another image",
        || space(|c| c["submods"]["container"]["image_digest"] = json!("sha256:ab")),
        "confidential-space.image.not-accepted",
    ),
    (
        "CS-14: silent",
        || space(|c| without(&mut c["submods"], "container")),
        "confidential-space.image.not-accepted",
    ),
    (
        "CS-15: environment",
        || space(|c| c["submods"]["container"]["env_override"] = json!({"KEY": "value"})),
        "confidential-space.overrides",
    ),
    (
        "CS-15: command",
        || space(|c| c["submods"]["container"]["cmd_override"] = json!(["/bin/sh"])),
        "confidential-space.overrides",
    ),
    (
        "CS-15: none, written as an empty list",
        || space(|c| c["submods"]["container"]["cmd_override"] = json!([])),
        "verified",
    ),
    (
        "CS-16: another project",
        || space(|c| c["submods"]["gce"]["project_id"] = json!("theirs")),
        "confidential-space.project.not-accepted",
    ),
    (
        "CS-16: another zone",
        || space(|c| c["submods"]["gce"]["zone"] = json!("mars-1")),
        "confidential-space.zone.not-accepted",
    ),
    (
        "CS-17: one account of somebody else",
        || space(|c| c["google_service_accounts"] = json!(["a@ours", "c@theirs"])),
        "confidential-space.account.not-accepted",
    ),
    (
        "CS-17: no account",
        || space(|c| c["google_service_accounts"] = json!([])),
        "confidential-space.account.not-accepted",
    ),
    ("CS-18: other nonces", || space(|c| c["eat_nonce"] = json!(["another"])), "token.nonce"),
    ("CS-18: a nonce within a nonce", || space(|c| c["eat_nonce"] = json!("ours-too")), "token.nonce"),
    ("CS-18: nonces that are no text", || space(|c| c["eat_nonce"] = json!(["ours", 1])), "token.nonce"),
    ("CS-18: no nonce", || space(|c| without(c, "eat_nonce")), "token.nonce"),
];

/// A PKI token under the test's own root.
fn pki(path: Path, now: UnixTime) -> String {
    let pki = Pki::new(path);
    let anchors = TokenAnchors::none().danger_confidential_space_root(&pki.root_pem).expect("a root");
    answer(pki.sign(&workload()).as_bytes(), &anchors, now, POLICY, &nonce("ours"))
}

/// Signed with these header members, under the provider's keys.
fn header(header: &Value) -> String {
    let token = ISSUER.sign(header, &vm());
    answer(token.as_bytes(), &ISSUER.anchors(PROVIDER), NOON, POLICY, &nonce("ours"))
}

const PURPOSE: &str = "token.certificate-purpose";

pub(crate) const KEYS: &[Case] = &[
    ("MAA-02: no key is named", || header(&json!({"alg": "RS256"})), "token.key-unnamed"),
    ("MAA-02: an unknown key", || header(&json!({"alg": "RS256", "kid": "other"})), "token.key"),
    (
        "MAA-02: an address of other keys changes nothing",
        || header(&json!({"alg": "RS256", "kid": "test", "jku": "https://attacker.example/certs"})),
        "verified",
    ),
    ("MAA-02: keys at an attacker's address are not fetched", attackers_address, "token.signature"),
    ("MAA-02: a certificate of the attacker's own changes nothing", attackers_certificate, "token.signature"),
    (
        "MAA-02: keys of another issuer",
        || {
            let token = ISSUER.sign(&json!({"alg": "RS256", "kid": "test"}), &vm());
            let anchors = ISSUER.anchors("https://other.attest.azure.net");
            answer(token.as_bytes(), &anchors, NOON, POLICY, &any())
        },
        "token.issuer",
    ),
    (
        "MAA-03: a key of another issuer under the same name",
        || {
            let token = Issuer::new().sign(&json!({"alg": "RS256", "kid": "test"}), &vm());
            answer(token.as_bytes(), &ISSUER.anchors(PROVIDER), NOON, POLICY, &any())
        },
        "token.signature",
    ),
    (
        "MAA-02: ES256 with an RSA key",
        || header(&json!({"alg": "ES256", "kid": "test"})),
        "token.algorithm-of-issuer",
    ),
    (
        "MAA-02: ES384 with an RSA key",
        || header(&json!({"alg": "ES384", "kid": "test"})),
        "token.algorithm-of-issuer",
    ),
    ("CS-02: certificates under the pinned root", || pki(Path::Good, NOON), "verified"),
    ("CS-02: an expired leaf", || pki(Path::LeafExpired, NOON), "x509.expired"),
    ("CS-02: another root of the same name", || pki(Path::LeafByAnotherRoot, NOON), "x509.signature"),
    (
        "CS-02: an intermediate that is none",
        || pki(Path::IntermediateNotAuthority, NOON),
        "x509.not-an-authority",
    ),
    ("CS-02: an intermediate for the web", || pki(Path::IntermediateForTheWeb, NOON), PURPOSE),
    (
        "CS-02: an intermediate for Google's purpose and another",
        || pki(Path::IntermediateForBoth, NOON),
        PURPOSE,
    ),
    ("CS-02: an intermediate for anything", || pki(Path::IntermediateWithoutPurpose, NOON), PURPOSE),
    ("CS-02: a leaf for the web", || pki(Path::LeafForTheWeb, NOON), PURPOSE),
    ("CS-02: a leaf directly under the root", || pki(Path::NoIntermediate, NOON), "x509.unknown-issuer"),
    ("CS-02: certificates, and Google's root", googles_root, "x509.unknown-issuer"),
];

fn attackers_address() -> String {
    let token = Issuer::new().sign(
        &json!({"alg": "RS256", "kid": "test", "jku": "https://test.attest.azure.net.attacker.example/certs"}),
        &vm(),
    );
    answer(token.as_bytes(), &ISSUER.anchors(PROVIDER), NOON, POLICY, &any())
}

fn attackers_certificate() -> String {
    let pki = Pki::new(Path::Good);
    let x5c = pki.x5c.clone();
    let token = Issuer::new().sign(&json!({"alg": "RS256", "kid": "test", "x5c": x5c}), &vm());
    answer(token.as_bytes(), &ISSUER.anchors(PROVIDER), NOON, POLICY, &any())
}

fn googles_root() -> String {
    let token = Pki::new(Path::Good).sign(&workload());
    answer(token.as_bytes(), &TokenAnchors::embedded(), NOON, POLICY, &any())
}

fn without(object: &mut Value, member: &str) {
    object.as_object_mut().expect("an object").remove(member).expect("it was there");
}
