//! DOC-30 and DOC-31: the clock, by which certificates and statements are valid or not.

use std::io;

use super::rule::{Check, Rule};
use super::scene::Scene;

const SANE: Rule = Rule("DOC-30", "clock.sane");
const SYNCHRONISED: Rule = Rule("DOC-31", "clock.synchronised");

pub(crate) fn checks(scene: &Scene) -> Vec<Check> {
    vec![sane(scene.now), synchronised(&scene.calls.synchronised)]
}

pub(crate) fn sane(now: u64) -> Check {
    let hint = "set the clock, or give the machine a service that does (chrony, systemd-timesyncd)";
    if now < THIS_VERSION {
        return SANE.fail(format!("{now} seconds since 1970 is before this program was made"), hint);
    }
    if now - THIS_VERSION > FIFTY_YEARS {
        return SANE.fail(format!("{now} seconds since 1970 is more than fifty years ahead"), hint);
    }
    SANE.pass(format!("{now} seconds since 1970"))
}

fn synchronised(answer: &io::Result<bool>) -> Check {
    match answer {
        Ok(true) => SYNCHRONISED.pass("a time service keeps the clock"),
        Ok(false) => SYNCHRONISED.warn(
            "no time service keeps the clock: it is as good as the host's",
            "run chrony or systemd-timesyncd: a host can make an old revocation list look current by a slow clock",
        ),
        Err(error) => SYNCHRONISED.unknown(format!("adjtimex: {error}"), "does a container forbid the call?"),
    }
}

/// 1 November 2026.
pub(crate) const THIS_VERSION: u64 = 1_793_491_200;
const FIFTY_YEARS: u64 = 50 * 365 * 86_400;
