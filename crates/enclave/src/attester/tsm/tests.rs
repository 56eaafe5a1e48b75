//! An entry in memory for every mistake, and a directory with a responder for the code that opens paths.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_sim::{Machine, MachineConfig, Signer as SimulatedSigner, Vendor};

pub(crate) use super::certificates::tests::vcek;
use super::*;
use crate::attester::{Attester, Roots, detect};

const DATA: [u8; 64] = [0x5a; 64];
const QUICK: Patience = Patience { attempts: 4, pause: Duration::ZERO };

/// Keys take seconds to make: one vendor for all cases.
static VENDOR: LazyLock<Vendor> =
    LazyLock::new(|| Vendor::create(ProductLine::Genoa, UnixTime(1_767_225_600)).unwrap());
static MACHINE: LazyLock<Machine> = LazyLock::new(|| VENDOR.machine(&MachineConfig::new([7; 48])).unwrap());

type Mistake = fn(&mut Answers);

/// What an entry answers to the n-th attempt.
struct Answers {
    attempt: u32,
    provider: &'static [u8],
    floor: &'static [u8],
    generation: u64,
    generation_text: Option<&'static str>,
    /// Foreign writes between inblob and outblob.
    foreign: u64,
    report: Option<Vec<u8>>,
    table: Vec<u8>,
    errors: HashMap<&'static str, i32>,
    written: Vec<(&'static str, Vec<u8>)>,
}

struct InMemory {
    mistake: Mistake,
    answers: Arc<Mutex<Answers>>,
}

impl InMemory {
    fn new(mistake: Mistake) -> Self {
        let answers = Answers {
            attempt: 0,
            provider: b"sev_guest\n",
            floor: b"0\n",
            generation: 7,
            generation_text: None,
            foreign: 0,
            report: None,
            table: vcek(MACHINE.vek_der()),
            errors: HashMap::new(),
            written: Vec::new(),
        };
        let memory = Self { mistake, answers: Arc::new(Mutex::new(answers)) };
        (memory.mistake)(&mut memory.answers.lock().unwrap());
        memory
    }
}

impl Attributes for InMemory {
    fn read(&self, name: &'static str, limit: usize) -> io::Result<Vec<u8>> {
        let mut answers = self.answers.lock().unwrap();
        if let Some(&number) = answers.errors.get(name) {
            if name == "outblob" {
                answers.attempt += 1;
                (self.mistake)(&mut answers);
            }
            return Err(io::Error::from_raw_os_error(number));
        }
        let mut bytes = match name {
            "provider" => answers.provider.to_vec(),
            "privlevel_floor" => answers.floor.to_vec(),
            "generation" => match answers.generation_text {
                Some(text) => text.into(),
                None => format!("{}\n", answers.generation).into_bytes(),
            },
            "outblob" => {
                answers.generation += answers.foreign;
                answers.attempt += 1;
                let report = answers.report.clone();
                (self.mistake)(&mut answers);
                let (_, inblob) = answers.written.iter().rev().find(|(name, _)| *name == "inblob").unwrap();
                report.unwrap_or_else(|| MACHINE.report(&inblob[..].try_into().unwrap()).unwrap())
            }
            "auxblob" => answers.table.clone(),
            other => panic!("{other} is not read"),
        };
        bytes.truncate(limit + 1);
        Ok(bytes)
    }

    fn write(&self, name: &'static str, bytes: &[u8]) -> io::Result<()> {
        let mut answers = self.answers.lock().unwrap();
        if let Some(&number) = answers.errors.get(name) {
            return Err(io::Error::from_raw_os_error(number));
        }
        answers.generation += 1;
        answers.written.push((name, bytes.to_vec()));
        Ok(())
    }

    fn hand_over(&self, _: u32, _: u32) -> io::Result<()> {
        Ok(())
    }
}

fn ask(mistake: Mistake) -> Result<RawEvidence, AttesterError> {
    let tsm = Tsm::with(InMemory::new(mistake), QUICK)?;
    crate::attester::Hardware::start(tsm).evidence(&DATA)
}

fn fail(answers: &mut Answers, attribute: &'static str, number: i32) {
    answers.errors.insert(attribute, number);
}

fn code(mistake: Mistake) -> &'static str {
    ask(mistake).err().map_or("none", |e| e.code())
}

