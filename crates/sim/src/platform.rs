//! Which platforms have a simulated vendor.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::SimError;
use crate::files::failed;

/// Says what a vendor's directory is of; a directory without it is of SEV-SNP.
pub(crate) const PLATFORM_FILE: &str = "platform";

/// What a simulated vendor makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// AMD SEV-SNP: [`crate::Vendor`].
    SevSnp,
    /// Intel TDX: [`crate::tdx::TdxVendor`].
    Tdx,
    /// AWS Nitro Enclaves: [`crate::nitro::NitroVendor`].
    Nitro,
    /// Azure's virtual TPM on SEV-SNP: [`crate::azure::AzureVendor`].
    AzureSnp,
    /// Azure's virtual TPM on TDX: [`crate::azure::AzureVendor`].
    AzureTdx,
    /// NVIDIA GPUs, which stand beside a machine: [`crate::nvidia::NvidiaVendor`].
    Nvidia,
}

impl Platform {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::SevSnp, Self::Tdx, Self::Nitro, Self::AzureSnp, Self::AzureTdx, Self::Nvidia];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
            Self::Nitro => "nitro",
            Self::AzureSnp => "azure-snp",
            Self::AzureTdx => "azure-tdx",
            Self::Nvidia => "nvidia",
        }
    }

    /// Reads [`Platform::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == word)
    }

    /// Of the vendor in this directory.
    ///
    /// # Errors
    /// [`SimError::UnknownPlatform`], or [`SimError::File`].
    pub fn of(directory: &Path) -> Result<Self, SimError> {
        let path = directory.join(PLATFORM_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::from_word(text.trim_end()).ok_or(SimError::UnknownPlatform { path }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::SevSnp),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
