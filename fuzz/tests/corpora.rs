//! Every input that a fuzzer kept, and every seed, once more: needs no fuzzer and no nightly compiler.

use std::{fs, path::Path};

use gateward_fuzz::{TARGETS, seeds};

#[test]
fn every_property_holds_of_what_was_kept() {
    for (target, hold) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0_u32;
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            hold(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{target} has no corpus");
    }
}

#[test]
fn every_property_holds_of_the_seeds() {
    for (name, bytes) in seeds::all() {
        let (_, hold) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
        println!("{name}: {}", String::from_utf8_lossy(&bytes));
        hold(&bytes);
    }
}
