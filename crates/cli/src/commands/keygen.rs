//! `casemate keygen`.

use casemate_seal::PublisherSecret;

use super::random;
use crate::args::KeygenArgs;
use crate::error::CliError;
use crate::files::{self, PRIVATE, PUBLIC};
use crate::output;

pub(crate) fn run(args: &KeygenArgs) -> Result<(), CliError> {
    let secret = PublisherSecret::from_seed(random()?);
    let public = secret.public()?;
    let key = args.name.with_extension("key");
    let public_file = args.name.with_extension("pub");
    files::create(&key, secret.to_pem().as_bytes(), PRIVATE)?;
    files::create(&public_file, public.to_pem().as_bytes(), PUBLIC)?;
    output::talk(&format!("{}: keep it secret", key.display()));
    output::talk(&format!("{}: publish it", public_file.display()));
    output::data(&public.fingerprint());
    Ok(())
}
