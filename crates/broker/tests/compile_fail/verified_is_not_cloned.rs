//! Evidence is verified once for one exchange.

fn copy(verified: &casemate_attest::Verified) -> casemate_attest::Verified {
    verified.clone()
}

fn main() {
    let _ = copy;
}
