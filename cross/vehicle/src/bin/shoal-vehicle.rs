//! `shoal-vehicle`: the agent of one vehicle.

use std::error::Error;
use std::io::{IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lexopt::{Arg, Parser, ValueExt as _};
use shoal_shadow::digits::hex;
use shoal_vehicle::SOFTWARE;
use shoal_vehicle::agent::Agent;
use shoal_vehicle::budget::{GivesWay, PlaceError, keep_to};
use shoal_vehicle::config::{Config, ConfigError};
use shoal_vehicle::exchange::identity;
use shoal_vehicle::exchange::member::{self, MemberError};
use shoal_vehicle::exchange::metrics::{Metrics, MetricsServer};
use shoal_vehicle::ready::Ready;
use signal_hook::consts::{SIGINT, SIGTERM};

const HELP: &str = "\
The agent of one vehicle of a fleet: it drives in shadow mode, tunes parked, and exchanges in OTA windows.

Usage: shoal-vehicle --config FILE [--windows N] [--metrics ADDR] [--ready FILE] [--as UID:GID] [--verbose]
       shoal-vehicle --config FILE --next-key
       shoal-vehicle --config FILE --erase
       shoal-vehicle --version

  --config FILE    vehicle.toml, as `shoal fleet init` writes it
  --windows N      end by itself after window N - 1 (alone: after N nights); without it, never
  --metrics ADDR   serve Prometheus text at http://ADDR/metrics
  --ready FILE     make this file when the agent is up: for who supervises it
  --as UID:GID     do it as this user, without rights of root, and stay beside it: what the vehicle keeps becomes that user's,
                   the bus is brought up, and camera and gateway's line are given to it whenever they come back
  --verbose        tell more
  --next-key       make the key that is to take the place of the vehicle's, say its public half, and end
  --erase          erase all frames that the vehicle keeps, their key first, and end; adapters and the exchange stay
  --version        say which version it is, and end
  --help           this

SIGTERM and SIGINT end it at once; what it did is durable. It ends with 78 when FILE cannot be used.

Example: shoal-vehicle --config fleet/vehicle-0/vehicle.toml --metrics 127.0.0.1:9100";

/// How it ends when its configuration cannot be used (sysexits.h): starting it again changes nothing.
const EX_CONFIG: u8 = 78;

struct Arguments {
    config: PathBuf,
    windows: Option<u32>,
    metrics: Option<SocketAddr>,
    ready: Option<PathBuf>,
    user: Option<String>,
    verbose: bool,
    next_key: bool,
    erase: bool,
}

#[expect(unsafe_code, reason = "the environment of this process is set once, before all else")]
fn main() -> ExitCode {
    // SAFETY: this is the first that the program does; it has one thread.
    unsafe { shoal_vehicle::engine::forbid_telemetry() };
    let arguments = match arguments() {
        Ok(Asked::ToRun(arguments)) => arguments,
        Ok(Asked::For(said)) => {
            say(std::io::stdout(), said);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            say(std::io::stderr(), &format!("error: {error}\n\n{HELP}"));
            return ExitCode::FAILURE;
        }
    };
    log(arguments.verbose);
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            say(std::io::stderr(), &format!("error: {}", chain(&*error)));
            if told_wrong(&*error) { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether the configuration cannot be used, here or at all.
fn told_wrong(error: &(dyn Error + 'static)) -> bool {
    let place = error.downcast_ref::<PlaceError>();
    let member = error.downcast_ref::<MemberError>();
    error.is::<ConfigError>()
        || is_told_by_the_agent(error)
        || matches!(place, Some(PlaceError::NotGiven { .. } | PlaceError::NotLinux))
        || matches!(member, Some(MemberError::NoFleet { .. }))
}

/// Whether the user that it is to run as may write what it is told.
#[cfg(all(feature = "linux", target_os = "linux"))]
fn is_told_by_the_agent(error: &(dyn Error + 'static)) -> bool {
    use shoal_vehicle::attend::AttendError;
    matches!(error.downcast_ref::<AttendError>(), Some(AttendError::Writable { .. }))
}

#[cfg(not(all(feature = "linux", target_os = "linux")))]
fn is_told_by_the_agent(_error: &(dyn Error + 'static)) -> bool {
    false
}

/// What the command line asks for.
enum Asked {
    /// To run.
    ToRun(Arguments),
    /// For this to be said.
    For(&'static str),
}

fn arguments() -> Result<Asked, lexopt::Error> {
    let (mut config, mut windows, mut metrics, mut ready) = (None, None, None, None);
    let (mut user, mut verbose, mut next_key, mut erase) = (None, false, false, false);
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Arg::Long("windows") => windows = Some(parser.value()?.parse()?),
            Arg::Long("metrics") => metrics = Some(parser.value()?.parse()?),
            Arg::Long("ready") => ready = Some(PathBuf::from(parser.value()?)),
            Arg::Long("as") => user = Some(parser.value()?.string()?),
            Arg::Long("verbose") => verbose = true,
            Arg::Long("next-key") => next_key = true,
            Arg::Long("erase") => erase = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::For(HELP)),
            Arg::Long("version") | Arg::Short('V') => return Ok(Asked::For(SOFTWARE)),
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(argument.unexpected()),
        }
    }
    let config = config.ok_or("--config FILE is needed")?;
    if next_key && erase {
        return Err("--next-key and --erase: one of them at a time".into());
    }
    let arguments = Arguments { config, windows, metrics, ready, user, verbose, next_key, erase };
    Ok(Asked::ToRun(arguments))
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let config = Config::read(&arguments.config)?;
    // Before there is a second thread: each is where the one is that begins it.
    let gives_way = keep_to(config.engine.cpus.as_ref())?;
    if let Some(user) = &arguments.user {
        return attended(arguments, &config, user);
    }
    refuse_as_root(&config)?;
    if arguments.next_key {
        next_key(&config)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.erase {
        let erased = Agent::erase(&config)?;
        say(std::io::stdout(), &format!("erased {} spans", erased.spans));
        return Ok(ExitCode::SUCCESS);
    }
    if gives_way == GivesWay::InItsSession {
        tracing::info!(
            "this gives way to what runs in its session alone: as a session of its own (a service, or `setsid`) it does to all"
        );
    }
    let stop = signals()?;
    let metrics = Metrics::default();
    let served =
        arguments.metrics.map(|address| MetricsServer::start(address, &metrics)).transpose()?;
    if let Some(server) = &served {
        tracing::info!(address = %server.address(), "metrics");
    }
    let file = arguments.config.display().to_string();
    let ready = Ready::new(arguments.ready.clone());
    member::run(&file, config, arguments.windows, stop, metrics, ready)?;
    Ok(ExitCode::SUCCESS)
}

/// Set by who ends this program.
fn signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the program where it is.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// What a user without rights keeps is no place for root to write to: its links would be followed.
#[cfg(target_os = "linux")]
fn refuse_as_root(config: &Config) -> Result<(), Box<dyn Error>> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = std::fs::metadata(&config.state) else { return Ok(()) };
    let (state, id, group) = (config.state.display(), found.uid(), found.gid());
    if rustix::process::getuid().is_root() && id != 0 {
        return Err(format!("{state} is user {id}'s: give --as {id}:{group}").into());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn refuse_as_root(_config: &Config) -> Result<(), Box<dyn Error>> {
    Ok(())
}

/// Does the same as another user, beside this process.
#[cfg(all(feature = "linux", target_os = "linux"))]
fn attended(
    arguments: &Arguments,
    config: &Config,
    user: &str,
) -> Result<ExitCode, Box<dyn Error>> {
    let user = user.parse()?;
    let mut agent = std::process::Command::new(std::env::current_exe()?);
    agent.arg("--config").arg(&arguments.config);
    if let Some(windows) = arguments.windows {
        agent.arg("--windows").arg(windows.to_string());
    }
    if let Some(address) = arguments.metrics {
        agent.arg("--metrics").arg(address.to_string());
    }
    if let Some(file) = &arguments.ready {
        agent.arg("--ready").arg(file);
    }
    for (asked, flag) in [
        (arguments.verbose, "--verbose"),
        (arguments.next_key, "--next-key"),
        (arguments.erase, "--erase"),
    ] {
        if asked {
            agent.arg(flag);
        }
    }
    let mut config = config.clone();
    if arguments.next_key || arguments.erase {
        // For what is done in a moment no device is needed.
        (config.camera, config.can, config.gateway) = (None, None, None);
    }
    let stop = signals()?;
    Ok(shoal_vehicle::attend::attend(&arguments.config, &config, user, agent, &stop)?.into())
}

#[cfg(not(all(feature = "linux", target_os = "linux")))]
fn attended(
    _arguments: &Arguments,
    _config: &Config,
    _user: &str,
) -> Result<ExitCode, Box<dyn Error>> {
    Err("--as needs Linux".into())
}

/// Makes the next key; its private half stays here.
fn next_key(config: &Config) -> Result<(), Box<dyn Error>> {
    let fleet = config.fleet.as_ref().ok_or("no table [fleet]")?;
    let key = identity::make_next(fleet)?;
    let key = key.ok_or(
        "the vehicle's key is in a token: make the next one there, and name it as next_key",
    )?;
    let public = key.public();
    say(std::io::stdout(), &format!("id {} public {}", public.id(), hex(public.bytes())));
    Ok(())
}

/// Where nobody reads on, the agent goes on.
fn say(mut to: impl Write, said: &str) {
    let _unsaid = writeln!(to, "{said}");
}

/// JSON for machines, lines for people.
fn log(verbose: bool) {
    let level = if verbose { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // What cannot be logged cannot be said to standard error either.
    let log = log.log_internal_errors(false);
    if terminal { log.with_target(false).init() } else { log.json().init() }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent error says what its cause says.
        if !text.ends_with(&more) {
            text.push_str("\n  because: ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
