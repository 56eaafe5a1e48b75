//! The store takes the permit away.

use casemate_broker::{Permit, Store};

fn twice(store: &Store, permit: Permit) {
    let _ = store.unwrap(permit);
    let _ = store.unwrap(permit);
}

fn main() {
    let _ = twice;
}
