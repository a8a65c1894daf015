#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "tests"
)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::load::settings_from_text;
use super::raw::RawConfig;
use super::secret::{Environment, Secret, resolve};
use super::*;

struct Table(HashMap<&'static str, &'static str>);

impl Environment for Table {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }
}

fn env() -> Table {
    Table(HashMap::from([
        ("OPENAI_API_KEY", "sk-canary-openai-0001"),
        ("ANTHROPIC_API_KEY", "sk-canary-anthropic-0002"),
        ("APP_KEY", "sk-canary-client-0003"),
    ]))
}

fn load(text: &str) -> Result<Settings, ConfigError> {
    settings_from_text(text, &env())
}

fn mistakes(text: &str) -> Vec<String> {
    load(text)
        .unwrap_err()
        .mistakes
        .iter()
        .map(ToString::to_string)
        .collect()
}

const GOOD: &str = r#"
[providers.openai]
keys = ["env:OPENAI_API_KEY"]
[providers.anthropic]
keys = [{ name = "main", secret = "env:ANTHROPIC_API_KEY", requests_per_minute = 60 }]
[pools.fast]
targets = ["openai/gpt-4o-mini", { target = "anthropic/claude-haiku-4-5", weight = 0.5 }]
fallback = ["slow"]
[pools.slow]
targets = ["anthropic/claude-sonnet-4-5"]
"#;

#[test]
fn u2_a_good_file_gives_settings_and_pools_for_every_known_model() {
    let settings = load(GOOD).unwrap();
    let names: Vec<&str> = settings
        .pools
        .iter()
        .map(|pool| pool.name.as_str())
        .collect();
    for name in [
        "fast",
        "slow",
        "gpt-4o",
        "openai/gpt-4o",
        "openai/*",
        "anthropic/*",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let shown = explain(&settings, None);
    assert!(shown.contains("then slow"), "{shown}");
    assert!(explain(&settings, Some("fast")).contains("66.7 %"));
}

#[test]
fn c02_all_mistakes_are_reported_at_once_each_with_its_path() {
    let found = mistakes(
        r#"
        [listen]
        address = "0.0.0.0:80"
        adress = "typo"
        [[clients]]
        name = "a"
        key = "env:NOT_SET"
        [providers.mystery]
        keys = ["sk-literal-secret"]
        [providers.openai]
        keys = ["env:OPENAI_API_KEY"]
        [pools.empty]
        targets = []
        [pools.a]
        targets = ["nobody/gpt"]
        fallback = ["b", "missing"]
        [pools.b]
        targets = ["openai/gpt-4o"]
        fallback = ["a"]
        [timeouts]
        request_ms = "soon"
        "#,
    );
    let all = found.join("\n");
    for expected in [
        "listen.adress: unknown option \"adress\"; did you mean \"address\"",
        "clients[0].key: environment variable NOT_SET is not set",
        "providers.mystery.base_url: \"mystery\" is no provider",
        "pools.empty.targets: pool \"empty\" has no targets",
        "pools.a.targets[0]: there is no provider \"nobody\"",
        "pools.a.fallback[1]: there is no pool \"missing\"",
        "pools.a.fallback: the chain leads back to itself: a -> b -> a",
        "timeouts.request_ms: found string",
    ] {
        assert!(all.contains(expected), "missing {expected:?} in:\n{all}");
    }
}

#[test]
fn c01_a_syntax_error_names_its_line() {
    let found = mistakes("[listen]\naddress = \"127.0.0.1:1\"\nbroken = = 1\n").join("\n");
    assert!(found.contains("line 3"), "{found}");
}

#[test]
fn c01_a_half_written_file_is_refused_not_half_used() {
    for cut in 1..GOOD.len() {
        let text = &GOOD[..cut];
        if let Ok(settings) = load(text) {
            assert!(
                settings.pools.iter().all(|pool| !pool.targets.is_empty()),
                "{text}"
            );
        }
    }
}

#[test]
fn a24_no_secret_is_in_any_text_about_the_settings() {
    let settings = load(GOOD).unwrap();
    let shown = format!(
        "{settings:?} {} {}",
        explain(&settings, None),
        explain_json(&settings)
    );
    assert!(!shown.contains("canary"), "{shown}");
    let literal = mistakes("[providers.openai]\nkeys = [\"sk-canary-pasted-9\"]\n").join("\n");
    assert!(!literal.contains("canary"), "{literal}");
    let typed = mistakes("[admin]\nallow_fault_injection = \"sk-canary-pasted-9\"\n").join("\n");
    assert!(!typed.contains("canary"), "{typed}");
}

#[test]
fn without_client_keys_only_loopback_is_allowed() {
    let found = mistakes("[listen]\naddress = \"0.0.0.0:8080\"\n").join("\n");
    assert!(
        found.contains("no client keys") && found.contains("127.0.0.1"),
        "{found}"
    );
    assert!(load("[listen]\naddress = \"0.0.0.0:8080\"\n[[clients]]\nname = \"a\"\nkey = \"env:APP_KEY\"\n").is_ok());
}

#[test]
fn c07_an_open_admin_without_a_key_is_refused() {
    let found = mistakes("[admin]\naddress = \"0.0.0.0:8081\"\n").join("\n");
    assert!(found.contains("admin.address"), "{found}");
}

#[cfg(unix)]
#[test]
fn c07_a_secret_file_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "sk-canary-file\n").unwrap();
    let reference = format!("file:{}", path.display());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (what, cure) = resolve(&reference, &env()).unwrap_err();
    assert!(
        what.contains("0644") && cure.starts_with("chmod 600"),
        "{what} {cure}"
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        resolve(&reference, &env()).unwrap(),
        Secret::new("sk-canary-file".to_owned())
    );
}

#[test]
fn k09_the_same_secret_twice_is_a_warning() {
    let settings = load(
        "[providers.openai]\nkeys = [{ name = \"a\", secret = \"env:OPENAI_API_KEY\" }, { name = \"b\", secret = \"env:OPENAI_API_KEY\" }]\n",
    )
    .unwrap();
    assert_eq!(settings.warnings.len(), 1);
    assert_eq!(
        settings.providers[0].keys[0].fingerprint,
        settings.providers[0].keys[1].fingerprint
    );
}

