//! Comparing claims with terms: what every kind's rules are made of.

use super::errors::TokenDenial;
use crate::checks::Finding;
use crate::policy::{Danger, Expected};

/// A rule's outcome.
pub(crate) type Judged = Result<((), Finding), TokenDenial>;

/// What a rule looks at: the code of a refusal, and the claim's name.
#[derive(Clone, Copy)]
pub(crate) struct Term {
    pub(crate) code: &'static str,
    pub(crate) claim: &'static str,
}

impl Term {
    pub(crate) fn new(code: &'static str, claim: &'static str) -> Self {
        Self { code, claim }
    }

    pub(crate) fn missing(self) -> TokenDenial {
        TokenDenial::Missing { code: self.code, claim: self.claim }
    }

    pub(crate) fn refused(self, found: impl Into<String>, accepted: impl Into<String>) -> TokenDenial {
        let (found, accepted) = (found.into(), accepted.into());
        TokenDenial::Claim { code: self.code, claim: self.claim, found, accepted }
    }

    /// Is there, and is one of the expected. Where anything goes, it need not be there.
    pub(crate) fn one_of(self, found: Option<&str>, expected: &Expected<String>) -> Judged {
        match expected {
            Expected::Any { reason } => self.waived(found.unwrap_or("nothing"), reason),
            Expected::OneOf(values) => {
                let found = found.ok_or_else(|| self.missing())?;
                if values.iter().any(|value| value == found) {
                    return Ok(((), Finding::Pass(format!("{} {found}", self.claim))));
                }
                Err(self.refused(found, values.join(" or ")))
            }
        }
    }

    /// As above, over bytes that the token writes in hexadecimal of either case.
    pub(crate) fn one_of_bytes<const N: usize>(
        self,
        found: Option<&str>,
        expected: &Expected<[u8; N]>,
    ) -> Judged {
        match expected {
            Expected::Any { reason } => self.waived(found.unwrap_or("nothing"), reason),
            Expected::OneOf(values) => {
                let text = found.ok_or_else(|| self.missing())?;
                let bytes = hex::decode(text).map_err(|_| self.missing())?;
                if values.iter().any(|value| value.as_slice() == bytes) {
                    return Ok(((), Finding::Pass(format!("{} {text}", self.claim))));
                }
                let accepted: Vec<_> = values.iter().map(hex::encode).collect();
                Err(self.refused(text, accepted.join(" or ")))
            }
        }
    }

    /// Must have this value, unless the policy allows another in writing.
    pub(crate) fn must(self, found: Option<&str>, value: &str, otherwise: &Danger) -> Judged {
        match otherwise {
            Danger::Allow { reason } if found != Some(value) => {
                self.waived(found.unwrap_or("nothing"), reason)
            }
            Danger::Allow { .. } | Danger::Refuse => {
                let found = found.ok_or_else(|| self.missing())?;
                if found == value {
                    return Ok(((), Finding::Pass(format!("{} {found}", self.claim))));
                }
                Err(self.refused(found, value))
            }
        }
    }

    /// At least this much.
    pub(crate) fn at_least(self, found: Option<u64>, floor: u64) -> Judged {
        let found = found.ok_or_else(|| self.missing())?;
        if found >= floor {
            return Ok(((), Finding::Pass(format!("{} {found} >= {floor}", self.claim))));
        }
        Err(self.refused(found.to_string(), format!("{floor} or more")))
    }

    pub(crate) fn waived(self, found: &str, reason: &str) -> Judged {
        if reason.trim().is_empty() {
            return Err(TokenDenial::WaiverWithoutReason { what: self.claim });
        }
        Ok(((), Finding::Waived(format!("{} {found}; not required: {reason}", self.claim))))
    }
}

/// Several comparisons of one rule: the first that fails is the rule's, and a waived one makes it waived.
pub(crate) fn all(judged: impl IntoIterator<Item = Judged>) -> Judged {
    let mut words = Vec::new();
    let mut is_waived = false;
    for one in judged {
        match one?.1 {
            Finding::Pass(compared) => words.push(compared),
            Finding::Waived(compared) => {
                is_waived = true;
                words.push(compared);
            }
        }
    }
    let compared = words.join(", ");
    Ok(((), if is_waived { Finding::Waived(compared) } else { Finding::Pass(compared) }))
}

/// A flag as the words that messages use.
pub(crate) fn word(flag: Option<bool>) -> Option<&'static str> {
    flag.map(|flag| if flag { "true" } else { "false" })
}
