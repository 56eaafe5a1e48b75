//! Fetches endorsements: what the vendors say about the key that signed evidence (spec/endorse.md). A crate of its own,
//! because two roles need it (`casemate endorse fetch` and `casemate serve`) and roles do not know each other: this is the
//! one place that talks to the vendors' services.
//!
//! [`fetch`] asks the services that the evidence names, politely and through a cache folder, verifies the evidence with what
//! it got, and only then gives out a bundle. Everything that is believed is signed by the vendor; the network is not trusted.

mod amd;
mod cache;
mod error;
mod http;
mod intel;
mod lists;
mod nvidia;
mod pace;
mod reach;
mod settings;

use casemate_attest::endorse::{Dated, EndorsementBundle, Needs};
use casemate_attest::nvidia::{GpuEvidence, NvidiaAnchors};
use casemate_attest::snp::ProductLine;
use casemate_attest::{Check, Evidence, Outcome, TrustAnchors, UnixTime, verify};

pub use error::{EndorseError, EndorseKind};
pub use reach::{Reached, reach};
pub use settings::{IntelService, NvidiaServices, Pace, Settings};

use cache::Cache;
use http::Http;

/// What the person knows beyond the evidence.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The product line of a version 2 report, which does not name it.
    pub line: Option<ProductLine>,
    /// The VCEK's or VLEK's certificate, DER, where the machine gave it; a VLEK cannot be had elsewhere.
    pub vek: Option<Vec<u8>>,
    /// Of a GCE virtual TPM: the certificates above that of the attestation key, from its issuer up, DER.
    pub ak_chain: Option<Vec<Vec<u8>>>,
    /// Why a certificate that lives longer than a day may name no revocation list (attest.md §5.7).
    pub danger_unlisted: Option<String>,
}

/// Endorsements with which the evidence verified.
#[derive(Debug)]
pub struct Fetched {
    /// For a file.
    pub bundle: EndorsementBundle,
    /// Whose evidence it was: a platform's name, or `nvidia`.
    pub platform: &'static str,
    /// Last second at which the evidence is genuine with it.
    pub valid_until: UnixTime,
    /// Rules that did not hold, and what was decided about them: their number, and what was compared.
    pub waived: Vec<(&'static str, String)>,
    /// Every endorsement and where it came from.
    pub items: Vec<Item>,
    /// Whether the trust anchors were a simulator's.
    pub simulated: bool,
}

/// One endorsement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name in the cache.
    pub name: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where an endorsement came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A service, now.
    Service,
    /// The cache folder.
    Cache,
    /// The person who called.
    Given,
}

/// Something that a person who waits wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The next request may not be sent yet.
    Waiting {
        /// The service.
        host: String,
        /// Seconds.
        seconds: u64,
    },
    /// A file of the cache is not what was written, and is fetched again.
    Damaged {
        /// Its name in the cache.
        name: String,
    },
}

/// Fetches what `evidence` needs, verifies it under `anchors` at `now`, and returns the bundle (END-01 to END-14).
/// `notify` is told of waits over two seconds.
///
/// # Errors
/// Whatever could not be had or did not verify, by name. There is no bundle then.
pub async fn fetch(
    evidence: &Evidence,
    known: &Known,
    anchors: &TrustAnchors,
    now: UnixTime,
    settings: &Settings,
    notify: &(dyn Fn(&Notice) + Sync),
) -> Result<Fetched, EndorseError> {
    let needs = Needs::of(evidence, known.line)?;
    let mut collector = Collector::new(settings, notify, anchors.simulated(), now)?;
    let (bundle, unkept) = match &needs {
        Needs::Amd(needs) => {
            (amd::collect(&mut collector, evidence, needs, known, anchors).await?, Vec::new())
        }
        Needs::Intel(needs) => intel::collect(&mut collector, needs).await?,
        Needs::Lists(needs) => lists::collect(&mut collector, evidence, needs, known, anchors).await?,
        _ => return Err(EndorseError::Platform { platform: evidence.platform() }),
    };
    let mut endorsements = bundle.endorsements(evidence)?;
    if let Some(reason) = &known.danger_unlisted {
        endorsements = endorsements.danger_unlisted(reason.clone());
    }
    let authentic = verify(evidence, &endorsements, anchors, now)?;
    // Only now is it known that the vendor signed them.
    for (name, answer) in unkept {
        collector.keep(&name, &answer)?;
    }
    Ok(Fetched {
        bundle,
        platform: evidence.platform().as_str(),
        valid_until: authentic.valid_until(),
        waived: waived(authentic.checks()),
        items: collector.items,
        simulated: authentic.simulated(),
    })
}

/// As [`fetch`], for NVIDIA GPUs and switches: the manifests of their firmware, and answers about the certificates of both.
///
/// # Errors
/// Whatever could not be had or did not verify, by name. There is no bundle then.
pub async fn fetch_devices(
    devices: &[GpuEvidence],
    anchors: &NvidiaAnchors,
    now: UnixTime,
    settings: &Settings,
    notify: &(dyn Fn(&Notice) + Sync),
) -> Result<Fetched, EndorseError> {
    let mut collector = Collector::new(settings, notify, anchors.simulated(), now)?;
    let collected = nvidia::collect(&mut collector, devices, anchors).await?;
    Ok(Fetched {
        bundle: collected.bundle,
        platform: "nvidia",
        valid_until: collected.valid_until,
        waived: Vec::new(),
        items: collector.items,
        simulated: anchors.simulated(),
    })
}

fn waived(checks: &[Check]) -> Vec<(&'static str, String)> {
    let waived = checks.iter().filter(|check| check.outcome == Outcome::Waived);
    waived.map(|check| (check.rule.id, check.compared.clone())).collect()
}

