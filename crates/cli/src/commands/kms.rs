//! `casemate kms`: the input of `aws kms encrypt` for a model key (spec/kms.md, KMS-02).

use casemate_enclave::kms::{KmsKey, encrypt_input};
use casemate_seal::{KeyFile, Manifest, PublisherKey};
use zeroize::Zeroizing;

use crate::args::KmsInputArgs;
use crate::error::CliError;
use crate::files::{self, PRIVATE};
use crate::output;

pub(crate) fn run(args: &KmsInputArgs) -> Result<(), CliError> {
    let kms_key =
        KmsKey::parse(&args.kms_key).map_err(|source| casemate_enclave::ConfigError::KmsKey { source })?;
    let publisher = PublisherKey::from_pem(&files::read_text(&args.publisher_key)?)?;
    let manifest = Manifest::verify(&files::read(&args.model.join("sealed.json"))?, &[publisher])?;
    let text = Zeroizing::new(files::read_text(&args.key)?);
    let key =
        KeyFile::from_json(&text).map_err(|source| CliError::KeyFile { path: args.key.clone(), source })?.key;
    // Encrypted for a model that it does not open, it would be found out in the enclave only.
    if !key.matches(manifest.mk_commitment()) {
        return Err(CliError::OtherModelsKey { path: args.key.clone() });
    }
    let input = encrypt_input(&kms_key, &manifest.digest(), &key);
    files::create(&args.output, input.as_bytes(), PRIVATE)?;
    output::talk(&format!(
        "{} holds the model key: delete it once KMS has encrypted it",
        args.output.display()
    ));
    output::data(&hex::encode(manifest.digest()));
    Ok(())
}
