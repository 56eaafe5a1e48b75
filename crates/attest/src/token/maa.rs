//! Microsoft Azure Attestation: rules MAA-05 and on (spec/tokens.md §3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::claims::View;
use super::errors::TokenDenial;
use super::terms::{Judged, Term, all, word};
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::token as rules;

/// What a token of Microsoft Azure Attestation must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaaPolicy {
    /// Attestation providers, exactly as in `iss`.
    pub issuers: Vec<String>,
    /// `sevsnpvm` or `tdxvm`.
    pub tee: Expected<String>,
    /// SEV-SNP's launch measurement, or MRTD.
    pub measurement: Expected<[u8; 48]>,
    /// SEV-SNP's host data, or MRCONFIGID's first 32 bytes; of a TDX token only `any` can be met.
    pub host_data: Expected<[u8; 32]>,
    /// SEV-SNP's digest of the key that signed the ID block; of a TDX token only `any` can be met.
    pub id_key_digest: Expected<[u8; 48]>,
    /// SEV-SNP's digest of the key that signed that key; of a TDX token only `any` can be met.
    pub author_key_digest: Expected<[u8; 48]>,
    /// What a TDX token must say beside; without it every TDX token is refused.
    pub tdx: Option<MaaTdx>,
    /// Of SEV-SNP's firmware.
    pub minimum_svn: MinimumSvn,
    /// Whether a machine whose guest or boot can be debugged is accepted.
    pub debug: Danger,
    /// Whether a machine that can be migrated is accepted.
    pub migration: Danger,
    /// Whether a machine without secure boot is accepted; tokens of containers do not speak of it.
    pub no_secure_boot: Danger,
    /// `x-ms-policy-hash`: what the provider was configured to demand.
    pub policy_hash: Expected<String>,
    /// The machine's UUID.
    pub vm_id: Expected<String>,
}

/// The TD and its module, as a TDX token names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaaTdx {
    /// `tdx_mrseam`, the module's measurement.
    pub mr_seam: Expected<[u8; 48]>,
    /// `tdx_mrsignerseam`, the module's signer: zeros for Intel's.
    pub mr_signer_seam: Expected<[u8; 48]>,
    /// `tdx_xfam`, eight bytes as the token writes them.
    pub xfam: Expected<[u8; 8]>,
    /// `tdx_rtmr0` to `tdx_rtmr3`, what the guest measured since its launch.
    pub rtmr: [Expected<[u8; 48]>; 4],
}

/// Least security version numbers of SEV-SNP's firmware, and of the TDX module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumSvn {
    /// Bootloader.
    pub bootloader: u64,
    /// Trusted execution environment.
    pub tee: u64,
    /// SNP firmware.
    pub snp: u64,
    /// Microcode.
    pub microcode: u64,
    /// The TDX module's `tdx_seamsvn`.
    pub tdx_module: u64,
}

/// Where the hardware's claims stand: in the member for isolation, or for containers at the top.
struct Hardware<'a> {
    claims: View<'a>,
    tee: &'a str,
    /// The machine's own claims stand around the hardware's.
    is_vm: bool,
}

pub(crate) fn appraise(
    claims: View<'_>,
    issuer: &str,
    terms: &MaaPolicy,
    ledger: &mut Ledger,
) -> Result<(), TokenDenial> {
    ledger.record(&rules::MAA_ISSUER, accepted_issuer(issuer, terms))?;
    let hardware = ledger.record(&rules::MAA_TEE, tee(claims, terms))?;
    ledger.record(&rules::MAA_COMPLIANCE, compliance(&hardware))?;
    ledger.record(&rules::MAA_DEBUG, debug(claims, &hardware, terms))?;
    ledger.record(&rules::MAA_MIGRATION, migration(&hardware, terms))?;
    ledger.record(&rules::MAA_MEASUREMENT, measurement(&hardware, terms))?;
    ledger.record(&rules::MAA_HOST_DATA, host_data(&hardware, terms))?;
    ledger.record(&rules::MAA_SVN, svn(&hardware, &terms.minimum_svn))?;
    ledger.record(&rules::MAA_SECURE_BOOT, secure_boot(claims, terms))?;
    let term = Term::new("maa.policy-hash.not-accepted", "x-ms-policy-hash");
    ledger.record(&rules::MAA_POLICY, term.one_of(claims.text(&["x-ms-policy-hash"]), &terms.policy_hash))?;
    let term = Term::new("maa.vm-id.not-accepted", "x-ms-azurevm-vmid");
    ledger.record(&rules::MAA_VM_ID, term.one_of(claims.text(&["x-ms-azurevm-vmid"]), &terms.vm_id))?;
    ledger.record(&rules::MAA_ID_KEYS, id_keys(&hardware, terms))?;
    ledger.record(&rules::MAA_TD, td(&hardware, terms))
}

