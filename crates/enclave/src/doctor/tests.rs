//! A machine of the tests' own: a directory in place of `/`, a processor and a kernel that say what a case wants. One case for
//! each rule in each direction that it has (spec/doctor.md).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use casemate_attest::Platform;

use super::gpu::Driver;
use super::kernel::Calls;
use super::rule::Rule;
use super::*;
use crate::attester::{AttesterError, AzureReport, QuoteService, Roots, Shown, Stand, Tried};
use crate::gpu::State;

type Leaves = HashMap<(u32, u32), [u32; 4]>;

/// A machine. Its directory is removed with it.
struct Made(Scene);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.root);
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A confidential VM of SEV-SNP on KVM with everything as it should be, but without its device.
fn good() -> Made {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("casemate-doctor-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    let at = |path: &str| root.join(path);
    let roots = Roots {
        nsm: at("dev/nsm"),
        chassis_asset_tag: at("sys/class/dmi/id/chassis_asset_tag"),
        tpm: at("dev/tpmrm0"),
        azure_metadata: "http://127.0.0.1:1".into(),
        azure_report: AzureReport::Exchange,
        tsm: at("sys/kernel/config/tsm/report"),
        sev_guest: at("dev/sev-guest"),
        tdx_guest: at("dev/tdx_guest"),
        confidential_space: at("run/container_launcher/teeserver.sock"),
        tpm_event_log: at("sys/kernel/security/tpm0/binary_bios_measurements"),
        quote_service: QuoteService::Socket(at("run/qgs")),
    };
    let made = Made(Scene {
        roots,
        root,
        cpuid: Box::new(|_, _| [0; 4]),
        calls: Calls { synchronised: Ok(true), landlock: Ok(6), secret_memory: Ok(()) },
        driver: || panic!("no GPU, no driver"),
        now: clock::THIS_VERSION + 86_400,
        patience: Duration::from_secs(20),
        asked: Asked::default(),
    });
    for (path, text) in [
        ("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
        (
            "proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         8388608              8388608              bytes\n",
        ),
        (
            "proc/meminfo",
            "MemTotal: 24 kB\nHugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n",
        ),
        (
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\nflags\t\t: tdx_guest\n",
        ),
        ("proc/sys/kernel/osrelease", "6.12.0\n"),
        ("proc/sys/kernel/core_pattern", "core\n"),
        ("proc/sys/kernel/seccomp/actions_avail", "kill_process kill_thread trap errno trace log allow\n"),
        ("sys/kernel/kexec_crash_loaded", "0\n"),
        ("sys/class/dmi/id/sys_vendor", "Example\u{1b}[31m\u{7} Inc.\n"),
        ("sys/class/dmi/id/product_name", &"x".repeat(4000)),
        ("sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086\n"),
        ("sys/bus/pci/devices/0000:00:00.0/class", "0x060000\n"),
        ("dev/empty", ""),
    ] {
        made.write(path, text);
    }
    made.say(leaves(&[SEV_STATUS_LEAF]))
}

impl Made {
    fn write(&self, path: &str, text: &str) {
        let path = self.0.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.0.at(path)).unwrap();
    }

    /// What no user may read, root neither: a directory in a file's place.
    fn unreadable(&self, path: &str) {
        self.remove(path);
        fs::create_dir(self.0.at(path)).unwrap();
    }

    fn say(mut self, leaves: Leaves) -> Self {
        self.0.cpuid =
            Box::new(move |leaf, subleaf| leaves.get(&(leaf, subleaf)).copied().unwrap_or_default());
        self
    }

    fn find(&self, id: &str) -> Check {
        let checks = self.0.examine().checks;
        checks.into_iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no check {id}"))
    }

    #[track_caller]
    fn ends(&self, id: &str, outcome: Outcome) -> Check {
        let check = self.find(id);
        assert_eq!(check.outcome, outcome, "{check:?}");
        check
    }
}

/// Hypervisor bit, KVM's signature, and as much as a case adds.
fn leaves(more: &[((u32, u32), [u32; 4])]) -> Leaves {
    let word = |text: &[u8]| u32::from_le_bytes(text.try_into().unwrap());
    let mut leaves = Leaves::from([
        ((0, 0), [0x1f, 0, 0, 0]),
        ((1, 0), [0, 0, 1 << 31, 0]),
        ((0x4000_0000, 0), [0x4000_0001, word(b"KVMK"), word(b"VMKV"), word(b"M\0\0\0")]),
        ((0x8000_0000, 0), [0x8000_0028, 0, 0, 0]),
    ]);
    leaves.extend(more.iter().copied());
    leaves
}

/// SEV, SEV-ES and SEV-SNP can be used.
const SEV_STATUS_LEAF: ((u32, u32), [u32; 4]) = ((0x8000_001f, 0), [0b11010, 0, 0, 0]);

fn hyper_v(isolation: u32) -> Leaves {
    let word = |text: &[u8]| u32::from_le_bytes(text.try_into().unwrap());
    leaves(&[
        ((0x4000_0000, 0), [0x4000_000c, word(b"Micr"), word(b"osof"), word(b"t Hv")]),
        ((0x4000_0003, 0), [0, 1 << 22, 0, 0]),
        ((0x4000_000c, 0), [1, isolation, 0, 0]),
    ])
}

fn td() -> Leaves {
    let word = |text: &[u8]| u32::from_le_bytes(text.try_into().unwrap());
    leaves(&[((0, 0), [0x21, 0, 0, 0]), ((0x21, 0), [0, word(b"Inte"), word(b"    "), word(b"lTDX")])])
}

// === the whole ===

#[test]
fn without_a_device_no_tee_is_found_and_every_rule_answers_once() {
    let Diagnosis { machine, checks } = good().0.examine();
    let ids: Vec<_> = checks.iter().map(|check| (check.rule, &*check.id)).collect();
    assert_eq!(
        ids,
        [
            ("DOC-01", "tee.processor"),
            ("DOC-02", "tee.platform"),
            ("DOC-03", "tee.evidence"),
            ("DOC-10", "memory.swap"),
            ("DOC-11", "memory.lock-limit"),
            ("DOC-12", "memory.huge-pages"),
            ("DOC-13", "memory.secret"),
            ("DOC-20", "crash.core-dumps"),
            ("DOC-21", "crash.kernel-dumps"),
            ("DOC-22", "confinement.landlock"),
            ("DOC-23", "confinement.seccomp"),
            ("DOC-30", "clock.sane"),
            ("DOC-31", "clock.synchronised"),
            ("DOC-40", "gpu.confidential"),
        ]
    );
    let [processor, platform, evidence, rest @ ..] = &checks[..] else { panic!("three") };
    assert_eq!((platform.outcome, platform.code), (Outcome::Fail, Some("attester.no-device")));
    assert_eq!((processor.outcome, evidence.outcome), (Outcome::Unknown, Outcome::Unknown));
    for check in rest {
        assert_eq!((check.outcome, &check.hint), (Outcome::Pass, &None), "{check:?}");
    }
    assert!(checks.iter().all(|check| check.hint.is_some() == (check.outcome != Outcome::Pass)));
    assert_eq!(machine.kernel.as_deref(), Some("6.12.0"));
    assert_eq!(machine.processor.as_deref(), Some("AMD EPYC"));
    assert_eq!((machine.hypervisor.as_deref(), machine.gpus), (Some("KVM"), Some(0)));
    // The host's words do not steer a terminal, nor flood it.
    assert_eq!(machine.vendor.as_deref(), Some("Example[31m Inc."));
    assert_eq!(machine.product.map(|product| product.len()), Some(240));
}

#[test]
fn a_machine_that_makes_evidence_is_ready() {
    let stand = Stand::new("doctor");
    stand.respond("sev_guest\n");
    let mut made = good();
    made.0.roots.tsm = stand.roots().tsm;
    let checks = made.0.examine().checks;
    for check in &checks {
        assert_eq!(check.outcome, Outcome::Pass, "{check:?}");
    }
    let of = |id: &str| checks.iter().find(|check| check.id == id).unwrap().found.clone();
    assert!(of("tee.evidence").starts_with("1184 bytes of "), "{}", of("tee.evidence"));
    assert!(of("tee.platform").contains("configfs-tsm"));
    assert!(of("device.configfs-tsm").contains("casemate-tsm-doctor"));
}

#[test]
fn nothing_at_all_is_never_a_pass() {
    let made = good();
    fs::remove_dir_all(&made.0.root).unwrap();
    for check in made.0.examine().checks {
        let by_call = ["memory.secret", "confinement.landlock", "clock.sane", "clock.synchronised"];
        if !by_call.contains(&&*check.id) {
            assert_ne!(check.outcome, Outcome::Pass, "{check:?}");
        }
    }
}

#[test]
fn the_rules_are_those_of_the_specification() {
    let specification = include_str!("../../../../spec/doctor.md");
    let mut specified: Vec<(String, String)> = Vec::new();
    for row in specification.lines().filter_map(|line| line.strip_prefix("| **")) {
        let (rule, rest) = row.split_once("** | ").unwrap();
        let ids = rest.split(" | ").next().unwrap().split(", ");
        specified.extend(ids.map(|id| (rule.to_owned(), id.trim_matches('`').to_owned())));
    }
    let made = good();
    // Something at each device's place.
    for path in ["dev/nsm", "dev/tpmrm0", "dev/sev-guest", "dev/tdx_guest", "sys/kernel/config/tsm/report"] {
        made.write(path, "");
    }
    let mut checks = made.0.examine().checks;
    checks.sort_by_key(|check| check.rule);
    let services = ["amd-kds", "intel-pcs", "intel-certificates", "nvidia-rim", "nvidia-ocsp"];
    let network = services.map(|service| endorsement_service(service, "host", Ok(200)));
    let broker = ("DOC-50".to_owned(), "network.broker".to_owned());
    let named = |check: &Check| (check.rule.to_owned(), check.id.to_string());
    let written: Vec<_> = checks.iter().map(named).chain([broker]).chain(network.iter().map(named)).collect();
    assert_eq!(written, specified);
}

// === DOC-01 ===

#[test]
fn the_processors_signs_are_read() {
    use processor::{Kind, Says};
    let says = |made: &Made| processor::says(&made.0);
    let guest = |says: Says, kind: Kind| matches!(says, Says::Guest(found, _) if found == kind);
    assert_eq!(says(&good()), Says::Offered(Kind::SevSnp));
    assert!(guest(says(&good().say(td())), Kind::Tdx));
    assert!(guest(says(&good().say(hyper_v(2))), Kind::SevSnp));
    assert!(guest(says(&good().say(hyper_v(3))), Kind::Tdx));
    // Virtualisation-based isolation proves nothing to anybody outside.
    assert_eq!(says(&good().say(hyper_v(1))), Says::Nothing);
    assert_eq!(says(&good().say(hyper_v(0))), Says::Nothing);
    // Another hypervisor's leaf of that number says nothing.
    let kvm = leaves(&[((0x4000_0003, 0), [0, 1 << 22, 0, 0]), ((0x4000_000c, 0), [1, 2, 0, 0])]);
    assert_eq!(says(&good().say(kvm)), Says::Nothing);
    // One wrong letter, and a leaf beyond the highest.
    let mut near = td();
    near.entry((0x21, 0)).and_modify(|leaf| leaf[1] ^= 1);
    assert_eq!(says(&good().say(near)), Says::Nothing);
    let mut beyond = td();
    beyond.insert((0, 0), [0x20, 0, 0, 0]);
    assert_eq!(says(&good().say(beyond)), Says::Nothing);
    // The flags are the first processor's; the second's have `tdx_guest` in every case here.
    let flagged = good().say(leaves(&[]));
    assert_eq!(says(&flagged), Says::Nothing);
    flagged.write("proc/cpuinfo", "flags\t\t: fpu tdx_guest hypervisor\n");
    assert!(guest(says(&flagged), Kind::Tdx));
    let listed = good();
    listed.write("sys/devices/system/cpu/sev/vmpl", "0\n");
    assert!(guest(says(&listed), Kind::SevSnp));
    // SEV without SNP.
    assert_eq!(says(&good().say(leaves(&[((0x8000_001f, 0), [0b1010, 0, 0, 0])]))), Says::PlainSev);
    // A host has the same leaf, and no hypervisor above it.
    let host = good().say(leaves(&[SEV_STATUS_LEAF, ((1, 0), [0; 4])]));
    assert_eq!(says(&host), Says::Host(Kind::SevSnp));
    let host = good().say(leaves(&[((1, 0), [0; 4])]));
    host.write("proc/cpuinfo", "flags\t\t: fpu tdx_host_platform\n");
    assert_eq!(says(&host), Says::Host(Kind::Tdx));
}

#[test]
fn sev_status_decides_where_root_can_read_it() {
    use processor::{Kind, Says};
    for (status, expected) in [
        (0b111_u64, Says::Guest(Kind::SevSnp, "SEV_STATUS")),
        (0b011, Says::PlainSev),
        (0b001, Says::PlainSev),
        (0, Says::Nothing),
    ] {
        let made = good();
        made.write("dev/cpu/0/msr", "");
        let file = fs::OpenOptions::new().write(true).open(made.0.at("dev/cpu/0/msr")).unwrap();
        file.write_all_at(&status.to_le_bytes(), 0xc001_0131).unwrap();
        assert_eq!(processor::says(&made.0), expected, "{status:b}");
    }
}

#[test]
fn the_processors_word_is_held_against_the_device() {
    use processor::{Kind, Says, check};
    let snp = Says::Guest(Kind::SevSnp, "a sign");
    let none = || Err(AttesterError::NoDevice);
    let cases = [
        (snp, Ok(Shown::Tsm), Some(Kind::SevSnp), Outcome::Pass),
        (snp, Ok(Shown::Azure), None, Outcome::Pass),
        (snp, Ok(Shown::Tsm), Some(Kind::Tdx), Outcome::Fail),
        (snp, none(), None, Outcome::Fail),
        (Says::Guest(Kind::Tdx, "a sign"), none(), None, Outcome::Fail),
        (Says::Offered(Kind::SevSnp), Ok(Shown::Tsm), None, Outcome::Pass),
        (Says::Offered(Kind::SevSnp), none(), None, Outcome::Unknown),
        (Says::PlainSev, none(), None, Outcome::Fail),
        (Says::PlainSev, Ok(Shown::Tsm), None, Outcome::Fail),
        (Says::Host(Kind::Tdx), none(), None, Outcome::Fail),
        (Says::Nothing, Ok(Shown::Nitro), None, Outcome::Pass),
        (Says::Nothing, Ok(Shown::Tsm), Some(Kind::SevSnp), Outcome::Warn),
        (Says::Nothing, none(), None, Outcome::Fail),
    ];
    for (index, (says, shown, made, outcome)) in cases.into_iter().enumerate() {
        assert_eq!(check(says, &shown, made).outcome, outcome, "case {index}");
    }
    let driver = check(Says::Guest(Kind::Tdx, "a sign"), &none(), None).hint.unwrap();
    assert!(driver.contains("tdx-guest"), "{driver}");
}

// === DOC-02, DOC-03 ===

#[test]
fn half_a_platform_fails_by_name() {
    let made = good();
    made.write("sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n");
    let check = made.ends("tee.platform", Outcome::Fail);
    assert_eq!(check.code, Some("attester.half-present"));
    assert!(check.found.contains("virtual TPM"), "{check:?}");
    assert_eq!(made.find("tee.evidence").outcome, Outcome::Unknown);
}

#[test]
fn a_platform_that_makes_no_evidence_fails_with_serves_own_code() {
    let made = good();
    made.write("dev/nsm", "");
    assert_eq!(made.find("tee.platform").outcome, Outcome::Pass);
    let check = made.ends("tee.evidence", Outcome::Fail);
    assert_eq!(check.code, Some("attester.nsm.kernel"));
    assert_eq!(made.find("device.nsm").outcome, Outcome::Fail);
}

#[test]
fn evidence_ends_in_each_way() {
    let denied = || io::Error::from_raw_os_error(libc::EACCES);
    let open = |source| AttesterError::Device { what: "make", path: "/sys/x".into(), source };
    let service = || crate::TsmError::QuoteService { source: io::Error::from_raw_os_error(libc::ENXIO) };
    let tried = |bytes| Ok(Tried { platform: Platform::Tdx, bytes });
    let cases = [
        (tried(Some(5000)), Outcome::Pass, None),
        (tried(None), Outcome::Warn, None),
        (Err(service().into()), Outcome::Fail, Some("attester.tsm.quote-service")),
        (Err(AttesterError::Echo), Outcome::Fail, Some("attester.echo")),
        (Err(open(denied())), Outcome::Unknown, Some("attester.device")),
        (Err(open(io::Error::from_raw_os_error(libc::EIO))), Outcome::Fail, Some("attester.device")),
        (
            Err(crate::TsmError::Refused { attribute: "inblob", source: denied() }.into()),
            Outcome::Unknown,
            Some("attester.tsm.refused"),
        ),
        (Err(crate::NsmError::Kernel(denied()).into()), Outcome::Unknown, Some("attester.nsm.kernel")),
        (Err(AttesterError::Busy { what: "x", attempts: 8 }), Outcome::Unknown, Some("attester.busy")),
        (Err(AttesterError::Timeout { seconds: 1 }), Outcome::Unknown, Some("attester.timeout")),
    ];
    for (index, (tried, outcome, code)) in cases.into_iter().enumerate() {
        let check = tee::evidence(Some(&tried), Duration::from_secs(1));
        assert_eq!((check.outcome, check.code), (outcome, code), "case {index}");
    }
    assert_eq!(tee::evidence(None, Duration::ZERO).outcome, Outcome::Unknown);
}

/// A device that never answers does not keep the person waiting.
#[test]
fn a_device_that_hangs_is_unknown() {
    let stand = Stand::new("doctor-hangs");
    stand.respond("sev_guest\n");
    let mut made = good();
    made.0.roots.tsm = stand.roots().tsm;
    made.0.patience = Duration::ZERO;
    let check = made.ends("tee.evidence", Outcome::Unknown);
    assert_eq!(check.code, Some("attester.timeout"));
}

// === DOC-04 ===

#[test]
fn a_device_is_one_and_is_not_for_everybody() {
    let made = good();
    // /dev/null is a device that everybody may write to.
    symlink("/dev/null", made.0.at("dev/tpmrm0")).unwrap();
    assert!(made.ends("device.tpm", Outcome::Warn).found.contains("666"));
    made.write("dev/tdx_guest", "");
    made.ends("device.tdx-guest", Outcome::Fail);
    made.write("sys/kernel/config/tsm/report", "");
    made.ends("device.configfs-tsm", Outcome::Fail);
    let rule = Rule("DOC-04", "device.sev-guest");
    let judge =
        |mode, opened| devices::judge(rule, "/dev/sev-guest", devices::Found::Device { mode }, &opened);
    let error = |number| Err(io::Error::from_raw_os_error(number));
    assert_eq!(judge(0o600, Ok(())).outcome, Outcome::Pass);
    assert_eq!(judge(0o660, Ok(())).outcome, Outcome::Pass);
    assert_eq!(judge(0o602, Ok(())).outcome, Outcome::Warn);
    assert_eq!(judge(0o600, error(libc::EACCES)).outcome, Outcome::Unknown);
    assert_eq!(judge(0o600, error(libc::ENXIO)).outcome, Outcome::Fail);
    // The directory of configfs-tsm is none of these.
    let report = Rule("DOC-04", "device.configfs-tsm");
    assert_eq!(devices::judge(report, "/x", devices::Found::Directory, &Ok(())).outcome, Outcome::Pass);
    let device = devices::Found::Device { mode: 0o600 };
    assert_eq!(devices::judge(report, "/x", device, &Ok(())).outcome, Outcome::Fail);
    assert_eq!(devices::judge(rule, "/x", devices::Found::Directory, &Ok(())).outcome, Outcome::Fail);
}

// === DOC-10 to DOC-13 ===

#[test]
fn swap() {
    let made = good();
    made.write("proc/swaps", "Filename Type Size Used Priority\n/dev/dm-1 partition 8 0 -2\n");
    let check = made.ends("memory.swap", Outcome::Fail);
    assert_eq!((check.code, check.found.contains("/dev/dm-1")), (Some("boot.swap-on"), true));
    // An empty file is not the kernel's word that there is none.
    made.write("proc/swaps", "");
    made.ends("memory.swap", Outcome::Unknown);
    made.unreadable("proc/swaps");
    made.ends("memory.swap", Outcome::Unknown);
}

#[test]
fn the_limit_of_locked_memory() {
    let made = good();
    for (soft, outcome) in
        [("unlimited", Outcome::Pass), ("4096", Outcome::Pass), ("4095", Outcome::Fail), ("0", Outcome::Fail)]
    {
        made.write(
            "proc/self/limits",
            &format!("Max locked memory         {soft}     unlimited     bytes\n"),
        );
        made.ends("memory.lock-limit", outcome);
    }
    made.write("proc/self/limits", "Max locked memory         much\n");
    made.ends("memory.lock-limit", Outcome::Unknown);
    made.write("proc/self/limits", "Max processes 5 5 processes\n");
    made.ends("memory.lock-limit", Outcome::Unknown);
    made.unreadable("proc/self/limits");
    made.ends("memory.lock-limit", Outcome::Unknown);
}

#[test]
fn reserved_huge_pages() {
    let made = good();
    made.write("proc/meminfo", "HugePages_Free:      512\nHugepagesize:       2048 kB\n");
    assert!(made.ends("memory.huge-pages", Outcome::Warn).found.contains("1024 MiB"));
    // A kernel without them says nothing of them; half of it is no form of the kernel's.
    made.write("proc/meminfo", "MemTotal: 24 kB\n");
    made.ends("memory.huge-pages", Outcome::Pass);
    made.write("proc/meminfo", "HugePages_Free:      512\n");
    made.ends("memory.huge-pages", Outcome::Unknown);
    made.unreadable("proc/meminfo");
    made.ends("memory.huge-pages", Outcome::Unknown);
}

fn error<T>(number: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(number))
}

