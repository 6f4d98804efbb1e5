//! Tells the program which compiler made it: instruction counts are that
//! compiler's work as much as ours.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let output = Command::new(variable("RUSTC")).arg("--version").output();
    let said = output.expect("the compiler that compiles this runs").stdout;
    // `rustc 1.95.0 (59807616e 2026-04-14)`
    let said = String::from_utf8(said).expect("a version is text");
    let version = said.split_whitespace().nth(1).expect("it follows the name");
    println!("cargo::rustc-env=OPS_RUSTC={version}");
    println!("cargo::rustc-env=OPS_TARGET={}", variable("TARGET"));
}
