//! The API and the way to the broker over vsock (spec/channel.md section 7). What leads from there to a network is what an
//! operator runs on the host: `socat` in one case, two threads for each connection in the others.
//!
//! Where the kernel has no vsock, or nothing leads to its own CID 1 (module `vsock_loopback`), the cases that need it are
//! reported as ignored, and why. `scripts/guest-test.sh` runs them in a machine that has both.

use std::fs;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::Case;
use crate::fixture::{Fixture, Run, Server, casemate, run_program};
use crate::machine::is_root;

/// What a case needs of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Sockets of the family.
    Vsock,
    /// And a way from this machine to itself.
    Loopback,
    /// Loopback, and `socat`.
    Socat,
    /// Sockets, and a program that takes a capability away.
    Setpriv,
}

const CASES: [(&str, Needs, Case); 8] = [
    ("vsock::a_server_without_a_network_answers", Needs::Loopback, a_server_without_a_network_answers),
    (
        "vsock::the_brokers_certificate_is_of_its_address",
        Needs::Loopback,
        the_brokers_certificate_is_of_its_address,
    ),
    ("vsock::nobody_at_the_other_end", Needs::Loopback, nobody_at_the_other_end),
    ("vsock::doctor_asks_the_broker_over_it", Needs::Loopback, doctor_asks_the_broker_over_it),
    ("vsock::socat_leads_there_and_back", Needs::Socat, socat_leads_there_and_back),
    ("vsock::a_port_in_use", Needs::Vsock, a_port_in_use),
    ("vsock::a_cid_of_another_machine", Needs::Vsock, a_cid_of_another_machine),
    ("vsock::a_port_that_is_not_permitted", Needs::Setpriv, a_port_that_is_not_permitted),
];

/// The cases, those that this machine cannot run as ignored.
pub fn trials(model: Option<&Path>, shared: &Arc<OnceLock<Fixture>>) -> Vec<Trial> {
    let missing = |needs| match needs {
        _ if model.is_none() => Some("no model"),
        _ if socket().is_err() => Some("this kernel has no vsock"),
        Needs::Loopback | Needs::Socat if !loopback() => Some("no vsock loopback"),
        Needs::Socat if !has("socat", "-V") => Some("no socat"),
        Needs::Setpriv if !has("setpriv", "--version") => Some("no setpriv"),
        Needs::Vsock | Needs::Loopback | Needs::Socat | Needs::Setpriv => None,
    };
    let trial = |(name, needs, case): (&str, Needs, Case)| {
        let why_not = missing(needs);
        let (model, shared) = (model.map(Path::to_owned), Arc::clone(shared));
        let test = move || -> Result<(), Failed> {
            let model = model.ok_or("no model")?;
            case(shared.get_or_init(|| Fixture::new(&model)));
            Ok(())
        };
        Trial::test(name, test).with_ignored_flag(why_not.is_some()).with_kind(why_not.unwrap_or_default())
    };
    CASES.into_iter().map(trial).collect()
}

/// The whole way: the server has the model key from the broker, and a client its answer, and the server has no
/// socket of a network.
fn a_server_without_a_network_answers(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let (to_broker, api) = (port(), port());
    let _bridge = from_vsock(to_broker, &broker.url.replace("http://", ""));
    let server = serve(f, "http://broker.invalid:8080", to_broker, &format!("vsock:{api}"), &[])
        .unwrap_or_else(|run| panic!("serve: {}", run.stderr));
    assert_eq!(server.url, format!("vsock:{api}"));
    let url = format!("https://{}", to_vsock(api));
    let asked = f.ask(&url, &f.path("client.toml"), "What is 2+2?");
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    assert!(asked.stdout.contains('4'), "{}", asked.stdout);
    let log = server.log();
    assert!(log.contains("broker released the model key"), "{log}");
    // A process that cannot be dumped shows its descriptors to root only.
    if is_root() {
        assert_eq!(internet_sockets(server.child.id()), [] as [String; 0]);
        assert_ne!(internet_sockets(broker.child.id()), [] as [String; 0], "the search must be able to find");
    }
}

