//! ATT-79: what NVIDIA says of the GPUs is asked for at the start where nobody brought it, and renewed from there on.

#[path = "../../../../endorse/tests/endorse/replay.rs"]
#[allow(dead_code)] // the cases of endorse use more of it
mod replay;

use std::path::Path;
use std::time::Duration;

use casemate_endorse::{NvidiaServices, Pace, Settings};
use casemate_sim::nvidia::{Answer, GOOD, Gpu, Hash, Party, Rim, generalized_time, revoked};

use super::*;
use crate::boot::BootError;
use crate::config::GpuSource;
use crate::gpu::{Opened, open};
use replay::{Replay, Reply};

/// The machine's GPUs, for all cases.
static GPUS: LazyLock<[Gpu; 2]> = LazyLock::new(|| [(); 2].map(|()| VENDOR.gpu().unwrap()));

/// GPUs that count how often they were let work.
#[derive(Default)]
struct Machine(AtomicUsize);

impl GpuAttester for Machine {
    fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        GPUS.iter()
            .map(|gpu| Ok(RawGpu { report: gpu.report(nonce)?, chain: gpu.chain_pem().into() }))
            .collect()
    }

    fn let_work(&self, _verified: &VerifiedSet) -> Result<(), GpuError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn anchors(&self) -> NvidiaAnchors {
        NvidiaAnchors::danger_only_pem(&VENDOR.root_pem()).unwrap()
    }
}

/// The serial number in a certificate: behind two lengths of two octets and the version.
fn serial(der: &[u8]) -> &[u8] {
    assert_eq!((&der[8..13], der[13]), (&[0xa0, 3, 2, 1, 2][..], 2));
    &der[15..15 + usize::from(der[14])]
}

/// What the responder says at `now` about the certificate that is asked about; a month long.
fn respond(request: &[u8], now: UnixTime, devices: &[u8]) -> Vec<u8> {
    let vendor = &*VENDOR;
    let shared = [
        (vendor.identity(), vendor.root()),
        (vendor.provisioner(), vendor.identity()),
        (vendor.rim_outer(), vendor.rim_root()),
        (vendor.rim_inner(), vendor.rim_outer()),
        (vendor.rim_signer(), vendor.rim_inner()),
    ];
    let devices_pairs = GPUS.iter().map(|gpu| (gpu.device(), vendor.provisioner()));
    let contains = |part: &[u8]| request.windows(part.len()).any(|window| window == part);
    let asked = |(subject, _): &(&Party, &Party)| contains(serial(subject.der()));
    let (subject, issuer) = shared.into_iter().chain(devices_pairs).find(asked).expect("one of the vendor's");
    let from = generalized_time(UnixTime(now.0 - 3600)).unwrap();
    let until = generalized_time(UnixTime(now.0 + 30 * DAY)).unwrap();
    let is_device = GPUS.iter().any(|gpu| std::ptr::eq(gpu.device(), subject));
    let status = if is_device { devices.to_vec() } else { GOOD.to_vec() };
    // The request ends with its nonce.
    let nonce = Some(request[request.len() - 32..].to_vec());
    let answer =
        Answer { nonce, hash: Hash::Sha384, status, ..Answer::new(subject, issuer, &from, Some(&until)) };
    answer.der().unwrap()
}

const LATER: UnixTime = UnixTime(NOW.0 + 25 * DAY);
const DRIVER_ID: &str = "NV_GPU_DRIVER_GH100_570.10.01";