#[test]
fn l05_brackets_without_end_are_refused_before_they_are_parsed() {
    let text = format!("x = {}", "[".repeat(100_000));
    assert!(mistakes(&text).join("\n").contains("nested deeper"));
}

#[test]
fn d5_a_new_openai_compatible_provider_is_five_lines() {
    let settings = load(
        "[providers.acme]\nbase_url = \"https://llm.acme.example/v1\"\nkeys = [\"env:APP_KEY\"]\nmodels = [\"acme-1\"]\n[pools.a]\ntargets = [\"acme/acme-1\"]\n",
    )
    .unwrap();
    assert_eq!(
        settings.providers[0].dialect,
        crate::domain::Dialect::Openai
    );
}

#[test]
fn u1_with_nothing_written_the_environment_decides() {
    let raw = super::presets::complete(RawConfig::default(), true, &env());
    let settings = super::validate::settings(&raw, None, &env()).unwrap();
    let names: Vec<&str> = settings
        .providers
        .iter()
        .map(|provider| provider.name.as_str())
        .collect();
    assert_eq!(names, ["anthropic", "openai"]);
    assert!(
        settings
            .pools
            .iter()
            .any(|pool| pool.name.as_str() == "claude-haiku-4-5")
    );
}

#[test]
fn mistakes_of_the_store_are_told_with_their_cure() {
    let told = load(
        "[store]\npath = \"\"\nmax_bytes = 5\nretention_days = 0\nkey = \"env:SHORT\"\npatience_ms = 0\nmode = \"slow\"",
    )
    .unwrap_err()
    .to_string();
    for wanted in [
        "store.path: is empty; name a file",
        "store.max_bytes: is less than 1 MiB",
        "store.retention_days: is not between 1 and 3650; 30 is the default",
        "store.key: environment variable SHORT is not set",
        "store.patience_ms: must not be 0",
        "store.mode: \"slow\" is not one of the choices; use one of: fast, durable",
    ] {
        assert!(told.contains(wanted), "{wanted} is not in\n{told}");
    }
}

#[test]
fn l12_mistakes_about_idempotency_are_told_with_their_cure() {
    let told = load("[idempotency]\nkeep_ms = 0\nmost_bytes = 5\nanswer_bytes = 0\n");
    let told = told.unwrap_err().to_string();
    for wanted in [
        "idempotency.keep_ms: must not be 0",
        "idempotency.most_bytes: is less than 1 MiB; leave it out for the default; 0 ignores",
        "idempotency.answer_bytes: must not be 0",
    ] {
        assert!(told.contains(wanted), "{wanted} is not in\n{told}");
    }
    let most =
        |answer: u64| format!("[idempotency]\nmost_bytes = 2097152\nanswer_bytes = {answer}");
    let told = mistakes(&most(2_097_152));
    assert!(told[0].contains("idempotency.answer_bytes"), "{told:?}");
    assert!(load(&most(2_000_000)).is_ok());
    // Off is off, whatever one answer might be.
    let off = load("[idempotency]\nmost_bytes = 0\n").unwrap();
    assert_eq!(off.idempotency.most_bytes, 0);
}

#[test]
fn the_example_file_holds_every_option_with_its_default() {
    let text = include_str!("../../config/switchyard.toml");
    let example = load(text).unwrap();
    let defaults = load("").unwrap();
    assert_eq!(
        (&example.listen, &example.admin),
        (&defaults.listen, &defaults.admin)
    );
    assert_eq!(
        (&example.timeouts, &example.failover),
        (&defaults.timeouts, &defaults.failover)
    );
    assert_eq!(example.idempotency, defaults.idempotency);
    assert_eq!(
        (&example.journal, &example.logs),
        (&defaults.journal, &defaults.logs)
    );
    assert_eq!(
        (&example.egress, &example.store),
        (&defaults.egress, &defaults.store)
    );
    let schema = serde_json::to_value(RawConfig::default()).unwrap();
    for (section, options) in schema.as_object().unwrap() {
        assert!(text.contains(section), "{section} is not in the example");
        for option in options
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            assert!(
                text.contains(option),
                "{section}.{option} is not in the example"
            );
        }
    }
    for option in [
        "dialect",
        "base_url",
        "keys",
        "models",
        "reasoning_models",
        "responses",
        "allow_private_address",
        "ca_file",
        "h2",
        "max_in_flight",
        "default_max_output",
        "requests_per_minute",
        "tokens_per_minute",
        "input_tokens_per_minute",
        "output_tokens_per_minute",
        "concurrency",
        "targets",
        "weight",
        "context_window",
        "fallback",
        "queue_length",
        "max_wait_ms",
        "race",
        "hedge",
        "hedge_budget_share",
        "hedge_largest_prompt",
        "lane",
        "time_zone",
        "# weight",
    ] {
        assert!(
            text.contains(&format!("{option} =")),
            "{option} is not in the example"
        );
    }
}

#[test]
fn o05_a_weight_that_is_none_is_a_mistake_and_one_is_the_default() {
    for wrong in [0, 1_001] {
        let told = mistakes(&format!("[tenants.acme]\nweight = {wrong}\n"));
        assert!(
            told[0].starts_with("tenants.acme.weight") && told[0].contains("from 1 to 1000"),
            "{told:?}"
        );
    }
    let settings = load("[tenants.acme]\nweight = 1000\n[tenants.other]\n").unwrap();
    let weights: Vec<u32> = settings
        .tenants
        .iter()
        .map(|tenant| tenant.weight.get())
        .collect();
    assert_eq!(weights, [1_000, 1, 1], "acme, default, other");
}

#[test]
fn m2_a_receiver_of_alerts_that_could_not_be_told_is_a_mistake() {
    let told = mistakes(
        "[[alerts]]\nname = \"a b\"\nurl = \"http://alerts.example/\"\n[[alerts]]\nname = \"c\"\nurl = \"https://169.254.169.254/x\"\nsecret = \"env:APP_KEY\"\nevents = [\"budget\"]\nshares = [0]\ntries = 0\n[[alerts]]\nname = \"c\"\nurl = \"https://[fe80::1]/\"\nsecret = \"plain\"\n",
    );
    for (place, wanted) in [
        ("alerts[0].name", "no name"),
        ("alerts[0].url", "unencrypted"),
        ("alerts[0].secret", "there is none"),
        ("alerts[1].url", "link-local"),
        ("alerts[1].events[0]", "budget.reached"),
        ("alerts[1].shares", "0 %"),
        ("alerts[1].tries", "nobody"),
        ("alerts[2].name", "twice"),
        ("alerts[2].url", "link-local"),
        ("alerts[2].secret", "not written"),
    ] {
        assert!(
            told.iter()
                .any(|one| one.starts_with(place) && one.contains(wanted)),
            "{place} {wanted}: {told:?}"
        );
    }
}

