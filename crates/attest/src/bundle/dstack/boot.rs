//! What dstack's boot measured into RTMR3 before it handed the machine to the application.
//!
//! The application can extend RTMR3 too, with events of any name. What tells its events from those of the boot is
//! `system-ready`, with which the boot ends. That holds only where every event of the register is known for what it is: the
//! type of an event is covered by no digest, so that a sender could call an early `system-ready` something else and make
//! the application's own events look like the boot's.

use crate::bundle::BoundValue;
use crate::bundle::refused::BundleDenial;
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::eventlog::{DstackEvent, ReplayedEvent};
use crate::rules::Rule;
use crate::verdict::Verified;

/// RTMR3 holds dstack's events.
const REGISTER: u8 = 3;

/// The boot's last event.
const END: &str = "system-ready";

/// Names of the boot's events (dstack, dstack-util/src/system_setup.rs), each with whether it may be there more than once.
const BOOT: &[(&str, bool)] = &[
    ("system-preparing", false),
    ("app-id", false),
    ("compose-hash", false),
    ("init-script-hash", true),
    ("gpu-policy-hash", false),
    ("gpu-attestation", false),
    ("instance-id", false),
    ("boot-mr-done", false),
    ("mr-kms", false),
    ("os-image-hash", false),
    ("key-provider", false),
    ("storage-fs", false),
    (END, false),
];

/// What of the boot comes out: the name of an event, and that of the value.
const VALUES: &[(&str, &str)] = &[
    ("app-id", "app-id"),
    ("compose-hash", "compose-hash"),
    ("instance-id", "instance-id"),
    ("os-image-hash", "os-image-hash"),
    ("key-provider", "key-provider"),
];

/// The rules that a system's bundles have for this.
pub(in crate::bundle) struct BootRules {
    pub(in crate::bundle) log: &'static Rule,
    pub(in crate::bundle) boot: &'static Rule,
    pub(in crate::bundle) app: &'static Rule,
}

/// The boot's events, proven.
#[derive(Debug)]
pub(in crate::bundle) struct Boot {
    events: Vec<DstackEvent>,
}

/// Applies the three rules in their order.
pub(in crate::bundle) fn confirm(
    verified: &Verified,
    rules: &BootRules,
    ledger: &mut Ledger,
) -> Result<Boot, BundleDenial> {
    let events = ledger.record(rules.log, accounted(verified))?;
    let boot = ledger.record(rules.boot, booted(events))?;
    ledger.record(rules.app, boot.named())?;
    Ok(boot)
}

/// The log was replayed to RTMR3 of the evidence.
fn accounted(verified: &Verified) -> Result<(&[ReplayedEvent], Finding), BundleDenial> {
    let events = verified.event_log().and_then(|log| log.events(REGISTER));
    let events = events.ok_or(BundleDenial::RegisterNotAsked { register: REGISTER })?;
    Ok((events, Finding::Pass(format!("{} events", events.len()))))
}

/// Every event is one of dstack's; those of the boot come first, each once, and end.
fn booted(events: &[ReplayedEvent]) -> Result<(Boot, Finding), BundleDenial> {
    let mut boot: Vec<DstackEvent> = Vec::new();
    let mut over = false;
    for (position, event) in (1..).zip(events) {
        let own = event.content().and_then(DstackEvent::of_measured);
        let own = own.ok_or(BundleDenial::EventUnproven { position })?;
        let known = BOOT.iter().find(|(name, _)| *name == own.name);
        let again = boot.iter().any(|earlier| earlier.name == own.name);
        match known {
            Some((name, _)) if over => return Err(BundleDenial::EventLate { position, name }),
            Some((name, false)) if again => return Err(BundleDenial::EventTwice { position, name }),
            _ => {}
        }
        if !over {
            over = own.name == END;
            boot.push(own);
        }
    }
    if !over {
        return Err(BundleDenial::NoEvent { name: END });
    }
    let (own, later) = (boot.len(), events.len().saturating_sub(boot.len()));
    let finding = format!("{own} events of the boot; after it {later} of the application");
    Ok((Boot { events: boot }, Finding::Pass(finding)))
}

impl Boot {
    /// The payload of a boot event.
    pub(in crate::bundle) fn payload(&self, name: &str) -> Option<&[u8]> {
        self.events.iter().find(|event| event.name == name).map(|event| event.payload.as_slice())
    }

    /// Who was started, and from what.
    fn named(&self) -> Result<((), Finding), BundleDenial> {
        let app = self.payload("app-id").filter(|id| !id.is_empty());
        let app = app.ok_or(BundleDenial::NoEvent { name: "app-id" })?;
        let compose = self.payload("compose-hash").ok_or(BundleDenial::NoEvent { name: "compose-hash" })?;
        if compose.len() != 32 {
            return Err(BundleDenial::EventLength {
                name: "compose-hash",
                expected: 32,
                found: compose.len(),
            });
        }
        let finding = format!("application {}, compose file {}", hex::encode(app), hex::encode(compose));
        Ok(((), Finding::Pass(finding)))
    }

    /// The compose file is the one that was measured.
    pub(in crate::bundle) fn compose(
        &self,
        app_compose: Option<&str>,
    ) -> Result<((), Finding), BundleDenial> {
        let Some(text) = app_compose else {
            return Ok(((), Finding::Pass("the report carries none".to_owned())));
        };
        let expected = self.payload("compose-hash").unwrap_or_default();
        let found = crypto::sha256(text.as_bytes());
        if crypto::equal(expected, &found) {
            return Ok(((), Finding::Pass(format!("{} bytes, with the measured digest", text.len()))));
        }
        Err(BundleDenial::Digest {
            member: "app_compose",
            expected: expected.to_vec(),
            found: found.to_vec(),
        })
    }

    /// What comes out.
    pub(in crate::bundle) fn values(&self) -> Vec<BoundValue> {
        let value = |(event, name): &(&str, &'static str)| Some(BoundValue::new(name, self.payload(event)?));
        VALUES.iter().filter_map(value).collect()
    }
}
