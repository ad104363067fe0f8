//! The arrows of the picture in `src/lib.rs`, and the length of a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, and for each the rooms below it: those whose words it may use.
const ROOMS: &[(&str, &[&str])] = &[
    ("guide", &[]),
    ("model", &[]),
    ("simulate", &["model"]),
    ("compute", &["model"]),
    ("ingest", &["model", "compute"]),
    ("preprocess", &["model", "compute", "ingest"]),
    ("modal", &["model", "compute"]),
    ("pipeline", &["model", "compute", "ingest", "preprocess", "modal"]),
    ("stores", &["model"]),
    ("report", &["model", "modal"]),
    ("export", &["model"]),
    ("worker", &["model", "compute", "ingest", "preprocess", "modal", "pipeline", "stores", "report", "export"]),
    ("http", &["stores", "worker"]),
    ("systemd", &["worker"]),
    // A setting becomes the type of whoever obeys it.
    ("config", &["compute", "stores"]),
    ("telemetry", &["config"]),
];

/// Nothing is longer than this, because nobody reads longer files.
const LONGEST_FILE: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a folder, with its path from the root and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut pending: Vec<PathBuf> = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no source under {folder}");
    found
}

/// The room of a file: `src/model/run.rs` and `src/model.rs` are in `model`.
fn room(file: &str) -> &str {
    file.trim_start_matches("src/").split(['/', '.']).next().unwrap()
}

/// Code without comments and without the unit tests at the end of a file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let product = text.split("#[cfg(test)]").next().unwrap();
    product.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The rooms that a line of code names as `crate::room` or in `crate::{room::…, room::…}`.
fn named_rooms(line: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let after = line.split("crate::").skip(1);
    let mut rooms: Vec<String> = Vec::new();
    for rest in after {
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(group.split(',').map(|part| word(part.trim()))),
            None => rooms.push(word(rest)),
        }
    }
    rooms
}

#[test]
fn a_room_uses_only_the_rooms_below_it() {
    let below: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let own = room(&file);
        if matches!(own, "lib" | "main" | "commands") {
            continue;
        }
        let allowed = below.get(own).unwrap_or_else(|| panic!("{file}: room {own} is not in the picture"));
        for line in code(&text) {
            for used in named_rooms(line) {
                let is_room = below.contains_key(used.as_str()) || used == "commands";
                if is_room && used != own && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{file}: {own} uses {used}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that go up:\n{}", wrong.join("\n"));
}

#[test]
fn arrows_are_seen_in_every_spelling() {
    assert_eq!(named_rooms("use crate::stores::Objects;"), ["stores"]);
    assert_eq!(named_rooms("use crate::{model::run::Run, worker};"), ["model", "worker"]);
    assert_eq!(named_rooms("    let page = crate::report::page(&x);"), ["report"]);
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let long: Vec<String> = ["src", "tests", "linalg/src"]
        .into_iter()
        .flat_map(sources)
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, file)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "cut by idea:\n{}", long.join("\n"));
}

#[test]
fn the_environment_is_read_in_one_place() {
    let readers: Vec<String> = sources("src")
        .into_iter()
        .filter(|(file, _)| room(file) != "config")
        .filter(|(_, text)| code(text).any(|l| ["env::var", "dotenvy", "env = \""].iter().any(|w| l.contains(w))))
        .map(|(file, _)| file)
        .collect();
    assert!(readers.is_empty(), "read it in src/config.rs or src/config/: {readers:?}");
}

#[test]
fn only_the_command_line_speaks_anyhow() {
    let speakers: Vec<String> = sources("src")
        .into_iter()
        .filter(|(file, _)| room(file) != "commands")
        .filter(|(_, text)| code(text).any(|line| line.contains("anyhow")))
        .map(|(file, _)| file)
        .collect();
    assert!(speakers.is_empty(), "give these an error enum: {speakers:?}");
}
