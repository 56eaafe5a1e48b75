//! How old endorsements are: when a newer one should be asked for, and which of two is the older (spec/stapling.md,
//! STAPLE-05, STAPLE-08). The dates are what the parts say of themselves; whether the vendor signed them is decided with the
//! evidence at hand.

use ::der::DateTime;

use super::bundle::EndorsementBundle;
use super::intel::{AnswerError, Dated, list_issuer, revocation_list};
use crate::tdx::{QeIdentity, TcbInfo};
use crate::time::UnixTime;
use crate::x509::Certificate;

/// A part of a bundle that has dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatedPart {
    /// What it is; for people.
    pub name: &'static str,
    /// Whose it is, where there are several of one name: the authority's name in DER. Else empty.
    pub authority: Vec<u8>,
    /// From when until when it holds.
    pub dated: Dated,
    /// Whether it lists what is revoked or out of date, so that an older one must not take a newer one's place.
    pub listing: bool,
}

impl Dated {
    /// From when on a newer one should be asked for: when two thirds of its time are over, a day before its end at the
    /// latest, and never in the first half.
    ///
    /// AMD's lists live for about 371 days, Intel's documents for 30 (recorded ones). A day is what people need to repair a
    /// service; what lives for less than three days would otherwise leave less, and what lives for less than two would be
    /// asked for all the time.
    pub fn renewal(self) -> UnixTime {
        let whole = self.until.0.saturating_sub(self.from.0);
        let lead = (whole / LEAD_PART).max(LEAST_LEAD.min(whole / 2));
        UnixTime(self.until.0.saturating_sub(lead))
    }
}

impl EndorsementBundle {
    /// The parts that have dates, of all vendors but NVIDIA.
    ///
    /// # Errors
    /// Where a part cannot be read.
    pub fn dates(&self) -> Result<Vec<DatedPart>, AnswerError> {
        let mut parts = Vec::new();
        let mut part =
            |name, dated, listing| parts.push(DatedPart { name, authority: Vec::new(), dated, listing });
        if let Some((vek, crl)) = self.amd() {
            part("the certificate of the key that signs reports", certificate(vek)?, false);
            part("AMD's revocation list", revocation_list(crl)?.1, true);
        }
        if let Some(intel) = self.intel() {
            let info = TcbInfo::parse(&intel.tcb_info).ok_or(AnswerError::Form { what: "TDX TCB info" })?;
            part("TCB info", between(&info.issue_date, &info.next_update)?, true);
            let identity =
                QeIdentity::parse(&intel.qe_identity).ok_or(AnswerError::Form { what: "QE identity" })?;
            part("QE identity", between(&identity.issue_date, &identity.next_update)?, true);
            let list = |text: &str| revocation_list(text.as_bytes()).map(|(_, dated)| dated);
            part("the revocation list of Intel's PCK authority", list(&intel.pck_crl)?, true);
            part("the revocation list of Intel's root", list(&intel.root_ca_crl)?, true);
        }
        for (name, lists) in [
            ("a revocation list of AWS's", self.aws().unwrap_or_default()),
            ("a revocation list of Google's", self.google_lists().unwrap_or_default()),
        ] {
            for list in lists {
                let (authority, dated) = (list_issuer(list)?, revocation_list(list)?.1);
                parts.push(DatedPart { name, authority, dated, listing: true });
            }
        }
        Ok(parts)
    }

    /// The first listing of this bundle that is older than the same one of `other`, if there is one.
    ///
    /// # Errors
    /// Where a part of either cannot be read.
    pub fn older_than(&self, other: &Self) -> Result<Option<&'static str>, AnswerError> {
        Ok(first_older(&self.dates()?, &other.dates()?))
    }
}

/// Each listing is compared with the one of the same authority; what the others have not is older than nothing.
fn first_older(parts: &[DatedPart], others: &[DatedPart]) -> Option<&'static str> {
    let older = |part: &&DatedPart| {
        let same = others.iter().find(|other| other.name == part.name && other.authority == part.authority);
        part.listing && same.is_some_and(|other| part.dated.from < other.dated.from)
    };
    parts.iter().find(older).map(|part| part.name)
}

/// From when until when a certificate says that it holds.
///
/// # Errors
/// Where it is not exactly one certificate in DER.
pub fn certificate(der: &[u8]) -> Result<Dated, AnswerError> {
    let certificate = Certificate::parse(der).map_err(|_| AnswerError::Form { what: "a certificate" })?;
    Ok(Dated { from: certificate.not_before, until: certificate.not_after })
}

fn between(from: &str, until: &str) -> Result<Dated, AnswerError> {
    let date = |text: &str| {
        let date: DateTime = text.parse().map_err(|_| AnswerError::Form { what: "a date" })?;
        Ok(UnixTime(date.unix_duration().as_secs()))
    };
    Ok(Dated { from: date(from)?, until: date(until)? })
}

/// The lead is the last third.
const LEAD_PART: u64 = 3;
/// One day, in seconds.
const LEAST_LEAD: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn a_newer_one_is_asked_for_in_time_and_not_all_the_time() {
        for (whole, lead) in [
            (371 * DAY, 371 * DAY / 3),
            (30 * DAY, 10 * DAY),
            (3 * DAY, DAY),
            (2 * DAY + 2, DAY),
            (2 * DAY, DAY),
            (DAY, DAY / 2),
            (7, 3),
            (1, 0),
            (0, 0),
        ] {
            let dated = Dated { from: UnixTime(1000), until: UnixTime(1000 + whole) };
            assert_eq!(dated.renewal(), UnixTime(1000 + whole - lead), "{whole}");
        }
        // Dates in the wrong order are over.
        let dated = Dated { from: UnixTime(9), until: UnixTime(3) };
        assert_eq!(dated.renewal(), UnixTime(3));
    }

    #[test]
    fn lists_of_several_authorities_are_compared_each_with_its_own() {
        let part = |authority: &str, from: u64, listing| DatedPart {
            name: "x",
            authority: authority.into(),
            dated: Dated { from: UnixTime(from), until: UnixTime(9) },
            listing,
        };
        let carried = [part("root", 1, true), part("zone", 5, true)];
        for (new, expected) in [
            ([part("root", 1, true), part("zone", 5, true)], None),
            ([part("zone", 6, true), part("root", 2, true)], None),
            ([part("root", 2, true), part("zone", 4, true)], Some("x")),
            ([part("root", 0, true), part("zone", 6, true)], Some("x")),
            ([part("root", 0, false), part("another zone", 0, true)], None),
        ] {
            assert_eq!(first_older(&new, &carried), expected);
        }
    }

    #[test]
    fn parts_that_cannot_be_read_have_no_dates() {
        let bundle = EndorsementBundle::default().with_amd(b"v".to_vec(), b"c".to_vec());
        assert_eq!(bundle.dates().unwrap_err().code(), "endorse.answer.form");
        assert_eq!(EndorsementBundle::default().dates(), Ok(Vec::new()));
        assert_eq!(EndorsementBundle::default().older_than(&EndorsementBundle::default()), Ok(None));
    }
}
