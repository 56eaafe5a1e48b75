//! Every bit, byte and length of recorded Azure evidence, one after the other.

use super::{
    Failed, HclReport, Machine, Quote, RUNTIME, RuntimeData, genoa, parse_code, refused, variable_size,
};

pub(crate) fn sweep(run: fn() -> Result<(), String>) -> Result<(), Failed> {
    run().map_err(Failed::from)
}

fn must_refuse(machine: &Machine, what: impl Fn() -> String) -> Result<String, String> {
    match refused(machine).as_str() {
        "authentic" => Err(format!("{} changes nothing", what())),
        code => Ok(code.to_owned()),
    }
}

pub(crate) fn every_bit_of_the_quote() -> Result<(), String> {
    let machine = genoa();
    for bit in 0..machine.quote.len() * 8 {
        let mut flipped = machine.clone();
        flipped.quote[bit / 8] ^= 1 << (bit % 8);
        let code = must_refuse(&flipped, || format!("bit {bit} of the quote"))?;
        if !code.starts_with("tpm.quote.") {
            return Err(format!("bit {bit}: {code}"));
        }
    }
    Ok(())
}

pub(crate) fn every_bit_of_the_runtime_data() -> Result<(), String> {
    let machine = genoa();
    for bit in 0..variable_size(&machine.hcl) * 8 {
        let mut flipped = machine.clone();
        flipped.hcl[RUNTIME + bit / 8] ^= 1 << (bit % 8);
        let code = must_refuse(&flipped, || format!("bit {bit} of the runtime data"))?;
        if code != "azure.binding" {
            return Err(format!("bit {bit}: {code}"));
        }
    }
    Ok(())
}

/// Signed or not: a byte of the HCL report that becomes another is refused, padding included. (The version is not signed;
/// 1 and 2 have one layout, and it decides nothing.)
pub(crate) fn every_byte_of_the_hcl_report() -> Result<(), String> {
    let machine = genoa();
    for index in 0..machine.hcl.len() {
        for mask in [1, 0x80, 0xff] {
            let mut changed = machine.clone();
            changed.hcl[index] ^= mask;
            must_refuse(&changed, || format!("byte {index:#x} of the HCL report"))?;
        }
    }
    Ok(())
}

/// Runs of random bytes at random places: never genuine, and never a panic.
pub(crate) fn garbage() -> Result<(), String> {
    let machine = genoa();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below
    };
    for round in 0..4000 {
        let mut changed = machine.clone();
        let part = match round % 3 {
            0 => &mut changed.hcl,
            1 => &mut changed.quote,
            _ => &mut changed.signature,
        };
        let start = random(part.len());
        let end = (start + 1 + random(40)).min(part.len());
        for octet in &mut part[start..end] {
            *octet = random(256) as u8;
        }
        let differs = changed.hcl != machine.hcl
            || changed.quote != machine.quote
            || changed.signature != machine.signature;
        // One other version of the HCL report is allowed, and decides nothing.
        let version = changed.hcl[4] == 1;
        if differs && !version {
            must_refuse(&changed, || format!("round {round}, {start:#x}..{end:#x}"))?;
        }
        let text: Vec<u8> = (0..random(300)).map(|_| random(256) as u8).collect();
        let _ = (Quote::parse(&text), HclReport::parse(&text), RuntimeData::parse(&text));
        if parse_code(&[b"{", text.as_slice()].concat()) == "evidence" {
            return Err(format!("round {round}: garbage is a document"));
        }
    }
    Ok(())
}

pub(crate) fn every_length() -> Result<(), String> {
    let machine = genoa();
    let size = RUNTIME + variable_size(&machine.hcl);
    for length in 0..size {
        let mut cut = machine.clone();
        cut.hcl.truncate(length);
        must_refuse(&cut, || format!("{length} bytes of the HCL report"))?;
    }
    for length in 0..machine.quote.len() {
        let mut cut = machine.clone();
        cut.quote.truncate(length);
        must_refuse(&cut, || format!("{length} bytes of the quote"))?;
    }
    let document = machine.document().to_string();
    for length in 0..document.len() {
        if parse_code(&document.as_bytes()[..length]) == "evidence" {
            return Err(format!("{length} bytes of the document"));
        }
    }
    Ok(())
}
