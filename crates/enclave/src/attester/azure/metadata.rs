//! Azure's instance metadata service: two answers about the hardware below this VM.
//!
//! ```text
//! GET  {base}/metadata/THIM/amd/certification   Metadata: true    {"vcekCert": PEM, "certificateChain": PEM, ...}
//! POST {base}/acc/tdquote   {"report": base64url of a TDREPORT}   {"quote": base64url}
//! ```
//!
//! It is plain HTTP from the host, so nothing of it is believed: both answers are signed by the vendors, and looked at by the
//! verifier. The service gets one request for each start of the server.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use reqwest::RequestBuilder;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::{AzureError, MetadataReason};

/// The metadata service at an address such as `http://169.254.169.254`.
pub(crate) struct Metadata<'a>(pub(crate) &'a str);

/// Members of the documented answer that we use.
#[derive(Deserialize)]
struct Certification {
    #[serde(rename = "vcekCert")]
    vcek: String,
}

#[derive(Deserialize)]
struct TdQuote {
    quote: String,
}

impl Metadata<'_> {
    /// The VCEK's certificate of this machine, DER.
    pub(crate) fn vcek(&self) -> Result<Vec<u8>, AzureError> {
        let what = "VCEK certificate";
        let url = format!("{}/metadata/THIM/amd/certification", self.0);
        let body = ask(what, |http| http.get(url).header("Metadata", "true"))?;
        let form = || AzureError::Metadata { what, reason: MetadataReason::Form };
        let answer: Certification = serde_json::from_slice(&body).map_err(|_| form())?;
        let mut certificates = CertificateDer::pem_slice_iter(answer.vcek.as_bytes());
        match (certificates.next(), certificates.next()) {
            (Some(Ok(der)), None) => Ok(der.to_vec()),
            _ => Err(form()),
        }
    }

    /// The quote over a TDREPORT.
    pub(crate) fn td_quote(&self, td_report: &[u8]) -> Result<Vec<u8>, AzureError> {
        let what = "TD quote";
        let url = format!("{}/acc/tdquote", self.0);
        let request = serde_json::json!({ "report": URL_SAFE.encode(td_report) });
        let body = ask(what, |http| http.post(url).json(&request))?;
        let form = || AzureError::Metadata { what, reason: MetadataReason::Form };
        let answer: TdQuote = serde_json::from_slice(&body).map_err(|_| form())?;
        let quote = URL_SAFE.decode(answer.quote).map_err(|_| form())?;
        if quote.is_empty() { Err(form()) } else { Ok(quote) }
    }
}

/// One request, on a thread of its own with a runtime of its own: the caller may be on a runtime's thread.
fn ask(
    what: &'static str,
    request: impl FnOnce(reqwest::Client) -> RequestBuilder + Send,
) -> Result<Vec<u8>, AzureError> {
    let failed = |reason| AzureError::Metadata { what, reason };
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let client = reqwest::Client::builder()
                .use_preconfigured_tls(no_tls()?)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(TIMEOUT)
                .build();
            match (runtime, client) {
                (Ok(runtime), Ok(client)) => runtime.block_on(send(request(client))),
                _ => Err(MetadataReason::Unreachable),
            }
        });
        asking.join().unwrap_or(Err(MetadataReason::Unreachable))
    });
    asked.map_err(failed)
}

/// The service speaks plain HTTP; the HTTP client wants to know a TLS all the same. It believes nobody.
fn no_tls() -> Result<rustls::ClientConfig, MetadataReason> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| MetadataReason::Unreachable)?;
    Ok(versions.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

async fn send(request: RequestBuilder) -> Result<Vec<u8>, MetadataReason> {
    let mut response = request.send().await.map_err(|_| MetadataReason::Unreachable)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(MetadataReason::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|_| MetadataReason::Unreachable)? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(MetadataReason::TooLong);
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// base64url, written without padding and read with or without it: the documentation shows neither.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Three certificates of AMD's in PEM, or a quote, have 5 to 14 KiB.
const MAX_ANSWER: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests;
