//! The verifying client for Python: `casemate._native`, on which the package `casemate` stands (python/casemate).
//!
//! A program's request goes the way of `casemate proxy` (spec/proxy.md) inside the program's own process: nothing is sent before a server is
//! verified, what is wrong is an answer with a stable code, and no address on the machine is opened.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderName, HeaderValue, Request};
use casemate_attest::nvidia::NvidiaAnchors;
use casemate_attest::{TrustAnchors, UnixTime};
use casemate_client::proxy::{DEFAULT_MAX_BODY, Proxy, ReceiptFolder, answer};
use casemate_client::{Anchors, ClientPolicy, PeerError, Pool, Verifier, Via, keep_renewed};
use casemate_protocol::sealed::cells::Shape;
use futures_util::StreamExt;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::runtime::Runtime;

/// Servers, the policy that they must meet, and what keeps them verified.
#[pyclass(frozen)]
struct Session {
    runtime: Arc<Runtime>,
    proxy: Arc<Proxy>,
    simulated: bool,
}

/// An answer, whose body comes piece by piece.
#[pyclass(frozen)]
struct Answer {
    runtime: Arc<Runtime>,
    #[pyo3(get)]
    status: u16,
    /// Names in lower case, values as they are.
    #[pyo3(get)]
    headers: Vec<(String, Vec<u8>)>,
    body: Mutex<Option<BodyDataStream>>,
}

#[pymethods]
impl Session {
    /// `servers` are https addresses, `policy` is the text of a policy file. `simulated_root` is the PEM of a simulated vendor's roots, which are
    /// then the only ones that are believed. `shape` is `off`, `default` or `constant`; over `tls` nothing is shaped. With `receipts`, a folder,
    /// no answer comes without a good receipt, which is kept there.
    #[new]
    #[pyo3(signature = (servers, policy, *, simulated_root=None, channel="sealed", shape="default", receipts=None))]
    fn new(
        servers: Vec<String>,
        policy: &str,
        simulated_root: Option<&str>,
        channel: &str,
        shape: &str,
        receipts: Option<PathBuf>,
    ) -> PyResult<Self> {
        let invalid = |code: &str, text: String| PyValueError::new_err(format!("{text} [{code}]"));
        if servers.is_empty() {
            return Err(PyValueError::new_err("no server is named"));
        }
        if let Some(url) = servers.iter().find(|url| !url.starts_with("https://")) {
            return Err(PyValueError::new_err(format!("`{url}` is not the https address of a server")));
        }
        let policy = ClientPolicy::from_toml(policy).map_err(|e| invalid(e.code(), e.to_string()))?;
        let machines = match simulated_root {
            None => TrustAnchors::vendors(),
            Some(pem) => TrustAnchors::danger_only_pem(pem)
                .map_err(|e| PyValueError::new_err(format!("simulated_root: {e}")))?,
        };
        let simulated = machines.simulated();
        let via = match (channel, shape) {
            ("tls", _) => Via::Tls,
            ("sealed", "off") => Via::Sealed(Shape::Off),
            ("sealed", "default") => Via::Sealed(Shape::Default),
            ("sealed", "constant") => Via::Sealed(Shape::Constant),
            _ => {
                let text = "channel is `sealed` or `tls`, and shape `off`, `default` or `constant`";
                return Err(PyValueError::new_err(text));
            }
        };
        let anchors = Anchors { machines, devices: NvidiaAnchors::nvidia() };
        let clock = || Some(UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()));
        let verifier = Arc::new(Verifier { policy, anchors, via, clock: Box::new(clock) });
        let pool = Pool::new(servers.iter().map(String::as_str), &verifier);
        let receipts = receipts.as_deref().map(ReceiptFolder::open).transpose();
        let receipts = receipts.map_err(|e| PyOSError::new_err(format!("{e} [{}]", e.code())))?;
        let proxy = Arc::new(Proxy::new(pool, None, DEFAULT_MAX_BODY, true).with_receipts(receipts));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let kept = proxy.clone();
        // Ends with the runtime.
        runtime.spawn(async move { keep_renewed(kept.pool().peers()).await });
        Ok(Self { runtime: Arc::new(runtime), proxy, simulated })
    }

    /// Whether hardware of a simulated vendor is believed.
    #[getter]
    fn simulated(&self) -> bool {
        self.simulated
    }

    /// Sends a request to a path below /v1/ and waits for the beginning of the answer. What goes wrong before that is an answer too, with the
    /// status and the code of spec/proxy.md.
    fn send(
        &self,
        py: Python<'_>,
        method: &str,
        target: &str,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Vec<u8>,
    ) -> PyResult<Answer> {
        let wrong = |what: &str| PyValueError::new_err(format!("{what} is not valid HTTP"));
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            let name = HeaderName::from_bytes(&name).map_err(|_| wrong("a header's name"))?;
            let value = HeaderValue::from_bytes(&value).map_err(|_| wrong("a header's value"))?;
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|_| wrong("the request"))?;
        let response = py.detach(|| self.runtime.block_on(answer(&self.proxy, request)));
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        let headers = headers.collect();
        let status = response.status().as_u16();
        let body: Body = response.into_body();
        let body = Mutex::new(Some(body.into_data_stream()));
        Ok(Answer { runtime: self.runtime.clone(), status, headers, body })
    }

    /// Verifies every server that is not verified: for each its address, the code of the first check that failed (`None`: verified), the
    /// reason, and the checks as (number, outcome, title, what was compared).
    fn verify(&self, py: Python<'_>) -> Vec<Verdict> {
        py.detach(|| {
            self.runtime.block_on(async {
                let mut verdicts = Vec::new();
                for peer in self.proxy.pool().peers() {
                    let url = peer.url().to_owned();
                    verdicts.push(match peer.session().await {
                        Ok(session) => (url, None, String::new(), rows(&session.server().checks())),
                        Err(error) => {
                            let checks = match &error {
                                PeerError::NotVerified(failure) => rows(&failure.checks),
                                _ => Vec::new(),
                            };
                            (url, Some(error.code().to_owned()), error.to_string(), checks)
                        }
                    });
                }
                verdicts
            })
        })
    }
}

type Verdict = (String, Option<String>, String, Vec<(String, String, String, String)>);

fn rows(checks: &[casemate_attest::Check]) -> Vec<(String, String, String, String)> {
    let row = |check: &casemate_attest::Check| {
        let (id, title) = (check.rule.id.to_owned(), check.rule.title.to_owned());
        (id, check.outcome.to_string(), title, check.compared.clone())
    };
    checks.iter().map(row).collect()
}

#[pymethods]
impl Answer {
    /// The next piece of the body; `None` at its end. `OSError` where the answer was cut.
    fn piece<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let next = py.detach(|| {
            let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
            body.as_mut().and_then(|stream| self.runtime.block_on(stream.next()))
        });
        match next {
            Some(Ok(piece)) => Ok(Some(PyBytes::new(py, &piece))),
            Some(Err(error)) => Err(PyOSError::new_err(format!("the answer was cut: {error}"))),
            None => Ok(None),
        }
    }

    /// Lets go of what did not come yet.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let _in_runtime = self.runtime.enter();
            drop(self.body.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
    }
}

/// What the package `casemate` stands on.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Session>()?;
    module.add_class::<Answer>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
