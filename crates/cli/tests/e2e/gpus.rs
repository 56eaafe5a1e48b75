//! A simulated machine with simulated GPUs: their evidence goes with the CPU's, bound to it, and a client demands exactly what
//! its policy says.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::Case;
use crate::fixture::{Fixture, KEY_URI, Run, Server, casemate, run};
use crate::path::http;

pub const CASES: &[(&str, Case)] = &[
    ("gpus::a_client_gets_exactly_the_gpus_that_it_demands", exactly_the_gpus_that_it_demands),
    ("gpus::a_document_with_other_gpus_or_none_is_refused", other_gpus_or_none),
    ("gpus::a_key_that_demands_gpus_is_released_where_they_are_shown", released_where_they_are_shown),
    ("gpus::a_server_whose_gpus_do_not_meet_its_policy_does_not_start", does_not_start),
];

/// What every simulated GPU meets.
const TERMS: &str = r#"
[nvidia]
architectures = ["hopper"]
device = { any = "keys are made anew in each run" }
driver-version = ["570.10.01"]
vbios-version = ["96.00.9F.00.01"]
measurements = { any = "the manifests decide" }
"#;

/// A case's own vendor of GPUs and policies.
struct Gpus<'a> {
    f: &'a Fixture,
    folder: String,
}

impl<'a> Gpus<'a> {
    fn new(f: &'a Fixture, name: &str) -> Self {
        let gpus = Self { f, folder: f.folder(name).to_str().unwrap().to_owned() };
        f.ok(&["simulate", "init", &gpus.path("vendor"), "--platform", "nvidia"]);
        gpus
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The client's policy, with so many GPUs demanded.
    fn client(&self, count: usize) -> String {
        let client = fs::read_to_string(self.f.path("client.toml")).unwrap();
        self.write(&format!("client-{count}.toml"), &format!("{client}\n[devices]\ncount = {count}\n{TERMS}"))
    }

    /// A broker that was told of this vendor.
    fn broker(&self, store: &str) -> Server {
        self.f.broker_with(store, &["--danger-simulated-gpu-root", &self.path("vendor/roots.pem")])
    }

    fn try_serve(&self, broker: &str, policy: &str, terms: &str) -> Result<Server, Run> {
        let policy = self.write(policy, terms);
        let vendor = self.path("vendor");
        let mut args = self.f.serve_args(broker, &self.f.path("sealed"));
        args.extend(["--gpu-policy", &policy, "--danger-simulate-gpus", &vendor].map(str::to_owned));
        Server::start(&casemate(), &args.iter().map(String::as_str).collect::<Vec<_>>(), &[], None)
    }

    fn serve(&self, broker: &str, count: usize) -> Server {
        let terms = format!("[devices]\ncount = {count}\n{TERMS}");
        self.try_serve(broker, &format!("server-{count}.toml"), &terms)
            .unwrap_or_else(|run| panic!("serve: {}", run.stderr))
    }

    /// `verify`, of a server or a document, as a person who believes both simulated vendors.
    fn verify(&self, what: &str, policy: &str) -> Run {
        let (root, gpu_root) = (self.f.root(), self.path("vendor/roots.pem"));
        let roots = ["--danger-simulated-root", &root, "--danger-simulated-gpu-root", &gpu_root];
        run(&[&["verify", what, "--policy", policy, "--json"], &roots[..]].concat())
    }

    fn document(&self, name: &str, document: &Value) -> String {
        self.write(name, &document.to_string())
    }
}

fn exactly_the_gpus_that_it_demands(f: &Fixture) {
    let gpus = Gpus::new(f, "gpus-demanded");
    let broker = gpus.broker(&f.path("store"));
    let server = gpus.serve(&broker.url, 1);
    let (one, two, none) = (gpus.client(1), gpus.client(2), f.path("client.toml"));
    let root = gpus.path("vendor/roots.pem");
    let ask = |policy: &str, more: &[&str]| {
        let f_root = f.root();
        let asked = ["ask", &server.url, "Hi", "--policy", policy, "--danger-simulated-root", &f_root];
        run(&[&asked[..], &["--max-new-tokens", "8"], more].concat())
    };

    let asked = ask(&one, &["--danger-simulated-gpu-root", &root]);
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    let answer: Value = serde_json::from_str(asked.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&answer["devices"], &answer["simulated"]), (&json!(1), &json!(true)));
    for expected in ["NV-19", "RIM-07", "CH-9", "CH-11", "VERIFIED (SIMULATED)"] {
        assert!(asked.stderr.contains(expected), "{expected} missing in {}", asked.stderr);
    }
    let verified = gpus.verify(&server.url, &one);
    assert_eq!(verified.exit, Some(0), "{}", verified.stderr);
    let report: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(report["devices"].as_array().map(Vec::len), Some(1));
    assert_ne!(report["statement"]["device_evidence_sha256"], "none");

