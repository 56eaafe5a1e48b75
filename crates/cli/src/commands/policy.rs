//! `casemate policy`: policies to start from, with every value written down.

use crate::args::PolicyCommand;
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(command: PolicyCommand) -> Result<(), CliError> {
    let text = match command {
        PolicyCommand::Release { measurement, issuer } => {
            files::hex_bytes::<48>("--measurement", &measurement)?;
            release(&measurement, &issuer)
        }
        PolicyCommand::Client { measurement, manifest } => {
            files::hex_bytes::<48>("--measurement", &measurement)?;
            files::hex_bytes::<32>("--manifest", &manifest)?;
            client(&measurement, &manifest)
        }
    };
    output::data(text.trim_end());
    Ok(())
}

/// A release policy: this measurement and nothing else.
pub(crate) fn release(measurement: &str, issuer: &str) -> String {
    let policy = serde_json::json!({
        "version": "1.0.0",
        "anyOf": [{
            "authority": issuer,
            "allOf": [
                { "claim": "x-ms-isolation-tee.x-ms-attestation-type", "equals": "sevsnpvm" },
                { "claim": "x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement", "equals": measurement },
            ],
        }],
    });
    format!("{policy:#}\n")
}

/// A client's policy: this measurement, this model, firmware that the makers of this software have seen sound.
pub(crate) fn client(measurement: &str, manifest: &str) -> String {
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
# Name the chips of your operator's fleet here; until then a genuine chip of anybody will do.
chip-id = {{ any = "no chip is named" }}
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
