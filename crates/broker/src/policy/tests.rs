use serde_json::{Value, json};

use super::*;
use crate::claims::ClaimSet;

const ISSUER: &str = "https://casemate.dev/broker";
const M: &str =
    "abababababababababababababababababababababababababababababababababababababababababababababababab";
const H: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

fn parse(document: &Value) -> Result<ReleasePolicy, PolicyError> {
    ReleasePolicy::parse(document.to_string().as_bytes())
}

/// A policy whose one authority has these conditions under allOf.
fn all_of(conditions: Value) -> Value {
    json!({ "version": "1.0.0", "anyOf": [{ "authority": ISSUER, "allOf": conditions }] })
}

fn measurement() -> Value {
    json!({ "claim": CLAIM_MEASUREMENT, "equals": M })
}

fn host_data() -> Value {
    json!({ "claim": CLAIM_HOST_DATA, "equals": H })
}

fn tutorial() -> Value {
    all_of(json!([
        { "claim": "x-ms-compliance-status", "equals": "azure-compliant-cvm" },
        { "claim": "x-ms-isolation-tee.x-ms-attestation-type", "equals": "sevsnpvm" },
    ]))
}

fn claims() -> ClaimSet {
    ClaimSet::made_up(json!({
        "x-ms-isolation-tee": { "x-ms-sevsnpvm-launchmeasurement": M, "x-ms-sevsnpvm-hostdata": H },
        "n": 5, "negative": -3, "big": u64::MAX, "half": 1.5, "yes": true, "no": false, "word": "five", "yes-text": "true",
        "null": null, "list": [5], "deep": { "er": { "n": 7 } }, "empty": "",
    }))
}

// === reading ===

#[test]
fn the_grammar_is_read() {
    for good in [
        all_of(json!([measurement()])),
        tutorial(),
        json!({ "version": "1.0.0", "anyOf": [
            { "authority": ISSUER, "anyOf": [measurement(), { "allOf": [host_data(), { "anyOf": [measurement()] }] }] },
            { "authority": "https://sharedweu.weu.attest.azure.net", "allOf": [measurement()] },
        ], "danger-any-workload": true }),
        all_of(json!([
            { "claim": "a", "equals": "x" }, { "claim": "a.b.c", "notEquals": 1 }, { "claim": "a", "less": -1 },
            { "claim": "a", "lessOrEquals": 0 }, { "claim": "a", "greater": 1 }, { "claim": "a", "exists": true },
            { "claim": "a", "greaterOrEquals": u64::MAX }, { "claim": "a", "exists": "true" }, { "claim": "a", "equals": false },
        ])),
    ] {
        let policy = parse(&good).unwrap();
        assert_eq!(policy.text(), good.to_string());
        assert_eq!(policy.danger_any_workload(), good.get("danger-any-workload").is_some());
    }
}