    // Two demanded, or none; a policy that says nothing of GPUs accepts none.
    gpus.verify(&server.url, &two).refused(4, "[nvidia.set.count]");
    gpus.verify(&server.url, &none).refused(4, "[devices.not-expected]");
    // Nobody named the vendor of the GPUs, or somebody named another.
    ask(&one, &[]).refused(4, "[devices.mixed]");
    f.ok(&["simulate", "init", &gpus.path("other"), "--platform", "nvidia"]);
    let other = gpus.path("other/roots.pem");
    ask(&one, &["--danger-simulated-gpu-root", &other]).refused(3, "[nvidia.manifest.root]");

    // A server without GPUs.
    let bare = f.serve(&broker.url);
    gpus.verify(&bare.url, &one).refused(4, "[devices.missing]");
    assert_eq!(gpus.verify(&bare.url, &none).exit, Some(0));
}

/// The broker's side: the model's owner demands GPUs, and the key stays where none are shown.
fn released_where_they_are_shown(f: &Fixture) {
    let gpus = Gpus::new(f, "gpus-released");
    let root = f.root();
    let release = f.ok(&["policy", "release", "--measurement", &f.measurement, "--devices", "1"]).stdout;
    let (policy, store, key) =
        (gpus.write("release.json", &release), gpus.path("store"), f.path("model.key"));
    let anchors = ["--danger-simulated-root", &root];
    f.ok(&[&["broker", "init", &store], &anchors[..]].concat());
    let put = ["broker", "put", "--store", &store, "--key", &key, "--uri", KEY_URI, "--policy", &policy];
    f.ok(&[&put[..], &anchors].concat());

    let broker = gpus.broker(&store);
    let server = gpus.serve(&broker.url, 1);
    assert!(http(&server.url).get("/health").status == 200);
    let bare = f.try_serve(&casemate(), &broker.url, &f.path("sealed"));
    bare.err().expect("it showed no GPU").refused(4, "[release.refused]");
    // A broker to whom nobody named the vendor of the GPUs refuses them, whatever the key's policy.
    let stranger = f.broker(&f.path("store"));
    let terms = format!("[devices]\ncount = 1\n{TERMS}");
    let refused = gpus.try_serve(&stranger.url, "stranger.toml", &terms).err().expect("it was refused");
    refused.refused(4, "[release.refused]");
    assert!(refused.stderr.contains("devices.mixed"), "{}", refused.stderr);
}

