//! What the log holds, and what it never does.

use std::io;
use std::sync::{Arc, Mutex};

use crate::fixture::{Broker, KEY, SECRET};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_log_at_its_most_talkative_holds_no_key_no_token_and_no_session() {
    let lines = Lines::default();
    let writer = lines.clone();
    // For the whole process: calls run on other threads. Other tests write here too, and that only adds cases.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let broker = Broker::new();
    let (guest, token) = broker.attested().await;
    assert_eq!(broker.resource(&guest, KEY).await.status, 200);
    broker.resource(&guest, "models/none/1").await.assert_refused(404, "release.key.missing");

    let text = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    for expected in ["INFO", "attested", "released", "refused", "release.key.missing", "simulated=true"] {
        assert!(text.contains(expected), "{expected}");
    }
    let id = guest.cookie.strip_prefix("kbs-session-id=").unwrap();
    for secret in [
        id,
        &token,
        token.rsplit('.').next().unwrap(),
        std::str::from_utf8(SECRET).unwrap(),
        &hex::encode(SECRET),
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}
