//! `casemate keygen`.

use std::fs;
use std::path::PathBuf;

use casemate_seal::PublisherSecret;

use super::random;
use crate::args::KeygenArgs;
use crate::error::CliError;
use crate::files::{self, PRIVATE, PUBLIC};
use crate::output;

pub(crate) fn run(args: &KeygenArgs) -> Result<(), CliError> {
    let secret = PublisherSecret::from_seed(random()?);
    let public = secret.public()?;
    let named = |suffix| {
        let mut name = args.name.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (key, public_file) = (named(".key"), named(".pub"));
    files::create(&key, secret.to_pem().as_bytes(), PRIVATE)?;
    files::create(&public_file, public.to_pem().as_bytes(), PUBLIC).inspect_err(|_| {
        // Half a pair is of no use and would block the next attempt.
        let _ = fs::remove_file(&key);
    })?;
    output::talk(&format!("{}: keep it secret", key.display()));
    output::talk(&format!("{}: publish it", public_file.display()));
    output::data(&public.fingerprint());
    Ok(())
}
