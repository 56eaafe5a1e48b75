//! The vendor: three authorities, a revocation list, and the machines that it endorses.

mod issue;

use std::fmt;
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;

use crate::certificate::{TbsCrl, name};
use crate::error::SimError;
use crate::keys::{RsaKey, VekKey};
use crate::line::SUPPORTED;
use crate::machine::{Machine, MachineConfig};
use crate::mistakes::{AuthorityMistake, CrlMistake};

pub use issue::CSP_ID;
pub(crate) use issue::{AUTHORITY_SECONDS, BACKDATE_SECONDS, DAY, Role, window};
use issue::{CRL_SECONDS, VEK_SERIAL};

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

impl Vendor {
    /// Makes a vendor: three RSA-4096 keys, their certificates and an empty revocation list. Takes about a second.
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
