//! What must be refused, each with its exit code and its error code. In every case no key leaves the broker and no
//! prompt leaves the client.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Case;
use crate::fixture::{Fixture, KEY_URI, casemate, run, run_program};
use crate::path::http;

pub const CASES: &[(&str, Case)] = &[
    ("refusal::another_measurement_gets_no_key", another_measurement_gets_no_key),
    ("refusal::client_policy_sends_nothing", client_policy_sends_nothing),
    ("refusal::a_virtual_tpm_that_is_not_there_sends_nothing", a_virtual_tpm_that_is_not_there),
    ("refusal::another_model_sends_nothing", another_model_sends_nothing),
    ("refusal::changed_sealed_files_do_not_start", changed_sealed_files_do_not_start),
    ("refusals::a_model_that_does_not_fit_does_not_start", a_model_that_does_not_fit_does_not_start),
    ("refusal::another_publisher_does_not_start", another_publisher_does_not_start),
    ("refusal::production_roots_never_accept_the_simulator", production_roots_never_accept_the_simulator),
    ("refusal::another_simulated_vendor_is_a_stranger", another_simulated_vendor_is_a_stranger),
    ("refusal::a_version_below_the_floor_gets_no_key", a_version_below_the_floor_gets_no_key),
    ("refusal::no_broker_no_start", no_broker_no_start),
    ("refusal::an_operators_tls_key", an_operators_tls_key),
    ("refusal::release_policies_that_pin_nothing", release_policies_that_pin_nothing),
    ("refusal::malformed_keys_and_policies", malformed_keys_and_policies),
    ("refusal::reports_with_mistakes", reports_with_mistakes),
    ("refusal::nothing_is_overwritten_or_half_written", nothing_is_overwritten_or_half_written),
];

/// The same program with one byte more at its end.
fn changed_program(f: &Fixture, name: &str) -> std::path::PathBuf {
    let other = Path::new(&f.path(name)).to_owned();
    fs::copy(casemate(), &other).unwrap();
    OpenOptions::new().append(true).open(&other).unwrap().write_all(b"!").unwrap();
    other
}

fn another_measurement_gets_no_key(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let other = changed_program(f, "casemate-changed");
    let refused = f.try_serve(&other, &broker.url, &f.path("sealed")).err().expect("refused");
    refused.refused(4, "release.policy.not-met");
}

fn client_policy_sends_nothing(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let policy = f.client_policy("other-measurement.toml", &"5a".repeat(48), &f.manifest);
    let before = body_bytes(&server.url);
    f.ask(&server.url, &policy, "secret").refused(4, "snp.measurement.not-accepted");
    assert_eq!(body_bytes(&server.url), before);
    // The counter does count.
    assert_eq!(f.ask(&server.url, &f.path("client.toml"), "Hi").exit, Some(0));
    assert!(body_bytes(&server.url) > before);
}

/// The client's policy demands one beside the hardware; a server on simulated hardware cannot show one.
fn a_virtual_tpm_that_is_not_there(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let client = fs::read_to_string(f.path("client.toml")).unwrap();
    let demanding = f.path("client-vtpm.toml");
    let terms = r#"
[vtpm]
provider = "google"
[gce-vtpm]
memory-encryption-unproven = { danger-allow = "the SEV-SNP report names the key" }
project-id = ["p"]
zone = { any = "test" }
instance-id = { any = "test" }
pcrs = { 0 = { any = "test" } }
"#;
    fs::write(&demanding, format!("{client}{terms}")).unwrap();
    let before = body_bytes(&server.url);
    f.ask(&server.url, &demanding, "secret").refused(4, "[vtpm.missing]");
    assert_eq!(body_bytes(&server.url), before);
    // A document in which somebody put one, and one that says nothing of it, in a file.
    let document: serde_json::Value = http(&server.url).get("/attest").json();
    let verify = |name: &str, document: &serde_json::Value, policy: &str| {
        fs::write(f.path(name), document.to_string()).unwrap();
        run(&["verify", &f.path(name), "--policy", policy, "--danger-simulated-root", &f.root()])
    };
    let client = f.path("client.toml");
    assert_eq!(verify("vtpm-none.json", &document, &client).exit, Some(0));
    verify("vtpm-none.json", &document, &demanding).refused(4, "[vtpm.missing]");
    let mut added = document.clone();
    let nothing = serde_json::json!({ "amd": null, "intel": null, "ak": [], "crl": [] });
    added["vtpm"] = serde_json::json!({ "evidence": "AA==", "endorsements": nothing });
    verify("vtpm-added.json", &added, &client).refused(4, "[vtpm.not-expected]");
    added.as_object_mut().unwrap().remove("vtpm");
    verify("vtpm-absent.json", &added, &client).refused(5, "[document.malformed]");
    // Nor is a real one shown for it.
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    args.extend(["--gce-vtpm", "file", "--check-config"].map(str::to_owned));
    run(&args.iter().map(String::as_str).collect::<Vec<_>>()).refused(2, "[config.exclusive]");
}

