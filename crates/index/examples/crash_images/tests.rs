use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::recording::{Note, ROOT};

fn plan() -> Plan {
    Plan { images: 48, rotations: 40, seed: 5, forget_syncs: false }
}

#[test]
fn every_image_is_the_store_as_of_a_rotation() {
    let (recording, rotations) = match record(&plan()) {
        Ok(recorded) => recorded,
        Err(why) => return println!("skipped: {why}"),
    };
    let report = examine(&plan(), &recording, &rotations);
    assert_eq!((report.images, report.opened), (48, 48), "{:#?}", report.findings);
    // The same with a disk that ignores syncs is found out: the check can fail.
    let report = examine(&Plan { forget_syncs: true, ..plan() }, &recording, &rotations);
    assert!(report.wrong > 0, "{report:#?}");
}

const FILE: u64 = 2;

fn recording() -> Recording {
    let create = |name: &str, node| Op::Names(vec![(ROOT, name.to_owned(), Some(node))]);
    let write = |at, byte, count| Op::Write { file: FILE, at, bytes: vec![byte; count] };
    let rename = vec![(ROOT, "a".to_owned(), None), (ROOT, "b".to_owned(), Some(FILE))];
    let ops = vec![
        create("a", FILE),
        write(0, 1, 600),
        Op::SyncFile(FILE),
        Op::SyncDir(ROOT),
        write(100, 2, 1_000),
        write(200, 3, 100),
        Op::Names(rename),
        Op::Note(Note::Writing(1)),
    ];
    Recording { ops, dirs: vec![ROOT] }
}

fn image(ops: usize, keep: Keep, seed: u64) -> BTreeMap<String, Vec<u8>> {
    let recording = recording();
    let mut disk = Disk::new(&recording);
    recording.ops[..ops].iter().for_each(|op| disk.apply(op));
    let dir = scratch();
    disk.write_image(keep, &mut Dice::new(seed), dir.path()).unwrap();
    let files = fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

fn one(name: &str, content: &[u8]) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([(name.to_owned(), content.to_vec())])
}

#[test]
fn what_was_synced_is_there_and_the_rest_may_be() {
    let synced = [1; 600];
    let mut all = vec![1; 1_100];
    all[100..].fill(2);
    all[200..300].fill(3);
    assert_eq!(image(2, Keep::Nothing, 0), BTreeMap::new());
    assert_eq!(image(3, Keep::Nothing, 0), BTreeMap::new(), "a file's sync is not its directory's");
    assert_eq!(image(3, Keep::Bytes, 0), BTreeMap::new());
    assert_eq!(image(2, Keep::Names, 0), one("a", &[0; 600]));
    assert_eq!(image(8, Keep::Nothing, 0), one("a", &synced));
    assert_eq!(image(8, Keep::Everything, 0), one("b", &all));
    assert_eq!(image(8, Keep::Bytes, 0), one("a", &all));
    assert_eq!(image(8, Keep::Names, 0), one("b", &[&synced[..], &[0; 500]].concat()));
}

#[test]
fn a_sector_is_in_one_of_the_states_it_was_in() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        for (name, content) in image(8, Keep::Anything, seed) {
            let sector = |nth: usize| &content[nth * 512..content.len().min((nth + 1) * 512)];
            let first = (sector(0)[150], sector(0)[250]);
            assert!([(1, 1), (2, 2), (2, 3)].contains(&first), "{first:?}");
            assert!(sector(0).iter().take(100).all(|byte| *byte == 1));
            let second = (sector(1)[0], sector(1)[511.min(sector(1).len() - 1)]);
            let length = content.len();
            assert!([600, 1_024, 1_100].contains(&length), "{length}");
            seen.insert((name, first, second, length));
        }
    }
    assert!(seen.len() > 20, "{}", seen.len());
}
