//! Only `casemate_broker::decide` permits a release.

use casemate_broker::{Permit, ResourcePath};
use casemate_seal::ModelId;

fn forge(resource: ResourcePath, model: ModelId) -> Permit {
    Permit { resource, policy_sha256: [0; 32], model }
}

fn main() {
    let _ = forge;
}
