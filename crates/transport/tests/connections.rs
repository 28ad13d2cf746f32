//! Servers and connectors against each other and against bare sockets, on loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use timbermq_env::{Connection, Env};
use timbermq_remoting::{FrameDecoder, RemotingCommand, RequestCode, ResponseCode, SerializeType};
use timbermq_transport::{
    CallError, CloseReason, ConnectionOptions, Connector, ConnectorOptions, Handler, Peer, Responder, Server,
    ServerOptions,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Far beyond what anything here takes; reaching it is the failure.
const LONG: Duration = Duration::from_secs(20);

type Arrived = (Arc<Peer>, RemotingCommand, Responder);

/// Hands everything to the test.
struct Probe {
    requests: UnboundedSender<Arrived>,
    gone: UnboundedSender<Arc<Peer>>,
}

impl Handler for Probe {
    fn handle(&self, peer: &Arc<Peer>, request: RemotingCommand, responder: Responder) {
        let _ = self.requests.send((Arc::clone(peer), request, responder));
    }

    fn disconnected(&self, peer: &Arc<Peer>) {
        let _ = self.gone.send(Arc::clone(peer));
    }
}

struct Fixture {
    env: Env,
    server: Server,
    addr: String,
    requests: UnboundedReceiver<Arrived>,
    gone: UnboundedReceiver<Arc<Peer>>,
}

impl Fixture {
    async fn new(options: ServerOptions) -> Self {
        let env = timbermq_host::env();
        let (request_sender, requests) = unbounded_channel();
        let (gone_sender, gone) = unbounded_channel();
        let probe = Probe { requests: request_sender, gone: gone_sender };
        let server = Server::bind(&env, &["127.0.0.1:0".to_owned()], Arc::new(probe), options).await.unwrap();
        let addr = server.addrs()[0].to_string();
        Self { env, server, addr, requests, gone }
    }

    fn connector(&self) -> Connector {
        Connector::new(&self.env, None, ConnectorOptions::default())
    }

    async fn arrived(&mut self) -> Arrived {
        self.env.timeout(LONG, self.requests.recv()).await.expect("a request arrives").unwrap()
    }

    async fn gone(&mut self) -> Arc<Peer> {
        self.env.timeout(LONG, self.gone.recv()).await.expect("a connection closes").unwrap()
    }

    async fn bare(&self) -> Bare {
        let Connection { reader, writer, .. } = self.env.net.connect(&self.addr).await.unwrap();
        Bare { env: self.env.clone(), reader, writer, buffer: BytesMut::new() }
    }
}

/// A client that is nothing but a socket.
struct Bare {
    env: Env,
    reader: Box<dyn timbermq_env::ReadHalf>,
    writer: Box<dyn timbermq_env::WriteHalf>,
    buffer: BytesMut,
}

impl Bare {
    async fn write(&mut self, bytes: impl Into<Bytes>) {
        self.writer.write_all(&mut vec![bytes.into()]).await.unwrap();
    }

    /// The next frame, or `None` at the end of the stream.
    async fn read(&mut self) -> Option<RemotingCommand> {
        loop {
            if let Some(command) = FrameDecoder::default().decode(&mut self.buffer).unwrap() {
                return Some(command);
            }
            let read = self.env.timeout(LONG, self.reader.read(&mut self.buffer)).await.expect("something arrives");
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }
}

fn request(body: usize) -> RemotingCommand {
    RemotingCommand::request(RequestCode::HEART_BEAT).with_body(vec![1; body])
}

fn with_opaque(mut command: RemotingCommand, opaque: i32) -> RemotingCommand {
    command.opaque = opaque;
    command
}

fn options(change: impl FnOnce(&mut ConnectionOptions)) -> ServerOptions {
    let mut options = ServerOptions::default();
    change(&mut options.connection);
    options
}

fn ok(responder: Responder, remark: &str) {
    let response = responder.response(ResponseCode::SUCCESS).with_remark(remark);
    responder.send(response);
}

#[tokio::test]
async fn responses_find_their_requests_in_any_order() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let remote = fixture.connector().remote(&fixture.addr).unwrap();
    let mut calls = Vec::new();
    for body in 0..20 {
        calls.push(remote.start(request(body * 500), LONG).await.unwrap());
    }
    let mut arrived = Vec::new();
    for body in 0..20 {
        let (_, command, responder) = fixture.arrived().await;
        assert_eq!(command.body.len(), body * 500);
        arrived.push(responder);
    }
    for (index, responder) in arrived.into_iter().enumerate().rev() {
        ok(responder, &index.to_string());
    }
    for (index, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().remark, Some(index.to_string()));
    }
    assert_eq!(fixture.server.stats().buffered_bytes, 0);
    assert_eq!(remote.connected().unwrap().calls_in_flight(), 0);
}

