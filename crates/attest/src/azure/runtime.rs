//! The runtime data: a JSON text that the paravisor writes and the hardware report binds.
//!
//! ```json
//! {"keys":[{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"…"},{"kid":"HCLEkPub",…}],
//!  "vm-configuration":{"console-enabled":true,"secure-boot":true,"tpm-enabled":true,"vmUniqueId":"911B0EF8-…",…},
//!  "user-data":"128 hexadecimal digits"}
//! ```
//!
//! Members that no rule decides on may come and go (there are five forms among the recorded ones). The members that are
//! read must each be there once, `user-data` excepted: early reports lack it.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use crate::tpm::AttestationKey;

/// Name of the attestation key.
const AK_KID: &str = "HCLAkPub";
/// 65537 in base64url.
const EXPONENT: &str = "AQAB";

/// What the runtime data says, as far as rules decide on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeData {
    pub(crate) attestation_key: AttestationKey,
    /// Whether the virtual machine was started with secure boot.
    pub secure_boot: bool,
    /// Whether the host offers a console to the guest.
    pub console_enabled: bool,
    /// Whether there is a virtual TPM.
    pub tpm_enabled: bool,
    /// Which virtual machine it is.
    pub vm_id: VmId,
    /// What the guest had bound into the hardware report; `None` where the report is of a form without it.
    pub user_data: Option<Box<[u8; 64]>>,
}

/// A vmUniqueId, a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmId([u8; 16]);

/// Why a text is not runtime data.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuntimeError {
    /// Not JSON, something follows it, a member twice, a member missing, or of another type.
    #[error("the runtime data is not understood: {0}")]
    Json(String),
    /// vmUniqueId is not a UUID.
    #[error("vmUniqueId is not a UUID")]
    VmId,
    /// user-data is not exactly 64 bytes in hexadecimal.
    #[error("user-data is not 64 bytes in hexadecimal")]
    UserData,
    /// Nobody's key.
    #[error("there is no key {AK_KID}")]
    KeyMissing,
    /// Two keys of the same name: two readers may take two different ones.
    #[error("the key {kid:?} is there twice")]
    KeyDuplicate {
        /// Its name.
        kid: String,
    },
    /// The attestation key is not RSA with 2048 bits and the exponent 65537.
    #[error("the key {AK_KID} is not RSA with 2048 bits and the exponent 65537")]
    KeyType,
}

#[derive(Deserialize)]
struct File {
    keys: Vec<Key>,
    #[serde(rename = "vm-configuration")]
    configuration: Configuration,
    #[serde(rename = "user-data", default)]
    user_data: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    kty: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    n: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Configuration {
    console_enabled: bool,
    secure_boot: bool,
    tpm_enabled: bool,
    #[serde(rename = "vmUniqueId")]
    vm_id: String,
}

impl RuntimeData {
    /// Reads the text, which is the whole input.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    pub fn parse(input: &[u8]) -> Result<Self, RuntimeError> {
        let file: File =
            serde_json::from_slice(input).map_err(|error| RuntimeError::Json(error.to_string()))?;
        let user_data = match file.user_data {
            None => None,
            Some(text) => {
                let mut bytes = Box::new([0; 64]);
                hex::decode_to_slice(text, bytes.as_mut_slice()).map_err(|_| RuntimeError::UserData)?;
                Some(bytes)
            }
        };
        Ok(Self {
            attestation_key: attestation_key(&file.keys)?,
            secure_boot: file.configuration.secure_boot,
            console_enabled: file.configuration.console_enabled,
            tpm_enabled: file.configuration.tpm_enabled,
            vm_id: VmId::parse(&file.configuration.vm_id).ok_or(RuntimeError::VmId)?,
            user_data,
        })
    }
}

impl RuntimeData {
    /// The modulus of the key that the text names as the virtual TPM's attestation key, big-endian.
    pub fn attestation_key_modulus(&self) -> &[u8; 256] {
        self.attestation_key.modulus()
    }
}

impl VmId {
    /// Reads the 8-4-4-4-12 form of a UUID, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut groups = text.split('-');
        let mut digits = String::with_capacity(32);
        for length in [8, 4, 4, 4, 12] {
            digits.push_str(groups.next().filter(|group| group.len() == length)?);
        }
        if groups.next().is_some() {
            return None;
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for VmId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl RuntimeError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "azure.runtime.json",
            Self::VmId => "azure.runtime.vm-id",
            Self::UserData => "azure.runtime.user-data",
            Self::KeyMissing => "azure.runtime.key-missing",
            Self::KeyDuplicate { .. } => "azure.runtime.key-duplicate",
            Self::KeyType => "azure.runtime.key-type",
        }
    }
}

fn attestation_key(keys: &[Key]) -> Result<AttestationKey, RuntimeError> {
    for (index, key) in keys.iter().enumerate() {
        if keys.iter().take(index).any(|earlier| earlier.kid == key.kid) {
            return Err(RuntimeError::KeyDuplicate { kid: key.kid.clone() });
        }
    }
    let key = keys.iter().find(|key| key.kid == AK_KID).ok_or(RuntimeError::KeyMissing)?;
    if key.kty != "RSA" || key.e != EXPONENT {
        return Err(RuntimeError::KeyType);
    }
    let modulus = URL_SAFE_NO_PAD.decode(&key.n).map_err(|_| RuntimeError::KeyType)?;
    AttestationKey::new(&modulus).ok_or(RuntimeError::KeyType)
}
