//! `casemate policy`: policies to start from, with every value written down.

use casemate_broker::ReleasePolicy;
use casemate_broker::policy::{CLAIM_DEVICES, CLAIM_MEASUREMENT};
use serde_json::{Value, json};

use super::policy_init;
use crate::args::PolicyCommand;
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(command: PolicyCommand) -> Result<(), CliError> {
    let text = match command {
        PolicyCommand::Release { measurement, equals, devices, issuer } => {
            if let Some(measurement) = &measurement {
                files::hex_bytes::<48>("--measurement", measurement)?;
            }
            let launch = measurement.iter().flat_map(|measurement| launched(measurement));
            let named = equals.iter().map(|(claim, value)| (claim.as_str(), value.as_str()));
            let named = named.map(|(claim, value)| (claim, Value::from(value)));
            let devices = devices.map(|count| (CLAIM_DEVICES, count.into()));
            let text = release(launch.chain(named).chain(devices), &issuer);
            // What the broker would refuse to store is no policy to start from.
            ReleasePolicy::parse(text.as_bytes())?.require_pinned()?;
            text
        }
        PolicyCommand::Init(args) => return policy_init::init(&args),
        PolicyCommand::Diff { old, new } => return policy_init::diff(&old, &new),
        PolicyCommand::Client { measurement, manifest } => {
            files::hex_bytes::<48>("--measurement", &measurement)?;
            files::hex_bytes::<32>("--manifest", &manifest)?;
            client(&measurement, &manifest)
        }
    };
    output::data(text.trim_end());
    Ok(())
}

/// A release policy: these claims with these values, all of them.
pub(crate) fn release<'a>(equals: impl Iterator<Item = (&'a str, Value)>, issuer: &str) -> String {
    let conditions: Vec<_> =
        equals.map(|(claim, value)| json!({ "claim": claim, "equals": value })).collect();
    let policy = json!({
        "version": "1.0.0",
        "anyOf": [{ "authority": issuer, "allOf": conditions }],
    });
    format!("{policy:#}\n")
}

/// The claims of an SEV-SNP guest that was launched with this.
pub(crate) fn launched(measurement: &str) -> [(&'static str, Value); 2] {
    [("x-ms-isolation-tee.x-ms-attestation-type", "sevsnpvm".into()), (CLAIM_MEASUREMENT, measurement.into())]
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
