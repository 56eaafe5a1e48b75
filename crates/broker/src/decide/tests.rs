use serde_json::{Value, json};

use super::*;
use crate::anchors::AnchorIdentity;
use crate::policy::{CLAIM_MEASUREMENT, ReleasePolicy};

const ISSUER: &str = "https://casemate.dev/broker";
const SIMULATED: AnchorIdentity = AnchorIdentity::Simulated { bundle_sha256: [1; 32] };

fn policy(document: &Value) -> ReleasePolicy {
    ReleasePolicy::parse(document.to_string().as_bytes()).unwrap()
}

fn pinned() -> Value {
    json!({ "version": "1.0.0", "anyOf": [{ "authority": ISSUER, "allOf": [
        { "claim": CLAIM_MEASUREMENT, "equals": "ab".repeat(48) },
        { "claim": "x-ms-isolation-tee.x-ms-sevsnpvm-microcode-svn", "greaterOrEquals": 80 },
    ] }] })
}

fn key() -> KeyRecord {
    KeyRecord {
        resource: "models/m/1".parse().unwrap(),
        model: ModelId { uuid: [7; 16], version: 3 },
        policy: policy(&pinned()),
        created: UnixTime(0),
        floor: 3,
        anchors: AnchorIdentity::Vendors,
    }
}

fn case() -> Case {
    Case {
        bound: true,
        simulated: false,
        valid_until: UnixTime(1000),
        claims: ClaimSet::made_up(json!({ "x-ms-isolation-tee": {
            "x-ms-sevsnpvm-launchmeasurement": "ab".repeat(48),
            "x-ms-sevsnpvm-microcode-svn": 80,
        } })),
    }
}

fn code(case: &Case, key: &KeyRecord, issuer: &str, now: u64) -> &'static str {
    case.judge(key, issuer, UnixTime(now)).map_or_else(|denial| denial.code(), |()| "ok")
}

#[test]
fn one_mistake_each_is_denied_by_name() {
    let judge = |case: Case, key: KeyRecord| code(&case, &key, ISSUER, 1000);
    let claims = |tree: Value| Case { claims: ClaimSet::made_up(tree), ..case() };
    let mut unpinned = pinned();
    unpinned["anyOf"][0]["allOf"].as_array_mut().unwrap().remove(0);

    assert_eq!(judge(case(), key()), "ok");
    assert_eq!(code(&case(), &key(), ISSUER, 1001), "release.evidence.expired");
    assert_eq!(judge(Case { bound: false, ..case() }, key()), "release.evidence.not-bound");
    assert_eq!(judge(Case { simulated: true, ..case() }, key()), "release.evidence.simulated");
    assert_eq!(judge(case(), KeyRecord { anchors: SIMULATED, ..key() }), "release.evidence.not-simulated");
    assert_eq!(judge(case(), KeyRecord { floor: 4, ..key() }), "release.version.below-floor");
    assert_eq!(judge(case(), KeyRecord { policy: policy(&unpinned), ..key() }), "policy.unpinned");
    assert_eq!(code(&case(), &key(), "https://other.example", 1000), "release.policy.authority");
    assert_eq!(judge(claims(json!({})), key()), "release.policy.not-met");
    assert_eq!(
        judge(claims(json!({ "x-ms-sevsnpvm-launchmeasurement": "ab".repeat(48) })), key()),
        "release.policy.not-met"
    );
    let low = json!({ "x-ms-isolation-tee": {
        "x-ms-sevsnpvm-launchmeasurement": "ab".repeat(48), "x-ms-sevsnpvm-microcode-svn": 79 } });
    assert_eq!(judge(claims(low), key()), "release.policy.not-met");
}

