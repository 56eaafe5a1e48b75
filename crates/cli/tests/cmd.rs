//! The command line's contract as files: help, errors, hints, exit codes.

#[test]
fn cases() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd").env("COLUMNS", "100").env("NO_COLOR", "1");
}
