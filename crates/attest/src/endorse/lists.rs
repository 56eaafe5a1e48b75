//! Which revocation lists the certificates of a path name (spec/attest.md §5.7). Where they may be fetched is the caller's
//! to decide: whoever wrote the evidence wrote these addresses, until its certificates are verified.

use super::needs::NeedsError;
use crate::chain::{Role, distribution_points};
use crate::x509::Certificate;

/// The revocation lists that certificates name, one of each authority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListNeeds {
    lists: Vec<ListNeed>,
}

/// One authority's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListNeed {
    /// Where a certificate says that it is, in its order; each has the same list.
    pub addresses: Vec<String>,
}

impl ListNeeds {
    /// What these certificates name, each once, in this order.
    pub(super) fn of<'a>(certificates: impl Iterator<Item = &'a [u8]>) -> Result<Self, NeedsError> {
        let mut needs = Self::default();
        for der in certificates {
            needs.add(der)?;
        }
        Ok(needs)
    }

    /// And what the certificates (DER) between the evidence's and the root name.
    ///
    /// # Errors
    /// Where one cannot be read, or says of its list what nobody can follow.
    pub fn and_of(mut self, certificates: &[Vec<u8>]) -> Result<Self, NeedsError> {
        for der in certificates {
            self.add(der)?;
        }
        Ok(self)
    }

    /// The lists; none where no certificate names one.
    pub fn lists(&self) -> &[ListNeed] {
        &self.lists
    }

    fn add(&mut self, der: &[u8]) -> Result<(), NeedsError> {
        // Google's certificates of keys may have no subject.
        let certificate = Certificate::parse_unnamed(der).map_err(|_| NeedsError::Certificate)?;
        let points =
            distribution_points(&certificate, Role::Leaf).map_err(|_| NeedsError::DistributionPoint)?;
        if let Some(addresses) = points
            && !self.lists.iter().any(|need| need.addresses == addresses)
        {
            self.lists.push(ListNeed { addresses });
        }
        Ok(())
    }
}
