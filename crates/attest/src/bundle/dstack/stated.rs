//! `info`: what the guest agent says of itself. Nothing authenticates it. Where the evidence has the same value, the two are
//! compared; the rest is not looked at.

use serde_json::Value;

use super::boot::Boot;
use super::report::decoded;
use crate::bundle::NotAsked;
use crate::bundle::error::BundleError;
use crate::bundle::members::{self, Members};
use crate::bundle::refused::BundleDenial;
use crate::checks::Finding;
use crate::evidence::Evidence;
use crate::json;

/// What the evidence has, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    ReportData,
    Mrtd,
    Rtmr(usize),
    /// The payload of the boot event of this name.
    Event(&'static str),
}

/// Members, and what they repeat.
const REPEATED: &[(&str, Of)] = &[
    ("info.app_id", Of::Event("app-id")),
    ("info.compose_hash", Of::Event("compose-hash")),
    ("info.instance_id", Of::Event("instance-id")),
    ("info.os_image_hash", Of::Event("os-image-hash")),
];
const REPEATED_OF_TCB: &[(&str, Of)] = &[
    ("info.tcb_info.mrtd", Of::Mrtd),
    ("info.tcb_info.rtmr0", Of::Rtmr(0)),
    ("info.tcb_info.rtmr1", Of::Rtmr(1)),
    ("info.tcb_info.rtmr2", Of::Rtmr(2)),
    ("info.tcb_info.rtmr3", Of::Rtmr(3)),
    ("info.tcb_info.compose_hash", Of::Event("compose-hash")),
    ("info.tcb_info.os_image_hash", Of::Event("os-image-hash")),
];

/// What a report says that the evidence says better.
#[derive(Debug, Clone, Default)]
pub(super) struct Stated {
    /// The compose file, as it was measured.
    pub(super) app_compose: Option<String>,
    repeated: Vec<(&'static str, Of, Vec<u8>)>,
    rest: Vec<String>,
}

impl Stated {
    /// `report_data` and `info` of a report.
    pub(super) fn read(report: &mut Members) -> Result<Self, BundleError> {
        let mut own = Self::default();
        own.take(report, "report_data", Of::ReportData)?;
        let Some(info) = object(report.given("info"), "info")? else { return Ok(own) };
        let mut info = info;
        for (path, of) in REPEATED {
            own.take(&mut info, path, *of)?;
        }
        if let Some(mut tcb) = object(info.given("tcb_info"), "info.tcb_info")? {
            for (path, of) in REPEATED_OF_TCB {
                own.take(&mut tcb, path, *of)?;
            }
            own.app_compose = told(&mut tcb, "info.tcb_info.app_compose")?;
            own.rest.extend(tcb.rest().iter().map(|name| format!("info.tcb_info.{}", json::shorten(name))));
        }
        own.rest.extend(info.rest().iter().map(|name| format!("info.{}", json::shorten(name))));
        Ok(own)
    }

    /// What of it nobody looks at.
    pub(super) fn not_asked(&self) -> impl Iterator<Item = NotAsked> {
        self.rest.iter().map(|what| NotAsked {
            what: what.clone(),
            why: "the guest agent's word; nothing authenticates it",
        })
    }

    /// BUN-D08.
    pub(super) fn compare(&self, evidence: &Evidence, boot: &Boot) -> Result<((), Finding), BundleDenial> {
        let mut unmeasured = Vec::new();
        for (member, of, found) in &self.repeated {
            let expected = match (of, evidence.tdx()) {
                (Of::ReportData, Some(quote)) => Some(quote.report_data().to_vec()),
                (Of::Mrtd, Some(quote)) => Some(quote.mr_td().to_vec()),
                (Of::Rtmr(number), Some(quote)) => quote.rtmrs().get(*number).map(|rtmr| rtmr.to_vec()),
                (Of::Event(name), _) => boot.payload(name).map(<[u8]>::to_vec),
                (_, None) => None,
            };
            match expected {
                Some(expected) if expected == *found => {}
                Some(expected) => {
                    return Err(BundleDenial::Digest { member, expected, found: found.clone() });
                }
                None => unmeasured.push(*member),
            }
        }
        let compared = self.repeated.len().saturating_sub(unmeasured.len());
        let mut finding = format!("{compared} values equal");
        if !unmeasured.is_empty() {
            finding.push_str(&format!("; not measured, and not believed: {}", unmeasured.join(", ")));
        }
        Ok(((), Finding::Pass(finding)))
    }

    fn take(&mut self, members: &mut Members, path: &'static str, of: Of) -> Result<(), BundleError> {
        if let Some(text) = told(members, path)? {
            self.repeated.push((path, of, decoded(&text, path)?));
        }
        Ok(())
    }
}

/// Text, where it says something: agents that do not tell write `""`.
fn told(members: &mut Members, path: &'static str) -> Result<Option<String>, BundleError> {
    let text = members.given(path).map(|value| members::text(value, path)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// An object, or the text of one.
fn object(value: Option<Value>, path: &'static str) -> Result<Option<Members>, BundleError> {
    Ok(Some(match value {
        None => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => Members::parse(text.as_bytes(), path)?,
        Some(value) => Members::of(value, path)?,
    }))
}
