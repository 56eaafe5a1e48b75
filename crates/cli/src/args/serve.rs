//! Parts of `casemate serve`, and `casemate kms`, as typed.

use std::path::PathBuf;

/// Who answers about the machine's GPUs.
#[derive(clap::Args)]
pub(crate) struct NvidiaServiceArgs {
    /// NVIDIA's manifests, or a cache of them [default: https://rim.attestation.nvidia.com]
    #[arg(long, value_name = "URL", env = "CASEMATE_RIM_SERVICE")]
    pub(super) rim_service: Option<String>,
    /// NVIDIA's OCSP responder, or a cache of it [default: https://ocsp.ndis.nvidia.com]
    #[arg(long, value_name = "URL", env = "CASEMATE_OCSP_SERVICE")]
    pub(super) ocsp_service: Option<String>,
    /// Ask the responder without a nonce: a cache of it cannot repeat one
    #[arg(long, env = "CASEMATE_OCSP_WITHOUT_NONCE")]
    pub(super) ocsp_without_nonce: bool,
}

/// AWS KMS in a broker's place.
#[derive(clap::Args)]
pub(crate) struct KmsArgs {
    /// Have AWS KMS release the model key, instead of a broker: the ARN of the KMS key that encrypts it (in a Nitro enclave)
    #[arg(long, value_name = "ARN", env = "CASEMATE_KMS_KEY")]
    pub(super) kms_key: Option<String>,
    /// The encrypted model key, from `casemate kms` and `aws kms encrypt` (base64)
    #[arg(long, value_name = "FILE", env = "CASEMATE_KMS_CIPHERTEXT")]
    pub(super) kms_ciphertext: Option<PathBuf>,
    /// Credentials that may ask KMS, as `aws configure export-credentials --format process` prints them: a file, or vsock:CID:PORT
    /// where they are written to whoever connects
    #[arg(long, value_name = "SOURCE", env = "CASEMATE_KMS_CREDENTIALS")]
    pub(super) kms_credentials: Option<String>,
    /// Reach KMS through this vsock port, vsock:CID:PORT (3 is the parent of a Nitro enclave). TLS ends in the enclave
    #[arg(long, value_name = "VSOCK", env = "CASEMATE_KMS_VIA")]
    pub(super) kms_via: Option<String>,
    /// Another address of KMS than the region's own, https://HOST[:PORT]
    #[arg(long, value_name = "URL", env = "CASEMATE_KMS_ENDPOINT")]
    pub(super) kms_endpoint: Option<String>,
    /// Believe only these certificate authorities (PEM) for KMS's TLS
    #[arg(long, value_name = "FILE", env = "CASEMATE_KMS_CA")]
    pub(super) kms_ca: Option<PathBuf>,
}

/// Write what `aws kms encrypt` encrypts a model's key from, bound to the model's manifest
#[derive(clap::Args)]
#[command(after_help = "\
Then, with credentials that may encrypt under the key:
  aws kms encrypt --cli-input-json file://FILE --query CiphertextBlob --output text > model.kms
  shred -u FILE
and in the enclave:
  casemate serve … --kms-key ARN --kms-ciphertext model.kms --kms-credentials vsock:3:8003 --kms-via vsock:3:8000")]
pub(crate) struct KmsInputArgs {
    /// Directory of the sealed model
    pub(crate) model: PathBuf,
    /// Public key of the publisher who must have signed the manifest
    #[arg(long)]
    pub(crate) publisher_key: PathBuf,
    /// The model key, from `casemate seal`
    #[arg(long)]
    pub(crate) key: PathBuf,
    /// The ARN of the KMS key
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: String,
    /// Where it is written. It holds the model key, so only its owner may read it; delete it afterwards
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}
