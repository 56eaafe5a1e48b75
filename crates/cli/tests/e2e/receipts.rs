//! Receipts between real processes: kept by the proxy, checked offline, given again, and what a dishonest server cannot have
//! (spec/receipts.md, PRX-14 of spec/proxy.md).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use casemate_protocol::receipt::{COMMENT, HEADER, ID_HEADER, ReceiptKey, SignedReceipt};
use casemate_protocol::statement::Stated;
use futures_util::StreamExt;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::Case;
use crate::fixture::{Fixture, Run, Server, casemate, run};
use crate::path::http;
use crate::proxy::{Asked, Impostor, chat, model_of};

pub const CASES: &[(&str, Case)] = &[
    ("receipts::an_auditor_checks_answers_offline", an_auditor_checks_answers_offline),
    ("receipts::what_is_changed_is_refused", what_is_changed_is_refused),
    ("receipts::a_folder_outlives_the_server", a_folder_outlives_the_server),
    ("receipts::what_cannot_be_kept_is_not_handed_on", what_cannot_be_kept_is_not_handed_on),
    ("receipts::a_man_in_the_middle_has_no_receipts", a_man_in_the_middle_has_no_receipts),
];

/// A machine, a proxy before it that keeps receipts, and the folder.
struct Kept {
    _broker: Server,
    server: Server,
    proxy: Server,
    folder: PathBuf,
}

impl Kept {
    fn new(f: &Fixture, folder: &str) -> Self {
        let broker = f.broker(&f.path("store"));
        let server = f.serve(&broker.url);
        let folder = f.folder(folder);
        let kept = ["--receipts", folder.to_str().unwrap()];
        let proxy = f.proxy_by("sealed", &[&server.url], &f.path("client.toml"), &kept);
        Self { _broker: broker, server, proxy, folder }
    }

    /// The receipts that are there, in the order of the chain.
    fn receipts(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder).unwrap().map(|file| file.unwrap().path());
        let mut receipts: Vec<_> =
            files.filter(|path| path.to_str().unwrap().ends_with(".receipt.json")).collect();
        receipts.sort_by_key(|path| said(path)["sequence"].as_u64());
        receipts
    }

    /// Asks through the proxy, and writes down what was sent and received.
    fn ask(&self, path: &str, body: &Value) -> [PathBuf; 2] {
        let answer = http(&self.proxy.url).post(path, body).text();
        let number = fs::read_dir(&self.folder).unwrap().count();
        let files = ["request", "answer"].map(|name| self.folder.join(format!("{number}.{name}")));
        fs::write(&files[0], serde_json::to_vec(body).unwrap()).unwrap();
        fs::write(&files[1], answer).unwrap();
        files
    }
}

/// What a kept receipt says.
fn said(path: &Path) -> Value {
    let kept: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    serde_json::from_str(kept["signed"]["receipt"].as_str().unwrap()).unwrap()
}

