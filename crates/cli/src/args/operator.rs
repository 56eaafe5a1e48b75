//! Whose machine it is.

use std::path::PathBuf;

/// The operator's own key.
#[derive(clap::Args)]
pub(crate) struct OperatorArgs {
    /// Say whose machine this is: the private key (PEM, such as `casemate keygen` makes) signs every statement, and clients may demand it
    #[arg(long, value_name = "FILE", env = "CASEMATE_OPERATOR_KEY")]
    pub(crate) operator_key: Option<PathBuf>,
    /// Certificate chain of that key (PEM), for clients that demand a name
    #[arg(long, value_name = "FILE", env = "CASEMATE_OPERATOR_CERT")]
    pub(crate) operator_cert: Option<PathBuf>,
}
