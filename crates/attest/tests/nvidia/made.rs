//! Cases over a made-up vendor: the comparison with manifests, one mistake at a time.

use std::sync::LazyLock;

use casemate_attest::nvidia::{
    Architecture, AuthenticGpu, GpuEvidence, GpuRevocation, Manifest, NvidiaEndorsements, NvidiaPolicy,
    VerifiedGpu, verify_gpu,
};
use casemate_attest::{Danger, Expected, OcspResponse, Policy, UnixTime};
use casemate_sim::nvidia::{Answer, Report, Rim, VBIOS};

use crate::Case;
use crate::vendor::{NONCE, NOON, VENDOR, Vendor, good_answer, good_report, response};

/// One machine; a case changes one thing.
pub(crate) struct Machine {
    pub(crate) report: Report,
    pub(crate) manifests: Vec<Rim>,
    pub(crate) device_answers: GpuRevocation,
    pub(crate) manifest_answers: GpuRevocation,
    pub(crate) policy: NvidiaPolicy,
}

fn any<T>() -> Expected<T> {
    Expected::any("a test of one rule")
}

fn waived() -> GpuRevocation {
    GpuRevocation::DangerNotChecked { reason: "a test of another rule".to_owned() }
}

pub(crate) fn allow() -> Danger {
    Danger::Allow { reason: "a test of one rule".to_owned() }
}

fn no_reason() -> Danger {
    Danger::Allow { reason: " ".to_owned() }
}

impl Machine {
    pub(crate) fn good() -> Self {
        Self {
            report: good_report(),
            manifests: vec![Rim::driver(), Rim::vbios()],
            device_answers: waived(),
            manifest_answers: waived(),
            policy: NvidiaPolicy {
                architectures: vec![Architecture::Hopper],
                firmware_id_missing: Danger::Refuse,
                certificate_hold: Danger::Refuse,
                driver_manifest_missing: Danger::Refuse,
                vbios_manifest_missing: Danger::Refuse,
                device: any(),
                driver_version: any(),
                vbios_version: any(),
                measurements: any(),
            },
        }
    }

    /// The outcome of NV-19 and what it compared, or a code.
    pub(crate) fn answer(&self) -> String {
        self.judge().unwrap_or_else(|code| code.to_owned())
    }

    fn judge(&self) -> Result<String, &'static str> {
        let verified = self.verify()?;
        assert!(verified.simulated(), "a made-up vendor is simulated");
        let golden = verified.checks().iter().find(|check| check.rule.id == "NV-19").expect("a rule");
        Ok(format!("{}: {}", golden.outcome, golden.compared))
    }

    fn verify(&self) -> Result<VerifiedGpu, &'static str> {
        let vendor: &Vendor = &VENDOR;
        let mut manifests = Vec::new();
        for rim in &self.manifests {
            let rim = vendor.rim(rim);
            let manifest = Manifest::verify(rim.as_bytes(), &self.manifest_answers, &vendor.anchors, NOON);
            manifests.push(manifest.map_err(|rejected| rejected.code())?);
        }
        let authentic = self.authenticate(&vendor.report(&self.report))?;
        authentic
            .appraise(&Policy::for_nvidia(self.policy.clone()), &manifests, &NONCE)
            .map_err(|denied| denied.code())
    }

    fn authenticate(&self, report: &[u8]) -> Result<AuthenticGpu, &'static str> {
        let evidence = GpuEvidence::parse(report, &VENDOR.chain()).map_err(|error| error.code())?;
        let endorsements = NvidiaEndorsements { revocation: self.device_answers.clone() };
        verify_gpu(&evidence, &endorsements, &VENDOR.anchors, NOON).map_err(|rejected| rejected.code())
    }

    /// Whether the device is genuine, whatever is thought of it.
    pub(crate) fn is_genuine(&self) -> bool {
        static REPORT: LazyLock<Vec<u8>> = LazyLock::new(|| VENDOR.report(&good_report()));
        self.authenticate(&REPORT).is_ok()
    }
}

/// When the verdict ends.
pub(crate) fn verified_until(machine: &Machine) -> UnixTime {
    machine.verify().expect("a good machine").valid_until()
}

