//! DOC-01: what the processor says, and whether it goes with what `serve` would ask.
//!
//! ```text
//! leaf          register                 says
//! 1             ECX bit 31               a hypervisor is there
//! 0x21          EBX, EDX, ECX            "IntelTDX    ": a TD (Intel TDX module base architecture specification)
//! 0x40000000    EBX, ECX, EDX            the hypervisor's signature
//! 0x40000003    EBX bit 22               Hyper-V: this partition knows of isolation
//! 0x4000000c    EBX bits 0 to 3          Hyper-V: 2 is SEV-SNP, 3 is TDX, below a paravisor too
//! 0x8000001f    EAX bit 1, 3, 4          SEV, SEV-ES, SEV-SNP can be used (AMD 24594)
//! MSR c0010131  bit 0, 1, 2              SEV, SEV-ES, SEV-SNP are in use (SEV_STATUS); root only, module msr
//! ```
//!
//! All of it is the hypervisor's word wherever the hypervisor can write it. The evidence proves; this only explains.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::rule::{Check, Rule, plain};
use super::scene::Scene;
use crate::attester::{AttesterError, Shown};

const RULE: Rule = Rule("DOC-01", "tee.processor");

/// This machine's processor.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = std::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// A kind of confidential guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    SevSnp,
    Tdx,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::SevSnp => "AMD SEV-SNP",
            Self::Tdx => "Intel TDX",
        }
    }

    fn driver(self) -> &'static str {
        match self {
            Self::SevSnp => {
                "load the guest driver: `modprobe sev-guest` (Linux 5.19; from 6.7 on with configfs mounted)"
            }
            Self::Tdx => {
                "load the guest driver: `modprobe tdx-guest` (Linux 6.2; from 6.7 on with configfs mounted)"
            }
        }
    }
}

/// What a processor says about confidential computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// Nothing.
    Nothing,
    /// This is such a guest, by this sign.
    Guest(Kind, &'static str),
    /// Such a guest is possible; only root sees whether this is one.
    Offered(Kind),
    /// A guest of SEV or SEV-ES, whose memory is encrypted and which can prove nothing to anybody.
    PlainSev,
    /// A machine that could start such guests.
    Host(Kind),
}

