//! promtool, from Debian's package `prometheus`, as a judge of what we write for Prometheus.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs promtool with this on its standard input.
pub(crate) fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| {
            panic!("promtool cannot be run ({why}): install Debian's package prometheus, as scripts/test does")
        });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Fails with promtool's own words unless it finds nothing to say.
pub(crate) fn check_metrics(page: &str) {
    let output = promtool(&["check", "metrics"], page);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn promtool_tells_a_bad_page() {
    let bad = promtool(&["check", "metrics"], "# TYPE x stateset\nx 1\n");
    assert!(!bad.status.success());
    let lint = promtool(&["check", "metrics"], "no_help_total 1\n");
    assert!(!lint.stderr.is_empty());
}