#[test]
fn secret_memory() {
    let mut made = good();
    made.0.calls.secret_memory = error(libc::ENOSYS);
    made.ends("memory.secret", Outcome::Warn);
    made.0.calls.secret_memory = error(libc::EPERM);
    made.ends("memory.secret", Outcome::Unknown);
}

// === DOC-20 to DOC-23 ===

#[test]
fn dumps_of_programs_and_of_the_kernel() {
    let made = good();
    made.write("proc/sys/kernel/core_pattern", "|/usr/lib/systemd/systemd-coredump %P %u\n");
    assert!(
        made.ends("crash.core-dumps", Outcome::Warn).found.ends_with("/usr/lib/systemd/systemd-coredump")
    );
    made.unreadable("proc/sys/kernel/core_pattern");
    made.ends("crash.core-dumps", Outcome::Unknown);
    made.write("sys/kernel/kexec_crash_loaded", "1\n");
    made.ends("crash.kernel-dumps", Outcome::Fail);
    made.write("sys/kernel/kexec_crash_loaded", "");
    made.ends("crash.kernel-dumps", Outcome::Fail);
    made.remove("sys/kernel/kexec_crash_loaded");
    made.ends("crash.kernel-dumps", Outcome::Pass);
    made.write("sys/kernel/kexec_crash_loaded", "");
    made.unreadable("sys/kernel/kexec_crash_loaded");
    made.ends("crash.kernel-dumps", Outcome::Unknown);
}

