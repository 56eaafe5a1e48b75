//! One decision, one release.

fn copy(permit: &casemate_broker::Permit) -> casemate_broker::Permit {
    permit.clone()
}

fn main() {
    let _ = copy;
}
