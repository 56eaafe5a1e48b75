//! Collateral: what Intel says about the platform and the quoting enclave (rules TDX-03 to TDX-05). Read to name what is
//! missing, foreign, out of date or revoked; whether Intel said it is rule TDX-06's.

use std::sync::Arc;

use ::der::DateTime;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::list::List;
use super::pck::Pck;
use super::qe::QeIdentity;
use super::quote::{PCK_CHAIN, Quote};
use super::reject::TdxRejection;
use super::tcb_info::TcbInfo;
use crate::crypto::IssuerCache;
use crate::time::UnixTime;
use crate::x509::Certificate;

/// Longest collateral that is looked at. Recorded ones have 25 KiB at most; the PCK revocation list may grow.
pub const MAX_COLLATERAL: usize = 1024 * 1024;

/// Most certificates in one chain.
const MAX_CHAIN: usize = 4;

/// As Intel's services and the caches in front of them give it, in one JSON object; binary fields are hexadecimal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    pck_crl_issuer_chain: String,
    #[serde(default)]
    root_ca_crl: String,
    #[serde(default)]
    pck_crl: String,
    #[serde(default)]
    tcb_info_issuer_chain: String,
    #[serde(default)]
    tcb_info: String,
    #[serde(default)]
    tcb_info_signature: String,
    #[serde(default)]
    qe_identity_issuer_chain: String,
    #[serde(default)]
    qe_identity: String,
    #[serde(default)]
    qe_identity_signature: String,
    #[serde(default)]
    pck_certificate_chain: Option<String>,
}

/// Collateral beside a quote's PCK chain. It was read, and is believed by nobody yet.
pub(crate) struct Collateral {
    pub(crate) published: Arc<Published>,
    /// Whether [`super::signatures::published`] accepted these very bytes before, under the same root.
    pub(crate) remembered: bool,
    pub(crate) pck: Pck,
    /// The leaf first; without the pinned root.
    pub(crate) pck_chain: Vec<Certificate>,
}

/// The collateral itself, which is the same for every quote of the platform's kind.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) root_list: List,
    pub(crate) pck_list: List,
    pub(crate) tcb: TcbInfo,
    pub(crate) tcb_info: Signed,
    pub(crate) qe: QeIdentity,
    pub(crate) qe_identity: Signed,
    /// PEM; looked at only where the quote has none of its own.
    pck_chain: Option<String>,
    /// Of the pinned root.
    root_serial: Vec<u8>,
    root_until: UnixTime,
}

/// A document of Intel's.
#[derive(Debug)]
pub(crate) struct Signed {
    /// Exactly the bytes that are signed.
    pub(crate) text: String,
    pub(crate) signature: Vec<u8>,
    /// The signer first; without the pinned root. Empty of a QE identity whose chain is the TCB info's.
    pub(crate) chain: Vec<Certificate>,
    dated: Dated,
}

#[derive(Debug, Clone, Copy)]
struct Dated {
    from: UnixTime,
    until: UnixTime,
}

