//! What the vendor certifies: its own authorities, and the machines' keys.

use std::sync::Arc;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;

use super::{Authority, Vendor};
use crate::certificate::{
    Algorithm, CRL_SIGN, KEY_CERT_SIGN, Tbs, VekFacts, Window, ark_extensions, basic_constraints,
    issuer_extensions, name, unknown_critical_extension,
};
use crate::error::SimError;
use crate::keys::{RsaKey, VekKey, throwaway_p256_key_info};
use crate::line::line;
use crate::machine::{MachineConfig, Signer};
use crate::mistakes::{AuthorityMistake, CertificateMistake, CrlMistake, PssParameters};

/// Everything is dated back by a day, as AMD's key server does, so that a slow clock does not refuse it.
pub(crate) const BACKDATE_SECONDS: u64 = 86_400;
pub(crate) const DAY: u64 = 86_400;
/// AMD's roots and intermediates live for 25 years.
pub(crate) const AUTHORITY_SECONDS: u64 = 25 * 365 * DAY;
/// A VCEK lives for seven years.
const VCEK_SECONDS: u64 = 7 * 365 * DAY;
/// A VLEK lives for one year.
const VLEK_SECONDS: u64 = 365 * DAY;
/// AMD's recorded lists live for a little over a year.
pub(super) const CRL_SECONDS: u64 = 371 * DAY;

/// The certificates' serial number of a VEK: AMD writes 0 in every one.
pub(super) const VEK_SERIAL: u64 = 0;
/// The cloud provider (CSP_ID) that a simulated VLEK names.
pub const CSP_ID: &str = "CN=cc-simulated.example";

/// The three authorities' roles, with AMD's names and serial numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Ark,
    Ask,
    Asvk,
}

impl Vendor {
    /// Certifies three keys and issues the first revocation list.
    pub(super) fn issue(
        line: ProductLine,
        issued: UnixTime,
        keys: [Arc<RsaKey>; 3],
        mistake: &AuthorityMistake,
    ) -> Result<Self, SimError> {
        let [ark_key, ask_key, asvk_key] = keys;
        let ark = Self::ark_certificate(line, issued, &ark_key, mistake)?;
        let ask = Self::issuer_certificate(line, issued, Role::Ask, &ask_key, &ark_key, mistake)?;
        let asvk = Self::issuer_certificate(line, issued, Role::Asvk, &asvk_key, &ark_key, mistake)?;
        let mut vendor = Self {
            line,
            issued,
            ark: Authority { key: ark_key, certificate: ark },
            ask: Authority { key: ask_key, certificate: ask },
            asvk: Authority { key: asvk_key, certificate: asvk },
            crl: Vec::new(),
        };
        vendor.crl = vendor.crl_with(&CrlMistake::None)?;
        Ok(vendor)
    }

    fn ark_certificate(
        line: ProductLine,
        issued: UnixTime,
        key: &RsaKey,
        mistake: &AuthorityMistake,
    ) -> Result<Vec<u8>, SimError> {
        let key_info = key.public_key_info()?;
        let usage = match mistake {
            AuthorityMistake::ArkMayNotRevoke => KEY_CERT_SIGN,
            AuthorityMistake::ArkMayNotCertify => CRL_SIGN,
            _ => KEY_CERT_SIGN | CRL_SIGN,
        };
        let authority = *mistake != AuthorityMistake::ArkIsNoAuthority;
        let window = match mistake {
            AuthorityMistake::ArkValidity { not_before, not_after } => {
                Window { not_before: *not_before, not_after: *not_after }
            }
            _ => window(issued, AUTHORITY_SECONDS)?,
        };
        let ark_name = name(&Role::Ark.common_name(line));
        let algorithm = Algorithm::Sha384(PssParameters::Explicit);
        Tbs {
            serial: Role::Ark.serial(line),
            algorithm,
            issuer: ark_name.clone(),
            window,
            subject: ark_name,
            extensions: ark_extensions(&key_info, authority, usage, &Role::Ark.crl_url(line)),
            key_info,
        }
        .sign(key, algorithm)
    }

    fn issuer_certificate(
        line: ProductLine,
        issued: UnixTime,
        role: Role,
        key: &RsaKey,
        ark_key: &RsaKey,
        mistake: &AuthorityMistake,
    ) -> Result<Vec<u8>, SimError> {
        let key_info = key.public_key_info()?;
        let usage = match mistake {
            AuthorityMistake::IssuerMayNotCertify => CRL_SIGN,
            _ => KEY_CERT_SIGN,
        };
        let authority = *mistake != AuthorityMistake::IssuerIsNoAuthority;
        let window = match mistake {
            AuthorityMistake::IssuerValidity { not_before, not_after } => {
                Window { not_before: *not_before, not_after: *not_after }
            }
            _ => window(issued, AUTHORITY_SECONDS)?,
        };
        let subject = match (mistake, role) {
            (AuthorityMistake::AskCommonName(other), Role::Ask) => name(other),
            _ => name(&role.common_name(line)),
        };
        let signer = match mistake {
            AuthorityMistake::IssuerNotSignedByArk => key,
            _ => ark_key,
        };
        let algorithm = Algorithm::Sha384(PssParameters::Explicit);
        let ark_info = ark_key.public_key_info()?;
        Tbs {
            serial: role.serial(line),
            algorithm,
            issuer: name(&Role::Ark.common_name(line)),
            window,
            subject,
            extensions: issuer_extensions(&key_info, &ark_info, authority, usage, &role.crl_url(line)),
            key_info,
        }
        .sign(signer, algorithm)
    }

