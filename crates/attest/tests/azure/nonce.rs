//! Qualifying data that is not 64 bytes long: no recorded quote binds as many.

use casemate_attest::tpm::Quote;
use casemate_attest::{Binding, Policy};

use crate::{Case, Machine, appraised_with, milan};

/// In full length, or not at all.
pub(crate) const NONCES: &[Case] = &[
    ("nonce v2: its own 48 bytes", || exact(&milan("v2"), |_| ()), "verified, waived: SNP-13, AZ-07, AZ-11"),
    ("nonce v2: one byte less", || exact(&milan("v2"), |n| n.truncate(47)), "binding.report-data"),
    ("nonce v2: one zero more", || exact(&milan("v2"), |n| n.push(0)), "binding.report-data"),
    ("nonce v2: none", || exact(&milan("v2"), |n| n.clear()), "binding.report-data"),
    ("nonce v2: one bit", || exact(&milan("v2"), |n| n[47] ^= 1), "binding.report-data"),
];

fn exact(machine: &Machine, change: fn(&mut Vec<u8>)) -> String {
    let mut nonce = Quote::parse(&machine.quote).expect("a quote").extra_data().to_vec();
    change(&mut nonce);
    appraised_with(machine, &Policy::for_azure(machine.exact()), &Binding::qualifying_data(nonce))
}
