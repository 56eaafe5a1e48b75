//! When a host may be asked again: one small file a host, locked while a request is on its way, so that every process of
//! this cache folder keeps the same distance (END-10, END-11).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Notice;
use super::error::EndorseError;

/// The right to send one request. Others wait until it is dropped.
pub(super) struct Turn {
    file: File,
    path: PathBuf,
}

/// Who is asked, and how long anyone may wait for it.
pub(super) struct Queue<'a> {
    pub(super) folder: &'a Path,
    /// With its port.
    pub(super) host: &'a str,
    /// Least time between two requests.
    pub(super) interval: Duration,
    pub(super) deadline: Instant,
    pub(super) notify: &'a (dyn Fn(&Notice) + Sync),
}

impl Turn {
    /// Waits for the host's file and then for its time. The distance to the next request is written before this one is
    /// sent, so that it holds if this process ends.
    pub(super) async fn take(queue: &Queue<'_>) -> Result<Self, EndorseError> {
        let folder = queue.folder.join("hosts");
        let path = folder.join(file_name(queue.host));
        let failed = |source| EndorseError::CacheFile { path: path.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        let began = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < queue.deadline => {}
                Err(TryLockError::WouldBlock) => return Err(queue.busy(queue.interval)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            if !told && began.elapsed() > WORTH_TELLING {
                (queue.notify)(&queue.waiting(queue.interval));
                told = true;
            }
            tokio::time::sleep(POLL).await;
        }
        let mut turn = Self { file, path: path.clone() };
        let wait = turn.read(queue.interval).map_err(failed)?;
        let patience = queue.deadline.saturating_duration_since(Instant::now());
        if wait > patience {
            return Err(queue.busy(wait));
        }
        if wait > WORTH_TELLING {
            (queue.notify)(&queue.waiting(wait));
        }
        tokio::time::sleep(wait).await;
        turn.next_after(queue.interval)?;
        Ok(turn)
    }

    /// Nobody asks the host for that long from now.
    pub(super) fn next_after(&mut self, wait: Duration) -> Result<(), EndorseError> {
        let at = milliseconds().saturating_add(as_milliseconds(wait.min(LONGEST_KEPT)));
        self.write(at).map_err(|source| EndorseError::CacheFile { path: self.path.clone(), source })
    }

    /// How long until the host may be asked. A file that cannot be understood costs one interval.
    fn read(&mut self, interval: Duration) -> io::Result<Duration> {
        let mut text = String::new();
        (&self.file).take(MAX_TEXT).read_to_string(&mut text).or_else(|error| match error.kind() {
            io::ErrorKind::InvalidData => Ok(0),
            _ => Err(error),
        })?;
        let length = self.file.metadata()?.len();
        if length == 0 {
            return Ok(Duration::ZERO);
        }
        let Ok(at) = text.trim().parse::<u64>() else { return Ok(interval) };
        let wait = Duration::from_millis(at.saturating_sub(milliseconds()));
        // A clock that went back does not close the host for longer than a service could have asked for.
        Ok(wait.min(LONGEST_KEPT))
    }

    fn write(&mut self, at: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.set_len(0)?;
        self.file.write_all(format!("{at}\n").as_bytes())
    }
}

impl Queue<'_> {
    fn busy(&self, wait: Duration) -> EndorseError {
        EndorseError::Busy { host: self.host.to_owned(), seconds: seconds_up(wait) }
    }

    fn waiting(&self, wait: Duration) -> Notice {
        Notice::Waiting { host: self.host.to_owned(), seconds: seconds_up(wait) }
    }
}

fn file_name(host: &str) -> String {
    host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' }).collect()
}

fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

/// The clock is only compared with what this cache folder's processes wrote; before 1970 it is 0, and everyone waits.
fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, as_milliseconds)
}

fn as_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Shorter waits are not worth a line.
const WORTH_TELLING: Duration = Duration::from_secs(2);
/// How often a locked file is tried again.
const POLL: Duration = Duration::from_millis(20);
/// A service that asks for more is asked again after this: nobody repairs a refusal of a year.
const LONGEST_KEPT: Duration = Duration::from_secs(3600);
/// A number of milliseconds has 13 digits until the year 2286.
const MAX_TEXT: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(folder: &Path, patience: u64) -> Queue<'_> {
        Queue {
            folder,
            host: "a.example:1",
            interval: Duration::from_millis(300),
            deadline: Instant::now() + Duration::from_millis(patience),
            notify: &|_| (),
        }
    }

    #[tokio::test]
    async fn the_second_turn_waits_for_the_interval() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Turn::take(&queue(folder.path(), 1000)).await.expect("the first"));
        let began = Instant::now();
        drop(Turn::take(&queue(folder.path(), 1000)).await.expect("the second"));
        assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
        let error = Turn::take(&queue(folder.path(), 100)).await.err().expect("no patience");
        assert_eq!(error.code(), "endorse.busy");
    }

    #[tokio::test]
    async fn a_turn_is_held_by_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = Turn::take(&queue(folder.path(), 1000)).await.expect("the first");
        let error = Turn::take(&queue(folder.path(), 100)).await.err().expect("locked");
        assert_eq!(error.code(), "endorse.busy");
        drop(held);
        Turn::take(&queue(folder.path(), 1000)).await.expect("free again");
    }

    #[tokio::test]
    async fn a_file_from_another_clock_or_hand_closes_nothing_for_good() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("hosts")).expect("a folder");
        let path = folder.path().join("hosts").join("a.example_1");
        for (text, least, most) in [
            ("", 0, 0),
            ("garbage", 300, 300),
            ("\u{ff}", 300, 300),
            ("-1", 300, 300),
            ("0", 0, 0),
            ("18446744073709551615", 3_600_000, 3_600_000),
        ] {
            fs::write(&path, text).expect("written");
            let file = File::open(&path).expect("there");
            let wait = Turn { file, path: path.clone() }.read(Duration::from_millis(300)).expect("readable");
            assert!((least..=most).contains(&as_milliseconds(wait)), "{text}: {wait:?}");
        }
        fs::write(&path, [0xff, 0xfe]).expect("written");
        let file = File::open(&path).expect("there");
        let wait = Turn { file, path: path.clone() }.read(Duration::from_millis(300)).expect("readable");
        assert_eq!(wait, Duration::from_millis(300));
    }
}
