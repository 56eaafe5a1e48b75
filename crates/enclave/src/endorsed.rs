//! The part of the boot that is about endorsements, and what goes on after it (spec/stapling.md).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use casemate_endorse::{IntelService, NvidiaServices, Settings};

use crate::attestation::{AttestationService, RESTAPLE};
use crate::attester::Attester;
use crate::boot::BootError;
use crate::clock::Clock;
use crate::config::{EndorsementProxy, EndorsementSource, GpuSource, ServeConfig, VtpmSource};
use crate::gpu::Gpus;
use crate::staple::{Part, PartSource, Source, Stapler, keep, read_bundle};
use crate::transport::forward;
use crate::vtpm::Vtpm;

/// What was written about endorsements, with every file read. Within the runtime: a way over vsock is opened.
pub(crate) fn source(config: &ServeConfig) -> Result<Source, BootError> {
    match &config.endorsements {
        EndorsementSource::Machine => Ok(Source::Given(Box::default())),
        EndorsementSource::File(path) => {
            // What is wrong with it is said at the start, and not where the machine's own evidence is checked with it.
            read_bundle(path)?;
            Ok(Source::File(path.clone()))
        }
        EndorsementSource::Vendors { cache, kds, pccs, crl_mirror, nvidia, proxy, authorities } => {
            let mut settings = Settings::vendors(cache.clone());
            settings.kds = kds.clone().unwrap_or(settings.kds);
            settings.intel = pccs.clone().map_or(settings.intel, IntelService::Pccs);
            settings.lists = crl_mirror.clone();
            settings.nvidia = NvidiaServices {
                rim: nvidia.rim.clone().unwrap_or(settings.nvidia.rim),
                ocsp: nvidia.ocsp.clone().unwrap_or(settings.nvidia.ocsp),
                nonce: nvidia.nonce,
            };
            settings.proxy = match proxy {
                None => None,
                Some(EndorsementProxy::Http(url)) => Some(url.clone()),
                // Whatever the fetcher says over TCP goes on over vsock: TLS is above both.
                Some(EndorsementProxy::Vsock(to)) => {
                    Some(format!("http://{}", forward(*to).map_err(BootError::Forward)?))
                }
            };
            let read = |path: &PathBuf| {
                let unreadable = |_| BootError::File { path: path.clone(), reason: "it cannot be read" };
                std::fs::read(path).map_err(unreadable)
            };
            settings.authorities = authorities.as_ref().map(read).transpose()?;
            Ok(Source::Vendors(Box::new(settings)))
        }
    }
}

/// Makes the folders for the user who will write into them. One that is there stays its owner's.
pub(crate) fn hand_over_folders(config: &ServeConfig) -> Result<(), BootError> {
    let cache = match &config.endorsements {
        EndorsementSource::Vendors { cache, .. } => Some(cache),
        EndorsementSource::Machine | EndorsementSource::File(_) => None,
    };
    let user = Some(config.user);
    for folder in [cache, config.receipt_folder.as_ref()].into_iter().flatten() {
        if folder.exists() {
            continue;
        }
        let made =
            std::fs::create_dir_all(folder).and_then(|()| std::os::unix::fs::chown(folder, user, user));
        let reason = "it cannot be made and handed over";
        made.map_err(|_| BootError::File { path: folder.clone(), reason })?;
    }
    Ok(())
}

/// The first set; with it the machine's own evidence is what every client wants to see (STAPLE-03).
pub(crate) async fn first(attester: Arc<dyn Attester>, source: Source) -> Result<Stapler, BootError> {
    let now = Clock::system().now().ok_or(BootError::Clock)?;
    let anchors = attester.anchors();
    let stapler = Stapler::start(attester, source, anchors, now).await?;
    let valid_until = stapler.staples().health(now).valid_until;
    tracing::info!(valid_until = valid_until.0, "own evidence verified with its endorsements");
    Ok(stapler)
}

/// Keeps the endorsements in date, for as long as the server runs (STAPLE-05).
pub(crate) async fn renew(stapler: Stapler, service: Arc<AttestationService>) {
    let clock = Clock::system();
    loop {
        // A clock that tells no time renews nothing; what it serves is refused by then.
        let wait = match clock.now() {
            None => RESTAPLE,
            Some(now) => {
                let step = stapler.step(now).await;
                if step.renewed {
                    restaple(&service).await;
                }
                Duration::from_secs(step.wait)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Where newer endorsements of the GPUs come from: the vendors' services where they may be asked, else the file.
pub(crate) fn of_gpus(config: &ServeConfig, source: &Source) -> PartSource {
    match (&config.gpus, source) {
        (GpuSource::None | GpuSource::Simulated { .. }, _) => PartSource::Nobody,
        (GpuSource::Hardware { .. }, Source::Vendors(settings)) => PartSource::Vendors(settings.clone()),
        (GpuSource::Hardware { endorsements: Some(path), .. }, _) => PartSource::File(path.clone()),
        (GpuSource::Hardware { endorsements: None, .. }, _) => PartSource::Nobody,
    }
}

/// As [`of_gpus`], of the virtual TPM.
pub(crate) fn of_vtpm(config: &ServeConfig, source: &Source) -> PartSource {
    match (&config.vtpm, source) {
        (VtpmSource::None, _) => PartSource::Nobody,
        (VtpmSource::Google { .. }, Source::Vendors(settings)) => PartSource::Vendors(settings.clone()),
        (VtpmSource::Google { endorsements, .. }, _) => PartSource::File(endorsements.clone()),
    }
}

/// Keeps the endorsements of what stands beside the processor in date (STAPLE-11).
pub(crate) async fn renew_parts(
    gpus: Option<(Arc<Gpus>, PartSource)>,
    vtpm: Option<(Arc<Vtpm>, PartSource)>,
    service: Arc<AttestationService>,
) {
    tokio::join!(renew_part(gpus, &service), renew_part(vtpm, &service));
}

async fn renew_part<P: Part + 'static>(
    part: Option<(Arc<P>, PartSource)>,
    service: &Arc<AttestationService>,
) {
    let Some((part, source)) = part else { return };
    let clock = Clock::system();
    loop {
        let wait = match clock.now() {
            None => RESTAPLE,
            Some(now) => {
                let step = keep(&part, &source, now).await;
                if step.renewed {
                    restaple(service).await;
                }
                Duration::from_secs(step.wait)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Makes the document without a nonce anew (STAPLE-09).
pub(crate) async fn renew_document(service: Arc<AttestationService>) {
    loop {
        tokio::time::sleep(RESTAPLE).await;
        restaple(&service).await;
    }
}

async fn restaple(service: &Arc<AttestationService>) {
    let service = service.clone();
    // May block on a device.
    match tokio::task::spawn_blocking(move || service.restaple()).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::warn!(code = e.code(), "attestation document not renewed"),
        Err(_) => tracing::error!(code = "attestation.failed", "attestation document not renewed"),
    }
}
