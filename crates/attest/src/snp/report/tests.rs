use super::*;

/// The form of a report and nothing else: version 3, an ordinary guest policy, everything else zero.
pub(crate) fn blank(version: u8) -> Vec<u8> {
    let mut bytes = vec![0; REPORT_LEN];
    bytes[0x000] = version;
    bytes[0x008..0x010].copy_from_slice(&0x3_0000_u64.to_le_bytes());
    bytes[0x034] = 1;
    bytes
}

fn code(version: u8, change: impl FnOnce(&mut Vec<u8>)) -> &'static str {
    let mut bytes = blank(version);
    change(&mut bytes);
    Report::parse(&bytes).expect_err("must be refused").code()
}

#[test]
fn every_version_has_its_form() {
    for version in 2..=5 {
        let report = Report::parse(&blank(version)).expect("blank");
        assert_eq!(report.version().number(), u32::from(version));
        assert_eq!(report.cpuid().is_some(), version >= 3);
        assert_eq!(report.launch_mitigations().is_some(), version >= 5);
        assert_eq!(report.bytes(), blank(version));
    }
}

#[test]
fn other_versions_are_refused() {
    for version in [0, 1, 6, 255] {
        assert_eq!(code(version, |_| ()), "snp.format.version", "{version}");
    }
    assert_eq!(code(3, |bytes| bytes[3] = 1), "snp.format.version", "the whole word counts");
}

#[test]
fn other_lengths_are_refused() {
    for length in [0, 1, 0x2a0, 1183] {
        assert_eq!(code(3, |bytes| bytes.truncate(length)), "snp.format.length", "{length}");
    }
    assert_eq!(code(3, |bytes| bytes.push(0)), "snp.format.length");
}

#[test]
fn every_reserved_byte_of_every_version_is_refused() {
    for version in 2..=5_u8 {
        let mut reserved: Vec<usize> =
            (0x04c..0x050).chain(0x18b..0x1a0).chain([0x1eb, 0x1ef]).chain(0x208..0x2a0).collect();
        if version < 3 {
            reserved.extend(0x188..0x18b);
        }
        if version < 5 {
            reserved.extend(0x1f8..0x208);
        }
        for offset in reserved {
            assert_eq!(
                code(version, |bytes| bytes[offset] = 0x80),
                "snp.format.reserved",
                "v{version} {offset:#x}"
            );
        }
    }
}

#[test]
fn fields_of_newer_versions_are_not_reserved_there() {
    let mut bytes = blank(3);
    bytes[0x188..0x18b].copy_from_slice(&[0x19, 0x11, 0x01]);
    let cpuid = Report::parse(&bytes).expect("version 3 has CPUID").cpuid();
    assert_eq!(cpuid, Some(Cpuid { family: 0x19, model: 0x11, stepping: 1 }));

    let mut bytes = blank(5);
    bytes[0x1f8] = 0x0b;
    bytes[0x207] = 0x80;
    let report = Report::parse(&bytes).expect("version 5 has mitigation vectors");
    assert_eq!(report.launch_mitigations(), Some(0x0b));
    assert_eq!(report.current_mitigations(), Some(0x80 << 56));
}

#[test]
fn every_byte_of_signature_tails_and_padding_is_refused() {
    for offset in (0x2d0..0x2e8).chain(0x318..0x330) {
        assert_eq!(code(3, |bytes| bytes[offset] = 1), "snp.format.signature-tail", "{offset:#x}");
    }
    for offset in 0x330..0x4a0 {
        assert_eq!(code(3, |bytes| bytes[offset] = 1), "snp.format.padding", "{offset:#x}");
    }
}

#[test]
fn the_error_names_the_first_byte_at_fault() {
    let mut bytes = blank(3);
    bytes[0x18c] = 7;
    bytes[0x18d] = 8;
    assert_eq!(Report::parse(&bytes), Err(ReportError::Reserved { offset: 0x18c, value: 7 }));
}

#[test]
fn guest_policy_bits_that_are_fixed() {
    assert_eq!(code(3, |bytes| bytes[0x00a] = 0x01), "snp.format.policy-bit-17");
    for bit in 26..64 {
        let change = |bytes: &mut Vec<u8>| bytes[0x008 + bit / 8] |= 1 << (bit % 8);
        assert_eq!(code(3, change), "snp.format.policy-reserved", "bit {bit}");
    }
    for bit in 16..26 {
        let mut bytes = blank(3);
        bytes[0x008 + bit / 8] |= 1 << (bit % 8);
        assert!(Report::parse(&bytes).is_ok(), "bit {bit} is a matter of policy");
    }
}

