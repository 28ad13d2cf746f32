//! Power cuts at every moment under the store: the real RocksDB with the product's options, on a file system that records
//! what is written, synced and renamed. From the recording, images are made of what a disk may hold after a power cut;
//! each must open as the store was at some rotation, none older than the last one written with `sync`.
//!
//! `cargo run --release -p timbermq-index --example crash_images -- [--images N] [--rotations N] [--seed N] [--json]`
//!
//! With `--forget-syncs` the recording has no syncs, as if the disk ignored them: the check must then find images that are
//! wrong. Exit codes: 0 all as it must be, 1 not, 2 wrong arguments, 77 skipped because nothing can be mounted here.

#![allow(clippy::unwrap_used, reason = "test equipment fails by panicking")]

mod dice;
mod image;
mod recording;
mod workload;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::dice::Dice;
use crate::image::{Disk, Keep};
use crate::recording::{Op, Recorder, Recording};
use crate::workload::{Allowed, Outcome, Rows};

/// What to do.
#[derive(Clone, Debug)]
struct Plan {
    images: usize,
    rotations: usize,
    seed: u64,
    forget_syncs: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
struct Report {
    /// Things done to the file system, each a moment to cut at.
    boundaries: usize,
    syncs: usize,
    /// Names taken away, among them those of tables that a compaction replaced.
    removals: usize,
    images: usize,
    opened: usize,
    refused: usize,
    wrong: usize,
    /// Opened, with a state that is allowed but not the last.
    older_than_newest: usize,
    findings: Vec<String>,
}

/// Images are made in memory if there is room: they are read right away and thrown away.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Records a workload; the reason when nothing can be mounted.
fn record(plan: &Plan) -> Result<(Recording, Vec<Rows>), String> {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new();
    let session = recorder.mount(dir.path()).map_err(|error| format!("FUSE cannot be mounted: {error}"))?;
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::File::open(dir.path()).unwrap().sync_all().unwrap();
    let rotations = workload::run(dir.path(), &recorder, plan.rotations, &mut Dice::new(plan.seed)).unwrap();
    session.umount_and_join().unwrap();
    Ok((recorder.recording(), rotations))
}

/// Where to cut: half of the images evenly over everything that was done, half right before and after syncs.
fn cuts(recording: &Recording, images: usize) -> Vec<usize> {
    let mut syncs = Vec::new();
    for (at, op) in recording.ops.iter().enumerate() {
        if matches!(op, Op::SyncFile(_) | Op::SyncDir(_)) {
            syncs.extend([at, at + 1]);
        }
    }
    let all: Vec<usize> = (0..=recording.ops.len()).collect();
    let evenly = |from: &[usize], count: usize| -> Vec<usize> {
        if from.is_empty() {
            return Vec::new();
        }
        (0..count).map(|nth| from[nth * from.len() / count]).collect()
    };
    let mut cuts = evenly(&all, images.div_ceil(2));
    cuts.extend(evenly(&syncs, images / 2));
    cuts.sort_unstable();
    cuts
}

fn examine(plan: &Plan, recording: &Recording, rotations: &[Rows]) -> Report {
    let is_sync = |op: &Op| matches!(op, Op::SyncFile(_) | Op::SyncDir(_));
    let boundaries = recording.ops.iter().filter(|op| !matches!(op, Op::Note(_))).count();
    let syncs = recording.ops.iter().filter(|op| is_sync(op)).count();
    let removes = |op: &Op| matches!(op, Op::Names(names) if names.iter().all(|(_, _, node)| node.is_none()));
    let removals = recording.ops.iter().filter(|op| removes(op)).count();
    let mut report = Report { boundaries, syncs, removals, ..Report::default() };
    let mut disk = Disk::new(recording);
    let mut allowed = Allowed::new();
    let mut done = 0;
    for (nth, cut) in cuts(recording, plan.images).into_iter().enumerate() {
        for op in &recording.ops[done..cut] {
            if let Op::Note(note) = op {
                allowed.note(*note);
            }
            if !(plan.forget_syncs && is_sync(op)) {
                disk.apply(op);
            }
        }
        done = cut;
        let keep = Keep::ALL[nth % Keep::ALL.len()];
        let mut dice = Dice::new(plan.seed ^ ((nth as u64 + 1) << 20));
        let target = scratch();
        disk.write_image(keep, &mut dice, target.path()).unwrap();
        let outcome = workload::examine(target.path(), rotations, &allowed);
        report.images += 1;
        match &outcome {
            Outcome::Opened(rotation) => {
                report.opened += 1;
                report.older_than_newest += usize::from(Some(rotation) != allowed.rotations.last());
            }
            Outcome::Refused(why) => {
                report.refused += 1;
                report.findings.push(format!("image {nth}, cut at {cut}, {keep:?}: refused: {why}"));
            }
            Outcome::Wrong(why) => {
                report.wrong += 1;
                report.findings.push(format!("image {nth}, cut at {cut}, {keep:?}: wrong: {why}"));
            }
        }
    }
    report
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<(Plan, bool), String> {
    let mut plan = Plan { images: 500, rotations: 300, seed: 1, forget_syncs: false };
    let mut json = false;
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or(format!("{arg} needs a number"))?;
            text.parse::<u64>().map_err(|error| format!("{arg} {text}: {error}"))
        };
        let count = |number: u64| usize::try_from(number).map_err(|error| error.to_string());
        match arg.as_str() {
            "--images" => plan.images = count(number()?)?,
            "--rotations" => plan.rotations = count(number()?)?,
            "--seed" => plan.seed = number()?,
            "--forget-syncs" => plan.forget_syncs = true,
            "--json" => json = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok((plan, json))
}

fn main() -> ExitCode {
    let (plan, json) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    let (recording, rotations) = match record(&plan) {
        Ok(recorded) => recorded,
        Err(why) => {
            println!("skipped: {why}");
            if json {
                println!("{{\"skipped\":\"{}\"}}", why.replace(['"', '\\'], "'"));
            }
            return ExitCode::from(77);
        }
    };
    let report = examine(&plan, &recording, &rotations);
    let seconds = started.elapsed().as_secs_f64();
    for finding in report.findings.iter().take(20) {
        println!("{finding}");
    }
    let Report { boundaries, syncs, removals, images, opened, refused, wrong, older_than_newest, .. } = report;
    if json {
        println!(
            "{{\"boundaries\":{boundaries},\"syncs\":{syncs},\"removals\":{removals},\"rotations\":{},\"images\":{images},\"opened\":{opened},\
             \"older_than_newest\":{older_than_newest},\"refused\":{refused},\"wrong\":{wrong},\"seed\":{},\
             \"seconds\":{seconds:.1}}}",
            plan.rotations, plan.seed
        );
    } else {
        println!(
            "{images} images at {boundaries} boundaries ({syncs} syncs): {opened} opened, {refused} refused, \
             {wrong} wrong, {seconds:.1} s"
        );
    }
    if refused + wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests;
