//! Trustworthiness tiers (draft-ietf-rats-ar4si §2.3.2), from best to worst.

use serde_json::Value;

/// The claims of a trustworthiness vector.
pub(crate) const CLAIMS: [&str; 8] = [
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
];

/// What a verifier thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// It says nothing.
    None,
    Affirming,
    Warning,
    Contraindicated,
}

impl Tier {
    /// Of a status: the word, or its number.
    pub(crate) fn of_status(status: &Value) -> Option<Self> {
        match status {
            Value::String(word) => Some(match word.as_str() {
                "none" => Self::None,
                "affirming" => Self::Affirming,
                "warning" => Self::Warning,
                "contraindicated" => Self::Contraindicated,
                _ => return None,
            }),
            _ => Some(match status.as_i64()? {
                0 => Self::None,
                2 => Self::Affirming,
                32 => Self::Warning,
                96 => Self::Contraindicated,
                _ => return None,
            }),
        }
    }

    /// Of a claim of a vector, which has one octet.
    pub(crate) fn of_claim(claim: &Value) -> Option<Self> {
        match claim.as_i64()? {
            -1..=1 => Some(Self::None),
            2..=31 | -32..=-2 => Some(Self::Affirming),
            32..=95 | -96..=-33 => Some(Self::Warning),
            96..=127 | -128..=-97 => Some(Self::Contraindicated),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_octet_has_a_tier_and_nothing_else_has() {
        let count = |tier| (-128..=127).filter(|claim| Tier::of_claim(&json!(claim)) == Some(tier)).count();
        let counts = [Tier::None, Tier::Affirming, Tier::Warning, Tier::Contraindicated].map(count);
        assert_eq!(counts, [3, 61, 128, 64]);
        for other in [json!(-129), json!(128), json!(2.0), json!("2"), json!(null), json!(true)] {
            assert_eq!(Tier::of_claim(&other), None, "{other}");
        }
    }

    #[test]
    fn a_status_is_one_of_four() {
        for (word, number, tier) in [
            ("none", 0, Tier::None),
            ("affirming", 2, Tier::Affirming),
            ("warning", 32, Tier::Warning),
            ("contraindicated", 96, Tier::Contraindicated),
        ] {
            assert_eq!(Tier::of_status(&json!(word)), Some(tier));
            assert_eq!(Tier::of_status(&json!(number)), Some(tier));
        }
        for other in [json!(3), json!(2.0), json!("Affirming"), json!("2"), json!(null), json!(["affirming"])]
        {
            assert_eq!(Tier::of_status(&other), None, "{other}");
        }
    }
}
