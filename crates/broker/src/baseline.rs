//! What every machine must be before any key's own policy is asked (spec/release.md section 2.4).

use casemate_attest::azure::AzurePolicy;
use casemate_attest::nitro::NitroPolicy;
use casemate_attest::snp::SnpPolicy;
use casemate_attest::tdx::TdxPolicy;
use casemate_attest::tpm::PcrTerms;
use casemate_attest::{Danger, Expected, PlatformPolicy, Policy};

/// The PCRs that a virtual TPM must quote: those that the attester of this product asks for, each of them, and no other.
pub const PCRS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

const REASON: &str = "the key's release policy decides";

/// The strict terms of `casemate_attest` for production guests, with every claim left open that a key's release policy
/// can require (spec/release.md section 3). A virtual TPM that proves no memory encryption is not accepted.
pub fn baseline() -> Policy {
    let mut policy = Policy::for_snp(snp());
    policy.tdx = PlatformPolicy::Accepted(tdx());
    policy.nitro = PlatformPolicy::Accepted(nitro());
    policy.azure = PlatformPolicy::Accepted(azure());
    policy
}

fn snp() -> SnpPolicy {
    SnpPolicy {
        host_data: Expected::any(REASON),
        id_key_digest: Expected::any(REASON),
        author_key_digest: Expected::any(REASON),
        family_id: Expected::any(REASON),
        image_id: Expected::any(REASON),
        chip_id: Expected::any(REASON),
        ..SnpPolicy::strict(Expected::any(REASON))
    }
}

fn tdx() -> TdxPolicy {
    TdxPolicy {
        rtmr0: Expected::any(REASON),
        rtmr1: Expected::any(REASON),
        rtmr2: Expected::any(REASON),
        rtmr3: Expected::any(REASON),
        mr_config_id: Expected::any(REASON),
        mr_owner: Expected::any(REASON),
        mr_owner_config: Expected::any(REASON),
        ..TdxPolicy::strict(Expected::any(REASON))
    }
}

fn nitro() -> NitroPolicy {
    NitroPolicy {
        pcr1: Expected::any(REASON),
        pcr2: Expected::any(REASON),
        pcr3: Expected::any(REASON),
        pcr4: Expected::any(REASON),
        pcr8: Expected::any(REASON),
        ..NitroPolicy::strict(Expected::any(REASON))
    }
}

/// Every recorded machine of Azure offers a console (attest.md AZ-07), so that refusing it would refuse them all.
fn azure() -> AzurePolicy {
    let pcrs: PcrTerms = PCRS.into_iter().map(|index| (index, Expected::any(REASON))).collect();
    AzurePolicy {
        tdx: PlatformPolicy::Accepted(tdx()),
        console: Danger::Allow { reason: REASON.into() },
        vm_id: Expected::any(REASON),
        user_data: Expected::any(REASON),
        ..AzurePolicy::strict(snp(), pcrs)
    }
}
