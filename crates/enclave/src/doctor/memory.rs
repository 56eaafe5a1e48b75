//! DOC-10 to DOC-13: what happens to memory.

use std::io;

use super::rule::{Check, Rule};
use super::scene::Scene;
use crate::hardening::swap_device;
use crate::locked::KEY_MEMORY;

const SWAP: Rule = Rule("DOC-10", "memory.swap");
const LOCK_LIMIT: Rule = Rule("DOC-11", "memory.lock-limit");
const HUGE_PAGES: Rule = Rule("DOC-12", "memory.huge-pages");
const SECRET: Rule = Rule("DOC-13", "memory.secret");

pub(crate) fn checks(scene: &Scene) -> Vec<Check> {
    vec![
        with(scene, SWAP, "proc/swaps", swap),
        with(scene, LOCK_LIMIT, "proc/self/limits", lock_limit),
        with(scene, HUGE_PAGES, "proc/meminfo", huge_pages),
        secret(&scene.calls.secret_memory),
    ]
}

/// A check over one text of the kernel's.
pub(crate) fn with(scene: &Scene, rule: Rule, path: &str, judge: fn(&str) -> Check) -> Check {
    scene.read(path).map_or_else(|error| rule.unreadable(path, &error), |text| judge(&text))
}

/// The same look as `serve`'s.
fn swap(swaps: &str) -> Check {
    match swap_device(swaps) {
        _ if !swaps.starts_with("Filename") => {
            SWAP.unknown("/proc/swaps has another form than the kernel's", "is /proc the kernel's own?")
        }
        Some(device) => SWAP
            .fail(format!("swap is on: {device}"), "turn it off with `swapoff -a`, and in /etc/fstab")
            .code("boot.swap-on"),
        None => SWAP.pass("no swap"),
    }
}

fn lock_limit(limits: &str) -> Check {
    let soft = soft_limit(limits, "Max locked memory");
    match soft.map(|soft| (soft, soft.parse::<u64>())) {
        Some(("unlimited", _)) => LOCK_LIMIT.pass("no limit"),
        Some((_, Ok(bytes))) if bytes >= KEY_MEMORY => LOCK_LIMIT.pass(format!("{bytes} bytes")),
        Some((_, Ok(bytes))) => LOCK_LIMIT
            .fail(
                format!("{bytes} bytes may be locked, and the model key needs {KEY_MEMORY}"),
                "raise it where serve is started: `ulimit -l 64`, or LimitMEMLOCK= in its unit",
            )
            .code("boot.key-memory"),
        _ => LOCK_LIMIT.unknown("/proc/self/limits does not say", "is /proc the kernel's own?"),
    }
}

/// The soft limit in a line of /proc/self/limits.
fn soft_limit<'a>(limits: &'a str, name: &str) -> Option<&'a str> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// Reserved huge pages are memory that nothing else can have, and `serve` takes none.
fn huge_pages(meminfo: &str) -> Check {
    let number = |name: &str| -> Option<u64> {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    match (number("HugePages_Free"), number("Hugepagesize")) {
        (Some(0), _) | (None, None) => HUGE_PAGES.pass("none reserved"),
        (Some(free), Some(kib)) => HUGE_PAGES.warn(
            format!(
                "{} MiB are reserved as huge pages, which serve does not use",
                free.saturating_mul(kib) / 1024
            ),
            "give them back for the model's weights: `sysctl vm.nr_hugepages=0`",
        ),
        _ => HUGE_PAGES
            .unknown("/proc/meminfo has another form than the kernel's", "is /proc the kernel's own?"),
    }
}

/// Memory that the kernel itself has no map of: the model key's page, where it is there (confinement.md, CONF-08).
fn secret(answer: &io::Result<()>) -> Check {
    match answer {
        Ok(()) => SECRET.pass("memfd_secret is there"),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => SECRET.warn(
            "memfd_secret is not there",
            "serve keeps the model key on a locked page instead; boot with secretmem.enable=1, on a kernel built with CONFIG_SECRETMEM",
        ),
        Err(error) => SECRET.unknown(format!("memfd_secret: {error}"), "does a container forbid the call?"),
    }
}
