//! `casemate endorse fetch` for NVIDIA devices of a made-up vendor (that of attest's tests), then `verify --endorsements`
//! without any network.

#[path = "../../endorse/tests/endorse/replay.rs"]
#[allow(dead_code)] // the cases of the client use more of it
mod replay;
mod typed;
#[path = "../../attest/tests/nvidia/vendor.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod vendor;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_sim::nvidia::{Answer, GOOD, Hash, Rim, revoked};
use libtest_mimic::{Arguments, Failed, Trial};
use replay::{Replay, Reply};
use serde_json::{Value, json};
use tempfile::TempDir;
use typed::{Run, casemate};
use vendor::{NONCE, NOON, VENDOR, good_answer, good_report};

const POLICY: &str = r#"
[nvidia]
architectures = ["hopper"]
device = { any = "a made-up device" }
driver-version = ["570.10.01"]
vbios-version = ["96.00.9F.00.01"]
measurements = { any = "the manifests say which" }
"#;

/// Name, and what is done.
type Case = (&'static str, fn() -> Result<(), Failed>);

fn main() {
    let arguments = Arguments::from_args();
    let cases: [Case; 8] = [
        ("a raw report: fetched, then verified as with files", raw_report),
        ("a list: fetched without a chain", list),
        ("offline: carried in a folder", carried),
        ("a revoked certificate leaves no bundle", revoked_device),
        ("a missing manifest is named", missing_manifest),
        ("flags that are missing, and flags that say nothing", flags),
        ("a bundle of something else", other_bundle),
        ("a machine without GPUs has no evidence of them", no_gpus),
    ];
    let trials = cases.into_iter().map(|(name, run)| {
        let has_gpus = Path::new("/proc/driver/nvidia").exists();
        Trial::test(name, run).with_ignored_flag(has_gpus && name.starts_with("a machine without GPUs"))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn respond(request: &[u8], status: &[u8]) -> Vec<u8> {
    let vendor = &*VENDOR;
    let pairs = [
        (vendor.identity, vendor.root),
        (vendor.provisioner, vendor.identity),
        (vendor.device, vendor.provisioner),
        (vendor.rim_outer, vendor.rim_root),
        (vendor.rim_inner, vendor.rim_outer),
        (vendor.rim_signer, vendor.rim_inner),
    ];
    let contains = |part: &[u8]| request.windows(part.len()).any(|window| window == part);
    let serial = |der: &[u8]| x509_parser::parse_x509_certificate(der).expect("DER").1.raw_serial().to_vec();
    let asked = pairs.into_iter().find(|(subject, _)| contains(&serial(subject.der())));
    let (subject, issuer) = asked.expect("one of the vendor's");
    // The request ends with its nonce.
    let nonce = request[request.len() - 32..].to_vec();
    let mut answer = Answer { nonce: Some(nonce), hash: Hash::Sha384, ..good_answer(subject, issuer) };
    if std::ptr::eq(subject, vendor.device) {
        answer.status = status.to_vec();
    }
    answer.der().expect("an answer")
}

fn service() -> Replay {
    let rim = |id: &str, rim: &Rim| {
        let answer = json!({"id": id, "rim": STANDARD.encode(VENDOR.rim(rim)), "rim_format": "TCG"});
        (format!("/v1/rim/{id}"), Reply::Body(answer.to_string().into_bytes()))
    };
    Replay::start([
        rim("NV_GPU_DRIVER_GH100_570.10.01", &Rim::driver()),
        rim("NV_GPU_VBIOS_1010_0200_882_96009F0001", &Rim::vbios()),
        ("/".to_owned(), Reply::To(|request| respond(request, &GOOD))),
    ])
}

/// A folder with the device's evidence, the vendor's roots and a policy.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: TempDir::new().expect("a folder") };
        let report = VENDOR.report(&good_report());
        let list = json!([{
            "arch": "HOPPER", "nonce": hex::encode(NONCE),
            "certificate": STANDARD.encode(VENDOR.chain()), "evidence": STANDARD.encode(&report),
        }]);
        site.write("report.bin", &report);
        site.write("chain.pem", &VENDOR.chain());
        site.write("list.json", list.to_string().as_bytes());
        site.write("roots.pem", VENDOR.roots().as_bytes());
        site.write("policy.toml", POLICY.as_bytes());
        site
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    fn fetch(&self, evidence: &str, bundle: &str, service: &Replay, more: &[&str]) -> Run {
        let (evidence, bundle, cache) = (self.path(evidence), self.path(bundle), self.path("cache"));
        let (roots, at, url) = (self.path("roots.pem"), NOON.0.to_string(), service.url());
        let typed = ["endorse", "fetch", &evidence, "-o", &bundle, "--cache", &cache, "--at", &at, "--json"];
        let services = ["--rim-service", url.as_str(), "--ocsp-service", url.as_str()];
        let root = ["--danger-simulated-root", roots.as_str()];
        casemate(&[&typed, &services[..], &root, more].concat())
    }

    fn verify(&self, evidence: &str, more: &[&str]) -> Run {
        let (evidence, policy, roots) =
            (self.path(evidence), self.path("policy.toml"), self.path("roots.pem"));
        let (at, nonce) = (NOON.0.to_string(), hex::encode(NONCE));
        let typed = ["verify", &evidence, "--policy", &policy, "--at", &at, "--nonce", &nonce];
        casemate(&[&typed, &["--danger-simulated-root", roots.as_str()][..], more].concat())
    }
}

fn code_in(run: &Run, code: &str, exit: i32) -> Result<(), Failed> {
    if run.code == exit && run.stderr.contains(&format!("[{code}]")) {
        return Ok(());
    }
    Err(format!("exit code {}, expected {exit} with {code}: {}", run.code, run.stderr).into())
}

fn raw_report() -> Result<(), Failed> {
    let (site, service) = (Site::new(), service());
    let (chain, bundle) = (site.path("chain.pem"), site.path("bundle"));
    let run = site.fetch("report.bin", "bundle", &service, &["--chain", &chain]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("SIMULATED") && run.stderr.contains("not by NVIDIA"), "{}", run.stderr);
    let shown: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!((&shown["platform"], &shown["simulated"]), (&"nvidia".into(), &true.into()));
    assert_eq!(shown["items"].as_array().map(Vec::len), Some(8));

    let bundled = site.verify("report.bin", &["--chain", &chain, "--endorsements", &bundle]);
    assert_eq!(bundled.code, 0, "{}{}", bundled.stdout, bundled.stderr);
    assert!(bundled.stderr.contains("not by NVIDIA"), "{}", bundled.stderr);
    let headline = bundled.stdout.lines().last().unwrap_or_default();
    assert_eq!(headline, "VERIFIED (SIMULATED), 1 device, 2 waived: NV-10, NV-13");

    // The same with what is in the bundle, in files.
    let content: Value = serde_json::from_slice(&std::fs::read(&bundle)?)?;
    let mut more = vec!["--chain".to_owned(), chain];
    for (member, flag) in [("rim", "--rim"), ("ocsp", "--ocsp")] {
        for (number, item) in content["nvidia"][member].as_array().ok_or(member)?.iter().enumerate() {
            let name = format!("{member}-{number}");
            site.write(&name, &STANDARD.decode(item.as_str().ok_or(member)?)?);
            more.extend([flag.to_owned(), site.path(&name)]);
        }
    }
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    let files = site.verify("report.bin", &more);
    assert_eq!((files.code, files.stdout), (0, bundled.stdout));
    Ok(())
}

fn list() -> Result<(), Failed> {
    let (site, service) = (Site::new(), service());
    let run = site.fetch("list.json", "bundle", &service, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = site.verify("list.json", &["--endorsements", &site.path("bundle")]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    // A day later the answers are over.
    let (evidence, policy, roots) =
        (site.path("list.json"), site.path("policy.toml"), site.path("roots.pem"));
    let (late, nonce, bundle) = ((NOON.0 + 86_400).to_string(), hex::encode(NONCE), site.path("bundle"));
    let typed = ["verify", &evidence, "--policy", &policy, "--at", &late, "--nonce", &nonce];
    let more = ["--danger-simulated-root", roots.as_str(), "--endorsements", bundle.as_str()];
    code_in(&casemate(&[&typed, &more[..]].concat()), "ocsp.expired", 5)
}

fn no_gpus() -> Result<(), Failed> {
    let site = Site::new();
    let list = site.path("gpus.json");
    code_in(&casemate(&["endorse", "gpus", "-o", &list]), "gpu.no-driver", 5)?;
    assert!(!Path::new(&list).exists());
    Ok(())
}

fn carried() -> Result<(), Failed> {
    let (site, service) = (Site::new(), service());
    code_in(&site.fetch("list.json", "none", &service, &["--offline"]), "endorse.cache.missing", 5)?;
    assert_eq!(site.fetch("list.json", "first", &service, &[]).code, 0);
    let asked = service.seen().len();
    let run = site.fetch("list.json", "second", &service, &["--offline"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(service.seen().len(), asked);
    assert_eq!(std::fs::read(site.path("first"))?, std::fs::read(site.path("second"))?);
    Ok(())
}

fn revoked_device() -> Result<(), Failed> {
    let (site, service) = (Site::new(), service());
    service.answer("/", Reply::To(|request| respond(request, &revoked(Some(1)))));
    let run = site.fetch("list.json", "bundle", &service, &[]);
    code_in(&run, "ocsp.revoked", 3)?;
    assert!(run.stderr.contains("GH100 A01 GSP BROM"), "{}", run.stderr);
    assert!(!Path::new(&site.path("bundle")).exists());
    // On hold is for the policy to say.
    service.answer("/", Reply::To(|request| respond(request, &revoked(Some(6)))));
    assert_eq!(site.fetch("list.json", "held", &service, &[]).code, 0);
    let run = site.verify("list.json", &["--endorsements", &site.path("held")]);
    code_in(&run, "nvidia.certificate.on-hold", 4)
}

fn missing_manifest() -> Result<(), Failed> {
    let (site, service) = (Site::new(), service());
    service.answer("/v1/rim/NV_GPU_DRIVER_GH100_570.10.01", Reply::Status(404, ""));
    let run = site.fetch("list.json", "bundle", &service, &[]);
    code_in(&run, "endorse.not-found", 5)?;
    for part in ["NV_GPU_DRIVER_GH100_570.10.01", "127.0.0.1:"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    assert!(!Path::new(&site.path("bundle")).exists());
    Ok(())
}

fn flags() -> Result<(), Failed> {
    let (site, service) = (Site::new(), service());
    code_in(&site.fetch("report.bin", "bundle", &service, &[]), "cli.missing-flag", 2)?;
    let file = site.path("chain.pem");
    for more in [["--line", "genoa"], ["--vek", &file], ["--kds", "https://a.example"], ["--chain", &file]] {
        code_in(&site.fetch("list.json", "bundle", &service, &more), "cli.superfluous-flag", 2)?;
    }
    assert!(service.seen().is_empty());
    // What the bundle has is not given twice.
    for flag in ["--rim", "--ocsp", "--danger-no-crl"] {
        let run = site.verify("list.json", &["--endorsements", &file, flag, &file]);
        assert_eq!(run.code, 2, "{}", run.stderr);
    }
    Ok(())
}

fn other_bundle() -> Result<(), Failed> {
    let site = Site::new();
    let amd = r#"{"amd":{"crl":"MAI=","vek":"MAE="},"schema":"casemate.endorsements/1"}"#;
    site.write("amd", amd.as_bytes());
    let run = site.verify("list.json", &["--endorsements", &site.path("amd")]);
    code_in(&run, "endorse.bundle.missing", 5)?;
    // No answers in it are no answers, and no manifests no manifests.
    let empty = r#"{"nvidia":{"ocsp":[],"rim":[]},"schema":"casemate.endorsements/1"}"#;
    site.write("empty", empty.as_bytes());
    let run = site.verify("list.json", &["--endorsements", &site.path("empty")]);
    code_in(&run, "ocsp.missing", 5)
}
