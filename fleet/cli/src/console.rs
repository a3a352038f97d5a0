//! `shoal console`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use shoal_console::{Console, Settings};
use shoal_link::Addresses;

use crate::fleet::Description;
use crate::output::Outcome;
use crate::stop::Stop;

/// Show a fleet in a browser: who does what, what is best, whom the votes elected, when windows open.
///
/// The page's address is the first line of standard output. It runs until Ctrl-C or SIGTERM, and only reads: what it shows
/// stands on the broker and is signed. All of it is at /api/view as JSON.
///
/// Example: shoal console --fleet trial --listen 127.0.0.1:0
#[derive(Args)]
pub(crate) struct ConsoleCommand {
    /// The fleet's directory; of it only fleet.toml is read
    #[arg(long, value_name = "DIR", default_value = "fleet")]
    fleet: PathBuf,
    /// The region whose documents and campaign are shown; vehicles of all are [the first]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The broker, or its nodes with commas between them, if not the one in fleet.toml
    #[arg(long, value_name = "URL")]
    broker: Option<Addresses>,
    /// Directory of authority.pem, certificate.pem and key.pem, for a broker with TLS
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
}

impl ConsoleCommand {
    pub(crate) fn run(self) -> Outcome {
        let stop = Stop::listen()?;
        let description = Description::read(&self.fleet)?.at(self.region.as_deref())?;
        let broker = self.broker.map_or_else(|| description.broker.parse(), Ok)?;
        let reading = description.reading(broker, self.certificates.as_deref())?;
        if !self.listen.ip().is_loopback() {
            let listen = self.listen;
            eprintln!(
                "whoever reaches {listen} reads what vehicles do and are found to do: there is no login"
            );
        }
        let console = Console::start(Settings { reading, listen: self.listen })?;
        println!("{}", console.url());
        stop.wait();
        console.stop();
        Ok(())
    }
}
