//! The whole configuration: precedence, faults, and the two pages that describe it.

use super::*;

const BOT: &str = r#"
    [[bots]]
    name = "suporte"
    identity = "suporte@msging.net"
    url = "https://contract.http.msging.net"
    key_env = "KEY"
    webhook_token_env = ["TOKEN"]
"#;

fn source() -> MapSource {
    MapSource::new().with_var("KEY", "Key abc").with_var("TOKEN", "0123456789abcdef")
}

fn load_from(source: &MapSource, text: &str, overrides: &Overrides) -> Result<Config, ConfigError> {
    Config::load(source, Some((Path::new("deskgate.toml"), text)), overrides)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_from(&source(), text, &Overrides::default())
}

fn faults(text: &str) -> Vec<String> {
    load(text).unwrap_err().faults.iter().map(ToString::to_string).collect()
}

/// The only fault of a file that is else sound.
fn fault(text: &str) -> String {
    let faults = faults(&format!("{text}\n{BOT}"));
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].clone()
}

/// The only fault of a bot with this line more, or instead.
fn bot_fault(line: &str) -> String {
    let key = line.split(" =").next().unwrap();
    let others: Vec<_> =
        BOT.lines().filter(|line| !line.trim_start().starts_with(&format!("{key} "))).collect();
    let faults = faults(&format!("{}\n{line}", others.join("\n")));
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].clone()
}

