//! Genuine is not yet ours.

use casemate_attest::{Authentic, UnixTime};
use casemate_broker::{KeyRecord, decide};

fn early(authentic: &Authentic, key: &KeyRecord) {
    let _ = decide(authentic, key, "https://casemate.dev/broker", UnixTime(0));
}

fn main() {
    let _ = early;
}
