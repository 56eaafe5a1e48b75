//! `casemate simulate`: a vendor of every platform, evidence of a machine that it endorses, and what `casemate verify` says of it:
//! verified under the vendor's root and SIMULATED in every output, refused under every other.

mod typed;

use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;
use typed::{Run, casemate};

const NONCE: &str = "6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e";
static REPORT_DATA: LazyLock<String> = LazyLock::new(|| "52".repeat(64));
static MEASUREMENT: LazyLock<String> = LazyLock::new(|| "4d".repeat(48));

/// A platform, its evidence, and by which code production's roots refuse it.
struct Case {
    platform: &'static str,
    evidence: &'static str,
    /// As `verify --json` names it.
    named: &'static str,
    taken_for: &'static str,
    production: &'static str,
    stranger: &'static str,
}

const CASES: [Case; 5] = [
    Case {
        platform: "sev-snp",
        evidence: "report.bin",
        named: "sev-snp",
        taken_for: "AMD",
        production: "x509.unknown-issuer",
        stranger: "x509.signature",
    },
    Case {
        platform: "tdx",
        evidence: "quote.bin",
        named: "tdx",
        taken_for: "Intel",
        production: "tdx.dcap.refused",
        stranger: "tdx.dcap.refused",
    },
    Case {
        platform: "nitro",
        evidence: "document.cbor",
        named: "nitro",
        taken_for: "AWS",
        production: "x509.unknown-issuer",
        stranger: "x509.signature",
    },
    Case {
        platform: "azure-snp",
        evidence: "evidence.json",
        named: "azure-vtpm",
        taken_for: "AMD and Microsoft",
        production: "x509.unknown-issuer",
        stranger: "x509.signature",
    },
    Case {
        platform: "azure-tdx",
        evidence: "evidence.json",
        named: "azure-vtpm-tdx",
        taken_for: "Intel and Microsoft",
        production: "tdx.dcap.refused",
        stranger: "tdx.dcap.refused",
    },
];

/// Every platform's vendor, and the evidence of one machine of each: made once, since some keys take seconds.
static MADE: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new().expect("a directory");
    for case in &CASES {
        let platform = directory.path().join(case.platform);
        std::fs::create_dir(&platform).expect("a directory");
        let (vendor, out) = (text(&platform.join("vendor")), text(&platform.join("out")));
        let run = casemate(&["simulate", "init", &vendor, "--platform", case.platform]);
        said(&run, 0, case);
        assert_eq!(run.stdout.trim_end(), format!("{vendor}/roots.pem"));
        let bound: [&str; 2] = case.bound();
        let typed = ["simulate", "report", &vendor, "-o", &out, "--measurement", &MEASUREMENT];
        let run = casemate(&[&typed, &bound[..]].concat());
        said(&run, 0, case);
        assert_eq!(run.stdout.trim_end(), format!("{out}/{}", case.evidence));
    }
    directory
});

impl Case {
    fn is_azure(&self) -> bool {
        self.platform.starts_with("azure")
    }

    fn bound(&self) -> [&'static str; 2] {
        if self.is_azure() { ["--nonce", NONCE] } else { ["--report-data", &REPORT_DATA] }
    }

    fn file(&self, path: &str) -> String {
        text(&MADE.path().join(self.platform).join(path))
    }

    /// `verify` of the evidence with what was written beside it.
    fn verify(&self, root: Option<&str>, more: &[&str]) -> Run {
        self.verify_under(&self.file("out/policy.toml"), root, more)
    }

