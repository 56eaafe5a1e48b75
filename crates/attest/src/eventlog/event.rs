//! One event, as it is logged.

use super::bank::Bank;
use super::content::{self, Content};

/// EV_NO_ACTION: extends nothing.
pub(crate) const NO_ACTION: u32 = 0x0000_0003;
/// EV_IPL: what a boot loader measured.
pub(crate) const IPL: u32 = 0x0000_000d;
/// EV_EFI_VARIABLE_DRIVER_CONFIG.
pub(crate) const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
/// EV_EFI_VARIABLE_BOOT.
pub(crate) const VARIABLE_BOOT: u32 = 0x8000_0002;
/// EV_EFI_VARIABLE_BOOT2.
pub(crate) const VARIABLE_BOOT2: u32 = 0x8000_000c;
/// EV_EFI_VARIABLE_AUTHORITY.
pub(crate) const VARIABLE_AUTHORITY: u32 = 0x8000_00e0;
/// dstack's own type for what is measured at run time (dstack, cc-eventlog/src/runtime_events.rs).
pub(crate) const DSTACK_RUNTIME: u32 = 0x0800_0001;

/// An event as it is logged. Its digests are proven by a replay; its type is proven by nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// PCR; in a CCEL the measurement register, from 1, of which 1 is RTMR0. A dstack log counts RTMRs from 0, which is
    /// brought into this form.
    pub(crate) index: u32,
    pub(crate) event_type: u32,
    /// One for each bank of the log.
    pub(crate) digests: Vec<(Bank, Vec<u8>)>,
    pub(crate) data: Vec<u8>,
}

impl Event {
    /// PCR; in a CCEL the measurement register, of which 1 is RTMR0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Type, as logged: covered by no digest, so that it is never proven. See [`event_type_name`].
    pub fn event_type(&self) -> u32 {
        self.event_type
    }

    /// The digest of this bank.
    pub fn digest(&self, bank: Bank) -> Option<&[u8]> {
        self.digests.iter().find(|(own, _)| *own == bank).map(|(_, digest)| digest.as_slice())
    }

    /// Data, as logged. Only what [`Event::content`] says has the digest.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether it extends a register.
    pub fn extends(&self) -> bool {
        self.event_type != NO_ACTION
    }

    /// What of the data has the digest of this bank.
    pub fn content(&self, bank: Bank) -> Content<'_> {
        content::of(self, bank)
    }
}

/// The name of an event's type. Source: TCG PC Client Platform Firmware Profile 1.06, "Event types".
pub fn event_type_name(event_type: u32) -> Option<&'static str> {
    Some(match event_type {
        0x0000_0000 => "EV_PREBOOT_CERT",
        0x0000_0001 => "EV_POST_CODE",
        NO_ACTION => "EV_NO_ACTION",
        0x0000_0004 => "EV_SEPARATOR",
        0x0000_0005 => "EV_ACTION",
        0x0000_0006 => "EV_EVENT_TAG",
        0x0000_0007 => "EV_S_CRTM_CONTENTS",
        0x0000_0008 => "EV_S_CRTM_VERSION",
        0x0000_0009 => "EV_CPU_MICROCODE",
        0x0000_000a => "EV_PLATFORM_CONFIG_FLAGS",
        0x0000_000b => "EV_TABLE_OF_DEVICES",
        0x0000_000c => "EV_COMPACT_HASH",
        IPL => "EV_IPL",
        0x0000_000e => "EV_IPL_PARTITION_DATA",
        0x0000_000f => "EV_NONHOST_CODE",
        0x0000_0010 => "EV_NONHOST_CONFIG",
        0x0000_0011 => "EV_NONHOST_INFO",
        0x0000_0012 => "EV_OMIT_BOOT_DEVICE_EVENTS",
        0x0000_0013 => "EV_POST_CODE2",
        VARIABLE_DRIVER_CONFIG => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        VARIABLE_BOOT => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
        0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        0x8000_0007 => "EV_EFI_ACTION",
        0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        VARIABLE_BOOT2 => "EV_EFI_VARIABLE_BOOT2",
        0x8000_000d => "EV_EFI_GPT_EVENT2",
        0x8000_0010 => "EV_EFI_HCRTM_EVENT",
        VARIABLE_AUTHORITY => "EV_EFI_VARIABLE_AUTHORITY",
        0x8000_00e1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
        0x8000_00e2 => "EV_EFI_SPDM_FIRMWARE_CONFIG",
        DSTACK_RUNTIME => "dstack runtime event",
        _ => return None,
    })
}