fn verify(f: &Fixture, args: &[&str]) -> Run {
    let (root, policy) = (f.root(), f.path("client.toml"));
    let fixed = ["receipt", "verify", "--policy", &policy, "--danger-simulated-root", &root];
    run(&[&fixed[..], args].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn an_auditor_checks_answers_offline(f: &Fixture) {
    let mut kept = Kept::new(f, "receipts-offline");
    let model = model_of(&kept.proxy);
    let whole = kept.ask("/v1/chat/completions", &chat(&json!({ "model": model })));
    let stream = kept.ask("/v1/chat/completions", &chat(&json!({ "model": model, "stream": true })));
    let message = json!({ "model": model, "max_tokens": 8, "stream": true,
        "messages": [{ "role": "user", "content": "Say hello." }] });
    let anthropic = kept.ask("/v1/messages", &message);
    let receipts = kept.receipts();
    assert_eq!(receipts.len(), 3);
    let documents = fs::read_dir(&kept.folder).unwrap().map(|file| file.unwrap().file_name());
    let documents: Vec<_> =
        documents.filter(|name| name.to_str().unwrap().starts_with("document-")).collect();
    assert_eq!(documents.len(), 1, "one verification, one document");
    // The id of the answer is that of the receipt, and the server gives it again.
    let again = http(&kept.server.url)
        .get(&format!("/v1/receipts/{}", said(&receipts[0])["receipt_id"].as_str().unwrap()));
    let first: Value = serde_json::from_slice(&fs::read(&receipts[0]).unwrap()).unwrap();
    assert_eq!(again.json(), first["signed"]);
    // Nobody is there any more.
    kept.server.kill9();
    kept.proxy.kill9();
    for (receipt, [request, answer]) in receipts.iter().zip([&whole, &stream, &anthropic]) {
        let report =
            verify(f, &[text(receipt), "--request", text(request), "--response", text(answer), "--json"]);
        assert_eq!(report.exit, Some(0), "{}", report.stderr);
        let report: Value = serde_json::from_str(&report.stdout).unwrap();
        assert_eq!((&report["verdict"], &report["simulated"]), (&json!("verified"), &json!(true)));
        let one = &report["receipts"][0];
        assert_eq!(one["receipt"]["manifest_sha256"], f.manifest.as_str());
        assert!(one["headline"].as_str().unwrap().starts_with("SIMULATED: VERIFIED"));
        let checks = one["checks"].as_array().unwrap();
        for rule in ["RCP-1", "RCP-2", "RCP-3", "RCP-4", "RCP-5", "RCP-6", "RCP-7"] {
            let check = checks.iter().find(|check| check["id"] == rule).unwrap();
            assert_eq!(check["outcome"], "pass", "{check}");
        }
    }
    // They follow one another; in another order they do not.
    let [one, two, three] = [0, 1, 2].map(|at| text(&receipts[at]));
    let run = verify(f, &["--chain", one, two, three]);
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("SIMULATED"), "{}", run.stderr);
    verify(f, &["--chain", one, three]).refused(4, "receipt.chain");
    verify(f, &["--chain", two, one]).refused(4, "receipt.chain");
    assert_eq!(verify(f, &[three, one]).exit, Some(0), "nobody said that they follow one another");
    let explained = verify(f, &["--explain", one]);
    assert!(explained.stdout.contains("Anybody can sign a receipt"), "{}", explained.stdout);
}

/// A negative case for each rule, on the files that an auditor is handed.
fn what_is_changed_is_refused(f: &Fixture) {
    let kept = Kept::new(f, "receipts-changed");
    let model = model_of(&kept.proxy);
    let [request, answer] = kept.ask("/v1/chat/completions", &chat(&json!({ "model": model })));
    let [other, _] = kept.ask("/v1/chat/completions", &chat(&json!({ "model": model, "seed": 1 })));
    let receipt = kept.receipts().remove(0);
    let good: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    // Of another machine, of the same owner.
    let second = f.serve(&kept._broker.url);
    let foreign = kept.folder.join("foreign.json");
    fs::write(&foreign, http(&second.url).get("/attest").text()).unwrap();
    let changed = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut kept_receipt = good.clone();
        change(&mut kept_receipt);
        let path = kept.folder.join(name);
        fs::write(&path, kept_receipt.to_string()).unwrap();
        path
    };
    let said_instead = |from: &'static str, to: &'static str| {
        move |kept: &mut Value| {
            let text = kept["signed"]["receipt"].as_str().unwrap().replace(from, to);
            assert_ne!(text, kept["signed"]["receipt"]);
            kept["signed"]["receipt"] = text.into();
        }
    };
    let tokens = changed("tokens", &said_instead("\"completion_tokens\":", "\"completion_tokens\":1"));
    let spaces = changed("spaces", &said_instead("{\"api_version\"", "{ \"api_version\""));
    let version = changed("version", &said_instead("casemate.receipt/1", "casemate.receipt/2"));
    let signature = changed("signature", &|kept| {
        kept["signed"]["signature"] = format!("{}==", "A".repeat(86)).into();
    });
    let key = changed("key", &|kept| kept["signed"]["public_key"] = format!("{}=", "A".repeat(43)).into());
    let salt = changed("salt", &|kept| kept["signed"]["request_salt"] = "none".into());
    let body = changed("body", &|kept| kept["response_sha256"] = "11".repeat(32).into());
    let outside = changed("outside", &|kept| kept["document"] = "/etc/../../nothing.json".into());
    let receipt = text(&receipt);
    let cases: &[(&[&str], i32, &str)] = &[
        (&[receipt, "--request", text(&other)], 4, "receipt.request"),
        (&[receipt, "--response", text(&request)], 4, "receipt.response"),
        (&[receipt, "--document", text(&foreign)], 3, "receipt.key"),
        (&[receipt, "--at", "1000000000"], 5, "x509.not-yet-valid"),
        (&[text(&tokens)], 3, "receipt.signature"),
        (&[text(&spaces)], 5, "receipt.not-canonical"),
        (&[text(&version)], 5, "receipt.api-version"),
        (&[text(&signature)], 3, "receipt.signature"),
        (&[text(&key)], 3, "receipt.key"),
        (&[text(&salt)], 5, "receipt.salt"),
        (&[text(&body)], 4, "receipt.response"),
        (&[text(&outside)], 1, "nothing.json"),
        (&[text(&answer)], 5, "receipt.malformed"),
    ];
    for (args, exit, code) in cases {
        let run = verify(f, args);
        assert_eq!(run.exit, Some(*exit), "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(code), "{args:?}: {}", run.stderr);
        assert!(!run.stdout.contains("SIMULATED: VERIFIED"), "{args:?}: {}", run.stdout);
    }
    // Its model is one that the policy of this auditor does not name.
    let policy = f.client_policy("receipts-other.toml", &f.measurement, &"ab".repeat(32));
    let root = f.root();
    let run = run(&["receipt", "verify", receipt, "--policy", &policy, "--danger-simulated-root", &root]);
    run.refused(4, "statement.model");
}

fn a_folder_outlives_the_server(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    // The server makes it, for the user that it becomes, who must get there.
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let folder = outside.path().join("receipts");
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    args.extend(["--receipt-folder".into(), text(&folder).into()]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let start =
        || Server::start(&casemate(), &args, &[], None).unwrap_or_else(|run| panic!("{}", run.stderr));
    let mut first = start();
    let through = http(&first.url);
    let model = through.get("/v1/models").json()["data"][0]["id"].clone();
    let body = chat(&json!({ "model": model, "stream": true }));
    assert!(through.post("/v1/chat/completions", &body).text().contains("[DONE]"));
    assert_eq!(first.terminate(), Some(0));
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let bytes = fs::read(&files[0]).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("receipt_id"), "it is encrypted");
    // The id is not in the file's name: an application has it from its answer.
    let second = start();
    let through = http(&second.url);
    let (id, receipt) = ask_with_id(&second, &body);
    assert_eq!(through.get(&format!("/v1/receipts/{id}")).json()["receipt"], receipt["receipt"]);
    drop(second);
    let third = start();
    assert_eq!(http(&third.url).get(&format!("/v1/receipts/{id}")).json(), receipt);
    // A folder that cannot be one ends the start.
    drop(third);
    let mut args = args.clone();
    *args.last_mut().unwrap() = "/proc";
    let Err(run) = Server::start(&casemate(), &args, &[], None) else { panic!("it started") };
    run.refused(2, "receipt.folder");
}

/// A streamed answer's id and receipt.
fn ask_with_id(server: &Server, body: &Value) -> (String, Value) {
    let through = http(&server.url);
    let answer = through.post("/v1/chat/completions", body).text();
    let (_, receipt) = answer.split_once(": casemate-receipt ").unwrap();
    let signed = SignedReceipt::from_base64(receipt.as_bytes()).unwrap();
    let said: Value = serde_json::from_str(&signed.receipt).unwrap();
    (
        said["receipt_id"].as_str().unwrap().to_owned(),
        serde_json::from_str(&signed.to_json().unwrap()).unwrap(),
    )
}

/// PRX-14.
fn what_cannot_be_kept_is_not_handed_on(f: &Fixture) {
    let kept = Kept::new(f, "receipts-gone");
    let model = model_of(&kept.proxy);
    kept.ask("/v1/chat/completions", &chat(&json!({ "model": model })));
    assert_eq!(kept.receipts().len(), 1);
    fs::remove_dir_all(&kept.folder).unwrap();
    fs::write(&kept.folder, b"in its place").unwrap();
    let through = http(&kept.proxy.url);
    let refused = through.post("/v1/chat/completions", &chat(&json!({ "model": model })));
    assert_eq!(refused.refused(500), "receipt.not-kept");
    let came = cut(&kept.proxy, &chat(&json!({ "model": model, "stream": true })));
    assert!(came.starts_with("data: ") && !came.contains("[DONE]"), "{came}");
    // What has no receipt is handed on as ever.
    assert_eq!(model_of(&kept.proxy), model);
    let proxy =
        ["proxy", "--policy", &f.path("client.toml"), "--receipts", text(&kept.folder), &kept.server.url];
    run(&proxy).refused(1, "receipt.not-kept");
}

/// What came of a stream that is cut, which it must be.
fn cut(proxy: &Server, body: &Value) -> String {
    let through = http(&proxy.url);
    through.runtime.block_on(async {
        let url = format!("{}/v1/chat/completions", proxy.url);
        // One that is cut before anything of it was on its way.
        let Ok(response) = through.client.post(url).json(body).send().await else { return String::new() };
        assert_eq!(response.status(), 200);
        let (mut came, mut body) = (Vec::new(), response.bytes_stream());
        loop {
            match body.next().await {
                Some(Ok(chunk)) => came.extend_from_slice(&chunk),
                Some(Err(_)) => return String::from_utf8(came).unwrap(),
                None => panic!("the stream ended well: {}", String::from_utf8_lossy(&came)),
            }
        }
    })
}

/// PRX-14: somebody has the machine's TLS key (the operator, who brought it, and a policy that accepts that) and changes what it answers.
fn a_man_in_the_middle_has_no_receipts(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("receipts-middle");
    let path = |name: &str| text(&folder.join(name)).to_owned();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(path("tls.pem"), made.cert.pem()).unwrap();
    fs::write(path("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    args.extend(["--tls-cert".into(), path("tls.pem"), "--tls-key".into(), path("tls.key")]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let server = Server::start(&casemate(), &args, &[], None).unwrap_or_else(|run| panic!("{}", run.stderr));
    let policy = fs::read_to_string(f.path("client.toml")).unwrap();
    fs::write(path("client.toml"), format!("[tls]\ndanger-operator-key = \"a case\"\n\n{policy}")).unwrap();

    type Change = fn(&mut HeaderMap, &mut Vec<u8>);
    let cases: &[(&str, Change, Option<&str>)] = &[
        ("nothing", |_, _| {}, None),
        (
            "no receipt",
            |headers, body| {
                headers.remove(HEADER);
                let at = find(body, COMMENT.as_bytes()).unwrap_or(body.len());
                body.truncate(at);
            },
            Some("receipt.missing"),
        ),
        (
            "another answer",
            |_, body| {
                let at = find(body, b"\"content\":\"").unwrap() + 11;
                body[at] = if body[at] == b'X' { b'Y' } else { b'X' };
            },
            Some("receipt.response"),
        ),
        (
            "a receipt that is none",
            |headers, body| {
                if headers.contains_key(HEADER) {
                    headers.insert(HEADER, "AAAA".parse().unwrap());
                }
                if let Some(at) = find(body, COMMENT.as_bytes()) {
                    body.truncate(at + COMMENT.len());
                    body.extend_from_slice(b"AAAA\n\n");
                }
            },
            Some("receipt.malformed"),
        ),
        (
            "a receipt of another key",
            |headers, body| {
                let key = ReceiptKey::from_seed(&[1; 32]);
                let forged = |signed: &[u8]| {
                    let signed = SignedReceipt::from_base64(signed).unwrap();
                    let Stated::Is(request) = signed.request_salt else { panic!("a salt") };
                    let Stated::Is(response) = signed.response_salt else { panic!("a salt") };
                    let said = serde_json::from_str(&signed.receipt).unwrap();
                    key.sign(&said, [request, response]).unwrap().to_base64().unwrap()
                };
                if let Some(value) = headers.get(HEADER) {
                    let forged = forged(value.as_bytes()).parse().unwrap();
                    headers.insert(HEADER, forged);
                }
                if let Some(at) = find(body, COMMENT.as_bytes()) {
                    let receipt = forged(&body.split_off(at)[COMMENT.len()..]);
                    body.extend_from_slice(format!("{COMMENT}{receipt}\n\n").as_bytes());
                }
            },
            Some("receipt.key"),
        ),
    ];
    for (name, change, code) in cases {
        let (real, change) = (server.url.clone(), *change);
        let middle = Impostor::with_key(&made, Box::new(move |asked| relayed(&real, asked, change)));
        let receipts = f.folder(&format!("receipts-middle/{}", name.replace(' ', "-")));
        let args = ["--receipts", text(&receipts)];
        let proxy = f.proxy_by("tls", &[&middle.url], &path("client.toml"), &args);
        let model = model_of(&proxy);
        let through = http(&proxy.url);
        let (whole, stream) =
            (chat(&json!({ "model": model })), chat(&json!({ "model": model, "stream": true })));
        let answer = through.post("/v1/chat/completions", &whole);
        match code {
            None => {
                assert_eq!(answer.json()["object"], "chat.completion");
                assert!(through.post("/v1/chat/completions", &stream).text().contains("[DONE]"));
            }
            Some(code) => {
                assert_eq!(answer.refused(502), *code, "{name}");
                let came = cut(&proxy, &stream);
                assert!(!came.contains("[DONE]"), "{name}: {came}");
                assert!(proxy.log().contains(code), "{name}: {}", proxy.log());
            }
        }
        // And no receipt that was not good is kept.
        let receipts = fs::read_dir(&receipts)
            .unwrap()
            .filter(|file| file.as_ref().unwrap().path().to_str().unwrap().ends_with(".receipt.json"));
        assert_eq!(receipts.count(), if code.is_none() { 2 } else { 0 }, "{name}");
        // What has none is none of its business.
        assert_eq!(through.post("/v1/chat/completions", &chat(&json!({ "model": "no" }))).status, 404);
    }
}

/// What the server says to this, changed.
fn relayed(server: &str, asked: &Asked, change: fn(&mut HeaderMap, &mut Vec<u8>)) -> Vec<u8> {
    let through = http(server);
    let url = format!("{server}{}", asked.target);
    through.runtime.block_on(async {
        let method = if asked.body.is_empty() { reqwest::Method::GET } else { reqwest::Method::POST };
        let request = through.client.request(method, url).header("content-type", &asked.content_type);
        let response = request.body(asked.body.clone()).send().await.unwrap();
        let (status, mut headers) = (response.status(), response.headers().clone());
        let mut body = response.bytes().await.unwrap().to_vec();
        if status == 200 && asked.target.ends_with("/completions") {
            change(&mut headers, &mut body);
        }
        let mut raw = format!(
            "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
            status.as_u16(),
            body.len()
        );
        for name in ["content-type", HEADER, ID_HEADER] {
            if let Some(value) = headers.get(name) {
                raw += &format!("{name}: {}\r\n", value.to_str().unwrap());
            }
        }
        [raw.as_bytes(), b"\r\n", &body].concat()
    })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}
