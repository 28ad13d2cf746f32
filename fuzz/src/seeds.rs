//! The first inputs of each target: captured frames taken apart, values of our own, and for inputs that are scripts a
//! sequence of random bytes. `cargo run --example seeds` writes them to the corpora; what fuzzing finds joins them there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::read::ZlibDecoder;
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{
    CommitOffsets, EntryPlace, LeaderStarted, Lock, Machine, Mark, MemoryStore, OffsetCommit, Proposal, PutGroup,
    PutTopic, Trim,
};
use timbermq_record::{BatchItem, RecordBuilder};
use timbermq_remoting::body::{DataVersion, JsonBody, RegisterBrokerBody, TopicConfig as TopicBody, TopicConfigTable};
use timbermq_remoting::{FrameDecoder, RemotingCommand, RequestCode, SerializeType};
use timbermq_types::{
    GroupConfig, GroupName, LogId, LogIndex, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, TopicName,
    UnixMillis,
};

use crate::targets::namesrv;

/// Most seeds of one kind taken from captured frames.
const CAPTURED_MAX: usize = 24;

/// An input and the target it is for.
pub struct Seed {
    /// Name of the target.
    pub target: &'static str,
    /// The input.
    pub input: Vec<u8>,
}

/// Every seed.
///
/// # Errors
/// The captured frames cannot be read.
pub fn all() -> io::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    captured(&mut seeds)?;
    texts(&mut seeds);
    records(&mut seeds);
    peers(&mut seeds);
    files(&mut seeds);
    machine(&mut seeds);
    for (target, lengths) in [("log_recovery", [60, 400]), ("machine_apply", [80, 900])] {
        for number in 0u64..16 {
            let len = lengths[usize::from(number >= 8)];
            add(&mut seeds, target, &[], &random(number, len));
        }
    }
    Ok(seeds)
}

fn add(seeds: &mut Vec<Seed>, target: &'static str, head: &[u8], rest: &[u8]) {
    seeds.push(Seed { target, input: [head, rest].concat() });
}

/// `len` bytes from a seed.
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn frames_under(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            frames_under(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "bin") {
            found.push(path);
        }
    }
    Ok(())
}

/// Takes one frame in turn of each code and direction, so that few frames have many shapes.
fn captured(seeds: &mut Vec<Seed>) -> io::Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/remoting/testdata/golden");
    let mut files = Vec::new();
    frames_under(&golden, &mut files)?;
    files.sort();
    let mut shapes = std::collections::BTreeMap::<_, usize>::new();
    let mut count = |what: &'static str, shape: i64| {
        let seen = shapes.entry((what, shape)).or_default();
        *seen += 1;
        let total = shapes.entry((what, i64::MIN)).or_default();
        *total += 1;
        *total <= CAPTURED_MAX
    };
    let mut taken = std::collections::BTreeSet::new();
    for file in &files {
        let bytes = fs::read(file)?;
        let mut stream = BytesMut::from(&bytes[..]);
        let Ok(Some(command)) = FrameDecoder::default().decode(&mut stream) else { continue };
        let frame = &bytes[..bytes.len() - stream.len()];
        let shape = i64::from(command.code) * 4 + i64::from(command.is_response()) * 2;
        let shape = shape + i64::from(command.serialize == SerializeType::Binary);
        if !taken.insert((file.parent().map(Path::to_owned), shape)) || frame.len() > 2000 {
            continue;
        }
        if count("frame", shape) {
            add(seeds, "frame_stream", &[16, 0], frame);
        }
        if let Some(header) = &command.raw_header
            && count("header", shape)
        {
            add(seeds, "frame_header", &[u8::from(command.serialize == SerializeType::Binary)], header);
        }
        let fields: String = command.ext.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        if !fields.is_empty() && count("fields", shape) {
            add(seeds, "typed_header", &[(shape % 53).unsigned_abs() as u8], fields.as_bytes());
        }
        if command.body.first() == Some(&b'{') && count("json", shape) {
            add(seeds, "json_body", &[128], &command.body);
        }
        for name in ["i", "properties"] {
            if let Some(text) = command.ext.get(name).filter(|text| !text.is_empty())
                && count("properties", shape)
            {
                add(seeds, "properties", text.as_bytes(), b"\nTAGS=t\n-KEYS");
            }
        }
        if !command.is_response() && command.request_code() == RequestCode::SEND_BATCH_MESSAGE {
            add(seeds, "batch_body", &[0], &command.body);
        }
        if !command.is_response() && command.request_code() == RequestCode::REGISTER_BROKER {
            add(seeds, "registration", &[0], &command.body);
            let mut plain = Vec::new();
            if io::Read::read_to_end(&mut ZlibDecoder::new(&command.body[..]), &mut plain).is_ok() {
                add(seeds, "registration", &[2 | 4], &plain);
            }
        }
        if !command.is_response()
            && let Some(request) = namesrv_request(&command)
            && count("namesrv", shape)
        {
            add(seeds, "namesrv", &[], &request);
        }
        if command.is_response() && command.body.get(4..8) == Some(&timbermq_record::layout::MAGIC_V1.to_be_bytes()) {
            add(seeds, "record", &[], &command.body);
        }
    }
    Ok(())
}

