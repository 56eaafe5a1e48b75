//! The claims that release policies speak of, in the names that Microsoft Azure Attestation gave them.
//!
//! spec/release.md section 3 has the table. `x-ms-compliance-status` is never among them: it is another party's
//! judgement about a fleet, and this broker does not make it.

use casemate_attest::Verified;
use casemate_attest::snp::{GuestPermission, SnpClaims};
use serde_json::{Value, json};

/// Claims as a tree of JSON objects. Made from verified evidence only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClaimSet(Value);

impl ClaimSet {
    /// The claims of `verified`.
    pub(crate) fn of(verified: &Verified) -> Self {
        let claims = verified.claims();
        let mut casemate =
            json!({ "platform": claims.platform().as_str(), "simulated": verified.simulated() });
        let mut isolation = json!({});
        // A platform that has none of these claims meets no condition on them.
        if let (Some(snp), Some(host_data)) = (claims.snp(), claims.host_data()) {
            let common = json!({
                "x-ms-sevsnpvm-launchmeasurement": hex::encode(claims.measurement()),
                "x-ms-sevsnpvm-hostdata": hex::encode(host_data),
                "x-ms-sevsnpvm-reportdata": hex::encode(claims.report_data()),
                "x-ms-sevsnpvm-is-debuggable": claims.debug(),
            });
            extend(&mut isolation, common);
            extend(&mut isolation, snp_claims(snp));
            extend(&mut casemate, own_claims(snp));
        }
        Self(json!({ "x-ms-isolation-tee": isolation, "casemate": casemate }))
    }

    /// The value at a dotted name. Objects only: lists have no names inside.
    pub(crate) fn lookup(&self, name: &str) -> Option<&Value> {
        name.split('.').try_fold(&self.0, |value, part| value.as_object()?.get(part))
    }

    /// The whole tree.
    pub(crate) fn into_json(self) -> Value {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn made_up(tree: Value) -> Self {
        Self(tree)
    }
}

/// Security versions are those of the reported TCB: the one that the signing key is for.
fn snp_claims(snp: &SnpClaims) -> Value {
    json!({
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-sevsnpvm-authorkeydigest": hex::encode(snp.author_key_digest),
        "x-ms-sevsnpvm-bootloader-svn": snp.reported_tcb.bootloader,
        "x-ms-sevsnpvm-familyId": hex::encode(snp.family_id),
        "x-ms-sevsnpvm-guestsvn": snp.guest_svn,
        "x-ms-sevsnpvm-idkeydigest": hex::encode(snp.id_key_digest),
        "x-ms-sevsnpvm-imageId": hex::encode(snp.image_id),
        "x-ms-sevsnpvm-microcode-svn": snp.reported_tcb.microcode,
        "x-ms-sevsnpvm-migration-allowed": snp.migration_agent,
        "x-ms-sevsnpvm-reportid": hex::encode(snp.report_id),
        "x-ms-sevsnpvm-smt-allowed": snp.guest_permissions.contains(&GuestPermission::Smt),
        "x-ms-sevsnpvm-snpfw-svn": snp.reported_tcb.snp,
        "x-ms-sevsnpvm-tee-svn": snp.reported_tcb.tee,
        "x-ms-sevsnpvm-vmpl": snp.vmpl,
    })
}

fn own_claims(snp: &SnpClaims) -> Value {
    let mut claims = json!({
        "product-line": snp.product_line.name(),
        "host-trust": snp.host_trust.as_str(),
    });
    // Evidence that a VLEK signed names a provider and no chip: the claim is then not there, and no condition on it met.
    if let (Some(chip_id), Some(members)) = (snp.chip_id(), claims.as_object_mut()) {
        members.insert("chip-id".into(), hex::encode(chip_id).into());
    }
    claims
}

fn extend(object: &mut Value, more: Value) {
    if let (Some(members), Value::Object(more)) = (object.as_object_mut(), more) {
        members.extend(more);
    }
}