#[test]
fn landlock() {
    let mut made = good();
    for number in [libc::ENOSYS, libc::EOPNOTSUPP] {
        made.0.calls.landlock = error(number);
        made.ends("confinement.landlock", Outcome::Fail);
    }
    made.0.calls.landlock = error(libc::EPERM);
    made.ends("confinement.landlock", Outcome::Unknown);
}

#[test]
fn seccomp() {
    let (made, path) = (good(), "proc/sys/kernel/seccomp/actions_avail");
    made.write(path, "kill_thread trap errno trace allow\n");
    made.ends("confinement.seccomp", Outcome::Fail);
    made.remove(path);
    made.ends("confinement.seccomp", Outcome::Fail);
    fs::create_dir(made.0.at(path)).unwrap();
    made.ends("confinement.seccomp", Outcome::Unknown);
}

// === DOC-30, DOC-31 ===

#[test]
fn the_clock() {
    let mut made = good();
    for (now, outcome) in [
        (0, Outcome::Fail),
        (clock::THIS_VERSION - 1, Outcome::Fail),
        (clock::THIS_VERSION, Outcome::Pass),
        (u64::MAX, Outcome::Fail),
    ] {
        made.0.now = now;
        made.ends("clock.sane", outcome);
    }
    made.0.calls.synchronised = Ok(false);
    made.ends("clock.synchronised", Outcome::Warn);
    made.0.calls.synchronised = error(libc::EPERM);
    made.ends("clock.synchronised", Outcome::Unknown);
}

