//! A record says what a key is and opens nothing.

use casemate_broker::{KeyRecord, Store};

fn unwrap(store: &Store, record: KeyRecord) {
    let _ = store.unwrap(record);
}

fn main() {
    let _ = unwrap;
}
