//! The vendor: three authorities, a revocation list, and the machines that it endorses.

use std::fmt;
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;

use crate::certificate::{
    Algorithm, CRL_SIGN, KEY_CERT_SIGN, Tbs, TbsCrl, VekFacts, Window, ark_extensions, basic_constraints,
    issuer_extensions, name, unknown_critical_extension,
};
use crate::error::SimError;
use crate::keys::{RsaKey, VekKey, throwaway_p256_key_info};
use crate::line::{SUPPORTED, line};
use crate::machine::{Machine, MachineConfig, Signer};
use crate::mistakes::{AuthorityMistake, CertificateMistake, CrlMistake, PssParameters};

/// Everything is dated back by a day, as AMD's key server does, so that a slow clock does not refuse it.
pub(crate) const BACKDATE_SECONDS: u64 = 86_400;
const DAY: u64 = 86_400;
/// AMD's roots and intermediates live for 25 years.
const AUTHORITY_SECONDS: u64 = 25 * 365 * DAY;
/// A VCEK lives for seven years.
const VCEK_SECONDS: u64 = 7 * 365 * DAY;
/// A VLEK lives for one year.
const VLEK_SECONDS: u64 = 365 * DAY;
/// AMD's recorded lists live for a little over a year.
const CRL_SECONDS: u64 = 371 * DAY;

/// The certificates' serial number of a VEK: AMD writes 0 in every one.
const VEK_SERIAL: u64 = 0;
/// The cloud provider (CSP_ID) that a simulated VLEK names.
pub const CSP_ID: &str = "CN=cc-simulated.example";

/// A simulated silicon vendor for one product line.
pub struct Vendor {
    line: ProductLine,
    issued: UnixTime,
    ark: Authority,
    ask: Authority,
    asvk: Authority,
    crl: Vec<u8>,
}

/// One authority: its key and its certificate.
pub(crate) struct Authority {
    pub(crate) key: Arc<RsaKey>,
    pub(crate) certificate: Vec<u8>,
}

/// The three authorities' roles, with AMD's names and serial numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Ark,
    Ask,
    Asvk,
}

impl Vendor {
    /// Makes a vendor: three RSA-4096 keys, their certificates and an empty revocation list. Takes seconds.
    ///
    /// Everything is valid from one day before `now`: authorities for 25 years, VCEKs for seven, VLEKs for
    /// one, the revocation list for a year. [`Vendor::renew`] issues anew.
    ///
    /// # Errors
    /// [`SimError::UnsupportedLine`], [`SimError::KeyGeneration`], [`SimError::Signing`], or
    /// [`SimError::TimeOutOfRange`].
    pub fn create(line: ProductLine, now: UnixTime) -> Result<Self, SimError> {
        if !SUPPORTED.contains(&line) {
            return Err(SimError::UnsupportedLine { line });
        }
        let keys = thread::scope(|scope| {
            // Prime search is the whole cost, and the three are independent.
            let makers = [(); 3].map(|()| scope.spawn(RsaKey::generate));
            makers.map(|maker| {
                maker.join().unwrap_or(Err(SimError::KeyGeneration { algorithm: "RSA-4096" })).map(Arc::new)
            })
        });
        let [ark, ask, asvk] = keys;
        Self::issue(line, now, [ark?, ask?, asvk?], &AuthorityMistake::None)
    }

    /// The product line.
    pub fn line(&self) -> ProductLine {
        self.line
    }

    /// When the vendor last issued: machines' certificates and the revocation list count from here.
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// The root bundle: ARK, ASK and ASVK certificates, in this order, in PEM. A verifier that should accept this
    /// vendor's machines must be given exactly this text.
    pub fn root_pem(&self) -> String {
        [&self.ark, &self.ask, &self.asvk]
            .map(|authority| pem("CERTIFICATE", &authority.certificate))
            .concat()
    }

    /// The vendor's revocation list in DER, signed by the ARK.
    pub fn crl_der(&self) -> &[u8] {
        &self.crl
    }

    /// Makes a machine: a new P-384 key, endorsed by a certificate that states the configuration's facts.
    ///
    /// The certificate is always of the vendor's product line and the report of the configuration's, so a
    /// configuration for another line gives evidence that a verifier must refuse. Two calls give two keys.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`], [`SimError::Signing`], [`SimError::Randomness`] or
    /// [`SimError::TimeOutOfRange`].
    pub fn machine(&self, config: &MachineConfig) -> Result<Machine, SimError> {
        let key = VekKey::generate()?;
        let certificate = self.vek_certificate(config, &key)?;
        Machine::new(config.clone(), key, certificate, self.crl.clone())
    }

