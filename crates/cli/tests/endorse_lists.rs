//! `casemate endorse fetch` for a Nitro Enclaves document of made-up authorities (those of attest's tests), then `verify` with
//! the bundle, and with the lists as files.

#[path = "../../attest/tests/nitro/vendor.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod nitro;
#[path = "../../endorse/tests/endorse/replay.rs"]
#[allow(dead_code)] // the cases of the client use more of it
mod replay;
mod typed;

use std::sync::LazyLock;

use libtest_mimic::{Arguments, Failed, Trial};
use nitro::NOON;
use nitro::authorities::{REGION, REGION_LIST, ROOT, ROOT_LIST, Tree, ZONE, revoking, serial};
use replay::{Replay, Reply};
use serde_json::Value;
use tempfile::TempDir;
use typed::{Run, casemate};

static TREE: LazyLock<Tree> = LazyLock::new(Tree::good);

/// Name, and what is done.
type Case = (&'static str, fn() -> Result<(), Failed>);

fn main() {
    let arguments = Arguments::from_args();
    let cases: [Case; 6] = [
        ("fetched, then verified with the bundle and no waiver", fetched),
        ("the lists as files, one flag each", as_files),
        ("a revoked zone leaves no bundle, and is named with its serial number", revoked),
        ("a certificate that names no list: decided at each step", unlisted),
        ("a place that is not AWS's", elsewhere),
        ("flags that say nothing", flags),
    ];
    let trials = cases.into_iter().map(|(name, run)| Trial::test(name, run));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A folder with a document, its root and a policy.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(tree: &Tree) -> Self {
        let site = Self { folder: TempDir::new().expect("a folder") };
        site.write("document", &tree.document());
        site.write("roots.pem", tree.root_pem.as_bytes());
        let pcr = |index: u8| format!("pcr{index} = [\"{}\"]\n", hex::encode([0x10 + index; 48]));
        let pcrs: String = [0, 1, 2, 3, 4, 8].map(pcr).concat();
        site.write("policy.toml", format!("[nitro]\nmaximum-age = 300\n{pcrs}").as_bytes());
        site.write("root.crl", &tree.list(ROOT, |_| ()));
        site.write("region.crl", &tree.list(REGION, |_| ()));
        site
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    fn fetch(&self, service: &Replay, more: &[&str]) -> Run {
        let (document, bundle, cache) = (self.path("document"), self.path("bundle"), self.path("cache"));
        let (roots, at, url) = (self.path("roots.pem"), NOON.0.to_string(), service.url());
        let typed = ["endorse", "fetch", &document, "-o", &bundle, "--cache", &cache, "--at", &at, "--json"];
        let others = ["--crl-mirror", url.as_str(), "--danger-simulated-root", roots.as_str()];
        casemate(&[&typed, &others[..], more].concat())
    }

    fn verify(&self, more: &[&str]) -> Run {
        let (document, policy) = (self.path("document"), self.path("policy.toml"));
        let (roots, at, bound) = (self.path("roots.pem"), NOON.0.to_string(), "d5".repeat(64));
        let typed =
            ["verify", &document, "--policy", &policy, "--at", &at, "--report-data", &bound, "--json"];
        casemate(&[&typed, &["--danger-simulated-root", roots.as_str()][..], more].concat())
    }
}

fn target(address: &str) -> String {
    address.replacen("http:/", "", 1)
}

fn service(tree: &Tree, region: Vec<u8>) -> Replay {
    let root = tree.list(ROOT, |_| ());
    Replay::start([(target(ROOT_LIST), Reply::Body(root)), (target(REGION_LIST), Reply::Body(region))])
}

fn code_in(run: &Run, code: &str, exit: i32) -> Result<(), Failed> {
    if run.code == exit && run.stderr.contains(&format!("[{code}]")) {
        return Ok(());
    }
    Err(format!("exit code {}, expected {exit} with {code}: {}", run.code, run.stderr).into())
}

/// How NIT-04 ended.
fn outcome(run: &Run) -> Result<(String, String), Failed> {
    let report: Value = serde_json::from_str(&run.stdout)?;
    let checks = report["checks"].as_array().ok_or("checks")?;
    let check = checks.iter().find(|check| check["id"] == "NIT-04").ok_or("the rule")?;
    Ok((check["outcome"].as_str().ok_or("text")?.to_owned(), check["compared"].to_string()))
}

fn fetched() -> Result<(), Failed> {
    let (site, service) = (Site::new(&TREE), service(&TREE, TREE.list(REGION, |_| ())));
    let run = site.fetch(&service, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let result: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!(result["platform"], "nitro");
    assert_eq!(result["simulated"], true);
    assert_eq!(result["waived"].as_array().map(Vec::len), Some(0));
    assert_eq!(result["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(service.targets(), [target(ROOT_LIST), target(REGION_LIST)]);

    let run = site.verify(&["--endorsements", &site.path("bundle")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(outcome(&run)?.0, "pass");
    // Without them, and with another vendor's.
    code_in(&site.verify(&[]), "crl.missing", 5)?;
    site.write("amd", br#"{"amd":{"crl":"MAI=","vek":"MAE="},"schema":"casemate.endorsements/1"}"#);
    code_in(&site.verify(&["--endorsements", &site.path("amd")]), "endorse.bundle.missing", 5)
}

fn as_files() -> Result<(), Failed> {
    let site = Site::new(&TREE);
    let (root, region) = (site.path("root.crl"), site.path("region.crl"));
    let run = site.verify(&["--crl", &root, "--crl", &region]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(outcome(&run)?.0, "pass");
    code_in(&site.verify(&["--crl", &root]), "crl.missing", 5)
}

fn revoked() -> Result<(), Failed> {
    let list = TREE.list(REGION, revoking(serial(ZONE)));
    let (site, service) = (Site::new(&TREE), service(&TREE, list.clone()));
    let run = site.fetch(&service, &[]);
    code_in(&run, "crl.revoked", 3)?;
    assert!(run.stderr.contains(&hex::encode(serial(ZONE))), "{}", run.stderr);
    assert!(!std::path::Path::new(&site.path("bundle")).exists());
    site.write("region.crl", &list);
    let lists = ["--crl", &site.path("root.crl"), "--crl", &site.path("region.crl")];
    code_in(&site.verify(&lists), "crl.revoked", 3)
}

fn unlisted() -> Result<(), Failed> {
    let tree = Tree::new(|params| params[ZONE].crl_distribution_points.clear());
    let (site, service) = (Site::new(&tree), service(&tree, Vec::new()));
    code_in(&site.fetch(&service, &[]), "crl.unlisted", 5)?;
    let run = site.fetch(&service, &["--danger-unlisted", "an audit"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let result: Value = serde_json::from_str(&run.stdout)?;
    assert_eq!(result["waived"], serde_json::json!(["NIT-04"]));
    let bundle = site.path("bundle");
    code_in(&site.verify(&["--endorsements", &bundle]), "crl.unlisted", 5)?;
    let run = site.verify(&["--endorsements", &bundle, "--danger-unlisted", "an audit"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let (outcome, compared) = outcome(&run)?;
    assert!(outcome == "waived" && compared.contains("an audit"), "{outcome}: {compared}");
    Ok(())
}

fn elsewhere() -> Result<(), Failed> {
    let place = "http://169.254.169.254/latest/meta-data/";
    let tree = Tree::new(|params| params[ZONE].crl_distribution_points[0].uris = vec![place.to_owned()]);
    let (site, service) = (Site::new(&tree), service(&tree, Vec::new()));
    let run = site.fetch(&service, &[]);
    code_in(&run, "endorse.list-address", 5)?;
    assert!(run.stderr.contains(place) && service.seen().is_empty(), "{}", run.stderr);
    Ok(())
}

fn flags() -> Result<(), Failed> {
    let (site, service) = (Site::new(&TREE), service(&TREE, Vec::new()));
    code_in(&site.fetch(&service, &["--ak-chain", &site.path("roots.pem")]), "cli.superfluous-flag", 2)?;
    let run = site.verify(&["--danger-no-crl", "x", "--danger-unlisted", "x"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(service.seen().is_empty());
    Ok(())
}