#[test]
fn one_mistake_each_has_its_code() {
    let nested = |depth: usize| (1..depth).fold(measurement(), |inner, _| json!({ "anyOf": [inner] }));
    let condition = |condition: Value| all_of(json!([measurement(), condition])).to_string();
    let top = |edit: &str| all_of(json!([measurement()])).to_string().replacen('{', &format!("{{{edit},"), 1);
    let any_of = |entries: Value| json!({ "version": "1.0.0", "anyOf": entries }).to_string();
    let long = |len: usize| format!("{}{}", all_of(json!([measurement()])), " ".repeat(len));
    let cases: Vec<(String, &str)> = vec![
        (long(MAX_LEN), "policy.too-large"),
        (String::new(), "policy.json"),
        ("{".into(), "policy.json"),
        ("[".repeat(200), "policy.json"),
        (format!("{}x", all_of(json!([measurement()]))), "policy.json"),
        ("\u{feff}{}".into(), "policy.json"),
        ("null".into(), "policy.type"),
        ("[]".into(), "policy.type"),
        (top(r#""version":"1.0.0""#), "policy.duplicate-member"),
        (
            format!(
                r#"{{"version":"1.0.0","anyOf":[{{"authority":"{ISSUER}","allOf":[{{"claim":"a","claim":"b","equals":1}}]}}]}}"#
            ),
            "policy.duplicate-member",
        ),
        (top(r#""note":"x""#), "policy.unknown-member"),
        (top(r#""allOf":[]"#), "policy.unknown-member"),
        (condition(json!({ "claim": "a", "equals": 1, "note": "x" })), "policy.unknown-member"),
        (condition(json!({ "claim": "a", "Equals": 1 })), "policy.unknown-member"),
        (condition(json!({ "claim": "a", "contains": "b" })), "policy.unknown-member"),
        (condition(json!({ "claim": "a", "equals": 1, "allOf": [measurement()] })), "policy.unknown-member"),
        (any_of(json!([{ "authority": ISSUER, "allOf": [measurement()], "x": 1 }])), "policy.unknown-member"),
        (json!({ "anyOf": [] }).to_string(), "policy.missing-member"),
        (json!({ "version": "1.0.0" }).to_string(), "policy.missing-member"),
        (any_of(json!([{ "allOf": [measurement()] }])), "policy.missing-member"),
        (json!({ "version": 1, "anyOf": [] }).to_string(), "policy.type"),
        (any_of(json!({})), "policy.type"),
        (any_of(json!([1])), "policy.type"),
        (any_of(json!([{ "authority": 1, "allOf": [measurement()] }])), "policy.type"),
        (any_of(json!([{ "authority": ISSUER, "allOf": measurement() }])), "policy.type"),
        (condition(json!("x")), "policy.type"),
        (condition(json!({ "claim": 1, "equals": 1 })), "policy.type"),
        (top(r#""danger-any-workload":"true""#), "policy.type"),
        (top(r#""danger-any-workload":1"#), "policy.type"),
        (json!({ "version": "1.0", "anyOf": [] }).to_string(), "policy.version"),
        (json!({ "version": "0.2", "anyOf": [] }).to_string(), "policy.version"),
        (
            any_of(json!([{ "authority": ISSUER, "allOf": [measurement()], "anyOf": [measurement()] }])),
            "policy.both-lists",
        ),
        (condition(json!({ "allOf": [measurement()], "anyOf": [measurement()] })), "policy.both-lists"),
        (any_of(json!([{ "authority": ISSUER }])), "policy.no-condition"),
        (condition(json!({})), "policy.no-condition"),
        (condition(json!({ "equals": 1 })), "policy.no-condition"),
        (any_of(json!([])), "policy.list-empty"),
        (any_of(json!([{ "authority": ISSUER, "allOf": [] }])), "policy.list-empty"),
        (any_of(json!([{ "authority": ISSUER, "anyOf": [] }])), "policy.list-empty"),
        (condition(json!({ "anyOf": [] })), "policy.list-empty"),
        (condition(json!({ "claim": "a" })), "policy.no-operator"),
        (condition(json!({ "claim": "a", "equals": 1, "notEquals": 2 })), "policy.two-operators"),
        (condition(json!({ "claim": "a", "exists": true, "less": 2 })), "policy.two-operators"),
        (all_of(json!([nested(MAX_DEPTH + 1)])).to_string(), "policy.too-deep"),
        (condition(json!({ "claim": "", "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": "a..b", "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": ".a", "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": "a.", "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": "a[0]", "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": "a b", "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": "é", "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": "a".repeat(MAX_CLAIM_LEN + 1), "equals": 1 })), "policy.claim-name"),
        (condition(json!({ "claim": "a", "equals": null })), "policy.value"),
        (condition(json!({ "claim": "a", "equals": [1] })), "policy.value"),
        (condition(json!({ "claim": "a", "equals": { "b": 1 } })), "policy.value"),
        (condition(json!({ "claim": "a", "equals": 1.0 })), "policy.value"),
        (condition(json!({ "claim": "a", "notEquals": 1e3 })), "policy.value"),
        (condition(json!({ "claim": "a", "less": "5" })), "policy.value"),
        (condition(json!({ "claim": "a", "greater": true })), "policy.value"),
        (condition(json!({ "claim": "a", "exists": 1 })), "policy.value"),
        (condition(json!({ "claim": "a", "exists": "yes" })), "policy.value"),
        (condition(json!({ "claim": "a", "exists": false })), "policy.exists-false"),
        (condition(json!({ "claim": "a", "exists": "false" })), "policy.exists-false"),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": &M[..94] }])).to_string(), "policy.pin-value"),
        (
            all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": M.to_uppercase() }])).to_string(),
            "policy.pin-value",
        ),
        (
            all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": M.replace('b', "g") }])).to_string(),
            "policy.pin-value",
        ),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": H }])).to_string(), "policy.pin-value"),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": 0 }])).to_string(), "policy.pin-value"),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": true }])).to_string(), "policy.pin-value"),
        (all_of(json!([{ "claim": CLAIM_HOST_DATA, "equals": M }])).to_string(), "policy.pin-value"),
        (all_of(json!([{ "claim": CLAIM_HOST_DATA, "equals": "" }])).to_string(), "policy.pin-value"),
        (all_of(json!([{ "claim": CLAIMS_TDX[0], "equals": H }])).to_string(), "policy.pin-value"),
        (all_of(json!([{ "claim": CLAIM_NITRO_IMAGE, "equals": H }])).to_string(), "policy.pin-value"),
        (all_of(json!([{ "claim": CLAIMS_AZURE[0], "equals": M }])).to_string(), "policy.pin-value"),
    ];
    for (text, code) in &cases {
        assert_eq!(ReleasePolicy::parse(text.as_bytes()).unwrap_err().code(), *code, "{text:.300}");
    }
    // The limits themselves are allowed.
    let fits = MAX_LEN - all_of(json!([measurement()])).to_string().len();
    assert!(ReleasePolicy::parse(long(fits).as_bytes()).is_ok());
    assert!(parse(&all_of(json!([nested(MAX_DEPTH)]))).is_ok());
    assert!(ReleasePolicy::parse(b"\xff").is_err());
}

#[test]
fn errors_say_where() {
    let wrong = all_of(json!([measurement(), { "anyOf": [measurement(), { "claim": "a" }] }]));
    assert_eq!(parse(&wrong), Err(PolicyError::NoOperator { at: "anyOf[0].allOf[1].anyOf[1]".into() }));
}

// === pinning ===

#[test]
fn a_policy_pins_when_every_way_requires_a_whole_set_of_claims() {
    let other = || json!({ "claim": "casemate.platform", "equals": "sev-snp" });
    let authority =
        |issuer: &str, list: &str, conditions: Value| json!({ "authority": issuer, list: conditions });
    let policy = |authorities: Value| json!({ "version": "1.0.0", "anyOf": authorities });
    let any = |conditions: Value| policy(json!([authority(ISSUER, "anyOf", conditions)]));
    let zeros = |digits| "0".repeat(digits);
    let tdx = |part: usize| json!({ "claim": CLAIMS_TDX[part], "equals": M });
    let azure = |part: usize| json!({ "claim": CLAIMS_AZURE[part], "equals": H });
    let cases = [
        (all_of(json!([measurement()])), true),
        (all_of(json!([host_data()])), true),
        (all_of(json!([other(), measurement()])), true),
        (any(json!([measurement(), host_data()])), true),
        (any(json!([measurement(), { "allOf": [other(), host_data()] }])), true),
        (all_of(json!([other(), { "anyOf": [measurement(), host_data()] }])), true),
        (
            policy(json!([
                authority("a", "allOf", json!([measurement()])),
                authority("b", "anyOf", json!([host_data()]))
            ])),
            true,
        ),
        (all_of(json!([other()])), false),
        (any(json!([measurement(), other()])), false),
        (any(json!([measurement(), { "allOf": [other()] }])), false),
        (all_of(json!([other(), { "anyOf": [measurement(), other()] }])), false),
        // Another issuer's branch is a way too.
        (
            policy(json!([
                authority(ISSUER, "allOf", json!([measurement()])),
                authority("b", "allOf", json!([other()]))
            ])),
            false,
        ),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "notEquals": M }])), false),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "exists": true }])), false),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": zeros(96) }])), false),
        (all_of(json!([{ "claim": CLAIM_HOST_DATA, "equals": zeros(64) }])), false),
        (all_of(json!([{ "claim": CLAIM_MEASUREMENT, "equals": zeros(96) }, host_data()])), true),
        (all_of(json!([{ "claim": "x-ms-sevsnpvm-launchmeasurement", "equals": M }])), false),
        (all_of(json!([{ "claim": "x-ms-isolation-tee.x-ms-sevsnpvm-idkeydigest", "equals": M }])), false),
        (tutorial(), false),
        // TDX: firmware alone runs any kernel.
        (all_of(json!([tdx(0), tdx(1), tdx(2)])), true),
        (all_of(json!([tdx(0), { "allOf": [tdx(1), tdx(2)] }])), true),
        (all_of(json!([tdx(0), tdx(1), { "anyOf": [tdx(2), measurement()] }])), true),
        (any(json!([measurement(), { "allOf": [tdx(0), tdx(1), tdx(2)] }])), true),
        (all_of(json!([tdx(0)])), false),
        (all_of(json!([tdx(0), tdx(1)])), false),
        (all_of(json!([tdx(0), tdx(2)])), false),
        (all_of(json!([tdx(1), tdx(2)])), false),
        (any(json!([tdx(0), tdx(1), tdx(2)])), false),
        (all_of(json!([tdx(0), tdx(1), { "anyOf": [tdx(2), other()] }])), false),
        (all_of(json!([tdx(0), tdx(1), { "claim": CLAIMS_TDX[2], "equals": zeros(96) }])), false),
        // Parts of different sets are no set.
        (all_of(json!([tdx(0), tdx(1), azure(0)])), false),
        (all_of(json!([{ "claim": CLAIM_NITRO_IMAGE, "equals": M }])), true),
        (all_of(json!([{ "claim": "casemate.nitro.pcr8", "equals": M }])), false),
        (all_of(json!([{ "claim": CLAIM_NITRO_IMAGE, "equals": zeros(96) }])), false),
        (all_of(json!([azure(0), azure(1)])), true),
        (all_of(json!([azure(0), azure(2)])), true),
        (all_of(json!([azure(0), { "anyOf": [azure(1), azure(2)] }])), true),
        (all_of(json!([azure(0)])), false),
        (all_of(json!([azure(1), azure(2)])), false),
        (all_of(json!([{ "claim": "casemate.azure.paravisor-measurement", "equals": M }])), false),
    ];
    for (document, pins) in cases {
        let policy = parse(&document).unwrap();
        assert_eq!(pins_workload(&policy), pins, "{document}");
        assert_eq!(
            policy.require_pinned().map_err(|error| error.code()),
            if pins { Ok(()) } else { Err("policy.unpinned") }
        );
    }
}