    /// Issues a new revocation list, and counts new machines' certificates from `now`. Root and intermediates stay,
    /// so a verifier that trusts the vendor does so after this as well.
    ///
    /// # Errors
    /// [`SimError::RenewalInThePast`], [`SimError::Signing`] or [`SimError::TimeOutOfRange`].
    pub fn renew(&mut self, now: UnixTime) -> Result<(), SimError> {
        if now < self.issued {
            return Err(SimError::RenewalInThePast { now, issued: self.issued });
        }
        let before = std::mem::replace(&mut self.issued, now);
        self.crl = self.crl_with(&CrlMistake::None).inspect_err(|_| self.issued = before)?;
        Ok(())
    }

    /// Test material: the same keys under a root bundle with one mistake. Machines and lists that this vendor
    /// makes are correct otherwise.
    ///
    /// # Errors
    /// [`SimError::Signing`] or [`SimError::TimeOutOfRange`].
    pub fn with_mistake(&self, mistake: &AuthorityMistake) -> Result<Self, SimError> {
        let keys = [&self.ark, &self.ask, &self.asvk].map(|authority| Arc::clone(&authority.key));
        Self::issue(self.line, self.issued, keys, mistake)
    }

    /// Test material: a revocation list of this vendor with one mistake or one entry.
    ///
    /// # Errors
    /// [`SimError::Signing`] or [`SimError::TimeOutOfRange`].
    pub fn crl_with(&self, mistake: &CrlMistake) -> Result<Vec<u8>, SimError> {
        let usual = window(self.issued, CRL_SECONDS)?;
        let (this_update, next_update) = match mistake {
            CrlMistake::Window { this_update, next_update } => (*this_update, Some(*next_update)),
            CrlMistake::NoNextUpdate => (usual.not_before, None),
            _ => (usual.not_before, Some(usual.not_after)),
        };
        let revoked = match mistake {
            CrlMistake::RevokesAsk => vec![Role::Ask.serial(self.line)],
            CrlMistake::RevokesAsvk => vec![Role::Asvk.serial(self.line)],
            CrlMistake::RevokesVek => vec![VEK_SERIAL],
            CrlMistake::RevokesStranger => vec![Role::Ark.serial(self.line).saturating_add(0xffff)],
            _ => Vec::new(),
        };
        let signer = match mistake {
            CrlMistake::SignedByAsk => &self.ask.key,
            _ => &self.ark.key,
        };
        let issuer = match mistake {
            CrlMistake::IssuerCommonName(other) => name(other),
            _ => name(&Role::Ark.common_name(self.line)),
        };
        let authority_key_info = self.ark.key.public_key_info()?;
        let number = this_update.0 / DAY; // grows with every renewal on another day
        TbsCrl { issuer, this_update, next_update, revoked, authority_key_info, number }.sign(signer)
    }

    /// The three authorities with their roles.
    pub(crate) fn authorities(&self) -> [(Role, &Authority); 3] {
        [(Role::Ark, &self.ark), (Role::Ask, &self.ask), (Role::Asvk, &self.asvk)]
    }

    /// Puts a vendor together from parts that `store` has checked.
    pub(crate) fn from_parts(
        line: ProductLine,
        issued: UnixTime,
        authorities: [Authority; 3],
        crl: Vec<u8>,
    ) -> Self {
        let [ark, ask, asvk] = authorities;
        Self { line, issued, ark, ask, asvk, crl }
    }

    /// Certifies three keys and issues the first revocation list.
    fn issue(
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

    fn vek_certificate(&self, config: &MachineConfig, key: &VekKey) -> Result<Vec<u8>, SimError> {
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

impl fmt::Debug for Vendor {
    /// Says which vendor this is; never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vendor")
            .field("line", &self.line)
            .field("issued", &self.issued)
            .finish_non_exhaustive()
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

/// PEM (RFC 7468): 64 characters a line.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// From one day before `issued`, for `seconds`.
fn window(issued: UnixTime, seconds: u64) -> Result<Window, SimError> {
    let out_of_range = SimError::TimeOutOfRange { at: issued };
    let not_before = issued.0.checked_sub(BACKDATE_SECONDS).ok_or(out_of_range.clone())?;
    let not_after = not_before.checked_add(seconds).ok_or(out_of_range)?;
    Ok(Window { not_before: UnixTime(not_before), not_after: UnixTime(not_after) })
}
