//! A permit does not come from nothing.

fn main() {
    let _ = casemate_broker::Permit::default();
}