impl Collateral {
    /// TDX-03. What the cache of this verification remembers is not read again.
    pub(crate) fn read(
        json: &[u8],
        quote: &Quote,
        root: &Certificate,
        now: UnixTime,
    ) -> Result<Self, TdxRejection> {
        if json.is_empty() {
            return Err(TdxRejection::Missing { what: "content" });
        }
        if json.len() > MAX_COLLATERAL {
            return Err(TdxRejection::TooLong { found: json.len() });
        }
        let known = IssuerCache::current().and_then(|cache| cache.collateral.find(&root.der, json));
        if let Some(published) = known.filter(|published| now <= published.until()) {
            let (pck_chain, pck) = platform(quote, published.pck_chain.as_deref(), root)?;
            of_platform(&published.tcb, &pck)?;
            return Ok(Self { published, remembered: true, pck, pck_chain });
        }

        let file: File = serde_json::from_slice(json).map_err(|_| malformed("the collateral"))?;
        if quote.certification() != PCK_CHAIN && file.pck_certificate_chain.is_none() {
            return Err(TdxRejection::Missing { what: "PCK certificate chain" });
        }
        present(file.pck_crl_issuer_chain, "PCK CRL issuer chain")?;
        let root_crl = binary(file.root_ca_crl, "root CA CRL")?;
        let pck_crl = binary(file.pck_crl, "PCK CRL")?;
        let tcb_chain = present(file.tcb_info_issuer_chain, "TCB info issuer chain")?;
        let tcb_text = present(file.tcb_info, "TCB info")?;
        let tcb_signature = binary(file.tcb_info_signature, "TCB info signature")?;
        let qe_chain = present(file.qe_identity_issuer_chain, "QE identity issuer chain")?;
        let qe_text = present(file.qe_identity, "QE identity")?;
        let qe_signature = binary(file.qe_identity_signature, "QE identity signature")?;

        let (pck_chain, pck) = platform(quote, file.pck_certificate_chain.as_deref(), root)?;
        let tcb_certificates = chain_of(tcb_chain.as_bytes(), "TCB info issuer chain", root)?;
        // Intel signs both with one certificate, and sends the same chain with both.
        let qe_certificates = if qe_chain == tcb_chain {
            Vec::new()
        } else {
            chain_of(qe_chain.as_bytes(), "QE identity issuer chain", root)?
        };

        let tcb = TcbInfo::parse(&tcb_text).ok_or(malformed("TCB info"))?;
        if tcb.id != "TDX" || tcb.version != 3 {
            return Err(TdxRejection::TcbInfoKind { id: tcb.id, version: tcb.version });
        }
        of_platform(&tcb, &pck)?;
        let qe = QeIdentity::parse(&qe_text).ok_or(malformed("QE identity"))?;
        if qe.id != "TD_QE" || !matches!(qe.version, 2 | 3) {
            return Err(TdxRejection::QeIdentityKind { id: qe.id, version: qe.version });
        }
        let published = Published {
            tcb_info: Signed {
                dated: dated("TCB info", &tcb.issue_date, &tcb.next_update)?,
                text: tcb_text,
                signature: tcb_signature,
                chain: tcb_certificates,
            },
            qe_identity: Signed {
                dated: dated("QE identity", &qe.issue_date, &qe.next_update)?,
                text: qe_text,
                signature: qe_signature,
                chain: qe_certificates,
            },
            tcb,
            qe,
            root_list: List::read("root CA CRL", root_crl)?,
            pck_list: List::read("PCK CRL", pck_crl)?,
            pck_chain: file.pck_certificate_chain,
            root_serial: root.serial.clone(),
            root_until: root.not_after,
        };
        Ok(Self { published: Arc::new(published), remembered: false, pck, pck_chain })
    }

    /// TDX-04. Last second at which all is in date.
    pub(crate) fn in_date(&self, now: UnixTime) -> Result<UnixTime, TdxRejection> {
        let certificates = self.certificates().map(|(what, one)| {
            let dated = Dated { from: one.not_before, until: one.not_after };
            (what, dated)
        });
        let mut last = UnixTime(u64::MAX);
        for (what, Dated { from, until }) in self.published.documents().into_iter().chain(certificates) {
            if now < from {
                return Err(TdxRejection::NotYetValid { what, from, now });
            }
            if now > until {
                return Err(TdxRejection::Expired { what, until, now });
            }
            last = last.min(until);
        }
        Ok(last)
    }

    /// TDX-05. Both lists are asked about every certificate, the pinned root included.
    pub(crate) fn not_revoked(&self) -> Result<usize, TdxRejection> {
        let lists = [&self.published.root_list, &self.published.pck_list];
        let certificates = self.certificates().map(|(what, one)| (what, &one.serial));
        for (what, serial) in certificates.chain([("root", &self.published.root_serial)]) {
            if lists.iter().any(|list| list.has(serial)) {
                return Err(TdxRejection::Revoked { what, serial: hex::encode(serial) });
            }
        }
        Ok(lists.iter().map(|list| list.len()).fold(0, usize::saturating_add))
    }

    /// The lower of the evaluation data numbers of TCB info and QE identity.
    pub(crate) fn evaluation(&self) -> u32 {
        self.published.tcb.evaluation.min(self.published.qe.evaluation)
    }

    fn certificates(&self) -> impl Iterator<Item = (&'static str, &Certificate)> {
        let pck = self.pck_chain.iter().map(|one| ("PCK certificate chain", one));
        pck.chain(self.published.certificates())
    }
}

impl Published {
    fn certificates(&self) -> impl Iterator<Item = (&'static str, &Certificate)> {
        let tcb = self.tcb_info.chain.iter().map(|one| ("TCB info issuer chain", one));
        tcb.chain(self.qe_identity.chain.iter().map(|one| ("QE identity issuer chain", one)))
    }

