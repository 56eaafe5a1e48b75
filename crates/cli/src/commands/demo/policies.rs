//! The policies that the demo writes, as a person would write them.

/// A release policy: this measurement and nothing else.
pub(super) fn release(measurement: &str) -> String {
    let policy = serde_json::json!({
        "version": "1.0.0",
        "anyOf": [{
            "authority": casemate_broker::DEFAULT_ISSUER,
            "allOf": [
                { "claim": "x-ms-isolation-tee.x-ms-attestation-type", "equals": "sevsnpvm" },
                { "claim": "x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement", "equals": measurement },
            ],
        }],
    });
    format!("{policy:#}\n")
}

/// A client's policy: this measurement, this model, firmware that the makers of this software have seen sound.
pub(super) fn client(measurement: &str, manifest: &str) -> String {
    let zero = |bytes: usize| "00".repeat(bytes);
    format!(
        r#"[model]
manifests = ["{manifest}"]

[sev-snp]
measurement = ["{measurement}"]
host-data = ["{host_data}"]
id-key-digest = ["{key}"]
author-key-digest = ["{key}"]
family-id = ["{id}"]
image-id = ["{id}"]
chip-id = {{ any = "the simulated chip is as good as any" }}
vmpl = [0]
minimum-guest-svn = 0
minimum-report-version = 3
minimum-abi = {{ major = 0, minor = 0 }}
minimum-tcb = {{ genoa = {{ bootloader = 9, tee = 0, snp = 23, microcode = 72 }} }}
guest-may = ["smt"]
guest-must = []
platform-may = ["smt"]
platform-must = ["alias-check-complete"]
launch-mitigations = 0
current-mitigations = 0
"#,
        host_data = zero(32),
        key = zero(48),
        id = zero(16),
    )
}
