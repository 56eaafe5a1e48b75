//! Who listens at a port of this machine, by what the kernel says in /proc/net (spec/upstream.md, UP-12): a program that was started
//! at a port need not be the one that got it, and may listen to the whole world.

use std::fs;

use super::error::UpstreamError;

/// Checks that the one who listens at `port` is `user`, and on the loopback only. `false` where nobody does yet.
pub(super) fn check(port: u16, user: u32) -> Result<bool, UpstreamError> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    within(&read("/proc/self/net/tcp"), &read("/proc/self/net/tcp6"), port, user)
}

fn within(tcp: &str, tcp6: &str, port: u16, user: u32) -> Result<bool, UpstreamError> {
    let mut found = false;
    for line in tcp.lines().chain(tcp6.lines()) {
        let Some(listening) = Listening::read(line) else { continue };
        if listening.port != port {
            continue;
        }
        if listening.user != user {
            return Err(UpstreamError::Foreign { user: listening.user });
        }
        if !listening.loopback {
            return Err(UpstreamError::Exposed);
        }
        found = true;
    }
    Ok(found)
}

struct Listening {
    port: u16,
    loopback: bool,
    user: u32,
}

impl Listening {
    /// `None` for what does not listen, and for the heading.
    ///
    /// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid …`, addresses as 32-bit words of the machine's own order.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        if fields.nth(1)? != LISTEN {
            return None;
        }
        let loopback = match address.len() {
            // The first byte of the address is the last of the word, on the little-endian machines that there are TEEs of.
            8 => address.ends_with("7F"),
            32 => address == "00000000000000000000000001000000" || is_mapped_loopback(address),
            _ => false,
        };
        Some(Self { port: u16::from_str_radix(port, 16).ok()?, loopback, user: fields.nth(3)?.parse().ok()? })
    }
}

/// `::ffff:127.0.0.0/8`.
fn is_mapped_loopback(address: &str) -> bool {
    address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F")
}

const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn line(address: &str, state: &str, user: u32) -> String {
        format!(
            "{HEADING}   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {user:>5}        0 1 1 0 100 0\n"
        )
    }

    #[test]
    fn only_our_own_and_only_on_the_loopback() {
        let code = |tcp: &str, tcp6: &str| match within(tcp, tcp6, 8080, 1000) {
            Ok(true) => "ours",
            Ok(false) => "nobody",
            Err(error) => error.code(),
        };
        let ours = line("0100007F:1F90", "0A", 1000);
        assert_eq!(code(&ours, ""), "ours");
        assert_eq!(code("", &line("00000000000000000000000001000000:1F90", "0A", 1000)), "ours");
        assert_eq!(code("", &line("0000000000000000FFFF00000100007F:1F90", "0A", 1000)), "ours");
        assert_eq!(code(HEADING, HEADING), "nobody");
        assert_eq!(code(&line("0100007F:1F91", "0A", 0), ""), "nobody", "another port");
        assert_eq!(code(&line("0100007F:1F90", "01", 0), ""), "nobody", "a connection");
        assert_eq!(code(&line("0100007F:1F90", "0A", 0), ""), "upstream.foreign");
        assert_eq!(code(&line("00000000:1F90", "0A", 1000), ""), "upstream.exposed");
        assert_eq!(code(&line("0A00000A:1F90", "0A", 1000), ""), "upstream.exposed");
        assert_eq!(
            code(&ours, &line("00000000000000000000000000000000:1F90", "0A", 1000)),
            "upstream.exposed"
        );
    }

    #[test]
    fn this_kernel_says_it_so() {
        let user = rustix::process::geteuid().as_raw();
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(check(ours.local_addr().unwrap().port(), user).unwrap());
        let exposed = TcpListener::bind("0.0.0.0:0").unwrap();
        let found = check(exposed.local_addr().unwrap().port(), user);
        assert_eq!(found.unwrap_err().code(), "upstream.exposed");
        let both = TcpListener::bind("[::1]:0").unwrap();
        assert!(check(both.local_addr().unwrap().port(), user).unwrap());
    }
}
