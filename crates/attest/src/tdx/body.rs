//! The body of a quote: what the TDX module says about the TD.
//!
//! Source: Intel TDX DCAP Quoting Library API, "TD Quote Body"; Intel TDX Module ABI, TDREPORT_STRUCT, ATTRIBUTES. The TD 1.5
//! extension is as recorded (885 bytes); its fields after MRSERVICETD are signed and no rule looks at them.

use super::attributes::TUD;
use super::quote::Quote;

/// Offset in the body, and length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<const N: usize>(pub(crate) usize);

impl<const N: usize> Field<N> {
    #[allow(clippy::arithmetic_side_effects)] // evaluated at compile time
    const fn end(self) -> usize {
        self.0 + N
    }
}

const TEE_TCB_SVN: Field<16> = Field(0);
const MRSEAM: Field<48> = Field(16);
const MRSIGNERSEAM: Field<48> = Field(64);
const SEAMATTRIBUTES: Field<8> = Field(112);
const TDATTRIBUTES: Field<8> = Field(120);
const XFAM: Field<8> = Field(128);
const MRTD: Field<48> = Field(136);
const MRCONFIGID: Field<48> = Field(184);
const MROWNER: Field<48> = Field(232);
const MROWNERCONFIG: Field<48> = Field(280);
const RTMR: [Field<48>; 4] = [Field(328), Field(376), Field(424), Field(472)];
const REPORT_DATA: Field<64> = Field(520);
/// TD 1.5 and its extension only.
const TEE_TCB_SVN2: Field<16> = Field(584);
/// TD 1.5 and its extension only.
const MRSERVICETD: Field<48> = Field(600);

const _: () = assert!(TEE_TCB_SVN.end() == MRSEAM.0 && MRSEAM.end() == MRSIGNERSEAM.0);
const _: () = assert!(MRSIGNERSEAM.end() == SEAMATTRIBUTES.0 && SEAMATTRIBUTES.end() == TDATTRIBUTES.0);
const _: () = assert!(TDATTRIBUTES.end() == XFAM.0 && XFAM.end() == MRTD.0 && MRTD.end() == MRCONFIGID.0);
const _: () = assert!(MRCONFIGID.end() == MROWNER.0 && MROWNER.end() == MROWNERCONFIG.0);
const _: () = assert!(MROWNERCONFIG.end() == RTMR[0].0 && RTMR[0].end() == RTMR[1].0);
const _: () = assert!(RTMR[1].end() == RTMR[2].0 && RTMR[2].end() == RTMR[3].0);
const _: () = assert!(RTMR[3].end() == REPORT_DATA.0 && REPORT_DATA.end() == Body::Td10.len());
const _: () = assert!(REPORT_DATA.end() == TEE_TCB_SVN2.0 && TEE_TCB_SVN2.end() == MRSERVICETD.0);
const _: () = assert!(MRSERVICETD.end() == Body::Td15.len());

/// Which layout a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// TD 1.0, 584 bytes.
    Td10,
    /// TD 1.5, 648 bytes.
    Td15,
    /// TD 1.5 with its extension, 885 bytes.
    Td15Extended,
}

/// A version of the TDX module; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct ModuleSvn {
    /// TEE_TCB_SVN byte 1.
    pub major: u8,
    /// TEE_TCB_SVN byte 0: the ISVSVN of that major version.
    pub minor: u8,
}

impl Body {
    /// Bytes.
    pub const fn len(self) -> usize {
        match self {
            Self::Td10 => 584,
            Self::Td15 => 648,
            Self::Td15Extended => 885,
        }
    }

    /// No body is.
    pub const fn is_empty(self) -> bool {
        false
    }
}

impl ModuleSvn {
    pub(crate) fn of(svn: [u8; 16]) -> Self {
        let [minor, major, ..] = svn;
        Self { major, minor }
    }
}

impl Quote {
    /// TEE_TCB_SVN: the TCB that the TD was launched on.
    pub fn tee_tcb_svn(&self) -> [u8; 16] {
        self.read(TEE_TCB_SVN)
    }

    /// TEE_TCB_SVN2: the TCB that runs now; `None` in a TD 1.0 body.
    pub fn tee_tcb_svn2(&self) -> Option<[u8; 16]> {
        self.read_if(TEE_TCB_SVN2, self.body() != Body::Td10)
    }

    /// Version of the module that the TD was launched on.
    pub fn launch_module(&self) -> ModuleSvn {
        ModuleSvn::of(self.tee_tcb_svn())
    }

    /// Version of the module that runs now; `None` in a TD 1.0 body.
    pub fn current_module(&self) -> Option<ModuleSvn> {
        self.tee_tcb_svn2().map(ModuleSvn::of)
    }

    /// MRSEAM: the measurement of the TDX module.
    pub fn mr_seam(&self) -> [u8; 48] {
        self.read(MRSEAM)
    }

    /// MRSIGNERSEAM: who signed the TDX module; zero is Intel.
    pub fn mr_signer_seam(&self) -> [u8; 48] {
        self.read(MRSIGNERSEAM)
    }

    /// SEAMATTRIBUTES.
    pub fn seam_attributes(&self) -> u64 {
        u64::from_le_bytes(self.read(SEAMATTRIBUTES))
    }

    /// TDATTRIBUTES.
    pub fn td_attributes(&self) -> u64 {
        u64::from_le_bytes(self.read(TDATTRIBUTES))
    }

    /// DEBUG or another bit of TUD: the host may read, change or profile the TD.
    pub fn debug(&self) -> bool {
        self.td_attributes() & TUD != 0
    }

    /// XFAM: which processor state the TD may use, as in XCR0 and IA32_XSS.
    pub fn xfam(&self) -> u64 {
        u64::from_le_bytes(self.read(XFAM))
    }

    /// MRTD: the measurement of the initial image.
    pub fn mr_td(&self) -> [u8; 48] {
        self.read(MRTD)
    }

    /// MRCONFIGID: configuration that the host chose.
    pub fn mr_config_id(&self) -> [u8; 48] {
        self.read(MRCONFIGID)
    }

    /// MROWNER: an owner that the host chose.
    pub fn mr_owner(&self) -> [u8; 48] {
        self.read(MROWNER)
    }

    /// MROWNERCONFIG: the owner's configuration, chosen by the host.
    pub fn mr_owner_config(&self) -> [u8; 48] {
        self.read(MROWNERCONFIG)
    }

    /// RTMR0 to RTMR3: the measurements that the TD extends.
    pub fn rtmrs(&self) -> [[u8; 48]; 4] {
        RTMR.map(|field| self.read(field))
    }

    /// REPORT_DATA: what the TD bound into the quote.
    pub fn report_data(&self) -> [u8; 64] {
        self.read(REPORT_DATA)
    }

    /// MRSERVICETD: the service TDs; zero without any, `None` in a TD 1.0 body.
    pub fn mr_service_td(&self) -> Option<[u8; 48]> {
        self.read_if(MRSERVICETD, self.body() != Body::Td10)
    }
}
