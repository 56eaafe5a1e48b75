//! The claims of one device, by its kind (version 3.0 of NVIDIA's claims).

use crate::token::claims::View;
use crate::token::errors::TokenDenial;
use crate::token::terms::Term;

/// A device's token.
#[derive(Clone, Copy)]
pub(crate) struct Device<'a> {
    pub(crate) name: &'a str,
    pub(crate) claims: View<'a>,
    pub(crate) names: &'static Names,
}

/// What the claims of a kind of device are called.
pub(crate) struct Names {
    pub(crate) prefix: &'static str,
    /// How the service verified the report: each is true.
    pub(crate) report: &'static [&'static str],
    /// How it came by the reference manifests: each is true.
    pub(crate) manifests: &'static [&'static str],
    pub(crate) chains: &'static [&'static str],
    pub(crate) driver: Option<&'static str>,
    pub(crate) firmware: &'static str,
}

pub(crate) static GPU: Names = Names {
    prefix: "GPU-",
    report: &[
        "x-nvidia-gpu-arch-check",
        "x-nvidia-gpu-attestation-report-parsed",
        "x-nvidia-gpu-attestation-report-nonce-match",
        "x-nvidia-gpu-attestation-report-signature-verified",
        "x-nvidia-gpu-attestation-report-cert-chain-fwid-match",
    ],
    manifests: &[
        "x-nvidia-gpu-driver-rim-fetched",
        "x-nvidia-gpu-driver-rim-schema-validated",
        "x-nvidia-gpu-driver-rim-signature-verified",
        "x-nvidia-gpu-driver-rim-version-match",
        "x-nvidia-gpu-driver-rim-measurements-available",
        "x-nvidia-gpu-vbios-rim-fetched",
        "x-nvidia-gpu-vbios-rim-schema-validated",
        "x-nvidia-gpu-vbios-rim-signature-verified",
        "x-nvidia-gpu-vbios-rim-version-match",
        "x-nvidia-gpu-vbios-rim-measurements-available",
        "x-nvidia-gpu-vbios-index-no-conflict",
    ],
    chains: &[
        "x-nvidia-gpu-attestation-report-cert-chain",
        "x-nvidia-gpu-driver-rim-cert-chain",
        "x-nvidia-gpu-vbios-rim-cert-chain",
    ],
    driver: Some("x-nvidia-gpu-driver-version"),
    firmware: "x-nvidia-gpu-vbios-version",
};

pub(crate) static SWITCH: Names = Names {
    prefix: "SWITCH-",
    report: &[
        "x-nvidia-switch-arch-check",
        "x-nvidia-switch-attestation-report-parsed",
        "x-nvidia-switch-attestation-report-nonce-match",
        "x-nvidia-switch-attestation-report-signature-verified",
        "x-nvidia-switch-attestation-report-cert-chain-fwid-match",
    ],
    manifests: &[
        "x-nvidia-switch-bios-rim-fetched",
        "x-nvidia-switch-bios-rim-schema-validated",
        "x-nvidia-switch-bios-rim-signature-verified",
        "x-nvidia-switch-bios-rim-version-match",
        "x-nvidia-switch-bios-rim-measurements-available",
    ],
    chains: &["x-nvidia-switch-attestation-report-cert-chain", "x-nvidia-switch-bios-rim-cert-chain"],
    driver: None,
    firmware: "x-nvidia-switch-bios-version",
};

impl<'a> Device<'a> {
    /// Named `GPU-<number>` or `SWITCH-<number>`, in decimal as the service writes it.
    pub(crate) fn new(name: &'a str, claims: View<'a>) -> Option<Self> {
        let named = |names: &'static Names| number(name, names).map(|_| Self { name, claims, names });
        named(&GPU).or_else(|| named(&SWITCH))
    }

    pub(crate) fn is(self, names: &Names) -> bool {
        self.names.prefix == names.prefix
    }

    pub(crate) fn number(self) -> u64 {
        number(self.name, self.names).unwrap_or(u64::MAX)
    }

    /// Each of these claims is true.
    pub(crate) fn each_true(
        self,
        code: &'static str,
        claims: &[&'static str],
    ) -> Result<String, TokenDenial> {
        for claim in claims {
            let term = Term::new(code, claim);
            if !self.claims.flag(&[claim]).ok_or_else(|| term.missing())? {
                return Err(term.refused(format!("false of {}", self.name), "true"));
            }
        }
        Ok(format!("{}: {} claims are true", self.name, claims.len()))
    }
}

fn number(name: &str, names: &Names) -> Option<u64> {
    let digits = name.strip_prefix(names.prefix)?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
