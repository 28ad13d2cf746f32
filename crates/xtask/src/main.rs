//! Developer tasks. `cargo xtask dev` and `cargo xtask ci` are all a fresh machine needs; the others are their parts.

mod ci;
mod fuzz;
mod golang;
mod lock;
mod packages;
mod product;
mod rocksdb;
mod run;
mod setup;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::packages::Missing;
use crate::product::BlackBox;

struct Task {
    name: &'static str,
    about: &'static str,
    /// Arguments it takes, and what there is to know beyond `about`.
    usage: &'static str,
    details: &'static str,
    run: fn(&[OsString]) -> Result<ExitCode>,
}

const TASKS: &[Task] = &[
    Task {
        name: "dev",
        about: "set up, build and run a development cluster",
        usage: "dev [ARGS OF timbermq dev]...",
        details: "Arguments go to `timbermq dev`; `cargo xtask dev -- --help` shows those.",
        run: dev,
    },
    Task {
        name: "ci",
        about: "set up and run all checks and tests",
        usage: "ci [--quick | --only STEP...] [--list]",
        details: "  --quick      leave out the steps that run whole clusters\n  \
                  --only STEP  run this step alone; may be repeated\n  \
                  --list       name the steps\n\n\
                  Stops at the first step that fails. The last line sums up all tests: N passed, N failed.",
        run: run_ci,
    },
    Task {
        name: "clients",
        about: "run the stock clients against a cluster",
        usage: "clients [ARGS OF timbermq-tests clients]...",
        details: "Arguments go to the test runner, which works in the root of the clone.",
        run: |args| black_box(BlackBox::Clients, args),
    },
    Task {
        name: "failover",
        about: "kill leaders under load and measure the takeover",
        usage: "failover [ARGS OF timbermq-tests failover]...",
        details: "Arguments go to the test runner, which works in the root of the clone.",
        run: |args| black_box(BlackBox::Failover, args),
    },
    Task {
        name: "loom",
        about: "run the interleaving tests of timbermq-sync",
        usage: "loom [ARGS OF cargo test]...",
        details: "LOOM_MAX_PREEMPTIONS bounds the search; 3 unless set.",
        run: |args| status(ci::loom_command(&setup::prepare()?).args(after_dashes(args))),
    },
    Task {
        name: "fuzz",
        about: "run every decoder on inputs that a fuzzer finds",
        usage: "fuzz [--seconds N] [--target NAME]... [--jobs N] [--keep] [--minimise] [--json]",
        details: "  --seconds N    how long each target runs; 20 unless given\n  \
                  --target NAME  run this target alone; may be repeated\n  \
                  --jobs N       targets that run at the same time; as many as there are cores unless given\n  \
                  --keep         start from what earlier runs found, too\n  \
                  --minimise     replace what the committed corpora have beside their seeds by what was found to reach more\n  \
                  --json         sum up in one JSON object on the last line\n\n\
                  Targets, corpora and inputs that once failed are in fuzz/. What is found stays in the cache; a failing\n\
                  input is named, makes the task fail, and belongs in fuzz/regressions/NAME with its fix.",
        run: fuzz::run,
    },
    Task {
        name: "fix",
        about: "format, and apply what the linter suggests",
        usage: "fix",
        details: "The only task that changes files of the clone.",
        run: fix,
    },
    Task {
        name: "setup",
        about: "install what is missing and build RocksDB once",
        usage: "setup",
        details: "Missing packages are installed with apt-get when this user may. RocksDB is kept, with all build output, in\n\
                  $TIMBERMQ_CACHE, else $XDG_CACHE_HOME/timbermq, else ~/.cache/timbermq.",
        run: |args| no_arguments(args).and_then(|()| setup::prepare()).map(|_| ExitCode::SUCCESS),
    },
    Task {
        name: "env",
        about: "set up and print the environment for plain cargo",
        usage: "env",
        details: "Use it as: eval \"$(cargo xtask env)\"",
        run: print_env,
    },
];

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        eprint!("{}", overview());
        return ExitCode::from(2);
    };
    if is_help(name) || name == "help" {
        print!("{}", overview());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| name == task.name) else {
        eprint!("error: no task is called {}\n\n{}", name.to_string_lossy(), overview());
        return ExitCode::from(2);
    };
    if rest.first().is_some_and(is_help) {
        print!("cargo xtask {}: {}\n\nUsage: cargo xtask {}\n\n{}\n", task.name, task.about, task.usage, task.details);
        return ExitCode::SUCCESS;
    }
    (task.run)(rest).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn overview() -> String {
    let mut text = "Usage: cargo xtask TASK [ARGS]...   (cargo xtask TASK --help tells more)\n\n".to_owned();
    for task in TASKS {
        text.push_str(&format!("  {:9} {}\n", task.name, task.about));
    }
    text
}

fn is_help(arg: &OsString) -> bool {
    arg == "--help" || arg == "-h"
}

fn dev(args: &[OsString]) -> Result<ExitCode> {
    product::dev(&setup::prepare()?, after_dashes(args))?;
    Ok(ExitCode::SUCCESS)
}

fn run_ci(args: &[OsString]) -> Result<ExitCode> {
    if args.iter().any(|arg| arg == "--list") {
        print!("{}", ci::list());
        return Ok(ExitCode::SUCCESS);
    }
    let selection = ci::Selection::parse(args)?;
    Ok(if ci::run(&selection) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn black_box(what: BlackBox, args: &[OsString]) -> Result<ExitCode> {
    let ready = setup::prepare()?;
    status(&mut product::black_box(&ready, what, Missing::Report, after_dashes(args))?)
}

fn fix(args: &[OsString]) -> Result<ExitCode> {
    no_arguments(args)?;
    let ready = setup::prepare()?;
    let clippy = ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--release", "--workspace", "--all-targets"];
    // Formatting comes last because the linter's replacements are not formatted.
    for args in [&clippy[..], &["fmt", "--all"]] {
        let code = status(ready.cargo().args(args))?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_env(args: &[OsString]) -> Result<ExitCode> {
    no_arguments(args)?;
    print!("{}", setup::export_lines(&setup::prepare()?));
    Ok(ExitCode::SUCCESS)
}

fn no_arguments(args: &[OsString]) -> Result<()> {
    match args.first() {
        None => Ok(()),
        Some(arg) => anyhow::bail!("unknown argument {}", arg.to_string_lossy()),
    }
}

/// The arguments without a leading `--`, which only keeps `--help` from this program.
fn after_dashes(args: &[OsString]) -> &[OsString] {
    match args.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => args,
    }
}

/// Runs a command in the foreground and passes its exit code on.
fn status(command: &mut Command) -> Result<ExitCode> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
    })
}