#[test]
fn a_bot_is_enough_and_the_rest_has_defaults() {
    let config = load(BOT).unwrap();
    assert_eq!(config.webhook.listen, ([127, 0, 0, 1], 8080).into());
    assert_eq!(config.grpc.listen, ([127, 0, 0, 1], 50051).into());
    assert_eq!(config.admin.listen, ([127, 0, 0, 1], 9464).into());
    assert_eq!((config.webhook.body_bytes_max, config.grpc.streams_max), (1_048_576, 10_000));
    assert_eq!(config.store.path, Path::new("deskgate.db"));
    assert_eq!((config.store.retention.as_secs(), config.store.queue_max), (7 * 86_400, 8192));
    assert_eq!(config.log, Log::default());
    assert_eq!(config.bots[0].rates, Rates::FREE);
    assert_eq!(config.bots[0].webhook_headers, ["authorization", "x-api-key", "token"]);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_store_may_be_bounded() {
    let load = |text: &str| load(&format!("[store]\n{text}\n{BOT}")).unwrap();
    let store = load("").store;
    assert_eq!((store.size_bytes_max, store.pinned_bytes_max), (None, None));
    let config = load("max_size = '20GiB'\npin_max_size = '512MiB'");
    assert_eq!(
        (config.store.size_bytes_max, config.store.pinned_bytes_max),
        (Some(20 << 30), Some(512 << 20))
    );
    assert!(config.describe().contains("max_size = \"20GiB\""), "{}", config.describe());
    let small = fault("[store]\nmax_size = '10MiB'");
    assert!(small.starts_with("store.max_size: `10MiB` is no size from 64MiB to 64TiB"), "{small}");
    let more = fault("[store]\nmax_size = '1GiB'\npin_max_size = '2GiB'");
    assert!(more.starts_with("store.pin_max_size: it is more than store.max_size"), "{more}");
}

#[test]
fn the_command_line_goes_before_the_environment_before_the_file() {
    let text = format!("[grpc]\nlisten = '127.0.0.1:1'\n[store]\nretention = '1d'\n{BOT}");
    let source = source()
        .with_var("DESKGATE_GRPC_LISTEN", "127.0.0.1:2")
        .with_var("DESKGATE_STORE_RETENTION", "2d")
        .with_var("DESKGATE_WEBHOOK_BODY_LIMIT", "1536KiB")
        .with_var("DESKGATE_ADMIN_INSECURE", "true")
        .with_var("DESKGATE_STORE_QUEUE_MAX", "7")
        .with_var("DESKGATE_LOG_LEVEL", "");
    let overrides = Overrides { grpc_listen: Some("localhost:3".to_owned()), ..Overrides::default() };
    let config = load_from(&source, &text, &overrides).unwrap();
    assert_eq!(config.grpc.listen.port(), 3);
    assert_eq!(config.store.retention, Duration::from_hours(48));
    assert_eq!((config.webhook.body_bytes_max, config.store.queue_max), (1536 * 1024, 7));
    assert!(config.admin.insecure);
    assert_eq!(config.log.level, "info");
    assert_eq!(load_from(&source, &text, &Overrides::default()).unwrap().grpc.listen.port(), 2);

    let overrides = Overrides { log_format: Some("xml".to_owned()), ..Overrides::default() };
    let said = load_from(&source, &text, &overrides).unwrap_err().to_string();
    assert!(
        said.contains("--log-format (DESKGATE_LOG_FORMAT): `xml` is no format; write \"text\""),
        "{said}"
    );
}

#[test]
fn all_faults_are_told_together() {
    let text = "
        [webhook]\nlisten = 'here'\nbody_limit = '4MiB'\n[grpc]\nlisten = '0.0.0.0:1'\nstreams_max = 0
        [admin]\ninsecure = 'yes'\n[store]\nkind = 'redis'\nretention = '5s'\n[log]\nlevel = 'a=b=c'
        [[bots]]\nname = 'A'\nkey_env = 'MISSING'";
    let faults = faults(text);
    let expected = [
        "webhook.body_limit: 4MiB is out of bounds; choose 1KiB to 1536KiB",
        "webhook.listen: `here` is no IP address and port; write it like 127.0.0.1:8080",
        "grpc.streams_max: this is no number it could be; write one from 1 to 1000000",
        "admin.insecure: this must be true or false, not of type string",
        "store.kind: `redis` is no store of this version; write \"sqlite\"",
        "store.retention: `5s` is no time from 1m to 3650d",
        "bots[0].name: `A` is no short name",
        "bots[0].identity: this is missing",
        "bots[0].url: this is missing",
        "log.level: `a=b=c` is no level",
        "grpc.listen: 0.0.0.0:1 can be reached from other machines, and there is no TLS yet; listen on loopback, \
         or set grpc.insecure = true",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\n{expected}");
    }
}

#[test]
fn an_unknown_key_names_its_neighbor() {
    assert_eq!(
        fault("[webhook]\nlitsen = 1"),
        "webhook.litsen: there is no such key; did you mean `webhook.listen`?"
    );
    assert_eq!(fault("[log]\nlevel = 'wran'"), "log.level: `wran` is no level; did you mean `warn`?");
    assert_eq!(fault("[admn]"), "admn: there is no such key; did you mean `admin`?");
    assert!(fault("[log]\nwhatever = 1").ends_with("known here: level, format"));
    assert!(bot_fault("rates = { mesages = 1 }").contains("did you mean `bots[suporte].rates.messages`?"));
}

#[test]
fn files_come_from_listed_hosts() {
    let media = load(BOT).unwrap().media;
    let texts = |hosts: &[HostPattern]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&media.hosts), ["blipmediastore.blob.core.windows.net", "*.msging.net", "*.blip.ai"]);
    assert_eq!(texts(&media.key_hosts), ["*.msging.net"]);
    assert_eq!(
        (media.size_bytes_max, media.time_max, media.fetches_max),
        (100 << 20, Duration::from_mins(5), 64)
    );
    let source = source().with_var("DESKGATE_MEDIA_HOSTS", "127.0.0.1:8090, *.example.com,");
    let media =
        load_from(&source, &format!("[media]\nhosts = ['a.b']\n{BOT}"), &Overrides::default()).unwrap().media;
    assert_eq!(texts(&media.hosts), ["127.0.0.1:8090", "*.example.com"]);
    for (line, said) in [
        (
            "hosts = ['10.0.0.1']",
            "media.hosts: `10.0.0.1` is an address inside a network, which is never asked",
        ),
        ("hosts = ['*.com']", "media.hosts: `*.com` stands for far too many hosts"),
        ("hosts = 'https://a.b'", "media.hosts: `https://a.b` is more than a host"),
        ("key_hosts = ['']", "media.key_hosts: `` is no name of a host"),
        ("size_limit = '5GiB'", "media.size_limit: `5GiB` is no size from 1KiB to 4096MiB"),
        ("time_limit = '2h'", "media.time_limit: `2h` is no time from 1s to 1h"),
        ("fetches_max = 0", "media.fetches_max: this is no number it could be"),
    ] {
        let fault = fault(&format!("[media]\n{line}"));
        assert!(fault.starts_with(said), "{fault}");
    }
}

