//! TLS to a server whose identity is its evidence, not a certificate authority.
//!
//! The first handshake records the server's key; every later one must show the same key. Nothing confidential is sent
//! until the evidence was found to bind that key (spec/channel.md, CH-5).

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme,
};

/// Remembers the one key that this client's connections end at, where they must all end at one.
#[derive(Debug)]
pub(crate) struct OneKey {
    /// Whether a later handshake may show another key: what is sealed is safe wherever the connection ends.
    any: bool,
    provider: Arc<CryptoProvider>,
    spki_sha256: OnceLock<[u8; 32]>,
}

impl OneKey {
    pub(crate) fn new() -> Arc<Self> {
        Self::or_any(false)
    }

    /// For the sealed channel: connections end at whatever key a load balancer has.
    pub(crate) fn any() -> Arc<Self> {
        Self::or_any(true)
    }

    fn or_any(any: bool) -> Arc<Self> {
        let provider = Arc::new(provider::default_provider());
        Arc::new(Self { any, provider, spki_sha256: OnceLock::new() })
    }

    /// SHA-256 of the SubjectPublicKeyInfo of the key, once a handshake has shown it.
    pub(crate) fn spki_sha256(&self) -> Option<[u8; 32]> {
        self.spki_sha256.get().copied()
    }

    /// A TLS 1.3 configuration whose connections all end at this key.
    pub(crate) fn client_config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_no_client_auth();
        // A resumed session would not show its key again.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

impl ServerCertVerifier for OneKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let spki = certificate.subject_public_key_info();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki.as_ref());
        let mut shown = [0u8; 32];
        shown.copy_from_slice(digest.as_ref());
        if self.any || *self.spki_sha256.get_or_init(|| shown) == shown {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    /// The peer holds the private half of the key that its certificate shows.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