/// The first processor's name.
pub(crate) fn model(scene: &Scene) -> Option<String> {
    let text = scene.read("proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(plain(line.split_once(':')?.1))
}

/// The hypervisor's signature, and what Xen's directory says.
pub(crate) fn hypervisor(scene: &Scene) -> Option<String> {
    let by_directory = scene.read("sys/hypervisor/type").ok().map(|text| plain(&text));
    if !below_hypervisor(scene) {
        return by_directory;
    }
    let [_, b, c, d] = (scene.cpuid)(0x4000_0000, 0);
    let signature = text(&[b, c, d]);
    let known = match signature.as_str() {
        "KVMKVMKVM" => "KVM",
        "Microsoft Hv" => "Hyper-V",
        "XenVMMXenVMM" => "Xen",
        "VMwareVMware" => "VMware",
        "TCGTCGTCGTCG" => "QEMU without acceleration",
        "" => return by_directory.or(Some("unnamed".to_owned())),
        other => return Some(plain(other)),
    };
    Some(known.to_owned())
}

fn below_hypervisor(scene: &Scene) -> bool {
    let [_, _, c, _] = (scene.cpuid)(1, 0);
    c & (1 << 31) != 0
}

/// Registers as text, without the zeros that fill it.
fn text(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|register| register.to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
}

/// Reads the signs, the strongest first.
pub(crate) fn says(scene: &Scene) -> Says {
    let cpuid = &scene.cpuid;
    let flags = flags(scene);
    let flag = |name: &str| flags.iter().any(|flag| flag == name);
    let extended = cpuid(0x8000_0000, 0)[0];
    let sev = if extended >= SEV_LEAF { cpuid(SEV_LEAF, 0)[0] } else { 0 };
    if !below_hypervisor(scene) {
        return match (sev & SNP_BIT != 0, flag("tdx_host_platform")) {
            (true, _) => Says::Host(Kind::SevSnp),
            (false, true) => Says::Host(Kind::Tdx),
            (false, false) => Says::Nothing,
        };
    }
    if let Some(kind) = isolation(scene) {
        return Says::Guest(kind, "Hyper-V's isolation, CPUID 0x4000000c");
    }
    if cpuid(0, 0)[0] >= TDX_LEAF {
        let [_, b, c, d] = cpuid(TDX_LEAF, 0);
        if text(&[b, d, c]) == "IntelTDX    " {
            return Says::Guest(Kind::Tdx, "CPUID 0x21");
        }
    }
    if flag("tdx_guest") {
        return Says::Guest(Kind::Tdx, "/proc/cpuinfo");
    }
    if scene.at("sys/devices/system/cpu/sev/vmpl").exists() {
        return Says::Guest(Kind::SevSnp, "/sys/devices/system/cpu/sev");
    }
    if sev & SEV_BIT == 0 {
        return Says::Nothing;
    }
    match sev_status(scene) {
        Some(status) if status & 0b100 != 0 => Says::Guest(Kind::SevSnp, "SEV_STATUS"),
        Some(status) if status & 0b11 != 0 => Says::PlainSev,
        Some(_) => Says::Nothing,
        None if sev & SNP_BIT != 0 => Says::Offered(Kind::SevSnp),
        None => Says::PlainSev,
    }
}

/// What Hyper-V says of the isolation of its partition.
fn isolation(scene: &Scene) -> Option<Kind> {
    let [highest, b, c, d] = (scene.cpuid)(0x4000_0000, 0);
    let [_, features, ..] = (scene.cpuid)(0x4000_0003, 0);
    if text(&[b, c, d]) != "Microsoft Hv" || highest < 0x4000_000c || features & (1 << 22) == 0 {
        return None;
    }
    match (scene.cpuid)(0x4000_000c, 0)[1] & 0xf {
        2 => Some(Kind::SevSnp),
        3 => Some(Kind::Tdx),
        _ => None,
    }
}

/// The first processor's flags.
fn flags(scene: &Scene) -> Vec<String> {
    let cpuinfo = scene.read("proc/cpuinfo").unwrap_or_default();
    let line = cpuinfo.lines().find(|line| line.starts_with("flags")).and_then(|line| line.split_once(':'));
    line.map(|(_, flags)| flags.split_whitespace().map(ToOwned::to_owned).collect()).unwrap_or_default()
}

fn sev_status(scene: &Scene) -> Option<u64> {
    let mut status = [0; 8];
    let file = File::open(scene.at("dev/cpu/0/msr")).ok()?;
    file.read_exact_at(&mut status, SEV_STATUS).ok()?;
    Some(u64::from_le_bytes(status))
}

/// Whether the processor's word goes with the platform that `serve` would ask, and with whose evidence that made.
pub(crate) fn check(says: Says, shown: &Result<Shown, AttesterError>, made: Option<Kind>) -> Check {
    match (says, shown) {
        (Says::Guest(kind, sign), Ok(_)) => match made {
            Some(other) if other != kind => RULE.fail(
                format!(
                    "the processor says {} ({sign}), the device answers as {}",
                    kind.name(),
                    other.name()
                ),
                "the host shows two platforms: no evidence of such a machine is worth having",
            ),
            _ => RULE.pass(format!("a guest of {} ({sign})", kind.name())),
        },
        (Says::Guest(kind, sign), Err(_)) => RULE.fail(
            format!("a guest of {} ({sign}), but it offers nothing that makes evidence", kind.name()),
            kind.driver(),
        ),
        (Says::Offered(kind), Ok(_)) => RULE.pass(format!("{} can be used by this guest", kind.name())),
        (Says::Offered(kind), Err(_)) => RULE.unknown(
            format!(
                "{} can be used by this guest; whether it is, the processor tells the kernel only",
                kind.name()
            ),
            "load the module msr and run it as root, or look for `SEV-SNP` in the kernel's log",
        ),
        (Says::PlainSev, _) => RULE.fail(
            "a guest of SEV or SEV-ES: its memory is encrypted, and it can prove that to nobody",
            "choose a machine type with SEV-SNP or TDX",
        ),
        (Says::Host(kind), _) => RULE.fail(
            format!("not a guest, but a machine that can start guests of {}", kind.name()),
            "start a confidential VM on it, and run casemate inside",
        ),
        (Says::Nothing, Ok(Shown::Nitro)) => RULE.pass("nothing, as in every Nitro enclave"),
        (Says::Nothing, Ok(_)) => RULE.warn(
            "the processor does not say that this is a confidential VM, though a device does",
            "the evidence decides; an emulated device makes none that a client accepts",
        ),
        (Says::Nothing, Err(_)) => RULE.fail(
            "the processor says nothing of a confidential VM",
            "run it inside a confidential VM (SEV-SNP, TDX) or a Nitro enclave",
        ),
    }
}

const TDX_LEAF: u32 = 0x21;
const SEV_LEAF: u32 = 0x8000_001f;
const SEV_BIT: u32 = 1 << 1;
const SNP_BIT: u32 = 1 << 4;
/// The file's offset is the register's number.
const SEV_STATUS: u64 = 0xc001_0131;