/// REL-21.
#[test]
fn a_model_is_not_given_to_a_program_that_the_policy_does_not_speak_of() {
    let digest = "cd".repeat(32);
    let on = |upstream: Option<&str>| {
        let mut tree = json!({ "x-ms-isolation-tee": {
            "x-ms-sevsnpvm-launchmeasurement": "ab".repeat(48), "x-ms-sevsnpvm-microcode-svn": 80 },
            "casemate": { "platform": "sev-snp" } });
        if let Some(upstream) = upstream {
            tree["casemate"]["upstream"] = upstream.into();
        }
        Case { claims: ClaimSet::made_up(tree), ..case() }
    };
    let with = |condition: Value| {
        let mut document = pinned();
        document["anyOf"][0]["allOf"].as_array_mut().unwrap().push(condition);
        KeyRecord { policy: policy(&document), ..key() }
    };
    let judge = |case: &Case, key: &KeyRecord| code(case, key, ISSUER, 1);
    // A policy that was written before there were any.
    assert_eq!(judge(&on(None), &key()), "ok");
    assert_eq!(judge(&on(Some(&digest)), &key()), "release.upstream");
    // One that names it takes no other, and not the embedded engine either.
    let named = with(json!({ "claim": "casemate.upstream", "equals": digest }));
    assert_eq!(judge(&on(Some(&digest)), &named), "ok");
    assert_eq!(judge(&on(Some(&"ce".repeat(32))), &named), "release.policy.not-met");
    assert_eq!(judge(&on(None), &named), "release.policy.not-met");
    // Any: somebody wrote that.
    assert_eq!(
        judge(&on(Some(&digest)), &with(json!({ "claim": "casemate.upstream", "exists": true }))),
        "ok"
    );
    // A word about it that decides nothing is none.
    let either = with(json!({ "anyOf": [
        { "claim": "casemate.upstream", "equals": digest }, { "claim": "casemate.platform", "equals": "sev-snp" } ] }));
    assert_eq!(judge(&on(Some(&digest)), &either), "release.upstream");
    // Both ways in one policy: the engine or this program.
    let mut both = pinned();
    let rule = both["anyOf"][0].clone();
    both["anyOf"].as_array_mut().unwrap().push(rule);
    both["anyOf"][1]["allOf"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "claim": "casemate.upstream", "equals": digest }));
    let both = KeyRecord { policy: policy(&both), ..key() };
    assert_eq!(judge(&on(None), &both), "ok");
    assert_eq!(judge(&on(Some(&digest)), &both), "ok");
    assert_eq!(judge(&on(Some(&"ce".repeat(32))), &both), "release.upstream");
    let denial = on(Some(&digest)).judge(&key(), ISSUER, UnixTime(1)).unwrap_err();
    assert!(denial.to_string().contains(&digest));
}

#[test]
fn simulated_evidence_opens_a_simulators_key() {
    let simulated = Case { simulated: true, ..case() };
    assert_eq!(code(&simulated, &KeyRecord { anchors: SIMULATED, ..key() }, ISSUER, 1), "ok");
}

#[test]
fn a_dangerous_policy_still_has_to_be_met() {
    let mut document = pinned();
    document["danger-any-workload"] = true.into();
    document["anyOf"][0]["allOf"].as_array_mut().unwrap().remove(0);
    let key = KeyRecord { policy: policy(&document), ..key() };
    assert_eq!(code(&case(), &key, ISSUER, 1), "ok");
    assert_eq!(
        code(&Case { claims: ClaimSet::made_up(json!({})), ..case() }, &key, ISSUER, 1),
        "release.policy.not-met"
    );
}

#[test]
fn a_denial_tells_claim_expectation_and_finding() {
    let other = ClaimSet::made_up(
        json!({ "x-ms-isolation-tee": { "x-ms-sevsnpvm-launchmeasurement": "cd".repeat(48) } }),
    );
    let denial = Case { claims: other, ..case() }.judge(&key(), ISSUER, UnixTime(1)).unwrap_err();
    let expected = format!(
        "the claim {CLAIM_MEASUREMENT} is \"{}\", and the policy requires equals \"{}\"",
        "cd".repeat(48),
        "ab".repeat(48)
    );
    assert_eq!(denial.to_string(), expected);
    let missing = Case { claims: ClaimSet::made_up(json!({})), ..case() }.judge(&key(), ISSUER, UnixTime(1));
    assert!(missing.unwrap_err().to_string().contains("is not there"));
}

#[test]
fn every_platform_that_is_taken_has_one_binding_rule() {
    use casemate_attest::{Platform, rules};
    let platforms =
        [Platform::SevSnp, Platform::Tdx, Platform::AzureVtpm, Platform::AzureVtpmTdx, Platform::Nitro];
    for platform in platforms {
        let binding: Vec<_> =
            rules::of(platform).iter().filter(|rule| BINDING_RULES.contains(&rule.id)).collect();
        assert_eq!(binding.len(), 1, "{platform}");
        assert!(binding[0].title.ends_with("data is bound to this exchange"), "{}", binding[0].title);
    }
    assert!(!rules::of(Platform::GceVtpm).iter().any(|rule| BINDING_RULES.contains(&rule.id)));
}
