//! RocksDB as one static library, compiled once per machine.
//!
//! The crate's build script compiles its C++ sources file by file, and reading the same headers hundreds of times is most of
//! the work: 40 to 50 CPU minutes. Here the same sources, with the same definitions, are included into a few units, which takes
//! about nine. The library lands outside the clone; the crate picks it up through `ROCKSDB_LIB_DIR`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use std::{env, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::lock;
use crate::workspace::{Resolved, Workspace, host_triple};

const UNITS: usize = 8;
/// What one compiler needs at its peak, with room to spare.
const MEMORY_PER_JOB_KIB: u64 = 2 * 1024 * 1024;
/// Features of `librocksdb-sys` whose effect on the C++ this module reproduces.
const KNOWN_FEATURES: &[&str] = &["bindgen-runtime", "default", "lz4", "lz4-sys", "static"];

/// Makes sure the library exists and returns its directory; `None` when nothing in the workspace uses RocksDB.
///
/// # Errors
/// Fails when the sources do not look as expected, the compiler refuses them, or the cache cannot be written.
pub fn ensure_library(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let Some(package) = workspace.package("librocksdb-sys") else { return Ok(None) };
    let recipe = Recipe::new(workspace, &package)?;
    let dir = workspace.cache.join(recipe.name());
    let library = dir.join("librocksdb.a");
    if library.is_file() {
        return Ok(Some(dir));
    }
    let _lock = lock::exclusive(&workspace.cache.join(format!("{}.lock", recipe.name())))?;
    if !library.is_file() {
        // Whatever stands in the partial directory was made by the same recipe: an interrupted set-up continues.
        let partial = workspace.cache.join(format!("{}.partial", recipe.name()));
        recipe.build(&partial).context("cannot build the RocksDB library")?;
        fs::rename(&partial, &dir).with_context(|| format!("cannot move the library to {}", dir.display()))?;
    }
    Ok(Some(dir))
}

/// Everything that decides what the library contains.
struct Recipe {
    rocksdb_version: String,
    compiler: OsString,
    flags: Vec<String>,
    includes: Vec<PathBuf>,
    sources: Vec<PathBuf>,
    hash: u64,
}

impl Recipe {
    fn new(workspace: &Workspace, package: &Resolved) -> Result<Self> {
        if let Some(feature) = package.features.iter().find(|feature| !KNOWN_FEATURES.contains(&feature.as_str())) {
            bail!("feature {feature} of librocksdb-sys is on, but crates/xtask/src/rocksdb.rs does not know its flags");
        }
        let host = host_triple()?;
        ensure!(host.contains("linux") && !host.contains("android"), "the RocksDB set-up knows Linux only, not {host}");

        let mut flags: Vec<String> =
            ["-std=c++20", "-O2", "-fPIC", "-ffunction-sections", "-fdata-sections", "-w", "-include", "cstdint"]
                .map(str::to_owned)
                .into();
        if host.starts_with("x86_64") {
            flags.push("-msse2".to_owned());
        }
        let mut defines = vec![
            "NDEBUG=1",
            "HAVE_ALIGNED_NEW",
            "HAVE_UINT128_EXTENSION",
            "OS_LINUX",
            "ROCKSDB_PLATFORM_POSIX",
            "ROCKSDB_LIB_IO_POSIX",
            "ROCKSDB_SCHED_GETCPU_PRESENT",
            "ROCKSDB_AUXV_GETAUXVAL_PRESENT",
            "ROCKSDB_FALLOCATE_PRESENT",
            "ROCKSDB_RANGESYNC_PRESENT",
        ];
        let tree = package.dir.join("rocksdb");
        let mut includes = vec![
            tree.join("include"),
            tree.clone(),
            tree.join("third-party/gtest-1.8.1/fused-src"),
            package.dir.clone(),
        ];
        if package.features.iter().any(|feature| feature == "lz4") {
            defines.push("LZ4=1");
            let lz4 = workspace.package("lz4-sys").context("librocksdb-sys has lz4 on, but lz4-sys is missing")?;
            includes.push(lz4.dir.join("liblz4/lib"));
        }
        flags.extend(defines.iter().map(|define| format!("-D{define}")));

        let list_path = package.dir.join("rocksdb_lib_sources.txt");
        let list = fs::read_to_string(&list_path).with_context(|| format!("cannot read {}", list_path.display()))?;
        // The crate brings a generated build_version.cc of its own in place of the template in the list.
        let names: Vec<&str> =
            list.lines().map(str::trim).filter(|name| !name.is_empty() && *name != "util/build_version.cc").collect();
        let mut sources: Vec<PathBuf> = names.iter().map(|name| tree.join(name)).collect();
        sources.push(package.dir.join("build_version.cc"));

        let compiler = env::var_os("CXX").filter(|cxx| !cxx.is_empty()).unwrap_or_else(|| "g++".into());
        let mut identity = vec![package.version.clone(), host, compiler.to_string_lossy().into_owned()];
        identity.push(UNITS.to_string());
        identity.extend(flags.iter().cloned());
        identity.extend(names.iter().map(|&name| name.to_owned()));
        Ok(Self {
            rocksdb_version: package.version.split('+').next_back().unwrap_or(&package.version).to_owned(),
            compiler,
            flags,
            includes,
            sources,
            hash: fnv1a(identity.join("\n").as_bytes()),
        })
    }

