//! An attestation document that was kept: what a machine was, checked without a network.

use casemate_attest::{Binding, Check, Claims, Evidence, UnixTime, verify};
use casemate_protocol::document::AttestationDocument;
use casemate_protocol::statement::{self, RuntimeStatement};
use casemate_protocol::{devices, vtpm};

use crate::operator;
use crate::policy::ClientPolicy;
use crate::server::{Anchors, ConnectError, ConnectFailure};

/// A machine that met the policy, by its kept document. It takes no prompt: nobody knows where it is now.
#[derive(Debug)]
pub struct KeptServer {
    claims: Claims,
    statement: RuntimeStatement,
    checks: Vec<Check>,
    simulated: bool,
}

impl KeptServer {
    /// What its hardware says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What it states.
    pub fn statement(&self) -> &RuntimeStatement {
        &self.statement
    }

    /// Every check, in order; those that need a connection are waived.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether its hardware is a simulator's.
    pub fn simulated(&self) -> bool {
        self.simulated
    }
}

/// Checks a document as of `now` (spec/channel.md §3): all that [`connect`](crate::connect) checks, but for nonce and connection.
///
/// # Errors
/// [`ConnectFailure`], with every check that would have run.
pub fn check_kept(
    document: &[u8],
    policy: &ClientPolicy,
    anchors: &Anchors,
    now: UnixTime,
) -> Result<KeptServer, ConnectFailure> {
    let early = |error: ConnectError| ConnectFailure { error: Box::new(error), checks: Vec::new() };
    let document = AttestationDocument::parse(document).map_err(|e| early(e.into()))?;
    let evidence = document.evidence_bytes().map_err(|e| early(e.into()))?;
    let evidence = Evidence::parse(&evidence).map_err(|e| early(e.into()))?;
    let endorsements = document.endorsements(&evidence).map_err(|e| early(e.into()))?;
    let after = |checks: &[Check], rest: &[Vec<Check>]| [checks, &rest.concat()].concat();
    let stated = statement::not_reached();
    let beside = [operator::not_reached(), vtpm::not_reached(), devices::not_reached()].concat();

    let authentic = verify(&evidence, &endorsements, &anchors.machines, now).map_err(|rejected| {
        let checks = after(&rejected.checks, &[stated.clone(), beside.clone()]);
        ConnectFailure { checks, error: Box::new(rejected.into()) }
    })?;
    let report_data = statement::report_data(&document.statement);
    let binding = Binding::qualifying_data(statement::bound(evidence.platform(), &report_data));
    let verified = authentic.appraise(&policy.attest, &binding).map_err(|denied| {
        let checks = after(&denied.checks, &[stated, beside.clone()]);
        ConnectFailure { checks, error: Box::new(denied.into()) }
    })?;
    let offline =
        statement::check_offline(&verified, &document.statement, &policy.models, &policy.engine, now);
    let (statement, checks) = offline.map_err(|refused| {
        let checks = after(verified.checks(), &[refused.checks.clone(), beside]);
        ConnectFailure { checks, error: Box::new(refused.into()) }
    })?;
    let checks = after(verified.checks(), &[checks]);
    let text = &document.statement;
    let (shown, until) = (document.operator.as_ref(), UnixTime(statement.not_after));
    let more = operator::check(shown, text, &policy.operator, now, until).map_err(|refused| {
        let rest = [vtpm::not_reached(), devices::not_reached()].concat();
        ConnectFailure {
            checks: after(&checks, &[refused.checks.clone(), rest]),
            error: Box::new(refused.into()),
        }
    })?;
    let checks = after(&checks, &[more]);
    let shown = document.vtpm.as_ref();
    let more = vtpm::check_offline(&statement, text, shown, &policy.vtpm, &anchors.machines, now);
    let more = more.map_err(|refused| {
        let checks = after(&checks, &[refused.checks.clone(), devices::not_reached()]);
        ConnectFailure { checks, error: Box::new(refused.into()) }
    })?;
    let checks = after(&checks, &[more]);
    let shown = document.devices.as_ref();
    let more = devices::check_offline(&verified, &statement, shown, &policy.devices, &anchors.devices, now);
    let more = more.map_err(|refused| {
        let checks = after(&checks, std::slice::from_ref(&refused.checks));
        ConnectFailure { checks, error: Box::new(refused.into()) }
    })?;
    let checks = after(&checks, &[more]);
    Ok(KeptServer { claims: verified.claims().clone(), statement, checks, simulated: verified.simulated() })
}
