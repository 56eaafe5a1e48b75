//! A released key can be encrypted and nothing else.

use casemate_broker::store::ContentKey;

fn peek(key: &ContentKey) -> usize {
    key.0.len()
}

fn main() {
    let _ = peek;
}
