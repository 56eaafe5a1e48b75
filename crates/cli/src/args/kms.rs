//! `casemate kms` as typed.

use std::path::PathBuf;

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
