//! The binary that is built for anybody but the fault tests has no failpoints in it.

/// What arms them; split, so that this test's own file is no evidence.
const VARIABLE: [&str; 2] = ["GATEWARD_", "FAILPOINTS"];

#[test]
fn an_ordinary_build_does_not_know_the_variable_that_arms_failpoints() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_gateward")).unwrap();
    let variable = VARIABLE.concat();
    let is_there = binary.windows(variable.len()).any(|bytes| bytes == variable.as_bytes());
    assert_eq!(is_there, cfg!(feature = "failpoints"));
}