// === DOC-40 ===

#[test]
fn nvidias_gpus_are_found_on_the_bus() {
    let mut made = good();
    let device = |name: &str, vendor: &str, class: &str| {
        made.write(&format!("sys/bus/pci/devices/{name}/vendor"), vendor);
        made.write(&format!("sys/bus/pci/devices/{name}/class"), class);
    };
    device("0000:01:00.0", "0x10de\n", "0x030200\n");
    device("0000:02:00.0", "0x10de\n", "0x030000\n");
    // A switch of NVIDIA's, a GPU of somebody else's.
    device("0000:03:00.0", "0x10de\n", "0x068000\n");
    device("0000:04:00.0", "0x1002\n", "0x030200\n");
    made.0.driver = || Driver::None;
    assert_eq!(made.0.machine().gpus, Some(2));
    assert!(made.ends("gpu.confidential", Outcome::Warn).found.contains("no NVIDIA driver"));
    made.0.driver = || panic!("a fault of a library");
    made.ends("gpu.confidential", Outcome::Unknown);
    made.write("sys/bus/pci/devices/0000:05:00.0/vendor", "0x10de\n");
    made.ends("gpu.confidential", Outcome::Unknown);
    fs::remove_dir_all(made.0.at("sys/bus/pci")).unwrap();
    assert!(made.ends("gpu.confidential", Outcome::Pass).found.contains("no NVIDIA GPU"));
    fs::remove_dir_all(made.0.at("sys/bus")).unwrap();
    made.ends("gpu.confidential", Outcome::Unknown);
}

