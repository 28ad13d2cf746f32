//! Opening a log: what is on the disk, and may it be believed.
//!
//! Only two things may be wrong without refusing to start, both being what a crash leaves: a tail that was not synced
//! and did not arrive whole, and files of a purge, truncation or reset that had been decided but not finished.
//! Everything else means that durable bytes are gone, and a replica that votes without them can lose acknowledged
//! messages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use timbermq_bugs::{Bug, planted};
use timbermq_env::{Env, OpenMode};
use timbermq_types::LogId;

use crate::error::OpenError;
use crate::frame;
use crate::hard_state::{self, Found, HardState, HardStateFile};
use crate::options::LogOptions;
use crate::reader::{CHUNK_BYTES, FrameReader};
use crate::scan::{self, Scanned};
use crate::seal::{self, Seal};
use crate::segment::{self, HEADER_BYTES, Segment, SegmentHeader, SegmentMap};
use crate::shared::{Shared, State};
use crate::tail_cache::TailCache;
use crate::upkeep::{Spare, Spares, Upkeep};
use crate::writer::{LogWriter, Tail, open_active};

/// What opening found.
pub struct Recovery {
    /// Bytes at the end that a crash had left incomplete and that were cut. None of them was acknowledged as durable.
    pub cut_bytes: u64,
    /// Bytes of frames that were read and verified.
    pub scanned_bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// The writer, where the world has no threads to run it on: to be stepped by the caller.
    pub writer: Option<LogWriter>,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery")
            .field("cut_bytes", &self.cut_bytes)
            .field("scanned_bytes", &self.scanned_bytes)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

/// Names and bases found in the directory.
struct Listing {
    /// Bases of the segments, ascending.
    bases: Vec<u64>,
    /// Bases that have a side file.
    seals: BTreeSet<u64>,
    spares: Vec<(u64, Spare)>,
}

/// 64-bit FNV-1a of the group's name.
pub(crate) fn group_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn list(env: &Env, dir: &Path) -> Result<Listing, OpenError> {
    let mut listing = Listing { bases: vec![], seals: BTreeSet::new(), spares: vec![] };
    for entry in env.disk.list(dir).map_err(OpenError::io("list", dir))? {
        if let Some(base) = segment::base_of(&entry.name) {
            listing.bases.push(base);
        } else if let Some(base) = seal::base_of(&entry.name) {
            listing.seals.insert(base);
        } else if let Some(number) = segment::spare_number(&entry.name) {
            listing.spares.push((number, Spare { path: dir.join(&entry.name), len: entry.len }));
        } else if entry.name != hard_state::FILE_NAME && entry.name != hard_state::NEW_FILE_NAME {
            tracing::warn!(name = entry.name, dir = %dir.display(), "log.unknown_file");
        }
    }
    listing.bases.sort_unstable();
    listing.spares.sort_unstable_by_key(|(number, _)| *number);
    Ok(listing)
}

/// Reads the hard state, or creates it for an empty directory.
fn hard_state(
    env: &Env,
    dir: &Path,
    options: &LogOptions,
    listing: &Listing,
) -> Result<(HardStateFile, HardState), OpenError> {
    let path = dir.join(hard_state::FILE_NAME);
    let found = HardStateFile::find(&*env.disk, dir).map_err(OpenError::io("read", &path))?;
    let group = group_hash(&options.group);
    match found {
        Found::State(_, state) if state.group != group => {
            Err(OpenError::WrongGroup { path, group: options.group.clone() })
        }
        Found::State(file, state) => Ok((file, state)),
        Found::Unreadable | Found::Missing if planted(Bug::HardStateReset) => {
            // An epoch above all that may be in the log, which starts where the log will be found to end.
            let state = HardState { group, epoch: u32::MAX / 2, epoch_start: u64::MAX, ..HardState::default() };
            let file = HardStateFile::create(&*env.disk, dir, &state).map_err(OpenError::io("create", &path))?;
            Ok((file, state))
        }
        Found::Unreadable => Err(OpenError::HardState {
            path,
            detail: "neither copy is intact, so what this replica voted is unknown".into(),
        }),
        Found::Missing if !listing.bases.is_empty() => Err(OpenError::HardState {
            path,
            detail: format!("it is missing, but the log has {} segment files", listing.bases.len()),
        }),
        Found::Missing => {
            let state = HardState { group, ..HardState::default() };
            let file = HardStateFile::create(&*env.disk, dir, &state).map_err(OpenError::io("create", &path))?;
            Ok((file, state))
        }
    }
}

/// Opens the segment at `base` and checks that its header speaks of this file and group.
fn open_segment(env: &Env, dir: &Path, base: u64, options: &LogOptions) -> Result<Segment, OpenError> {
    let path = segment::path_of(dir, base);
    let file = env.disk.open(&path, OpenMode::ReadWrite).map_err(OpenError::io("open", &path))?;
    let mut block = vec![0; HEADER_BYTES as usize];
    let read = file.read_at(&mut block, 0).map_err(OpenError::io("read", &path))?;
    let damaged = |detail: &str| OpenError::Damaged {
        path: path.clone(),
        offset: 0,
        position: base,
        index: 0,
        detail: detail.to_owned(),
    };
    let (header, seed) =
        SegmentHeader::decode(&block[..read]).ok_or_else(|| damaged("the segment's header is not intact"))?;
    if header.group != group_hash(&options.group) {
        return Err(OpenError::WrongGroup { path, group: options.group.clone() });
    }
    if header.base != base {
        return Err(damaged(&format!("the header is that of the segment at {}", header.base)));
    }
    Ok(Segment { header, seed, path, file: Arc::from(file) })
}

/// The segments that belong to the log, and the paths of those that no longer do.
fn choose(
    env: &Env,
    dir: &Path,
    options: &LogOptions,
    listing: &Listing,
    hard: &HardState,
) -> Result<(Vec<Segment>, Vec<PathBuf>), OpenError> {
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for &base in &listing.bases {
        let segment = open_segment(env, dir, base, options)?;
        let header = &segment.header;
        if header.epoch > hard.epoch {
            let detail = format!("it is older than {}, which is of epoch {}", segment.path.display(), header.epoch);
            return Err(OpenError::HardState { path: dir.join(hard_state::FILE_NAME), detail });
        }
        let reset = header.epoch < hard.reset_epoch;
        let cut = base >= hard.epoch_start && header.epoch < hard.epoch;
        if reset || cut { gone.push(segment.path) } else { kept.push(segment) }
    }
    // Purged: everything before the last segment that starts at or before the mark.
    let first = kept.partition_point(|segment| segment.header.base <= hard.purged_end).saturating_sub(1);
    gone.extend(kept.drain(..first).map(|segment| segment.path));
    Ok((kept, gone))
}

/// Checks that the first segment connects to what was purged.
fn check_start(dir: &Path, kept: &[Segment], hard: &HardState) -> Result<(), OpenError> {
    let fit = |detail: String| Err(OpenError::Segments { dir: dir.to_owned(), detail });
    let Some(first) = kept.first() else {
        if hard.durable > hard.purged_end {
            return fit(format!(
                "no segment is left, but the log was durable from position {} to {}",
                hard.purged_end, hard.durable
            ));
        }
        return Ok(());
    };
    let header = &first.header;
    if header.base > hard.purged_end {
        return fit(format!("the segment at {} is the first, but the log starts at {}", header.base, hard.purged_end));
    }
    if header.base == hard.purged_end && header.first_index != hard.first_index() {
        return fit(format!(
            "the segment at {} starts with entry {}, not {}",
            header.base,
            header.first_index,
            hard.first_index()
        ));
    }
    Ok(())
}

/// The side file of `segment`, if it is intact and agrees with the headers on both sides.
fn believable_seal(
    env: &Env,
    dir: &Path,
    segment: &Segment,
    next: &SegmentHeader,
    hard: &HardState,
) -> Result<Option<Seal>, OpenError> {
    let path = seal::path_of(dir, segment.header.base);
    let file = env.disk.open(&path, OpenMode::Read).map_err(OpenError::io("open", &path))?;
    let len = file.len().map_err(OpenError::io("read", &path))?;
    if len > seal::SEAL_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; len as usize];
    let read = file.read_at(&mut bytes, 0).map_err(OpenError::io("read", &path))?;
    Ok(Seal::decode(&bytes[..read]).filter(|seal| {
        seal.seed == segment.seed
            && seal.end == next.base
            && Some(seal.last) == next.prev
            && seal.last_crc == next.prev_crc
            && hard.mark.is_none_or(|(position, crc)| position != seal.end || crc == seal.last_crc)
            && seal.first.index.0 == segment.header.first_index
            && seal.terms.first() == Some(&seal.first)
            && seal.terms.last().is_some_and(|start| start.term == seal.last.term && start.index <= seal.last.index)
            && seal
                .marks
                .first()
                .is_some_and(|mark| mark.index == segment.header.first_index && mark.position == segment.header.base)
    }))
}