#[tokio::test]
async fn a_dropped_responder_answers_system_error() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let remote = fixture.connector().remote(&fixture.addr).unwrap();
    let call = remote.start(request(0), LONG).await.unwrap();
    drop(fixture.arrived().await);
    assert_eq!(call.await.unwrap().response_code(), ResponseCode::SYSTEM_ERROR);
}

#[tokio::test]
async fn one_way_requests_are_never_answered() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let mut bare = fixture.bare().await;
    bare.write(with_opaque(request(0), 1).one_way().to_frame().unwrap()).await;
    bare.write(with_opaque(request(0), 2).one_way().to_frame().unwrap()).await;
    bare.write(with_opaque(request(0), -3).to_frame().unwrap()).await;
    ok(fixture.arrived().await.2, "ignored");
    drop(fixture.arrived().await.2);
    ok(fixture.arrived().await.2, "wanted");
    let response = bare.read().await.unwrap();
    assert_eq!((response.opaque, response.flag, response.remark.as_deref()), (-3, 1, Some("wanted")));
}

#[tokio::test]
async fn a_response_that_cannot_be_framed_becomes_an_error() {
    let mut fixture = Fixture::new(options(|options| options.frame_bytes_max = 10_000)).await;
    let remote = fixture.connector().remote(&fixture.addr).unwrap();
    let call = remote.start(request(0), LONG).await.unwrap();
    let (_, _, responder) = fixture.arrived().await;
    let response = responder.response(ResponseCode::SUCCESS).with_body(vec![0; 20_000]);
    responder.send(response);
    assert_eq!(call.await.unwrap().response_code(), ResponseCode::SYSTEM_ERROR);
}

#[tokio::test]
async fn broken_idle_and_slow_connections_are_closed() {
    let mut fixture = Fixture::new(options(|options| {
        options.idle_timeout = Duration::from_millis(300);
        options.frame_timeout = Duration::from_millis(100);
    }))
    .await;
    let mut broken = fixture.bare().await;
    broken.write(&b"GET / HTTP/1.1\r\n\r\n"[..]).await;
    assert!(matches!(fixture.gone().await.closed().await, CloseReason::BrokenFrame(_)));
    assert!(broken.read().await.is_none());

    let mut slow = fixture.bare().await;
    let frame = request(1000).to_frame().unwrap();
    slow.write(frame.slice(..500)).await;
    assert_eq!(fixture.gone().await.closed().await, CloseReason::SlowFrame);

    let _idle = fixture.bare().await;
    assert_eq!(fixture.gone().await.closed().await, CloseReason::Idle);
}

#[tokio::test]
async fn reading_stops_at_the_bound_of_requests_and_parked_ones_do_not_count() {
    let mut fixture = Fixture::new(options(|options| (options.requests_max, options.parked_max) = (2, 1))).await;
    let mut bare = fixture.bare().await;
    for opaque in 0..5 {
        bare.write(with_opaque(request(0), opaque).to_frame().unwrap()).await;
    }
    let (peer, _, first) = fixture.arrived().await;
    let (_, _, mut second) = fixture.arrived().await;
    assert_eq!(peer.requests_in_flight(), 2);
    ok(first, "");
    assert_eq!(bare.read().await.unwrap().opaque, 0);
    let (_, _, mut third) = fixture.arrived().await;
    // All places are taken, so the fourth cannot have come whatever the timing.
    assert!(fixture.requests.try_recv().is_err());
    assert!(second.park());
    let (_, _, fourth) = fixture.arrived().await;
    assert!(!third.park());
    assert_eq!((peer.requests_in_flight(), peer.requests_parked()), (2, 1));
    ok(second, "");
    assert_eq!(bare.read().await.unwrap().opaque, 1);
    assert!(third.park());
    drop((third, fourth));
    assert_eq!(bare.read().await.unwrap().opaque, 2);
    assert_eq!(bare.read().await.unwrap().opaque, 3);
    let (_, _, fifth) = fixture.arrived().await;
    drop(fifth);
    assert_eq!((peer.requests_in_flight(), peer.requests_parked()), (0, 0));
}

