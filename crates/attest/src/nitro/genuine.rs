//! "Is it genuine?": rules NIT-01 to NIT-06, in this order (spec/attest.md §11).

use super::document::Document;
use super::reject::NitroRejection;
use crate::anchors::TrustAnchors;
use crate::chain::{self, ChainError, Profile, Role};
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::endorsements::Revocation;
use crate::rules::nitro as rules;
use crate::time::UnixTime;
use crate::x509::{Certificate, PublicKey};

/// How far a document's clock may be ahead of the verifier's, in seconds.
const SKEW: u64 = 300;

/// Every key is P-384, every signature ECDSA with SHA-384.
static PROFILE: Profile = Profile {
    algorithms: crypto::ECDSA_P384,
    issuer_key: |key| matches!(key, PublicKey::P384(_)),
    leaf_key: |key| matches!(key, PublicKey::P384(_)),
};

/// What is known of a document once it is genuine.
#[derive(Debug)]
pub(crate) struct Genuine {
    /// When it was verified.
    pub(crate) now: UnixTime,
    /// When it was made.
    pub(crate) made: UnixTime,
    /// Last second at which every certificate of the path is valid.
    pub(crate) valid_until: UnixTime,
}

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn verify(
    document: &Document,
    revocation: &Revocation,
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, NitroRejection> {
    ledger.record(&rules::FORMAT, format(document))?;
    let root = ledger.record(&rules::ROOT, root(anchors, now))?;
    let path = ledger.record(&rules::CHAIN, path(document, root, now))?;
    let lists_until = ledger.record(&rules::REVOCATION, revoked(revocation, &path, root, now))?;
    ledger.record(&rules::SIGNATURE, signature(document, &path.leaf))?;
    let made = ledger.record(&rules::TIME, time(document, &path.leaf, now))?;
    Ok(Genuine { now, made, valid_until: path.valid_until.min(lists_until) })
}

type Step<T> = Result<(T, Finding), NitroRejection>;

struct Path {
    /// The root's child first.
    intermediates: Vec<Certificate>,
    leaf: Certificate,
    valid_until: UnixTime,
}

/// NIT-01. A `Document` exists only after its form was checked; this writes it down.
fn format(document: &Document) -> Step<()> {
    let compared = format!("COSE_Sign1, ES384, {} bytes", document.bytes().len());
    Ok(((), Finding::Pass(compared)))
}

/// NIT-02.
fn root(anchors: &TrustAnchors, now: UnixTime) -> Step<&Certificate> {
    let root = anchors.nitro().ok_or(NitroRejection::RootMissing)?;
    chain::check_anchor(root, &PROFILE, now).map_err(NitroRejection::Chain)?;
    let whose = if anchors.simulated() { "SIMULATED root" } else { "AWS's root" };
    Ok((root, Finding::Pass(format!("{whose} {}, valid until {}", root.subject_cn, root.not_after))))
}

/// NIT-03.
fn path(document: &Document, root: &Certificate, now: UnixTime) -> Step<Path> {
    let read = |der: &[u8]| Certificate::parse(der).map_err(NitroRejection::Certificate);
    let intermediates =
        document.intermediates().iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
    let leaf = read(document.certificate())?;
    let issuers: Vec<_> = intermediates.iter().collect();
    let valid_until =
        chain::validate_path(root, &issuers, &leaf, &PROFILE, now).map_err(NitroRejection::Chain)?;
    let names: Vec<_> = [root].into_iter().chain(issuers).map(|it| it.subject_cn.as_str()).collect();
    let compared = format!("{} > {}, valid until {valid_until}", names.join(" > "), leaf.subject_cn);
    Ok((Path { intermediates, leaf, valid_until }, Finding::Pass(compared)))
}

/// NIT-04. AWS's lists are one per authority. Returns the last second at which every list counts.
fn revoked(revocation: &Revocation, path: &Path, root: &Certificate, now: UnixTime) -> Step<UnixTime> {
    let path: Vec<_> = [root].into_iter().chain(&path.intermediates).chain([&path.leaf]).collect();
    chain::path_revocation(revocation, &path, &PROFILE, now).map_err(NitroRejection::Revocation)
}

/// NIT-05. Over the bytes that arrived.
fn signature(document: &Document, leaf: &Certificate) -> Step<()> {
    let PublicKey::P384(key) = leaf.key else {
        return Err(NitroRejection::Chain(ChainError::KeyType { role: Role::Leaf }));
    };
    let (r, s) = document.signature();
    for (which, scalar) in [("R", &r), ("S", &s)] {
        if !crypto::is_p384_scalar(scalar) {
            return Err(NitroRejection::SignatureScalar { which });
        }
    }
    if !crypto::verify_p384_sha384(&key, &document.signed(), &r, &s) {
        return Err(NitroRejection::SignatureInvalid);
    }
    Ok(((), Finding::Pass("ECDSA P-384, SHA-384, over Sig_structure".to_owned())))
}

/// NIT-06.
fn time(document: &Document, leaf: &Certificate, now: UnixTime) -> Step<UnixTime> {
    let made = UnixTime(document.timestamp_ms() / 1000);
    if made.0 > now.0.saturating_add(SKEW) {
        return Err(NitroRejection::FromTheFuture { made, now });
    }
    if made < leaf.not_before || made > leaf.not_after {
        return Err(NitroRejection::OutsideCertificate {
            made,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        });
    }
    let compared = format!("made at {made}; certificate {} to {}", leaf.not_before, leaf.not_after);
    Ok((made, Finding::Pass(compared)))
}
