//! The most memory that one verification has allocated at once: everything that is taken from the C library's allocator, by
//! Rust and by AWS-LC alike, above what was allocated before it. Evidence, endorsements and policy are made before and do
//! not count; copies of them that a verification makes do. Stacks are not counted.
//!
//! The program puts itself before glibc's `malloc` and its relatives, and adds up the sizes that glibc says it gave.
//!
//! Settings: `CASEMATE_VECTORS` (`../shared/vectors` beside the workspace). What is not recorded there is not measured. It
//! ends with an error where something takes 1 MiB or more.

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

use casemate_attest::nvidia::{
    GpuEvidence, GpuRevocation, Manifest, NvidiaAnchors, NvidiaEndorsements, verify_gpu,
};
use casemate_attest::{Endorsements, Evidence, IssuerCache, Revocation, TrustAnchors, UnixTime, verify};
use casemate_bench::print_json;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

const LIMIT: isize = 1 << 20;

/// Name, evidence, the files of its endorsements, time.
const CASES: [(&str, &str, &[&str], u64); 7] = [
    (
        "sev-snp",
        "snp/clerk_genoa/report.bin",
        &["snp/clerk_genoa/vcek_chain.pem", "roots/amd/genoa_crl.der"],
        1_748_736_000,
    ),
    ("tdx, TD 1.0", "tdx/dcap-qvl/tdx_quote.bin", &["tdx/dcap-qvl/tdx_quote_collateral.json"], 1_751_000_000),
    (
        "tdx, TD 1.5",
        "tdx/go-tdx-guest/quote_v5_sample.dat",
        &["tdx/dcap-qvl/tdx_quote_outdated_collateral.json"],
        1_772_400_000,
    ),
    (
        "tdx, TD 1.5 extended",
        "tdx/dcap-qvl/tdx_quote_td15ex.bin",
        &["tdx/dcap-qvl/tdx_quote_td15ex_collateral.json"],
        1_792_000_000,
    ),
    ("aws-nitro", "nitro/cose/nitro_attest_attestation.cbor", &[], 1_736_179_625),
    ("gce-vtpm", "gcp/vtpm/gce-cos-85-nonce9009.pb", &["roots/gcp/tpm_ek_intermediate_2.crt"], 1_640_995_200),
    (
        "nvidia, with its VBIOS's manifest",
        "nvidia/attestation-sdk/sample_attestation_data/gpu/hopperAttestationReport.txt",
        &[
            "nvidia/attestation-sdk/sample_attestation_data/gpu/hopperCertChain.txt",
            "nvidia/rim_vbios/1010_0200_882_96005E0001_PROD.swidtag",
        ],
        1_748_779_200,
    ),
];

fn main() {
    println!(
        "memory: most bytes allocated at once by one verification, above what was allocated before it\n"
    );
    println!("{:34} {:>10} {:>14} {:>10}", "", "peak", "input", "limit");
    let mut peaks = Map::new();
    for (name, evidence, files, now) in CASES {
        let read = |path: &str| std::fs::read(vectors().join(path)).ok();
        let (Some(evidence), Some(files)) =
            (read(evidence), files.iter().map(|path| read(path)).collect::<Option<Vec<_>>>())
        else {
            println!("{name:34} not measured: no recorded evidence at hand");
            continue;
        };
        let input: usize = evidence.len() + files.iter().map(Vec::len).sum::<usize>();
        let mut show = |name: String, peak: isize| {
            println!("{name:34} {peak:10} {input:14} {LIMIT:10}");
            peaks.insert(name, json!(peak));
        };
        if name.starts_with("nvidia") {
            show(name.to_owned(), gpu(&evidence, &files, UnixTime(now)));
            continue;
        }
        show(name.to_owned(), platform(name, &evidence, &files, UnixTime(now)));
        if name == "tdx, TD 1.0" || name == "sev-snp" {
            // The first fills the cache, which stays.
            let cache = Arc::new(IssuerCache::new());
            let fills = cache.during(|| platform(name, &evidence, &files, UnixTime(now)));
            show(format!("{name}, filling an issuer cache"), fills);
            show(
                format!("{name}, with an issuer cache"),
                cache.during(|| platform(name, &evidence, &files, UnixTime(now))),
            );
        }
    }
    println!();
    print_json("memory", json!({ "peak_bytes": peaks, "limit_bytes": LIMIT }));
    let too_much = peaks.values().filter_map(Value::as_i64).any(|peak| peak >= LIMIT as i64);
    assert!(!too_much, "a verification takes 1 MiB or more");
}