fn another_model_sends_nothing(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let policy = f.client_policy("other-model.toml", &f.measurement, &"5a".repeat(32));
    f.ask(&server.url, &policy, "secret").refused(4, "statement.model");
    assert_eq!(body_bytes(&server.url), 0);
}

fn body_bytes(url: &str) -> u64 {
    let metrics = http(url).get("/metrics").text();
    let lines = metrics.lines().filter(|l| l.starts_with("casemate_request_body_bytes_total"));
    let counts: Vec<u64> = lines.map(|l| l.split_whitespace().last().unwrap().parse().unwrap()).collect();
    assert!(!counts.is_empty(), "{metrics}");
    counts.iter().sum()
}

fn changed_sealed_files_do_not_start(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let copy = f.folder("changed");
    let reset = || {
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir_all(copy.join("blobs")).unwrap();
        fs::copy(f.path("sealed/sealed.json"), copy.join("sealed.json")).unwrap();
        let blob = fs::read_dir(f.path("sealed/blobs")).unwrap().next().unwrap().unwrap();
        let to = copy.join("blobs").join(blob.file_name());
        fs::copy(blob.path(), &to).unwrap();
        to
    };
    let start = || {
        let refused = f.try_serve(&casemate(), &broker.url, copy.to_str().unwrap()).err();
        refused.expect("a changed sealed model must not start")
    };
    let flip = |path: &Path, at: u64| {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };

    let blob = reset();
    flip(&blob, 56 + 16_400 * 3 + 5);
    start().refused(3, "chunk 3 ");
    let blob = reset();
    flip(&blob, 0);
    start().refused(3, "seal.blob.header");
    let blob = reset();
    let len = fs::metadata(&blob).unwrap().len();
    OpenOptions::new().write(true).open(&blob).unwrap().set_len(len - 1).unwrap();
    start().refused(3, "seal.blob.truncated");
    let blob = reset();
    OpenOptions::new().append(true).open(&blob).unwrap().write_all(b"x").unwrap();
    start().refused(3, "seal.blob.trailing");
    let blob = reset();
    fs::remove_file(&blob).unwrap();
    start().refused(1, "weights.unreadable");

    reset();
    let manifest = copy.join("sealed.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    start().refused(5, "seal.manifest.");
    fs::write(&manifest, "garbage").unwrap();
    start().refused(5, "seal.manifest.");
    fs::remove_file(&manifest).unwrap();
    start().refused(1, "weights.unreadable");
}

/// SRV-58: a cache of 16 million tokens has 360 GiB with this model.
fn a_model_that_does_not_fit_does_not_start(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    args.extend(["--cache-tokens", "16777216"].map(str::to_owned));
    let refused = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    refused.refused(1, "boot.memory");
    for part in [
        "MiB of weights",
        "of attention cache for 16777216 tokens",
        "are available",
        "hint: ",
        "--cache-tokens",
    ] {
        assert!(refused.stderr.contains(part), "no {part} in: {}", refused.stderr);
    }
}

fn another_publisher_does_not_start(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    f.ok(&["keygen", &f.path("impostor")]);
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    let at = args.iter().position(|a| a.ends_with("publisher.pub")).unwrap();
    args[at] = f.path("impostor.pub");
    run(&args.iter().map(String::as_str).collect::<Vec<_>>()).refused(3, "seal.signature.unknown-publisher");
}

/// Invariant 4, for every command that judges evidence.
fn production_roots_never_accept_the_simulator(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let policy = f.path("client.toml");

    // ask and verify of a server
    run(&["ask", &server.url, "secret", "--policy", &policy]).refused(3, "x509.unknown-issuer");
    assert_eq!(body_bytes(&server.url), 0);
    run(&["verify", &server.url, "--policy", &policy]).refused(3, "x509.unknown-issuer");

    // verify of a file
    let report_data = "00".repeat(64);
    let out = f.path("simulated-report");
    f.ok(&["simulate", "report", &f.path("vendor"), "-o", &out, "--report-data", &report_data]);
    let file = |name: &str| format!("{out}/{name}");
    let (report, vek, crl) = (file("report.bin"), file("vek.der"), file("crl.der"));
    let verify =
        ["verify", &report, "--vek", &vek, "--crl", &crl, "--policy", &policy, "--report-data", &report_data];
    run(&verify).refused(3, "x509.unknown-issuer");
    let root = f.root();
    let simulated = [&verify[..], &["--danger-simulated-root", &root]].concat();
    let verified = run(&simulated);
    assert_eq!(verified.exit, Some(0), "{}", verified.stderr);
    assert!(verified.stderr.contains("SIMULATED"), "{}", verified.stderr);

    // broker: a store for one kind of root does not open under the other, in either direction
    run(&["broker", "list", "--store", &f.path("store")]).refused(2, "store.anchors");
    let production = f.path("production-store");
    f.ok(&["broker", "init", &production]);
    run(&["broker", "list", "--store", &production, "--danger-simulated-root", &root])
        .refused(2, "store.anchors");

    // serve: a production broker refuses the simulated machine's evidence
    f.ok(&[
        "broker",
        "put",
        "--store",
        &production,
        "--key",
        &f.path("model.key"),
        "--uri",
        KEY_URI,
        "--policy",
        &f.path("release.json"),
    ]);
    let args = ["broker", "serve", "--store", &production, "--listen", "127.0.0.1:0"];
    let broker = crate::fixture::Server::start(&casemate(), &args, &[], None)
        .unwrap_or_else(|r| panic!("{}", r.stderr));
    let refused = f.try_serve(&casemate(), &broker.url, &f.path("sealed")).err().expect("refused");
    refused.refused(4, "x509.unknown-issuer");
}

fn another_simulated_vendor_is_a_stranger(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    f.ok(&["simulate", "init", &f.path("other-vendor")]);
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    let at = args.iter().position(|a| a.ends_with("vendor")).unwrap();
    args[at] = f.path("other-vendor");
    run(&args.iter().map(String::as_str).collect::<Vec<_>>()).refused(4, "x509.signature");
}

fn a_version_below_the_floor_gets_no_key(f: &Fixture) {
    let store = f.new_store("floor-store");
    let root = f.root();
    let listed =
        f.ok(&["broker", "list", "--store", &store, "--json", "--danger-simulated-root", &root]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let uuid = listed["keys"][0]["model"].as_str().unwrap();
    f.ok(&[
        "broker",
        "set-floor",
        "--store",
        &store,
        "--uuid",
        uuid,
        "--floor",
        "2",
        "--danger-simulated-root",
        &root,
    ]);
    let broker = f.broker(&store);
    let refused = f.try_serve(&casemate(), &broker.url, &f.path("sealed")).err().expect("refused");
    refused.refused(4, "release.version.below-floor");
}

fn no_broker_no_start(f: &Fixture) {
    // A port that was free a moment ago, and nobody listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let args = f.serve_args(&format!("http://127.0.0.1:{port}"), &f.path("sealed"));
    run_program(&casemate(), &args.iter().map(String::as_str).collect::<Vec<_>>())
        .refused(6, "release.unreachable");
}

fn nothing_is_overwritten_or_half_written(f: &Fixture) {
    let seal = |model: &str, out: &str, key: &str| {
        run(&[
            "seal",
            model,
            "-o",
            out,
            "--publisher-key",
            &f.path("publisher.key"),
            "--key-uri",
            KEY_URI,
            "--key-out",
            key,
        ])
    };
    let model = f.path("publisher.pub");
    seal(&model, &f.path("sealed"), &f.path("new.key")).refused(1, "cli.write");
    assert!(!Path::new(&f.path("new.key")).exists());
    // The key file exists: the sealed model must not appear either.
    seal(&model, &f.path("sealed-again"), &f.path("model.key")).refused(1, "cli.write");
    assert!(!Path::new(&f.path("sealed-again")).exists());
    assert!(!Path::new(&f.path("sealed-again.partial")).exists());
    run(&["keygen", &f.path("publisher")]).refused(1, "cli.write");
    run(&["broker", "init", &f.path("store"), "--danger-simulated-root", &f.root()]).refused(1, "cli.write");
    run(&["simulate", "init", &f.path("vendor")]).refused(1, "cli.write");
}

fn put(f: &Fixture, store: &str, key: &str, policy: &str) -> crate::fixture::Run {
    let root = f.root();
    let args =
        ["broker", "put", "--store", store, "--key", key, "--uri", KEY_URI, "--policy", policy, "--replace"];
    run(&[&args[..], &["--danger-simulated-root", &root]].concat())
}

fn release_policies_that_pin_nothing(f: &Fixture) {
    let folder = f.folder("unpinned");
    let store = f.new_store("unpinned/store");
    let put = |name: &str, policy: &str| {
        let path = folder.join(name);
        fs::write(&path, policy).unwrap();
        put(f, &store, &f.path("model.key"), path.to_str().unwrap())
    };
    let condition = |claim: &str, value: &str| format!(r#"{{"claim":"{claim}","equals":"{value}"}}"#);
    let policy = |conditions: &[String], more: &str| {
        let authority = "https://casemate.dev/broker";
        let all = conditions.join(",");
        format!(r#"{{"version":"1.0.0"{more},"anyOf":[{{"authority":"{authority}","allOf":[{all}]}}]}}"#)
    };

    // The policy of the Azure tutorials.
    let tutorial = [
        condition("x-ms-compliance-status", "azure-compliant-cvm"),
        condition("x-ms-isolation-tee.x-ms-attestation-type", "sevsnpvm"),
    ];
    let refused = put("tutorial.json", &policy(&tutorial, ""));
    refused.refused(4, "policy.unpinned");
    assert!(refused.stderr.contains("any confidential VM of any customer"), "{}", refused.stderr);
    assert!(refused.stderr.contains("\nhint: "), "{}", refused.stderr);

    // Somebody writes that any workload may have the key.
    let written = put("written.json", &policy(&tutorial, r#","danger-any-workload":true"#));
    assert_eq!(written.exit, Some(0), "{}", written.stderr);
}

fn malformed_keys_and_policies(f: &Fixture) {
    let folder = f.folder("malformed");
    let store = f.new_store("malformed/store");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = fs::read_to_string(f.path("release.json")).unwrap();
    let key = f.path("model.key");
    let put = |key: &str, policy: &str| put(f, &store, key, policy);
    put(&key, &file("a", "garbage")).refused(2, "policy.");
    put(&key, &file("b", &good.replace("1.0.0", "2.0.0"))).refused(2, "policy.version");
    put(&key, &file("c", &good[..good.len() / 2])).refused(2, "policy.");
    put(&key, &file("d", &"[".repeat(100_000))).refused(2, "policy.");
    put(&file("e", "{}"), &f.path("release.json")).refused(2, "seal.key-file.malformed");
    let text = fs::read_to_string(&key).unwrap();
    put(&file("g", &text.replace("/v1", "/v2")), &f.path("release.json")).refused(2, "seal.key-file.format");
    // The good pair is still there, untouched.
    let list = f.ok(&["broker", "list", "--store", &store, "--danger-simulated-root", &f.root()]);
    assert_eq!(list.stdout.lines().count(), 1);
}

/// One mistake each in a raw report, on the command line, with exit codes.
fn reports_with_mistakes(f: &Fixture) {
    let data = "11".repeat(64);
    let out = f.path("mistakes");
    f.ok(&["simulate", "report", &f.path("vendor"), "-o", &out, "--report-data", &data]);
    let file = |name: &str| format!("{out}/{name}");
    let good = fs::read(file("report.bin")).unwrap();
    let (vek, crl, policy, root) = (file("vek.der"), file("crl.der"), f.path("client.toml"), f.root());
    let verify = |report: &[u8], more: &[&str]| {
        let path = file("changed.bin");
        fs::write(&path, report).unwrap();
        let args = ["verify", &path, "--policy", &policy, "--danger-simulated-root", &root];
        run(&[&args[..], more].concat())
    };
    let full: &[&str] = &["--vek", &vek, "--crl", &crl, "--report-data", &data];
    assert_eq!(verify(&good, full).exit, Some(0));

    let edit = |at: usize, value: u8| {
        let mut report = good.clone();
        report[at] = value;
        report
    };
    verify(&good[..1183], full).refused(5, "evidence.unknown-format");
    verify(&[&good[..], &[0]].concat(), full).refused(5, "evidence.unknown-format");
    verify(&[], full).refused(5, "evidence.unknown-format");
    verify(&edit(0, 9), full).refused(5, "snp.format.version");
    verify(&edit(0x90, good[0x90] ^ 1), full).refused(3, "snp.signature.invalid");
    verify(&good, &["--vek", &vek, "--report-data", &data]).refused(5, "crl.missing");
    verify(&good, &["--crl", &crl, "--report-data", &data]).refused(2, "cli.missing-flag");
    verify(&good, &["--vek", &vek, "--crl", &crl]).refused(2, "cli.missing-flag");
    verify(&good, &["--vek", &crl, "--crl", &crl, "--report-data", &data]).refused(3, "x509.");
    verify(&good, &["--vek", &vek, "--crl", &vek, "--report-data", &data]).refused(3, "crl.");
    let other = "22".repeat(64);
    verify(&good, &["--vek", &vek, "--crl", &crl, "--report-data", &other]).refused(4, "binding.report-data");
    // In twenty years the certificates have run out; before their time they do not hold yet.
    verify(&good, &[full, &["--at", "2400000000"]].concat()).refused(5, "expired");
    verify(&good, &[full, &["--at", "1000000000"]].concat()).refused(5, "not-yet-valid");

    // Waivers are written, listed, and change the headline.
    let waived =
        ["--vek", &vek, "--danger-no-crl", "an air-gapped site", "--danger-unbound", "an old report"];
    let verified = verify(&good, &waived);
    assert_eq!(verified.exit, Some(0), "{}", verified.stderr);
    assert!(verified.stdout.contains("an air-gapped site"), "{}", verified.stdout);
    assert!(
        verified.stdout.contains("VERIFIED (SIMULATED), 3 waived: SNP-07, SNP-30, SNP-31"),
        "{}",
        verified.stdout
    );
}

/// The operator brings the TLS key and could read along: refused, unless the client's policy says why not.
fn an_operators_tls_key(f: &Fixture) {
    let folder = f.folder("operator-tls");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    fs::write(path("tls.key"), key.serialize_pem()).unwrap();
    fs::write(path("tls.pem"), certificate.pem()).unwrap();
    let broker = f.broker(&f.path("store"));
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    args.extend(["--tls-cert".into(), path("tls.pem"), "--tls-key".into(), path("tls.key")]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let server = crate::fixture::Server::start(&casemate(), &args, &[], None)
        .unwrap_or_else(|r| panic!("{}", r.stderr));

    f.ask(&server.url, &f.path("client.toml"), "secret").refused(4, "statement.tls-key-origin");
    assert_eq!(body_bytes(&server.url), 0);

    let policy = fs::read_to_string(f.path("client.toml")).unwrap();
    fs::write(path("client.toml"), format!("[tls]\ndanger-operator-key = \"our own machine\"\n\n{policy}"))
        .unwrap();
    let asked = f.ask(&server.url, &path("client.toml"), "Hi");
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    assert!(asked.stderr.contains("3 waived: SNP-30, CH-5, CH-20"), "{}", asked.stderr);
}