/// The TCP and UDP sockets that a process holds.
fn internet_sockets(pid: u32) -> Vec<String> {
    let tables = ["tcp", "tcp6", "udp", "udp6"]
        .map(|name| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
    let inodes: Vec<&str> = tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(|line| line.split_whitespace().nth(9))
        .collect();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok()?.to_str().map(ToOwned::to_owned))
        .filter(|target| inodes.iter().any(|inode| *target == format!("socket:[{inode}]")))
        .collect()
}

/// The same with a vsock that is not ours at both ends.
fn socat_leads_there_and_back(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let (to_broker, api) = (port(), port());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _out =
        Socat::start(&format!("VSOCK-LISTEN:{to_broker},fork"), &broker.url.replace("http://", "TCP:"));
    let _in = Socat::start(
        &format!("TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,fork", free.port()),
        &format!("VSOCK-CONNECT:1:{api}"),
    );
    let _server = serve(f, "http://broker.invalid:8080", to_broker, &format!("vsock:{api}"), &[])
        .unwrap_or_else(|run| panic!("serve: {}", run.stderr));
    let asked = f.ask(&format!("https://{free}"), &f.path("client.toml"), "What is 2+2?");
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    assert!(asked.stdout.contains('4'), "{}", asked.stdout);
}

/// The name of the broker's address is looked up nowhere, and its certificate must be of that name all the same.
fn the_brokers_certificate_is_of_its_address(f: &Fixture) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["broker.invalid".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (chain, private) = (f.path("broker.pem"), f.path("broker.key.pem"));
    fs::write(&chain, certificate.pem()).unwrap();
    fs::write(&private, key.serialize_pem()).unwrap();
    let (store, root) = (f.path("store"), f.root());
    let args = ["broker", "serve", "--store", &store, "--listen", "127.0.0.1:0", "--tls-cert", &chain];
    let args = [&args[..], &["--tls-key", &private, "--danger-simulated-root", &root]].concat();
    let broker = Server::start(&casemate(), &args, &[], None).unwrap_or_else(|run| panic!("{}", run.stderr));
    let to_broker = port();
    let _bridge = from_vsock(to_broker, &broker.url.replace("https://", ""));
    let check = |url: &str, authority: &[&str]| {
        let via = format!("vsock:1:{to_broker}");
        doctor(&[&["--broker", url, "--broker-via", &via][..], authority].concat())
    };
    let authority = ["--broker-ca", &chain];
    assert_eq!(check("https://broker.invalid", &authority), ("pass".into(), None));
    let unreachable = ("fail".to_owned(), Some("release.unreachable".to_owned()));
    assert_eq!(check("https://another.invalid", &authority), unreachable);
    assert_eq!(check("https://broker.invalid", &[]), unreachable);
}

fn nobody_at_the_other_end(f: &Fixture) {
    // Asked again for as long as a broker may need to come up; then it ends.
    refused(
        serve(f, "http://broker.invalid", port(), &format!("vsock:{}", port()), &[]),
        6,
        "[vsock.refused]",
    );
}

fn doctor_asks_the_broker_over_it(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let to_broker = port();
    let _bridge = from_vsock(to_broker, &broker.url.replace("http://", ""));
    let ask = |port: u32| {
        doctor(&["--broker", "http://broker.invalid", "--broker-via", &format!("vsock:1:{port}")])
    };
    assert_eq!(ask(to_broker), ("pass".into(), None));
    assert_eq!(ask(port()), ("fail".into(), Some("vsock.refused".into())));
}

fn a_port_in_use(f: &Fixture) {
    let port = port();
    let taken = socket().unwrap();
    taken.bind(&SockAddr::vsock(u32::MAX, port)).unwrap();
    refused(serve(f, "http://broker.invalid", 1, &format!("vsock:{port}"), &[]), 1, "[vsock.in-use]");
}

fn a_cid_of_another_machine(f: &Fixture) {
    let another = format!("vsock:4294967000:{}", port());
    refused(serve(f, "http://broker.invalid", 1, &another, &[]), 1, "[vsock.not-ours]");
}

