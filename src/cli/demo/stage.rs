//! What is on stage: the sample server, a gateway before it, agents, and the taps on the ways between them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;

use super::contacts::{Book, INGRID, KOFI};
use super::show::Show;
use super::tap::Tap;
use super::{Exit, cannot_go_on};
use crate::agent::Agent;
use crate::cli::keygen;
use crate::crypto::{Algorithm, SystemRandom};
use crate::gateway::{Gateway, Surroundings};
use crate::intake::Intake;
use crate::net::drain::Trigger;
use crate::net::server::Listener;
use crate::policy::{self, AgentPolicy, Environment, GatewayPolicy};
use crate::sample::{Config, Server};
use crate::seal::Layer;
use crate::session::WallClock;

/// What the client shows to the server.
pub(super) const USER: &str = "alice";
pub(super) const PASSWORD: &str = "wonderland-1865";
/// The path of the server, of the gateway's route, and of what clients ask the agent for.
pub(super) const PATH: &str = "/sync";
/// The length of the gateway's key, which is what `keygen` makes if it is not told otherwise.
const KEY_BITS: usize = 3072;

/// Everything that runs, with its files in one directory.
#[derive(Debug)]
pub(super) struct Stage {
    directory: PathBuf,
    trigger: Trigger,
    pin: String,
    /// Between gateway and server.
    pub(super) behind: Tap,
    pub(super) server: SocketAddr,
    pub(super) gateway: SocketAddr,
    pub(super) server_book: Book,
}

/// An agent of one layer, and its way to the gateway.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) layer: Layer,
    pub(super) agent: SocketAddr,
    pub(super) wire: Tap,
}

