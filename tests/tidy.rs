//! The house rules that a compiler does not check: who may know whom, which outside crate lives where, and that
//! every file says what it is for.

#![expect(clippy::unwrap_used, reason = "helpers of a test crate")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, the modules of ours it may name, and nothing else. `*` is anything.
const MAY_NAME: [(&str, &[&str]); 16] = [
    ("clock", &[]),
    ("shutdown", &[]),
    ("auth", &[]),
    ("lime", &[]),
    ("domain", &["lime", "clock"]),
    ("store", &["domain", "clock"]),
    ("blip", &["lime", "clock"]),
    ("gateway", &["lime", "domain", "store", "blip", "clock", "shutdown"]),
    ("webhook", &["gateway", "domain", "lime", "auth", "shutdown"]),
    ("grpc", &["gateway", "domain", "store", "auth", "clock", "shutdown"]),
    ("admin", &["store", "shutdown"]),
    ("sandbox", &["clock", "shutdown"]),
    ("cli", &["config", "app", "sandbox", "shutdown", "telemetry", "grpc"]),
    ("app", &["*"]),
    ("config", &["*"]),
    ("telemetry", &["*"]),
];

/// An outside crate, and the only places that may name it.
const LIVES_IN: [(&str, &[&str]); 7] = [
    ("rusqlite", &["store/sqlite"]),
    ("reqwest", &["blip/http.rs", "blip/media", "sandbox", "app.rs"]),
    ("axum", &["webhook", "admin", "sandbox"]),
    ("tonic", &["grpc", "cli"]),
    ("prost", &["grpc", "cli"]),
    ("prost_types", &["grpc", "cli"]),
    ("clap", &["cli", "main.rs"]),
];

/// Places without `async`, and without a clock of their own.
const PURE: [&str; 9] = [
    "lime",
    "domain",
    "blip/policy",
    "gateway/group.rs",
    "gateway/group/",
    "gateway/reconcile/plan",
    "gateway/reconcile/find",
    "gateway/reconcile/watchdog.rs",
    "gateway/reconcile/words.rs",
];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: no comments, and nothing from its tests on.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Every `x` of a `crate::x`, also inside `crate::{x, y::z}`.
fn modules_named(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => _ = named.insert(word(rest)),
            Some(group) => {
                let (mut depth, mut at_start) = (0, true);
                for (at, letter) in group.char_indices() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => at_start = true,
                        letter if letter.is_whitespace() => {}
                        _ if at_start => {
                            at_start = false;
                            named.insert(word(&group[at..]));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    named
}

fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

fn module_of(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':')
    })
}

#[test]
fn every_module_names_only_its_neighbors() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some((_, may)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            faults.push(format!(
                "src/{path}: no layer is called {module}; add it to MAY_NAME with its neighbors"
            ));
            continue;
        };
        for named in modules_named(&code(&text)) {
            let status = path == "grpc/status.rs" && named == "blip";
            if named != module && !may.contains(&named.as_str()) && !may.contains(&"*") && !status {
                faults.push(format!("src/{path} names crate::{named}, which {module} may not know"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn outside_crates_live_where_they_belong() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let code = code(&text);
        for (name, places) in LIVES_IN {
            if names_crate(&code, name) && !places.iter().any(|place| path.starts_with(place)) {
                faults.push(format!("src/{path} names {name}, which lives only in {}", places.join(", ")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_pure_stays_pure() {
    for (path, text) in sources() {
        if PURE.iter().any(|place| path.starts_with(place)) {
            for word in ["async fn", "async {", "Clock", "tokio::spawn", "std::fs", "std::net"] {
                assert!(!code(&text).contains(word), "src/{path} has `{word}`, and is to be pure");
            }
        }
    }
}

#[test]
fn no_test_switches_in_production_logic() {
    for (path, text) in sources() {
        let after: Vec<_> = text.split("#[cfg(test)]").skip(1).collect();
        for rest in after {
            let next = rest.trim_start();
            assert!(
                next.starts_with("mod ") || next.starts_with("#["),
                "src/{path}: #[cfg(test)] only before a test module"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "src/{path} does not begin with `//!`");
        let lines = text.lines().count();
        assert!(
            lines <= 500,
            "src/{path} has {lines} lines: what is its second idea, and where does it belong?"
        );
    }
}

#[test]
fn every_error_reason_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = fs::read_to_string(root.join("proto/deskgate/v1/error.proto")).unwrap();
    let errors = fs::read_to_string(root.join("docs/ERRORS.md")).unwrap();
    for line in proto.lines() {
        if let Some(reason) = line.trim().strip_prefix("ERROR_REASON_")
            && let Some((reason, _)) = reason.split_once(" =")
            && reason != "UNSPECIFIED"
        {
            assert!(
                errors.contains(&format!("### `{reason}`")),
                "docs/ERRORS.md has no paragraph on {reason}"
            );
        }
    }
}

#[test]
fn the_examples_in_the_documents_are_those_that_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/CONSUMING.md")).unwrap();
    for (name, language) in
        [("resume.py", "python"), ("worker.py", "python"), ("pull.py", "python"), ("worker.js", "js")]
    {
        let example = fs::read_to_string(root.join("examples").join(name)).unwrap();
        let shown = document.contains(&format!("```{language}\n{example}```"));
        assert!(shown, "docs/CONSUMING.md shows another examples/{name}");
    }
}

#[test]
fn the_scanner_sees_what_it_should() {
    let code =
        code("use crate::{a, b::{c, d}, e};\nuse crate::f::g; // crate::h\n#[cfg(test)]\nuse crate::i;");
    let expected = ["a", "b", "e", "f"].map(str::to_owned);
    assert_eq!(modules_named(&code), BTreeSet::from(expected));
    assert!(names_crate("use axum::Router;", "axum") && !names_crate("my_axum::x", "axum"));
}
