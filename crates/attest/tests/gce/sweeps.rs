//! Every bit of what counts, every length, and garbage.

use casemate_attest::Evidence;

use crate::{Case, answer, counted, nonce};

pub(crate) const SWEEPS: &[Case] = &[
    ("sweep: every bit of key, quote, signature and certificate", bits, "none passes"),
    ("sweep: every byte of the whole message", bytes, "only what is not looked at"),
    ("sweep: every length", lengths, "none passes"),
    ("sweep: garbage, to 10 MiB", garbage, "none is evidence"),
];

/// Where a part of the message is.
fn place(message: &[u8], part: &[u8]) -> core::ops::Range<usize> {
    let start = message.windows(part.len()).position(|window| window == part).expect("it is in the message");
    start..start + part.len()
}

fn bits() -> String {
    let mut message = nonce();
    let parts = crate::message::Message::read(&message);
    let quote = counted();
    for part in [&parts.public, &quote.quote, &quote.signature, &parts.certificate] {
        for at in place(&message, part) {
            for bit in 0..8 {
                message[at] ^= 1 << bit;
                if answer(&message) == "authentic" {
                    return format!("byte {at} bit {bit} passes");
                }
                message[at] ^= 1 << bit;
            }
        }
    }
    "none passes".to_owned()
}

/// A flip that is not noticed is in the log, which is held against the quote only where a policy asks, or in a quote of
/// another bank, which is not looked into.
fn bytes() -> String {
    let mut message = nonce();
    let parts = crate::message::Message::read(&message);
    let counted = place(&message, &counted().quote);
    let log = place(&message, &parts.log);
    let quotes = place(&message, &parts.public).end..log.start;
    for at in 0..message.len() {
        message[at] ^= 1 << (at % 8);
        let passes = answer(&message) == "authentic";
        message[at] ^= 1 << (at % 8);
        let not_looked_at = log.contains(&at) || quotes.contains(&at) && !counted.contains(&at);
        if passes && !not_looked_at {
            return format!("byte {at} passes");
        }
    }
    "only what is not looked at".to_owned()
}

fn lengths() -> String {
    let message = nonce();
    for length in 0..message.len() {
        if Evidence::parse(&message[..length]).is_ok() {
            return format!("{length} bytes pass");
        }
    }
    "none passes".to_owned()
}

fn garbage() -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for length in [0, 7, 8, 300, 4096, 1 << 20, 10 << 20] {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        let mut behind = nonce()[..400].to_vec();
        behind.extend(&noise);
        if Evidence::parse(&noise).is_ok() || Evidence::parse(&behind).is_ok() {
            return format!("{length} bytes are evidence");
        }
    }
    // Ten thousand empty quotes.
    let mut bomb = nonce()[..283].to_vec();
    bomb.extend([0x12, 0x00].repeat(10_000));
    if Evidence::parse(&bomb).is_ok() {
        return "a bomb of quotes is evidence".to_owned();
    }
    "none is evidence".to_owned()
}