/// What the segments hold.
#[derive(Default)]
struct Contents {
    maps: Vec<SegmentMap>,
    terms: Vec<LogId>,
    scanned_bytes: u64,
    cut_bytes: u64,
    /// Everything before this position is known to have been synced.
    proven: u64,
}

impl Contents {
    fn push(&mut self, map: SegmentMap, terms: &[LogId]) {
        for id in terms {
            State::note_term(&mut self.terms, *id);
        }
        self.maps.push(map);
    }
}

/// Reads or believes every segment.
fn read_all(
    env: &Env,
    dir: &Path,
    kept: Vec<Segment>,
    seals: &BTreeSet<u64>,
    hard: &HardState,
) -> Result<Contents, OpenError> {
    let mut contents = Contents::default();
    let headers: Vec<SegmentHeader> = kept.iter().map(|segment| segment.header).collect();
    for (at, segment) in kept.into_iter().enumerate() {
        if at > 0 {
            check_joint(dir, &contents.maps[at - 1], &segment.header)?;
        }
        let segment = Arc::new(segment);
        let Some(next) = headers.get(at + 1) else {
            let Scanned { map, proven, terms, cut_bytes } = scan::last(&segment, hard)?;
            contents.scanned_bytes += map.end - segment.header.base;
            contents.cut_bytes = cut_bytes;
            contents.proven = proven.max(hard.durable).max(hard.epoch_start);
            contents.push(map, &terms);
            break;
        };
        let seal =
            if seals.contains(&segment.header.base) { believable_seal(env, dir, &segment, next, hard)? } else { None };
        if let Some(seal) = seal {
            let map = SegmentMap {
                segment,
                marks: seal.marks,
                end: seal.end,
                first: Some(seal.first),
                last: Some(seal.last),
                last_crc: seal.last_crc,
            };
            contents.push(map, &seal.terms);
        } else {
            let Scanned { map, terms, .. } = scan::whole(&segment, next.base, hard)?;
            contents.scanned_bytes += map.end - segment.header.base;
            contents.push(map, &terms);
        }
    }
    Ok(contents)
}

