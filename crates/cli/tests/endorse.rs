//! `casemate endorse fetch` against a server on this machine that replays what AMD and Intel answered, as recorded; then
//! `verify --endorsements` without any network.

mod typed;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use tempfile::TempDir;
use typed::{Run, casemate, vectors};

const GENOA: &str = "snp/clerk_genoa_alias_check/report.bin";
const GENOA_VCEK: &str = "snp/clerk_genoa_alias_check/vcek_chain.pem";
/// 2025-10-01T12:00:00Z, within the recorded Genoa list.
const GENOA_AT: &str = "1759320000";
const MILAN: &str = "snp/virtee_milan/report.bin";
const MILAN_VCEK: &str = "snp/virtee_milan/vcek.der";
const MILAN_AT: &str = "1748779200";
const TURIN: &str = "snp/clerk_turin/report.bin";
const TURIN_VCEK: &str = "snp/clerk_turin/vcek_chain.pem";
const VLEK: &str = "snp/trustee_vlek/report.bin";
const TDX: &str = "tdx/dcap-qvl/tdx_quote.bin";
const TDX_COLLATERAL: &str = "tdx/dcap-qvl/tdx_quote_collateral.json";
const TDX_AT: &str = "1751000000";
const NITRO: &str = "nitro/cose/nitro_attest_attestation.cbor";

const POLICY: &str = r#"
[sev-snp]
measurement = { any = "recorded" }
host-data = { any = "recorded" }
id-key-digest = { any = "recorded" }
author-key-digest = { any = "recorded" }
family-id = { any = "recorded" }
image-id = { any = "recorded" }
chip-id = { any = "recorded" }
vmpl = { any = "recorded" }
minimum-guest-svn = 0
minimum-report-version = 3
minimum-abi = { major = 0, minor = 0 }
minimum-tcb.genoa = { bootloader = 0, tee = 0, snp = 0, microcode = 0 }
guest-may = ["smt"]
guest-must = []
platform-may = ["smt"]
platform-must = []
launch-mitigations = 0
current-mitigations = 0
"#;

/// Name, and what is done.
type Case = (&'static str, fn() -> Result<(), Failed>);

fn main() {
    let arguments = Arguments::from_args();
    let cases: [Case; 17] = [
        ("Genoa: fetched, then verified without a network", genoa),
        ("Genoa: the second time nobody is asked", cached),
        ("Milan: a version 2 report needs its line", milan),
        ("Turin: the request has the FMC and eight octets of the chip", turin),
        ("VLEK: only its provider has the certificate", vlek),
        ("TDX: Intel's four answers, by a caching service", tdx),
        ("TDX: an answer of another platform", other_fmspc),
        ("nitro: a mirror is asked for the lists that a real document names", nitro),
        ("offline: carried in a folder", carried),
        ("offline: an empty folder", empty_folder),
        ("offline: later than the list", stale_folder),
        ("the service is busy once", busy),
        ("the service is busy for longer than anybody waits", busy_for_long),
        ("the service sends elsewhere", redirect),
        ("the service has an error", broken),
        ("answers that are wrong", wrong),
        ("nobody answers", nobody),
    ];
    let ignored = vectors().is_none();
    let trials = cases.into_iter().map(|(name, run)| Trial::test(name, run).with_ignored_flag(ignored));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Answers by path, and the paths that were asked for.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn ok(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }

    fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Server {
    /// Each path's answers in turn, the last one again and again.
    fn new(answers: impl IntoIterator<Item = (String, Vec<Reply>)>) -> Self {
        let answers: HashMap<String, Vec<Reply>> = answers.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                let Some(Ok(request)) = lines.next() else { continue };
                for line in lines.by_ref() {
                    if line.expect("a header").is_empty() {
                        break;
                    }
                }
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let mut log = log.lock().expect("a log");
                let before = log.iter().filter(|one| **one == path).count();
                log.push(path.clone());
                let not_found = [Reply::status(404)];
                let replies = answers.get(&path).map_or(not_found.as_slice(), Vec::as_slice);
                let reply = &replies[before.min(replies.len() - 1)];
                let mut head = format!(
                    "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
                    reply.status,
                    reply.body.len()
                );
                for (name, value) in &reply.headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                let _ = stream.write_all(format!("{head}\r\n").as_bytes());
                let _ = stream.write_all(&reply.body);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a log").clone()
    }
}

/// A folder for a bundle and a cache, and what is typed.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder") }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn fetch(&self, evidence: &str, at: &str, bundle: &str, more: &[&str]) -> Run {
        let (evidence, bundle, cache) = (path_of(evidence), self.path(bundle), self.path("cache"));
        let typed = ["endorse", "fetch", &evidence, "-o", &bundle, "--cache", &cache, "--at", at, "--json"];
        casemate(&[&typed, more].concat())
    }
}

