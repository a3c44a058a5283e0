//! What the documentation says of the configuration, held against the code that reads it.
#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every quoted name of the form of a variable in the files of `folder` and the folders in it.
fn variables_in(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut variables_in(&path));
            continue;
        }
        // The reader is told every variable's name; its own words are those by which it knows a secret.
        if path.ends_with("tests.rs") || path.ends_with("reader.rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for quoted in code.split('"').skip(1).step_by(2) {
            let is_variable =
                quoted.len() >= 4 && quoted.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            if is_variable {
                found.insert(quoted.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_variable_is_documented_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/reference/configuration.md")).unwrap();
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .flat_map(|(names, _)| names.split("`, `").map(str::to_owned))
        .filter(|name| !name.contains('<'))
        .collect();
    let read = variables_in(&root.join("origin/src/configuration"));
    // What a destination's variables end in stands on the page of destinations.
    let destinations = fs::read_to_string(root.join("docs/reference/destinations.md")).unwrap();
    let is_end = |name: &String| destinations.contains(&format!("`{name}`"));
    let undocumented: Vec<_> = read.difference(&documented).filter(|name| !is_end(name)).collect();
    assert!(undocumented.is_empty(), "docs/reference/configuration.md does not name {undocumented:?}");
    let bindings = fs::read_to_string(root.join("edge/src/configuration.rs")).unwrap();
    let gone: Vec<_> =
        documented.iter().filter(|name| !read.contains(*name) && !bindings.contains(name.as_str())).collect();
    assert!(gone.is_empty(), "docs/reference/configuration.md names {gone:?}, which nothing reads");
}