fn services() -> Replay {
    let rim = |id: &str, rim: &Rim| {
        let document = BASE64_STANDARD.encode(VENDOR.manifest(rim).unwrap());
        let answer = format!(r#"{{"id":"{id}","rim":"{document}","rim_format":"TCG"}}"#);
        (format!("/v1/rim/{id}"), Reply::Body(answer.into_bytes()))
    };
    Replay::start([
        rim(DRIVER_ID, &Rim::driver()),
        rim("NV_GPU_VBIOS_1010_0200_882_96009F0001", &Rim::vbios()),
        ("/".to_owned(), Reply::To(|request| respond(request, NOW, &GOOD))),
    ])
}

fn source(url: &str, cache: &Path) -> PartSource {
    let brief = Duration::from_millis(20);
    let (rim, ocsp) = (url.to_owned(), url.to_owned());
    PartSource::Vendors(Box::new(Settings {
        nvidia: NvidiaServices { rim, ocsp, nonce: true },
        pace: Pace {
            backoff: brief,
            longest_wait: brief,
            patience: Duration::from_millis(100),
            timeout: Duration::from_secs(5),
            ..Pace::default()
        },
        ..Settings::vendors(cache.to_owned())
    }))
}

/// How the start ends, and how often the GPUs were let work.
async fn start(
    said: Option<DocumentDevices>,
    source: &PartSource,
) -> (Result<Arc<Gpus>, &'static str>, usize) {
    let machine = Arc::new(Machine::default());
    let opened = Opened { attester: machine.clone(), policy: policy(2), said };
    // This very user: cases run beside each other, and the user is the whole process's.
    let own = rustix::process::geteuid().as_raw();
    let started = opened.start(source, own, NOW).await.map_err(|error: BootError| error.code());
    (started, machine.0.load(Ordering::SeqCst))
}

#[tokio::test]
async fn what_nobody_brought_is_asked_for_carried_and_renewed() {
    let (services, cache) = (services(), tempfile::tempdir().unwrap());
    let source = source(&services.url(), cache.path());
    let (gpus, let_work) = start(None, &source).await;
    let gpus = gpus.unwrap_or_else(|code| panic!("{code}"));
    assert_eq!(let_work, 1);
    // Two manifests, and answers about seven certificates, each asked for once.
    let targets = services.targets();
    assert_eq!((targets.len(), targets.iter().filter(|target| *target == "/").count()), (9, 7));
    let anchors = Machine::default().anchors();
    let good = |gpus: &Gpus, now| {
        let (_, shown) = gpus.evidence(&NONCE, now).unwrap();
        devices::verify(&shown, 2, policy(2).terms(), &anchors, &NONCE, now).is_ok()
    };
    assert!(good(&gpus, NOW));
    // Another start finds everything in the folder.
    assert!(start(None, &source).await.0.is_ok());
    assert_eq!(services.targets().len(), 9);

    // Two thirds of the answers' time are over.
    let ends = gpus.valid_until();
    services.answer("/", Reply::To(|request| respond(request, LATER, &GOOD)));
    assert!(keep(&gpus, &source, LATER).await.renewed);
    assert!(gpus.valid_until() > ends);
    assert_eq!(gpus.health(LATER).last_error_code, None);
    assert!(good(&gpus, UnixTime(ends.0 + DAY)));
}

#[tokio::test]
async fn without_a_good_word_of_nvidias_gpus_never_work() {
    let cache = || tempfile::tempdir().unwrap();
    let refused = async |services: &Replay, expected: &str| {
        let cache = cache();
        let (started, let_work) = start(None, &source(&services.url(), cache.path())).await;
        assert_eq!((started.err(), let_work), (Some(expected), 0));
    };
    let revoking = services();
    revoking.answer("/", Reply::To(|request| respond(request, NOW, &revoked(Some(1)))));
    refused(&revoking, "ocsp.revoked").await;
    let stale = services();
    stale.answer("/", Reply::To(|request| respond(request, UnixTime(NOW.0 - 40 * DAY), &GOOD)));
    refused(&stale, "ocsp.expired").await;
    let partial = services();
    partial.answer(&format!("/v1/rim/{DRIVER_ID}"), Reply::Status(404, ""));
    refused(&partial, "endorse.not-found").await;
    let folder = cache();
    let (started, let_work) = start(None, &source("http://127.0.0.1:1", folder.path())).await;
    assert_eq!((started.err(), let_work), (Some("endorse.unreachable"), 0));
    // Nobody may be asked.
    let (started, let_work) = start(None, &PartSource::Nobody).await;
    assert_eq!((started.err(), let_work), (Some("ocsp.missing"), 0));
}

#[tokio::test]
async fn what_somebody_brought_is_taken_and_nobody_is_asked() {
    let (services, cache) = (services(), tempfile::tempdir().unwrap());
    let answers = VENDOR.answers(&*GPUS).unwrap();
    let manifests = VENDOR.manifests().unwrap();
    let brought = DocumentDevices::endorsed(
        answers.iter().map(Vec::as_slice),
        manifests.iter().map(|manifest| manifest.as_bytes()),
    );
    let source = source(&services.url(), cache.path());
    assert!(start(Some(brought), &source).await.0.is_ok());
    // Brought and bad is bad: nobody is asked for something better.
    let (started, let_work) = start(Some(DocumentDevices::default()), &source).await;
    assert_eq!((started.err(), let_work), (Some("ocsp.missing"), 0));
    assert!(services.seen().is_empty());
    assert!(open(&GpuSource::None, NOW).unwrap().is_none());
}

/// Nothing of what the services answer is handled as root, and what is kept is the user's, who will renew it. Only root has anything to
/// give up: anybody else asks as himself.
#[test]
fn they_are_asked_as_the_user_that_the_server_becomes() {
    const USER: u32 = 65534;
    if !crate::hardening::tests::alone(
        "gpu::tests::services::they_are_asked_as_the_user_that_the_server_becomes",
    ) {
        return;
    }
    let (services, cache) = (services(), tempfile::tempdir().unwrap());
    std::fs::set_permissions(cache.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let root = rustix::process::geteuid().is_root();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let machine = Arc::new(Machine::default());
    let opened = Opened { attester: machine.clone(), policy: policy(2), said: None };
    let started = runtime.block_on(opened.start(&source(&services.url(), cache.path()), USER, NOW));
    assert!(started.is_ok());
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    let kept = cache.path().join(format!("simulated/nvidia/rim/{DRIVER_ID}.json"));
    let expected = if root { USER } else { owner(cache.path()) };
    assert_eq!((owner(&kept), owner(kept.parent().unwrap())), (expected, expected));
    // Root's rights were there when the GPUs were let work, and are there now.
    assert_eq!((rustix::process::geteuid().is_root(), machine.0.load(Ordering::SeqCst)), (root, 1));
}
