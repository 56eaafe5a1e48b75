use super::*;

fn snp(bound: &[u8]) -> Bound<'_> {
    Bound(Platform::SevSnp, bound)
}

/// CH-1 of every platform: what one platform binds is nothing on another whose form differs.
#[test]
fn a_virtual_tpm_binds_the_hash_of_the_report_data() {
    let document = statement().to_canonical().unwrap();
    let data = report_data(&document);
    let hashed = bound(Platform::AzureVtpm, &data);
    assert_eq!(hashed, Sha256::digest(data).to_vec());
    let vtpms = [Platform::AzureVtpm, Platform::AzureVtpmTdx, Platform::GceVtpm];
    for platform in [Platform::SevSnp, Platform::Tdx, Platform::Nitro].into_iter().chain(vtpms) {
        let (whole, short) =
            if vtpms.contains(&platform) { (&hashed[..], &data[..]) } else { (&data[..], &hashed[..]) };
        assert_eq!(bound(platform, &data), whole, "{platform}");
        let code = |found: &[u8]| {
            let ran =
                run(Bound(platform, found), &document, &expected(), UnixTime(1), &mut Transcript::default());
            ran.err().map_or("none", |e| e.code())
        };
        assert_eq!(code(whole), "none", "{platform}");
        for wrong in [short, &whole[..whole.len() - 1], &[whole, &[0]].concat(), &[]] {
            assert_eq!(code(wrong), "statement.not-bound", "{platform}");
        }
    }
}

fn statement() -> RuntimeStatement {
    RuntimeStatement {
        format: FORMAT,
        nonce: Stated::Is([1; 32]),
        tls_spki_sha256: Stated::Is([2; 32]),
        tls_key_origin: KeyOrigin::Enclave,
        ohttp_config_sha256: Stated::None,
        receipt_key_sha256: Stated::None,
        models: vec![ModelStatement { id: "m".into(), manifest_sha256: Stated::Is([3; 32]) }],
        engine: EngineStatement::Embedded,
        device_evidence_sha256: Stated::None,
        vtpm_key_sha256: Stated::None,
        release_policy_sha256: Stated::None,
        software: "casemate 0.1.0".into(),
        not_after: 1000,
    }
}

fn tls(spki_sha256: [u8; 32], rule: TlsKeyRule) -> Channel {
    Channel::Tls { spki_sha256, rule }
}

fn expected() -> Expectation {
    Expectation {
        nonce: [1; 32],
        channel: tls([2; 32], TlsKeyRule::MadeInside),
        models: ModelRule::OneOf(vec![[9; 32], [3; 32]]),
        engine: EngineRule::Embedded,
    }
}

fn outcome(
    statement: &RuntimeStatement,
    expected: &Expectation,
    now: u64,
) -> Result<(), (StatementError, String)> {
    let document = statement.to_canonical().unwrap();
    let mut seen = Transcript::default();
    match run(snp(&report_data(&document)), &document, expected, UnixTime(now), &mut seen) {
        Ok(_) => {
            assert_eq!(seen.0.len(), RULES.len());
            Ok(())
        }
        Err(reason) => {
            let checks = seen.failed(&reason);
            assert_eq!(checks.len(), RULES.len());
            let failed: Vec<_> = checks.iter().filter(|c| c.outcome == Outcome::Fail).collect();
            assert_eq!(failed.len(), 1);
            Err((reason, failed[0].rule.id.to_string()))
        }
    }
}

fn sealed(configurations_sha256: [u8; 32]) -> Channel {
    Channel::Sealed { configurations_sha256 }
}

#[test]
fn a_good_statement_passes() {
    assert_eq!(outcome(&statement(), &expected(), 999), Ok(()));
    // Over the sealed channel the TLS key is nobody's business.
    let statement = RuntimeStatement {
        ohttp_config_sha256: Stated::Is([7; 32]),
        tls_key_origin: KeyOrigin::Operator,
        ..statement()
    };
    assert_eq!(outcome(&statement, &Expectation { channel: sealed([7; 32]), ..expected() }, 999), Ok(()));
}