#[tokio::test]
async fn large_frames_wait_for_room_and_all_get_it() {
    let mut fixture = Fixture::new(ServerOptions { buffered_bytes_max: 2, ..ServerOptions::default() }).await;
    let connectors: Vec<_> = (0..3).map(|_| fixture.connector()).collect();
    let mut calls = Vec::new();
    for connector in &connectors {
        calls.push(connector.remote(&fixture.addr).unwrap().start(request(300_000), LONG).await.unwrap());
    }
    for _ in 0..3 {
        let (_, command, responder) = fixture.arrived().await;
        assert_eq!(command.body.len(), 300_000);
        ok(responder, "");
    }
    for call in calls {
        assert_eq!(call.await.unwrap().response_code(), ResponseCode::SUCCESS);
    }
    assert_eq!(fixture.server.stats().buffered_bytes, 0);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_and_its_memory_freed() {
    let mut fixture = Fixture::new(options(|options| options.write_timeout = Duration::from_millis(100))).await;
    let mut bare = fixture.bare().await;
    bare.write(request(0).to_frame().unwrap()).await;
    let (peer, _, responder) = fixture.arrived().await;
    // More than the sockets hold between them.
    let body = Bytes::from(vec![0; 15 * 1024 * 1024]);
    let response = responder.response(ResponseCode::SUCCESS).with_body(body);
    responder.send(response);
    assert!(!peer.is_writable());
    assert_eq!(fixture.gone().await.closed().await, CloseReason::WriteTimeout);
    fixture.env.timeout(LONG, peer.writable()).await.unwrap();
    fixture.server.shutdown(LONG).await;
    assert_eq!(fixture.server.stats().buffered_bytes, 0);
    drop(bare);
}

#[tokio::test]
async fn too_much_output_closes_the_connection() {
    let mut fixture = Fixture::new(options(|options| options.output_bytes_max = 1000)).await;
    let mut bare = fixture.bare().await;
    bare.write([request(0).to_frame().unwrap(), request(0).to_frame().unwrap()].concat()).await;
    let (_, _, first) = fixture.arrived().await;
    let (peer, _, second) = fixture.arrived().await;
    let large = first.response(ResponseCode::SUCCESS).with_body(vec![0; 15 * 1024 * 1024]);
    first.send(large);
    ok(second, "one too many");
    assert_eq!(peer.closed().await, CloseReason::OutputOverflow);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused() {
    let mut fixture = Fixture::new(ServerOptions { connections_max: 1, ..ServerOptions::default() }).await;
    let mut first = fixture.bare().await;
    first.write(request(0).to_frame().unwrap()).await;
    let (peer, _, responder) = fixture.arrived().await;
    let mut second = fixture.bare().await;
    assert!(second.read().await.is_none());
    assert_eq!((fixture.server.stats().connections, fixture.server.stats().refused), (1, 1));
    ok(responder, "");
    assert!(first.read().await.is_some());
    peer.close();
    assert!(first.read().await.is_none());
    assert_eq!(fixture.gone().await.id(), peer.id());
}

#[tokio::test]
async fn a_server_asks_its_clients_in_their_own_serialize_type() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let mut bare = fixture.bare().await;
    let mut hello = request(0).one_way();
    hello.serialize = SerializeType::Binary;
    bare.write(hello.to_frame().unwrap()).await;
    let (peer, _, _responder) = fixture.arrived().await;
    let call = peer.start(RemotingCommand::request(RequestCode::GET_CONSUMER_RUNNING_INFO), LONG).unwrap();
    peer.one_way(RemotingCommand::request(RequestCode::NOTIFY_CONSUMER_IDS_CHANGED)).unwrap();
    let asked = bare.read().await.unwrap();
    assert_eq!(
        (asked.request_code(), asked.serialize),
        (RequestCode::GET_CONSUMER_RUNNING_INFO, SerializeType::Binary)
    );
    let told = bare.read().await.unwrap();
    assert!(told.is_one_way());
    assert_ne!(told.opaque, asked.opaque);
    // An answer to nothing is dropped; the right one arrives.
    bare.write(with_opaque(asked.respond(ResponseCode::SYSTEM_ERROR), 12345).to_frame().unwrap()).await;
    bare.write(asked.respond(ResponseCode::SUCCESS).to_frame().unwrap()).await;
    assert_eq!(call.await.unwrap().response_code(), ResponseCode::SUCCESS);
}

#[tokio::test]
async fn a_connector_without_a_handler_says_not_supported() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let connector = fixture.connector();
    let remote = connector.remote(&fixture.addr).unwrap();
    remote.one_way(request(0)).await.unwrap();
    let (peer, _, _responder) = fixture.arrived().await;
    let answer = peer.request(RemotingCommand::request(RequestCode(9999)), LONG).await.unwrap();
    assert_eq!(answer.response_code(), ResponseCode::REQUEST_CODE_NOT_SUPPORTED);
    assert_eq!(answer.remark.as_deref(), Some(" request type 9999 not supported"));
}

