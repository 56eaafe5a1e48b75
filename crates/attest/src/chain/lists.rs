//! Revocation lists of several authorities, for paths of which each authority publishes its own (rules NIT-04 and GV-05;
//! spec/attest.md §5.4).

use webpki::CertRevocationList;

use super::{CrlError, MAX_INTERMEDIATES, Profile, Role, is_signed_by, read_list};
use crate::checks::Finding;
use crate::der::{self, SEQUENCE};
use crate::endorsements::Revocation;
use crate::time::UnixTime;
use crate::x509::{Certificate, KeyUsage};

/// More lists are refused before they are read: a path has no more authorities, with its root.
const MAX_LISTS: usize = MAX_INTERMEDIATES + 1;
/// More distribution points of one certificate are refused; AWS's and Google's have one.
const MAX_POINTS: usize = 8;

/// cRLDistributionPoints (RFC 5280 §4.2.1.13).
const DISTRIBUTION_POINTS: &str = "2.5.29.31";
/// `distributionPoint [0]` and in it `fullName [0]`, constructed.
const NAME: u8 = 0xa0;
/// `uniformResourceIdentifier [6]`.
const URI: u8 = 0x86;

/// What the lists said of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathCleared {
    /// Certificates that were looked up.
    pub(crate) looked_up: usize,
    /// Certificates that name no list, and whose issuers gave none.
    pub(crate) unlisted: usize,
    /// Last second at which every list counts.
    pub(crate) next_update: UnixTime,
}

/// A list whose signature verified, and whose it is: its place in the path.
struct Read<'a> {
    issuer: usize,
    list: CertRevocationList<'a>,
    next_update: UnixTime,
}

/// Looks up every certificate below the root in the lists of its issuer. `path` begins with the root, ends with the leaf, and
/// is validated; what is between them may be in any order, and not all of it need have been used: who issued a certificate
/// is told by its signature, not by its place.
///
/// A certificate that names a place of such a list must be in reach of one; every list that was given must be of an
/// authority of the path, and hold.
fn check_path_revocation(
    lists: &[Vec<u8>],
    path: &[&Certificate],
    profile: &Profile,
    now: UnixTime,
) -> Result<PathCleared, CrlError> {
    if lists.is_empty() {
        return Err(CrlError::Missing);
    }
    if lists.len() > MAX_LISTS {
        return Err(CrlError::TooMany { found: lists.len() });
    }
    let lists = lists.iter().map(|der| read(der, path, profile, now)).collect::<Result<Vec<_>, _>>()?;
    let mut cleared = PathCleared { looked_up: 0, unlisted: 0, next_update: UnixTime(u64::MAX) };
    for list in &lists {
        cleared.next_update = cleared.next_update.min(list.next_update);
    }
    let last = path.len().saturating_sub(1);
    for (position, subject) in path.iter().enumerate().skip(1) {
        let role = if position == last { Role::Leaf } else { Role::Intermediate };
        let missing = || CrlError::MissingOf { issuer: subject.issuer_cn.clone() };
        let signed = der::signed(&subject.der).ok_or_else(missing)?;
        let issuer = authority(path, &subject.issuer, &signed, profile).ok_or_else(missing)?;
        let mut own = lists.iter().filter(|list| list.issuer == issuer).peekable();
        match (own.peek().is_some(), distribution_points(subject)?.is_some()) {
            (true, _) => cleared.looked_up = cleared.looked_up.saturating_add(1),
            (false, true) => return Err(missing()),
            (false, false) => cleared.unlisted = cleared.unlisted.saturating_add(1),
        }
        for list in own {
            if list.list.find_serial(&subject.serial).map_err(|_| CrlError::Malformed)?.is_some() {
                return Err(CrlError::Revoked { role });
            }
        }
    }
    Ok(cleared)
}

fn read<'a>(
    der: &'a [u8],
    path: &[&Certificate],
    profile: &Profile,
    now: UnixTime,
) -> Result<Read<'a>, CrlError> {
    let (signed, fields, list) = read_list(der)?;
    if !path.iter().any(|it| it.subject.as_slice() == fields.issuer) {
        return Err(CrlError::Issuer);
    }
    let issuer = authority(path, fields.issuer, &signed, profile).ok_or(CrlError::Signature)?;
    let key_usage = path.get(issuer).map(|it| it.key_usage);
    if !matches!(key_usage, Some(KeyUsage::Present { crl_sign: true, .. })) {
        return Err(CrlError::KeyUsage);
    }
    fields.holds(now)?;
    if list.issuing_distribution_point().is_some() {
        return Err(CrlError::Scoped);
    }
    Ok(Read { issuer, list, next_update: fields.next_update })
}

/// The place of the authority of this name whose key signed. The leaf, which comes last, is none.
fn authority(
    path: &[&Certificate],
    name: &[u8],
    signed: &der::Signed<'_>,
    profile: &Profile,
) -> Option<usize> {
    let authorities = path.split_last().map_or(&[][..], |(_, authorities)| authorities);
    authorities.iter().position(|it| it.subject == name && is_signed_by(signed, &it.spki, profile))
}

/// Where the certificate says that its issuer's list is; `None` where it says nothing. Points of other lists (of some
/// reasons only, or of another issuer) are refused: the issuer's own list would say nothing about the certificate.
pub(crate) fn distribution_points(certificate: &Certificate) -> Result<Option<Vec<String>>, CrlError> {
    let Some(value) = certificate.extension(DISTRIBUTION_POINTS) else { return Ok(None) };
    points(value).map(Some).ok_or(CrlError::Scoped)
}

fn points(value: &[u8]) -> Option<Vec<String>> {
    let mut rest = der::only(value, SEQUENCE)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (point, after) = der::take(rest, SEQUENCE)?;
        let uri = der::only(der::only(der::only(point.content, NAME)?, NAME)?, URI)?;
        if found.len() >= MAX_POINTS || !uri.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        found.push(String::from_utf8(uri.to_vec()).ok()?);
        rest = after;
    }
    (!found.is_empty()).then_some(found)
}

/// Applies [`check_path_revocation`] to what is known: a rule's step. Returns the last second at which every list counts.
pub(crate) fn path_revocation(
    revocation: &Revocation,
    path: &[&Certificate],
    profile: &Profile,
    now: UnixTime,
) -> Result<(UnixTime, Finding), CrlError> {
    match (revocation.lists(), revocation) {
        (Some(lists), _) => {
            let cleared = check_path_revocation(lists, path, profile, now)?;
            let PathCleared { looked_up, unlisted, next_update } = cleared;
            let compared =
                format!("{looked_up} certificates in no list until {next_update}, {unlisted} name none");
            Ok((next_update, Finding::Pass(compared)))
        }
        (None, Revocation::DangerNotChecked { reason }) if !reason.trim().is_empty() => {
            Ok((UnixTime(u64::MAX), Finding::Waived(format!("not checked: {reason}"))))
        }
        (None, _) => Err(CrlError::Missing),
    }
}
