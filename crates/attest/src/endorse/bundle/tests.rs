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
fn text_that_two_encoders_write_differently_is_not_written() {
    for odd in ["é", "\u{7f}", "\u{0}", "\t"] {
        let bundle =
            EndorsementBundle::default().with_intel(Collateral { tcb_info: odd.to_owned(), ..collateral() });
        assert_eq!(bundle.to_bytes().expect_err("must be refused").code(), "endorse.bundle.form", "{odd:?}");
    }
}