/// Root has the capability for ports below 1024; the program that takes it away is util-linux's.
fn a_port_that_is_not_permitted(f: &Fixture) {
    let without = ["setpriv", "--inh-caps", "-net_bind_service", "--bounding-set", "-net_bind_service"];
    refused(serve(f, "http://broker.invalid", 1, "vsock:443", &without), 1, "[vsock.not-permitted]");
}

/// A server with these words before its own command line.
fn serve(f: &Fixture, broker: &str, via: u32, listen: &str, before: &[&str]) -> Result<Server, Run> {
    let mut args = f.serve_args(broker, &f.path("sealed"));
    let place = args.iter().position(|arg| arg == "--listen").unwrap();
    args[place + 1] = listen.to_owned();
    args.extend(["--broker-via".to_owned(), format!("vsock:1:{via}")]);
    let program = casemate();
    let words: Vec<&str> = before
        .iter()
        .copied()
        .chain([program.to_str().unwrap()])
        .chain(args.iter().map(String::as_str))
        .collect();
    Server::start(Path::new(words[0]), &words[1..], &[], None)
}

#[track_caller]
fn refused(server: Result<Server, Run>, exit: i32, code: &str) {
    server.err().expect("it must not start").refused(exit, code);
}

/// Outcome and code of the broker's check.
fn doctor(args: &[&str]) -> (String, Option<String>) {
    let run = run_program(&casemate(), &[&["doctor", "--json"], args].concat());
    let said: serde_json::Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    let checks = said["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["id"] == "network.broker").unwrap();
    (check["outcome"].as_str().unwrap().to_owned(), check["code"].as_str().map(ToOwned::to_owned))
}

// === what an operator runs on the host ===

/// Ends with its case.
struct Socat(Child);

impl Socat {
    fn start(from: &str, to: &str) -> Self {
        Self(Command::new("socat").args([from, to]).stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Socat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(program: &str, flag: &str) -> bool {
    Command::new(program).arg(flag).output().is_ok()
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::VSOCK, Type::STREAM, None)
}

/// Whether a connection to this machine's own CID comes in, within a second.
fn loopback() -> bool {
    let port = port();
    let probe = || -> io::Result<()> {
        let listener = socket()?;
        listener.bind(&SockAddr::vsock(u32::MAX, port))?;
        listener.listen(1)?;
        socket()?.connect_timeout(&SockAddr::vsock(1, port), Duration::from_secs(1))
    };
    probe().is_ok()
}

/// A port that no other case has.
fn port() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (1 << 20) + (std::process::id() % (1 << 20)) * 64 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `socat VSOCK-LISTEN:port,fork TCP:address`
fn from_vsock(port: u32, address: &str) -> thread::JoinHandle<()> {
    let listener = socket().unwrap();
    listener.bind(&SockAddr::vsock(u32::MAX, port)).unwrap();
    listener.listen(16).unwrap();
    let address = address.to_owned();
    thread::spawn(move || {
        while let Ok((vsock, _)) = listener.accept() {
            let Ok(tcp) = TcpStream::connect(&address) else { return };
            join(vsock, tcp);
        }
    })
}

/// `socat TCP-LISTEN:…,fork VSOCK-CONNECT:1:port`: its address.
fn to_vsock(port: u32) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let vsock = socket().unwrap();
            if vsock.connect(&SockAddr::vsock(1, port)).is_ok() {
                join(vsock, tcp);
            }
        }
    });
    address
}

/// Each direction until its end.
fn join(vsock: Socket, tcp: TcpStream) {
    let (vsock, tcp) = (Arc::new(vsock), Arc::new(tcp));
    let (from, to) = (Arc::clone(&vsock), Arc::clone(&tcp));
    thread::spawn(move || {
        let _ = io::copy(&mut &*from, &mut &*to);
        let _ = to.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut &*tcp, &mut &*vsock).and_then(|_| (&*vsock).flush());
        let _ = vsock.shutdown(Shutdown::Write);
    });
}
