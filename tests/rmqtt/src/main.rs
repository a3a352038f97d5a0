//! One node of rmqtt: its Raft cluster, its retained messages in a folder, one port for MQTT. `--help` says how.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use rmqtt::context::ServerContext;
use rmqtt::net::Builder;
use rmqtt::server::MqttServer;
use rmqtt::{Error, Result};

const HELP: &str = "\
shoal-rmqtt --node 1 --data FOLDER --peer MQTT,RPC,RAFT [--peer MQTT,RPC,RAFT]...

One --peer for every node of the cluster, in the order of their numbers from 1, itself among them: its ports on the
loopback interface. Node 1 begins the cluster, unless another leads it already; the others wait for a leader.";

/// What the command line says.
struct Flags {
    node: u64,
    data: PathBuf,
    peers: Vec<[u16; 3]>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Some(flags) = parse().map_err(|error| Error::msg(format!("{error}\n\n{HELP}")))? else {
        println!("{HELP}");
        return Ok(());
    };
    log::set_logger(&ToStderr)?;
    log::set_max_level(LevelFilter::Info);

    let server = ServerContext::new()
        .node_id(flags.node)
        // A machine that runs tests is busy: nobody is refused for it.
        .busy_check_enable(false)
        .plugins_config_map_add("rmqtt-retainer", retainer(&flags.data))
        .plugins_config_map_add("rmqtt-cluster-raft", cluster(&flags.peers))
        .build()
        .await;
    let [mqtt, rpc, _raft] = flags.peers[flags.node as usize - 1];
    server.node.start_grpc_server(server.clone(), local(rpc).parse()?, true, false);
    rmqtt_retainer::register(&server, true, false).await?;
    // A cluster of one asks nobody who leads, and panics.
    if flags.peers.len() > 1 {
        rmqtt_cluster_raft::register(&server, true, false).await?;
    }
    let listener = Builder::new()
        .name("mqtt")
        .laddr(local(mqtt).parse()?)
        .nodelay(true)
        .reuseaddr(Some(true))
        // A little less than links take: one longer message, retained, would end every link of MQTT 5 whenever it comes.
        .max_packet_size(67 * 1024)
        // By default, what stands on a thousand topics no longer fits into the queue of who asks for it.
        .max_mqueue_len(100_000)
        .bind()?
        .tcp()?;
    MqttServer::new(server).listener(listener).build().run().await
}

/// `None`: help was asked for.
fn parse() -> Result<Option<Flags>> {
    use lexopt::prelude::*;
    let (mut node, mut data, mut peers) = (None, None, Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("node") => node = Some(parser.value()?.parse::<u64>()?),
            Long("data") => data = Some(PathBuf::from(parser.value()?)),
            Long("peer") => peers.push(parser.value()?.parse_with(ports)?),
            Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let node = node.filter(|node| (1..=peers.len() as u64).contains(node));
    let node = node.ok_or_else(|| Error::msg("--node is the number of a --peer"))?;
    let data = data.ok_or_else(|| Error::msg("no --data"))?;
    Ok(Some(Flags { node, data, peers }))
}

fn ports(text: &str) -> Result<[u16; 3]> {
    let ports = text.split(',').map(str::parse).collect::<std::result::Result<Vec<u16>, _>>()?;
    ports.try_into().map_err(|_ports| Error::msg("not three ports"))
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Retained messages stand until they are replaced: by default they go after five minutes.
fn retainer(data: &Path) -> String {
    format!(
        "storage.type = \"sled\"\nstorage.sled.path = {:?}\nstorage.sled.cache_capacity = \"64M\"\n\
         retained_message_ttl = \"0s\"\n",
        data.join("retained").display().to_string()
    )
}

/// Without a first leader, nodes that start together would each lead a cluster of its own; and who starts again within a minute finds
/// its port taken, unless it is told to take it.
fn cluster(peers: &[[u16; 3]]) -> String {
    let addresses = |which: usize| {
        let each = (1..).zip(peers).map(|(id, ports)| format!("\"{id}@{}\"", local(ports[which])));
        each.collect::<Vec<String>>().join(", ")
    };
    format!(
        "node_grpc_addrs = [{}]\nraft_peer_addrs = [{}]\nleader_id = 1\nworker_threads = 2\n\
         raft.grpc_reuseaddr = true\n",
        addresses(1),
        addresses(2)
    )
}

/// What happens, as lines.
struct ToStderr;

impl Log for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
            let (level, target) = (record.level(), record.target());
            let line = format!("{:.3} {level} {target}: {}\n", since.as_secs_f64(), record.args());
            let _full = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