    fn documents(&self) -> [(&'static str, Dated); 4] {
        [
            ("TCB info", self.tcb_info.dated),
            ("QE identity", self.qe_identity.dated),
            ("root CA CRL", Dated::of(&self.root_list)),
            ("PCK CRL", Dated::of(&self.pck_list)),
        ]
    }

    /// Last second at which all of it is in date.
    fn until(&self) -> UnixTime {
        let documents = self.documents().into_iter().map(|(_, dated)| dated.until);
        let certificates = self.certificates().map(|(_, one)| one.not_after);
        documents.chain(certificates).fold(self.root_until, UnixTime::min)
    }
}

impl Dated {
    fn of(list: &List) -> Self {
        Self { from: list.this_update, until: list.next_update }
    }
}

/// The PCK certificate chain, and what its leaf says. A chain that somebody else recorded would take the place of the
/// quote's own: it is not looked at.
fn platform(
    quote: &Quote,
    brought: Option<&str>,
    root: &Certificate,
) -> Result<(Vec<Certificate>, Pck), TdxRejection> {
    let what = "PCK certificate chain";
    let pem = match (quote.certification(), brought) {
        (PCK_CHAIN, _) => quote.certificates(),
        (_, Some(chain)) => chain.as_bytes(),
        (_, None) => return Err(TdxRejection::Missing { what }),
    };
    let chain = chain_of(text(pem)?, what, root)?;
    let leaf = chain.first().ok_or(TdxRejection::Missing { what: "PCK certificate" })?;
    let pck = Pck::read(leaf).ok_or(malformed("PCK certificate's extension"))?;
    Ok((chain, pck))
}

fn of_platform(tcb: &TcbInfo, pck: &Pck) -> Result<(), TdxRejection> {
    same("FMSPC", &tcb.fmspc, &pck.fmspc)?;
    same("PCE id", &tcb.pce_id, &pck.pce_id)
}

fn malformed(what: &'static str) -> TdxRejection {
    TdxRejection::Malformed { what }
}

/// The chain as text, and nothing else: Intel's quoting enclave ends it with one zero byte or with none.
fn text(pem: &[u8]) -> Result<&[u8], TdxRejection> {
    let text = pem.strip_suffix(&[0]).unwrap_or(pem);
    let is_text = |octet: &u8| octet.is_ascii_graphic() || matches!(octet, b' ' | b'\n' | b'\r');
    if text.iter().all(is_text) { Ok(text) } else { Err(malformed("PCK certificate chain")) }
}

fn present(text: String, what: &'static str) -> Result<String, TdxRejection> {
    if text.is_empty() { Err(TdxRejection::Missing { what }) } else { Ok(text) }
}

fn binary(text: String, what: &'static str) -> Result<Vec<u8>, TdxRejection> {
    let text = present(text, what)?;
    let mut bytes = vec![0; text.len() / 2];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| malformed(what))?;
    Ok(bytes)
}

fn same(what: &'static str, collateral: &str, quote: &[u8]) -> Result<(), TdxRejection> {
    if hex::decode(collateral).is_ok_and(|bytes| bytes == quote) {
        return Ok(());
    }
    Err(TdxRejection::TcbInfoPlatform { what, collateral: collateral.to_owned(), quote: hex::encode(quote) })
}

/// The leaf first. The pinned root, which is valid by itself, is left out behind it.
fn chain_of(pem: &[u8], what: &'static str, root: &Certificate) -> Result<Vec<Certificate>, TdxRejection> {
    let mut rest = core::str::from_utf8(pem).map_err(|_| malformed(what))?.trim_matches(BETWEEN);
    if !rest.contains(BEGIN) {
        return Err(TdxRejection::Missing { what });
    }
    let mut chain = Vec::new();
    for position in 0.. {
        if rest.is_empty() {
            break;
        }
        if position == MAX_CHAIN {
            return Err(malformed(what));
        }
        let (der, behind) = section(rest).ok_or(malformed(what))?;
        if position == 0 || der != root.der {
            chain.push(Certificate::parse(&der).map_err(|_| malformed(what))?);
        }
        rest = behind;
    }
    Ok(chain)
}

/// Takes one certificate from the front (RFC 7468): nothing before it, canonical Base64 in lines, whitespace behind it.
fn section(text: &str) -> Option<(Vec<u8>, &str)> {
    let (body, behind) = text.strip_prefix(BEGIN)?.split_once(END)?;
    let octets: Vec<u8> = body.bytes().filter(|octet| !BETWEEN.contains(&char::from(*octet))).collect();
    Some((STANDARD.decode(octets).ok()?, behind.trim_start_matches(BETWEEN)))
}

/// Around a certificate.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Between lines, and around all of it.
const BETWEEN: &[char] = &[' ', '\n', '\r'];

fn dated(what: &'static str, from: &str, until: &str) -> Result<Dated, TdxRejection> {
    let seconds = |text: &str| date(text).ok_or(malformed(what));
    Ok(Dated { from: seconds(from)?, until: seconds(until)? })
}

/// RFC 3339, UTC.
pub(crate) fn date(text: &str) -> Option<UnixTime> {
    let date: DateTime = text.parse().ok()?;
    Some(UnixTime(date.unix_duration().as_secs()))
}