fn vectors() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from)
}

/// The embedded roots are parsed before, once in a process.
fn platform(name: &str, evidence: &[u8], files: &[Vec<u8>], now: UnixTime) -> isize {
    let waived = || Revocation::DangerNotChecked { reason: "none is recorded".to_owned() };
    let endorsements = match (name, files) {
        ("sev-snp", [chain, crl]) => {
            let vek = CertificateDer::from_pem_slice(chain).expect("PEM").to_vec();
            Endorsements::snp(vek, Revocation::Crl(crl.clone()))
        }
        ("aws-nitro", []) => Endorsements::nitro(waived()),
        ("gce-vtpm", [intermediate]) => Endorsements::gce_vtpm(vec![intermediate.clone()], waived()),
        (_, [collateral]) => Endorsements::tdx(collateral.clone()),
        _ => unreachable!("{name}"),
    };
    let work = || {
        let evidence = Evidence::parse(evidence).expect("evidence");
        let authentic = verify(&evidence, &endorsements, &TrustAnchors::vendors(), now).expect("genuine");
        assert!(!authentic.claims().platform().as_str().is_empty());
    };
    drop(TrustAnchors::vendors());
    peak(work)
}

fn gpu(report: &[u8], files: &[Vec<u8>], now: UnixTime) -> isize {
    let report = hex::decode(report.trim_ascii()).expect("hexadecimal");
    let [chain, rim] = files else { unreachable!("two files") };
    let waived = || GpuRevocation::DangerNotChecked { reason: "no answer was recorded".to_owned() };
    let anchors = NvidiaAnchors::nvidia();
    let endorsements = NvidiaEndorsements { revocation: waived() };
    let work = || {
        let manifest = Manifest::verify(rim, &waived(), &anchors, now).expect("a manifest");
        let evidence = GpuEvidence::parse(&report, chain).expect("evidence");
        drop((verify_gpu(&evidence, &endorsements, &anchors, now).expect("genuine"), manifest));
    };
    peak(work)
}

// === Counting ===

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// The most that is allocated while this works, above what was before.
fn peak(work: impl FnOnce()) -> isize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

fn add(pointer: *mut c_void) -> *mut c_void {
    // SAFETY: glibc gave the pointer, or it is null, which has no size.
    let size = unsafe { malloc_usable_size(pointer) } as isize;
    PEAK.fetch_max(LIVE.fetch_add(size, Relaxed) + size, Relaxed);
    pointer
}

fn subtract(pointer: *mut c_void) {
    // SAFETY: as above.
    LIVE.fetch_sub(unsafe { malloc_usable_size(pointer) } as isize, Relaxed);
}

unsafe extern "C" {
    fn malloc_usable_size(pointer: *mut c_void) -> usize;
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
    fn __libc_free(pointer: *mut c_void);
}

/// # Safety
/// As `malloc` of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    add(unsafe { __libc_malloc(size) })
}

/// # Safety
/// As `calloc` of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    add(unsafe { __libc_calloc(count, size) })
}

/// # Safety
/// As `realloc` of C. While glibc moves a block, old and new exist together; that moment is counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: glibc gave the pointer, or it is null, which has no size.
    let old = unsafe { malloc_usable_size(pointer) } as isize;
    // SAFETY: the caller's.
    let moved = unsafe { __libc_realloc(pointer, size) };
    if !moved.is_null() {
        add(moved);
    }
    if !moved.is_null() || size == 0 {
        LIVE.fetch_sub(old, Relaxed);
    }
    moved
}

/// # Safety
/// As `free` of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(pointer: *mut c_void) {
    subtract(pointer);
    // SAFETY: the caller's.
    unsafe { __libc_free(pointer) }
}

/// # Safety
/// As `aligned_alloc` of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    add(unsafe { __libc_memalign(alignment, size) })
}

/// # Safety
/// As `posix_memalign` of POSIX.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    const ENOMEM: c_int = 12;
    // SAFETY: the caller's; `out` points to a pointer.
    let pointer = unsafe { __libc_memalign(alignment, size) };
    if pointer.is_null() {
        return ENOMEM;
    }
    // SAFETY: as above.
    unsafe { *out = add(pointer) };
    0
}
