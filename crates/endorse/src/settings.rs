//! Which services, how patiently, and where the cache is.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::error::EndorseError;

/// How endorsements are fetched. Addresses are `https`, or `http` to this machine or to Azure's metadata service (END-09).
#[derive(Debug, Clone)]
pub struct Settings {
    /// AMD's Key Distribution Service, or a mirror of it.
    pub kds: String,
    /// Intel's service, or a cache in front of it.
    pub intel: IntelService,
    /// Azure's metadata service, asked for the VCEK instead of AMD's; only inside a virtual machine of Azure.
    pub thim: Option<String>,
    /// NVIDIA's services, or caches in front of them.
    pub nvidia: NvidiaServices,
    /// A mirror of the hosts that have AWS's and Google's revocation lists, asked instead of them: `/{host}/{path}` below it.
    pub lists: Option<String>,
    /// Certificate authorities (PEM) of the services' TLS instead of Mozilla's.
    pub authorities: Option<Vec<u8>>,
    /// An HTTP proxy, `http://HOST:PORT`, through which every service is reached but those of this machine and Azure's metadata
    /// service. With `https` it sees which hosts are asked, and nothing else.
    pub proxy: Option<String>,
    /// The cache folder.
    pub cache: PathBuf,
    /// Use nothing but the cache folder.
    pub offline: bool,
    /// Ask anew for what is in the cache folder and past [`casemate_attest::endorse::Dated::renewal`], though it is in date
    /// (END-23); a service that cannot be reached is then an error.
    pub renew: bool,
    /// How patiently.
    pub pace: Pace,
}

/// Who has NVIDIA's manifests, and who answers about its certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvidiaServices {
    /// `/v1/rim/{id}` below it.
    pub rim: String,
    /// OCSP requests are posted to it.
    pub ocsp: String,
    /// Whether a nonce is sent, which the answer must repeat. A cache in front of the responder cannot: then the answer's
    /// dates alone say how old it may be, as they do for every answer that was kept.
    pub nonce: bool,
}

/// Who has Intel's collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntelService {
    /// Intel: the service, and the address below which the root's revocation list is.
    Pcs {
        /// API version 4 below it.
        service: String,
        /// `IntelSGXRootCA.der` below it.
        certificates: String,
    },
    /// A provisioning certificate caching service: everything at one address.
    Pccs(String),
}

/// How patiently.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Least time between two requests to AMD's service.
    pub interval: Duration,
    /// To which host that applies.
    pub host: &'static str,
    /// First wait after a refusal that names no time; doubled each time.
    pub backoff: Duration,
    /// Longest single wait.
    pub longest_wait: Duration,
    /// All waits of one fetch together.
    pub patience: Duration,
    /// For one whole answer.
    pub timeout: Duration,
    /// For the whole fetch, however many answers it needs.
    pub whole: Duration,
}

impl Settings {
    /// The vendors' own services, with this cache folder.
    pub fn vendors(cache: PathBuf) -> Self {
        Self {
            kds: AMD_KDS.to_owned(),
            intel: IntelService::Pcs {
                service: INTEL_PCS.to_owned(),
                certificates: INTEL_CERTIFICATES.to_owned(),
            },
            thim: None,
            nvidia: NvidiaServices { rim: NVIDIA_RIM.to_owned(), ocsp: NVIDIA_OCSP.to_owned(), nonce: true },
            lists: None,
            authorities: None,
            proxy: None,
            cache,
            offline: false,
            renew: false,
            pace: Pace::default(),
        }
    }

    /// `$XDG_CACHE_HOME/casemate/endorsements`, or the same below `$HOME/.cache`, given the two variables.
    pub fn cache_folder(xdg_cache_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
        let base = xdg_cache_home.filter(|path| path.is_absolute());
        let base = base.or_else(|| Some(home.filter(|path| path.is_absolute())?.join(".cache")))?;
        Some(base.join("casemate").join("endorsements"))
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            // AMD answers about one request in ten seconds from one address (spec/endorse.md §5).
            interval: Duration::from_secs(10),
            host: "kdsintf.amd.com",
            backoff: Duration::from_secs(10),
            longest_wait: Duration::from_secs(120),
            // A pipeline's step, not a night: whoever needs longer runs it again, and the cache remembers what it has.
            patience: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            // Eight GPUs and four switches need about fifty answers, each of a fraction of a second.
            whole: Duration::from_secs(900),
        }
    }
}