#[tokio::test]
async fn failures_say_whether_the_request_may_have_been_carried_out() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let mut connector_options = ConnectorOptions::default();
    connector_options.connection.calls_max = 1;
    let connector = Connector::new(&fixture.env, None, connector_options);
    let remote = connector.remote(&fixture.addr).unwrap();

    let timeout = remote.request(request(0), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!((timeout.clone(), timeout.is_unknown()), (CallError::Timeout, true));
    let (_, _, late) = fixture.arrived().await;
    ok(late, "late");

    let call = remote.start(request(0), LONG).await.unwrap();
    let full = remote.start(request(0), LONG).await.err().unwrap();
    assert_eq!((full.clone(), full.is_unknown()), (CallError::Overloaded, false));
    let (peer, _, _responder) = fixture.arrived().await;
    peer.close();
    let closed = call.await.unwrap_err();
    assert_eq!((closed.clone(), closed.is_unknown()), (CallError::Closed { sent: true }, true));

    // Lost connections are opened again.
    let call = remote.start(request(0), LONG).await.unwrap();
    ok(fixture.arrived().await.2, "again");
    assert_eq!(call.await.unwrap().remark.as_deref(), Some("again"));

    // What was queued but never handed to the network has certainly not been carried out.
    let live = remote.connected().unwrap();
    let call = live.start(request(777), LONG).unwrap();
    live.close();
    assert_eq!(call.await.unwrap_err(), CallError::Closed { sent: false });
    let call = remote.start(request(0), LONG).await.unwrap();
    let (_, next, _responder) = fixture.arrived().await;
    assert_eq!(next.body.len(), 0, "a request that was called unsent arrived");
    drop((call, _responder));

    fixture.server.shutdown(LONG).await;
    let failed = remote.request(request(0), LONG).await.unwrap_err();
    assert!(matches!(failed, CallError::ConnectFailed { .. }) && !failed.is_unknown(), "{failed}");
}

#[tokio::test]
async fn a_dropped_call_frees_its_place() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let remote = fixture.connector().remote(&fixture.addr).unwrap();
    let call = remote.start(request(0), LONG).await.unwrap();
    assert_eq!(call_count(&remote), 1);
    drop(call);
    assert_eq!(call_count(&remote), 0);
    ok(fixture.arrived().await.2, "to nobody");
}

fn call_count(remote: &timbermq_transport::Remote) -> usize {
    remote.connected().unwrap().calls_in_flight()
}

#[tokio::test]
async fn a_shutdown_lets_running_requests_be_answered() {
    let mut fixture = Fixture::new(ServerOptions::default()).await;
    let remote = fixture.connector().remote(&fixture.addr).unwrap();
    let call = remote.start(request(0), LONG).await.unwrap();
    let (_, _, responder) = fixture.arrived().await;
    let server = fixture.server.clone();
    let stopping = tokio::spawn(async move { server.shutdown(LONG).await });
    tokio::task::yield_now().await;
    ok(responder, "in time");
    assert_eq!(call.await.unwrap().remark.as_deref(), Some("in time"));
    stopping.await.unwrap();
    assert_eq!(fixture.server.stats().connections, 0);
    assert!(fixture.env.net.connect(&fixture.addr).await.is_err());
}

#[tokio::test]
async fn what_arrived_before_the_peer_went_away_is_handled() {
    const ONE_WAYS: usize = 100;
    let mut fixture = Fixture::new(options(|connection| connection.requests_max = 1)).await;
    let mut socket = std::net::TcpStream::connect(&fixture.addr).unwrap();
    // Closing resets the connection, as it does when an answer lies unread: the next write of the server fails.
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    socket.write_all(&request(0).to_frame().unwrap()).unwrap();
    for _ in 0..ONE_WAYS {
        socket.write_all(&request(0).one_way().to_frame().unwrap()).unwrap();
    }
    let (peer, _, responder) = fixture.arrived().await;
    drop(socket);
    ok(responder, "to nobody");
    // Its answer has failed before the others are let in.
    fixture.env.timeout(LONG, peer.closed()).await.expect("the connection closes");
    for _ in 0..ONE_WAYS {
        assert!(fixture.arrived().await.1.is_one_way());
    }
    assert!(Arc::ptr_eq(&fixture.gone().await, &peer));
}
