//! Programs of the operating system: what is missing, and installing it from Debian where that is allowed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Seconds to wait for another apt to finish.
const APT_LOCK_WAIT_S: u32 = 120;

/// Something a step needs from the operating system.
pub struct Requirement {
    /// What people call it.
    name: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
    present: fn() -> bool,
}

/// What RocksDB's C++ and its bindings need to compile.
pub const BUILD: &[Requirement] = &[
    Requirement { name: "a C++20 compiler", package: "g++", present: has_cxx },
    Requirement { name: "ar", package: "binutils", present: || runs("ar", &["--version"]) },
    Requirement { name: "libclang", package: "libclang-dev", present: || libclang_dir().is_some() },
];

/// What the stock clients need to run.
pub const CLIENTS: &[Requirement] = &[
    Requirement { name: "javac", package: "default-jdk-headless", present: || runs("javac", &["-version"]) },
    Requirement { name: "mvn", package: "maven", present: || runs("mvn", &["--version"]) },
    Requirement { name: "node", package: "nodejs", present: || runs("node", &["--version"]) },
    Requirement { name: "npm", package: "npm", present: || runs("npm", &["--version"]) },
    Requirement { name: "python3", package: "python3", present: || runs("python3", &["--version"]) },
    Requirement {
        name: "python3 venv",
        package: "python3-venv",
        present: || runs("python3", &["-c", "import venv, ensurepip"]),
    },
];

/// What other brokers need to be fetched and to run; Go is brought by [`crate::golang`].
pub const PEERS: &[Requirement] = &[
    Requirement { name: "javac", package: "default-jdk-headless", present: || runs("javac", &["-version"]) },
    Requirement { name: "mvn", package: "maven", present: || runs("mvn", &["--version"]) },
    Requirement {
        name: "rabbitmq-server",
        package: "rabbitmq-server",
        present: || Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").exists(),
    },
];

/// What runs of real processes need for networks and disks of their own.
pub const SANDBOX: &[Requirement] = &[
    Requirement { name: "ip", package: "iproute2", present: || runs("ip", &["-V"]) },
    Requirement { name: "nft", package: "nftables", present: || runs("nft", &["--version"]) },
    Requirement { name: "mkfs.ext4", package: "e2fsprogs", present: || runs("mkfs.ext4", &["-V"]) },
    Requirement { name: "libfaketime", package: "libfaketime", present: has_faketime },
];

/// What TLC needs to be fetched and to run.
pub const MODELS: &[Requirement] = &[
    Requirement { name: "java", package: "default-jre-headless", present: || runs("java", &["-version"]) },
    Requirement { name: "python3", package: "python3", present: || runs("python3", &["--version"]) },
    Requirement { name: "pip", package: "python3-pip", present: || runs("python3", &["-m", "pip", "--version"]) },
];

/// What counts instructions.
pub const COUNTING: &[Requirement] = &[Requirement {
    name: "valgrind",
    package: "valgrind",
    present: || runs("valgrind", &["--tool=callgrind", "--callgrind-out-file=/dev/null", "true"]),
}];

/// Whether a missing package may be installed or is reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Install it when this user may.
    Install,
    /// Say what to install.
    Report,
}

/// Makes sure that all requirements are met.
///
/// # Errors
/// Names the missing packages and the command that installs them when they may not be installed from here, when apt-get
/// fails, or when a package did not bring what it should.
pub fn ensure(requirements: &[Requirement], missing: Missing) -> Result<()> {
    let absent = absent(requirements);
    if absent.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = absent.iter().map(|requirement| requirement.package).collect();
    let names: Vec<&str> = absent.iter().map(|requirement| requirement.name).collect();
    let advice = format!("missing: {}; install with: apt-get install {}", names.join(", "), packages.join(" "));
    let Some(prefix) = (missing == Missing::Install).then(apt_prefix).flatten() else { bail!("{advice}") };

    eprintln!("setup: installing {}", packages.join(" "));
    // The first attempt fails where package lists are old or were never fetched.
    if apt(&prefix, &["install"], &packages).is_err() {
        apt(&prefix, &["update"], &[])?;
        apt(&prefix, &["install"], &packages)?;
    }
    match self::absent(requirements).as_slice() {
        [] => Ok(()),
        [still, ..] => bail!("package {} is installed, but {} does not work", still.package, still.name),
    }
}

/// Whether the library is there that tells processes another time, where Debian puts it.
fn has_faketime() -> bool {
    let machines = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1")).any(|library| library.is_file())
}

/// Where libclang is; the bindings of RocksDB are generated with it.
pub fn libclang_dir() -> Option<PathBuf> {
    if let Some(path) = env::var_os("LIBCLANG_PATH").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    // Only the development package brings the compiler's own headers, without which bindings cannot be generated.
    let mut candidates = vec![PathBuf::from("/usr/local/lib"), PathBuf::from("/usr/lib64"), PathBuf::from("/usr/lib")];
    if let Ok(entries) = fs::read_dir("/usr/lib") {
        let versioned = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"));
        candidates.extend(versioned.map(|entry| entry.path().join("lib")));
    }
    candidates.into_iter().find(|dir| dir.join("libclang.so").exists())
}

/// Whether a program starts and succeeds with these arguments.
pub fn runs(program: impl AsRef<Path>, args: &[&str]) -> bool {
    let mut command = Command::new(program.as_ref());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A compiler the user chose is the user's to provide; if it does not run, compiling says so.
fn has_cxx() -> bool {
    env::var_os("CXX").is_some_and(|cxx| !cxx.is_empty()) || runs("g++", &["--version"])
}

fn absent(requirements: &[Requirement]) -> Vec<&Requirement> {
    requirements.iter().filter(|requirement| !(requirement.present)()).collect()
}

/// How to start apt-get as root; `None` when this is no Debian or the user may not.
fn apt_prefix() -> Option<Vec<&'static str>> {
    if !runs("apt-get", &["--version"]) {
        return None;
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if root {
        Some(vec!["env"])
    } else if runs("sudo", &["-n", "true"]) {
        Some(vec!["sudo", "-n", "env"])
    } else {
        None
    }
}

fn apt(prefix: &[&str], verb: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-qq"]);
    command.args(["-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30"]);
    command.arg("-o").arg(format!("DPkg::Lock::Timeout={APT_LOCK_WAIT_S}"));
    command.args(verb);
    if !packages.is_empty() {
        command.arg("--no-install-recommends").args(packages);
    }
    let output = command.stdin(Stdio::null()).output().context("cannot run apt-get")?;
    if !output.status.success() {
        bail!("apt-get {} failed:\n{}", verb.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