/// An address below which paths are asked for, without a slash at its end.
pub(super) fn base(url: &str) -> Result<String, EndorseError> {
    let refused = || EndorseError::Address { url: url.to_owned() };
    let parsed = Url::parse(url).map_err(|_| refused())?;
    let host = parsed.host_str().ok_or_else(refused)?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let plain = parsed.scheme() == "http" && (here || host == METADATA_HOST);
    let bare = parsed.query().is_none()
        && parsed.fragment().is_none()
        && parsed.username().is_empty()
        && parsed.password().is_none();
    if !bare || !(parsed.scheme() == "https" || plain) {
        return Err(refused());
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// A proxy's address: a host and a port, and nothing that would be ignored.
pub(super) fn proxy(url: &str) -> Result<reqwest::Proxy, EndorseError> {
    let refused = || EndorseError::Proxy { url: url.to_owned() };
    let parsed = Url::parse(url).map_err(|_| refused())?;
    let bare = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.path() == "/"
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    if parsed.scheme() != "http" || parsed.host_str().is_none() || !bare {
        return Err(refused());
    }
    let proxy = reqwest::Proxy::all(parsed).map_err(|_| refused())?;
    Ok(proxy.no_proxy(reqwest::NoProxy::from_string(NOT_PROXIED)))
}

/// What is on this machine, or answers this machine only.
const NOT_PROXIED: &str = "localhost,127.0.0.0/8,::1,169.254.169.254";

/// AMD 57230 §4.
const AMD_KDS: &str = "https://kdsintf.amd.com";
/// Intel SGX and TDX services, API version 4.
const INTEL_PCS: &str = "https://api.trustedservices.intel.com";
/// The distribution point in Intel's root certificate.
const INTEL_CERTIFICATES: &str = "https://certificates.trustedservices.intel.com";
/// NVIDIA's attestation documentation, "RIM Guide".
const NVIDIA_RIM: &str = "https://rim.attestation.nvidia.com";
/// NVIDIA's attestation documentation, "OCSP Service".
const NVIDIA_OCSP: &str = "https://ocsp.ndis.nvidia.com";
/// Azure's instance metadata service; the same link-local address in every virtual machine.
pub(super) const METADATA_HOST: &str = "169.254.169.254";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EndorseKind;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for good in
            ["http://proxy.example:3128", "http://127.0.0.1:8001/", "http://[::1]:3128", "http://proxy"]
        {
            assert!(proxy(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "proxy.example:3128",
            "https://proxy.example:3128",
            "socks5://proxy.example:1080",
            "http://user@proxy.example",
            "http://user:secret@proxy.example",
            "http://proxy.example/path",
            "http://proxy.example/?a=b",
            "http://proxy.example/#a",
        ] {
            let error = proxy(bad).expect_err(bad);
            assert_eq!((error.code(), error.kind()), ("endorse.proxy", EndorseKind::Usage), "{bad}");
        }
    }

    #[test]
    fn plain_http_only_to_this_machine_and_the_metadata_service() {
        for good in [
            "https://kdsintf.amd.com",
            "https://pccs.example:8081/",
            "https://pccs.example/mirror",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost:1",
            "http://169.254.169.254",
        ] {
            assert_eq!(base(good).expect(good), good.trim_end_matches('/'));
        }
        for bad in [
            "http://kdsintf.amd.com",
            "http://169.254.169.253",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://user@kdsintf.amd.com",
            "https://:secret@kdsintf.amd.com",
            "https://kdsintf.amd.com/?a=b",
            "https://kdsintf.amd.com/#a",
            "kdsintf.amd.com",
            "file:///etc/passwd",
            "",
        ] {
            assert_eq!(base(bad).expect_err(bad).code(), "endorse.address", "{bad}");
        }
    }

    #[test]
    fn the_cache_folder_follows_the_xdg_base_directories() {
        let path = |text: &str| Some(PathBuf::from(text));
        let expected = |text: &str| Some(PathBuf::from(text));
        assert_eq!(Settings::cache_folder(path("/x"), path("/h")), expected("/x/casemate/endorsements"));
        assert_eq!(Settings::cache_folder(None, path("/h")), expected("/h/.cache/casemate/endorsements"));
        assert_eq!(
            Settings::cache_folder(path("x"), path("/h")),
            expected("/h/.cache/casemate/endorsements")
        );
        assert_eq!(Settings::cache_folder(path(""), None), None);
        assert_eq!(Settings::cache_folder(None, None), None);
    }
}
