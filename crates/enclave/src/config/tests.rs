//! What settings mean, and one mistake each.

use super::*;

const CORES: NonZeroUsize = NonZeroUsize::new(2).unwrap();

fn complete() -> ServeSettings {
    ServeSettings {
        model: Some("m".into()),
        publisher_key: Some("p".into()),
        broker: Some("http://b".into()),
        ..ServeSettings::default()
    }
}

#[test]
fn defaults_are_the_careful_ones() {
    let config = complete().resolve(CORES).unwrap();
    assert_eq!(config.swap, SwapRule::Refuse);
    assert_eq!(config.machine, MachineSource::Hardware);
    assert_eq!(config.listen.to_string(), "0.0.0.0:8443");
    let broker = |path| KeySource::Broker { url: "http://b".into(), authorities: None, path };
    assert_eq!(config.keys, broker(BrokerPath::Tcp));
    assert_eq!((config.user, config.threads), (65534, CORES));
    assert_eq!(config.drain, Duration::ZERO);
    assert_eq!(config.endorsements, EndorsementSource::Machine);
}

#[test]
fn an_upstream_takes_the_embedded_engines_place() {
    assert_eq!(complete().resolve(CORES).unwrap().upstream, None);
    let upstream = UpstreamSettings {
        command: Some("/bin/x {model} {port}".into()),
        kind: Some("llama-server".into()),
        ..UpstreamSettings::default()
    };
    let with = ServeSettings { upstream, ..complete() };
    assert!(with.clone().resolve(CORES).unwrap().upstream.is_some());
    for only_embedded in [
        ServeSettings { context: Some(4096), ..with.clone() },
        ServeSettings { cache_tokens: Some(16384), ..with.clone() },
        ServeSettings { guess_tokens: Some(0), ..with.clone() },
    ] {
        assert_eq!(only_embedded.resolve(CORES).unwrap_err().code(), "config.exclusive");
    }
    // In a file it is a table; a flag wins over it.
    let file: ServeSettings = toml::from_str(
        "[upstream]\ncommand = \"/bin/y {folder} {socket}\"\nkind = \"vllm\"\nenv = [\"A=b\"]",
    )
    .unwrap();
    let both = with.over(file).resolve(CORES).unwrap().upstream.unwrap();
    assert_eq!((both.command.program(), both.environment.len()), ("/bin/x", 1));
    assert!(toml::from_str::<ServeSettings>("[upstream]\nport = 1").is_err());
}

