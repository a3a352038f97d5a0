//! `shoal broker`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use shoal_broker::{Broker, Settings};
use tracing_subscriber::filter::LevelFilter;

use crate::output::Outcome;
use crate::stop::Stop;

/// Run the embedded MQTT broker, for trials and demonstrations.
///
/// Its address is the first line of standard output. It runs until Ctrl-C or SIGTERM. It has no accounts and no TLS; what
/// vehicles and console believe is signed, whoever runs the broker.
///
/// Example: shoal broker --listen 127.0.0.1:0
#[derive(Args)]
pub(crate) struct BrokerCommand {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    listen: SocketAddr,
    /// A directory where retained messages outlive a restart; without it they live in memory
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl BrokerCommand {
    pub(crate) fn run(self) -> Outcome {
        let stop = Stop::listen()?;
        // What the broker cannot read of its store it says in its log, and goes on without.
        let log = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN);
        log.with_writer(std::io::stderr).with_target(false).log_internal_errors(false).init();
        let settings = Settings { listen: self.listen, store: self.store, ..Settings::local() };
        let broker = Broker::start(settings)?;
        println!("{}", broker.url());
        stop.wait();
        broker.stop();
        Ok(())
    }
}
