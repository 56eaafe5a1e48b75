//! What no recorded quote shows, over a TCB info that is made here.

use serde_json::{Value, json};

use super::*;
use crate::tdx::qe::{QE_REPORT_LEN, QeIdentity};
use crate::tdx::test_quote;

fn level_of(svn: u8, pce: u16, status: &str) -> Value {
    let components = vec![json!({ "svn": svn }); 16];
    let mut tdx = components.clone();
    tdx[1] = json!({ "svn": 0 });
    json!({
        "tcb": { "sgxtcbcomponents": components, "pcesvn": pce, "tdxtcbcomponents": tdx },
        "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status, "advisoryIDs": [format!("SA-{svn}")],
    })
}

fn isv(svn: u16, status: &str, advisory: &str) -> Value {
    json!({
        "tcb": { "isvsvn": svn }, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status,
        "advisoryIDs": [advisory],
    })
}

fn info(change: impl FnOnce(&mut Value)) -> TcbInfo {
    let zero = |octets: usize| "00".repeat(octets);
    let mut info = json!({
        "id": "TDX", "version": 3, "issueDate": "", "nextUpdate": "", "fmspc": "", "pceId": "",
        "tcbEvaluationDataNumber": 17,
        // Not in order: the higher one counts first all the same.
        "tcbLevels": [level_of(2, 5, "OutOfDate"), level_of(4, 9, "UpToDate")],
        "tdxModule": { "mrsigner": zero(48), "attributes": zero(8), "attributesMask": "ff".repeat(8) },
        "tdxModuleIdentities": [{
            "id": "tdx_0a", "mrsigner": zero(48), "attributes": zero(8), "attributesMask": "ff".repeat(8),
            "tcbLevels": [isv(6, "UpToDate", "M-6"), isv(4, "OutOfDate", "M-4"), isv(3, "Revoked", "M-3")],
        }],
    });
    change(&mut info);
    TcbInfo::parse(&info.to_string()).expect("a TCB info")
}

fn pck(svn: u8, pce_svn: u16) -> Pck {
    Pck { fmspc: [0; 6], pce_id: [0; 2], cpu_svn: [svn; 16], pce_svn, flags: Vec::new() }
}

fn svn(minor: u8, major: u8, rest: u8) -> Svn {
    let mut svn = [rest; 16];
    svn[0] = minor;
    svn[1] = major;
    svn
}

fn rated(info: &TcbInfo, pck: &Pck, svn: Svn) -> String {
    match platform(info, pck, svn) {
        Ok(found) => format!("{} {}", found.rating, found.advisories.join(" ")),
        Err(rejection) => rejection.code().to_owned(),
    }
}

#[test]
fn the_highest_level_that_every_component_meets_counts() {
    let info = info(|_| ());
    for (pck, svn, expected) in [
        (pck(4, 9), svn(4, 0, 4), "UpToDate SA-4"),
        (pck(9, 99), svn(9, 0, 9), "UpToDate SA-4"),
        (pck(3, 9), svn(4, 0, 4), "OutOfDate SA-2"),
        (pck(4, 8), svn(4, 0, 4), "OutOfDate SA-2"),
        (pck(4, 9), svn(3, 0, 4), "OutOfDate SA-2"),
        (pck(4, 9), svn(4, 0, 3), "OutOfDate SA-2"),
        (pck(1, 9), svn(4, 0, 4), "tdx.tcb.unknown"),
        (pck(4, 4), svn(4, 0, 4), "tdx.tcb.unknown"),
        (pck(4, 9), svn(4, 0, 1), "tdx.tcb.unknown"),
        // A module with an identity of its own is judged by that.
        (pck(4, 9), svn(6, 10, 4), "UpToDate SA-4 M-6"),
        (pck(4, 9), svn(5, 10, 4), "OutOfDate SA-4 M-4"),
        (pck(3, 9), svn(5, 10, 4), "OutOfDate SA-2 M-4"),
        (pck(4, 9), svn(3, 10, 4), "Revoked SA-4 M-3"),
        (pck(4, 9), svn(2, 10, 4), "tdx.tcb.unknown"),
        (pck(4, 9), svn(6, 11, 4), "tdx.module.identity"),
    ] {
        assert_eq!(rated(&info, &pck, svn), expected, "{pck:?} {svn:?}");
    }
}

