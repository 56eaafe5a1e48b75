use super::*;

fn collateral() -> Collateral {
    Collateral {
        pck_crl: "30".to_owned(),
        pck_crl_issuer_chain: "PEM\n".to_owned(),
        qe_identity: "{\"id\":\"TD_QE\"}".to_owned(),
        qe_identity_issuer_chain: "PEM\n".to_owned(),
        qe_identity_signature: "00".to_owned(),
        root_ca_crl: "30".to_owned(),
        tcb_info: "{\"id\":\"TDX\"}".to_owned(),
        tcb_info_issuer_chain: "PEM\n".to_owned(),
        tcb_info_signature: "00".to_owned(),
    }
}

fn code(text: &str) -> &'static str {
    EndorsementBundle::parse(text.as_bytes()).expect_err("must be refused").code()
}

#[test]
fn what_is_written_is_read() {
    let amd = EndorsementBundle::default().with_amd(vec![0x30, 1], vec![0x30, 2]);
    let both = amd.clone().with_intel(collateral());
    for bundle in [amd, both, EndorsementBundle::default().with_intel(collateral())] {
        let bytes = bundle.to_bytes().expect("plain text");
        assert_eq!(EndorsementBundle::parse(&bytes), Ok(bundle));
    }
}

#[test]
fn one_mistake_each() {
    let good = r#"{"amd":{"crl":"MAI=","vek":"MAE="},"schema":"casemate.endorsements/1"}"#;
    assert!(EndorsementBundle::parse(good.as_bytes()).is_ok());
    for (from, to, expected) in [
        ("endorsements/1", "endorsements/2", "endorse.bundle.schema"),
        ("\"vek\"", "\"vcek\"", "endorse.bundle.form"),
        ("\"crl\":\"MAI=\",", "", "endorse.bundle.form"),
        ("\"MAE=\"", "\"MAE\"", "endorse.bundle.base64"),
        ("\"MAE=\"", "\"MAF=\"", "endorse.bundle.base64"),
        ("\"MAE=\"", "null", "endorse.bundle.form"),
        ("\"MAE=\"", "\"MAE=\",\"verified\":true", "endorse.bundle.form"),
        ("\"MAI=\",", "\"MAI=\", ", "endorse.bundle.not-canonical"),
        ("\"MAI=\",", "\"\\u004dAI=\",", "endorse.bundle.not-canonical"),
        ("\"MAE=\"", "\"MAE=\",\"vek\":\"MAE=\"", "endorse.bundle.form"),
        ("/1\"}", "/1\"}{}", "endorse.bundle.form"),
        ("/1\"}", "/1\"}\n", "endorse.bundle.not-canonical"),
        ("/1\"}", "/1\"", "endorse.bundle.form"),
        ("\"amd\":{\"crl\":\"MAI=\",\"vek\":\"MAE=\"},", "", "endorse.bundle.empty"),
        ("\"amd\":{\"crl\":\"MAI=\",\"vek\":\"MAE=\"},", "\"amd\":null,", "endorse.bundle.empty"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert_eq!(code(&bad), expected, "{bad}");
    }
    let swapped = r#"{"schema":"casemate.endorsements/1","amd":{"crl":"MAI=","vek":"MAE="}}"#;
    assert_eq!(code(swapped), "endorse.bundle.not-canonical");
    assert_eq!(code(&" ".repeat(MAX_BUNDLE + 1)), "endorse.bundle.too-long");
    assert_eq!(code(&"[".repeat(100_000)), "endorse.bundle.form");
    assert_eq!(code(""), "endorse.bundle.form");
}

#[test]
fn devices_have_their_own_place_in_one_order() {
    let (a, b) = (vec![1], vec![2]);
    let good = r#"{"nvidia":{"ocsp":["AQ==","Ag=="],"rim":["AQ=="]},"schema":"casemate.endorsements/1"}"#;
    let bundle = EndorsementBundle::parse(good.as_bytes()).expect("good");
    let made = EndorsementBundle::default();
    let made = made.with_nvidia(vec![b.clone(), a.clone(), b.clone()], vec![a.clone(), a.clone()]);
    assert_eq!((&made, made.to_bytes().as_deref()), (&bundle, Ok(good.as_bytes())));
    let devices = bundle.devices().expect("there");
    assert_eq!(devices.manifests().collect::<Vec<_>>(), [&a[..]]);
    let GpuRevocation::Ocsp(answers) = devices.revocation() else { panic!("answers") };
    assert_eq!(answers.iter().map(|answer| &answer.der).collect::<Vec<_>>(), [&a, &b]);
    assert!(answers.iter().all(|answer| answer.nonce == OcspNonce::NotSent));

    for (from, to, expected) in [
        (r#""AQ==","Ag==""#, r#""Ag==","AQ==""#, "endorse.bundle.not-canonical"),
        (r#""AQ==","Ag==""#, r#""AQ==","AQ==""#, "endorse.bundle.not-canonical"),
        (r#""AQ==","Ag==""#, r#""AQ==","Ah==""#, "endorse.bundle.base64"),
        (r#","rim":["AQ=="]"#, "", "endorse.bundle.form"),
        (r#""rim":["AQ=="]"#, r#""rim":"AQ==""#, "endorse.bundle.form"),
        (r#""rim":["AQ=="]"#, r#""rim":["AQ=="],"rims":[]"#, "endorse.bundle.form"),
        (r#"["AQ==","Ag=="]"#, "null", "endorse.bundle.form"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert_eq!(code(&bad), expected, "{bad}");
    }
    // Absence never opens: no list of answers is no answer, and no place at all is an error.
    let none = EndorsementBundle::default().with_nvidia(Vec::new(), Vec::new());
    assert_eq!(none.devices().map(DeviceEndorsements::revocation), Ok(GpuRevocation::Missing));
    let amd = EndorsementBundle::default().with_amd(a, b);
    assert_eq!(amd.devices().expect_err("none").code(), "endorse.bundle.missing");
}

#[test]
fn text_that_two_encoders_write_differently_is_not_written() {
    for odd in ["é", "\u{7f}", "\u{0}", "\t"] {
        let bundle =
            EndorsementBundle::default().with_intel(Collateral { tcb_info: odd.to_owned(), ..collateral() });
        assert_eq!(bundle.to_bytes().expect_err("must be refused").code(), "endorse.bundle.form", "{odd:?}");
    }
}

#[test]
fn lists_of_several_authorities_have_their_own_places() {
    let (a, b) = (vec![1], vec![2]);
    let aws = r#"{"aws":{"crl":["AQ==","Ag=="]},"schema":"casemate.endorsements/1"}"#;
    let google =
        r#"{"google":{"ak_chain":["Ag==","AQ=="],"crl":["AQ==","Ag=="]},"schema":"casemate.endorsements/1"}"#;
    let made = EndorsementBundle::default().with_aws(vec![b.clone(), a.clone(), b.clone()]);
    assert_eq!(made.to_bytes().as_deref(), Ok(aws.as_bytes()));
    assert_eq!(EndorsementBundle::parse(aws.as_bytes()), Ok(made.clone()));
    // The chain keeps its order: its last certificate says which root it leads to.
    let chain = vec![b.clone(), a.clone()];
    let made = EndorsementBundle::default().with_google(chain.clone(), vec![b.clone(), a.clone()]);
    assert_eq!(made.to_bytes().as_deref(), Ok(google.as_bytes()));
    assert_eq!(EndorsementBundle::parse(google.as_bytes()), Ok(made.clone()));
    let both = made.with_aws(vec![a]);
    assert_eq!(EndorsementBundle::parse(&both.to_bytes().expect("plain")), Ok(both));

    for (good, from, to, expected) in [
        (aws, r#""AQ==","Ag==""#, r#""Ag==","AQ==""#, "endorse.bundle.not-canonical"),
        (aws, r#""AQ==","Ag==""#, r#""AQ==","AQ==""#, "endorse.bundle.not-canonical"),
        (aws, r#""Ag==""#, r#""Ag""#, "endorse.bundle.base64"),
        (aws, r#"["AQ==","Ag=="]"#, r#""AQ==""#, "endorse.bundle.form"),
        (aws, r#""crl""#, r#""crls""#, "endorse.bundle.form"),
        (aws, r#"{"crl":["AQ==","Ag=="]}"#, "{}", "endorse.bundle.form"),
        (aws, r#"{"crl":["AQ==","Ag=="]}"#, r#"{"crl":["AQ=="],"unlisted":"x"}"#, "endorse.bundle.form"),
        (aws, r#"{"crl":["AQ==","Ag=="]}"#, "null", "endorse.bundle.empty"),
        (google, r#""ak_chain":["Ag==","AQ=="],"#, "", "endorse.bundle.form"),
        (google, r#","crl":["AQ==","Ag=="]"#, "", "endorse.bundle.form"),
        (google, r#""crl":["AQ==","Ag=="]"#, r#""crl":["Ag==","AQ=="]"#, "endorse.bundle.not-canonical"),
        (google, r#"["Ag==","AQ=="]"#, r#"["Ag==","A==="]"#, "endorse.bundle.base64"),
        (google, "google", "gcp", "endorse.bundle.form"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert_eq!(code(&bad), expected, "{bad}");
    }
}