/// Checks that the segment with header `next` continues what `before` holds.
fn check_joint(dir: &Path, before: &SegmentMap, next: &SegmentHeader) -> Result<(), OpenError> {
    if before.end == next.base && before.last == next.prev && before.last_crc == next.prev_crc {
        return Ok(());
    }
    let last = before.last.map_or_else(|| "no entry".to_owned(), |id| format!("entry {id}"));
    let prev = next.prev.map_or_else(|| "no entry".to_owned(), |id| format!("entry {id}"));
    Err(OpenError::Segments {
        dir: dir.to_owned(),
        detail: format!(
            "{} ends at position {} with {last}, but the next segment continues at {} after {prev}",
            before.segment.path.display(),
            before.end,
            next.base
        ),
    })
}

/// See [`CommitLog::open`](crate::CommitLog::open).
pub(crate) fn open(env: &Env, dir: &Path, options: LogOptions) -> Result<(Arc<Shared>, Recovery), OpenError> {
    if let Some(problem) = options.problem() {
        return Err(OpenError::Options(problem));
    }
    env.disk.create_dir_all(dir).map_err(OpenError::io("create", dir))?;
    let listing = list(env, dir)?;
    let (mut hard_file, mut hard) = hard_state(env, dir, &options, &listing)?;
    let (kept, mut gone) = choose(env, dir, &options, &listing, &hard)?;
    check_start(dir, &kept, &hard)?;
    let mut contents = read_all(env, dir, kept, &listing.seals, &hard)?;
    // A segment without an entry is made again when one comes.
    if contents.maps.last().is_some_and(|map| map.last.is_none())
        && let Some(map) = contents.maps.pop()
    {
        gone.push(map.segment.path.clone());
        // What comes before a successor was synced.
        contents.proven = map.segment.header.base;
    }
    let end = contents.maps.last().map_or(hard.purged_end, |map| map.end);
    let last = contents.maps.last().map_or(hard.purged, |map| map.last);
    let crc = contents.maps.last().map_or(0, |map| map.last_crc);
    check_end(dir, &contents, end, last, &hard)?;
    check_term(dir, &contents, last, &hard)?;

    // From here on the disk is changed. What was found may be in the page cache only, and a process that died cannot
    // have acknowledged it wrongly; but from now on it is relied on.
    let hard_path = hard_file.path().to_owned();
    hard_file.confirm(&hard).map_err(OpenError::io("write", &hard_path))?;
    if let Some(map) = contents.maps.last() {
        write_again(map, contents.proven).map_err(OpenError::io("write", &map.segment.path))?;
    }
    for path in &gone {
        env.disk.remove(path).map_err(OpenError::io("remove", path))?;
    }
    let bases: BTreeSet<u64> = contents.maps.iter().map(|map| map.segment.header.base).collect();
    for base in listing.seals.difference(&bases) {
        let path = seal::path_of(dir, *base);
        env.disk.remove(&path).map_err(OpenError::io("remove", &path))?;
    }
    let spares = keep_spares(env, &options, listing.spares)?;
    env.disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
    hard.epoch += 1;
    hard.epoch_start = end;
    hard.durable = end;
    hard.mark = contents.maps.last().map(|map| (map.end, map.last_crc));
    hard_file.store(&hard).map_err(OpenError::io("write", &hard_path))?;
    if contents.cut_bytes > 0 {
        tracing::warn!(bytes = contents.cut_bytes, end, ?last, "log.torn_tail_cut");
    }
    let next = last.map_or(0, |id| id.index.0 + 1);
    State::trim_terms(&mut contents.terms, hard.first_index(), next);
    let recovered = Recovered { hard_file, hard, contents, spares, tail: Tail { last, crc, position: end } };
    start(env, dir, options, recovered)
}

