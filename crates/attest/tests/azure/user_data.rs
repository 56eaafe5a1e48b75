//! User data of the exchange (AZ-10), on what recorded machines had bound into the hardware's report.

use casemate_attest::azure::{AzurePolicy, UserDataTerms};
use casemate_attest::tpm::Quote;
use casemate_attest::{Binding, Policy};

use crate::{Case, Machine, appraised, appraised_with, genoa, milan};

pub(crate) const EXCHANGES: &[Case] = &[
    // Of the recorded machines this one wrote the nonce for the hardware's report too; the others' report is the boot's.
    (
        "policy: user-data of v2 is its exchange",
        || exchange(&milan("v2")),
        "verified, waived: SNP-13, AZ-07, AZ-11",
    ),
    ("policy: user-data of v1 is none's", || exchange(&milan("v1")), "azure.user-data.other-exchange"),
    ("policy: user-data of Genoa is none's", || exchange(&genoa()), "azure.user-data.other-exchange"),
    (
        "policy: user-data of an exchange that nobody named",
        || {
            let machine = milan("v2");
            let terms = AzurePolicy { user_data: UserDataTerms::Exchange, ..machine.exact() };
            appraised(&machine, &Policy::for_azure(terms))
        },
        "azure.user-data.no-exchange",
    ),
];

/// Terms that want the hardware's report made for this exchange, which is the quote's.
fn exchange(machine: &Machine) -> String {
    let quote = Quote::parse(&machine.quote).expect("a quote");
    let binding = Binding::qualifying_data(quote.extra_data());
    let terms = AzurePolicy { user_data: UserDataTerms::Exchange, ..machine.exact() };
    appraised_with(machine, &Policy::for_azure(terms), &binding)
}
