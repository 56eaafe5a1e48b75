//! The policy file.

use casemate_attest::Policy;

const SAMPLES: &[&str] = &[
    include_str!("../../crates/attest/tests/policies/example.toml"),
    include_str!("../../crates/attest/tests/policies/nitro.toml"),
    include_str!("../../crates/attest/tests/policies/tdx.toml"),
    include_str!("../../crates/attest/tests/policies/azure.toml"),
    include_str!("../../crates/attest/tests/policies/gce.toml"),
];

/// Text, or edits to a policy.
pub fn policy(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match first {
        0 => drop(Policy::from_toml(&String::from_utf8_lossy(rest))),
        which => {
            let sample = SAMPLES[usize::from(which - 1) % SAMPLES.len()];
            let text = crate::edited(&[sample.as_bytes()], rest).remove(0);
            let answer = Policy::from_toml(&String::from_utf8_lossy(&text));
            assert!(!rest.is_empty() || answer.is_ok(), "the sample is not understood: {answer:?}");
        }
    }
}