#[test]
fn a_tcb_info_that_intels_library_does_not_read_is_refused() {
    let at = |pointer: &'static str, value: Value| {
        let info = info(|info| *info.pointer_mut(pointer).expect("is there") = value);
        rated(&info, &pck(4, 9), svn(6, 10, 4))
    };
    let (none, many) = (json!([]), json!(vec![json!({ "svn": 9 }); 17]));
    assert_eq!(at("/tcbLevels/1/tcb/sgxtcbcomponents", many), "tdx.dcap.refused");
    assert_eq!(at("/tcbLevels/1/tcb/tdxtcbcomponents", none), "tdx.dcap.refused");
    assert_eq!(at("/tcbLevels/1/tcbStatus", "TDRelaunchAdvised".into()), "tdx.dcap.refused");
    assert_eq!(at("/tcbLevels/1/tcbDate", "2024-03-13".into()), "tdx.dcap.refused");
    let module = "/tdxModuleIdentities/0/tcbLevels/0/tcbStatus";
    assert_eq!(at(module, "ConfigurationNeeded".into()), "tdx.module.identity");
    assert_eq!(at("/tdxModuleIdentities/0/tcbLevels/0/tcbDate", "".into()), "tdx.module.identity");
    assert_eq!(at("/tdxModuleIdentities", json!([])), "tdx.module.identity");
    assert!(TcbInfo::parse(r#"{"id":"TDX"}"#).is_none());
    let unknown =
        |word: &str| json!({ "tcb": { "isvsvn": 1 }, "tcbDate": "", "tcbStatus": word }).to_string();
    assert!(serde_json::from_str::<IsvLevel<u8>>(&unknown("Revoked")).is_ok());
    assert!(serde_json::from_str::<IsvLevel<u8>>(&unknown("uptodate")).is_err());
}

#[test]
fn the_module_is_the_one_that_is_named() {
    let code = |info: &TcbInfo, change: fn(&mut [u8])| {
        module(info, &test_quote(change)).map_err(|rejection| rejection.code())
    };
    let refused = Err("tdx.module.identity");
    let base = info(|_| ());
    assert_eq!(code(&base, |_| ()), Ok(()));
    assert_eq!(code(&base, |body| body[1] = 10), Ok(()));
    assert_eq!(code(&base, |body| body[1] = 9), refused, "a version that is not named");
    assert_eq!(code(&base, |body| body[64] = 1), refused, "MRSIGNERSEAM");
    assert_eq!(code(&base, |body| body[112] = 1), refused, "SEAMATTRIBUTES");
    let unmasked = info(|info| info["tdxModule"]["attributesMask"] = "00".repeat(8).into());
    assert_eq!(code(&unmasked, |body| body[119] = 0x80), refused, "outside of the mask");
    assert_eq!(code(&unmasked, |body| (body[1], body[119]) = (10, 0x80)), refused, "the version's own mask");
    assert_eq!(code(&info(|info| info["tdxModule"] = Value::Null), |_| ()), refused, "no module");
    assert_eq!(code(&info(|info| info["tdxModule"]["mrsigner"] = "00".into()), |_| ()), refused, "short");
}

#[test]
fn a_component_lowers_the_platform_and_never_raises_it() {
    let status = Rating::Status;
    for (platform, component, expected) in [
        (status(UpToDate), status(OutOfDate), status(OutOfDate)),
        (status(SwHardeningNeeded), status(OutOfDate), status(OutOfDate)),
        (status(ConfigurationNeeded), status(OutOfDate), status(OutOfDateConfigurationNeeded)),
        (status(ConfigurationAndSwHardeningNeeded), status(OutOfDate), status(OutOfDateConfigurationNeeded)),
        (status(OutOfDateConfigurationNeeded), status(OutOfDate), status(OutOfDateConfigurationNeeded)),
        (status(OutOfDate), status(UpToDate), status(OutOfDate)),
        (status(UpToDate), status(ConfigurationNeeded), status(UpToDate)),
        (status(ConfigurationNeeded), Rating::Revoked, Rating::Revoked),
        (Rating::Revoked, status(UpToDate), Rating::Revoked),
        (Rating::Revoked, status(OutOfDate), Rating::Revoked),
    ] {
        assert_eq!(converge(platform, component), expected, "{platform} {component}");
    }
}

#[test]
fn relaunch_is_advised_where_only_the_launch_was_out_of_date() {
    for (launch, current, expected) in [
        (OutOfDate, UpToDate, TdRelaunchAdvised),
        (OutOfDate, SwHardeningNeeded, TdRelaunchAdvised),
        (OutOfDate, ConfigurationNeeded, TdRelaunchAdvisedConfigurationNeeded),
        (OutOfDate, ConfigurationAndSwHardeningNeeded, TdRelaunchAdvisedConfigurationNeeded),
        (OutOfDateConfigurationNeeded, UpToDate, TdRelaunchAdvisedConfigurationNeeded),
        (OutOfDate, OutOfDate, OutOfDate),
        (OutOfDate, OutOfDateConfigurationNeeded, OutOfDate),
        (UpToDate, UpToDate, UpToDate),
        (UpToDate, ConfigurationNeeded, UpToDate),
        (ConfigurationNeeded, UpToDate, ConfigurationNeeded),
    ] {
        assert_eq!(relaunch(launch, current), expected, "{launch} {current}");
    }
}

fn enclave(change: impl FnOnce(&mut Value)) -> QeIdentity {
    let mut identity = json!({
        "id": "TD_QE", "version": 2, "issueDate": "", "nextUpdate": "", "tcbEvaluationDataNumber": 17,
        "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": "11".to_owned() + &"00".repeat(15), "attributesMask": "fb".to_owned() + &"00".repeat(15),
        "mrsigner": "22".repeat(32), "isvprodid": 258,
        "tcbLevels": [isv(8, "UpToDate", ""), isv(6, "OutOfDate", "Q-6"), isv(5, "SWHardeningNeeded", "")],
    });
    change(&mut identity);
    QeIdentity::parse(&identity.to_string()).expect("a QE identity")
}

fn report(change: impl FnOnce(&mut [u8])) -> QeReport {
    let mut report = [0; QE_REPORT_LEN];
    report[48] = 0x11;
    report[128..160].fill(0x22);
    report[256..260].copy_from_slice(&[2, 1, 8, 0]);
    change(&mut report);
    QeReport::of(&report)
}

#[test]
fn the_quoting_enclave_is_the_one_that_is_named() {
    let named = |change: fn(&mut [u8])| enclave(|_| ()).names(&report(change)).map_err(|why| why.code());
    assert_eq!(named(|_| ()), Ok(()));
    assert_eq!(named(|report| report[48] |= 0x04), Ok(()), "outside of the mask");
    assert_eq!(named(|report| report[63] = 1), Ok(()), "outside of the mask");
    for change in [
        (|report| report[159] = 0) as fn(&mut [u8]),
        |report| report[48] |= 0x02,
        |report| report[48] = 0x10,
        |report| report[256] = 1,
        |report| report[257] = 0,
        |report| report[19] = 1,
    ] {
        assert_eq!(named(change), Err("tdx.qe.identity"));
    }
    let unmasked = enclave(|identity| identity["attributesMask"] = "00".repeat(16).into());
    let debug = unmasked.names(&report(|report| report[48] = 0x02)).map_err(|why| why.code());
    assert_eq!(debug, Err("tdx.qe.identity"), "debug is refused whatever the mask says");
}

#[test]
fn the_quoting_enclave_has_the_first_level_that_it_meets() {
    let rated = |isvsvn: u8| {
        let report = report(|report| report[258] = isvsvn);
        enclave(|_| ()).level(&report).map(|level| level.rating.to_string()).map_err(|why| why.code())
    };
    assert_eq!((rated(9), rated(8)), (Ok("UpToDate".into()), Ok("UpToDate".into())));
    assert_eq!((rated(7), rated(6)), (Ok("OutOfDate".into()), Ok("OutOfDate".into())));
    assert_eq!(rated(5), Err("tdx.qe.identity"), "no status of an enclave");
    assert_eq!(rated(4), Err("tdx.tcb.unknown"));
    let high = report(|report| (report[258], report[259]) = (0, 1));
    assert_eq!(enclave(|_| ()).level(&high).expect("256 >= 8").tcb.isvsvn, 8);
    assert!(enclave(|identity| identity["tcbLevels"] = json!([])).level(&report(|_| ())).is_err());
}
