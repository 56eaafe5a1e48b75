//! A virtual TPM that stands beside a machine's hardware (spec/channel.md §8): what the machine booted, where the launch
//! measurement is the provider's firmware alone.
//!
//! Hardware and virtual TPM bind the same runtime statement, each in its own way, and the statement names the key that the
//! virtual TPM quotes with:
//!
//! ```text
//! hardware's report data  = report_data(statement)            the statement names the attestation key
//! quote's qualifying data = SHA-256(report_data(statement))   statement::bound; the attestation key signs it
//! ```
//!
//! So a quote for another statement, and thus for another nonce or TLS key, is no quote for this one, whoever asked for it.

mod error;
mod rule;

use casemate_attest::{
    Binding, Check, Danger, Endorsements, Evidence, Outcome, Platform, Policy, Rule, TrustAnchors, UnixTime,
    Verified, verify,
};

use crate::document::DocumentVtpm;
use crate::rows::{row, with_rest};
use crate::statement::{self, AttestedStatement, RuntimeStatement, Stated};

pub use error::{VtpmError, VtpmRefused};
pub use rule::{VtpmProvider, VtpmRule, VtpmRuleError, VtpmTable};

/// A machine's virtual TPM, verified and the machine's own; or none, where none is demanded. Only [`check`] makes one.
///
/// ```compile_fail
/// fn forge(vtpm: casemate_protocol::vtpm::AttestedVtpm) -> casemate_protocol::vtpm::AttestedVtpm {
///     casemate_protocol::vtpm::AttestedVtpm { ..vtpm }
/// }
/// ```
#[derive(Debug)]
pub struct AttestedVtpm {
    verified: Option<Verified>,
    checks: Vec<Check>,
    valid_until: UnixTime,
}

/// The rules of spec/channel.md §8, in order. Those of the virtual TPM's evidence come between them.
pub static RULES: [Rule; 2] = [
    Rule {
        id: "CH-17",
        title: "machine shows the virtual TPM that we demand, or shows none",
        spec: "channel.md §8 CH-17",
        why: "Where the launch measurement is firmware alone, only the virtual TPM says which kernel reads the prompt.",
    },
    Rule {
        id: "CH-18",
        title: "runtime statement names the attestation key of this virtual TPM",
        spec: "channel.md §8 CH-18",
        why: "A genuine virtual TPM of another machine says what that other machine booted.",
    },
];

/// What a statement names of an attestation key: its Name (TPM 2.0 Part 1, 16) without the algorithm; `None` where the evidence
/// is not of a virtual TPM of GCE.
pub fn key_sha256(evidence: &Evidence) -> Option<[u8; 32]> {
    let name = evidence.gce()?.public().name();
    name.last_chunk().copied()
}

/// Endorsements with a relying party's decision about certificates that name no revocation list.
#[must_use]
pub fn with_unlisted(endorsements: Endorsements, unlisted: &Danger) -> Endorsements {
    match unlisted {
        Danger::Refuse => endorsements,
        Danger::Allow { reason } => endorsements.danger_unlisted(reason.clone()),
    }
}

