//! `casemate doctor` on this very machine, whatever it is: what holds on each.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).arg("doctor").args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> (Value, Output) {
    let output = doctor(&[arguments, &["--json"]].concat());
    (serde_json::from_slice(&output.stdout).unwrap(), output)
}

fn count(answer: &Value, outcome: &str) -> usize {
    answer["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == outcome).count()
}

fn of<'a>(answer: &'a Value, id: &str) -> Option<&'a Value> {
    answer["checks"].as_array().unwrap().iter().find(|check| check["id"] == id)
}

#[test]
fn the_exit_code_is_that_of_the_checks() {
    let (answer, output) = json(&[]);
    assert_eq!(answer["schema"], "casemate.doctor/1");
    let (expected, code) = match (count(&answer, "fail"), count(&answer, "unknown")) {
        (0, 0) => (0, None),
        (0, _) => (5, Some("[doctor.undecided]")),
        _ => (1, Some("[doctor.not-ready]")),
    };
    assert_eq!(output.status.code(), Some(expected));
    assert_eq!(answer["ready"], expected == 0);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(code.is_none_or(|code| said.contains(code)), "{said}");
    for check in answer["checks"].as_array().unwrap() {
        assert_eq!(check["hint"].is_string(), check["outcome"] != "pass", "{check}");
    }
}

/// The devices of attesters.md §2: where there is none of them, there is no TEE, and the answer says so.
#[test]
fn a_machine_without_a_device_has_no_tee() {
    let devices =
        ["/dev/nsm", "/dev/tpmrm0", "/dev/sev-guest", "/dev/tdx_guest", "/sys/kernel/config/tsm/report"];
    let none = devices.iter().all(|device| !Path::new(device).exists());
    let (answer, output) = json(&[]);
    let platform = of(&answer, "tee.platform").unwrap();
    if none {
        assert_eq!((&platform["outcome"], &platform["code"]), (&"fail".into(), &"attester.no-device".into()));
        assert_eq!(output.status.code(), Some(1));
    }
    let shown = answer["checks"].as_array().unwrap().iter().filter(|check| check["rule"] == "DOC-04").count();
    assert_eq!(shown == 0, none);
}

/// The table and the JSON are of the same checks.
#[test]
fn the_table_has_a_line_for_each_check() {
    let (answer, _) = json(&[]);
    let table = String::from_utf8(doctor(&[]).stdout).unwrap();
    for check in answer["checks"].as_array().unwrap() {
        let (rule, id) = (check["rule"].as_str().unwrap(), check["id"].as_str().unwrap());
        let line = table.lines().find(|line| line.contains(&format!(" {id} "))).unwrap_or_default();
        assert!(line.trim_start().starts_with(rule), "{id}: {table}");
    }
    let hints = table.lines().filter(|line| line.trim_start().starts_with("hint: ")).count();
    assert_eq!(hints, answer["checks"].as_array().unwrap().len() - count(&answer, "pass"));
}

#[test]
fn the_broker_is_asked_where_a_flag_says_so() {
    assert!(of(&json(&[]).0, "network.broker").is_none());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 2048];
        let len = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    });
    let (answer, _) = json(&["--broker", &url]);
    assert_eq!(of(&answer, "network.broker").unwrap()["outcome"], "pass");
    assert!(peer.join().unwrap().starts_with("GET /healthz "));
    // Whoever listened there does no longer.
    let (answer, output) = json(&["--broker", &url]);
    let check = of(&answer, "network.broker").unwrap();
    assert_eq!((&check["outcome"], &check["code"]), (&"fail".into(), &"release.unreachable".into()));
    let local = count(&answer, "fail") - 1;
    assert_eq!(output.status.code(), Some(if local == 0 { 6 } else { 1 }));
}