#[test]
fn m2_a_budget_keeps_its_own_shares_and_receivers_theirs() {
    let text = "[[alerts]]\nname = \"a\"\nurl = \"https://alerts.example/x\"\nsecret = \"env:APP_KEY\"\nshares = [50, 100]\n[tenants.acme]\nbudgets = [{ usd = \"5\", period = \"day\", tell_at = [90] }]\n";
    let settings = load(text).unwrap();
    let tenant = settings
        .tenants
        .iter()
        .find(|one| one.name.as_str() == "acme");
    let caps = &tenant.unwrap().accounts["acme"].caps;
    assert_eq!(caps[0].tell_at, [90]);
    assert_eq!(settings.alert_shares(), [50, 100]);
}

#[test]
fn m1_a_margin_that_adds_nothing_or_is_no_amount_is_a_mistake() {
    let told = mistakes(
        "[[pricing.margins]]\ntenant = \"nobody\"\n[[pricing.margins]]\npercent = \"-5\"\n[[pricing.margins]]\nusd_per_million_tokens = \"a\"\n",
    );
    for (place, wanted) in [
        ("pricing.margins[0].tenant", "no tenant \"nobody\""),
        ("pricing.margins[0]:", "adds nothing"),
        ("pricing.margins[1].percent", "no amount"),
        ("pricing.margins[2].usd_per_million_tokens", "no amount"),
    ] {
        assert!(
            told.iter()
                .any(|one| one.starts_with(place) && one.contains(wanted)),
            "{place} {wanted}: {told:?}"
        );
    }
    let fine = load(
        "[tenants.acme]\n[[pricing.margins]]\ntenant = \"acme\"\npool = \"fast*\"\npercent = \"20\"\n",
    );
    let pricing = fine.unwrap().pricing;
    assert!(pricing.margin("acme", "fast-1").is_some());
    assert!(pricing.margin("acme", "slow").is_none());
    assert!(pricing.margin("default", "fast-1").is_none());
}

#[test]
fn a_reload_tells_what_changed_and_what_waits_for_a_restart() {
    let old = load(GOOD).unwrap();
    let text =
        GOOD.replace("weight = 0.5", "weight = 0.7") + "[listen]\naddress = \"127.0.0.1:9\"\n";
    let new = load(&text).unwrap();
    assert_ne!(old.version, new.version);
    let said = changes(&old, &new);
    assert!(said.contains(&"pool fast changed".to_owned()), "{said:?}");
    assert!(
        said.contains(&"listen takes effect at the next restart".to_owned()),
        "{said:?}"
    );
    assert!(changes(&old, &load(GOOD).unwrap()).is_empty());
}

proptest! {
    #[test]
    fn no_text_panics_and_what_loads_is_valid(text in "[\\[\\]a-z0-9.=\"{},\n -]{0,300}") {
        if let Ok(settings) = load(&text) {
            prop_assert!(settings.pools.iter().all(|pool| !pool.targets.is_empty()));
        }
    }

    #[test]
    fn no_section_of_odd_values_panics(section in "(listen|admin|timeouts|failover|journal|logs|pools\\.a|providers\\.b)", key in "[a-z_]{1,20}", value in "(-?[0-9]{1,25}|true|\"[a-z:/]{0,20}\"|\\[\\]|\\{\\}|nan|inf|1e400)") {
        let _ = load(&format!("[{section}]\n{key} = {value}\n"));
    }
}

// --- the way out ---

#[test]
fn n14_a_password_for_the_proxy_is_a_reference_and_is_never_told() {
    let inline = "[egress]\nproxy = \"http://user:hunter2@proxy:3128\"\n";
    let told = mistakes(inline).join("\n");
    assert!(
        told.contains("egress.proxy") && told.contains("env:"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
    let table = |url: &'static str| Table(HashMap::from([("EGRESS", url)]));
    let text = "[egress]\nproxy = \"env:EGRESS\"\n";
    let odd = settings_from_text(text, &table("https://user:hunter2@proxy:3128"));
    let odd = odd.unwrap_err().mistakes;
    assert_eq!(odd.len(), 1);
    assert!(!odd[0].to_string().contains("hunter2"), "{}", odd[0]);
    let old = settings_from_text(text, &table("http://user:hunter2@proxy:3128")).unwrap();
    assert!(!format!("{old:?}").contains("hunter2"));
    assert!(!format!("{old:?}").contains("dXNlcjpodW50ZXIy"));
    assert!(!explain(&old, None).contains("hunter2"));
    // A changed password is a new version, as a rotated key is.
    let new = settings_from_text(text, &table("http://user:hunter3@proxy:3128")).unwrap();
    assert_ne!(old.version, new.version);
    assert!(
        changes(&old, &new)
            .iter()
            .any(|said| said == "egress changed")
    );
}

#[test]
fn n14_only_providers_that_are_no_exception_go_through_the_proxy() {
    let text = "[egress]\nproxy = \"http://proxy:3128\"\nno_proxy = [\".openai.com\"]\n";
    let settings = load(&format!("{GOOD}{text}")).unwrap();
    let through = |name: &str| {
        let found = |provider: &&std::sync::Arc<ProviderSettings>| provider.name.as_str() == name;
        let provider = settings.providers.iter().find(found).unwrap();
        provider.egress.as_ref().map(|proxy| proxy.authority())
    };
    assert_eq!(through("openai"), None);
    assert_eq!(through("anthropic").as_deref(), Some("proxy:3128"));
    let told = mistakes("[egress]\nno_proxy = [\"http://a/\", \"b:80\"]\n").join("\n");
    assert!(
        told.contains("egress.no_proxy[0]") && told.contains("egress.no_proxy[1]"),
        "{told}"
    );
    assert!(
        load(GOOD)
            .unwrap()
            .providers
            .iter()
            .all(|provider| provider.egress.is_none())
    );
}

#[test]
fn providers_that_are_told_who_calls_in_their_own_way_say_what_is_missing() {
    let bedrock = |more: &str| {
        format!(
            "[providers.aws]\ndialect = \"bedrock\"\nmodels = [\"m\"]\nkeys = [\"env:AWS\"]\n{more}"
        )
    };
    let with = |secret: &'static str, text: &str| {
        settings_from_text(text, &Table(HashMap::from([("AWS", secret)])))
    };
    let region = bedrock("region = \"eu-north-1\"\n");
    let good = with("AKID:SECRET:TOKEN", &region).unwrap();
    assert_eq!(
        good.providers[0].base_url,
        "https://bedrock-runtime.eu-north-1.amazonaws.com"
    );
    assert_eq!(
        good.providers[0].auth,
        AuthSettings::Aws {
            region: "eu-north-1".to_owned()
        }
    );
    assert!(with("bedrock-api-key-x", &region).is_ok());
    for (secret, text, expected) in [
        ("AKID:SECRET", bedrock(""), "providers.aws.region"),
        (
            "AKID:SECRET",
            bedrock("region = \"US East\"\n"),
            "add region",
        ),
        ("AKID::TOKEN", region.clone(), "ACCESS_KEY_ID:SECRET"),
        ("a:b:c:d", region.clone(), "ACCESS_KEY_ID:SECRET"),
        (
            "AKID:SECRET",
            bedrock("region = \"us-east-1\"\nauth = \"azure\"\n"),
            "does not speak",
        ),
    ] {
        let said = with(secret, &text).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("SECRET:T"), "{said}");
    }
}