#[test]
fn a_report_comes_with_the_certificate_of_its_own_key() {
    let raw = ask(|_| {}).unwrap();
    assert_eq!(raw.platform, Platform::SevSnp);
    assert!(raw.endorsements.vek.is_some_and(|vek| vek.starts_with(&[0x30, 0x82])));
    // A host without certificates is no mistake.
    assert_eq!(ask(|a| a.table.clear()).unwrap().endorsements, Brought::default());
}

#[test]
fn a_vleks_report_takes_the_vleks_certificate() {
    let mut config = MachineConfig::new([7; 48]);
    config.chip_id = [0; 64];
    config.signer = SimulatedSigner::Vlek;
    let loaded = VENDOR.machine(&config).unwrap();
    let both = certificates::tests::both(MACHINE.vek_der(), loaded.vek_der());
    let of = |machine: &Machine, table: &[u8]| endorsement(&machine.report(&DATA).unwrap(), table).unwrap();
    assert_eq!(of(&loaded, &both).as_deref(), Some(loaded.vek_der()));
    assert_eq!(of(&MACHINE, &both).as_deref(), Some(MACHINE.vek_der()));
    assert_eq!(of(&loaded, &vcek(MACHINE.vek_der())), None);
}

#[test]
fn a_guest_below_an_svsm_asks_at_its_own_level() {
    let written = |floor: Mistake| {
        let memory = InMemory::new(floor);
        let answers = memory.answers.clone();
        Tsm::with(memory, QUICK).unwrap().evidence(&DATA).unwrap();
        let answers = answers.lock().unwrap();
        answers.written.clone()
    };
    assert_eq!(written(|_| {}), [("inblob", DATA.to_vec())]);
    // One more write of ours.
    assert_eq!(written(|a| a.floor = b"2\n"), [("privlevel", b"2".to_vec()), ("inblob", DATA.to_vec())]);
}

#[test]
fn one_mistake_each_has_its_code() {
    let cases: [(Mistake, &str); 26] = [
        (|_| {}, "none"),
        (|a| a.provider = b"arm_cca_guest\n", "attester.tsm.provider"),
        (|a| a.provider = b"", "attester.tsm.provider"),
        (|a| a.provider = &[b'x'; 200], "attester.tsm.size"),
        (|a| a.floor = b"4\n", "attester.tsm.number"),
        (|a| a.floor = b"-1\n", "attester.tsm.number"),
        (|a| a.floor = b"\n", "attester.tsm.number"),
        (|a| fail(a, "privlevel_floor", libc::ENOENT), "attester.tsm.missing"),
        // Another's write each time, and once.
        (|a| a.foreign = 1, "attester.tsm.race"),
        (|a| a.foreign = u64::from(a.attempt == 0), "none"),
        // The kernel did not take our write: the outblob would be that of an older inblob.
        (|a| a.generation_text = Some("7\n"), "attester.tsm.race"),
        (|a| a.generation_text = Some("-1\n"), "attester.tsm.number"),
        (|a| a.generation_text = Some("\n"), "attester.tsm.number"),
        (|a| a.generation_text = Some("99999999999999999999"), "attester.tsm.number"),
        (|a| fail(a, "outblob", libc::EBUSY), "attester.busy"),
        (|a| fail(a, "outblob", libc::EAGAIN), "attester.busy"),
        (|a| fail(a, "inblob", libc::EBUSY), "attester.busy"),
        (
            |a| match a.attempt {
                0 | 1 => fail(a, "outblob", libc::EBUSY),
                _ => a.errors.clear(),
            },
            "none",
        ),
        (|a| fail(a, "outblob", libc::EIO), "attester.tsm.refused"),
        (|a| fail(a, "inblob", libc::EACCES), "attester.tsm.refused"),
        (|a| fail(a, "auxblob", libc::ENOENT), "attester.tsm.missing"),
        (|a| fail(a, "generation", libc::ENOENT), "attester.tsm.missing"),
        (|a| a.report = Some(vec![0; 1183]), "attester.tsm.size"),
        (|a| a.report = Some(vec![0; 64 * 1024]), "attester.tsm.size"),
        (|a| a.report = Some(MACHINE.report(&[0; 64]).unwrap()), "attester.echo"),
        (|a| a.table = vec![1; 100], "attester.certificates.no-end"),
    ];
    for (index, (mistake, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(mistake), expected, "case {index}");
    }
}

