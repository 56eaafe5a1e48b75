//! DOC-50 and DOC-51: who can be reached. Only whom a person named is asked, once, and given nothing.

use std::error::Error;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::rule::{Check, Rule};
use crate::release::{BrokerClient, ReleaseError};
use crate::transport::BrokerPath;

const BROKER: Rule = Rule("DOC-50", "network.broker");

/// Whether the broker answers, over the TLS that `serve` would use.
///
/// # Errors
/// [`ReleaseError::Address`] and [`ReleaseError::Authority`]: what was given is no address or no authority.
pub async fn broker(
    url: &str,
    path: BrokerPath,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<Check, ReleaseError> {
    let client = BrokerClient::new(url, path, authorities)?;
    Ok(answered(client.reach(LIMIT).await))
}

fn answered(answer: Result<u16, ReleaseError>) -> Check {
    match answer {
        Ok(200) => BROKER.pass("the broker answers"),
        Ok(status) => BROKER.warn(
            format!("something answers there, with status {status}"),
            "is it a casemate broker, and is the address right? serve asks below /kbs/v0",
        ),
        Err(error) => {
            let found = format!("the broker cannot be reached: {}", innermost(&error));
            let usual =
                "is the broker up, does a firewall let it be reached, is its authority in --broker-ca?";
            let hint = match &error {
                ReleaseError::Vsock { source, .. } => source.hint().unwrap_or(usual),
                _ => usual,
            };
            BROKER.fail(found, hint).code(error.code())
        }
    }
}

/// The reason below our own words, which repeat the address.
fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A vendor's service by the client's name for it: the status of its answer, or why there was none with the code of that.
///
/// A warning only: `serve` asks one of them where the person wants it to (stapling.md, STAPLE-01), and then only what its platform needs.
pub fn endorsement_service(service: &str, host: &str, answer: Result<u16, (String, &'static str)>) -> Check {
    let rule = Rule("DOC-51", "network");
    let check = match answer {
        Ok(status) => rule.pass(format!("{host} answers (status {status})")),
        Err((reason, code)) => rule
            .warn(
                format!("{host}: {reason}"),
                "serve --fetch-endorsements asks those of its own platform; without a network, fetch them elsewhere (`casemate endorse fetch`) and give serve the file",
            )
            .code(code),
    };
    Check { id: format!("network.{service}").into(), ..check }
}

/// For one answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::super::Outcome;
    use super::*;

    fn ask(url: &str) -> Result<Check, ReleaseError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(broker(url, BrokerPath::Tcp, Vec::new()))
    }

    /// A peer that says this to whoever asks; what it was asked is returned.
    fn peer(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 2048];
            let len = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..len]).into_owned()
        });
        (url, asked)
    }

    #[test]
    fn a_broker_is_reached_and_told_nothing() {
        let (url, asked) = peer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let check = ask(&url).unwrap();
        assert_eq!((check.rule, check.outcome), ("DOC-50", Outcome::Pass));
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("GET /healthz HTTP/1.1\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\n"), "no body: {asked}");
    }

    #[test]
    fn another_answer_is_a_warning_and_none_a_failure() {
        for answer in ["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", REDIRECTION] {
            let (url, _asked) = peer(answer);
            assert_eq!(ask(&url).unwrap().outcome, Outcome::Warn, "{answer}");
        }
        // A port that nobody has: it was ours, and is closed.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let check = ask(&format!("http://{closed}")).unwrap();
        assert_eq!((check.outcome, check.code), (Outcome::Fail, Some("release.unreachable")));
        assert!(check.hint.is_some());
        let (url, _asked) = peer("this is not HTTP\r\n\r\n");
        assert_eq!(ask(&url).unwrap().outcome, Outcome::Fail);
    }

    /// It is not followed.
    const REDIRECTION: &str =
        "HTTP/1.1 307 Moved\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n";

    #[test]
    fn what_is_no_address_is_no_check() {
        assert_eq!(ask("broker.example").unwrap_err().code(), "release.address");
    }

    #[test]
    fn a_vendors_silence_is_a_warning() {
        let reached = endorsement_service("amd-kds", "kdsintf.amd.com", Ok(404));
        assert_eq!(
            (reached.rule, &*reached.id, reached.outcome),
            ("DOC-51", "network.amd-kds", Outcome::Pass)
        );
        let reason = ("no route to host".to_owned(), "endorse.unreachable");
        let silent = endorsement_service("amd-kds", "kdsintf.amd.com", Err(reason));
        assert_eq!((silent.outcome, silent.code), (Outcome::Warn, Some("endorse.unreachable")));
    }
}