fn path_of(recorded: &str) -> String {
    typed::recorded(recorded).display().to_string()
}

fn file(recorded: &str) -> Vec<u8> {
    std::fs::read(path_of(recorded)).expect("a recording")
}

/// In DER; of a PEM file the first certificate.
fn certificate(recorded: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    let bytes = file(recorded);
    match rustls::pki_types::CertificateDer::from_pem_slice(&bytes) {
        Ok(first) => first.to_vec(),
        Err(_) => bytes,
    }
}

/// `/vcek/v1/LINE/CHIP?…`, written here once more from the report's bytes.
fn vcek_path(report: &str, line: &str) -> String {
    let report = file(report);
    let tcb = &report[0x180..0x188];
    let (chip, spl) = match line {
        "Turin" => (
            &report[0x1a0..0x1a8],
            format!(
                "fmcSPL={:02}&blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
                tcb[0], tcb[1], tcb[2], tcb[3], tcb[7]
            ),
        ),
        _ => (
            &report[0x1a0..0x1e0],
            format!("blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}", tcb[0], tcb[1], tcb[6], tcb[7]),
        ),
    };
    format!("/vcek/v1/{line}/{}?{spl}", hex::encode(chip))
}

fn genoa_answers() -> Vec<(String, Vec<Reply>)> {
    vec![
        (vcek_path(GENOA, "Genoa"), vec![Reply::ok(certificate(GENOA_VCEK))]),
        ("/vcek/v1/Genoa/crl".to_owned(), vec![Reply::ok(file("roots/amd/genoa_crl.der"))]),
    ]
}

fn code_in(run: &Run, code: &str, exit: i32) -> Result<(), Failed> {
    if run.code == exit && run.stderr.contains(&format!("[{code}]")) {
        return Ok(());
    }
    Err(format!("exit code {}, expected {exit} with {code}: {}", run.code, run.stderr).into())
}

fn genoa() -> Result<(), Failed> {
    let (server, site) = (Server::new(genoa_answers()), Site::new());
    let run = site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(server.asked(), [vcek_path(GENOA, "Genoa"), "/vcek/v1/Genoa/crl".to_owned()]);
    let shown: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!(shown["schema"], "casemate.endorse/1");
    assert_eq!(shown["items"].as_array().map(Vec::len), Some(2));

    let policy = site.path("policy.toml");
    std::fs::write(&policy, POLICY)?;
    let (evidence, bundle) = (path_of(GENOA), site.path("bundle"));
    let typed = [
        "verify",
        &evidence,
        "--policy",
        &policy,
        "--endorsements",
        &bundle,
        "--at",
        GENOA_AT,
        "--danger-unbound",
        "recorded",
    ];
    let run = casemate(&typed);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let headline = run.stdout.lines().last().unwrap_or_default();
    assert!(headline.starts_with("VERIFIED, ") && !headline.contains("SNP-07"), "{headline}");
    // Another machine's bundle endorses nothing here.
    let other = path_of(TDX);
    let typed = [
        "verify",
        &other,
        "--policy",
        &policy,
        "--endorsements",
        &bundle,
        "--at",
        GENOA_AT,
        "--danger-unbound",
        "recorded",
    ];
    code_in(&casemate(&typed), "endorse.bundle.missing", 5)
}

