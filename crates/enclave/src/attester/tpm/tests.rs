//! Answers that no TPM should give.

use std::io;

use super::*;

/// Gives the same answer to every command, in parts of `part` octets.
struct Says {
    answer: Vec<u8>,
    left: Vec<u8>,
    part: usize,
    commands: Vec<Vec<u8>>,
}

impl Write for Says {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.commands.push(bytes.to_vec());
        self.left = self.answer.clone();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Says {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let len = self.left.len().min(self.part).min(room.len());
        room[..len].copy_from_slice(&self.left[..len]);
        self.left.drain(..len);
        Ok(len)
    }
}

fn tpm(answer: Vec<u8>, part: usize) -> Tpm<Says> {
    let patience = Patience { attempts: 3, pause: std::time::Duration::ZERO };
    Tpm { transport: Says { answer, left: Vec::new(), part, commands: Vec::new() }, patience }
}

fn answer(tag: u16, rc: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + HEADER).unwrap();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &rc.to_be_bytes(), body].concat()
}

fn code<A>(result: Result<A, AttesterError>) -> &'static str {
    result.err().map_or("none", |e| e.code())
}

/// A session's answer: length, parameters, the empty password's authorization.
fn authorized(parameters: &[u8]) -> Vec<u8> {
    let len = u32::try_from(parameters.len()).unwrap().to_be_bytes();
    answer(SESSIONS, 0, &[&len[..], parameters, &[0, 0, 1, 0, 0]].concat())
}

fn quote_answer() -> Vec<u8> {
    authorized(&[sized(b"attest"), scheme_octets([ALG_RSASSA, ALG_SHA256]), sized(&[7; 256])].concat())
}

#[test]
fn a_quote_is_read_from_any_parts() {
    for part in [1, 9, 10, 11, 4096] {
        let mut tpm = tpm(quote_answer(), part);
        let quote = tpm.quote(0x8100_0003, &[5; 32], &[0, 1, 23]).unwrap();
        assert_eq!(quote.quote, b"attest");
        assert_eq!(quote.signature.len(), 262);
        // The command, octet by octet: tag, size, code, handle, the password, 32 octets, the scheme, the selection.
        let sent = hex::encode(&tpm.transport.commands[0]);
        let head = "80020000004b0000015881000003000000094000000900000000000020";
        let tail = "0014000b00000001000b03030080";
        assert_eq!(sent, [head, &"05".repeat(32), tail].concat());
    }
}