#[test]
fn the_policy_of_the_azure_tutorials_parses_and_is_refused_with_a_hint() {
    let nested_status = all_of(json!([
        { "claim": "x-ms-isolation-tee.x-ms-compliance-status", "equals": "azure-compliant-cvm" },
        { "claim": "x-ms-isolation-tee.x-ms-attestation-type", "equals": "sevsnpvm" },
    ]));
    for document in [tutorial(), nested_status] {
        let error = parse(&document).unwrap().require_pinned().unwrap_err();
        assert_eq!(error, PolicyError::Unpinned { hint: Hint::AnyAzureCustomer });
        let text = error.to_string();
        assert!(text.contains("would release the key to any confidential VM of any customer"), "{text}");
        assert!(text.contains(CLAIM_MEASUREMENT), "{text}");
    }
}

#[test]
fn other_hints_fit_their_policies() {
    let top_level = all_of(json!([{ "claim": "x-ms-sevsnpvm-hostdata", "equals": H }]));
    let hint = |document| match parse(&document).unwrap().require_pinned() {
        Err(PolicyError::Unpinned { hint }) => hint,
        other => panic!("{other:?}"),
    };
    assert_eq!(hint(top_level), Hint::TopLevelClaim);
    let part = all_of(json!([{ "claim": CLAIMS_TDX[0], "equals": M }]));
    assert_eq!(hint(part), Hint::PartOfAPin);
    assert_eq!(hint(all_of(json!([{ "claim": "casemate.simulated", "equals": false }]))), Hint::AnyWorkload);
}