#[test]
fn a_router_has_a_key_of_its_own() {
    let source = source().with_var("ROUTER", "Key cm91dGVyOmFiYw==").with_file("router", "xyz");
    let text = format!("{BOT}router_key_env = 'ROUTER'\nrouter_identity = 'outro@msging.net'");
    let config = load_from(&source, &text, &Overrides::default()).unwrap();
    let warning = "bots[suporte]: the router's key is that of `router`, not of outro@msging.net";
    assert_eq!(config.warnings, [warning]);
    assert_eq!(load_from(&source, &config.describe(), &Overrides::default()).as_ref(), Ok(&config));
    let store = SecretStore::new(&config, &source).unwrap();
    let key = store.router_key("suporte").unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&*key.borrow()), "cm91dGVyOmFiYw==");
    assert_eq!(store.reload(&source.with_var("ROUTER", "other")).unwrap(), ["suporte".into()]);
    assert!(key.has_changed().unwrap());
    assert!(
        bot_fault("router_identity = 'router@msging.net'")
            .starts_with("bots[suporte].router_key_env: this is missing")
    );
    assert!(bot_fault("router_key = 's3cret'").starts_with("bots[suporte].router_key: secrets never stand"));
    assert!(
        bot_fault("router_key_env = 'GONE'")
            .contains("router_key_env: the environment variable GONE is not set")
    );
    let without = SecretStore::new(&load(BOT).unwrap(), &super::tests::source()).unwrap();
    assert!(without.router_key("suporte").is_none());
}

#[test]
fn what_comes_later_is_said_not_ignored() {
    for (text, key) in [("[grpc.tls]\ncert = 'a'", "grpc.tls"), ("[[clients]]\nname = 'crm'", "clients")] {
        let fault = fault(text);
        assert!(fault.starts_with(&format!("{key}: this is not supported by this version yet")), "{fault}");
    }
}