#[test]
fn every_cut_and_every_addition_of_an_answer_is_refused() {
    let whole = quote_answer();
    for len in 0..whole.len() {
        assert_eq!(
            code(tpm(whole[..len].to_vec(), 4096).quote(1, &[0; 32], &[0])),
            "attester.tpm.answer",
            "{len}"
        );
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(code(tpm(longer, 4096).quote(1, &[0; 32], &[0])), "attester.tpm.answer");
    // Also where the stated size agrees.
    let body = &whole[HEADER..];
    for len in 0..body.len() {
        let cut = answer(SESSIONS, 0, &body[..len]);
        assert_eq!(code(tpm(cut, 4096).quote(1, &[0; 32], &[0])), "attester.tpm.answer", "{len}");
    }
}

#[test]
fn one_mistake_each_has_its_code() {
    let quote = |bytes| code(tpm(bytes, 4096).quote(1, &[0; 32], &[0]));
    assert_eq!(quote(answer(NO_SESSIONS, 0, &quote_answer()[HEADER..])), "attester.tpm.answer");
    assert_eq!(quote(answer(NO_SESSIONS, 0x18b, &[])), "attester.tpm.refused");
    for rc in AGAIN {
        assert_eq!(quote(answer(NO_SESSIONS, rc, &[])), "attester.busy");
    }
    assert_eq!(quote(vec![0xff; 4096]), "attester.tpm.answer");
    assert_eq!(quote(b"<html>nobody</html>".to_vec()), "attester.tpm.answer");
    let other_scheme = [sized(b"attest"), scheme_octets([0x0016, ALG_SHA256]), sized(&[7; 256])].concat();
    assert_eq!(quote(authorized(&other_scheme)), "attester.tpm.answer");

    // A TPM that gives another PCR than it was asked for, or one value less.
    let pcr = |selected: &[u8], values: usize| {
        let count = u32::try_from(values).unwrap().to_be_bytes();
        let values = sized(&[1; 32]).repeat(values);
        let body = [&[0; 4][..], &selection(selected), &count, &values].concat();
        code(tpm(answer(NO_SESSIONS, 0, &body), 4096).pcr_values(&[3, 4]))
    };
    assert_eq!(pcr(&[3, 4], 2), "none");
    assert_eq!(pcr(&[3], 1), "attester.tpm.answer");
    assert_eq!(pcr(&[3, 5], 2), "attester.tpm.answer");
    assert_eq!(pcr(&[3, 4], 1), "attester.tpm.answer");
    assert_eq!(pcr(&[3, 4], 3), "attester.tpm.answer");

    let nv = |index: u32, attributes: u32, size: u16| {
        let public =
            [&index.to_be_bytes()[..], &[0, 11], &attributes.to_be_bytes(), &[0, 0], &size.to_be_bytes()];
        let body = [sized(&public.concat()), sized(&[0; 34])].concat();
        code(tpm(answer(NO_SESSIONS, 0, &body), 4096).nv_read(7, 100))
    };
    assert_eq!(nv(8, NV_WRITTEN | NV_OWNER_READ, 100), "attester.tpm.answer");
    assert_eq!(nv(7, NV_WRITTEN | NV_OWNER_READ, 101), "attester.tpm.nv-size");
    assert_eq!(nv(7, NV_OWNER_READ, 100), "attester.tpm.nv-unwritten");
    assert_eq!(nv(7, NV_WRITTEN, 100), "attester.tpm.nv-unreadable");
    for (rc, found) in
        [(0x18b, "none"), (0x28b, "none"), (0x1cb, "attester.tpm.refused"), (0x101, "attester.tpm.refused")]
    {
        assert_eq!(code(tpm(answer(NO_SESSIONS, rc, &[]), 4096).nv_read(7, 100)), found, "{rc:#x}");
    }
    let ecc = [sized(&[&[0, 0x23, 0, 11][..], &[0; 20]].concat()), sized(&[]), sized(&[])].concat();
    assert_eq!(code(tpm(answer(NO_SESSIONS, 0, &ecc), 4096).rsa_modulus(7)), "attester.tpm.not-rsa");
}

#[test]
fn a_primary_key_is_read_whole_or_not_at_all() {
    let ticket = [&[0x80, 0x21, 0x40, 0, 0, 0x0b][..], &sized(&[9; 32])].concat();
    let parameters = [sized(b"public"), sized(b"data"), sized(&[8; 32]), ticket, sized(&[7; 34])].concat();
    let of = |parameters: &[u8]| {
        let len = u32::try_from(parameters.len()).unwrap().to_be_bytes();
        answer(SESSIONS, 0, &[&[0x80, 0, 0, 1][..], &len, parameters, &[0, 0, 1, 0, 0]].concat())
    };
    let mut whole = tpm(of(&parameters), 4096);
    let primary = whole.endorsement_primary(b"template").unwrap();
    assert_eq!((primary.handle, primary.public.as_slice()), (0x8000_0001, &b"public"[..]));
    // Tag, size, code, hierarchy, the password, nothing secret, the template, no outside information, no PCRs.
    let sent = hex::encode(&whole.transport.commands[0]);
    let head = "80020000003100000131 4000000b 00000009 40000009 0000000000".replace(' ', "");
    assert_eq!(sent, [&head[..], "000400000000", "000874656d706c617465", "0000", "00000000"].concat());
    for len in 0..parameters.len() {
        let cut = tpm(of(&parameters[..len]), 4096).endorsement_primary(b"template");
        assert_eq!(code(cut), "attester.tpm.answer", "{len}");
    }
    let longer = tpm(of(&[&parameters[..], &[0]].concat()), 4096).endorsement_primary(b"t");
    assert_eq!(code(longer), "attester.tpm.answer");
    let refused = tpm(answer(NO_SESSIONS, 0x2d2, &[]), 4096).endorsement_primary(b"t");
    assert_eq!(code(refused), "attester.tpm.refused");
}

#[test]
fn a_device_that_fails_has_a_name() {
    struct Gone;
    impl Read for Gone {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::ETIME))
        }
    }
    impl Write for Gone {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert_eq!(code(Tpm::new(Gone).quote(1, &[0; 32], &[0])), "attester.tpm.transport");
}