/// Checks that the machine of an attested statement has the virtual TPM that `rule` demands, genuine and as its terms say, and
/// that it is this machine's. `document` is the statement's text, which [`statement::check`] found to be bound.
///
/// # Errors
/// [`VtpmRefused`], with the first rule that does not hold.
pub fn check(
    statement: &AttestedStatement,
    document: &str,
    vtpm: Option<&DocumentVtpm>,
    rule: &VtpmRule,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<AttestedVtpm, VtpmRefused> {
    let stating = Stating { statement: statement.statement(), document };
    let (verified, checks) = stating.check(vtpm, rule, anchors, now)?;
    let ends = verified.iter().map(Verified::valid_until).chain([statement.valid_until()]);
    let valid_until = ends.min().unwrap_or(UnixTime(0));
    Ok(AttestedVtpm { verified, checks, valid_until })
}

/// As [`check`] for a document that was kept, whose `statement` is `document` read; it yields no [`AttestedVtpm`].
///
/// # Errors
/// As [`check`].
pub fn check_offline(
    statement: &RuntimeStatement,
    document: &str,
    vtpm: Option<&DocumentVtpm>,
    rule: &VtpmRule,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<Vec<Check>, VtpmRefused> {
    Stating { statement, document }.check(vtpm, rule, anchors, now).map(|(_, checks)| checks)
}

/// The rows of [`RULES`] as not reached, for a report that ended before the virtual TPM was looked at.
pub fn not_reached() -> Vec<Check> {
    with_rest(Vec::new(), &RULES)
}

// === impl AttestedVtpm ===

impl AttestedVtpm {
    /// Its verified evidence, where the rule demanded it.
    pub fn verified(&self) -> Option<&Verified> {
        self.verified.as_ref()
    }

    /// The checks of its evidence and of this module, which passed or were waived.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The earliest end of statement and evidence.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

// === the check's steps ===

/// A machine whose statement its hardware's evidence binds.
struct Stating<'a> {
    statement: &'a RuntimeStatement,
    document: &'a str,
}

impl Stating<'_> {
    fn check(
        &self,
        vtpm: Option<&DocumentVtpm>,
        rule: &VtpmRule,
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Result<(Option<Verified>, Vec<Check>), VtpmRefused> {
        let [demanded, named] = &RULES;
        let mut checks = Vec::new();
        let refuse = |reason: VtpmError, mut checks: Vec<Check>, rule: Option<&'static Rule>| {
            checks.extend(rule.map(|rule| row(rule, Outcome::Fail, reason.to_string())));
            VtpmRefused { reason, checks: with_rest(checks, &RULES) }
        };
        // CH-17
        let shown = self.demanded(vtpm, rule).map_err(|reason| refuse(reason, Vec::new(), Some(demanded)))?;
        let Some((vtpm, policy, unlisted)) = shown else {
            checks.push(row(demanded, Outcome::Pass, "none stated, none demanded".to_owned()));
            return Ok((None, checks));
        };
        let evidence = read(vtpm).map_err(|reason| refuse(reason, Vec::new(), Some(demanded)))?;
        checks.push(row(demanded, Outcome::Pass, format!("{} demanded", evidence.platform())));
        // GV-01 to GV-15; the qualifying data of GV-15 is the statement's.
        let asked = statement::report_data(self.document);
        let verified =
            appraise(&evidence, vtpm, policy, unlisted, &asked, anchors, now).map_err(|(reason, rows)| {
                let checks = [&checks[..], &rows].concat();
                refuse(reason, checks, None)
            })?;
        checks.extend(verified.checks().iter().cloned());
        // CH-18
        match self.named(&evidence) {
            Ok(compared) => checks.push(row(named, Outcome::Pass, compared)),
            Err(reason) => return Err(refuse(reason, checks, Some(named))),
        }
        Ok((Some(verified), checks))
    }

    /// CH-17.
    fn demanded<'v>(
        &self,
        vtpm: Option<&'v DocumentVtpm>,
        rule: &'v VtpmRule,
    ) -> Result<Option<(&'v DocumentVtpm, &'v Policy, &'v Danger)>, VtpmError> {
        match (rule, self.statement.vtpm_key_sha256, vtpm) {
            (VtpmRule::None, Stated::None, None) => Ok(None),
            (VtpmRule::None, ..) => Err(VtpmError::NotExpected),
            (VtpmRule::Google { .. }, Stated::None, _) | (VtpmRule::Google { .. }, _, None) => {
                Err(VtpmError::Missing)
            }
            (VtpmRule::Google { policy, unlisted }, Stated::Is(_), Some(vtpm)) => {
                Ok(Some((vtpm, policy, unlisted)))
            }
        }
    }

    /// CH-18.
    fn named(&self, evidence: &Evidence) -> Result<String, VtpmError> {
        let found = key_sha256(evidence).map_or(Stated::None, Stated::Is);
        let stated = self.statement.vtpm_key_sha256;
        if found == Stated::None || stated != found {
            return Err(VtpmError::NotStated { stated: stated.text(), found: found.text() });
        }
        Ok(found.text())
    }
}

/// Whether `evidence` is genuine with the endorsements of `vtpm`, is what `policy` asks for, and quotes for the SHA-256 of these 64
/// bytes. To whom it belongs is another question. A refusal comes with the rows of its rules.
pub(crate) fn appraise(
    evidence: &Evidence,
    vtpm: &DocumentVtpm,
    policy: &Policy,
    unlisted: &Danger,
    asked: &[u8; 64],
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<Verified, (VtpmError, Vec<Check>)> {
    let endorsements = vtpm.endorsements.of(evidence).map_err(|error| (error.into(), Vec::new()))?;
    let endorsements = with_unlisted(endorsements, unlisted);
    let authentic = verify(evidence, &endorsements, anchors, now).map_err(|rejected| {
        let rows = rejected.checks.clone();
        (VtpmError::Rejected(Box::new(rejected)), rows)
    })?;
    let bound = statement::bound(evidence.platform(), asked);
    authentic.appraise(policy, &Binding::qualifying_data(bound)).map_err(|denied| {
        let rows = denied.checks.clone();
        (VtpmError::Denied(Box::new(denied)), rows)
    })
}

/// Evidence of a virtual TPM, and of nothing else: no hardware's evidence takes its place.
pub(crate) fn read(vtpm: &DocumentVtpm) -> Result<Evidence, VtpmError> {
    let evidence = Evidence::parse(&vtpm.evidence_bytes()?)?;
    match evidence.platform() {
        Platform::GceVtpm => Ok(evidence),
        found => Err(VtpmError::Platform { found }),
    }
}