pub(crate) fn with(change: impl FnOnce(&mut Machine)) -> String {
    let mut machine = Machine::good();
    change(&mut machine);
    machine.answer()
}

const COMPARED: &str = "pass: 6 of 40 measurements, index 35 left out: NVDEC0 is off";

/// Rules NV-16 to NV-19.
pub(crate) const GOLDEN: &[Case] = &[
    ("golden: driver and VBIOS", || with(|_| {}), COMPARED),
    (
        "golden: manifests in the other order, and one of other firmware among them",
        || {
            with(|m| {
                let other = Rim { version: "570.10.02", ..Rim::driver() };
                m.manifests = vec![Rim::vbios(), other, Rim::driver()];
            })
        },
        COMPARED,
    ),
    (
        "golden: no manifest of the driver",
        || with(|m| drop(m.manifests.remove(0))),
        "nvidia.manifest.missing",
    ),
    ("golden: no manifest of the VBIOS", || with(|m| drop(m.manifests.remove(1))), "nvidia.manifest.missing"),
    (
        "golden: no manifest of the driver, allowed",
        || {
            with(|m| {
                m.manifests.remove(0);
                m.policy.driver_manifest_missing = allow();
            })
        },
        "pass: 3 of 40 measurements",
    ),
    (
        "golden: no manifest of the driver, allowed without a reason",
        || {
            with(|m| {
                m.manifests.remove(0);
                m.policy.driver_manifest_missing = no_reason();
            })
        },
        "policy.waiver-without-reason",
    ),
    (
        "golden: no manifest of the VBIOS, allowed without a reason",
        || {
            with(|m| {
                m.manifests.remove(1);
                m.policy.vbios_manifest_missing = no_reason();
            })
        },
        "policy.waiver-without-reason",
    ),
    (
        "golden: no manifest at all, allowed",
        || {
            with(|m| {
                m.manifests.clear();
                m.policy.driver_manifest_missing = allow();
                m.policy.vbios_manifest_missing = allow();
            })
        },
        "waived: nothing to compare with: NV-16 and NV-17",
    ),
    (
        "golden: a manifest that is there counts, although its absence is allowed",
        || {
            with(|m| {
                m.policy.driver_manifest_missing = allow();
                m.report.measurements[21][0] ^= 1;
            })
        },
        "nvidia.golden.mismatch",
    ),
    (
        "golden: manifest of another driver",
        || with(|m| m.manifests[0].version = "570.10.02"),
        "nvidia.manifest.missing",
    ),
    (
        "golden: manifest of another VBIOS",
        || with(|m| m.manifests[1].version = "96.00.9F.00.02"),
        "nvidia.manifest.missing",
    ),
    (
        "golden: manifest of another product",
        || with(|m| m.manifests[0].product = "GB100"),
        "nvidia.manifest.missing",
    ),
    (
        "golden: manifest of another edition",
        || with(|m| m.manifests[1].edition = "SWITCH"),
        "nvidia.manifest.missing",
    ),
    (
        "golden: two manifests of one driver",
        || with(|m| m.manifests.push(Rim::driver())),
        "nvidia.manifest.duplicate",
    ),
    (
        "golden: two manifests of one VBIOS",
        || with(|m| m.manifests.push(Rim::vbios())),
        "nvidia.manifest.duplicate",
    ),
    (
        "golden: one measurement in both manifests",
        || with(|m| m.manifests[1].resources[7].0 = true),
        "nvidia.manifest.conflict",
    ),
    (
        "golden: NVDEC0's measurement in both manifests, although it is off",
        || with(|m| m.manifests[1].resources[35].0 = true),
        "nvidia.manifest.conflict",
    ),
    (
        "golden: one bit of a driver's measurement",
        || with(|m| m.report.measurements[22][47] ^= 1),
        "nvidia.golden.mismatch",
    ),
    (
        "golden: one bit of a VBIOS's measurement",
        || with(|m| m.report.measurements[0][0] ^= 0x80),
        "nvidia.golden.mismatch",
    ),
    ("golden: the first alternative", || with(|m| m.report.measurements[7] = [0xee; 48]), COMPARED),
    (
        "golden: a measurement that no manifest speaks of",
        || with(|m| m.report.measurements[39] = [0xaa; 48]),
        COMPARED,
    ),
    (
        "golden: values of an inactive measurement do not count",
        || {
            with(|m| {
                m.manifests[1].resources[2].0 = false;
                m.report.measurements[2] = [0xaa; 48];
            })
        },
        "pass: 5 of 40 measurements, index 35 left out: NVDEC0 is off",
    ),
    (
        "golden: a report without the last measurement",
        || with(|m| m.report.measurements.truncate(22)),
        "nvidia.golden.absent",
    ),
    (
        "golden: NVDEC0 off, its measurement another",
        || with(|m| m.report.measurements[35] = [0xaa; 48]),
        COMPARED,
    ),
    (
        "golden: NVDEC0 on, its measurement right",
        || with(|m| m.report.nvdec0 = Some(0xaa)),
        "pass: 7 of 40 measurements",
    ),
    (
        "golden: NVDEC0 on, its measurement another",
        || {
            with(|m| {
                m.report.nvdec0 = Some(0xaa);
                m.report.measurements[35] = [0xaa; 48];
            })
        },
        "nvidia.golden.mismatch",
    ),
    (
        "golden: NVDEC0 not reported, its measurement another",
        || {
            with(|m| {
                m.report.nvdec0 = None;
                m.report.measurements[35] = [0xaa; 48];
            })
        },
        "nvidia.golden.mismatch",
    ),
    ("golden: NVDEC0 neither on nor off", || with(|m| m.report.nvdec0 = Some(0)), "nvidia.opaque.field"),
    ("golden: a GPU without a driver version", || with(|m| m.report.driver = None), "nvidia.driver.missing"),
    (
        "golden: driver and VBIOS of one version share no manifest",
        || {
            with(|m| {
                m.report.driver = Some(VBIOS);
                m.manifests.remove(0);
            })
        },
        "nvidia.manifest.conflict",
    ),
    (
        "golden: an empty version names no manifest",
        || with(|m| m.manifests[0].version = ""),
        "nvidia.manifest.malformed",
    ),
    (
        "golden: a manifest without active measurements",
        || with(|m| m.manifests[0].resources.iter_mut().for_each(|resource| resource.0 = false)),
        "nvidia.manifest.malformed",
    ),
    (
        "golden: a manifest without measurements",
        || with(|m| m.manifests[0].resources.clear()),
        "nvidia.manifest.malformed",
    ),
    (
        "golden: 33 alternatives",
        || with(|m| m.manifests[0].resources[7].1 = vec![[7; 48]; 33]),
        "nvidia.manifest.malformed",
    ),
    (
        "golden: no alternative",
        || with(|m| m.manifests[0].resources[7].1.clear()),
        "nvidia.manifest.malformed",
    ),
];

/// A made-up device's manifests prove nothing of a real one.
pub(crate) fn simulated_manifests() -> Vec<Manifest> {
    let rims = [Rim::driver(), Rim { version: "550.90.07", ..Rim::driver() }];
    rims.iter()
        .map(|rim| {
            Manifest::verify(VENDOR.rim(rim).as_bytes(), &waived(), &VENDOR.anchors, NOON)
                .expect("a manifest")
        })
        .collect()
}

/// Answers about every certificate of the device's path, then of the manifests' signer's.
pub(crate) fn answers(change: impl Fn(usize, &mut Answer<'static>)) -> Vec<OcspResponse> {
    let vendor: &'static Vendor = &VENDOR;
    let pairs = [
        (vendor.identity, vendor.root),
        (vendor.provisioner, vendor.identity),
        (vendor.device, vendor.provisioner),
        (vendor.rim_outer, vendor.rim_root),
        (vendor.rim_inner, vendor.rim_outer),
        (vendor.rim_signer, vendor.rim_inner),
    ];
    (0..)
        .zip(pairs)
        .map(|(position, (subject, issuer))| {
            let mut answer = good_answer(subject, issuer);
            change(position, &mut answer);
            response(&answer)
        })
        .collect()
}