#[test]
fn bots_are_checked() {
    assert!(faults("")[0].starts_with("bots: there is no bot; add a table [[bots]]"));
    assert!(faults("[bots]\nname = 'a'")[0].ends_with("write [[bots]]"));
    assert!(faults(&format!("{BOT}{BOT}"))[0].starts_with("bots[suporte].name: another bot has this name"));
    for (line, said) in [
        ("identity = 'suporte'", "bots[suporte].identity: `suporte` is no identity"),
        ("identity = 'a@b/c'", "bots[suporte].identity: `a@b/c` is no identity"),
        ("url = 'ftp://a'", "bots[suporte].url: this is neither http nor https"),
        ("url = 'https://a/commands'", "bots[suporte].url: this names one of the API's paths"),
        ("key_file = 'key'", "bots[suporte].key_env: key_file is there too"),
        ("key_env = 'GONE'", "bots[suporte].key_env: the environment variable GONE is not set"),
        ("webhook_token_file = 'gone'", "bots[suporte].webhook_token_file: the file gone cannot be read"),
        ("webhook_header = ['a b']", "bots[suporte].webhook_header: `a b` is no name of a header"),
        ("crm = 'crm'", "bots[suporte].crm: `crm` is no identity"),
        ("webhook_header = []", "bots[suporte].webhook_header: this names 0 headers"),
        ("plan = 'gold'", "bots[suporte].plan: `gold` is no plan"),
        ("plan = 'free'\nrates = {}", "bots[suporte].plan: rates are there too"),
    ] {
        let fault = bot_fault(line);
        assert!(fault.starts_with(said), "{fault}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    for line in
        ["key = 's3cret+='", "key_env = 's3cret+='", "webhook_token_env = ['s3cret+=']", "key_env = 12"]
    {
        let fault = bot_fault(line);
        assert!(!fault.contains("s3cret"), "{fault}");
    }
    for broken in ["key = 's3cret", "key = s3cret", "key = 12s3cret", "key = [s3cret", "key s3cret"] {
        let said = load(&format!("[[bots]]\n{broken}")).unwrap_err().to_string();
        assert!(said.contains("deskgate.toml:2: this is no TOML") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_public_listener_says_that_it_is_one() {
    let config = load(&format!("[webhook]\nlisten = '[::]:8080'\ninsecure = true\n{BOT}")).unwrap();
    assert_eq!(config.warnings, ["webhook.listen: [::]:8080 is open to other machines, without TLS"]);
    assert!(fault("[webhook]\nlisten = '[::]:8080'").contains("webhook.insecure = true"));
    assert!(
        fault("[admin]\nlisten = '127.0.0.1:8080'").contains("127.0.0.1:8080 is taken by webhook.listen")
    );
}

#[test]
fn a_webhook_without_token_stays_on_loopback() {
    let open = BOT.replace("webhook_token_env", "webhook_token_env = []\n#");
    assert!(load(&open).unwrap().warnings[0].contains("whoever reaches the webhook listener can post"));
    let faults = faults(&format!("[webhook]\nlisten = '0.0.0.0:80'\n{open}"));
    assert!(
        faults[1].contains("there is no token, and webhook.listen (0.0.0.0:80) is not loopback"),
        "{faults:#?}"
    );
    assert!(load(&format!("[webhook]\nlisten = '0.0.0.0:80'\ninsecure = true\n{open}")).is_ok());
}

#[test]
fn what_is_described_reads_back() {
    let text = format!(
        "{BOT}webhook_token_file = 'token'\nrates = {{ messages = 5 }}\n[log]\nformat = 'json'\n[store]\npath = 'a\"b'"
    );
    let source = source().with_file("token", "fedcba9876543210");
    let config = load_from(&source, &text, &Overrides::default()).unwrap();
    let described = config.describe();
    assert!(described.contains("key_env = \"KEY\" # set (env KEY)"), "{described}");
    let again = load_from(&source, &described, &Overrides::default());
    assert_eq!(again.as_ref(), Ok(&config), "{described}");
}

#[test]
fn the_example_loads_and_shows_the_defaults() {
    let source = MapSource::new()
        .with_var("SUPORTE_BLIP_KEY", "abc")
        .with_var("SUPORTE_WEBHOOK_TOKEN", "0123456789abcdef");
    let example = include_str!("../../docs/deskgate.example.toml");
    let config = load_from(&source, example, &Overrides::default()).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    let bot = example.split_once("\n[[bots]]").unwrap().1;
    assert_eq!(load_from(&source, &format!("[[bots]]{bot}"), &Overrides::default()).unwrap(), config);
}

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../docs/CONFIGURATION.md");
    let (config, known) =
        sections::load(&source(), Some((Path::new("deskgate.toml"), BOT)), &Overrides::default());
    assert!(config.is_ok());
    for key in known.iter().filter(|key| key.contains('.') || key.as_str() == "clients") {
        assert!(page.contains(&format!("`{key}`")), "docs/CONFIGURATION.md does not tell of {key}");
        let twin = format!("`DESKGATE_{}`", key.to_uppercase().replace('.', "_"));
        let scalar = !key.starts_with("bots") && !key.ends_with("tls") && key != "clients";
        assert!(!scalar || page.contains(&twin), "docs/CONFIGURATION.md does not tell of {twin}");
    }
    assert!(known.len() > 25, "{known:?}");
}

#[test]
fn reading_back_is_within_its_bounds() {
    let read = |line: &str| load(&format!("[reconcile]\n{line}\n{BOT}")).unwrap().reconcile;
    assert_eq!(load(BOT).unwrap().reconcile, Reconcile::default());
    assert_eq!(read("earlier = \"off\"").earlier, None);
    assert_eq!(read("earlier = \"70h\"").earlier, Some(Duration::from_hours(70)));
    assert_eq!(read("silence = \"off\"").silence, Silence::Off);
    assert_eq!(read("silence = \"30m\"").silence, Silence::After(Duration::from_mins(30)));
    assert_eq!(read("interval = \"1d\"").interval, Duration::from_hours(24));
    assert!(read("business_hours = \"mon-fri 08:00-18:00 -03:00\"").business_hours.is_some());
    for (key, wrong) in [
        ("enabled", "\"yes\""),
        ("share_percent", "0"),
        ("share_percent", "26"),
        ("interval", "\"9s\""),
        ("interval", "\"2d\""),
        ("grace", "\"0s\""),
        ("grace", "\"2h\""),
        ("earlier", "\"71h\""),
        ("lookback", "\"59s\""),
        ("lookback", "\"91d\""),
        ("silence", "\"9s\""),
        ("silence", "\"never\""),
        ("business_hours", "\"fri-mon 08:00-18:00 -03:00\""),
    ] {
        let told = fault(&format!("[reconcile]\n{key} = {wrong}"));
        assert!(told.contains(&format!("reconcile.{key}")), "{told}");
    }
}
