//! Configuration: every fault named with its key and its fix, no secret printed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::configuration;

fn check(configuration: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("deskgate.toml");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
    command.args(["check", "--config"]).arg(&file).env_clear().envs(environment.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (
        status.success(),
        format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()),
    )
}

const SECRETS: [(&str, &str); 2] =
    [("SUPORTE_BLIP_KEY", "s3cr3t-key"), ("SUPORTE_WEBHOOK_TOKEN", "s3cr3t-token")];

#[test]
fn a_good_one_is_told_back_without_its_secrets() {
    let (good, said) = check(&configuration("127.0.0.1:1", ""), &SECRETS);
    assert!(good, "{said}");
    assert!(said.contains("suporte@msging.net") && said.contains("SUPORTE_BLIP_KEY"), "{said}");
    assert!(!said.contains("s3cr3t"), "{said}");
}

#[test]
fn every_fault_names_its_key() {
    for (more, expected) in [
        ("[store]\nretentoin = \"7d\"", "store.retention"),
        ("[storage]\npath = \"x\"", "store"),
        ("[store]\nretention = \"soon\"", "store.retention"),
        ("[store]\nkind = \"jetstream\"", "store.kind"),
        ("[[clients]]\nname = \"crm\"", "clients"),
    ] {
        let (good, said) = check(&configuration("127.0.0.1:1", more), &SECRETS);
        assert!(!good && said.contains(expected), "{more}: {said}");
    }
    let public = configuration("127.0.0.1:1", "")
        .replace("[grpc]\nlisten = \"127.0.0.1:0\"", "[grpc]\nlisten = \"0.0.0.0:0\"");
    let (good, said) = check(&public, &SECRETS);
    assert!(!good && said.contains("grpc.listen") && said.contains("grpc.insecure"), "{said}");
    let (good, said) = check(&configuration("127.0.0.1:1", ""), &[]);
    assert!(!good && said.contains("SUPORTE_BLIP_KEY") && said.contains("SUPORTE_WEBHOOK_TOKEN"), "{said}");
}

#[test]
fn a_variable_that_means_nothing_is_told() {
    let more = [
        ("DESKGATE_STORE_RETENTOIN", "1d"),
        ("DESKGATE_CONSUME_EXEC", "true"),
        ("DESKGATE_LOG_LEVEL", "warn"),
    ];
    let (good, said) = check(&configuration("127.0.0.1:1", ""), &[&SECRETS[..], &more].concat());
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("warning: DESKGATE_")).collect();
    assert!(good && warnings.len() == 1, "{said}");
    assert!(
        warnings[0].contains("DESKGATE_STORE_RETENTOIN")
            && warnings[0].ends_with("DESKGATE_STORE_RETENTION?")
    );
}

#[test]
fn help_teaches() {
    for command in [
        vec!["--help"],
        vec!["serve", "--help"],
        vec!["sandbox", "--help"],
        vec!["tail", "--help"],
        vec!["groups", "--help"],
        vec!["groups", "list", "--help"],
        vec!["groups", "show", "--help"],
        vec!["groups", "create", "--help"],
        vec!["groups", "update", "--help"],
        vec!["groups", "seek", "--help"],
        vec!["groups", "delete", "--help"],
        vec!["parked", "--help"],
        vec!["parked", "list", "--help"],
        vec!["parked", "replay", "--help"],
        vec!["parked", "discard", "--help"],
        vec!["consume", "--help"],
        vec!["quarantine", "--help"],
        vec!["reconcile", "--help"],
        vec!["quarantine", "list", "--help"],
        vec!["quarantine", "show", "--help"],
        vec!["quarantine", "replay", "--help"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_deskgate")).args(&command).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.len() > 300, "{command:?}: {help}");
    }
}

/// What an environment says for every call, ids on the command line say better for one.
#[test]
fn ids_are_stronger_than_the_environment() {
    let replay = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskgate"));
        command.args(["quarantine", "replay", "--server", "http://127.0.0.1:1"]).args(arguments);
        let output = command.env_clear().envs(environment.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for twin in [("DESKGATE_QUARANTINE_ALL", "true"), ("DESKGATE_QUARANTINE_BOT", "suporte")] {
        let (code, said) = replay(&["17"], &[twin]);
        assert!(code == Some(1) && said.contains("no gateway answers"), "{twin:?}: {said}");
    }
    let (code, said) = replay(&[], &[("DESKGATE_QUARANTINE_ALL", "true")]);
    assert!(code == Some(1) && said.contains("no gateway answers"), "{said}");
    for wrong in [&["17", "--all"][..], &["17", "--bot", "suporte"], &["--bot", "suporte"], &[]] {
        let (code, said) = replay(wrong, &[]);
        assert!(code == Some(2) && said.contains("--all"), "{wrong:?}: {said}");
    }
}

/// Systems keep the soft limit low for the sake of old programs; each connection is a file.
#[test]
fn as_many_files_may_be_open_as_the_system_allows() {
    let line = "ulimit -Sn 64; exec \"$0\" sandbox --desk-only --desk-listen 127.0.0.1:0";
    let mut process = Command::new("sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_deskgate")])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")));
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = files.split_whitespace().skip(3).take(2).collect::<Vec<_>>()[..] else {
        panic!("{files}");
    };
    assert_eq!(soft, hard, "{limits}");
    assert_ne!(soft, "64", "the system allows no more here, so this shows nothing");
}