/// A request to a NameServer in the form of that target.
fn namesrv_request(request: &RemotingCommand) -> Option<Vec<u8>> {
    let mut codes = timbermq_remoting::code::REQUEST_KINDS
        .iter()
        .filter(|kind| kind.receiver == timbermq_remoting::code::Receiver::NameServer);
    let code = u8::try_from(codes.position(|kind| kind.code == request.request_code())?).ok()?;
    let fields: Vec<(u8, &str)> = request
        .ext
        .iter()
        .filter_map(|(name, value)| {
            let at = namesrv::FIELDS.iter().position(|field| *field == name)?;
            // A checksum that is left out is made right.
            let value = if name == "bodyCrc32" { "" } else { value };
            Some((u8::try_from(at).ok()?, value)).filter(|(_, value)| value.len() < 256)
        })
        .take(15)
        .collect();
    let mut out = vec![code, 0, 6, u8::try_from(fields.len()).ok()?];
    for (at, value) in fields {
        out.extend([at, u8::try_from(value.len()).ok()?]);
        out.extend(value.as_bytes());
    }
    out.extend(u16::try_from(request.body.len()).ok()?.to_le_bytes());
    out.extend(&request.body);
    Some(out)
}

fn texts(seeds: &mut Vec<Seed>) {
    for text in ["*", "TagA", "TagA || TagB", "a\nb||a", "A\n A||B || A ||", "\u{1f600}\n\u{1f600}|| |"] {
        add(seeds, "tag_filter", &[], text.as_bytes());
    }
    for text in [
        "0A00000100002A9F0000000000001234",
        "FD00000000000000000000000000000100002A9F0000000000001234",
        "0A00000100012A9FFFFFFFFFFFFFFFFF",
    ] {
        add(seeds, "message_id", &[], text.as_bytes());
    }
    for text in [
        r#"{"offsetTable":{{"brokerName":"b","queueId":1,"topic":"t"}:5}}"#,
        r#"{"offsetTable":[{"brokerName":"b","queueId":1,"topic":"t","offset":5}]}"#,
        r#"{"consumerTable":{"c":{{"brokerName":"b","queueId":1,"topic":"t"}:5}},"messageQueueTable":{}}"#,
        r#"{brokerAddrs:{0:"a:1",1:'b:2',},brokerName:"b","zoneName":null}"#,
        r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":0,"subscriptionDataSet":[{"codeSet":["1",2.5],"subVersion":"7"}]}]}"#,
        r#"{"attributes":{"+k":"v\u00e9\ud83d\ude00"},"groupRetryPolicy":{"a":[1,-2.5e3,true,null]}}"#,
        r#"{"topicPutTps":0.5,"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":1,\"topic\":\"t\"}":{"maxOffset":9}}}"#,
    ] {
        add(seeds, "json_body", &[128], text.as_bytes());
    }
    let toml = "[log]\nsegment_bytes = \"64MiB\"\n[group]\nmembers = [\"1@a:10912/a:10911\"]\n[retention]\ndisk_watermark = 0.5\n";
    let lines =
        "node.id=1\n$TIMBERMQ_RAFT_HEARTBEAT=50ms\nlisten.vip=off\nnamesrvAddr=a:1;b:2\nraft.heartbeat=1s 500ms";
    let mut file = u16::try_from(toml.len()).unwrap_or_default().to_le_bytes().to_vec();
    file.extend(toml.as_bytes());
    file.extend(lines.as_bytes());
    for role in 0..3 {
        add(seeds, "config", &[role], &file);
    }
    let topic =
        TopicBody { topic_name: "T1".into(), attributes: [("+a".into(), "b".into())].into(), ..TopicBody::default() };
    let topics = TopicConfigTable {
        data_version: DataVersion { counter: 1, state_version: 3, timestamp: 7 },
        topic_config_table: [("T1".to_owned(), topic)].into(),
    };
    let body = RegisterBrokerBody { filter_server_list: vec!["f".into()], topics };
    add(seeds, "registration", &[1 | 4], &body.to_compressed(453));
    add(seeds, "registration", &[1], &body.to_compressed(399));
    add(seeds, "registration", &[0], &body.to_json());
}