#[test]
fn privilege_levels() {
    for level in 0..=3 {
        let mut bytes = blank(3);
        bytes[0x030] = level;
        assert!(Report::parse(&bytes).is_ok());
    }
    assert_eq!(code(3, |bytes| bytes[0x030] = 4), "snp.format.vmpl");
    assert_eq!(code(3, |bytes| bytes[0x030..0x033].fill(0xff)), "snp.format.vmpl");
    let mut bytes = blank(3);
    bytes[0x030..0x034].fill(0xff);
    assert!(Report::parse(&bytes).expect("the host's mark").is_host_requested());
}

#[test]
fn signature_algorithm_and_key_information() {
    assert_eq!(code(3, |bytes| bytes[0x034] = 0), "snp.format.signature-algorithm");
    assert_eq!(code(3, |bytes| bytes[0x034] = 2), "snp.format.signature-algorithm");
    assert_eq!(code(3, |bytes| bytes[0x037] = 1), "snp.format.signature-algorithm");
    for bit in 5..32 {
        let change = |bytes: &mut Vec<u8>| bytes[0x048 + bit / 8] |= 1 << (bit % 8);
        assert_eq!(code(3, change), "snp.format.key-info-reserved", "bit {bit}");
    }
}

#[test]
fn every_platform_information_bit_is_read_and_none_is_refused() {
    for bit in 0..64 {
        let mut bytes = blank(3);
        bytes[0x040 + bit / 8] = 1 << (bit % 8);
        assert_eq!(Report::parse(&bytes).expect("informational").platform_info().raw(), 1 << bit);
    }
}

#[test]
fn each_field_is_read_from_its_own_place() {
    let mut bytes = blank(5);
    for (offset, length, value) in [
        (0x004, 4, 1_u8),
        (0x010, 16, 2),
        (0x020, 16, 3),
        (0x038, 8, 4),
        (0x050, 64, 5),
        (0x090, 48, 6),
        (0x0c0, 32, 7),
        (0x0e0, 48, 8),
        (0x110, 48, 9),
        (0x140, 32, 10),
        (0x160, 32, 11),
        (0x180, 8, 12),
        (0x1a0, 64, 13),
        (0x1e0, 8, 14),
        (0x1f0, 8, 15),
    ] {
        bytes[offset..offset + length].fill(value);
    }
    bytes[0x1e8..0x1eb].copy_from_slice(&[0x27, 55, 1]);
    bytes[0x1ec..0x1ef].copy_from_slice(&[0x26, 54, 2]);
    bytes[0x2a0] = 0xaa;
    bytes[0x2cf] = 0xbb;
    bytes[0x2e8] = 0xcc;
    let report = Report::parse(&bytes).expect("form");
    assert_eq!(report.guest_svn(), 0x0101_0101);
    assert_eq!(report.family_id(), [2; 16]);
    assert_eq!(report.image_id(), [3; 16]);
    assert_eq!(report.current_tcb(), RawTcb([4; 8]));
    assert_eq!(report.report_data(), [5; 64]);
    assert_eq!(report.measurement(), [6; 48]);
    assert_eq!(report.host_data(), [7; 32]);
    assert_eq!(report.id_key_digest(), [8; 48]);
    assert_eq!(report.author_key_digest(), [9; 48]);
    assert_eq!(report.report_id(), [10; 32]);
    assert_eq!(report.report_id_ma(), [11; 32]);
    assert_eq!(report.reported_tcb(), RawTcb([12; 8]));
    assert_eq!(report.chip_id(), [13; 64]);
    assert_eq!(report.committed_tcb(), RawTcb([14; 8]));
    assert_eq!(report.launch_tcb(), RawTcb([15; 8]));
    assert_eq!(report.current_version().to_string(), "1.55.39");
    assert_eq!(report.committed_version().to_string(), "2.54.38");
    let (r, s) = report.signature();
    assert_eq!((r[47], r[0], s[47]), (0xaa, 0xbb, 0xcc), "big-endian");
    assert_eq!(report.signed().as_slice(), &bytes[..0x2a0]);
}
