//! The service: listening, dispatch, drivers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use timbermq_env::Env;
use timbermq_remoting::{RemotingCommand, RequestCode};
use timbermq_replica::{ProposeError, Replica};
use timbermq_session::ChannelId;
use timbermq_transport::{Handler, Peer, Responder, Server, ServerOptions};

use crate::context::{BrokerSettings, Call, Context, not_proposed};
use crate::outcome::Failure;
use crate::table::{Place, place, serve};
use crate::{entrance, forward, members, offsets, pull, register, send, system};

/// How often silent clients are looked for, and how long a client may be silent: clients send a heartbeat every 30 s.
const SILENT_SCAN: Duration = Duration::from_secs(10);
const SILENT_MAX: Duration = Duration::from_secs(120);

/// A running broker service.
pub struct Broker {
    context: Arc<Context>,
    server: Server,
}

impl Broker {
    /// Listens and serves until [`Broker::shutdown`].
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(env: Env, settings: BrokerSettings, replica: Replica) -> io::Result<Self> {
        let options = ServerOptions { connections_max: settings.connections, ..ServerOptions::default() };
        let listen: Vec<&str> = settings.listen.iter().map(String::as_str).collect();
        let mut listeners = Vec::with_capacity(listen.len());
        for address in listen {
            let listener = env.net.listen(address).await;
            listeners.push(
                listener
                    .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?,
            );
        }
        replica.answer_on(&env);
        let context = Arc::new(Context::new(env.clone(), settings, replica));
        let handler = Arc::new(Dispatch { context: Arc::clone(&context) });
        let server = Server::serve(&env, listeners, handler, options);
        drive(&context);
        Ok(Self { context, server })
    }

    /// The addresses listened on.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        self.server.addrs()
    }

    /// Leaves the routes, answers what is held and closes the connections. The replica goes on.
    pub async fn shutdown(&self) {
        self.context.stopping.send_replace(true);
        register::unregister(&self.context).await;
        pull::drain(&self.context).await;
        self.server.shutdown(Duration::from_secs(2)).await;
    }
}

fn drive(context: &Arc<Context>) {
    let env = context.env.clone();
    env.spawn("broker.effects", pull::drive(Arc::clone(context)));
    env.spawn("broker.registration", register::drive(Arc::clone(context)));
    if context.settings.follower_writes {
        env.spawn("broker.entrances", register::drive_entrances(Arc::clone(context)));
    }
    let commits = Arc::clone(context);
    env.spawn("broker.commits", async move { offsets::drive_commits(&commits).await });
    env.spawn("broker.leadership", drive_leadership(Arc::clone(context)));
    env.spawn("broker.silent_clients", drive_silent(Arc::clone(context)));
}

/// Does what a new leader must do once, each time this replica becomes one.
async fn drive_leadership(context: Arc<Context>) {
    let mut role = context.replica.role();
    let mut led = None;
    loop {
        let now = *role.borrow_and_update();
        let leads = now.is_leader.then_some(now.term);
        if leads.is_some() && leads != led {
            tracing::info!(term = now.term.0, "broker.leading");
            system::create_missing(&context).await;
        }
        if leads.is_none() && led.is_some() {
            tracing::info!(term = now.term.0, "broker.following");
            // Whoever asked this replica for an offset may by now have been overtaken at the new leader.
            context.claims().clear();
        }
        led = leads;
        if role.changed().await.is_err() {
            return;
        }
    }
}

async fn drive_silent(context: Arc<Context>) {
    loop {
        context.env.sleep(SILENT_SCAN).await;
        let silent = context.membership().silent(context.env.mono(), SILENT_MAX);
        for channel in silent {
            match context.peer(channel) {
                Some(peer) => peer.close(),
                None => {
                    let changes = context.membership().disconnected(channel);
                    members::notify(&context, changes);
                }
            }
        }
    }
}

/// Hands requests to their handlers.
struct Dispatch {
    context: Arc<Context>,
}

impl Handler for Dispatch {
    fn handle(&self, peer: &Arc<Peer>, mut request: RemotingCommand, responder: Responder) {
        // A slice of the receive buffer, which a held pull would keep alive.
        request.raw_header = None;
        let forwarded_for = forward::forwarded_for(&request);
        let call = Call {
            peer: Arc::clone(peer),
            client: forwarded_for.unwrap_or_else(|| peer.remote_addr()),
            forwarded: forwarded_for.is_some(),
            request,
        };
        let context = Arc::clone(&self.context);
        let code = call.request.request_code();
        if matches!(code, RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE) {
            self.context.env.spawn("broker.pull", pull::serve(context, call, responder));
            return;
        }
        let Some(place) = place(code) else {
            responder.send(Failure::unsupported(code).response(&call.request));
            return;
        };
        let is_send =
            matches!(code, RequestCode::SEND_MESSAGE | RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE);
        if is_send && context.is_leader() {
            store(context, call, responder);
        } else {
            serve_in_task(context, call, place, responder);
        }
    }

    fn connected(&self, peer: &Arc<Peer>) {
        self.context.add_peer(peer);
    }

    fn disconnected(&self, peer: &Arc<Peer>) {
        let channel = ChannelId(peer.id());
        self.context.remove_peer(channel);
        self.context.parked().disconnected(channel);
        let changes = self.context.membership().disconnected(channel);
        members::notify(&self.context, changes);
    }
}

/// Serves a send without a task, as far as it only has to be stored: there are far more of them than of all else.
fn store(context: Arc<Context>, call: Call, responder: Responder) {
    let (proposal, sent) = match send::ready(&context, &call) {
        Ok(Some(ready)) => ready,
        Ok(None) => return serve_in_task(context, call, Place::Leader, responder),
        Err(failure) => return responder.send(failed(&call, &failure)),
    };
    let replica = context.replica.clone();
    replica.propose_then(proposal, move |outcome| {
        let served = match outcome {
            // Nothing was proposed: the way of all other requests finds out who leads now.
            Err(ProposeError::NotLeader { .. }) => return serve_in_task(context, call, Place::Leader, responder),
            outcome => outcome.map_err(not_proposed).and_then(|reply| sent.answer(&context, &call.request, reply)),
        };
        responder.send(served.unwrap_or_else(|failure| failed(&call, &failure)));
    });
}

fn serve_in_task(context: Arc<Context>, call: Call, place: Place, responder: Responder) {
    let env = context.env.clone();
    env.spawn("broker.request", async move {
        let answer = answer(&context, &call, place).await;
        responder.send(answer);
    });
}

fn failed(call: &Call, failure: &Failure) -> RemotingCommand {
    tracing::debug!(code = call.request.code, %failure, "broker.request_failed");
    failure.response(&call.request)
}

async fn answer(context: &Context, call: &Call, place: Place) -> RemotingCommand {
    let here = place == Place::Here || context.is_leader();
    if !here && let Some(nothing) = entrance::nothing(context, call) {
        return nothing.unwrap_or_else(|failure| failure.response(&call.request));
    }
    let served = if here { serve(context, call, place).await } else { forward::forward(context, call).await };
    // Nothing was proposed where no leader was found, so the other way may be tried once: roles change in between.
    let served = match served {
        Err(Failure::NoLeader) if place != Place::Here && here => forward::forward(context, call).await,
        Err(Failure::NoLeader) if place != Place::Here && context.is_leader() => serve(context, call, place).await,
        served => served,
    };
    served.unwrap_or_else(|failure| failed(call, &failure))
}
