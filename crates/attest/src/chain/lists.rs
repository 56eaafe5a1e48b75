//! Revocation lists of several authorities, for paths of which each authority publishes its own (rules NIT-04 and GV-05;
//! spec/attest.md §5.7).

use webpki::CertRevocationList;

use super::{CrlError, MAX_INTERMEDIATES, Profile, Role, is_signed_by, look_up, read_list};
use crate::checks::Finding;
use crate::der::{self, SEQUENCE};
use crate::endorsements::Revocation;
use crate::time::UnixTime;
use crate::x509::{Certificate, KeyUsage};

/// More lists are refused before they are read: a path has no more authorities, with its root.
const MAX_LISTS: usize = MAX_INTERMEDIATES + 1;
/// More distribution points of one certificate are refused; AWS's and Google's have one.
const MAX_POINTS: usize = 8;
/// A certificate that names no list may live for so many seconds: a list lives longer.
const SHORT_LIVED: u64 = 24 * 60 * 60;

/// cRLDistributionPoints (RFC 5280 §4.2.1.13).
const DISTRIBUTION_POINTS: &str = "2.5.29.31";
/// `distributionPoint [0]` and in it `fullName [0]`, constructed.
const NAME: u8 = 0xa0;
/// `uniformResourceIdentifier [6]`.
const URI: u8 = 0x86;

/// What the lists said of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PathCleared {
    /// Certificates that were looked up.
    looked_up: usize,
    /// Certificates of a day at most that name no list.
    short_lived: usize,
    /// Longer-lived certificates that name no list.
    unlisted: usize,
    /// Last second at which every list counts.
    next_update: UnixTime,
}

/// A list whose signature verified, and whose it is: its place in the path.
struct Read<'a> {
    issuer: usize,
    list: CertRevocationList<'a>,
    next_update: UnixTime,
}

/// Looks up every certificate below the root in the lists of its issuer. `path` begins with the root, ends with the leaf, and
/// is validated; what is between them may be in any order, and not all of it need have been used.
///
/// Every list that was given must be of an authority of the path, and hold. A certificate of whose issuer there is no list
/// must name none, and live for a day at most unless `may_be_unlisted`.
fn check_path_revocation(
    lists: &[Vec<u8>],
    may_be_unlisted: bool,
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
    let mut cleared =
        PathCleared { looked_up: 0, short_lived: 0, unlisted: 0, next_update: UnixTime(u64::MAX) };
    for list in &lists {
        cleared.next_update = cleared.next_update.min(list.next_update);
    }
    let last = path.len().saturating_sub(1);
    for (position, subject) in path.iter().enumerate().skip(1) {
        let role = if position == last { Role::Leaf } else { Role::Intermediate };
        let names_a_list = distribution_points(subject, role)?.is_some();
        let issuer = issuer_of(subject, path, profile);
        let mut own = lists.iter().filter(|list| Some(list.issuer) == issuer).peekable();
        let named = || subject.issuer_cn.clone();
        let count = match own.peek() {
            Some(_) => &mut cleared.looked_up,
            None if names_a_list => return Err(CrlError::MissingOf { role, issuer: named() }),
            None if lifetime(subject) <= SHORT_LIVED => &mut cleared.short_lived,
            None if may_be_unlisted => &mut cleared.unlisted,
            None => return Err(CrlError::Unlisted { role, issuer: named() }),
        };
        *count = count.saturating_add(1);
        for list in own {
            look_up(&list.list, subject, role)?;
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
    let mut named = authorities(path).filter(|(_, it)| it.subject.as_slice() == fields.issuer).peekable();
    named.peek().ok_or(CrlError::Issuer)?;
    let (issuer, authority) =
        named.find(|(_, it)| is_signed_by(&signed, &it.spki, profile)).ok_or(CrlError::Signature)?;
    // A prover may bring the authority's key once more, in a certificate of its own making.
    let same = |it: &Certificate| it.subject == authority.subject && it.spki == authority.spki;
    let may_sign = |it: &Certificate| matches!(it.key_usage, KeyUsage::Present { crl_sign: true, .. });
    if authorities(path).any(|(_, it)| same(it) && !may_sign(it)) {
        return Err(CrlError::KeyUsage);
    }
    fields.holds(now)?;
    if list.issuing_distribution_point().is_some() {
        return Err(CrlError::Scoped);
    }
    Ok(Read { issuer, list, next_update: fields.next_update })
}

/// The place of the authority that issued the certificate. Who that was is told by the signature where two have the name; a
/// validated path has one at least.
fn issuer_of(subject: &Certificate, path: &[&Certificate], profile: &Profile) -> Option<usize> {
    let named = || authorities(path).filter(|(_, it)| it.subject == subject.issuer);
    let mut places = named();
    match (places.next(), places.next()) {
        (Some((only, _)), None) => Some(only),
        _ => {
            let signed = der::signed(&subject.der)?;
            named().find(|(_, it)| is_signed_by(&signed, &it.spki, profile)).map(|(place, _)| place)
        }
    }
}

/// All but the leaf, which comes last, with their places.
fn authorities<'a>(path: &'a [&'a Certificate]) -> impl Iterator<Item = (usize, &'a Certificate)> {
    let authorities = path.split_last().map_or(&[][..], |(_, authorities)| authorities);
    authorities.iter().copied().enumerate()
}

/// Seconds between the two dates.
fn lifetime(certificate: &Certificate) -> u64 {
    certificate.not_after.0.saturating_sub(certificate.not_before.0)
}

/// Where the certificate says that its issuer's list is; `None` where it says nothing. Points of other lists (of some
/// reasons only, or of another issuer) are refused: the issuer's own list would say nothing about the certificate.
pub(crate) fn distribution_points(
    certificate: &Certificate,
    role: Role,
) -> Result<Option<Vec<String>>, CrlError> {
    let Some(value) = certificate.extension(DISTRIBUTION_POINTS) else { return Ok(None) };
    points(value).map(Some).ok_or(CrlError::DistributionPoint { role })
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

/// Applies the lists to what is known: a rule's step. Returns the last second at which every list counts.
pub(crate) fn path_revocation(
    revocation: &Revocation,
    path: &[&Certificate],
    profile: &Profile,
    now: UnixTime,
) -> Result<(UnixTime, Finding), CrlError> {
    if let Revocation::DangerNotChecked { reason } = revocation
        && !reason.trim().is_empty()
    {
        return Ok((UnixTime(u64::MAX), Finding::Waived(format!("not checked: {reason}"))));
    }
    let lists = revocation.lists().ok_or(CrlError::Missing)?;
    let decided = revocation.unlisted().filter(|reason| !reason.trim().is_empty());
    let cleared = check_path_revocation(lists, decided.is_some(), path, profile, now)?;
    let PathCleared { looked_up, short_lived, unlisted, next_update } = cleared;
    let compared = format!(
        "in no list until {next_update}: {looked_up} certificates; of a day at most and naming no list: {short_lived}"
    );
    Ok(match decided {
        Some(reason) if unlisted > 0 => {
            let waived = format!("{compared}; naming no list, not checked: {unlisted}, since {reason}");
            (next_update, Finding::Waived(waived))
        }
        _ => (next_update, Finding::Pass(compared)),
    })
}

#[cfg(test)]
mod tests;
