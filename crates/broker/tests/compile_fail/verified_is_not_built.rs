//! Only `Authentic::appraise` says that evidence is ours.

fn main() {
    let _ = casemate_attest::Verified { simulated: false };
}