    fn name(&self) -> String {
        format!("rocksdb-{}-{:016x}", self.rocksdb_version, self.hash)
    }

    fn build(&self, dir: &Path) -> Result<()> {
        let started = Instant::now();
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let units = self.write_units(dir)?;
        let jobs = parallel_jobs().min(units.len());
        eprintln!(
            "rocksdb {}: compiling {} sources as {} units, {jobs} at a time, once for this machine",
            self.rocksdb_version,
            self.sources.len(),
            units.len()
        );

        let next = AtomicUsize::new(0);
        let done = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let failures = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if failed.load(Ordering::Relaxed) {
                            return;
                        }
                        let unit_started = Instant::now();
                        match self.compile(unit) {
                            Ok(()) => {
                                let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                                let seconds = unit_started.elapsed().as_secs();
                                eprintln!("rocksdb: unit {count} of {} ready ({seconds} s)", units.len());
                            }
                            Err(error) => {
                                failed.store(true, Ordering::Relaxed);
                                failures.lock().expect("no thread panics with the lock held").push(error);
                            }
                        }
                    }
                });
            }
        });
        if let Some(error) = failures.into_inner().expect("no thread panics with the lock held").into_iter().next() {
            return Err(error);
        }

        let library = dir.join("librocksdb.a");
        // `ar` adds to an archive that exists, and one left by an interrupted run may be cut short.
        if library.exists() {
            fs::remove_file(&library)?;
        }
        let objects: Vec<PathBuf> = units.iter().map(|unit| unit.with_extension("o")).collect();
        run_silent(Command::new("ar").arg("crs").arg(&library).args(&objects))?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path != library {
                fs::remove_file(path)?;
            }
        }
        eprintln!("rocksdb: library ready ({} s)", started.elapsed().as_secs());
        Ok(())
    }

    /// Distributes the sources, in their order, over units of about equal size and writes one file for each unit.
    fn write_units(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut sized = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let bytes = fs::metadata(source).with_context(|| format!("cannot read {}", source.display()))?.len();
            sized.push((source, bytes));
        }
        let total: u64 = sized.iter().map(|(_, bytes)| bytes).sum();
        let mut texts = vec![String::new(); UNITS];
        let mut before = 0;
        for (source, bytes) in sized {
            // The middle of the source decides, so that a large one does not overfill the unit it starts in.
            let unit = (before + bytes / 2) * UNITS as u64 / total.max(1);
            let unit = usize::try_from(unit).unwrap_or(UNITS).min(UNITS - 1);
            texts[unit].push_str(&format!("#include \"{}\"\n", source.display()));
            before += bytes;
        }
        let mut units = Vec::with_capacity(UNITS);
        for (number, text) in texts.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            let path = dir.join(format!("unit-{}.cc", number + 1));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            units.push(path);
        }
        Ok(units)
    }

    fn compile(&self, unit: &Path) -> Result<()> {
        let object = unit.with_extension("o");
        if object.is_file() {
            return Ok(());
        }
        // A name of its own, because the compiler of a set-up that was killed may still be writing.
        let unfinished = unit.with_extension(format!("o.partial-{}", std::process::id()));
        let mut command = Command::new(&self.compiler);
        command.args(&self.flags);
        for include in &self.includes {
            command.arg("-I").arg(include);
        }
        run_silent(command.arg("-c").arg(unit).arg("-o").arg(&unfinished))?;
        fs::rename(&unfinished, &object).with_context(|| format!("cannot write {}", object.display()))
    }
}

