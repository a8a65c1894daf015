//! What tests against the real gateway share.

use std::path::PathBuf;
use std::process::Command;

/// The gateway, built if need be: the package under test is another one.
pub(crate) fn gateway() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let profile = deps.ancestors().nth(2).unwrap();
    let binary = profile.join("switchyard");
    if !binary.exists() {
        let asked = [
            "build",
            "--quiet",
            "--package",
            "switchyard",
            "--bin",
            "switchyard",
        ];
        let built = Command::new(env!("CARGO")).args(asked).status();
        assert!(built.is_ok_and(|built| built.success()));
    }
    binary
}

/// A folder of its own.
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("switchyard-test-{}", fastrand::u64(..)));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
