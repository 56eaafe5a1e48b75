//! What the compiler refuses: proofs that nobody made, permits used twice, secrets in a log.

#[test]
fn proofs_and_secrets_keep_their_shape() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