#[test]
fn one_mistake_each_is_refused_by_its_rule() {
    type Edit = fn(&mut RuntimeStatement, &mut Expectation, &mut u64);
    let cases: [(Edit, &str, &str); 14] = [
        (|s, _, _| s.tls_key_origin = KeyOrigin::Operator, "CH-5", "statement.tls-key-origin"),
        (|s, _, _| s.nonce = Stated::None, "CH-3", "statement.nonce"),
        (|_, e, _| e.nonce = [7; 32], "CH-3", "statement.nonce"),
        (|_, _, now| *now = 1000, "CH-4", "statement.expired"),
        (|s, _, _| s.tls_spki_sha256 = Stated::None, "CH-5", "statement.tls-key"),
        (|_, e, _| e.channel = tls([7; 32], TlsKeyRule::MadeInside), "CH-5", "statement.tls-key"),
        (|_, e, _| e.channel = sealed([7; 32]), "CH-5", "statement.sealed-keys"),
        (
            |s, e, _| (s.ohttp_config_sha256, e.channel) = (Stated::Is([8; 32]), sealed([7; 32])),
            "CH-5",
            "statement.sealed-keys",
        ),
        (|s, _, _| s.models.clear(), "CH-6", "statement.no-model"),
        (|_, e, _| e.models = ModelRule::OneOf(vec![]), "CH-6", "statement.model"),
        (|s, _, _| s.format = 2, "CH-2", "statement.format"),
        (|s, _, _| s.engine = EngineStatement::Upstream(upstream()), "CH-22", "statement.engine"),
        (
            |s, e, _| {
                let other = UpstreamStatement { command: vec!["/bin/y".into()], ..upstream() };
                s.engine = EngineStatement::Upstream(other);
                e.engine = EngineRule::OneOf(vec![upstream().digest().unwrap()]);
            },
            "CH-22",
            "statement.engine",
        ),
        (
            |s, e, _| {
                s.engine = EngineStatement::Upstream(upstream());
                e.engine = EngineRule::OneOf(vec![]);
            },
            "CH-22",
            "statement.engine",
        ),
    ];
    for (edit, rule, code) in cases {
        let (mut s, mut e, mut now) = (statement(), expected(), 999);
        edit(&mut s, &mut e, &mut now);
        let (reason, failed) = outcome(&s, &e, now).unwrap_err();
        assert_eq!((failed.as_str(), reason.code()), (rule, code));
    }
}

#[test]
fn every_loaded_model_must_be_named() {
    let mut s = statement();
    s.models.push(ModelStatement { id: "extra".into(), manifest_sha256: Stated::Is([4; 32]) });
    assert_eq!(outcome(&s, &expected(), 999).unwrap_err().0.code(), "statement.model");
    s.models.pop();
    s.models[0].manifest_sha256 = Stated::None;
    assert_eq!(outcome(&s, &expected(), 999).unwrap_err().0.code(), "statement.model");
}

#[test]
fn a_waived_model_rule_shows_as_waived() {
    let document = statement().to_canonical().unwrap();
    let anything = Expectation { models: ModelRule::Any { reason: "demo".into() }, ..expected() };
    let mut seen = Transcript::default();
    run(snp(&report_data(&document)), &document, &anything, UnixTime(1), &mut seen).unwrap();
    let waived: Vec<_> = seen.0.iter().filter(|c| c.outcome == Outcome::Waived).map(|c| c.rule.id).collect();
    assert_eq!(waived, ["CH-6"]);
}

fn upstream() -> UpstreamStatement {
    UpstreamStatement {
        kind: "vllm".into(),
        command: vec!["/bin/x".into(), "{folder}".into()],
        environment: vec![],
        program_sha256: Stated::Is([5; 32]),
        separation: Separation::Salt,
    }
}

#[test]
fn an_upstream_is_accepted_where_the_policy_names_it_or_waives() {
    let named = statement_of(upstream());
    let rule = EngineRule::OneOf(vec![[1; 32], upstream().digest().unwrap()]);
    assert_eq!(outcome(&named, &Expectation { engine: rule, ..expected() }, 1), Ok(()));
    let document = named.to_canonical().unwrap();
    let rule = EngineRule::Any { reason: "measured with its image".into() };
    let mut seen = Transcript::default();
    let expected = Expectation { engine: rule, ..expected() };
    run(snp(&report_data(&document)), &document, &expected, UnixTime(1), &mut seen).unwrap();
    assert_eq!(seen.0.last().map(|c| (c.rule.id, c.outcome)), Some(("CH-22", Outcome::Waived)));
    // A policy that knows upstreams takes the embedded engine too.
    assert_eq!(
        outcome(&statement(), &Expectation { engine: EngineRule::OneOf(vec![]), ..expected }, 1),
        Ok(())
    );
}