    fn verify_under(&self, policy: &str, root: Option<&str>, more: &[&str]) -> Run {
        let evidence = self.file(&format!("out/{}", self.evidence));
        let mut typed = vec!["verify", &evidence, "--policy", policy];
        typed.extend(self.bound());
        let endorsements = self.file("out/endorsements.json");
        match self.platform {
            "nitro" => typed.extend(["--danger-no-crl", "AWS's lists are not read"]),
            _ => typed.extend(["--endorsements", &endorsements]),
        }
        let (ak, chain) = (self.file("out/ak.der"), self.file("out/ak-chain.pem"));
        if self.is_azure() {
            typed.extend(["--ak", &ak, "--ak-chain", &chain]);
        }
        if let Some(root) = root {
            typed.extend(["--danger-simulated-root", root]);
        }
        casemate(&[&typed, more].concat())
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// How it ended, and that it says SIMULATED and whose hardware it is taken for.
fn said(run: &Run, code: i32, case: &Case) {
    assert_eq!(run.code, code, "{}: {}{}", case.platform, run.stdout, run.stderr);
    let banner = format!("SIMULATED: the root of trust was made on a computer, not by {}.", case.taken_for);
    assert!(run.stderr.contains(&banner), "{}: {}", case.platform, run.stderr);
}

#[test]
fn every_platform_is_verified_and_says_simulated() {
    for case in &CASES {
        let root = case.file("vendor/roots.pem");
        let run = case.verify(Some(&root), &[]);
        said(&run, 0, case);
        assert!(run.stdout.contains("(SIMULATED)"), "{}: {}", case.platform, run.stdout);

        let run = case.verify(Some(&root), &["--json"]);
        said(&run, 0, case);
        let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!((&report["verdict"], &report["simulated"]), (&"verified".into(), &true.into()));
        assert_eq!(report["claims"]["platform"], case.named, "{}", case.platform);
        assert!(report["headline"].as_str().expect("text").contains("(SIMULATED)"));
    }
}

#[test]
fn no_other_root_accepts_it_and_nothing_says_verified() {
    let stranger = TempDir::new().expect("a directory");
    for (index, case) in CASES.iter().enumerate() {
        let run = case.verify(None, &["--json"]);
        assert_eq!(run.code, 3, "{}: {}", case.platform, run.stderr);
        let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!((&report["verdict"], &report["simulated"]), (&"rejected".into(), &false.into()));
        assert_eq!(report["code"], case.production, "{}", case.platform);

        // Another vendor of the same platform, and the vendor of the next platform.
        let other = text(&stranger.path().join(case.platform));
        let made = casemate(&["simulate", "init", &other, "--platform", case.platform]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        let run = case.verify(Some(&format!("{other}/roots.pem")), &["--json"]);
        said(&run, 3, case);
        let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!((&report["code"], &report["simulated"]), (&case.stranger.into(), &true.into()));
        let next = CASES[(index + 1) % 3].file("vendor/roots.pem");
        let run = case.verify(Some(&next), &[]);
        said(&run, 3, case);
        assert!(!run.stdout.contains("VERIFIED (SIMULATED)"), "{}", run.stdout);
    }
}

#[test]
fn what_booted_is_appraised() {
    for (platform, log, register, event) in [
        ("tdx", "ccel.bin", "[tdx.event-log.register.1]", "SIMULATED kernel"),
        ("azure-snp", "eventlog.bin", "[azure.event-log.register.4]", "SIMULATED boot, PCR 4"),
        ("azure-tdx", "eventlog.bin", "[azure.event-log.register.4]", "SIMULATED boot, PCR 4"),
    ] {
        let case = CASES.iter().find(|case| case.platform == platform).expect("a case");
        let (own, log) = (case.file("out/policy.toml"), case.file(&format!("out/{log}")));
        let table = register.split('.').next().expect("a name").trim_start_matches('[');
        let policy = |event: &str| {
            format!(
                "{}\n[{table}.event-log]\nother-registers = {{ danger-allow = \"a case of one register\" }}\n\
                 {register}\nevents = {{ any = \"a case of one event\" }}\nrequired = [{{ text = \"{event}\" }}]\n",
                std::fs::read_to_string(&own).expect("a policy")
            )
        };
        let directory = TempDir::new().expect("a directory");
        let asked = text(&directory.path().join("policy.toml"));
        let root = case.file("vendor/roots.pem");
        std::fs::write(&asked, policy(event)).expect("written");
        said(&case.verify_under(&asked, Some(&root), &["--event-log", &log]), 0, case);
        let run = case.verify_under(&asked, Some(&root), &[]);
        said(&run, 4, case);
        assert!(run.stderr.contains("[log.missing]"), "{}", run.stderr);
        std::fs::write(&asked, policy("another kernel")).expect("written");
        let run = case.verify_under(&asked, Some(&root), &["--event-log", &log]);
        said(&run, 4, case);
        assert!(run.stderr.contains("[log.event.required]"), "{}", run.stderr);
    }
}

#[test]
fn another_machine_than_the_policy_names_is_refused() {
    for case in &CASES {
        let directory = TempDir::new().expect("a directory");
        let out = text(&directory.path().join("out"));
        let (vendor, root) = (case.file("vendor"), case.file("vendor/roots.pem"));
        // The measurement is that of this program.
        let typed = ["simulate", "report", &vendor, "-o", &out];
        said(&casemate(&[&typed, &case.bound()[..]].concat()), 0, case);
        let run = case.verify_under(&format!("{out}/policy.toml"), Some(&root), &[]);
        said(&run, 4, case);
        assert!(run.stderr.contains(".not-accepted]"), "{}: {}", case.platform, run.stderr);
    }
}

#[test]
fn files_in_their_usual_form_do_as_well_as_the_bundle() {
    for (platform, flags) in [
        ("sev-snp", &[("--vek", "out/vek.der"), ("--crl", "out/crl.der")][..]),
        ("tdx", &[("--collateral", "out/collateral.json")]),
        ("azure-snp", &[("--vek", "out/vek.der"), ("--crl", "out/crl.der")]),
        ("azure-tdx", &[("--collateral", "out/collateral.json")]),
    ] {
        let case = CASES.iter().find(|case| case.platform == platform).expect("a case");
        let evidence = case.file(&format!("out/{}", case.evidence));
        let (policy, root) = (case.file("out/policy.toml"), case.file("vendor/roots.pem"));
        let mut typed = vec!["verify", &evidence, "--policy", &policy, "--danger-simulated-root", &root];
        typed.extend(case.bound());
        let files: Vec<_> = flags.iter().map(|(flag, path)| (*flag, case.file(path))).collect();
        typed.extend(files.iter().flat_map(|(flag, path)| [*flag, path.as_str()]));
        let (ak, chain) = (case.file("out/ak.der"), case.file("out/ak-chain.pem"));
        if case.is_azure() {
            typed.extend(["--ak", &ak, "--ak-chain", &chain]);
        }
        said(&casemate(&typed), 0, case);
    }
}

/// GPUs stand beside a machine, so their evidence has no platform of its own.
#[test]
fn gpus_are_verified_and_say_simulated() {
    let directory = TempDir::new().expect("a directory");
    let path = |name: &str| text(&directory.path().join(name));
    let banner = "SIMULATED: the root of trust was made on a computer, not by NVIDIA.";
    for vendor in ["vendor", "other"] {
        let run = casemate(&["simulate", "init", &path(vendor), "--platform", "nvidia"]);
        assert!(run.code == 0 && run.stderr.contains(banner), "{}", run.stderr);
    }
    let run = casemate(&["simulate", "report", &path("vendor"), "-o", &path("out"), "--nonce", NONCE]);
    assert!(run.code == 0 && run.stderr.contains(banner), "{}", run.stderr);
    assert_eq!(run.stdout.trim_end(), path("out/gpus.json"));

    let (evidence, policy, bundle) =
        (path("out/gpus.json"), path("out/policy.toml"), path("out/endorsements.json"));
    let (driver, vbios) = (path("out/driver.xml"), path("out/vbios.xml"));
    let verify = |root: Option<&str>, nonce: &str, more: &[&str]| {
        let mut typed = vec!["verify", evidence.as_str(), "--policy", &policy, "--nonce", nonce];
        let root = root.map(path);
        typed.extend(root.iter().flat_map(|root| ["--danger-simulated-root", root]));
        casemate(&[&typed, more].concat())
    };
    let bundled = ["--endorsements", bundle.as_str()];
    let own = Some("vendor/roots.pem");
    let run = verify(own, NONCE, &bundled);
    assert!(run.code == 0 && run.stderr.contains(banner), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("VERIFIED (SIMULATED), 1 device"), "{}", run.stdout);
    let files = ["--rim", driver.as_str(), "--rim", &vbios, "--danger-no-crl", "a case of files"];
    assert_eq!(verify(own, NONCE, &files).code, 0);
    let other_nonce = "00".repeat(32);
    for (root, nonce, more, exit, code) in [
        (None, NONCE, &bundled[..], 3, "nvidia.manifest.root"),
        (Some("other/roots.pem"), NONCE, &bundled, 3, "nvidia.manifest.root"),
        (own, other_nonce.as_str(), &bundled, 4, "nvidia.nonce"),
        (own, NONCE, &[], 5, "ocsp.missing"),
        (own, NONCE, &["--danger-no-crl", "no manifests"], 5, "nvidia.manifest.missing"),
    ] {
        let run = verify(root, nonce, more);
        assert_eq!(run.code, exit, "{code}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(&format!("[{code}]")), "{code}: {}", run.stderr);
    }
    let refused = path("refused");
    for flags in [["--report-data", REPORT_DATA.as_str()], ["--nonce", "00"]] {
        let typed = ["simulate", "report", &path("vendor"), "-o", &refused, flags[0], flags[1]];
        assert_eq!(casemate(&typed).code, 2);
    }
}

#[test]
fn what_says_nothing_is_refused() {
    let (tdx, azure) = (CASES[1].file("vendor"), CASES[4].file("vendor"));
    let directory = TempDir::new().expect("a directory");
    let out = text(&directory.path().join("out"));
    for (typed, code) in [
        (&["simulate", "init", &out, "--platform", "sgx"][..], "cli.simulated-platform"),
        (&["simulate", "init", &out, "--platform", "tdx", "--line", "genoa"], "cli.superfluous-flag"),
        (&["simulate", "init", &out, "--platform", "azure-snp", "--line", "naples"], "cli.product-line"),
        (&["simulate", "report", &tdx, "-o", &out, "--nonce", NONCE], "cli.missing-flag"),
        (&["simulate", "report", &azure, "-o", &out, "--report-data", &REPORT_DATA], "cli.missing-flag"),
        (&["simulate", "report", &azure, "-o", &out, "--nonce", &REPORT_DATA], "cli.hex"),
        (&["simulate", "report", &azure, "-o", &out, "--nonce", ""], "cli.hex"),
        (&["simulate", "report", &tdx, "-o", &out, "--report-data", "00"], "cli.hex"),
    ] {
        let run = casemate(typed);
        assert_eq!(run.code, 2, "{typed:?}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("[{code}]")), "{typed:?}: {}", run.stderr);
        assert!(!directory.path().join("out").exists(), "{typed:?}");
    }
}
