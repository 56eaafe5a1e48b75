//! Which of the services answer at all (spec/doctor.md, DOC-51): for a person who wants to know before evidence is there.

use std::time::Duration;

use reqwest::Url;
use tokio::task::JoinSet;

use super::error::EndorseError;
use super::http::client;
use super::settings::{IntelService, Settings, base};

/// A service and what it said.
#[derive(Debug)]
pub struct Reached {
    /// Which: `amd-kds`, `intel-pcs`, `intel-certificates`, `intel-pccs`, `nvidia-rim`, `nvidia-ocsp`, `azure-thim`.
    pub service: &'static str,
    /// Its host.
    pub host: String,
    /// The status of its answer, whatever it is: whoever answers is reached.
    pub answer: Result<u16, EndorseError>,
}

/// Asks every service of `settings` for the head of its address, all at once, each for `limit` at most. Nothing about any
/// evidence is sent, and no cache is used.
///
/// # Errors
/// An address that is none, or authorities that are none.
pub async fn reach(settings: &Settings, limit: Duration) -> Result<Vec<Reached>, EndorseError> {
    let client = client(settings)?;
    let mut asked = JoinSet::new();
    for (order, (service, address)) in services(settings).into_iter().enumerate() {
        let refused = || EndorseError::Address { url: address.clone() };
        let url = Url::parse(&base(&address)?).map_err(|_| refused())?;
        let host = url.host_str().ok_or_else(refused)?.to_owned();
        let sending = client.head(url).timeout(limit).send();
        asked.spawn(async move {
            let answer = match sending.await {
                Ok(response) => Ok(response.status().as_u16()),
                Err(error) if error.is_timeout() => {
                    Err(EndorseError::Timeout { host: host.clone(), seconds: limit.as_secs() })
                }
                Err(error) => {
                    Err(EndorseError::Unreachable { host: host.clone(), source: error.without_url() })
                }
            };
            (order, Reached { service, host, answer })
        });
    }
    let mut reached = asked.join_all().await;
    reached.sort_by_key(|(order, _)| *order);
    Ok(reached.into_iter().map(|(_, reached)| reached).collect())
}

fn services(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut services = vec![("amd-kds", settings.kds.clone())];
    match &settings.intel {
        IntelService::Pcs { service, certificates } => {
            services.push(("intel-pcs", service.clone()));
            services.push(("intel-certificates", certificates.clone()));
        }
        IntelService::Pccs(service) => services.push(("intel-pccs", service.clone())),
    }
    services.push(("nvidia-rim", settings.nvidia.rim.clone()));
    services.push(("nvidia-ocsp", settings.nvidia.ocsp.clone()));
    services.extend(settings.thim.iter().map(|thim| ("azure-thim", thim.clone())));
    services
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn ask(settings: &Settings, limit: Duration) -> Result<Vec<Reached>, EndorseError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(reach(settings, limit))
    }

    /// Every service at this address.
    fn all_at(address: &str) -> Settings {
        let mut settings = Settings::vendors("/nonexistent".into());
        settings.kds = address.to_owned();
        settings.intel = IntelService::Pccs(address.to_owned());
        settings.nvidia.rim = address.to_owned();
        settings.nvidia.ocsp = address.to_owned();
        settings
    }

    fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/mirror", listener.local_addr().expect("its address"));
        (listener, address)
    }

    #[test]
    fn whoever_answers_is_reached_and_told_nothing() {
        let (listener, address) = listener();
        let served = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for status in ["200 OK", "404 Not Found", "429 Too Many Requests", "307 Moved"] {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut request = [0; 2048];
                let len = stream.read(&mut request).expect("a request");
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nlocation: http://192.0.2.1/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                )
                .expect("answered");
                requests.push(String::from_utf8_lossy(&request[..len]).into_owned());
            }
            requests
        });
        let reached = ask(&all_at(&address), LIMIT).expect("asked");
        let names: Vec<_> = reached.iter().map(|reached| reached.service).collect();
        assert_eq!(names, ["amd-kds", "intel-pccs", "nvidia-rim", "nvidia-ocsp"]);
        let mut statuses: Vec<_> =
            reached.iter().map(|reached| *reached.answer.as_ref().expect("answered")).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 307, 404, 429]);
        for request in served.join().expect("served") {
            assert!(request.starts_with("HEAD /mirror HTTP/1.1\r\n"), "{request}");
        }
    }

    #[test]
    fn silence_and_nobody_have_their_names() {
        // Accepts and says nothing.
        let (silent, address) = listener();
        let settings = all_at(&address);
        let late = ask(&settings, Duration::from_millis(300)).expect("asked");
        assert!(late.iter().all(|it| it.answer.as_ref().is_err_and(|e| e.code() == "endorse.timeout")));
        drop(silent);
        let nobody = ask(&settings, LIMIT).expect("asked");
        assert!(nobody.iter().all(|it| it.answer.as_ref().is_err_and(|e| e.code() == "endorse.unreachable")));
    }

    #[test]
    fn an_address_that_is_none_is_asked_nothing() {
        let error = ask(&all_at("http://kdsintf.amd.com"), LIMIT).expect_err("plain HTTP");
        assert_eq!(error.code(), "endorse.address");
    }

    #[test]
    fn the_vendors_own_services_are_five() {
        let named = services(&Settings::vendors("/nonexistent".into()));
        let mut hosts: Vec<_> = named.iter().map(|(name, _)| *name).collect();
        hosts.dedup();
        assert_eq!(hosts, ["amd-kds", "intel-pcs", "intel-certificates", "nvidia-rim", "nvidia-ocsp"]);
    }
}