#[test]
fn what_the_driver_says_of_confidential_computing() {
    let on = State { on: true, protected_pcie: false, developer: false, ready: true };
    let pcie = State { on: false, protected_pcie: true, ..on };
    let cases = [
        (Driver::State(on), Outcome::Pass, "is on and ready"),
        (Driver::State(State { on: false, protected_pcie: true, ..on }), Outcome::Pass, "protected PCIe"),
        (Driver::Protected(pcie, Ok(4)), Outcome::Pass, "with 4 switches"),
        (Driver::Protected(pcie, Err("gpu.switch-open")), Outcome::Warn, "(gpu.switch-open)"),
        (
            Driver::Protected(State { ready: false, ..pcie }, Err("gpu.no-switch-driver")),
            Outcome::Warn,
            "(gpu.no-switch-driver)",
        ),
        (Driver::Protected(State { ready: false, ..pcie }, Ok(4)), Outcome::Warn, "no work"),
        (Driver::Protected(State { developer: true, ..pcie }, Ok(4)), Outcome::Warn, "can be read"),
        (Driver::State(State { on: false, ..on }), Outcome::Warn, "is off"),
        (Driver::State(State { developer: true, ..on }), Outcome::Warn, "can be read"),
        (Driver::State(State { ready: false, ..on }), Outcome::Warn, "no work"),
        (Driver::NotSupported, Outcome::Warn, "no confidential computing"),
        (Driver::None, Outcome::Warn, "no NVIDIA driver"),
        (Driver::Refuses("no permission".into()), Outcome::Unknown, "no permission"),
    ];
    for (driver, outcome, found) in cases {
        let check = gpu::judge(1, &driver);
        assert_eq!(check.outcome, outcome, "{driver:?}");
        assert!(check.found.contains(found), "{check:?}");
    }
    assert_eq!(gpu::stopped().outcome, Outcome::Unknown);
}

/// What this very machine is, is not known here; that every check that is no pass says what to do is.
#[test]
fn this_machine_is_looked_at() {
    let Diagnosis { machine, checks } = examine(Asked::default());
    assert!(machine.kernel.is_some() && machine.processor.is_some());
    assert!(checks.len() >= 14);
    assert!(checks.iter().all(|check| check.hint.is_some() == (check.outcome != Outcome::Pass)));
    assert_eq!(checks.iter().find(|check| check.id == "clock.sane").unwrap().outcome, Outcome::Pass);
}