/// The caller's nonce travels in base64 in the payload that the client sent.
pub(crate) fn nonces(claims: View<'_>) -> Vec<Vec<u8>> {
    let text = claims.text(&["x-ms-runtime", "client-payload", "nonce"]);
    text.and_then(|text| STANDARD.decode(text).ok()).into_iter().collect()
}

fn accepted_issuer(issuer: &str, terms: &MaaPolicy) -> Judged {
    if terms.issuers.iter().any(|accepted| accepted == issuer) {
        return Ok(((), Finding::Pass(issuer.to_owned())));
    }
    Err(Term::new("maa.issuer.not-accepted", "iss").refused(issuer, terms.issuers.join(" or ")))
}

fn tee<'a>(claims: View<'a>, terms: &MaaPolicy) -> Result<(Hardware<'a>, Finding), TokenDenial> {
    let term = Term::new("maa.tee.not-accepted", "x-ms-attestation-type");
    let outer = claims.text(&["x-ms-attestation-type"]).ok_or_else(|| term.missing())?;
    let hardware = match outer {
        "azurevm" => {
            let claims = claims.object(&["x-ms-isolation-tee"]).ok_or_else(|| term.missing())?;
            let tee = claims.text(&["x-ms-attestation-type"]).ok_or_else(|| term.missing())?;
            Hardware { claims, tee, is_vm: true }
        }
        tee => Hardware { claims, tee, is_vm: false },
    };
    // Whatever the policy says: of SGX, of a trusted launch and of the rest, the rules below know nothing.
    if !matches!(hardware.tee, "sevsnpvm" | "tdxvm") {
        return Err(term.refused(hardware.tee, "sevsnpvm or tdxvm"));
    }
    let ((), finding) = term.one_of(Some(hardware.tee), &terms.tee)?;
    Ok((hardware, finding))
}

fn compliance(hardware: &Hardware<'_>) -> Judged {
    let expected = if hardware.is_vm { "azure-compliant-cvm" } else { "azure-compliant-uvm" };
    let term = Term::new("maa.compliance", "x-ms-compliance-status");
    term.must(hardware.claims.text(&["x-ms-compliance-status"]), expected, &Danger::Refuse)
}

/// The hardware's own debug flag, and what a VM says of its loader, kernel and hypervisor.
fn debug(claims: View<'_>, hardware: &Hardware<'_>, terms: &MaaPolicy) -> Judged {
    let off = |view: View<'_>, claim| {
        let term = Term::new("maa.debug", claim);
        term.must(word(view.flag(&[claim])), "false", &terms.debug)
    };
    let mut judged = match hardware.tee {
        "sevsnpvm" => vec![off(hardware.claims, "x-ms-sevsnpvm-is-debuggable"), vmpl(hardware)],
        _ => vec![off(hardware.claims, "tdx_td_attributes_debug")],
    };
    if hardware.is_vm {
        for claim in [
            "x-ms-azurevm-bootdebug-enabled",
            "x-ms-azurevm-kerneldebug-enabled",
            "x-ms-azurevm-hypervisordebug-enabled",
            "x-ms-azurevm-testsigning-enabled",
            "x-ms-azurevm-flightsigning-enabled",
        ] {
            judged.push(off(claims, claim));
        }
        let term = Term::new("maa.debug", "x-ms-azurevm-debuggersdisabled");
        judged.push(term.must(word(claims.flag(&["x-ms-azurevm-debuggersdisabled"])), "true", &terms.debug));
    }
    all(judged)
}

/// The report is the paravisor's own.
fn vmpl(hardware: &Hardware<'_>) -> Judged {
    let term = Term::new("maa.vmpl", "x-ms-sevsnpvm-vmpl");
    let found = hardware.claims.number(&["x-ms-sevsnpvm-vmpl"]).map(|level| level.to_string());
    term.must(found.as_deref(), "0", &Danger::Refuse)
}

