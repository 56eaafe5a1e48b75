//! What a genuine document says, as values.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::document::Document;

/// Claims of a genuine Nitro Enclaves document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NitroClaims {
    /// Instance id and enclave id.
    pub module_id: String,
    /// When it was made, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Every PCR of the document, 48 bytes in hexadecimal.
    pub pcrs: BTreeMap<u8, String>,
    /// What the enclave put in as a public key; no rule looks at it.
    #[serde(serialize_with = "optional_hex")]
    pub public_key: Option<Vec<u8>>,
    /// What the enclave put in as a nonce; no rule looks at it.
    #[serde(serialize_with = "optional_hex")]
    pub nonce: Option<Vec<u8>>,
}

impl NitroClaims {
    pub(crate) fn new(document: &Document) -> Self {
        Self {
            module_id: document.module_id().to_owned(),
            timestamp_ms: document.timestamp_ms(),
            pcrs: document.pcrs().iter().map(|(&index, value)| (index, hex::encode(value))).collect(),
            public_key: document.public_key().map(<[u8]>::to_vec),
            nonce: document.nonce().map(<[u8]>::to_vec),
        }
    }
}

fn optional_hex<S: Serializer>(value: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(bytes) => serializer.serialize_some(&hex::encode(bytes)),
        None => serializer.serialize_none(),
    }
}