#[test]
fn danger_is_written_as_true_and_as_nothing_else() {
    let with = |danger: bool| {
        let mut document = tutorial();
        document["danger-any-workload"] = danger.into();
        parse(&document).unwrap().require_pinned()
    };
    assert_eq!(with(true), Ok(()));
    assert_eq!(with(false).unwrap_err().code(), "policy.unpinned");
}

// === evaluating ===

fn met(condition: Value) -> bool {
    parse(&all_of(json!([condition]))).unwrap().evaluate(ISSUER, &claims()).is_ok()
}

#[test]
fn operators_hold_as_the_table_says() {
    let t = |claim: &str, operator: &str, value: Value| met(json!({ "claim": claim, operator: value }));
    // equals
    assert!(
        t("n", "equals", 5.into())
            && t("word", "equals", "five".into())
            && t("negative", "equals", (-3).into())
    );
    assert!(
        t("big", "equals", u64::MAX.into())
            && t("deep.er.n", "equals", 7.into())
            && t("empty", "equals", "".into())
    );
    assert!(
        t("yes", "equals", true.into())
            && t("yes", "equals", "true".into())
            && t("yes-text", "equals", true.into())
    );
    assert!(t("no", "equals", "false".into()));
    for (claim, value) in [
        ("n", json!(6)),
        ("n", json!("5")),
        ("n", json!(true)),
        ("word", json!("Five")),
        ("word", json!("five ")),
        ("yes", json!(false)),
        ("yes", json!("True")),
        ("yes", json!(1)),
        ("no", json!("")),
        ("half", json!(1)),
        ("null", json!("null")),
        ("list", json!(5)),
        ("deep", json!("x")),
        ("gone", json!("")),
        ("deep.gone", json!(7)),
        ("n.n", json!(5)),
        ("list.0", json!(5)),
        ("word.length", json!(4)),
    ] {
        assert!(!t(claim, "equals", value.clone()), "{claim} equals {value}");
    }
    // notEquals: different, of one kind, and there
    assert!(
        t("n", "notEquals", 6.into())
            && t("word", "notEquals", "six".into())
            && t("no", "notEquals", true.into())
    );
    for (claim, value) in [
        ("n", json!(5)),
        ("gone", json!("x")),
        ("deep.gone", json!(1)),
        ("n", json!("6")),
        ("yes", json!("true")),
        ("yes", json!("other")),
        ("null", json!("x")),
        ("list", json!(6)),
        ("deep", json!("x")),
        ("half", json!(2)),
    ] {
        assert!(!t(claim, "notEquals", value.clone()), "{claim} notEquals {value}");
    }
    // order, at its borders
    for (operator, four, five, six) in [
        ("less", false, false, true),
        ("lessOrEquals", false, true, true),
        ("greater", true, false, false),
        ("greaterOrEquals", true, true, false),
    ] {
        assert_eq!([4, 5, 6].map(|limit| t("n", operator, limit.into())), [four, five, six], "{operator}");
        for claim in ["gone", "word", "yes", "half", "null", "list", "deep"] {
            assert!(
                ![i64::MIN, 0, 1, i64::MAX].iter().any(|limit| t(claim, operator, (*limit).into())),
                "{claim} {operator}"
            );
        }
    }
    assert!(t("big", "greater", i64::MAX.into()) && t("negative", "less", 0.into()));
    // exists
    assert!(
        t("n", "exists", true.into())
            && t("no", "exists", "true".into())
            && t("empty", "exists", true.into())
    );
    for claim in ["gone", "deep.gone", "deep", "list", "null", "half"] {
        assert!(!t(claim, "exists", true.into()), "{claim}");
    }
}

