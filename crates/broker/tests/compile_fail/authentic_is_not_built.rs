//! Only `casemate_attest::verify` says that evidence is genuine.

fn main() {
    let _ = casemate_attest::Authentic { simulated: false };
}
