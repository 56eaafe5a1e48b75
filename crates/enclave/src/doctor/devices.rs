//! DOC-04: each device of a confidential VM that is there, and who may use it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::rule::{Check, Rule};
use super::scene::Scene;

/// What stands at a device's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A device, or a software TPM's socket, with its mode.
    Device { mode: u32 },
    /// configfs-tsm's directory.
    Directory,
    /// Something that is no device.
    Other,
}

/// A device has no check where it is not there.
pub(crate) fn checks(scene: &Scene) -> Vec<Check> {
    let roots = &scene.roots;
    let devices = [
        ("device.nsm", &roots.nsm),
        ("device.tpm", &roots.tpm),
        ("device.sev-guest", &roots.sev_guest),
        ("device.tdx-guest", &roots.tdx_guest),
        ("device.configfs-tsm", &roots.tsm),
    ];
    let present = devices.into_iter().filter_map(|(id, path)| match path.metadata() {
        Ok(metadata) => Some((id, path, Ok(metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some((id, path, Err(error))),
    });
    present.map(|(id, path, metadata)| of(Rule("DOC-04", id), path, metadata)).collect()
}

fn of(rule: Rule, path: &Path, metadata: io::Result<Metadata>) -> Check {
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) => {
            return rule.unknown(format!("{} cannot be looked at: {error}", path.display()), AS_ROOT);
        }
    };
    let kind = metadata.file_type();
    let found = if kind.is_char_device() || kind.is_socket() {
        Found::Device { mode: metadata.mode() & 0o777 }
    } else if kind.is_dir() {
        Found::Directory
    } else {
        Found::Other
    };
    // Nothing is opened but a device: a pipe in its place would keep us.
    let opened = match found {
        Found::Device { .. } if kind.is_char_device() => {
            File::options().read(true).write(true).open(path).map(drop)
        }
        _ => Ok(()),
    };
    judge(rule, &path.display().to_string(), found, &opened)
}

pub(crate) fn judge(rule: Rule, path: &str, found: Found, opened: &io::Result<()>) -> Check {
    let directory = rule.1 == "device.configfs-tsm";
    match (found, opened) {
        (Found::Directory, _) if directory => rule.pass(path),
        (Found::Device { .. }, Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            rule.unknown(format!("{path} is not for this user"), AS_ROOT).code("attester.device")
        }
        (Found::Device { .. }, Err(error)) if !directory => rule
            .fail(format!("{path} cannot be opened: {error}"), "see the kernel's log for its driver")
            .code("attester.device"),
        (Found::Device { mode }, Ok(())) if !directory && mode & 0o002 != 0 => rule.warn(
            format!("{path} is writable for everybody (mode {mode:03o})"),
            "every program of this machine can ask it for evidence: take the right away with a udev rule (MODE=\"0600\")",
        ),
        (Found::Device { mode }, Ok(())) if !directory => rule.pass(format!("{path} (mode {mode:03o})")),
        _ => rule.fail(
            format!("{path} is not {}", if directory { "a directory" } else { "a device" }),
            "something else stands in its place: find out who made it",
        ),
    }
}

const AS_ROOT: &str = "run it as root: serve opens devices before it drops its privileges";