/// A service's answer, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// Where it came from; for people.
    url: String,
    body: Vec<u8>,
    /// The value of the one header that belongs to the answer, decoded; empty where none does.
    header: String,
}

/// What is asked of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    /// The answer's name in the cache.
    name: String,
    url: String,
    /// The header of the answer that belongs to it.
    header: Option<&'static str>,
    question: Question,
}

/// How it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    /// GET.
    Get,
    /// GET with the header that Azure's metadata service asks for.
    Metadata,
    /// POST of an OCSP request (RFC 6960 appendix A.1).
    Ocsp(Vec<u8>),
}

/// Where an answer that is checked was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// In the cache folder.
    Kept,
    /// A service gave it to this very request.
    Now,
}

/// What a check says of an answer.
enum Fault {
    /// Good at another time or for another verifier: the service may have a better one.
    Stale(EndorseError),
    /// The evidence's fault, or never good.
    Wrong(EndorseError),
}

struct Collector<'a> {
    http: Http<'a>,
    cache: Cache,
    settings: &'a Settings,
    notify: &'a (dyn Fn(&Notice) + Sync),
    now: UnixTime,
    /// Before every name in the cache.
    place: &'static str,
    items: Vec<Item>,
}

impl<'a> Collector<'a> {
    fn new(
        settings: &'a Settings,
        notify: &'a (dyn Fn(&Notice) + Sync),
        simulated: bool,
        now: UnixTime,
    ) -> Result<Self, EndorseError> {
        Ok(Self {
            http: Http::new(settings, notify)?,
            cache: Cache::new(&settings.cache),
            settings,
            notify,
            now,
            // A simulated vendor's answers are never found in a real vendor's place.
            place: if simulated { "simulated/" } else { "" },
            items: Vec::new(),
        })
    }

    /// The answer from the cache, where it is there and in date, or else from the service (END-05 to END-08). What came from
    /// the service is checked, and not kept yet: the flag says that it is new.
    async fn get<T>(
        &mut self,
        request: &Request,
        check: impl Fn(&Answer) -> Result<T, Fault>,
    ) -> Result<(T, Answer, bool), EndorseError> {
        self.renew(request, |answer, _| check(answer), |_| false).await
    }

    /// As [`Collector::get`], of what has dates: where that is wanted, a kept answer past its renewal is asked for anew, and
    /// one that is older than the kept one is refused and not kept (END-23, END-24).
    async fn get_dated<T>(
        &mut self,
        request: &Request,
        check: impl Fn(&Answer) -> Result<(T, Dated), Fault>,
    ) -> Result<(T, Answer, bool), EndorseError> {
        let (renew, now) = (self.settings.renew, self.now);
        let kept = match self.cache.read(&format!("{}{}", self.place, request.name)) {
            Ok(Some(answer)) => check(&answer).ok().map(|(_, dated)| dated),
            _ => None,
        };
        let ageing = |(_, dated): &(T, Dated)| renew && dated.renewal() <= now;
        let ((good, dated), answer, new) = self.renew(request, |answer, _| check(answer), ageing).await?;
        match kept {
            Some(kept) if dated.from < kept.from => Err(EndorseError::Older {
                name: request.name.clone(),
                service: request.url.clone(),
                found: dated.from,
                kept: kept.from,
            }),
            _ => Ok((good, answer, new)),
        }
    }

    /// As [`Collector::get`]. A kept answer that is `ageing` is asked for anew where anybody may be asked, and serves where
    /// the service cannot be reached (END-18).
    async fn renew<T>(
        &mut self,
        request: &Request,
        check: impl Fn(&Answer, Found) -> Result<T, Fault>,
        ageing: impl Fn(&T) -> bool,
    ) -> Result<(T, Answer, bool), EndorseError> {
        let name = &format!("{}{}", self.place, request.name);
        let mut kept = None;
        let missing = match self.cache.read(name) {
            Ok(Some(answer)) => match check(&answer, Found::Kept) {
                Ok(good) if self.settings.offline || !ageing(&good) => {
                    self.items.push(Item { name: name.clone(), origin: Origin::Cache });
                    return Ok((good, answer, false));
                }
                Ok(good) => {
                    kept = Some((good, answer, false));
                    EndorseError::CacheStale { name: name.clone() }
                }
                Err(Fault::Stale(_)) => EndorseError::CacheStale { name: name.clone() },
                Err(Fault::Wrong(error)) => return Err(error),
            },
            Ok(None) => EndorseError::CacheMissing { name: name.clone() },
            Err(error @ EndorseError::CacheDamaged { .. }) => {
                (self.notify)(&Notice::Damaged { name: name.clone() });
                error
            }
            Err(error) => return Err(error),
        };
        if self.settings.offline {
            return Err(missing);
        }
        let answer = match (self.http.get(request).await, kept) {
            (Ok(answer), _) => answer,
            (Err(error), Some(kept)) if error.kind() == EndorseKind::Unreachable && !self.settings.renew => {
                self.items.push(Item { name: name.clone(), origin: Origin::Cache });
                return Ok(kept);
            }
            (Err(error), _) => return Err(error),
        };
        match check(&answer, Found::Now) {
            Ok(good) => {
                self.items.push(Item { name: name.clone(), origin: Origin::Service });
                Ok((good, answer, true))
            }
            Err(Fault::Stale(error) | Fault::Wrong(error)) => Err(error),
        }
    }

    fn keep(&self, name: &str, answer: &Answer) -> Result<(), EndorseError> {
        self.cache.write(&format!("{}{name}", self.place), answer)
    }
}
