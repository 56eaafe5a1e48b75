//! What `verify` is given, and which flags say something about it. A flag that says nothing is refused: whoever typed it
//! believes that it is looked at.

use casemate_attest::Platform;

use crate::args::VerifyArgs;
use crate::error::CliError;

/// What is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A running server, which brings everything.
    Server,
    /// An attestation document, which brings everything.
    Document,
    /// A report, quote or document of a platform.
    Evidence(Platform),
    /// The report of an NVIDIA device, without its chain.
    Device,
    /// A list of NVIDIA devices, with their chains.
    Devices,
    /// Another verifier's token.
    Token,
    /// What another system hands out, with evidence of this platform where it could be read.
    Bundle(Option<Platform>),
}

impl Kind {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "a server, which brings its endorsements and its nonce itself",
            Self::Document => {
                "an attestation document, which carries its endorsements and what it binds itself"
            }
            Self::Evidence(Platform::SevSnp) => "a SEV-SNP report",
            Self::Evidence(Platform::Nitro) => "a Nitro Enclaves document",
            Self::Evidence(Platform::Tdx) => "a TDX quote, whose collateral says what is revoked",
            Self::Evidence(Platform::AzureVtpm) => "vTPM evidence of Azure on SEV-SNP",
            Self::Evidence(Platform::AzureVtpmTdx) => {
                "vTPM evidence of Azure on TDX, whose collateral says what is revoked"
            }
            Self::Evidence(Platform::GceVtpm) => "vTPM evidence of GCE",
            Self::Evidence(_) => "evidence of this platform",
            Self::Device => "the report of an NVIDIA device",
            Self::Devices => "a list of NVIDIA devices, which has their chains",
            Self::Token => "a token of another verifier",
            Self::Bundle(_) => "a bundle of another system, with this evidence",
        }
    }

    /// Who makes the hardware, or vouches for it: whom a simulator is taken for.
    pub(crate) fn vendor(self) -> &'static str {
        match self {
            Self::Server | Self::Document | Self::Bundle(None) => "the maker of the hardware",
            Self::Evidence(platform) | Self::Bundle(Some(platform)) => vendor(platform),
            Self::Device | Self::Devices => "NVIDIA",
            Self::Token => "the token's issuer",
        }
    }

    /// Refuses the flags that say nothing about it.
    pub(crate) fn refuse_others(self, args: &VerifyArgs) -> Result<(), CliError> {
        use Platform::{AzureVtpm, AzureVtpmTdx, GceVtpm, Nitro, SevSnp, Tdx};
        let bundle = matches!(self, Self::Bundle(_));
        let raw = matches!(self, Self::Evidence(_)) || bundle;
        let devices = matches!(self, Self::Device | Self::Devices) || bundle;
        let on = |platforms: &[Platform]| match self {
            Self::Evidence(it) | Self::Bundle(Some(it)) => platforms.contains(&it),
            _ => false,
        };
        let token = self == Self::Token;
        let flags = [
            ("--endorsements", args.endorsements.is_some(), raw || devices),
            ("--vek", args.vek.is_some(), on(&[SevSnp, AzureVtpm])),
            ("--collateral", args.collateral.is_some(), on(&[Tdx, AzureVtpmTdx])),
            ("--ak", args.ak.is_some(), on(&[AzureVtpm, AzureVtpmTdx])),
            ("--ak-chain", args.ak_chain.is_some(), on(&[AzureVtpm, AzureVtpmTdx, GceVtpm])),
            ("--event-log", args.event_log.is_some(), raw || self == Self::Document),
            ("--crl", !args.crl.is_empty(), on(&[SevSnp, AzureVtpm, Nitro, GceVtpm])),
            (
                "--danger-no-crl",
                args.danger_no_crl.is_some(),
                devices || on(&[SevSnp, AzureVtpm, Nitro, GceVtpm]),
            ),
            ("--danger-unlisted", args.danger_unlisted.is_some(), on(&[Nitro, GceVtpm])),
            ("--report-data", args.report_data.is_some(), raw),
            ("--nonce", args.nonce.is_some(), raw || devices || token),
            ("--danger-unbound", args.danger_unbound.is_some(), raw || token),
            (
                "--danger-simulated-gpu-root",
                args.gpu_anchors.danger_simulated_gpu_root.is_some(),
                matches!(self, Self::Server | Self::Document),
            ),
            ("--chain", args.devices.chain.is_some(), self == Self::Device),
            ("--rim", !args.devices.rim.is_empty(), devices),
            ("--ocsp", !args.devices.ocsp.is_empty(), devices),
            ("--devices", args.devices.devices.is_some(), devices),
            ("--part", args.bundles.part.is_some(), bundle),
            ("--danger-devices-not-verified", args.bundles.danger_devices_not_verified.is_some(), bundle),
            ("--danger-custody-not-verified", args.bundles.danger_custody_not_verified.is_some(), bundle),
            ("--jwks", !args.tokens.jwks.is_empty(), token),
            ("--nras-keys", args.tokens.nras_keys.is_some(), token),
            ("--nonce-text", args.tokens.nonce_text.is_some(), token),
        ];
        match flags.into_iter().find(|(_, given, applies)| *given && !applies) {
            Some((flag, ..)) => Err(CliError::SuperfluousFlag { flag, of: self.name() }),
            None => Ok(()),
        }
    }
}

/// Who makes a platform's hardware, or vouches for it.
pub(crate) fn vendor(platform: Platform) -> &'static str {
    match platform {
        Platform::SevSnp => "AMD",
        Platform::Nitro => "AWS",
        Platform::Tdx => "Intel",
        Platform::AzureVtpm => "AMD and Microsoft",
        Platform::AzureVtpmTdx => "Intel and Microsoft",
        Platform::GceVtpm => "Google",
        _ => "the maker of the hardware",
    }
}
