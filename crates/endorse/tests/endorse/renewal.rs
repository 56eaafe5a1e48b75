//! Asking anew before the end, and never back (END-23, END-24). The evidence is a simulated vendor's.

use std::sync::OnceLock;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_endorse::{EndorseKind, Origin, Settings};
use casemate_sim::{CrlMistake, Vendor};
use libtest_mimic::Failed;

use crate::machine::{Made, NOW, cache, settings};
use crate::replay::{Replay, Reply};

type Case = (&'static str, fn() -> Result<(), Failed>);

pub(crate) const CASES: &[Case] = &[
    ("a kept list past its renewal is asked for anew where that is wanted, and only then", asked_anew),
    ("the service has the same list still", same_list),
    ("a service that cannot be reached is an error then, and the list stays", unreachable),
    ("an older list is refused, and the newer one stays", older),
];

const DAY: u64 = 86_400;

struct Lists {
    made: Made,
    /// Past its renewal at NOW, and in date for three days more.
    ageing: Vec<u8>,
    /// Issued now.
    new: Vec<u8>,
    /// Issued before the first, and in date for longer.
    older: Vec<u8>,
}

fn lists() -> &'static Lists {
    static LISTS: OnceLock<Lists> = OnceLock::new();
    LISTS.get_or_init(|| {
        let vendor = Vendor::create(ProductLine::Genoa, NOW).expect("a vendor");
        let list = |from: UnixTime, until: UnixTime| {
            let window = CrlMistake::Window { this_update: from, next_update: until };
            vendor.crl_with(&window).expect("a list")
        };
        Lists {
            made: Made::of(&vendor, [8; 48]),
            ageing: list(UnixTime(NOW.0 - 9 * DAY), UnixTime(NOW.0 + 3 * DAY)),
            new: list(NOW, UnixTime(NOW.0 + 12 * DAY)),
            older: list(UnixTime(NOW.0 - 20 * DAY), UnixTime(NOW.0 + 20 * DAY)),
        }
    })
}

/// A service that gave the ageing list once, and the cache folder that has it.
fn ageing() -> Result<(Replay, tempfile::TempDir, Settings), Failed> {
    let lists = lists();
    let (service, cache) = (lists.made.service(), cache());
    service.answer(&lists.made.targets[1], Reply::Body(lists.ageing.clone()));
    let settings = settings(&service.url(), &cache);
    let first = lists.made.fetch(&settings)?;
    assert_eq!(first.bundle.amd().expect("AMD's").1, lists.ageing);
    Ok((service, cache, settings))
}

fn renewing(settings: &Settings) -> Settings {
    Settings { renew: true, ..settings.clone() }
}

fn asked_anew() -> Result<(), Failed> {
    let lists = lists();
    let (service, _cache, settings) = ageing()?;
    service.answer(&lists.made.targets[1], Reply::Body(lists.new.clone()));
    assert_eq!(lists.made.fetch(&settings)?.bundle.amd().expect("AMD's").1, lists.ageing);
    assert_eq!(service.seen().len(), 2, "in date, and nobody wanted a newer one");
    let renewed = lists.made.fetch(&renewing(&settings))?;
    assert_eq!(renewed.bundle.amd().expect("AMD's").1, lists.new);
    let origins: Vec<_> = renewed.items.iter().map(|item| item.origin).collect();
    assert_eq!(origins, [Origin::Cache, Origin::Service], "the certificate is not asked for again");
    assert_eq!(service.targets()[2..], [lists.made.targets[1].clone()]);
    // The new one is not due.
    lists.made.fetch(&renewing(&settings))?;
    assert_eq!(service.seen().len(), 3);
    Ok(())
}

fn same_list() -> Result<(), Failed> {
    let lists = lists();
    let (service, _cache, settings) = ageing()?;
    let again = lists.made.fetch(&renewing(&settings))?;
    assert_eq!(again.bundle.amd().expect("AMD's").1, lists.ageing);
    assert_eq!(service.seen().len(), 3);
    Ok(())
}

fn unreachable() -> Result<(), Failed> {
    let lists = lists();
    let (service, _cache, settings) = ageing()?;
    service.answer(&lists.made.targets[1], Reply::Truncated(lists.new.clone()));
    let error = lists.made.fetch(&renewing(&settings)).expect_err("no answer");
    assert_eq!((error.code(), error.kind()), ("endorse.unreachable", EndorseKind::Unreachable));
    assert_eq!(lists.made.fetch(&settings)?.bundle.amd().expect("AMD's").1, lists.ageing);
    Ok(())
}

fn older() -> Result<(), Failed> {
    let lists = lists();
    let (service, _cache, settings) = ageing()?;
    service.answer(&lists.made.targets[1], Reply::Body(lists.older.clone()));
    let error = lists.made.fetch(&renewing(&settings)).expect_err("older");
    assert_eq!((error.code(), error.kind()), ("endorse.answer.older", EndorseKind::Undecidable));
    assert_eq!(lists.made.fetch(&settings)?.bundle.amd().expect("AMD's").1, lists.ageing);
    Ok(())
}
