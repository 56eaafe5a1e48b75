//! The library's words for what no recorded quote shows.

use super::*;

fn named(words: &str) -> (Stage, &'static str) {
    let (stage, reason) = classify(words, 1 << 40);
    (stage, reason.code())
}

#[test]
fn words_have_a_stage_and_a_code() {
    for (words, stage, code) in [
        ("TCB status is invalid: Revoked", Stage::TcbLevel, "tdx.tcb.revoked"),
        ("No matching TCB level found", Stage::TcbLevel, "tdx.tcb.unknown"),
        (
            "TDX module identity check: TDX module MRSIGNER mismatch: expected 00, got 01",
            Stage::TcbLevel,
            "tdx.module.identity",
        ),
        ("QE MRSIGNER mismatch: expected 00, got 01", Stage::Signature, "tdx.qe.identity"),
        ("Reserved bits in TD attributes are set", Stage::Attributes, "tdx.td.reserved"),
        ("TD migration is enabled", Stage::Attributes, "tdx.td.migratable"),
        ("SERVTD_EXT is enabled", Stage::Attributes, "tdx.td.service-td-unnamed"),
        ("SEPT_VE_DISABLE is not enabled", Stage::Attributes, "tdx.td.sept-ve"),
        ("something else", Stage::Signature, "tdx.dcap.refused"),
        ("", Stage::Signature, "tdx.dcap.refused"),
    ] {
        assert_eq!(named(words), (stage, code), "{words}");
    }
}