    pub(super) fn vek_certificate(&self, config: &MachineConfig, key: &VekKey) -> Result<Vec<u8>, SimError> {
        let mistake = &config.certificate;
        let (role, issuer, common_name, seconds) = match config.signer {
            Signer::Vcek => (Role::Ask, &self.ask, "SEV-VCEK", VCEK_SECONDS),
            Signer::Vlek => (Role::Asvk, &self.asvk, "SEV-VLEK", VLEK_SECONDS),
        };
        let (inner, outer) = match mistake {
            CertificateMistake::PssSha256 => (Algorithm::Sha256, Algorithm::Sha256),
            CertificateMistake::PssDisagrees => (Algorithm::Sha256, Algorithm::Sha384(config.pss_parameters)),
            _ => (Algorithm::Sha384(config.pss_parameters), Algorithm::Sha384(config.pss_parameters)),
        };
        let window = match mistake {
            CertificateMistake::Validity { not_before, not_after } => {
                Window { not_before: *not_before, not_after: *not_after }
            }
            _ => window(self.issued, seconds)?,
        };
        let common_name = match mistake {
            CertificateMistake::CommonName(other) => other,
            _ => common_name,
        };
        let issuer_name = match mistake {
            CertificateMistake::IssuerCommonName(other) => name(other),
            _ => name(&role.common_name(self.line)),
        };
        let key_info = match mistake {
            CertificateMistake::P256Key => throwaway_p256_key_info()?,
            _ => key.public_key_info()?,
        };
        let signer = match mistake {
            CertificateMistake::SignedByArk => &self.ark.key,
            _ => &issuer.key,
        };
        let extensions = self.vek_extensions(config);
        Tbs {
            serial: VEK_SERIAL,
            algorithm: inner,
            issuer: issuer_name,
            window,
            subject: name(common_name),
            key_info,
            extensions,
        }
        .sign(signer, outer)
    }

    fn vek_extensions(&self, config: &MachineConfig) -> Vec<Vec<u8>> {
        let mistake = &config.certificate;
        let tcb = match mistake {
            CertificateMistake::OtherTcb(other) => *other,
            _ => config.tcb,
        };
        let chip = match mistake {
            CertificateMistake::OtherHwid(other) => other,
            _ => &config.chip_id,
        };
        let hwid_length = match mistake {
            CertificateMistake::HwidLength(length) => *length,
            _ => line(self.line).hwid_bytes,
        };
        let product_name = match (mistake, config.signer) {
            (CertificateMistake::ProductName(other), _) => other,
            (_, Signer::Vcek) => line(self.line).vcek_product_name,
            (_, Signer::Vlek) => line(self.line).name,
        };
        let facts = VekFacts {
            has_fmc: line(self.line).has_fmc,
            product_name,
            tcb,
            hwid: (config.signer == Signer::Vcek).then(|| chip.get(..hwid_length).unwrap_or(chip)),
            csp_id: (config.signer == Signer::Vlek).then_some(CSP_ID),
        };
        let missing = match mistake {
            CertificateMistake::MissingExtension(which) => Some(*which),
            _ => None,
        };
        let repeated = match mistake {
            CertificateMistake::RepeatedExtension(which) => Some(*which),
            _ => None,
        };
        let mut extensions = facts.extensions(missing, repeated);
        match mistake {
            CertificateMistake::UnknownCriticalExtension => extensions.push(unknown_critical_extension()),
            CertificateMistake::IsAuthority => extensions.push(basic_constraints(true, None)),
            _ => {}
        }
        extensions
    }
}

impl Role {
    /// The subject's common name in AMD's scheme.
    pub(crate) fn common_name(self, of: ProductLine) -> String {
        let prefix = match self {
            Self::Ark => "ARK",
            Self::Ask => "SEV",
            Self::Asvk => "SEV-VLEK",
        };
        format!("{prefix}-{}", line(of).name)
    }

    /// Where AMD's certificates say that the revocation list is; here a name that can never resolve (RFC 6761).
    fn crl_url(self, of: ProductLine) -> String {
        let kind = match self {
            Self::Ark | Self::Ask => "vcek",
            Self::Asvk => "vlek",
        };
        format!("https://kds.simulated.invalid/{kind}/v1/{}/crl", line(of).name)
    }

    /// AMD's serial number for this certificate.
    pub(crate) fn serial(self, of: ProductLine) -> u64 {
        let number = match self {
            Self::Ark => 0,
            Self::Ask => line(of).ask_serial,
            Self::Asvk => 0x101,
        };
        line(of).first_serial | number
    }
}

/// From one day before `issued`, for `seconds`.
pub(crate) fn window(issued: UnixTime, seconds: u64) -> Result<Window, SimError> {
    let out_of_range = SimError::TimeOutOfRange { at: issued };
    let not_before = issued.0.checked_sub(BACKDATE_SECONDS).ok_or(out_of_range.clone())?;
    let not_after = not_before.checked_add(seconds).ok_or(out_of_range)?;
    Ok(Window { not_before: UnixTime(not_before), not_after: UnixTime(not_after) })
}