/// Runs a command and shows its output only when it fails.
fn run_silent(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}

/// One compiler a core, fewer when memory is short.
fn parallel_jobs() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let available_kib = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let by_memory = available_kib.map_or(cores, |kib| usize::try_from(kib / MEMORY_PER_JOB_KIB).unwrap_or(cores));
    cores.min(by_memory).max(1)
}

/// 64-bit FNV-1a: a name for a recipe that is the same with every Rust release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(dir: &Path, compiler: &str, sources: &[(&str, &str)]) -> Recipe {
        let write = |(name, text): &(&str, &str)| {
            let path = dir.join(name);
            fs::write(&path, text).expect("the test directory is writable");
            path
        };
        Recipe {
            rocksdb_version: "0".to_owned(),
            compiler: compiler.into(),
            flags: vec!["-DANSWER=42".to_owned()],
            includes: vec![dir.to_owned()],
            sources: sources.iter().map(write).collect(),
            hash: 0,
        }
    }

    #[test]
    fn every_source_is_in_exactly_one_unit_and_in_order() {
        let dir = tempfile::tempdir().expect("a test directory");
        let sources: Vec<(String, String)> =
            (0..100).map(|i| (format!("source-{i:03}.cc"), " ".repeat(i * i))).collect();
        let sources: Vec<(&str, &str)> = sources.iter().map(|(name, text)| (&**name, &**text)).collect();
        let recipe = recipe(dir.path(), "g++", &sources);
        let units = recipe.write_units(dir.path()).expect("units are written");
        assert_eq!(units.len(), UNITS);
        let text: String = units.iter().map(|unit| fs::read_to_string(unit).expect("a unit")).collect();
        let expected: String =
            recipe.sources.iter().map(|source| format!("#include \"{}\"\n", source.display())).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_build_leaves_the_library_alone() {
        let dir = tempfile::tempdir().expect("a test directory");
        let sources = [("a.cc", "int a() { return ANSWER; }"), ("b.cc", "#include \"a.h\"\nint b() { return a(); }")];
        let recipe = recipe(dir.path(), "g++", &sources);
        fs::write(dir.path().join("a.h"), "int a();").expect("the test directory is writable");
        let partial = dir.path().join("partial");
        recipe.build(&partial).expect("the sources compile");
        let left: Vec<_> = fs::read_dir(&partial).expect("the directory").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["librocksdb.a"]);
    }

    #[test]
    fn a_failed_build_tells_why_and_continues_later() {
        let dir = tempfile::tempdir().expect("a test directory");
        let sources = [("a.cc", "int a() { return 1; }"), ("b.cc", "int b() { return nonsense; }")];
        let broken = recipe(dir.path(), "g++", &sources);
        let partial = dir.path().join("partial");
        let error = broken.build(&partial).expect_err("nonsense does not compile");
        assert!(format!("{error:#}").contains("nonsense"), "{error:#}");
        assert!(!partial.join("librocksdb.a").exists());

        // What is compiled already is not compiled again: this compiler makes nothing.
        for unit in broken.write_units(&partial).expect("units are written") {
            fs::write(unit.with_extension("o"), "").expect("the test directory is writable");
        }
        recipe(dir.path(), "false", &sources).build(&partial).expect("every object is there");
        assert!(partial.join("librocksdb.a").exists());
    }
}