fn records(seeds: &mut Vec<Seed>) {
    let record = |builder: RecordBuilder<'_>| {
        let mut bytes = BytesMut::new();
        builder.encode(&mut bytes).expect("a legal record");
        bytes
    };
    let plain = RecordBuilder { properties: "TAGS\u{1}a\u{2}KEYS\u{1}k l\u{2}", ..RecordBuilder::new("T", b"body") };
    let v6 = std::net::SocketAddr::from(([0xfd; 16], 10911));
    let long = "t".repeat(200);
    let both = [
        &record(plain)[..],
        &record(RecordBuilder { born_host: v6, store_host: v6, ..RecordBuilder::new(&long, b"") })[..],
    ];
    for bytes in both {
        add(seeds, "record", &[], bytes);
    }
    add(seeds, "record", &[], &both.concat());
    let mut batch = BytesMut::new();
    for (body, properties) in [(&b"one"[..], "TAGS\u{1}a"), (b"", "")] {
        BatchItem { flag: 3, body, properties }.encode(&mut batch).expect("a legal message");
    }
    add(seeds, "batch_body", &[0], &batch);
    add(seeds, "batch_body", &[1], &batch);
}

/// Little-endian fields.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(self, value: &[u8]) -> Self {
        let mut out = self.u32(u32::try_from(value.len()).unwrap_or_default());
        out.0.extend(value);
        out
    }

    fn vote(self) -> Self {
        self.u64(3).u64(1).u8(1)
    }

    fn id(self, term: u64, index: u64) -> Self {
        self.u8(1).u64(term).u64(index)
    }
}

fn membership() -> Vec<u8> {
    let one = Fields::default().u8(2).u32(1).u32(1).u64(7).u32(1).u64(7).u64(0x0123_4567_89AB_CDEF).u32(0);
    one.bytes(b"p:1").bytes(b"b:2").0
}

fn peers(seeds: &mut Vec<Seed>) {
    let fields = Fields::default;
    let append = fields().vote().id(2, 9).id(2, 8).u32(3);
    let append = append.u64(3).u64(10).u8(0).u32(0);
    let append = append.u64(3).u64(11).u8(1).bytes(b"batch");
    let append = append.u64(3).u64(12).u8(2).bytes(&membership());
    let hello = fields().u32(0x5054_4D54);
    let hello = || Fields(hello.0.clone()).u8(2).u8(0);
    let messages = [
        append.0,
        fields().u8(3).vote().0,
        fields().vote().id(2, 9).u8(1).0,
        fields().vote().u8(1).id(2, 9).0,
        fields().vote().u64(2).id(2, 9).0,
        fields().id(1, 2).u8(0).u32(500_000).u64(4096).0,
        fields().vote().id(3, 30).id(1, 0).bytes(&membership()).u64(4096).u64(10).u32(11).0,
        fields().u64(100).u64(7).0,
        fields().vote().0,
        hello().bytes(b"c").bytes(b"g").u64(1).u64(2).u64(3).0,
        hello().u8(0).u64(9).0,
        membership(),
    ];
    let mut stream = Vec::new();
    for (which, message) in (0..).zip(&messages) {
        add(seeds, "peer_message", &[which], message);
        if which > 3 {
            stream.extend(timbermq_replica::fuzzing::frame_bytes(which, 1, Bytes::copy_from_slice(message)));
        }
    }
    add(seeds, "peer_stream", &[5, 1], &stream);
    add(seeds, "peer_stream", &[200, 0], &stream[..150]);
    add(seeds, "peer_stream", &[3, 3], &[7, 1, 3, b'a', b'b', b'c', 9, 220, 0]);
}

fn files(seeds: &mut Vec<Seed>) {
    let fields = Fields::default;
    let mut frame = vec![0; 48];
    frame[8] = 1;
    frame[32] = 1;
    frame[33] = 0xA7;
    add(seeds, "log_format", &[4], &frame);
    let mut header = fields().u32(0x4753_4d54).u32(1);
    for word in [5, 8192, 7, 1, 4, 6, 9, 3, 77, 0, 0] {
        header = header.u64(word);
    }
    add(seeds, "log_format", &[5], &header.0);
    let mut seal = fields().u32(0x4c53_4d54).u32(1);
    for word in [9, 1 << 20, 1, 5, 3, 900, 11, 2, 1, 1, 5, 3, 700, 5, 4096] {
        seal = seal.u64(word);
    }
    add(seeds, "log_format", &[6], &seal.u32(0).0);
    let mut hard = fields().u32(0x5348_4d54).u32(2);
    for word in [77, 5, 7, 3, 2, 1, 1, 9, 1, 3, 40, 4096, 8192, 6, 5000, 2, 1, 4096, 7] {
        hard = hard.u64(word);
    }
    add(seeds, "log_format", &[7], &hard.u64(0).u32(0).u32(0).0);

    let mut snapshot = vec![0; 20];
    snapshot.extend(b"dump");
    add(seeds, "snapshot_file", &[4], &snapshot);
    let identity = fields().u32(0).u8(1).bytes(b"c").bytes(b"g").u64(1).u32(0).u64(9);
    add(seeds, "snapshot_file", &[5], &identity.0);
    let peers = fields().u32(0).u8(1).u32(2).u64(1).u64(7).u64(2).u64(8);
    add(seeds, "snapshot_file", &[6], &peers.0);
    add(seeds, "snapshot_file", &[7 | 12 << 3], &[1]);
}

