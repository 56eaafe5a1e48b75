//! A TD under a made-up Intel, beside the log of what it measured: the whole of a policy for TDX, and one change each. And the
//! recorded CCEL of COS 113, beside a made-up quote of a TD that ended where it did.

use std::sync::LazyLock;

use casemate_attest::eventlog::{Bank, EventLog as ReadLog};
use casemate_attest::{
    Binding, Endorsements, Evidence, Outcome, Policy, Report, TrustAnchors, UnixTime, rules, verify,
};
use casemate_sim::tdx::{QuoteFormat, TdxConfig, TdxVendor};
use casemate_sim::{EV_EVENT_TAG, EV_IPL, EV_SEPARATOR, EventLog};

use crate::recorded::file;
use crate::{CCEL, Case};

const NOON: UnixTime = UnixTime(1_767_268_800); // 2026-01-01T12:00:00Z
const MRTD: [u8; 48] = [0x64; 48];
const REPORT_DATA: [u8; 64] = [0x52; 64];
const TDX: &str = include_str!("../policies/tdx.toml");

static VENDOR: LazyLock<TdxVendor> = LazyLock::new(|| TdxVendor::create(NOON).expect("a vendor"));

/// What a boot measures: the made-up one, and after it an application in RTMR3.
fn boot() -> EventLog {
    let mut log = EventLog::simulated_td();
    log.measure(4, EV_IPL, b"an application");
    log
}

/// A TD, the log beside its quote, and the policy that it meets.
struct Asked {
    config: TdxConfig,
    log: Option<Vec<u8>>,
    policy: String,
    anchors: TrustAnchors,
}

impl Asked {
    fn new(log: &EventLog) -> Self {
        Self {
            config: TdxConfig::new(MRTD).with_log(log),
            log: Some(log.bytes().to_vec()),
            policy: policy(&log.rtmrs()),
            anchors: TrustAnchors::danger_only_pem(&VENDOR.root_pem()).expect("a danger bundle"),
        }
    }

    fn verified(&self) -> Result<casemate_attest::Verified, String> {
        let quote = VENDOR.machine(&self.config).expect("a machine").quote(&REPORT_DATA).expect("a quote");
        let evidence = Evidence::parse(&quote).expect("a quote");
        let endorsements = Endorsements::tdx(VENDOR.collateral().expect("collateral"));
        let mut authentic = verify(&evidence, &endorsements, &self.anchors, NOON)
            .map_err(|rejected| rejected.code().to_owned())?;
        if let Some(log) = &self.log {
            let log = ReadLog::parse(log).map_err(|error| error.code().to_owned())?;
            authentic = authentic.with_event_log(log);
        }
        let policy = Policy::from_toml(&self.policy).map_err(|error| error.code().to_owned())?;
        authentic.appraise(&policy, &Binding::report_data(REPORT_DATA)).map_err(|denied| {
            let failed: Vec<_> =
                denied.checks.iter().filter(|check| check.outcome == Outcome::Fail).collect();
            let [failed] = failed[..] else { panic!("one rule fails") };
            format!("{} {}", failed.rule.id, denied.code())
        })
    }

    /// "verified", with what is waived; or the rule that failed, and the code.
    fn answer(&self) -> String {
        match self.verified() {
            Err(refused) => refused,
            Ok(verified) => {
                assert!(verified.simulated() && verified.event_log().is_some());
                let ids: Vec<_> = verified.checks().iter().map(|check| check.rule.id).collect();
                let expected: Vec<_> =
                    rules::TDX.iter().chain(rules::EVENT_LOG).map(|rule| rule.id).collect();
                assert_eq!(ids, expected, "every rule, in order");
                let waived = verified.checks().iter().filter(|check| check.outcome == Outcome::Waived);
                let waived: Vec<_> = waived.map(|check| check.rule.id).collect();
                format!("verified, waived: {}", waived.join(", "))
            }
        }
    }
}

