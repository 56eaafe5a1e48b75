//! Tokens of other verifiers, sets of keys, bundles of endorsements.

use casemate_attest::UnixTime;
use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::token::{Token, TokenAnchors, verify_token};

const NOW: UnixTime = UnixTime(1_757_060_300);
const PKI: &str = "gcp/confidential_space_pki/token_tdx_2025-09-05.jwt";

/// A token: as it is, or with edits to a recorded one of Confidential Space, under Google's root.
pub fn token(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let genuine = |bytes: &[u8]| {
        let token = Token::parse(bytes).ok()?;
        verify_token(&token, &TokenAnchors::embedded(), NOW).ok().map(|token| token.claims().clone())
    };
    if *first == 0 {
        assert!(genuine(rest).is_none(), "forged");
        return;
    }
    let Some(sample) = crate::recorded(PKI) else { return };
    let good = genuine(&sample).expect("the sample is genuine");
    if let Some(claims) = genuine(&crate::edited(&[&sample], rest)[0]) {
        assert_eq!(claims, good, "forged");
    }
}

/// A JSON Web Key Set, and a bundle of endorsements.
pub fn files(data: &[u8]) {
    let _ = TokenAnchors::none().with_jwks("https://a.attest.azure.net", data);
    let _ = EndorsementBundle::parse(data);
}