#[test]
fn a_td_without_a_quote_service_has_a_name() {
    fn td(a: &mut Answers, number: i32) {
        a.provider = b"tdx_guest\n";
        a.errors.insert("outblob", number);
        // A TD has none.
        a.errors.insert("auxblob", libc::ENOENT);
    }
    for mistake in [(|a| td(a, libc::EIO)) as Mistake, |a| td(a, libc::ETIMEDOUT), |a| td(a, libc::ENXIO)] {
        assert_eq!(code(mistake), "attester.tsm.quote-service");
    }
    assert_eq!(code(|a| td(a, libc::EBUSY)), "attester.busy");
    let empty: Mistake = |a| {
        a.provider = b"tdx_guest\n";
        a.report = Some(Vec::new());
    };
    assert_eq!(code(empty), "attester.tsm.size");
    let report: Mistake = |a| a.provider = b"tdx_guest\n";
    assert_eq!(code(report), "attester.platform");
}

// === a directory ===

/// A directory that stands in for configfs: a responder fills each new entry with pipes, so that reading waits for writing
/// as in the kernel. Removed when dropped.
pub(crate) struct Stand(PathBuf);

impl Stand {
    pub(crate) fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("casemate-tsm-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        Self(root)
    }

    pub(crate) fn respond(&self, provider: &'static str) {
        let (root, table) = (self.0.clone(), vcek(MACHINE.vek_der()));
        std::thread::spawn(move || {
            let entry = loop {
                match fs::read_dir(&root).map(|mut entries| entries.next()) {
                    Ok(Some(Ok(entry))) => break entry.path(),
                    Ok(_) => std::thread::sleep(Duration::from_millis(2)),
                    Err(_) => return,
                }
            };
            let pipe = |name: &str| {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let path = entry.join(name);
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
                path
            };
            let (inblob, outblob) = (pipe("inblob"), pipe("outblob"));
            fs::write(entry.join("auxblob"), table).unwrap();
            fs::write(entry.join("generation"), "0\n").unwrap();
            fs::write(entry.join("privlevel_floor"), "0\n").unwrap();
            // Last: the entry is whole when its provider shows.
            fs::write(entry.join("provider.new"), provider).unwrap();
            fs::rename(entry.join("provider.new"), entry.join("provider")).unwrap();
            for generation in 1_u64.. {
                let Ok(data) = fs::read(&inblob) else { return };
                fs::write(entry.join("generation"), format!("{generation}\n")).unwrap();
                let report = MACHINE.report(&data.try_into().unwrap()).unwrap();
                if fs::write(&outblob, report).is_err() {
                    return;
                }
            }
        });
    }

    pub(crate) fn roots(&self) -> Roots {
        let none = || self.0.join("none");
        Roots { nsm: none(), chassis_asset_tag: none(), tsm: self.0.clone(), ..Roots::system() }
    }

    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_code_that_opens_paths_gets_evidence_and_leaves_nothing() {
    let stand = Stand::new("whole");
    stand.respond("sev_guest\n");
    let attester = detect(&stand.roots()).unwrap();
    assert_eq!((attester.platform(), attester.simulated()), (Platform::SevSnp, false));
    for fill in 0..3 {
        let raw = attester.evidence(&[fill; 64]).unwrap();
        assert!(raw.endorsements.vek.is_some());
    }
    let [entry] = &stand.entries()[..] else { panic!("one entry of ours") };
    // What `rmdir` does in configfs, where attributes go with their directory.
    for attribute in fs::read_dir(entry).unwrap() {
        fs::remove_file(attribute.unwrap().path()).unwrap();
    }
    drop(attester);
    let started = Instant::now();
    while !stand.entries().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(5), "the entry stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_entry_that_nobody_fills_has_a_name_and_is_removed() {
    let stand = Stand::new("empty");
    let started = Instant::now();
    let error = detect(&stand.roots()).err().unwrap();
    assert_eq!(error.code(), "attester.tsm.missing");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(stand.entries(), [] as [PathBuf; 0]);
}

#[test]
fn another_provider_in_a_directory_has_a_name() {
    let stand = Stand::new("provider");
    stand.respond("somebody\n");
    assert_eq!(detect(&stand.roots()).err().unwrap().code(), "attester.tsm.provider");
}