fn cached() -> Result<(), Failed> {
    let (server, site) = (Server::new(genoa_answers()), Site::new());
    let more = ["--kds", server.address.as_str()];
    assert_eq!(site.fetch(GENOA, GENOA_AT, "first", &more).code, 0);
    let run = site.fetch(GENOA, GENOA_AT, "second", &more);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(server.asked().len(), 2);
    assert!(run.stdout.contains(r#""from":"cache""#) && !run.stdout.contains(r#""from":"service""#));
    assert_eq!(std::fs::read(site.path("first"))?, std::fs::read(site.path("second"))?);
    // Nothing is overwritten, and nobody is asked for it.
    std::fs::remove_dir_all(site.path("cache"))?;
    let run = site.fetch(GENOA, GENOA_AT, "second", &more);
    code_in(&run, "cli.write", 1)?;
    assert_eq!(server.asked().len(), 2);
    assert_eq!(std::fs::read(site.path("first"))?, std::fs::read(site.path("second"))?);
    Ok(())
}

fn milan() -> Result<(), Failed> {
    let answers = [
        (vcek_path(MILAN, "Milan"), vec![Reply::ok(file(MILAN_VCEK))]),
        ("/vcek/v1/Milan/crl".to_owned(), vec![Reply::ok(file("roots/amd/milan_crl.der"))]),
    ];
    let (server, site) = (Server::new(answers), Site::new());
    let kds = ["--kds", server.address.as_str()];
    code_in(&site.fetch(MILAN, MILAN_AT, "bundle", &kds), "endorse.line-unknown", 2)?;
    let run = site.fetch(MILAN, MILAN_AT, "bundle", &[&kds, ["--line", "milan"].as_slice()].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    Ok(())
}

/// No revocation list of Turin was recorded: the fetch must not end with a bundle.
fn turin() -> Result<(), Failed> {
    let answers = [(vcek_path(TURIN, "Turin"), vec![Reply::ok(certificate(TURIN_VCEK))])];
    let (server, site) = (Server::new(answers), Site::new());
    let run = site.fetch(TURIN, GENOA_AT, "bundle", &["--kds", &server.address]);
    code_in(&run, "endorse.not-found", 5)?;
    assert_eq!(server.asked(), [vcek_path(TURIN, "Turin"), "/vcek/v1/Turin/crl".to_owned()]);
    assert!(!PathBuf::from(site.path("bundle")).exists());
    Ok(())
}

fn vlek() -> Result<(), Failed> {
    let answers = [("/vlek/v1/Milan/crl".to_owned(), vec![Reply::ok(file("roots/amd/milan_crl.der"))])];
    let (server, site) = (Server::new(answers), Site::new());
    let kds = ["--kds", server.address.as_str()];
    let run = site.fetch(VLEK, MILAN_AT, "bundle", &kds);
    code_in(&run, "endorse.vlek-not-served", 5)?;
    assert!(run.stderr.contains("hint: ") && run.stderr.contains("--vek FILE"), "{}", run.stderr);
    assert!(server.asked().is_empty());
    // With the certificate that the machine brought, the list is all that is fetched.
    let given = path_of("snp/trustee_vlek/vlek.der");
    let run = site.fetch(VLEK, MILAN_AT, "bundle", &[&kds, ["--vek", given.as_str()].as_slice()].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(server.asked(), ["/vlek/v1/Milan/crl"]);
    Ok(())
}

/// As a header: PEM, percent-encoded.
fn encoded(chain: &Value) -> String {
    let text = chain.as_str().expect("a chain").bytes();
    text.map(|octet| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    })
    .collect()
}

fn intel_answers(fmspc: &str) -> Vec<(String, Vec<Reply>)> {
    let collateral: Value = serde_json::from_slice(&file(TDX_COLLATERAL)).expect("JSON");
    let text = |name: &str| collateral[name].as_str().expect("text").to_owned();
    let signed = |member: &str, document: &str, signature: &str| {
        let (document, signature) = (text(document), text(signature));
        Reply::ok(format!(r#"{{"{member}":{document},"signature":"{signature}"}}"#).into_bytes())
    };
    let der = |name: &str| Reply::ok(hex::decode(text(name)).expect("hexadecimal"));
    vec![
        (
            format!("/tdx/certification/v4/tcb?fmspc={fmspc}"),
            vec![
                signed("tcbInfo", "tcb_info", "tcb_info_signature")
                    .with("TCB-Info-Issuer-Chain", encoded(&collateral["tcb_info_issuer_chain"])),
            ],
        ),
        (
            "/tdx/certification/v4/qe/identity".to_owned(),
            vec![
                signed("enclaveIdentity", "qe_identity", "qe_identity_signature").with(
                    "SGX-Enclave-Identity-Issuer-Chain",
                    encoded(&collateral["qe_identity_issuer_chain"]),
                ),
            ],
        ),
        (
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
            vec![
                der("pck_crl").with("SGX-PCK-CRL-Issuer-Chain", encoded(&collateral["pck_crl_issuer_chain"])),
            ],
        ),
        ("/sgx/certification/v4/rootcacrl".to_owned(), vec![der("root_ca_crl")]),
    ]
}

fn tdx() -> Result<(), Failed> {
    let (server, site) = (Server::new(intel_answers("B0C06F000000")), Site::new());
    let more = ["--pccs", server.address.as_str()];
    let run = site.fetch(TDX, TDX_AT, "bundle", &more);
    assert_eq!(run.code, 0, "{}\n{:?}", run.stderr, server.asked());
    assert_eq!(server.asked().len(), 4);
    let run = site.fetch(TDX, TDX_AT, "again", &["--offline"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(std::fs::read(site.path("bundle"))?, std::fs::read(site.path("again"))?);
    Ok(())
}

fn other_fmspc() -> Result<(), Failed> {
    let answers = intel_answers("B0C06F000000").into_iter().map(|(path, replies)| {
        let replies: Vec<_> = replies
            .into_iter()
            .map(|mut reply| {
                let text = String::from_utf8(reply.body.clone()).unwrap_or_default();
                if text.contains("tcbInfo") {
                    reply.body = text.replace("B0C06F000000", "90C06F000000").into_bytes();
                }
                reply
            })
            .collect();
        (path, replies)
    });
    let (server, site) = (Server::new(answers), Site::new());
    let run = site.fetch(TDX, TDX_AT, "bundle", &["--pccs", &server.address]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(!PathBuf::from(site.path("bundle")).exists());
    Ok(())
}

fn nitro() -> Result<(), Failed> {
    let server = Server::new([]);
    let run = Site::new().fetch(NITRO, "1736179625", "bundle", &["--crl-mirror", &server.address]);
    code_in(&run, "endorse.not-found", 5)?;
    let root = "/aws-nitro-enclaves-crl.s3.amazonaws.com/crl/ab4960cc-7d63-42bd-9e9f-59338cb67f84.crl";
    assert_eq!(server.asked(), [root]);
    // A document that is not genuine at this time asks nobody.
    let run = Site::new().fetch(NITRO, "1736266025", "bundle", &["--crl-mirror", &server.address]);
    code_in(&run, "x509.expired", 5)?;
    assert_eq!(server.asked().len(), 1);
    Ok(())
}

fn carried() -> Result<(), Failed> {
    let (server, site) = (Server::new(genoa_answers()), Site::new());
    assert_eq!(site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]).code, 0);
    let elsewhere = Site::new();
    std::fs::rename(site.path("cache"), elsewhere.path("cache"))?;
    let run = elsewhere.fetch(GENOA, GENOA_AT, "bundle", &["--offline"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    Ok(())
}

fn empty_folder() -> Result<(), Failed> {
    code_in(&Site::new().fetch(GENOA, GENOA_AT, "bundle", &["--offline"]), "endorse.cache.missing", 5)
}

/// The recorded Genoa list ended on 2025-11-03.
fn stale_folder() -> Result<(), Failed> {
    let (server, site) = (Server::new(genoa_answers()), Site::new());
    assert_eq!(site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]).code, 0);
    code_in(&site.fetch(GENOA, "1764547200", "later", &["--offline"]), "endorse.cache.stale", 5)?;
    // The service still has the old one: it is asked, and its answer is not taken.
    let run = site.fetch(GENOA, "1764547200", "later", &["--kds", &server.address]);
    code_in(&run, "endorse.answer.out-of-date", 5)
}

fn busy() -> Result<(), Failed> {
    let mut answers = genoa_answers();
    answers[0].1.insert(0, Reply::status(429).with("Retry-After", "3"));
    let (server, site) = (Server::new(answers), Site::new());
    let start = Instant::now();
    let run = site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(start.elapsed().as_secs_f64() >= 3.0, "it did not wait");
    assert!(run.stderr.contains("waiting"), "{}", run.stderr);
    assert_eq!(server.asked().len(), 3);
    Ok(())
}

fn busy_for_long() -> Result<(), Failed> {
    let mut answers = genoa_answers();
    answers[0].1 = vec![Reply::status(503).with("Retry-After", "86400")];
    let (server, site) = (Server::new(answers), Site::new());
    let start = Instant::now();
    let run = site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]);
    code_in(&run, "endorse.busy", 6)?;
    assert!(start.elapsed().as_secs() < 60, "it waited for nothing");
    // The next process knows, and does not ask.
    let run = site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]);
    code_in(&run, "endorse.busy", 6)?;
    assert_eq!(server.asked().len(), 1);
    Ok(())
}

fn redirect() -> Result<(), Failed> {
    let mut answers = genoa_answers();
    answers[0].1 = vec![Reply::status(302).with("Location", "/elsewhere")];
    answers.push(("/elsewhere".to_owned(), vec![Reply::ok(certificate(GENOA_VCEK))]));
    let (server, site) = (Server::new(answers), Site::new());
    code_in(&site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]), "endorse.redirect", 5)?;
    assert_eq!(server.asked().len(), 1);
    Ok(())
}

