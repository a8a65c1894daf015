//! Which jurisdiction a cloud's region lies in. Names that are not known here stand for themselves alone.

/// Elsewhere than their names begin: London and Zürich, of AWS and of Google, and Google's Tel Aviv.
const APART: &[(&str, &str)] = &[
    ("me-west1", "il"),
    ("eu-west-2", "uk"),
    ("eu-central-2", "ch"),
    ("europe-west2", "uk"),
    ("europe-west6", "ch"),
];

/// Beginnings of AWS's and Google's other regions.
const BEGINNINGS: &[(&str, &str)] = &[
    ("eu-", "eu"),
    ("eusc-", "eu"),
    ("europe-", "eu"),
    ("us-", "us"),
    ("ca-", "ca"),
    ("northamerica-northeast", "ca"),
    ("mx-", "mx"),
    ("northamerica-south", "mx"),
    ("sa-", "sa"),
    ("southamerica-", "sa"),
    ("ap-", "apac"),
    ("asia-", "apac"),
    ("australia-", "apac"),
    ("me-", "me"),
    ("il-", "il"),
    ("af-", "af"),
    ("africa-", "af"),
    ("cn-", "cn"),
];

/// Azure's regions, whole.
const AZURE: &[(&str, &[&str])] = &[
    (
        "eu",
        &[
            "westeurope",
            "northeurope",
            "francecentral",
            "francesouth",
            "germanywestcentral",
            "germanynorth",
            "swedencentral",
            "swedensouth",
            "polandcentral",
            "italynorth",
            "spaincentral",
            "austriaeast",
            "belgiumcentral",
            "denmarkeast",
        ],
    ),
    ("no", &["norwayeast", "norwaywest"]),
    ("ch", &["switzerlandnorth", "switzerlandwest"]),
    ("uk", &["uksouth", "ukwest"]),
    (
        "us",
        &[
            "eastus",
            "eastus2",
            "westus",
            "westus2",
            "westus3",
            "centralus",
            "northcentralus",
            "southcentralus",
            "westcentralus",
        ],
    ),
    ("ca", &["canadacentral", "canadaeast"]),
    ("mx", &["mexicocentral"]),
    ("sa", &["brazilsouth", "brazilsoutheast", "chilecentral"]),
    (
        "apac",
        &[
            "japaneast",
            "japanwest",
            "koreacentral",
            "koreasouth",
            "southeastasia",
            "eastasia",
            "australiaeast",
            "australiasoutheast",
            "australiacentral",
            "newzealandnorth",
            "centralindia",
            "southindia",
            "westindia",
            "indonesiacentral",
            "malaysiawest",
        ],
    ),
    ("me", &["uaenorth", "uaecentral", "qatarcentral"]),
    ("il", &["israelcentral"]),
    ("af", &["southafricanorth", "southafricawest"]),
];

/// The jurisdiction of a cloud's region; `None` for a name of the operator's own.
fn group(place: &str) -> Option<&'static str> {
    let apart = APART.iter().find(|(region, _)| *region == place);
    let begins = || {
        let mut beginnings = BEGINNINGS.iter();
        beginnings.find(|(beginning, _)| place.starts_with(beginning))
    };
    if let Some((_, group)) = apart.or_else(begins) {
        return Some(group);
    }
    let mut azure = AZURE.iter();
    let found = azure.find(|(_, regions)| regions.contains(&place));
    found.map(|(group, _)| *group)
}

/// Whether what is processed in `place` is processed in `wanted`: the same name, a `*` at its end standing for
/// anything, or the jurisdiction that the place lies in.
pub(in crate::policy) fn is_within(place: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(beginning) => place.starts_with(beginning),
        None => place == wanted || group(place) == Some(wanted),
    }
}

/// Whether a name is written as regions are.
pub fn is_place(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}

/// Where Bedrock processes a model that is named by an inference profile: its regions are the profile's, whichever
/// of them it is asked at. `None` for a plain model, which stays where it is asked.
pub(super) fn profile(model: &str) -> Option<&'static str> {
    let name = model.rsplit('/').next().unwrap_or(model);
    // What an own profile or a router of prompts leads to is written in AWS and not in its name.
    let hides = [
        ":application-inference-profile/",
        ":prompt-router/",
        ":default-prompt-router/",
    ];
    if hides.iter().any(|kind| model.contains(kind)) {
        return Some("anywhere");
    }
    let (beginning, _) = name.split_once('.')?;
    match beginning {
        "global" => Some("anywhere"),
        "eu" => Some("eu"),
        "us" | "us-gov" => Some("us"),
        "apac" => Some("apac"),
        "jp" => Some("jp"),
        "au" => Some("au"),
        "ca" => Some("ca"),
        // A part of the world that is not known here; no company has so short a name.
        short if short.len() == 2 => Some("anywhere"),
        // Names of companies: anthropic, amazon, meta.
        _ => None,
    }
}