/// What a host or a network can do to a document: each of its parts is bound to the others.
fn other_gpus_or_none(f: &Fixture) {
    let gpus = Gpus::new(f, "gpus-swapped");
    let broker = gpus.broker(&f.path("store"));
    let server = gpus.serve(&broker.url, 1);
    let one = gpus.client(1);
    let get = |nonce: &str| -> Value { http(&server.url).get(&format!("/attest{nonce}")).json() };
    let nonce = |byte: &str| format!("?nonce={}", byte.repeat(32));
    let (first, second, ahead) = (get(&nonce("11")), get(&nonce("22")), get(""));
    for (name, document) in [("first.json", &first), ("ahead.json", &ahead)] {
        let verified = gpus.verify(&gpus.document(name, document), &one);
        assert_eq!(verified.exit, Some(0), "{name}: {}", verified.stderr);
    }
    let refused = |name: &str, change: &dyn Fn(&mut Value), exit: i32, code: &str| {
        let mut document = first.clone();
        change(&mut document);
        gpus.verify(&gpus.document(name, &document), &one).refused(exit, code);
    };
    // The same GPU's answer to somebody else, and to nobody.
    refused("other.json", &|d| d["devices"] = second["devices"].clone(), 4, "[nvidia.nonce]");
    refused("old.json", &|d| d["devices"] = ahead["devices"].clone(), 4, "[nvidia.nonce]");
    refused("stripped.json", &|d| d["devices"] = Value::Null, 4, "[devices.missing]");
    refused("emptied.json", &|d| d["devices"]["evidence"] = json!([]), 4, "[nvidia.set.count]");
    refused("unanswered.json", &|d| d["devices"]["ocsp"] = json!([]), 5, "[ocsp.missing]");
    refused("unendorsed.json", &|d| d["devices"]["rim"] = json!([]), 5, "[nvidia.manifest.missing]");
    refused(
        "absent.json",
        &|d| drop(d.as_object_mut().unwrap().remove("devices")),
        5,
        "[document.malformed]",
    );
    // A GPU of the same vendor that answers the right nonce, and is another machine's.
    let of_gpu = nonce_of_gpu("11");
    let out = gpus.path("out");
    f.ok(&["simulate", "report", &gpus.path("vendor"), "-o", &out, "--nonce", &of_gpu]);
    let list: Value = serde_json::from_slice(&fs::read(Path::new(&out).join("gpus.json")).unwrap()).unwrap();
    let bundle: Value =
        serde_json::from_slice(&fs::read(Path::new(&out).join("endorsements.json")).unwrap()).unwrap();
    let foreign = json!({
        "evidence": [{ "report": list[0]["evidence"], "chain": list[0]["certificate"] }],
        "ocsp": bundle["nvidia"]["ocsp"],
        "rim": bundle["nvidia"]["rim"],
    });
    refused("foreign.json", &|d| d["devices"] = foreign.clone(), 4, "[devices.not-stated]");
    // The statement cannot follow: the CPU's evidence binds it.
    let silent = |d: &mut Value| {
        let statement = d["statement"].as_str().unwrap().to_owned();
        let stated: Value = serde_json::from_str(&statement).unwrap();
        let digest = stated["device_evidence_sha256"].as_str().unwrap();
        d["statement"] = statement.replace(digest, "none").into();
        d["devices"] = Value::Null;
    };
    let mut document = first.clone();
    silent(&mut document);
    let silent = gpus.document("silent.json", &document);
    gpus.verify(&silent, &f.path("client.toml")).refused(4, "[binding.report-data]");
}

/// channel.md, section 6, written out.
fn nonce_of_gpu(byte: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    let client = hex::decode(byte.repeat(32)).unwrap();
    hex::encode(digest(&SHA256, &[&b"casemate/device-nonce/v1\0"[..], &client].concat()))
}

fn does_not_start(f: &Fixture) {
    let gpus = Gpus::new(f, "gpus-refused");
    let broker = gpus.broker(&f.path("store"));
    let good = format!("[devices]\ncount = 1\n{TERMS}");
    let refused = |name: &str, terms: &str, exit: i32, code: &str| {
        let run =
            gpus.try_serve(&broker.url, name, terms).err().unwrap_or_else(|| panic!("{code}: it started"));
        run.refused(exit, code);
    };
    refused("driver.toml", &good.replace("570.10.01", "570.10.02"), 4, "[nvidia.driver.not-accepted]");
    refused("no-count.toml", TERMS, 2, "[policy.devices-without-count]");
    refused("no-terms.toml", "[devices]\ncount = 1", 2, "[policy.devices-without-terms]");
    refused("more.toml", &format!("{good}\n[model]\n"), 2, "[gpu.policy]");
    // A simulated machine has no real GPUs.
    let policy = gpus.write("good.toml", &good);
    let args = f.serve_args(&broker.url, &f.path("sealed"));
    let mut args: Vec<_> = args.iter().map(String::as_str).collect();
    args.extend(["--gpu-policy", &policy]);
    run(&args).refused(2, "[config.unpaired]");
}
