//! Reads the tenants' keys anew when their file has changed, or when SIGHUP asks for it (spec/serving.md, SRV-57).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Tenants;

/// Watches for as long as it is polled.
pub(crate) async fn watch(path: PathBuf, tenants: Arc<Tenants>) {
    // Without the signal, changes are seen all the same.
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut seen = stamp(&path);
    loop {
        let asked = match &mut hangup {
            Some(hangup) => tokio::select! {
                asked = hangup.recv() => asked.is_some(),
                () = tokio::time::sleep(LOOK) => false,
            },
            None => {
                tokio::time::sleep(LOOK).await;
                false
            }
        };
        // Before it is read: what is written meanwhile is another stamp, and is read again.
        let now = stamp(&path);
        if !asked && now == seen {
            continue;
        }
        seen = now;
        let reload = {
            let (path, tenants) = (path.clone(), Arc::clone(&tenants));
            tokio::task::spawn_blocking(move || tenants.reload(&path)).await
        };
        match reload {
            Ok(Ok(())) => tracing::info!("the tenants' keys were read anew"),
            Ok(Err(error)) => {
                tracing::error!(
                    code = error.code(),
                    "the tenants' keys stay as they were: {}: {error}",
                    path.display()
                );
            }
            Err(_) => tracing::error!("the tenants' keys stay as they were: reading them failed"),
        }
    }
}

/// What changes with a file: its place, its time, its size.
fn stamp(path: &Path) -> Option<[i64; 5]> {
    let data = std::fs::metadata(path).ok()?;
    Some([
        data.dev().cast_signed(),
        data.ino().cast_signed(),
        data.mtime(),
        data.mtime_nsec(),
        data.size().cast_signed(),
    ])
}

const LOOK: Duration = Duration::from_secs(2);
