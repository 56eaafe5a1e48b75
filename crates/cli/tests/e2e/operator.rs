//! Whose machine it is: a genuine machine of somebody else, with the right code and the right model, is refused (spec/channel.md §9).

use std::fs;

use serde_json::Value;

use crate::Case;
use crate::fixture::{Fixture, Run, Server, casemate, run};
use crate::path::http;
use crate::proxy::{Impostor, model_of, ok};

pub const CASES: &[(&str, Case)] = &[
    ("operator::a_machine_of_somebody_else_is_refused", a_machine_of_somebody_else),
    ("operator::a_name_stands_for_a_key", a_name_stands_for_a_key),
];

fn serve(f: &Fixture, broker: &str, more: &[&str]) -> Result<Server, Run> {
    let mut args = f.serve_args(broker, &f.path("sealed"));
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    Server::start(&casemate(), &args.iter().map(String::as_str).collect::<Vec<_>>(), &[], None)
}

/// The client's policy with an operator.
fn policy(f: &Fixture, name: &str, operator: &str) -> String {
    let rest = fs::read_to_string(f.path("client.toml")).unwrap();
    fs::write(f.path(name), format!("[operator]\n{operator}\n\n{rest}")).unwrap();
    f.path(name)
}

fn a_machine_of_somebody_else(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("operator-keys");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let ours = f.ok(&["keygen", &path("ours")]).stdout.trim().to_owned();
    let theirs = f.ok(&["keygen", &path("theirs")]).stdout.trim().to_owned();
    let good = policy(f, "operator.toml", &format!("keys = [\"{ours}\"]"));
    let server = serve(f, &broker.url, &["--operator-key", &path("ours.key")])
        .unwrap_or_else(|run| panic!("{}", run.stderr));
    let asked = f.ask(&server.url, &good, "Hi");
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    assert!(asked.stderr.contains("1 waived: SNP-30"), "{}", asked.stderr);
    assert!(asked.stderr.contains(&format!("key {ours}")), "{}", asked.stderr);
    // A policy that names nobody says so.
    let anybody = f.ask(&server.url, &f.path("client.toml"), "Hi");
    assert!(anybody.stderr.contains("2 waived: SNP-30, CH-20"), "{}", anybody.stderr);
    // The same code, model and hardware: of somebody else, and of nobody.
    let another = serve(f, &broker.url, &["--operator-key", &path("theirs.key")])
        .unwrap_or_else(|run| panic!("{}", run.stderr));
    let nobodys = f.serve(&broker.url);
    f.ask(&another.url, &good, "secret").refused(4, "operator.key");
    f.ask(&nobodys.url, &good, "secret").refused(4, "operator.missing");
    let list = policy(f, "operators.toml", &format!("keys = [\"{ours}\", \"{theirs}\"]"));
    assert_eq!(f.ask(&another.url, &list, "Hi").exit, Some(0));
    // The word of our operator, moved to the machine of somebody else, or taken away, on the way.
    for (from, code) in [(Some(&server), "operator.signature"), (None, "operator.missing")] {
        let moved = from.map(|from| from.url.clone());
        let to = another.url.clone();
        let middle = Impostor::between(Box::new(move |asked| {
            let get = |server: &str| -> Value { http(server).get(&asked.target).json() };
            let mut document = get(&to);
            document["operator"] = moved.as_ref().map_or(Value::Null, |from| get(from)["operator"].clone());
            ok(&document.to_string()).into_bytes()
        }));
        let proxy = f.proxy_by("sealed", &[&middle.url], &good, &[]);
        assert_eq!(http(&proxy.url).get("/v1/models").refused(502), code);
    }
    // The proxy holds to it, and so does who checks a document later.
    model_of(&f.proxy_by("sealed", &[&server.url], &good, &[]));
    let document = path("document.json");
    fs::write(&document, http(&server.url).get("/attest").text()).unwrap();
    let root = f.root();
    let verify =
        |policy: &str| run(&["verify", &document, "--policy", policy, "--danger-simulated-root", &root]);
    let verified = verify(&good);
    assert_eq!(verified.exit, Some(0), "{}", verified.stderr);
    assert!(
        verified.stdout.contains("VERIFIED (SIMULATED), 3 waived: SNP-30, CH-3, CH-5"),
        "{}",
        verified.stdout
    );
    verify(&policy(f, "operator-theirs.toml", &format!("keys = [\"{theirs}\"]"))).refused(4, "operator.key");
    // What a server shows is written down with the rest.
    let written = f.ok(&["policy", "init", &server.url, "--danger-simulated-root", &root]).stdout;
    assert!(written.contains(&format!("[operator]\nkeys = [\"{ours}\"]")), "{written}");
    // A key that is none.
    for (more, code) in [
        (&["--operator-key", &path("ours.pub")][..], "operator.file"),
        (&["--operator-cert", &path("ours.pub")], "config.unpaired"),
    ] {
        let Err(run) = serve(f, &broker.url, more) else { panic!("it started") };
        run.refused(2, code);
    }
}

fn a_name_stands_for_a_key(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("operator-names");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["api.example.com".to_owned()]).unwrap();
    fs::write(path("leaf.pem"), certificate.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    fs::write(path("leaf.key"), key.serialize_pem()).unwrap();
    let more = ["--operator-key", &path("leaf.key"), "--operator-cert", &path("leaf.pem")];
    let server = serve(f, &broker.url, &more).unwrap_or_else(|run| panic!("{}", run.stderr));
    let named = |file: &str, name: &str| {
        policy(f, file, &format!("names = [\"{name}\"]\nauthorities = \"\"\"\n{root}\"\"\""))
    };
    let asked = f.ask(&server.url, &named("named.toml", "api.example.com"), "Hi");
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    assert!(asked.stderr.contains("api.example.com, key "), "{}", asked.stderr);
    f.ask(&server.url, &named("misnamed.toml", "example.com"), "secret").refused(4, "operator.name");
    let public = policy(f, "public.toml", "names = [\"api.example.com\"]");
    f.ask(&server.url, &public, "secret").refused(4, "operator.certificate");
    // The certificate of another key is found out before anybody asks.
    let more = ["--operator-key", &f.path("publisher.key"), "--operator-cert", &path("leaf.pem")];
    let Err(run) = serve(f, &broker.url, &more) else { panic!("it started") };
    run.refused(2, "operator.other-key");
}