#[test]
fn every_member_of_an_upstream_is_in_its_digest() {
    type Edit = fn(&mut UpstreamStatement);
    let edits: [Edit; 5] = [
        |u| u.kind = "sglang".into(),
        |u| u.command.push("x".into()),
        |u| u.environment.push("A=b".into()),
        |u| u.program_sha256 = Stated::None,
        |u| u.separation = Separation::None,
    ];
    let digest = upstream().digest().unwrap();
    for edit in edits {
        let mut other = upstream();
        edit(&mut other);
        assert_ne!(other.digest().unwrap(), digest);
    }
    // As spec/channel.md spells it.
    let text = concat!(
        r#"{"command":["/bin/x","{folder}"],"environment":[],"kind":"vllm","program_sha256":""#,
        "0505050505050505050505050505050505050505050505050505050505050505",
        r#"","separation":"salt"}"#
    );
    let bytes = [UPSTREAM_DOMAIN, &[0], text.as_bytes()].concat();
    assert_eq!(digest.to_vec(), Sha256::digest(bytes).to_vec());
    let whole = statement_of(upstream()).to_canonical().unwrap();
    assert!(whole.contains(&format!(r#""engine":{{"upstream":{text}}}"#)), "{whole}");
    assert!(statement().to_canonical().unwrap().contains(r#""engine":"embedded""#));
    assert_eq!(RuntimeStatement::parse(&whole).unwrap(), statement_of(upstream()));
    let more = whole.replace(r#""kind":"#, r#""image":"x","kind":"#);
    assert_eq!(RuntimeStatement::parse(&more).unwrap_err().code(), "statement.malformed");
    let less = whole.replace(r#""separation":"salt""#, r#""program":"x""#);
    assert_eq!(RuntimeStatement::parse(&less).unwrap_err().code(), "statement.malformed");
}

fn statement_of(upstream: UpstreamStatement) -> RuntimeStatement {
    RuntimeStatement { engine: EngineStatement::Upstream(upstream), ..statement() }
}

#[test]
fn an_operators_key_shows_as_waived_where_the_policy_accepts_it() {
    let statement = RuntimeStatement { tls_key_origin: KeyOrigin::Operator, ..statement() };
    let document = statement.to_canonical().unwrap();
    let rule = TlsKeyRule::DangerOperatorHeld { reason: "our own machine".into() };
    let expected = Expectation { channel: tls([2; 32], rule), ..expected() };
    let mut seen = Transcript::default();
    run(snp(&report_data(&document)), &document, &expected, UnixTime(1), &mut seen).unwrap();
    let waived: Vec<_> = seen.0.iter().filter(|c| c.outcome == Outcome::Waived).map(|c| c.rule.id).collect();
    assert_eq!(waived, ["CH-5"]);
}

#[test]
fn a_kept_document_is_checked_for_all_that_needs_no_connection() {
    let document = statement().to_canonical().unwrap();
    let bound = report_data(&document);
    let offline = |bound: &[u8], document: &str, models: &ModelRule, now| {
        let mut seen = Transcript::default();
        run_offline(snp(bound), document, models, &EngineRule::Embedded, UnixTime(now), &mut seen)
            .map(|_| seen.0)
            .map_err(|e| e.code())
    };
    let ours = expected().models;
    let checks = offline(&bound, &document, &ours, 1).unwrap();
    let waived: Vec<_> = checks.iter().filter(|c| c.outcome == Outcome::Waived).map(|c| c.rule.id).collect();
    assert_eq!(waived, ["CH-3", "CH-5"]);
    assert_eq!(checks.len(), RULES.len());
    assert_eq!(offline(&[0; 64], &document, &ours, 1), Err("statement.not-bound"));
    assert_eq!(offline(&bound, &document, &ours, 1000), Err("statement.expired"));
    assert_eq!(offline(&bound, &document, &ModelRule::OneOf(vec![]), 1), Err("statement.model"));
    let nonsense = "not a statement";
    assert_eq!(offline(&report_data(nonsense), nonsense, &ours, 1), Err("statement.malformed"));
}

#[test]
fn other_spellings_and_unknown_members_are_refused() {
    let good = statement().to_canonical().unwrap();
    assert_eq!(RuntimeStatement::parse(&good).unwrap(), statement());
    let spaced = good.replacen(':', ": ", 1);
    assert_eq!(RuntimeStatement::parse(&spaced).unwrap_err(), StatementError::NotCanonical);
    let upper = good.replacen("0101", "010A", 1);
    assert!(RuntimeStatement::parse(&upper).is_err());
    let extra = good.replacen('{', r#"{"aaa":1,"#, 1);
    assert_eq!(RuntimeStatement::parse(&extra).unwrap_err().code(), "statement.malformed");
    let twice = good.replacen('{', r#"{"format":1,"#, 1);
    assert_eq!(RuntimeStatement::parse(&twice).unwrap_err().code(), "statement.malformed");
    let without = good.replacen(r#""receipt_key_sha256":"none","#, "", 1);
    assert_eq!(RuntimeStatement::parse(&without).unwrap_err().code(), "statement.malformed");
    assert_eq!(RuntimeStatement::parse(&" ".repeat(MAX_LEN + 1)).unwrap_err().code(), "statement.too-long");
}

#[test]
fn every_byte_of_the_document_is_bound() {
    let good = statement().to_canonical().unwrap();
    let bound = report_data(&good);
    for i in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[i] ^= 1;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let refused = run(snp(&bound), &text, &expected(), UnixTime(1), &mut Transcript::default());
        assert_eq!(refused.unwrap_err(), StatementError::NotBound);
    }
}