/// Every register by its value, and every event of each by what was measured.
fn policy(rtmrs: &[[u8; 48]; 4]) -> String {
    let separator = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &[0; 4]));
    let mut text = TDX.to_owned();
    for (placeholder, rtmr) in ["65", "66", "67"].iter().zip(rtmrs) {
        text = text.replace(&placeholder.repeat(48), &hex::encode(rtmr));
    }
    let rtmr3 = hex::encode(rtmrs[3]);
    text = text
        .replace(r#"rtmr3 = { any = "nothing is extended at run time" }"#, &format!("rtmr3 = [\"{rtmr3}\"]"));
    for (register, event) in
        ["SIMULATED firmware configuration", "SIMULATED kernel", "SIMULATED command line", "an application"]
            .iter()
            .enumerate()
    {
        text += &format!(
            "[tdx.event-log.register.{register}]\nevents = [{{ text = \"{event}\" }}, \"{separator}\"]\n\
             required = [{{ text = \"{event}\" }}]\n"
        );
    }
    text
}

fn made(change: impl FnOnce(&mut Asked)) -> String {
    let mut asked = Asked::new(&boot());
    change(&mut asked);
    asked.answer()
}

/// The log is longer than what was measured.
fn logged(register: u32, event: &[u8]) -> String {
    let mut log = boot();
    log.measure(register, EV_IPL, event);
    made(|asked| asked.log = Some(log.bytes().to_vec()))
}

/// More was measured, and the policy knows the registers; not the event.
fn measured(register: u32, event: &[u8]) -> String {
    let mut log = boot();
    log.measure(register, EV_IPL, event);
    Asked::new(&log).answer()
}

/// What was measured is another boot than the log says.
fn another(write: impl FnOnce(&mut EventLog)) -> String {
    let mut log = EventLog::ccel();
    write(&mut log);
    made(|asked| asked.log = Some(log.bytes().to_vec()))
}

/// The kernel's event is logged with the text of another, under its own digest.
fn relabelled() -> String {
    let mut log = EventLog::ccel();
    log.measure(1, EV_EVENT_TAG, b"SIMULATED firmware configuration");
    log.measure(1, EV_SEPARATOR, &[0; 4]);
    let kernel = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, b"SIMULATED kernel");
    log.extend(2, EV_EVENT_TAG, kernel.as_ref(), b"another kernel");
    log.measure(2, EV_SEPARATOR, &[0; 4]);
    log.measure(3, EV_EVENT_TAG, b"SIMULATED command line");
    log.measure(4, EV_IPL, b"an application");
    let asked = Asked { log: Some(log.bytes().to_vec()), ..Asked::new(&boot()) };
    let report = serde_json::to_value(Report::from_verified(&asked.verified().expect("ours"))).expect("JSON");
    let kernel = &report["event_log"]["registers"]["1"][0];
    assert_eq!(kernel["digest"].as_str().map(str::len), Some(96));
    format!("verified, content {}", kernel["content"])
}

fn filled(fill: u8) -> String {
    made(|asked| {
        let log = asked.log.as_mut().expect("a log");
        log.resize(log.len() + 4096, fill);
    })
}

const VERIFIED: &str = "verified, waived: TDX-14";