/// Refuses a log that is shorter than what is known to have been in it.
fn check_end(
    dir: &Path,
    contents: &Contents,
    end: u64,
    last: Option<LogId>,
    hard: &HardState,
) -> Result<(), OpenError> {
    let missing = if planted(Bug::TornTailAnywhere) {
        return Ok(());
    } else if end < hard.durable {
        format!("position {} was durable", hard.durable)
    } else if let Some(committed) = hard.committed.filter(|id| last.is_none_or(|last| last.index < id.index)) {
        format!("entry {committed} was committed and durable")
    } else if let Some(purged) = hard.purged.filter(|id| last.is_none_or(|last| last.index < id.index)) {
        format!("entry {purged} was there when it was purged")
    } else {
        return Ok(());
    };
    let map = contents.maps.last();
    Err(OpenError::Damaged {
        path: map.map_or_else(|| dir.to_owned(), |map| map.segment.path.clone()),
        offset: map.map_or(0, |map| map.segment.offset_of(end)),
        position: end,
        index: last.map_or(0, |id| id.index.0 + 1),
        detail: format!("the log ends here, but {missing}"),
    })
}

/// Refuses a log that goes on with an older term than that of the entry it was purged up to.
fn check_term(dir: &Path, contents: &Contents, last: Option<LogId>, hard: &HardState) -> Result<(), OpenError> {
    let Some(purged) = hard.purged.filter(|purged| last.is_some_and(|last| last.index > purged.index)) else {
        return Ok(());
    };
    let next = contents.terms.iter().rev().find(|start| start.index.0 <= purged.index.0.saturating_add(1));
    match next {
        Some(start) if start.term < purged.term => Err(OpenError::Segments {
            dir: dir.to_owned(),
            detail: format!("the log was purged up to entry {purged}, but goes on with term {}", start.term),
        }),
        _ => Ok(()),
    }
}

/// Writes the entries behind `proven` again and syncs them. They may be in the page cache only, and if a sync that failed
/// left them there, the kernel believes that they are on the disk: another sync alone would do nothing.
fn write_again(map: &SegmentMap, proven: u64) -> std::io::Result<()> {
    let segment = &map.segment;
    let from = map.marks.iter().rev().find(|mark| mark.position <= proven).or(map.marks.first());
    if let (Some(from), true) = (from, proven < map.end) {
        let mut reader = FrameReader::new(segment, from.position, CHUNK_BYTES);
        let (mut index, mut buffer) = (from.index, Vec::new());
        while reader.position() < map.end {
            let frame = reader.expect(index)?;
            index += 1;
            if frame.position < proven {
                continue;
            }
            let header = frame.header;
            let context = frame::Context {
                seed: segment.seed,
                prev: header.prev,
                behind: u64::from(header.behind),
                epoch: header.epoch,
            };
            let position = frame.position;
            buffer.clear();
            frame::encode(&mut buffer, header.id, header.kind, &frame.into_payload(), &context);
            segment.file.write_at(&buffer, segment.offset_of(position))?;
        }
    }
    segment.file.sync_data()
}

