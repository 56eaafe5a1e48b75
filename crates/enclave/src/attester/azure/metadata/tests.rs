//! A local stand-in that serves the documented JSON, and everything else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_sim::{MachineConfig, Vendor};

use super::*;

/// Serves one answer, and gives the request back.
fn serve(answer: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut room = [0; 4096];
        // The head, and the body where one was announced.
        loop {
            let len = stream.read(&mut room).unwrap();
            request.extend_from_slice(&room[..len]);
            let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
            if len == 0
                || (text.contains("\r\n\r\n") && (!text.contains("content-length") || text.ends_with('}')))
            {
                break;
            }
        }
        let _ = stream.write_all(&answer);
        String::from_utf8(request).unwrap()
    });
    (base, served)
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn vcek_pem() -> (Vec<u8>, String) {
    let vendor = Vendor::create(ProductLine::Milan, UnixTime(1_767_225_600)).unwrap();
    let der =
        vendor.machine(&MachineConfig::for_line(ProductLine::Milan, 3, [7; 48])).unwrap().vek_der().to_vec();
    let text = base64::engine::general_purpose::STANDARD.encode(&der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    (der, format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n")))
}

#[test]
fn the_documented_answer_gives_the_vcek() {
    let (der, pem) = vcek_pem();
    let answer = serde_json::json!({
        "vcekCert": pem, "tcbm": "DB18000000000004", "certificateChain": "not used", "cacheControl": "86400",
    });
    let (base, served) = serve(http("200 OK", &answer.to_string()));
    assert_eq!(Metadata(&base).vcek().unwrap(), der);
    let request = served.join().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /metadata/thim/amd/certification http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nmetadata: true\r\n"));
}

#[test]
fn a_td_quote_is_asked_for_with_the_report() {
    for text in ["AQID", "_-8=", "_-8"] {
        let (base, served) = serve(http("200 OK", &format!(r#"{{"quote":"{text}"}}"#)));
        assert_eq!(Metadata(&base).td_quote(&[0xff; 3]).unwrap(), URL_SAFE.decode(text).unwrap());
        let request = served.join().unwrap();
        assert!(request.starts_with("POST /acc/tdquote HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with(r#"{"report":"____"}"#), "{request}");
    }
}

#[test]
fn lies_and_html_have_names() {
    let (_, pem) = vcek_pem();
    let vcek = |pem: &str| serde_json::json!({ "vcekCert": pem }).to_string();
    let cases = [
        (http("404 Not Found", ""), "attester.metadata.status"),
        (http("302 Found", ""), "attester.metadata.status"),
        (http("200 OK", "<html>sign in</html>"), "attester.metadata.form"),
        (http("200 OK", "{}"), "attester.metadata.form"),
        (http("200 OK", &vcek("")), "attester.metadata.form"),
        (http("200 OK", &vcek("MIIF")), "attester.metadata.form"),
        (http("200 OK", &vcek(&pem.repeat(2))), "attester.metadata.form"),
        (http("200 OK", &" ".repeat(MAX_ANSWER + 1)), "attester.metadata.too-long"),
        (b"nobody speaks HTTP here\r\n".to_vec(), "attester.metadata.unreachable"),
        (Vec::new(), "attester.metadata.unreachable"),
    ];
    for (answer, expected) in cases {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let (base, _served) = serve(answer);
        assert_eq!(Metadata(&base).vcek().unwrap_err().code(), expected, "{shown}");
    }
    for quote in [r#"{"quote":""}"#, r#"{"quote":"*"}"#, "{}"] {
        let (base, _served) = serve(http("200 OK", quote));
        assert_eq!(Metadata(&base).td_quote(&[0; 1024]).unwrap_err().code(), "attester.metadata.form");
    }
}

#[test]
fn a_service_that_hangs_ends_within_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    assert_eq!(Metadata(&base).vcek().unwrap_err().code(), "attester.metadata.unreachable");
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(listener);
    assert_eq!(Metadata(&base).vcek().unwrap_err().code(), "attester.metadata.unreachable");
}