pub(crate) const MADE: &[Case] = &[
    ("made: as it is", || made(|_| {}), VERIFIED),
    ("made: version 5, TD 1.5", || made(|a| a.config.format = QuoteFormat::V5Td15), VERIFIED),
    ("made: a log with fill", || filled(0xff), VERIFIED),
    ("made: a log with zeros behind it", || filled(0), VERIFIED),
    ("made: another text beside the digest of a kernel", relabelled, "verified, content null"),
    ("made: no log", || made(|a| a.log = None), "LOG-01 log.missing"),
    ("made: production's roots", || made(|a| a.anchors = TrustAnchors::vendors()), "tdx.dcap.refused"),
    ("made: an event of RTMR1 too many", || logged(2, b"more"), "LOG-03 log.register.mismatch"),
    ("made: an event of RTMR3 too many", || logged(4, b"more"), "LOG-03 log.register.mismatch"),
    ("made: an event of no RTMR", || logged(5, b"more"), "LOG-02 log.register.unknown"),
    (
        "made: the log stops before the application",
        || made(|a| a.log = Some(EventLog::simulated_td().bytes().to_vec())),
        "LOG-03 log.register.mismatch",
    ),
    (
        "made: another order",
        || {
            another(|log| {
                log.measure(1, EV_SEPARATOR, &[0; 4]);
                log.measure(1, EV_EVENT_TAG, b"SIMULATED firmware configuration");
            })
        },
        "LOG-03 log.register.mismatch",
    ),
    ("made: another kernel was measured", || measured(2, b"another kernel"), "LOG-05 log.event.not-accepted"),
    ("made: another application was measured", || measured(4, b"another"), "LOG-05 log.event.not-accepted"),
    ("made: nothing was measured", || Asked::new(&EventLog::ccel()).answer(), "LOG-06 log.event.required"),
    (
        "made: the policy has another RTMR1",
        || made(|a| a.config.rtmrs[1] = [1; 48]),
        "TDX-22 tdx.rtmr1.not-accepted",
    ),
    (
        "made: the RTMR is accepted by its value, and the log is another's",
        || {
            made(|a| {
                a.policy = a.policy.replace(&hex::encode(a.config.rtmrs[1]), &"01".repeat(48));
                a.config.rtmrs[1] = [1; 48];
            })
        },
        "LOG-03 log.register.mismatch",
    ),
    (
        "made: the log of a TPM",
        || made(|a| a.log = Some(EventLog::simulated_vm().bytes().to_vec())),
        "LOG-02 log.bank.missing",
    ),
];

/// Over recordings.
pub(crate) const RECORDED_LOG: &[Case] = &[
    ("COS 113's CCEL beside a made-up quote", || cos(|_| {}), "verified, waived: TDX-14, LOG-05"),
    (
        "COS 113's CCEL, and another RTMR1",
        || {
            cos(|asked| {
                asked.policy = asked.policy.replace(&hex::encode(asked.config.rtmrs[1]), &"01".repeat(48));
                asked.config.rtmrs[1] = [1; 48];
            })
        },
        "LOG-03 log.register.mismatch",
    ),
    (
        "COS 113's CCEL, and a kernel that it does not have",
        || {
            cos(|asked| {
                asked.policy = asked.policy.replace("required = [\"", "required = [{ text = \"no\" }, \"")
            })
        },
        "LOG-06 log.event.required",
    ),
];

/// A TD that ended where the recorded log does, with one required event in each of its registers.
fn cos(change: impl FnOnce(&mut Asked)) -> String {
    let bytes = file(CCEL);
    let log = ReadLog::parse(&bytes).expect("a log");
    let replayed = log.unproven_registers(Bank::Sha384);
    let rtmrs = [1, 2, 3, 4].map(|register| {
        let value = replayed.get(&register).cloned().unwrap_or_else(|| vec![0; 48]);
        <[u8; 48]>::try_from(value).expect("48 bytes")
    });
    let mut text = TDX.to_owned();
    for (placeholder, rtmr) in ["65", "66", "67"].iter().zip(rtmrs) {
        text = text.replace(&placeholder.repeat(48), &hex::encode(rtmr));
    }
    text =
        text.replace(r#"{ any = "nothing is extended at run time" }"#, &format!("[\"{}\"]", "00".repeat(48)));
    for register in 0..3_u32 {
        let first =
            log.events().iter().find(|event| event.index() == register + 1 && event.event_type() != 3);
        let digest = hex::encode(first.and_then(|event| event.digest(Bank::Sha384)).expect("an event"));
        text += &format!(
            "[tdx.event-log.register.{register}]\nevents = {{ any = \"recorded\" }}\nrequired = [\"{digest}\"]\n"
        );
    }
    text += "[tdx.event-log.register.3]\nevents = \"none\"\n";
    let mut asked = Asked { log: Some(bytes), policy: text, ..Asked::new(&EventLog::ccel()) };
    asked.config.rtmrs = rtmrs;
    change(&mut asked);
    asked.answer()
}