fn broken() -> Result<(), Failed> {
    let mut answers = genoa_answers();
    answers[1].1 = vec![Reply::status(500)];
    let (server, site) = (Server::new(answers), Site::new());
    code_in(&site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]), "endorse.status", 5)?;
    assert!(!PathBuf::from(site.path("bundle")).exists());
    Ok(())
}

fn wrong() -> Result<(), Failed> {
    let try_with = |vcek: Vec<u8>, crl: Vec<u8>| {
        let mut answers = genoa_answers();
        answers[0].1 = vec![Reply::ok(vcek)];
        answers[1].1 = vec![Reply::ok(crl)];
        let (server, site) = (Server::new(answers), Site::new());
        let run = site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &server.address]);
        assert!(!PathBuf::from(site.path("bundle")).exists());
        run
    };
    let (vcek, crl) = (certificate(GENOA_VCEK), file("roots/amd/genoa_crl.der"));
    let mut cut = crl.clone();
    cut.truncate(100);
    let mut forged = crl.clone();
    *forged.last_mut().expect("a byte") ^= 1;
    code_in(&try_with(vec![0; 2 * 1024 * 1024], crl.clone()), "endorse.answer.too-long", 5)?;
    code_in(&try_with(b"<html>".to_vec(), crl.clone()), "x509.malformed", 3)?;
    code_in(&try_with(certificate(MILAN_VCEK), crl.clone()), "snp.product.mismatch", 3)?;
    code_in(&try_with(vcek.clone(), cut), "endorse.answer.form", 5)?;
    code_in(&try_with(vcek.clone(), forged), "crl.signature", 3)?;
    code_in(&try_with(vcek, file("roots/amd/milan_crl.der")), "crl.issuer", 3)
}

fn nobody() -> Result<(), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    drop(listener);
    let site = Site::new();
    code_in(&site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", &address]), "endorse.unreachable", 6)?;
    code_in(
        &site.fetch(GENOA, GENOA_AT, "bundle", &["--kds", "http://kdsintf.amd.com"]),
        "endorse.address",
        2,
    )
}