/// Keeps the first spare files, as many as are wanted and no larger than a segment.
fn keep_spares(env: &Env, options: &LogOptions, found: Vec<(u64, Spare)>) -> Result<Spares, OpenError> {
    let mut spares = Spares { next_number: found.last().map_or(0, |(number, _)| *number), ..Spares::default() };
    for (_, spare) in found {
        if spares.files.len() < options.spare_segments_max && spare.len <= options.segment_bytes {
            spares.files.push(spare);
        } else {
            env.disk.remove(&spare.path).map_err(OpenError::io("remove", &spare.path))?;
        }
    }
    Ok(spares)
}

/// Tells what was found: where each term starts, then the bounds and the vote.
fn tell(state: &State) {
    for start in &state.terms {
        crate::spec_event!("recovered_term", index = start.index.0, term = start.term.0);
    }
    let next = |id: Option<LogId>| id.map_or(0, |id| id.index.0 + 1);
    crate::spec_event!(
        "recovered",
        purged = state.first_index(),
        purged_term = state.purged.map_or(0, |id| id.term.0),
        next = state.next_index(),
        committed = next(state.committed),
        vote_term = state.vote.map_or(0, |vote| vote.term.0),
        voted_for = state.vote.and_then(|vote| vote.node).map_or(0, |node| node.0),
        vote_committed = state.vote.is_some_and(|vote| vote.committed),
    );
}

struct Recovered {
    hard_file: HardStateFile,
    hard: HardState,
    contents: Contents,
    spares: Spares,
    tail: Tail,
}

/// Starts the writer and the upkeep on threads of their own, or hands the writer out.
fn start(
    env: &Env,
    dir: &Path,
    options: LogOptions,
    recovered: Recovered,
) -> Result<(Arc<Shared>, Recovery), OpenError> {
    let Recovered { hard_file, hard, contents, spares, tail } = recovered;
    let segments = contents.maps.len();
    let last_segment = contents.maps.last().map(|map| Arc::clone(&map.segment));
    let state = State {
        vote: hard.vote,
        purged: hard.purged,
        purged_end: hard.purged_end,
        last: tail.last,
        end: tail.position,
        terms: contents.terms,
        committed: hard.committed,
        cache: TailCache::default(),
        segments: contents.maps.into(),
        written_next: tail.last.map_or(0, |id| id.index.0 + 1),
        synced_end: tail.position,
        timeline: 0,
        layout: 0,
    };
    let shared = Arc::new(Shared::new(env.clone(), dir.to_owned(), options, state));
    tell(&shared.state());
    let active = match last_segment {
        None => None,
        Some(segment) => {
            let open = || open_active(&shared, Arc::clone(&segment), segment.file.len()?);
            Some(open().map_err(OpenError::io("open", &segment.path))?)
        }
    };
    let upkeep = Arc::new(Upkeep::new(Arc::clone(&shared), spares));
    let mut writer = LogWriter::new(Arc::clone(&upkeep), hard_file, hard, active, tail);
    let thread = Arc::clone(&upkeep);
    if env.tasks.thread("log-upkeep", Box::new(move || thread.run())).is_err() {
        writer.step_upkeep();
    }
    // A thread that does not come to be gives its work back as a closure; the writer must survive that.
    let slot = Arc::new(Mutex::new(Some(writer)));
    let take = |slot: &Mutex<Option<LogWriter>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let thread = Arc::clone(&slot);
    let run = move || {
        if let Some(writer) = take(&thread) {
            writer.run();
        }
    };
    let writer = match env.tasks.thread("log-writer", Box::new(run)) {
        Ok(()) => None,
        Err(_) => take(&slot),
    };
    tracing::info!(
        dir = %dir.display(), segments, scanned_bytes = contents.scanned_bytes, end = shared.state().end, "log.opened"
    );
    let recovery = Recovery { cut_bytes: contents.cut_bytes, scanned_bytes: contents.scanned_bytes, segments, writer };
    Ok((shared, recovery))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_numbered_on_from_those_that_are_there() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = timbermq_host::env_on(runtime.handle().clone());
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { segment_bytes: 100, spare_segments_max: 2, ..LogOptions::default() };
        let found = [(3, 100), (5, 101), (6, 40), (7, 100)].map(|(number, len)| {
            let path = dir.path().join(format!("found-{number}"));
            std::fs::write(&path, vec![0; len as usize]).unwrap();
            (number, Spare { path, len })
        });
        let mut spares = keep_spares(&env, &options, found.into()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["found-3", "found-6"], "one was too long, one too many");
        assert_eq!(spares.files.len(), 2);
        assert_eq!(spares.next_path(dir.path()), dir.path().join(segment::spare_name(8)));
    }
}
