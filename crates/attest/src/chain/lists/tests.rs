use super::*;

/// `[0] { [0] { [6] "http://a" } }` in a DistributionPoint.
const POINT: &[u8] = b"\x30\x0e\xa0\x0c\xa0\x0a\x86\x08http://a";

fn of(points_in_it: &[&[u8]]) -> Vec<u8> {
    let content = points_in_it.concat();
    [&[0x30, u8::try_from(content.len()).expect("short")][..], &content].concat()
}

#[test]
fn places_are_read_in_one_form_only() {
    assert_eq!(points(&of(&[POINT])), Some(vec!["http://a".to_owned()]));
    assert_eq!(points(&of(&[POINT, POINT])), Some(vec!["http://a".to_owned(); 2]));
    let good = of(&[POINT]);
    for length in 0..good.len() {
        assert_eq!(points(&good[..length]), None, "{length} bytes");
    }
    assert_eq!(points(&[&good[..], &[0]].concat()), None, "a byte more");
    for (what, at, value) in [
        ("not a sequence", 0, 0x31),
        ("a point that is none", 2, 0x31),
        ("reasons", 4, 0xa1),
        ("a name relative to the issuer", 6, 0xa1),
        ("a directory name", 8, 0xa4),
        ("a control character", 10, 0x0a),
        ("not ASCII", 10, 0xe9),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(points(&bad), None, "{what}");
    }
    // The first address of a point, and nothing that is said of it otherwise.
    let two_names = b"\x30\x18\xa0\x16\xa0\x14\x86\x08http://a\x86\x08http://b";
    assert_eq!(points(&of(&[two_names])), None);
}
