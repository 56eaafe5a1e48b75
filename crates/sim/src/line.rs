//! What the simulator knows of AMD's product lines.

use casemate_attest::snp::ProductLine;

use crate::report::{Cpuid, Tcb};

/// The facts of one product line.
pub(crate) struct Line {
    /// In certificate names.
    pub(crate) name: &'static str,
    /// The productName of a VCEK; a VLEK's has no stepping.
    pub(crate) vcek_product_name: &'static str,
    /// The first serial number of the line's certificates: the ARK's.
    pub(crate) first_serial: u64,
    /// The ASK's number after that; Genoa's first ASK is revoked.
    pub(crate) ask_serial: u64,
    /// Bytes of a chip's identifier.
    pub(crate) hwid_bytes: usize,
    /// Whether TCB fields and certificates have the layout of Turin, with FMC.
    pub(crate) has_fmc: bool,
    /// A processor of the line, as recorded reports state it.
    pub(crate) cpuid: Cpuid,
    /// A TCB that a healthy machine of the line reports.
    pub(crate) healthy_tcb: Tcb,
}

/// The lines that a vendor can be made for.
pub(crate) const SUPPORTED: [ProductLine; 3] = [ProductLine::Milan, ProductLine::Genoa, ProductLine::Turin];

static MILAN: Line = Line {
    name: "Milan",
    vcek_product_name: "Milan-B0",
    first_serial: 0x1_0000,
    ask_serial: 1,
    hwid_bytes: 64,
    has_fmc: false,
    cpuid: Cpuid { family: 0x19, model: 0x01, stepping: 1 },
    healthy_tcb: Tcb { fmc: 0, bootloader: 4, tee: 0, snp: 0x18, microcode: 0xdb },
};

static GENOA: Line = Line {
    name: "Genoa",
    vcek_product_name: "Genoa",
    first_serial: 0x2_0000,
    ask_serial: 2,
    hwid_bytes: 64,
    has_fmc: false,
    cpuid: Cpuid { family: 0x19, model: 0x11, stepping: 1 },
    healthy_tcb: Tcb { fmc: 0, bootloader: 0x0a, tee: 0, snp: 0x1b, microcode: 0x58 },
};

static TURIN: Line = Line {
    name: "Turin",
    vcek_product_name: "Turin",
    first_serial: 0x3_0000,
    ask_serial: 1,
    hwid_bytes: 8,
    has_fmc: true,
    cpuid: Cpuid { family: 0x1a, model: 0x02, stepping: 1 },
    healthy_tcb: Tcb { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 0x54 },
};

/// The facts of a line. A later line has Turin's until it is described here; no vendor can be made for it.
pub(crate) fn line(line: ProductLine) -> &'static Line {
    match line {
        ProductLine::Milan => &MILAN,
        ProductLine::Genoa => &GENOA,
        _ => &TURIN,
    }
}