#[test]
fn d1_keys_that_are_traded_for_tokens_say_what_is_missing() {
    let with = |env: &[(&'static str, &'static str)], auth: &str, key: &str| {
        let text = format!(
            "[providers.c]\nmodels = [\"m\"]\nkeys = [\"{key}\"]\nbase_url = \"https://c.example\"\n{auth}"
        );
        settings_from_text(&text, &Table(env.iter().copied().collect()))
    };
    let aws = "dialect = \"bedrock\"\nregion = \"cn-north-1\"\n";
    let entra = "auth = \"entra\"\ntenant = \"t\"\nclient_id = \"c\"\n";
    let vertex = "dialect = \"gemini\"\nauth = \"vertex\"\nproject = \"p\"\n";
    let pair = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "S3CRET"),
    ];
    let pod = [
        ("AWS_ROLE_ARN", "arn:r"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"),
    ];
    let task = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")];
    let federated = [("AZURE_FEDERATED_TOKEN_FILE", "/t")];
    for (env, auth, key, expected) in [
        (
            &pod[..],
            aws,
            "web-identity:",
            "https://sts.cn-north-1.amazonaws.com.cn/",
        ),
        (&task[..], aws, "container:", "http://169.254.170.2/v2/x"),
        (&[], aws, "metadata:", "http://169.254.169.254"),
        (
            &[],
            entra,
            "metadata:",
            "http://169.254.169.254/metadata/identity/oauth2/token",
        ),
        (
            &federated[..],
            entra,
            "web-identity:",
            "https://login.microsoftonline.com/t/oauth2/v2.0/token",
        ),
        (
            &[("S", "s3cret")][..],
            entra,
            "env:S",
            "https://login.microsoftonline.com/t/oauth2/v2.0/token",
        ),
        (
            &[],
            vertex,
            "metadata:",
            "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
        ),
    ] {
        let settings = with(env, auth, key).unwrap();
        let KeySource::Traded(recipe) = &settings.providers[0].keys[0].source else {
            panic!("{key} is traded");
        };
        assert_eq!(recipe.url, expected, "{key}");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
    let static_pair = with(&pair, aws, "environment:").unwrap();
    let key = &static_pair.providers[0].keys[0];
    assert_eq!(
        (key.secret.expose(), &key.source),
        ("AKID:S3CRET", &KeySource::Written)
    );
    let clear = format!("{vertex}token_url = \"http://tokens.example/\"\n");
    let other = format!("{vertex}token_url = \"https://user@tokens.example/\"\n");
    let odd = "dialect = \"cohere\"\nauth = \"vertex\"\n";
    for (env, auth, key, expected) in [
        (&[][..], aws, "environment:", "AWS_ACCESS_KEY_ID is not set"),
        (&[], aws, "container:", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        (&[("S", "s3cret")], vertex, "env:S", "service_account"),
        (&[], vertex, "web-identity:", "means nothing to Google"),
        (
            &[("S", "s3cret")],
            "auth = \"entra\"\n",
            "env:S",
            "AZURE_TENANT_ID",
        ),
        (
            &[],
            "",
            "metadata:",
            "means nothing to a provider without tokens",
        ),
        (&[], &clear, "metadata:", "token_url"),
        (&[], &other, "metadata:", "token_url"),
        (&[], odd, "metadata:", "does not speak"),
        (
            &[],
            "dialect = \"gemini\"\nauth = \"vertex\"\n",
            "metadata:",
            "project",
        ),
        (&[("S", "s3cret")], "tenant = \"t\"\n", "env:S", "entra"),
    ] {
        let said = with(env, auth, key).unwrap_err().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a10_fetching_needs_hosts_whose_addresses_can_be_judged() {
    let said = |text: &str| {
        load(&format!("[media]\nfetch = true\n{text}"))
            .unwrap_err()
            .to_string()
    };
    assert!(said("").contains("media.hosts"));
    for odd in [
        "",
        "https://a.example",
        "a.example:0",
        "*",
        ".",
        "a b",
        "::1",
        "127.0.0.1",
        "169.254.169.254:443",
        "a.0x7f",
    ] {
        assert!(
            said(&format!("hosts = [\"{odd}\"]\n")).contains("media.hosts[0]"),
            "{odd}"
        );
    }
    let hosts = "hosts = [\"a.example\", \".b.example:8443\"]\n";
    let good = load(&format!("[media]\nfetch = true\n{hosts}"))
        .unwrap()
        .media;
    for (host, port, allowed) in [
        ("a.example", 443, true),
        ("A.example", 443, true),
        ("a.example", 8443, false),
        ("x.a.example", 443, false),
        ("x.b.example", 8443, true),
        ("b.example", 8443, false),
        ("xb.example", 8443, false),
    ] {
        assert_eq!(good.allows(host, port), allowed, "{host}:{port}");
    }
    let behind = format!("[media]\nfetch = true\n{hosts}[egress]\nproxy = \"http://proxy:3128\"\n");
    let through = load(&behind).unwrap().media;
    assert!(through.proxy("a.example").is_some());
    let beside = format!("{behind}no_proxy = [\"a.example\"]\n");
    let through = load(&beside).unwrap().media;
    assert!(through.proxy("a.example").is_none() && through.proxy("b.example").is_some());
    assert!(!MediaSettings::default().allows("a.example", 443));
}

#[test]
fn d2_known_names_bring_their_address_and_quirks_with_them() {
    let with = |env: &[(&'static str, &'static str)], text: &str| {
        settings_from_text(text, &Table(env.iter().copied().collect()))
    };
    let mistral = with(&[("MISTRAL_API_KEY", "sk-1")], "[providers.mistral]\n").unwrap();
    let quirks = &mistral.providers[0].quirks;
    assert!(quirks.tells_usage_unasked && quirks.no_developer);
    let seed = ("seed".to_owned(), "random_seed".to_owned());
    assert!(quirks.rename.contains(&seed) && quirks.leave_out.contains(&"user".to_owned()));
    let env = [
        ("AZURE_OPENAI_API_KEY", "sk-1"),
        ("AZURE_OPENAI_ENDPOINT", "https://x.openai.azure.com"),
    ];
    let azure = with(&env, "[providers.azure]\n").unwrap();
    assert_eq!(azure.providers[0].base_url, "https://x.openai.azure.com");
    assert!(matches!(
        azure.providers[0].auth,
        AuthSettings::Azure { .. }
    ));
    let env = [
        ("AWS_BEARER_TOKEN_BEDROCK", "sk-1"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let bedrock = with(&env, "[providers.bedrock]\n").unwrap();
    assert_eq!(
        bedrock.providers[0].base_url,
        "https://bedrock-runtime.eu-west-1.amazonaws.com"
    );
    let vertex = "[providers.vertex]\nproject = \"p\"\nregion = \"europe-west4\"\n";
    let vertex = with(&[], vertex).unwrap();
    assert_eq!(
        vertex.providers[0].base_url,
        "https://europe-west4-aiplatform.googleapis.com"
    );
    let odd = "[providers.a]\nbase_url = \"https://a\"\nkeys = [\"env:K\"]\nquirks = { leave_out = [\"model\"] }\n";
    let said = with(&[("K", "sk-1")], odd).unwrap_err().to_string();
    assert!(said.contains("providers.a.quirks"), "{said}");
    let http = "[registry]\nurl = \"http://prices.example/\"\n";
    assert!(
        with(&[], http)
            .unwrap_err()
            .to_string()
            .contains("registry.url")
    );
    // A key alone does not tell where.
    assert!(
        with(&[("AZURE_OPENAI_API_KEY", "sk-1")], "").is_ok_and(|found| found.providers.is_empty())
    );
}

#[test]
fn azure_needs_a_version_for_its_older_addresses_only() {
    let azure = |more: &str| {
        load(&format!(
            "[providers.az]\nkeys = [\"env:APP_KEY\"]\nmodels = [\"d\"]\n{more}"
        ))
    };
    let auth = |more: &str| azure(more).unwrap().providers[0].auth.clone();
    let version = |text: &str| AuthSettings::Azure {
        api_version: Some(text.to_owned()),
    };
    let old = "auth = \"azure\"\nbase_url = \"https://x.openai.azure.com\"\n";
    let new = "auth = \"azure\"\nbase_url = \"https://x.openai.azure.com/openai/v1/\"\n";
    assert_eq!(auth(old), version("2024-10-21"));
    assert_eq!(
        auth(&format!("{old}dialect = \"openai-responses\"\n")),
        version("2025-03-01-preview")
    );
    assert_eq!(auth(new), AuthSettings::Azure { api_version: None });
    assert_eq!(
        auth(&format!("{new}api_version = \"preview\"\n")),
        version("preview")
    );
    let plain = "base_url = \"https://x.example/v1\"\n";
    for (text, expected) in [
        (format!("{old}dialect = \"gemini\"\n"), "does not speak"),
        (format!("{old}api_version = \"a&b=c\"\n"), "2024-10-21"),
        (format!("{plain}api_version = \"2024-10-21\"\n"), "auth"),
        (format!("{plain}region = \"us-east-1\"\n"), "bedrock"),
    ] {
        let said = azure(&text).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_known_name_that_speaks_its_own_dialect_is_found_where_that_is_spoken() {
    for (text, base) in [
        (
            "[providers.cohere]\ndialect = \"cohere\"\n",
            "https://api.cohere.ai/compatibility/v1",
        ),
        (
            "[providers.co]\ndialect = \"cohere\"\n",
            "https://api.cohere.com",
        ),
        (
            "[providers.ollama]\ndialect = \"ollama\"\n",
            "http://127.0.0.1:11434/v1",
        ),
        (
            "[providers.openai]\ndialect = \"gemini\"\n",
            "https://generativelanguage.googleapis.com",
        ),
    ] {
        let settings = load(&format!("{text}keys = [\"env:APP_KEY\"]\n")).unwrap();
        assert_eq!(settings.providers[0].base_url, base, "{text}");
    }
}

#[test]
fn t2_rules_of_the_guard_are_read_and_what_is_wrong_with_them_is_told() {
    let text = r#"
[guard]
requests = { emial = "redact", name = "block", card = "route" }
answers = { card = "route", order = "redact" }
structured = "redact"
patterns = [{ name = "Order", regex = "(" }, { name = "email", regex = "x" }]
[guard.webhook]
url = "http://judge.example/x"
"#;
    let told = load(text).unwrap_err().to_string();
    for words in [
        "guard.requests.emial: is no rule; use one of: email, phone",
        "guard.requests.name: there are no names",
        "guard.regions: something is routed",
        "guard.answers.card: an answer cannot be routed",
        "guard.answers.order: is no rule",
        "guard.structured: is neither",
        "guard.patterns[0].name: \"Order\" is no name",
        "guard.patterns[0].regex: cannot be compiled",
        "guard.patterns[1].name: \"email\" is there already",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    let held = "[guard]\nanswers = { order = \"redact\" }\npatterns = [{ name = \"order\", regex = 'ORD-\\d+' }]\n";
    let told = load(held).unwrap_err().to_string();
    assert!(
        told.contains("guard.patterns[0].regex: may match more than"),
        "{told}"
    );
    assert!(
        load("[guard]\nrequests = { email = \"off\" }\n")
            .unwrap()
            .guard
            .is_none()
    );
    let webhook = "[guard.webhook]\nurl = \"http://judge.example/x\"\n";
    let told = load(webhook).unwrap_err().to_string();
    assert!(
        told.contains("guard.webhook.secret") && told.contains("guard.webhook.url"),
        "{told}"
    );
}

#[test]
fn t2_the_stricter_of_client_and_pools_holds() {
    use crate::domain::{ClientName, PoolName};
    use crate::policy::guard::{Action, Class};
    let text = r#"
[guard]
requests = { email = "redact", ip = "mark" }
[pools.p]
targets = ["a/m"]
guard = { requests = { email = "off" } }
[pools.q]
targets = ["a/m"]
[[clients]]
name = "app"
key = "env:APP_KEY"
guard = { requests = { ip = "block", email = "mark" } }
[providers.a]
base_url = "https://a.example/v1"
keys = ["env:OPENAI_API_KEY"]
"#;
    let settings = load(text).unwrap();
    let guard = settings.guard.unwrap();
    let of = |pools: &[&str], client: &str, class: Class| {
        let pools: Vec<PoolName> = pools.iter().map(|name| PoolName::from(*name)).collect();
        let rules = guard.rules(pools.iter(), Some(&ClientName::from(client)));
        rules.requests.of(class.rule())
    };
    assert_eq!(of(&["p"], "other", Class::Email), Action::Off);
    assert_eq!(of(&["p", "q"], "other", Class::Email), Action::Redact);
    assert_eq!(of(&["p"], "app", Class::Email), Action::Mark);
    assert_eq!(of(&["q"], "app", Class::Email), Action::Redact);
    assert_eq!(of(&["p"], "app", Class::Ip), Action::Block);
}

#[test]
fn a20_what_is_routed_stays_within_the_regions_of_all_whose_rules_hold() {
    use crate::domain::{ClientName, PoolName};
    let text = r#"
[guard]
requests = { email = "route" }
regions = ["eu"]
[pools.p]
targets = ["a/m"]
[[clients]]
name = "app"
key = "env:APP_KEY"
guard = { requests = { email = "route" }, regions = ["eu-central-1", "us"] }
[[clients]]
name = "other"
key = "env:ANTHROPIC_API_KEY"
guard = { requests = { email = "redact" } }
[providers.a]
base_url = "https://a.example/v1"
keys = ["env:OPENAI_API_KEY"]
"#;
    let guard = load(text).unwrap().guard.unwrap();
    let of = |client: Option<&str>| {
        let client = client.map(ClientName::from);
        let pools = [PoolName::from("p")];
        guard.rules(pools.iter(), client.as_ref()).regions
    };
    assert_eq!(of(None), [["eu"]]);
    assert_eq!(of(Some("other")), [["eu"]]);
    assert_eq!(of(Some("app")), [vec!["eu"], vec!["eu-central-1", "us"]]);
    let told = load(&text.replace("\"eu\"]", "\"EU\"]")).unwrap_err();
    assert!(
        told.to_string()
            .contains("guard.regions: \"EU\" is no region"),
        "{told}"
    );
}

#[test]
fn a20_a_judge_whose_region_nobody_says_is_warned_about_where_regions_are_demanded() {
    let webhook = "[guard.webhook]\nurl = \"https://judge.example/x\"\nsecret = \"env:APP_KEY\"\n";
    let warned = |text: &str| {
        let settings = load(text).unwrap();
        let mut warnings = settings.warnings.iter();
        warnings.any(|warning| warning.to_string().contains("guard.webhook.regions"))
    };
    assert!(warned(&format!("{RESIDENT}{webhook}")));
    assert!(!warned(&format!("{RESIDENT}{webhook}regions = [\"eu\"]\n")));
    assert!(!warned(webhook));
}

#[test]
fn a04_texts_are_kept_of_the_files_clients_by_name_and_of_others_by_tenant_and_name() {
    let keeps = |of: &[&str], tenant: &str, name: &str, in_file: bool| {
        let settings = super::JournalSettings {
            text_of: of.iter().map(|one| (*one).to_owned()).collect(),
            text_key: Some(super::Secret::new("x".repeat(32))),
            ..super::JournalSettings::default()
        };
        settings.keeps_text_of(tenant, (name, in_file.then_some(name)))
    };
    assert!(keeps(&["app"], "acme", "app", true));
    assert!(!keeps(&["app"], "globex", "app", false));
    assert!(!keeps(&["ap*"], "globex", "app", false));
    assert!(keeps(&["globex#ap*"], "globex", "app", false));
    assert!(!keeps(&["globex#ap*"], "acme", "app", true));
    assert!(keeps(&["*"], "globex", "app", false));
}

const RESIDENT: &str = r#"
[providers.openai]
keys = ["env:OPENAI_API_KEY"]
regions = ["us"]
[providers.anthropic]
regions = ["eu", "us"]
trains = false
keys = [{ name = "main", secret = "env:ANTHROPIC_API_KEY", regions = ["eu-central-1"], zero_retention = true }]
[tenants.acme]
regions = ["eu"]
[tenants.acme.teams.search]
no_training = true
[[clients]]
name = "app"
key = "env:APP_KEY"
tenant = "acme"
team = "search"
not_providers = ["openai"]
"#;

#[test]
fn t3_demands_of_tenant_team_and_client_are_taken_together_and_a_key_may_promise_more() {
    let settings = load(RESIDENT).unwrap();
    let demand = settings.clients[0].demand.as_ref().unwrap();
    assert_eq!(demand.region(), Some("eu"));
    assert_eq!(demand.words(), ["no_training", "not_providers"]);
    let acme = settings
        .tenants
        .iter()
        .find(|one| one.name.as_str() == "acme");
    let acme = acme.unwrap();
    let of = |team| acme.demand_of(team).unwrap().words().to_vec();
    assert_eq!(of(None), Vec::<&str>::new());
    assert_eq!(of(Some("search")), ["no_training"]);
    assert_eq!(of(Some("other")), Vec::<&str>::new());
    let shown = explain(&settings, None);
    assert!(
        shown.contains("processed in eu-central-1; keeps nothing; does not train on it"),
        "{shown}"
    );
    assert!(shown.contains(", only in eu, no_training"), "{shown}");
    // Where requests are signed for is where they are processed, unless somebody says otherwise.
    let aws = |more: &str| {
        let text = format!(
            "[providers.aws]\ndialect = \"bedrock\"\nregion = \"eu-north-1\"\nkeys = [\"env:OPENAI_API_KEY\"]\n{more}"
        );
        let settings = load(&text).unwrap();
        settings.providers[0].keys[0].handling.regions().join(",")
    };
    assert_eq!(aws(""), "eu-north-1");
    assert_eq!(aws("regions = [\"eu\"]"), "eu");
}

#[test]
fn t3_a_demand_that_could_not_hold_is_a_mistake_with_its_place() {
    for (from, to, told) in [
        (
            "no_training = true",
            "regions = [\"us\"]",
            "tenants.acme.teams.search.regions: \"us\" lies outside",
        ),
        (
            "not_providers = [\"openai\"]",
            "not_providers = [\"opnai\"]",
            "clients[0].not_providers: there is no provider \"opnai\"",
        ),
        (
            "not_providers = [\"openai\"]",
            "providers = []",
            "clients[0].providers: names nobody",
        ),
        (
            "not_providers = [\"openai\"]",
            "regions = [\"us\"]",
            "clients[0].regions: \"us\" lies outside",
        ),
        (
            "[tenants.acme]\nregions = [\"eu\"]",
            "[tenants.acme]\nregions = []",
            "tenants.acme.regions: names no region",
        ),
        (
            "[tenants.acme]\nregions = [\"eu\"]",
            "[tenants.acme]\nregions = [\"E U\"]",
            "tenants.acme.regions: \"E U\" is no region",
        ),
        (
            "[tenants.acme.teams.search]",
            "[tenants.acme.tags.nightly]\nzero_retention = true\n[tenants.acme.teams.search]",
            "tenants.acme.tags.nightly: demands something",
        ),
        (
            "regions = [\"us\"]",
            "regions = [\"*\"]",
            "providers.openai.regions: \"*\" is no region",
        ),
        (
            "zero_retention = true",
            "zero_retention = true, trains = true",
            "providers.anthropic.keys[0].trains: contradicts",
        ),
        (
            "regions = [\"eu-central-1\"]",
            "regions = []",
            "providers.anthropic.keys[0].regions: names no region",
        ),
    ] {
        let text = RESIDENT.replacen(from, to, 1);
        assert_ne!(text, RESIDENT, "{from}");
        let found = mistakes(&text);
        assert!(
            found.iter().any(|mistake| mistake.starts_with(told)),
            "{told}: {found:?}"
        );
    }
}

#[test]
fn r5_what_may_be_spent_at_a_provider_is_an_amount_and_a_period() {
    let text =
        |terms: &str| format!("[providers.openai]\nkeys = [\"env:OPENAI_API_KEY\"]\n{terms}\n");
    let good = load(&text(
        "credit = \"100\"\nbudgets = [{ usd = \"5\", period = \"day\" }]",
    ))
    .unwrap();
    assert_eq!(good.providers[0].caps.len(), 2);
    for (terms, told) in [
        (
            "credit = \"much\"",
            "providers.openai.credit: \"much\" is no amount",
        ),
        (
            "budgets = [{ usd = \"5\", period = \"often\" }]",
            "providers.openai.budgets[0].period",
        ),
        (
            "credit = \"5\"\nfree = true",
            "providers.openai.free: is true",
        ),
    ] {
        let found = mistakes(&text(terms));
        assert!(
            found.iter().any(|mistake| mistake.starts_with(told)),
            "{found:?}"
        );
    }
}

#[test]
fn d3_a_signer_is_an_account_and_anthropic_is_one_on_every_platform() {
    use crate::domain::Dialect;
    let settings = load(
        r#"
[providers.anthropic]
keys = ["env:ANTHROPIC_API_KEY"]
[providers.aws]
dialect = "bedrock"
region = "eu-north-1"
keys = ["env:OPENAI_API_KEY"]
[providers.acopy]
dialect = "anthropic"
base_url = "https://copy.example/v1"
keys = ["env:OPENAI_API_KEY"]
[providers.azure-eu]
dialect = "openai-responses"
base_url = "https://eu.example/v1"
keys = ["env:OPENAI_API_KEY"]
[providers.openai]
keys = ["env:OPENAI_API_KEY"]
[providers.openai-batch]
base_url = "https://api.openai.com/v1"
keys = ["env:OPENAI_API_KEY"]
signs_as = "openai"
"#,
    )
    .unwrap();
    for (provider, model, signer) in [
        ("anthropic", "claude-haiku-4-5", "anthropic"),
        ("aws", "eu.anthropic.claude-haiku-4-5-v1:0", "anthropic"),
        ("aws", "amazon.nova-2-lite-v1:0", "aws"),
        ("acopy", "claude-haiku-4-5", "acopy"),
        ("azure-eu", "gpt-5", "azure-eu"),
        ("openai", "gpt-5", "openai"),
        ("openai-batch", "gpt-5", "openai"),
    ] {
        let mut providers = settings.providers.iter();
        let found = providers.find(|one| one.name.as_str() == provider).unwrap();
        assert_eq!(found.signer(model).as_str(), signer, "{provider}/{model}");
    }
    let home = |dialect, signer: &str| settings.signers.is_home(dialect, &signer.into());
    assert!(
        home(Dialect::Anthropic, "anthropic"),
        "not the copy before it"
    );
    assert!(home(Dialect::Responses, "openai"), "whose dialect it is");
    assert!(!home(Dialect::Openai, "openai"), "dozens copied it");

    let alone = load(
        r#"
[providers.acopy]
dialect = "anthropic"
base_url = "https://copy.example/v1"
keys = ["env:OPENAI_API_KEY"]
signs_as = "no name"
"#,
    );
    let told = alone.unwrap_err().mistakes;
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("providers.acopy.signs_as"), "{told:?}");
}

#[test]
fn a26_an_issuer_whose_tokens_anyone_could_make_or_nobody_could_check_is_a_mistake() {
    let told = mistakes(
        r#"
        [identities.corp]
        issuer = "http://login.example"
        audiences = []
        algorithms = ["none", "HS256", "RS255"]
        leeway_s = 301
        refresh_s = 5
        keep_s = 4
        tenants = { a = "b" }
        team = "x"
        team_claim = "y"
        pools_prefix = "z"
        user_claim = ""
        require = { groups = [], deep = { a = 1 } }
        regions = ["Mars Base"]
        budgets = [{ usd = "x", period = "day" }]
        [identities.inside]
        issuer = "https://login.example"
        audiences = ["gw"]
        jwks = "https://169.254.169.254/keys"
        tenant = "acme"
        tenant_claim = "org"
        [identities.limited]
        issuer = "https://login.example"
        audiences = ["gw"]
        tenant = "elsewhere"
        requests_per_minute = 1
        [identities.file]
        issuer = "x"
        audiences = ["gw"]
        jwks = "file:Cargo.toml"
        "#,
    );
    for (place, wanted) in [
        ("identities.corp.issuer", "https"),
        ("identities.corp.audiences", "any other service"),
        ("identities.corp.algorithms", "anyone could write"),
        ("identities.corp.algorithms", "whoever can check"),
        ("identities.corp.algorithms", "\"RS255\""),
        ("identities.corp.leeway_s", "five minutes"),
        ("identities.corp.refresh_s", "a minute and a day"),
        ("identities.corp.keep_s", "refresh_s"),
        ("identities.corp.require.groups", "list of them"),
        ("identities.corp.require.deep", "list of them"),
        ("identities.corp.user_claim", "/realm_access/roles"),
        ("identities.corp.regions", "region"),
        ("identities.corp.tenants", "tenant_claim"),
        ("identities.corp.team_claim", "leave one"),
        ("identities.corp.pools_prefix", "pools_claim"),
        ("identities.inside.jwks", "https"),
        ("identities.inside.tenant_claim", "not with tenant"),
        ("identities.limited", "[tenants.elsewhere]"),
        ("identities.file.jwks", "JWK set"),
    ] {
        let found = |line: &&String| line.starts_with(place) && line.contains(wanted);
        assert!(told.iter().any(|line| found(&line)), "{place}: {told:#?}");
    }
}

#[test]
fn a26_people_with_tokens_are_let_in_from_elsewhere_and_without_keys_nobody_else() {
    let open = "[listen]\naddress = \"0.0.0.0:8080\"\n";
    let issuer = "[identities.corp]\nissuer = \"https://login.example/\"\naudiences = [\"gw\"]\nconcurrency = 3\n";
    assert!(load(open).is_err());
    let settings = load(&format!("{open}{issuer}")).unwrap();
    let [identity] = &settings.identities[..] else {
        panic!("one identity")
    };
    let address = "https://login.example/.well-known/openid-configuration";
    assert_eq!(identity.keys, KeysFrom::Discovery(address.to_owned()));
    assert_eq!(identity.rules.longest, 16_384);
    let account = settings.tenants[0].accounts.get("default#jwt~corp");
    assert_eq!(account.unwrap().quota.concurrency, Some(3));
    // Nobody who has a key can be called so.
    let client = "[[clients]]\nname = \"jwt~corp\"\nkey = \"env:APP_KEY\"\n";
    assert!(mistakes(client)[0].contains("no name"));
}

#[test]
fn m1_an_accounts_tier_and_what_it_takes_off_are_read_and_mistakes_named() {
    let text =
        |terms: &str| format!("[providers.openai]\nkeys = [\"env:OPENAI_API_KEY\"]\n{terms}\n");
    let steps = |steps: &str| text(&format!("volume = [{steps}]"));
    let good = load(&text(
        "service_tier = \"priority\"\nvolume = [{ from_usd = \"100\", discount_percent = \"2.5\" }, { from_usd = \"200\", discount_percent = \"5\" }]",
    ))
    .unwrap();
    let openai = &good.providers[0];
    assert_eq!(
        openai.service_tier,
        Some(crate::domain::ServiceTier::Priority)
    );
    let bought = crate::domain::Bought {
        billed: crate::domain::NanoUsd(100_000_000_000),
        tokens: 0,
    };
    let list = crate::domain::NanoUsd(1_000);
    let price = openai.volume.as_ref().unwrap().price(list, &bought);
    assert_eq!(price.0, 975);
    let one = "{ from_tokens = 10, discount_percent = \"10\" }";
    assert!(load(&steps(one)).is_ok());
    for (text, told) in [
        (
            text("service_tier = \"dear\""),
            "service_tier: \"dear\" is no tier",
        ),
        (
            text("service_tier = \"batch\""),
            "service_tier: \"batch\" is no tier",
        ),
        (
            text(&format!("free = true\nvolume = [{one}]")),
            "volume: takes something off what costs nothing",
        ),
        (
            steps("{ discount_percent = \"10\" }"),
            "volume[0]: begins nowhere",
        ),
        (
            steps("{ from_usd = \"much\", discount_percent = \"10\" }"),
            "volume[0].from_usd: \"much\" is no amount",
        ),
        (
            steps("{ from_usd = \"1\", discount_percent = \"101\" }"),
            "volume[0].discount_percent: \"101\"",
        ),
        (
            steps("{ from_usd = \"1\", discount_percent = \"0\" }"),
            "volume[0].discount_percent: \"0\"",
        ),
        (
            steps(&format!(
                "{one}, {{ from_usd = \"1\", discount_percent = \"20\" }}"
            )),
            "volume: counts dollars in one step",
        ),
        (steps(&format!("{one}, {one}")), "volume: does not rise"),
    ] {
        let found = mistakes(&text);
        let told = format!("providers.openai.{told}");
        assert!(
            found.iter().any(|mistake| mistake.starts_with(&told)),
            "{told}: {found:?}"
        );
    }
}
