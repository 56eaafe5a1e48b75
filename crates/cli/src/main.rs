//! The one binary: casemate.
fn main() {}
