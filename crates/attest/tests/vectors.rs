mod recorded;
use recorded::*;
fn main() {
    let milan = [
        "clerk_default/|vcek_chain.pem",
        "virtee_milan/|vcek.der",
        "gosev_milan_v2/|vcek.der",
        "trustee_milan/|vcek.der",
        "clerk_milan/|vcek_chain.pem",
        "oak_milan_oc_staging/|vcek.der",
        "oak_milan_rk_release/|vcek.der",
        "oak_milan_rk_staging/|vcek.der",
    ];
    for m in milan {
        let (d, v) = m.split_once('|').unwrap();
        let r =
            Recording::new(&format!("snp/{d}report.bin"), &format!("snp/{d}{v}"), crl("milan"), JUNE_2025);
        match r.verify() {
            Ok(_) => println!("{d} ok {}", r.appraise(r.exact_policy())),
            Err(e) => println!("{d} {} {}", e.code(), e),
        }
    }
    for (n, r) in [
        ("genoa", genoa()),
        ("vlek", vlek()),
        ("turin", turin()),
        (
            "genoa2",
            Recording::new(
                "snp/clerk_genoa/report.bin",
                "snp/clerk_genoa/vcek_chain.pem",
                crl("genoa"),
                OCTOBER_2025,
            ),
        ),
        (
            "v5",
            Recording::new(
                "snp/clerk_v5/report.bin",
                "snp/clerk_v5/vcek_chain.pem",
                not_checked(),
                JANUARY_2026,
            ),
        ),
    ] {
        match r.verify() {
            Ok(a) => {
                println!("{n} ok {}", r.appraise(r.exact_policy()));
                let rep = casemate_attest::Report::from_authentic(&a);
                if n == "turin" {
                    println!("{}", serde_json::to_string_pretty(&rep).unwrap())
                }
            }
            Err(e) => println!("{n} {} {}", e.code(), e),
        }
    }
}