fn machine(seeds: &mut Vec<Seed>) {
    let name = |name: &str| TopicName::new(name).expect("a legal name");
    let group = || GroupName::new("g").expect("a legal name");
    let mut record = BytesMut::new();
    let properties = "TAGS\u{1}a\u{2}KEYS\u{1}a b\u{2}UNIQ_KEY\u{1}0\u{2}";
    let builder = RecordBuilder { properties, ..RecordBuilder::new("T", b"body") };
    builder.encode(&mut record).expect("a legal record");
    let commit = OffsetCommit {
        group: group(),
        topic: name("T"),
        queue: QueueId(0),
        offset: QueueOffset(3),
        allow_lower: false,
    };
    let commands: Vec<Proposal> = vec![
        PutTopic { config: TopicConfig::new(name("T"), 4), if_absent: false }.into(),
        Proposal::send(record.freeze()).expect("legal records"),
        PutGroup { config: GroupConfig::new(group()), if_absent: true }.into(),
        CommitOffsets { offsets: vec![commit] }.into(),
        Lock { group: group(), client: "c".into(), queues: vec![(name("T"), QueueId(0))] }.into(),
        LeaderStarted { node: NodeId(1), term: Term(1) }.into(),
        Mark {}.into(),
        Trim { to: LogIndex(0) }.into(),
    ];
    let seal = |commands: &[Proposal]| {
        let mut builder = BatchBuilder::new();
        for command in commands {
            builder.push(command);
        }
        builder.seal(UnixMillis(1_700_000_000_000))
    };
    for command in &commands {
        add(seeds, "machine_batch", &[1], &seal(std::slice::from_ref(command)));
    }
    let all = seal(&commands);
    add(seeds, "machine_batch", &[0], &all);

    let mut machine = Machine::open(Arc::new(MemoryStore::new())).expect("an empty store");
    let mut position = LogPosition(40);
    for (index, payload) in (0..).zip([all, seal(&[Trim { to: LogIndex(0) }.into()])]) {
        let end = position.plus(payload.len() as u64);
        let place = EntryPlace { id: LogId::new(Term(1), LogIndex(index)), position, end };
        machine.apply(&place, &payload).expect("a batch of our own");
        position = end.plus(40);
    }
    let snapshot = machine.current_snapshot().expect("a store of our own").expect("there was a trim");
    add(seeds, "snapshot_dump", &[0], &snapshot.dump);
    add(seeds, "snapshot_dump", &[1], &dump_rows(&snapshot.dump));
}

/// A dump in the row form of its target.
fn dump_rows(dump: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = &dump[1..dump.len() - 4];
    while let Some((key_len, tail)) = rest.split_first_chunk::<4>() {
        let Some((value_len, tail)) = tail.split_first_chunk::<4>() else { break };
        let (key, tail) = tail.split_at(u32::from_le_bytes(*key_len) as usize);
        let (value, tail) = tail.split_at(u32::from_le_bytes(*value_len) as usize);
        // An envelope says its own length.
        let enveloped = value.len() >= 10 && value[2..6] == (value.len() as u32 - 10).to_le_bytes();
        out.push(key.len() as u8 | u8::from(enveloped) << 7);
        out.extend(key);
        out.extend((value.len() as u16).to_le_bytes());
        out.extend(value);
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_between_replicas_is_among_the_seeds_as_it_is_now() {
        let mut seeds = Vec::new();
        peers(&mut seeds);
        let messages = seeds.iter().filter(|seed| seed.target == "peer_message");
        let mut seen = 0;
        for seed in messages {
            let (which, message) = seed.input.split_first().unwrap();
            let (name, again) = timbermq_replica::fuzzing::MESSAGES[usize::from(*which)];
            assert_eq!(again(Bytes::copy_from_slice(message)).as_deref(), Some(message), "{name}");
            seen += 1;
        }
        assert_eq!(seen, timbermq_replica::fuzzing::MESSAGES.len());
    }
}