impl Stage {
    /// Starts the server, and a gateway with a fresh key that takes these layers, and shows its policy.
    pub(super) async fn set_up(show: &mut Show, dir: &Path, layers: &[Layer]) -> Result<Self, Exit> {
        let trigger = Trigger::new();
        let server_book = Book::new(dir.join("server"), &[INGRID, KOFI]).map_err(cannot_go_on)?;

        let config = Config { user: USER.into(), password: PASSWORD.into(), ..Config::default() };
        let sample = Arc::new(Server::new(server_book.directory(), config).map_err(cannot_go_on)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(cannot_go_on)?;
        let server = listener.local_addr().map_err(cannot_go_on)?;
        let drain = trigger.subscribe();
        tokio::spawn(sample.serve(listener, async move { drain.draining().await }));
        let behind = Tap::before(server).await.map_err(cannot_go_on)?;

        // Not on a thread of its own, which a signal would leave behind without its directory.
        let key = tokio::task::block_in_place(|| keygen::make(&dir.join("gateway.pem"), KEY_BITS))?;
        let pin = key.key_id().to_string();
        show.line("policy", &format!("$ syncseal keygen gateway.pem       (RSA, {KEY_BITS} bits, fresh)"));
        show.line("policy", &pin);

        let text = gateway_policy(behind.addr(), layers);
        show_policy(show, "gateway.toml", &text);
        let gateway = start_gateway(dir, &trigger, "gateway.toml", &text).await?;
        Ok(Self { directory: dir.to_owned(), trigger, pin, behind, server, gateway, server_book })
    }

    /// Starts an agent of a layer with a way of its own to the gateway, and shows its policy.
    pub(super) async fn line(&self, show: &mut Show, layer: Layer) -> Result<Line, Exit> {
        let wire = Tap::before(self.gateway).await.map_err(cannot_go_on)?;
        let text = agent_policy(wire.addr(), &self.pin, layer);
        let name = format!("{}-agent.toml", layer.name());
        show_policy(show, &name, &text);
        let agent = start_agent(&self.directory, &self.trigger, &name, &text).await?;
        Ok(Line { layer, agent, wire })
    }

    /// Starts another agent on the same way, which asks for this algorithm and no other.
    pub(super) async fn another_agent(
        &self,
        show: &mut Show,
        line: &Line,
        algorithm: Algorithm,
    ) -> Result<SocketAddr, Exit> {
        let crypto = format!("[crypto]\nalgorithms = [{:?}]\n", algorithm.name());
        crypto.lines().for_each(|line| show.line("policy", &format!("  {line}")));
        let text = format!("{}\n{crypto}", agent_policy(line.wire.addr(), &self.pin, line.layer));
        start_agent(&self.directory, &self.trigger, "another-agent.toml", &text).await
    }

    /// Where the files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file with a first message of the client's, once there was one.
    pub(super) fn message_file(&self) -> PathBuf {
        self.directory.join("message.xml")
    }

    /// Writes that file.
    pub(super) fn keep_message(&self, message: &[u8]) -> Result<(), Exit> {
        fs::write(self.message_file(), message).map_err(cannot_go_on)
    }

    /// Lets everything finish what it does, and ends it.
    pub(super) async fn end(self) {
        self.trigger.drain();
        self.trigger.released().await;
    }
}

/// The URL of what listens at an address.
pub(super) fn url(addr: SocketAddr) -> String {
    format!("http://{addr}{PATH}")
}

fn gateway_policy(server: SocketAddr, layers: &[Layer]) -> String {
    let layers: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
    format!(
        "version = 1\n\n\
         [gateway]\n\
         listen = [\"127.0.0.1:0\"]  # 0: the system chooses the port\n\
         keys = [\"gateway.pem\"]\n\n\
         [crypto]\n\
         algorithms = [{:?}]  # no other is allowed\n\n\
         [[route]]\n\
         path = {PATH:?}\n\
         upstream = \"http://{server}\"  # the server\n\
         layers = {layers:?}\n",
        Algorithm::A256Gcm.name(),
    )
}

fn agent_policy(gateway: SocketAddr, pin: &str, layer: Layer) -> String {
    format!(
        "version = 1\n\n\
         [agent]\n\
         listen = [\"127.0.0.1:0\"]\n\
         gateway = {:?}\n\
         key = \"gateway.pub.pem\"\n\
         pin = {pin:?}\n\
         layer = {:?}\n",
        url(gateway),
        layer.name(),
    )
}

fn show_policy(show: &mut Show, name: &str, text: &str) {
    show.line("policy", "");
    show.line("policy", &format!("# {name}"));
    text.lines().for_each(|line| show.line("policy", line));
}

/// Starts a gateway as its policy says, and gives the address that it got.
async fn start_gateway(dir: &Path, trigger: &Trigger, name: &str, text: &str) -> Result<SocketAddr, Exit> {
    let file = dir.join(name);
    fs::write(&file, text).map_err(cannot_go_on)?;
    // No variables, so that it is the same demo everywhere.
    let policy = GatewayPolicy::load(&file, &Environment::default()).map_err(cannot_go_on)?;
    let gateway = Gateway::in_memory(&policy, Surroundings::default()).map_err(cannot_go_on)?;
    let (listener, addr) = bind(&policy.listeners).await?;
    tokio::spawn(gateway.serve(listener, trigger.subscribe()));
    Ok(addr)
}

/// Starts an agent as its policy says, and gives the address that it got.
async fn start_agent(dir: &Path, trigger: &Trigger, name: &str, text: &str) -> Result<SocketAddr, Exit> {
    let file = dir.join(name);
    fs::write(&file, text).map_err(cannot_go_on)?;
    let policy = AgentPolicy::load(&file, &Environment::default()).map_err(cannot_go_on)?;
    let (listener, addr) = bind(&policy.listeners).await?;
    let agent = Agent::new(policy, Arc::new(WallClock), Arc::new(SystemRandom)).map_err(cannot_go_on)?;
    let drain = trigger.subscribe();
    tokio::spawn(async move { agent.serve(listener, drain).await });
    Ok(addr)
}

async fn bind(listeners: &[policy::Listener]) -> Result<(Listener, SocketAddr), Exit> {
    let bound = Intake::new(listeners).bind(false).await.map_err(|error| {
        cannot_go_on(error);
        Exit::Bind
    })?;
    let listener = bound.into_iter().next().ok_or_else(|| cannot_go_on("a policy without a listener"))?;
    let addr = listener.local_addr().map_err(cannot_go_on)?;
    Ok((listener, addr))
}