#[test]
fn lists_nest() {
    let yes = || json!({ "claim": "n", "equals": 5 });
    let no = || json!({ "claim": "n", "equals": 6 });
    assert!(met(json!({ "allOf": [yes(), yes()] })) && !met(json!({ "allOf": [yes(), no()] })));
    assert!(met(json!({ "anyOf": [no(), yes()] })) && !met(json!({ "anyOf": [no(), no()] })));
    assert!(met(json!({ "anyOf": [no(), { "allOf": [yes(), { "anyOf": [no(), yes()] }] }] })));
    assert!(!met(json!({ "anyOf": [no(), { "allOf": [yes(), { "anyOf": [no(), no()] }] }] })));
}

#[test]
fn only_our_own_authority_counts_byte_for_byte() {
    let policy = |issuer: &str| {
        parse(&json!({ "version": "1.0.0", "anyOf": [{ "authority": issuer, "allOf": [measurement()] }] }))
            .unwrap()
    };
    assert_eq!(policy(ISSUER).evaluate(ISSUER, &claims()), Ok(()));
    for other in [
        "",
        "https://casemate.dev/broker/",
        "https://CASEMATE.dev/broker",
        "http://casemate.dev/broker",
        "https://sharedweu.weu.attest.azure.net",
    ] {
        let not_met = policy(other).evaluate(ISSUER, &claims());
        assert_eq!(not_met, Err(NotMet::Authority { expected: other.into(), found: ISSUER.into() }));
    }
    let two = parse(&json!({ "version": "1.0.0", "anyOf": [
        { "authority": ISSUER, "allOf": [{ "claim": "n", "equals": 6 }] },
        { "authority": ISSUER, "allOf": [{ "claim": "n", "equals": 5 }] },
    ] }));
    assert_eq!(two.unwrap().evaluate(ISSUER, &claims()), Ok(()));
}

#[test]
fn a_failure_names_the_condition() {
    let policy = parse(&all_of(
        json!([{ "anyOf": [{ "claim": "gone", "greater": 3 }, { "claim": "n", "equals": 6 }] }]),
    ))
    .unwrap();
    let failure =
        Failure { claim: "gone".into(), operator: "greater", expected: Scalar::Integer(3), found: None };
    assert_eq!(policy.evaluate(ISSUER, &claims()), Err(NotMet::Condition(failure)));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]{}\":,a-z0-9.]{0,200}") {
        let _ = ReleasePolicy::parse(text.as_bytes());
    }

    #[test]
    fn no_edit_of_a_policy_panics_or_widens_what_it_pins(at in 0usize..400, byte: u8) {
        let mut text = all_of(json!([measurement(), { "claim": "n", "less": 5 }])).to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(policy) = ReleasePolicy::parse(&text) {
            proptest::prop_assert_eq!(pins_workload(&policy), policy.require_pinned().is_ok());
        }
    }
}