#[test]
fn endorsements_come_from_one_place() {
    let file = ServeSettings { endorsements: Some("e".into()), ..complete() };
    let config = file.resolve(CORES).unwrap();
    assert_eq!(config.endorsements, EndorsementSource::File("e".into()));
    let vendors = ServeSettings {
        fetch_endorsements: Some(true),
        endorsement_cache: Some("c".into()),
        pccs: Some("https://p".into()),
        rim_service: Some("https://r".into()),
        ocsp_without_nonce: Some(true),
        ..complete()
    };
    let expected = EndorsementSource::Vendors {
        cache: "c".into(),
        kds: None,
        pccs: Some("https://p".into()),
        crl_mirror: None,
        nvidia: NvidiaService { rim: Some("https://r".into()), ocsp: None, nonce: false },
        proxy: None,
        authorities: None,
    };
    let proxied = |proxy: &str| {
        let settings = ServeSettings { endorsement_proxy: Some(proxy.into()), ..vendors.clone() };
        match settings.resolve(CORES).unwrap().endorsements {
            EndorsementSource::Vendors { proxy, .. } => proxy.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let vsock = VsockAddress { cid: 3, port: 8001 };
    assert_eq!(proxied("vsock:3:8001"), EndorsementProxy::Vsock(vsock));
    assert_eq!(proxied("http://proxy:3128"), EndorsementProxy::Http("http://proxy:3128".into()));
    assert_eq!(vendors.resolve(CORES).unwrap().endorsements, expected);
    // What is switched off is off.
    let off = ServeSettings { fetch_endorsements: Some(false), ..complete() };
    assert_eq!(off.resolve(CORES).unwrap().endorsements, EndorsementSource::Machine);
}

#[test]
fn vsock_is_what_was_written_and_nothing_else() {
    let config = ServeSettings { listen: Some("vsock:8443".into()), ..complete() }.resolve(CORES).unwrap();
    let any = VsockAddress { cid: VsockAddress::ANY_CID, port: 8443 };
    let broker = |path| KeySource::Broker { url: "http://b".into(), authorities: None, path };
    assert_eq!((config.listen, config.keys), (ListenAddress::Vsock(any), broker(BrokerPath::Tcp)));
    let via = ServeSettings { broker_via: Some("vsock:3:8080".into()), ..complete() };
    let config = via.resolve(CORES).unwrap();
    assert_eq!(config.keys, broker(BrokerPath::Vsock(VsockAddress { cid: 3, port: 8080 })));
    assert!(matches!(config.listen, ListenAddress::Tcp(_)));
}

#[test]
fn gpus_are_attested_where_a_policy_is_written() {
    assert_eq!(complete().resolve(CORES).unwrap().gpus, GpuSource::None);
    let real = ServeSettings { gpu_policy: Some("p".into()), ..complete() };
    let expected = GpuSource::Hardware { policy: "p".into(), endorsements: None };
    assert_eq!(real.clone().resolve(CORES).unwrap().gpus, expected);
    let simulated =
        ServeSettings { danger_simulate: Some("v".into()), danger_simulate_gpus: Some("g".into()), ..real };
    let expected = GpuSource::Simulated { policy: "p".into(), vendor: "g".into() };
    assert_eq!(simulated.resolve(CORES).unwrap().gpus, expected);
}

#[test]
fn a_virtual_tpm_is_shown_where_it_is_written_and_for_no_simulated_machine() {
    assert_eq!(complete().resolve(CORES).unwrap().vtpm, VtpmSource::None);
    let written = ServeSettings { gce_vtpm: Some("e".into()), ..complete() };
    let expected = |unlisted| VtpmSource::Google { endorsements: "e".into(), unlisted };
    assert_eq!(written.clone().resolve(CORES).unwrap().vtpm, expected(Danger::Refuse));
    let because =
        |reason: &str| ServeSettings { danger_vtpm_unlisted: Some(reason.into()), ..written.clone() };
    let allowed = Danger::Allow { reason: "Google lists none".into() };
    assert_eq!(because("Google lists none").resolve(CORES).unwrap().vtpm, expected(allowed));
    assert_eq!(because(" ").resolve(CORES).unwrap_err().code(), "config.no-reason");
    let alone = ServeSettings { gce_vtpm: None, ..because("x") };
    assert_eq!(alone.resolve(CORES).unwrap_err().code(), "config.unpaired");
    let simulated = ServeSettings { danger_simulate: Some("v".into()), ..written };
    assert_eq!(simulated.resolve(CORES).unwrap_err().code(), "config.exclusive");
}

#[test]
fn the_hardware_report_of_an_azure_vm_is_the_exchanges_unless_somebody_says_why_not() {
    assert_eq!(complete().resolve(CORES).unwrap().azure_report, AzureReport::Exchange);
    let because =
        |reason: &str| ServeSettings { danger_azure_boot_report: Some(reason.into()), ..complete() };
    let many = because("hundreds of exchanges in a second");
    assert_eq!(many.clone().resolve(CORES).unwrap().azure_report, AzureReport::Boot);
    assert_eq!(because(" ").resolve(CORES).unwrap_err().code(), "config.no-reason");
    let simulated = ServeSettings { danger_simulate: Some("v".into()), ..many };
    assert_eq!(simulated.resolve(CORES).unwrap_err().code(), "config.exclusive");
}

#[test]
fn a_flag_wins_over_the_file() {
    let file = ServeSettings { broker: Some("http://file".into()), threads: Some(7), ..complete() };
    let merged = ServeSettings { broker: Some("http://flag".into()), ..ServeSettings::default() }.over(file);
    assert_eq!((merged.broker.as_deref(), merged.threads), (Some("http://flag"), Some(7)));
}

#[test]
fn one_mistake_each_has_its_code() {
    type Edit = fn(&mut ServeSettings);
    let cases: [(Edit, &str); 36] = [
        (|s| s.listen = Some("8443".into()), "address.form"),
        (|s| s.listen = Some("vsock:x".into()), "address.number"),
        (|s| s.broker_via = Some("vsock:8080".into()), "address.any-cid"),
        (|s| s.broker_via = Some("vsock:3:0".into()), "address.range"),
        (|s| s.broker_via = Some("127.0.0.1:8080".into()), "address.form"),
        (|s| s.gpu_endorsements = Some("e".into()), "config.unpaired"),
        (|s| s.danger_simulate_gpus = Some("v".into()), "config.unpaired"),
        (
            |s| {
                s.gpu_policy = Some("p".into());
                s.danger_simulate = Some("v".into());
            },
            "config.unpaired",
        ),
        (
            |s| {
                s.gpu_policy = Some("p".into());
                s.danger_simulate_gpus = Some("v".into());
            },
            "config.unpaired",
        ),
        (
            |s| {
                s.gpu_policy = Some("p".into());
                s.gpu_endorsements = Some("e".into());
                s.danger_simulate = Some("v".into());
                s.danger_simulate_gpus = Some("v".into());
            },
            "config.exclusive",
        ),
        (|s| s.fetch_endorsements = Some(true), "config.unpaired"),
        (|s| s.endorsement_cache = Some("c".into()), "config.unpaired"),
        (|s| s.kds = Some("https://k".into()), "config.unpaired"),
        (|s| s.pccs = Some("https://p".into()), "config.unpaired"),
        (|s| s.crl_mirror = Some("https://m".into()), "config.unpaired"),
        (|s| s.rim_service = Some("https://r".into()), "config.unpaired"),
        (|s| s.ocsp_service = Some("https://o".into()), "config.unpaired"),
        (|s| s.ocsp_without_nonce = Some(true), "config.unpaired"),
        (|s| s.endorsement_proxy = Some("http://p:1".into()), "config.unpaired"),
        (|s| s.endorsement_ca = Some("a".into()), "config.unpaired"),
        (
            |s| {
                s.fetch_endorsements = Some(true);
                s.endorsement_cache = Some("c".into());
                s.endorsements = Some("e".into());
            },
            "config.exclusive",
        ),
        (|s| s.threads = Some(3), "config.range"),
        (|s| s.model = None, "config.missing"),
        (|s| s.publisher_key = None, "config.missing"),
        (|s| s.broker = None, "config.missing"),
        (|s| s.tls_cert = Some("c".into()), "config.unpaired"),
        (|s| s.tls_key = Some("k".into()), "config.unpaired"),
        (|s| s.threads = Some(0), "config.range"),
        (|s| s.context = Some(1), "config.range"),
        (|s| s.parallel = Some(0), "config.range"),
        (|s| s.parallel = Some(257), "config.range"),
        (|s| s.cache_tokens = Some(4095), "config.range"),
        (|s| s.cache_tokens = Some(u32::MAX), "config.range"),
        (|s| s.guess_tokens = Some(65), "config.range"),
        (|s| s.drain_seconds = Some(301), "config.range"),
        (|s| s.user = Some(0), "config.range"),
    ];
    for (edit, code) in cases {
        let mut settings = complete();
        edit(&mut settings);
        assert_eq!(settings.resolve(CORES).unwrap_err().code(), code);
    }
}
