//! Developer tasks. `cargo xtask dev` and `cargo xtask ci` are all a fresh machine needs; the others are their parts.

mod accepted;
mod bench;
mod ci;
mod fuzz;
mod gate;
mod golang;
mod jepsen;
mod lock;
mod loom;
mod micro;
mod models;
mod mutants;
mod packages;
mod page;
mod performance;
mod product;
mod rocksdb;
mod run;
mod seeded_bugs;
mod setup;
mod sim;
mod traces;
mod tsan;
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
        usage: "ci [--quick | --only STEP...] [--minutes N] [--record] [--list]",
        details: "  --quick      leave out the steps that run whole clusters\n  \
                  --only STEP  run this step alone; may be repeated\n  \
                  --minutes N  what the whole run is meant to take at most; 55 unless told\n  \
                  --record     write the figures of the steps into the documentation\n  \
                  --list       name the steps\n\n\
                  Stops at the first step that fails. Searches get shorter on a machine too slow for them.\n\
                  The last line sums up all tests: N passed, N failed.",
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
        name: "bench",
        about: "measure, beside the least that a replicated log could cost",
        usage: "bench s1 [--pairs N] [--seconds S] [--durability f|p] [--windows W,W,…] [--connections N] [--size BYTES] [--dir DIR] [--record] |\n       \
                bench s4 [--batches NxB,NxB,…] [--in-flight N] [--pairs N] [--seconds S] [--connections N] [--dir DIR] [--record] |\n       \
                bench s5 [--rates R,R,…] [--pairs N] [--seconds S] [--connections N] [--size BYTES] [--dir DIR] [--record] |\n       \
                bench s6 [--topics N,N,…] [--pairs N] [--seconds S] [--window N] [--connections N] [--size BYTES] [--dir DIR] [--record] |\n       \
                bench s7 [--gb GB] [--rate N] [--seconds S] [--batches N,N,…] [--consumers N] [--rounds N] [--leader-only] [--dir DIR] [--record] |\n       \
                bench s8 [--subscriptions N,N,…] [--rate N] [--rounds N] [--seconds S] [--batch N] [--size BYTES] [--dir DIR] [--record] |\n       \
                bench s9 [--rounds N] [--own-only] [--only kill|pause|cut] [--set KEY=VALUE] [--dir DIR] [--record] |\n       \
                bench s10 [--gb GB] [--replicas N] [--rounds N] [--rebuilds N] [--set KEY=VALUE] [--dir DIR] [--record] |\n       \
                bench s11 [--queues N,N,…] [--queues-per-topic N] [--seconds S] [--rest S] [--dir DIR] [--record] |\n       \
                bench s12 [--queues N,N,…] [--stored N,N,…] [--runs N] [--rate N] [--gets N] [--seed N] [--dir DIR] [--record] |\n       \
                bench s14 [--minutes M] [--slice S] [--rate N] [--size BYTES] [--set KEY=VALUE] [--dir DIR] [--record] |\n       \
                bench growth [--runs N] [--seconds S] [--sizes B,B,…] [--connections N,N,…] [--replicas N,N,…]\n       \
                \x20            [--queues N,N,…] [--groups N,N,…] [--stored N,N,…] [--only WHAT,…] [--dir DIR] [--record] |\n       \
                bench peers [--scenario s1|s2|s5|s7] [--only NAMES] [--pairs N] [--seconds S] [--windows W,W,…] [--rate R] [--gb GB] [--batch N] [--dir DIR] [--record] |\n       \
                bench micro [--only NAME]... [--accept] [--plant N [--must-fail]] [--json] |\n       \
                bench gate [--accept] [--plant N [--must-fail]] [--json] |\n       \
                bench page [--out FILE] |\n       \
                bench load|consume|subscribe|skeleton|calibrate ARGS...",
        details: "  s1               durable sends to three replicas, and the same load on the skeleton, A B A B\n  \
                  --pairs N        pairs of runs for each window; 5 unless given\n  \
                  --seconds S      measured in each run; 10 unless given\n  \
                  --durability f   f: an acknowledgement waits for a majority's disks; p: for a majority's page cache\n  \
                  --windows W,W    messages in flight; 1,64,1024 unless given\n  \
                  s4               the same in batches, beside as many bytes at once on the skeleton\n  \
                  --batches NxB    messages and bytes of each; 16x128,64x1024 unless given\n  \
                  --in-flight N    messages in flight; 1024 unless given\n  \
                  s7               a backlog is read from its beginning while a producer goes on: how fast, and what that does to\n  \
                  \x20                the producer; refused when the disk has no room\n  \
                  --gb GB          log of each of three replicas; 3 unless given\n  \
                  --rate N         sends a second; 2000 unless given\n  \
                  --batches N,N    most messages of a pull; 32,256 unless given\n  \
                  --consumers N    reading processes; 1 unless given\n  \
                  --leader-only    pulls go to the leader, wherever answers send them\n  \
                  --rounds N       how often; 3 unless given\n  \
                  s8               consumer groups that each get every message as it comes: latency from end to end, CPU\n  \
                  --subscriptions N,N   how many; 1,10,100 unless given\n  \
                  --rate N         sends a second; 5000 unless given\n  \
                  --rounds N       how often; 3 unless given\n  \
                  s9               the leader is killed, and paused: when sends succeed again, of our own and the stock Java client\n  \
                  --rounds N       how often; 20 unless given\n  \
                  --own-only       without the stock client\n  \
                  --only kill      the leader is only killed, or only paused\n  \
                  --set KEY=VALUE  a setting of the replicas; of s1 and peers, too\n  \
                  s10              the group is killed under load with a long log, and started again: when it serves, with its index and\n  \
                  \x20                without; refused when the disk has no room\n  \
                  --gb GB          log of each replica; 10 unless given\n  \
                  --replicas N     1 unless given\n  \
                  --rounds N       starts with the index; 5 unless given\n  \
                  --rebuilds N     starts without it; 3 unless given\n  \
                  s12              the index of one replica alone, in a process of its own: CPU and bytes a message, look-ups\n  \
                  --queues N,N     1,1000,50000 unless given; messages go to one that is drawn\n  \
                  --stored N,N     messages there are when it is measured; 1000000,10000000 unless given; 100 bytes of disk each\n  \
                  --runs N         how often; 2 unless given\n  \
                  --rate N         messages in a second of the log, of which nobody waits for the end; 50000 unless given\n  \
                  s14              half of what the group can do, for long, in slices: latency, memory and disk at the end beside those\n  \
                  \x20                at the beginning, while retention removes what is old\n  \
                  --minutes M      in all; 30 unless given\n  \
                  --slice S        seconds of a slice; 60 unless given\n  \
                  --rate N         sends a second; half of a closed loop's, measured first, unless given\n  \
                  growth           what a message costs as bodies grow, and connections, replicas, queues, consumer groups that store\n  \
                  \x20                offsets, and messages stored before (17 GB of disk unless --stored says less); of the first, bytes in\n  \
                  \x20                flight are bounded, and what the limit of open files forbids is left out with the reason\n  \
                  --only WHAT      of sizes, connections, replicas, queues, groups and stored these alone\n  \
                  peers            other brokers in the same run, A B A B; installed first. 5 s a run unless given\n  \
                  --scenario s1    s1: ours waits for a majority's disks; s2: for its page cache, beside peers that do no more\n  \
                  --scenario s7    a backlog is read alone and beside a producer, from the disk: --gb GB of bodies, 1 unless given;\n  \
                  \x20                --batch N messages a pull of our own reader, 32 unless given; --rate R sends a second, 2000\n  \
                  --only NAMES     these alone: rocketmq-controller-sync, rocketmq-dledger, rocketmq-async-master, kafka-flush,\n  \
                  \x20                kafka, nats-sync-always, nats, rabbitmq-quorum, rocketmq-rust, or the beginning of names\n  \
                  --dir DIR        data on this disk; a temporary directory unless given\n  \
                  --record         keep the figures, and write the page on performance\n  \
                  micro            instructions of each part of the hot path, compared with crates/xtask/accepted-costs.toml\n  \
                  gate             a short s1, its medians compared with those in the same file; measured again before it fails\n  \
                  --accept         what is measured is accepted\n  \
                  --plant N        the product does some of its work N times more, in a build that can; compared with the same\n  \
                  \x20                build as it is\n  \
                  --must-fail      succeed only when that is found too slow, and of the parts those that are\n  \
                  page             write the page that shows recorded figures with drawings, crates/timbermq/docs/performance.html\n  \
                  --out FILE       write it there instead\n  \
                  load, consume, subscribe, skeleton, calibrate   the parts alone; each tells more with --help\n\n\
                  s1, s4, s7, s8, s9, s10, s12, s14, growth and peers end with one JSON object.",
        run: bench::run,
    },
    Task {
        name: "loom",
        about: "run the interleaving tests",
        usage: "loom [ARGS OF cargo test]... | loom --weaken [--json]",
        details: "  --weaken  run them with each memory ordering weakened: one of them must fail every time\n  \
                  --json    end with one JSON object: sites, detected, undetected, table\n\n\
                  LOOM_MAX_PREEMPTIONS bounds the search; 3 unless set.",
        run: loom::run,
    },
    Task {
        name: "tsan",
        about: "run tests with threads under the thread sanitizer",
        usage: "tsan [--json]",
        details: "A planted race must be reported, and nothing else. The standard library is compiled as well; its sources are\n\
                  installed when missing.\n\n  \
                  --json  end with one JSON object: tests, races, control_found",
        run: tsan::run,
    },
    Task {
        name: "mutants",
        about: "change the code a little, many times: tests must notice",
        usage: "mutants [--changed BASE] [--sample N | --all] [--seed S] [--package NAME]... [--json] [--record]",
        details: "  --changed BASE  only lines that differ from this commit\n  \
                  --sample N      run N mutants of each package; 20 unless given\n  \
                  --all           run all of them: hours\n  \
                  --seed S        which ones are drawn; 1 unless given\n  \
                  --package NAME  this package alone; may be repeated\n  \
                  --json          end with one JSON object\n  \
                  --record        put the packages that ran into crates/timbermq/docs/results/mutants.json\n\n\
                  Survivors that are explained stand in crates/xtask/mutants-survivors.toml; any other is a failure.",
        run: mutants::run,
    },
    Task {
        name: "fuzz",
        about: "run every decoder on inputs that a fuzzer finds",
        usage: "fuzz [--seconds N] [--seed N] [--target NAME]... [--jobs N] [--keep] [--minimise] [--json] [--record]",
        details: "  --seconds N    how long each target runs at most; 20 unless given\n  \
                  --seed N       search: another run for every N; without it the run is the same each time, with at most\n  \
                  \x20              as many executions as fuzz/executions.toml says\n  \
                  --target NAME  run this target alone; may be repeated\n  \
                  --jobs N       targets that run at the same time; as many as there are cores unless given\n  \
                  --keep         start from what earlier runs found, too\n  \
                  --minimise     replace what the committed corpora have beside their seeds by what was found to reach more\n  \
                  --json         sum up in one JSON object on the last line\n  \
                  --record       put the figures into crates/timbermq/docs/results/fuzz.json\n\n\
                  Targets, corpora and inputs that once failed are in fuzz/. What is found stays in the cache; a failing\n\
                  input is named, makes the task fail, and belongs in fuzz/regressions/NAME with its fix.",
        run: fuzz::run,
    },
    Task {
        name: "models",
        about: "explore the specifications of the protocol",
        usage: "models [ARGS OF timbermq-model run]... | models trace ARGS...",
        details: "TLC, the second engine, is fetched once and needs java; without either it is left out, and said to be.",
        run: |args| status(&mut models::command(&setup::prepare()?, after_dashes(args))?),
    },
    Task {
        name: "sim",
        about: "run whole clusters in simulation",
        usage: "sim [--seeds N] [--from S] [--minutes M] [--repeat N] [--bug NAME] [--record] [--json] | sim --seed S [--trace] | sim minimise S",
        details: "  --seeds N     how many seeds, each in a process of its own; 100 unless given\n  \
                  --from S      the first one; 1 unless given\n  \
                  --minutes M   begin no seed after that\n  \
                  --repeat N    run the first N seeds twice more, in two processes each, which must say the same to the last\n                \
                                byte, and the controls, which must not\n  \
                  --bug NAME    plant a bug of the catalogue\n  \
                  --record      add the totals to the ledger\n  \
                  --seed S      run one seed; --trace shows what happens in it\n  \
                  minimise S    find the fewest groups of faults with which a seed still fails",
        run: |args| status(&mut sim::command(&setup::prepare()?, after_dashes(args))?),
    },
    Task {
        name: "jepsen",
        about: "break things around real processes under load",
        usage: "jepsen run|suite|compare|selftest|attach|report|list [ARGS]... [--record]",
        details: "Arguments go to `timbermq-jepsen`; `cargo xtask jepsen -- --help` shows those, jepsen/README.md explains them.\n\
                  Needs root. `selftest` and `run --bug NAME` use a product that can have seeded bugs; systems called apache-…\n\
                  use jars that are fetched once, and need java and mvn.\n\n  \
                  --record  of `compare`: put the figures into crates/timbermq/docs/results/apache-rocketmq.json",
        run: |args| jepsen::run(&setup::prepare()?, after_dashes(args)),
    },
    Task {
        name: "traces",
        about: "simulate clusters and check what replicas did against the specification",
        usage: "traces [--seeds N] [--from S] [--minutes M] [--mutated N] [--mutants N] [--tlc-traces N] [--json]",
        details: "  --seeds N       how many seeds, whose traces are all checked; 1000 unless given\n  \
                  --from S        the first one; 1 unless given\n  \
                  --minutes M     begin no seed after that\n  \
                  --mutated N     of how many traces mutants are made; 60 unless given\n  \
                  --mutants N     mutants of each, which must be rejected; 100 unless given\n  \
                  --tlc-traces N  traces whose beginning TLC checks, and a mutant of each; 5 unless given\n  \
                  --json          end with one JSON object\n\n\
                  Fails when a trace is rejected, more than one mutant in a hundred is not, or an action of the\n\
                  specification occurs in no trace.",
        run: |args| status(&mut traces::command(&setup::prepare()?, after_dashes(args))?),
    },
    Task {
        name: "page",
        about: "write the pages on verification and performance from the recorded figures",
        usage: "page [--check]",
        details: "  --check  fail if a page is not what the figures make it",
        run: page::run,
    },
    Task {
        name: "seeded-bugs",
        about: "plant known bugs and look which checks see them",
        usage: "seeded-bugs [--only BUG...] [--layer LETTER...] [--quick] [--budget-seconds N] [--json] [--record]",
        details: "  --only BUG...       plant these alone\n  \
                  --layer LETTER...   run only commands of these layers: U unit and property tests, C crash points, L loom,\n  \
                  \x20                   M models, T traces, F fuzzing, S simulation, J real processes\n  \
                  --quick             a few seeds of the simulation for each bug\n  \
                  --budget-seconds N  start no command after so long\n  \
                  --json              leave the table out\n  \
                  --record            write the results into the documentation\n\n\
                  The last line is a JSON object. Fails when a bug is not caught, or fewer than three quarters are by two layers.",
        run: seeded_bugs::run,
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
    let clippy = [
        "clippy",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
        "--profile",
        product::VERIFY,
        "--workspace",
        "--all-targets",
    ];
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