fn migration(hardware: &Hardware<'_>, terms: &MaaPolicy) -> Judged {
    let claim = match hardware.tee {
        "sevsnpvm" => "x-ms-sevsnpvm-migration-allowed",
        _ => "tdx_td_attributes_migratable",
    };
    let found = word(hardware.claims.flag(&[claim]));
    Term::new("maa.migration", claim).must(found, "false", &terms.migration)
}

fn measurement(hardware: &Hardware<'_>, terms: &MaaPolicy) -> Judged {
    let claim = match hardware.tee {
        "sevsnpvm" => "x-ms-sevsnpvm-launchmeasurement",
        _ => "tdx_mrtd",
    };
    let term = Term::new("maa.measurement.not-accepted", claim);
    term.one_of_bytes(hardware.claims.text(&[claim]), &terms.measurement)
}

fn host_data(hardware: &Hardware<'_>, terms: &MaaPolicy) -> Judged {
    let claim = "x-ms-sevsnpvm-hostdata";
    let term = Term::new("maa.host-data.not-accepted", claim);
    term.one_of_bytes(hardware.claims.text(&[claim]), &terms.host_data)
}

fn id_keys(hardware: &Hardware<'_>, terms: &MaaPolicy) -> Judged {
    let one_of = |claim, expected| {
        Term::new("maa.id-key.not-accepted", claim).one_of_bytes(hardware.claims.text(&[claim]), expected)
    };
    all([
        one_of("x-ms-sevsnpvm-idkeydigest", &terms.id_key_digest),
        one_of("x-ms-sevsnpvm-authorkeydigest", &terms.author_key_digest),
    ])
}

/// A token of SEV-SNP has no TD: that is said, and MAA-07 has decided whether SEV-SNP will do.
fn td(hardware: &Hardware<'_>, terms: &MaaPolicy) -> Judged {
    const CODE: &str = "maa.td.not-accepted";
    if hardware.tee != "tdxvm" {
        return Ok(((), Finding::Pass(format!("{} has none", hardware.tee))));
    }
    let tdx = terms.tdx.as_ref().ok_or_else(|| {
        Term::new(CODE, "x-ms-attestation-type").refused(hardware.tee, "nothing without a table [maa.tdx]")
    })?;
    let found = |claim| hardware.claims.text(&[claim]);
    let rtmrs = ["tdx_rtmr0", "tdx_rtmr1", "tdx_rtmr2", "tdx_rtmr3"];
    let flag = Term::new(CODE, "tdx_td_attributes_septve_disable");
    let disabled = word(hardware.claims.flag(&[flag.claim]));
    let mut judged = vec![
        flag.must(disabled, "true", &Danger::Refuse),
        Term::new(CODE, "tdx_mrseam").one_of_bytes(found("tdx_mrseam"), &tdx.mr_seam),
        Term::new(CODE, "tdx_mrsignerseam").one_of_bytes(found("tdx_mrsignerseam"), &tdx.mr_signer_seam),
        Term::new(CODE, "tdx_xfam").one_of_bytes(found("tdx_xfam"), &tdx.xfam),
    ];
    for (claim, expected) in rtmrs.into_iter().zip(&tdx.rtmr) {
        judged.push(Term::new(CODE, claim).one_of_bytes(found(claim), expected));
    }
    all(judged)
}

fn svn(hardware: &Hardware<'_>, floor: &MinimumSvn) -> Judged {
    let least = |claim, floor| {
        Term::new("maa.svn.below-minimum", claim).at_least(hardware.claims.number(&[claim]), floor)
    };
    match hardware.tee {
        "sevsnpvm" => all([
            least("x-ms-sevsnpvm-bootloader-svn", floor.bootloader),
            least("x-ms-sevsnpvm-tee-svn", floor.tee),
            least("x-ms-sevsnpvm-snpfw-svn", floor.snp),
            least("x-ms-sevsnpvm-microcode-svn", floor.microcode),
        ]),
        _ => least("tdx_seamsvn", floor.tdx_module),
    }
}

fn secure_boot(claims: View<'_>, terms: &MaaPolicy) -> Judged {
    let found = word(claims.flag(&["secureboot"]));
    Term::new("maa.secure-boot", "secureboot").must(found, "true", &terms.no_secure_boot)
}
