//! `casemate receipt verify`: receipts of answers, offline.

use std::path::{Path, PathBuf};

use casemate_attest::{Check, UnixTime};
use casemate_client::proxy::{KEPT_SCHEMA, KeptReceipt};
use casemate_client::{Anchors, ClientPolicy, KeptServer, check_kept};
use casemate_protocol::receipt::{
    self, Digests, Receipt, ReceiptError, SignedReceipt, VerifiedReceipt, follows, not_reached,
};
use casemate_protocol::statement::Stated;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::now;
use super::verify::row;
use crate::args::{ReceiptArgs, ReceiptCommand, ReceiptVerifyArgs};
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(args: &ReceiptArgs) -> Result<(), CliError> {
    match &args.command {
        ReceiptCommand::Verify(args) => verify(args),
    }
}

/// A receipt's file, with what is beside it.
struct Input {
    path: PathBuf,
    signed: SignedReceipt,
    /// The document that a proxy kept with it.
    document: Option<PathBuf>,
    bodies: Digests,
}

fn verify(args: &ReceiptVerifyArgs) -> Result<(), CliError> {
    let policy = ClientPolicy::from_toml(&files::read_text(&args.policy)?)?;
    let anchors = Anchors {
        machines: files::anchors(&args.anchors)?,
        devices: files::device_anchors(&args.gpu_anchors)?,
    };
    if args.receipts.len() > 1 {
        let flags = [("--request", &args.request), ("--response", &args.response)];
        if let Some((flag, _)) = flags.into_iter().find(|(_, given)| given.is_some()) {
            return Err(CliError::SuperfluousFlag { flag, of: "several receipts" });
        }
    }
    if anchors.machines.simulated() {
        output::simulated_banner(output::SIMULATED_MACHINE);
    }
    let (mut reports, mut before, mut failed) = (Vec::new(), None, None);
    for path in &args.receipts {
        let one = Input::read(path, args)?.verify(args, &policy, &anchors, before.as_ref())?;
        if !args.json {
            one.print(args.explain);
        }
        reports.push(one.json());
        before = one.receipt.or(before);
        failed = failed.or(one.error);
    }
    if args.json {
        let verdict = if failed.is_none() { "verified" } else { "refused" };
        let simulated = anchors.machines.simulated();
        output::json(&json!({
            "schema": "casemate.receipt-report/1", "verdict": verdict, "simulated": simulated, "receipts": reports,
        }))?;
    }
    failed.map_or(Ok(()), Err)
}

impl Input {
    fn read(path: &Path, args: &ReceiptVerifyArgs) -> Result<Self, CliError> {
        let bytes = files::read(path)?;
        let digest = |path: &PathBuf| Ok::<_, CliError>(Sha256::digest(files::read(path)?).into());
        let kept =
            serde_json::from_slice::<KeptReceipt>(&bytes).ok().filter(|kept| kept.schema == KEPT_SCHEMA);
        let (signed, document, mut bodies) = match kept {
            None => (SignedReceipt::parse(&bytes)?, None, Digests::default()),
            Some(kept) => {
                let stated = |value| match value {
                    Stated::Is(digest) => Some(digest),
                    Stated::None => None,
                };
                let bodies =
                    Digests { request: stated(kept.request_sha256), response: stated(kept.response_sha256) };
                // Beside it, and nowhere else.
                let name = Path::new(&kept.document).file_name();
                (kept.signed, name.map(|name| path.with_file_name(name)), bodies)
            }
        };
        if let Some(path) = &args.request {
            bodies.request = Some(digest(path)?);
        }
        if let Some(path) = &args.response {
            bodies.response = Some(answer_digest(&files::read(path)?));
        }
        Ok(Self { path: path.to_owned(), signed, document: args.document.clone().or(document), bodies })
    }

    fn verify(
        self,
        args: &ReceiptVerifyArgs,
        policy: &ClientPolicy,
        anchors: &Anchors,
        before: Option<&VerifiedReceipt>,
    ) -> Result<Verified, CliError> {
        let path = self.document.ok_or(CliError::MissingFlag { flag: "--document" })?;
        let said = serde_json::from_str::<Receipt>(&self.signed.receipt);
        let said = said.map_err(|_| ReceiptError::Malformed { what: "the receipt" })?;
        // The machine is looked at as of when it says that it answered, and never as of later than now.
        let now = now()?;
        let at = args.at.map_or(UnixTime(said.served_at).min(now), UnixTime);
        let mut verified =
            Verified { path: self.path, at, checks: Vec::new(), server: None, receipt: None, error: None };
        let server = match check_kept(&files::read(&path)?, policy, anchors, at) {
            Ok(server) => server,
            Err(failure) => {
                verified.checks = [failure.checks.clone(), not_reached()].concat();
                verified.error = Some(failure.into());
                return Ok(verified);
            }
        };
        verified.checks = server.checks().to_vec();
        match receipt::check(&self.signed, server.statement(), &self.bodies, now) {
            Ok(receipt) => {
                verified.checks.extend_from_slice(receipt.checks());
                let chained = before.filter(|_| args.chain).map(|before| follows(&receipt, before));
                verified.error = chained.and_then(Result::err).map(CliError::Receipt);
                verified.receipt = Some(receipt);
            }
            Err(refused) => {
                verified.checks.extend_from_slice(&refused.checks);
                verified.error = Some(CliError::Receipt(refused.reason));
            }
        }
        verified.server = Some(server);
        Ok(verified)
    }
}

/// What became of one receipt.
struct Verified {
    path: PathBuf,
    at: UnixTime,
    checks: Vec<Check>,
    server: Option<KeptServer>,
    receipt: Option<VerifiedReceipt>,
    error: Option<CliError>,
}

impl Verified {
    fn print(&self, explain: bool) {
        let table = if explain { output::explained_table } else { output::table };
        table(&self.checks, output::data);
        output::data(&self.headline());
    }

    fn headline(&self) -> String {
        let path = self.path.display();
        let (receipt, server) = match (&self.error, &self.receipt, &self.server) {
            (Some(error), _, _) => return format!("NOT VERIFIED: {path}: {error}"),
            (None, Some(receipt), Some(server)) => (receipt.receipt(), server),
            (None, _, _) => return format!("NOT VERIFIED: {path}"),
        };
        let simulated = if server.simulated() { "SIMULATED: " } else { "" };
        format!(
            "{simulated}VERIFIED: {path}: {} answered {} with model {} (manifest {}) at {}, {} and {} tokens",
            server.claims().platform(),
            receipt.endpoint,
            receipt.model,
            receipt.manifest_sha256.text(),
            receipt.served_at,
            receipt.usage.prompt_tokens,
            receipt.usage.completion_tokens,
        )
    }

    fn json(&self) -> Value {
        json!({
            "path": self.path,
            "headline": self.headline(),
            "code": self.error.as_ref().map(CliError::code),
            "at": self.at,
            "checks": self.checks.iter().map(row).collect::<Vec<_>>(),
            "claims": self.server.as_ref().map(KeptServer::claims),
            "receipt": self.receipt.as_ref().map(VerifiedReceipt::receipt),
        })
    }
}

/// Of an answer's body in a file: of a stream, of what comes before its receipt.
fn answer_digest(bytes: &[u8]) -> [u8; 32] {
    let mut reader = receipt::StreamReader::default();
    reader.push(bytes, &mut Vec::new());
    reader.finish().digest
}
